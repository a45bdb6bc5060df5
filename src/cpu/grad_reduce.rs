//! Twin of `grad_reduce.wgsl` and `tensor_reduce.wgsl`: one gradient in host memory to its [`Partial`].

use crate::stats::{Epsilons, INFINITY_BITS, MAGNITUDE_MASK, MIN_NORMAL_BITS, Partial, order_key};

/// Two bits an element of the previous step: whether it was finite and non-zero, and its sign.
#[derive(Clone, Debug, Default)]
pub struct SignState {
    words: Vec<SignWord>,
    len: usize,
}

/// 32 elements of a [`SignState`].
#[derive(Clone, Copy, Debug, Default)]
struct SignWord {
    signed: u32,
    negative: u32,
}

/// Elements a [`SignWord`] covers.
const WORD_LEN: usize = u32::BITS as usize;

/// Reduces `gradient` and leaves its signs in `state` for the next step.
///
/// Sign flips are counted against `state` where it holds a gradient of the same length, and not at all
/// (`previous_numel` = 0) otherwise.
pub fn reduce(gradient: &[f32], epsilons: &Epsilons, state: &mut SignState) -> Partial {
    let compared = state.len == gradient.len();
    if !compared {
        state.words = vec![SignWord::default(); gradient.len().div_ceil(WORD_LEN)];
        state.len = gradient.len();
    }
    let mut total = Partial::IDENTITY;
    for (elements, word) in gradient.chunks(WORD_LEN).zip(&mut state.words) {
        let mut now = SignWord::default();
        for (bit, element) in elements.iter().enumerate() {
            let signed = add(&mut total, element.to_bits(), epsilons.threshold_bits());
            now.signed |= u32::from(signed) << bit;
            now.negative |= (element.to_bits() >> 31) << bit;
        }
        let before = std::mem::replace(word, now);
        if compared {
            let pairs = before.signed & now.signed;
            total.previous_numel += elements.len() as u64;
            total.signed_pair_count += u64::from(pairs.count_ones());
            total.sign_flip_count += u64::from((pairs & (before.negative ^ now.negative)).count_ones());
        }
    }
    total
}

/// Adds one element; tells whether it is finite and non-zero.
fn add(total: &mut Partial, bits: u32, thresholds: [u32; 2]) -> bool {
    let magnitude = bits & MAGNITUDE_MASK;
    let negative = bits >> 31 == 1;
    total.numel += 1;
    if magnitude >= INFINITY_BITS {
        let nan = magnitude > INFINITY_BITS;
        total.nan_count += u64::from(nan);
        total.pos_inf_count += u64::from(!nan && !negative);
        total.neg_inf_count += u64::from(!nan && negative);
        return false;
    }
    let key = order_key(bits);
    total.min_key = total.min_key.min(key);
    total.max_key = total.max_key.max(key);
    for (count, threshold) in total.near_zero_count.iter_mut().zip(thresholds) {
        *count += u64::from(magnitude <= threshold);
    }
    let value = if magnitude >= MIN_NORMAL_BITS { f64::from(f32::from_bits(magnitude)) } else { 0.0 };
    total.l1_norm += value;
    total.l2_norm_sq += value * value;
    let signed = magnitude != 0;
    total.positive_count += u64::from(signed && !negative);
    total.negative_count += u64::from(signed && negative);
    signed
}

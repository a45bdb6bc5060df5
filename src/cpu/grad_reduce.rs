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
            let (lifted, signed) = lift(element.to_bits(), epsilons);
            total = total.combine(lifted);
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

/// One element's summary, and whether it is finite and non-zero.
fn lift(bits: u32, epsilons: &Epsilons) -> (Partial, bool) {
    let magnitude = bits & MAGNITUDE_MASK;
    let negative = bits >> 31 == 1;
    let mut partial = Partial { numel: 1, ..Partial::IDENTITY };
    if magnitude >= INFINITY_BITS {
        match (magnitude > INFINITY_BITS, negative) {
            (true, _) => partial.nan_count = 1,
            (false, false) => partial.pos_inf_count = 1,
            (false, true) => partial.neg_inf_count = 1,
        }
        return (partial, false);
    }
    partial.min_key = order_key(bits);
    partial.max_key = partial.min_key;
    partial.near_zero_count = epsilons.threshold_bits().map(|threshold| u64::from(magnitude <= threshold));
    if magnitude >= MIN_NORMAL_BITS {
        let value = f64::from(f32::from_bits(magnitude));
        partial.l1_norm = value;
        partial.l2_norm_sq = value * value;
    }
    let signed = magnitude != 0;
    partial.positive_count = u64::from(signed && !negative);
    partial.negative_count = u64::from(signed && negative);
    (partial, signed)
}

//! Twin of `grad_reduce.wgsl` and `tensor_reduce.wgsl`: a gradient, a parameter or its move in host memory, reduced. The
//! parts stand in files of the shader's names.

mod cosine;
mod moments;
mod params;
mod state;
mod updates;

pub use params::weigh;
pub use state::State;
pub use updates::moved;

use gradscope_record::stats::{
    FirstNonfinite, MAGNITUDE_MASK, MIN_NORMAL_BITS, NonfiniteKind, Partial, order_key, term,
};

/// Reduces `gradient` and leaves its classes in `state` for the next step.
///
/// It is compared with `state` where that holds a gradient of the same length, and not at all (`previous_numel` = 0)
/// otherwise. `threshold_bits` are those of [`Epsilons`](gradscope_record::stats::Epsilons). `state` also keeps a copy of the
/// gradient, 4 bytes an element.
pub fn reduce(gradient: &[f32], threshold_bits: [u32; 2], state: &mut State) -> Partial {
    let mut total = values(gradient);
    state.classify(gradient, threshold_bits);
    state.add_classes(&mut total);
    if state.compares() {
        total.previous_numel = total.numel;
        state.add_transitions(&mut total);
        cosine::add(&mut total, gradient, &state.gradient);
    }
    state.gradient.clear();
    state.gradient.extend_from_slice(gradient);
    total
}

/// Sums, extremes and what is not finite.
fn values(gradient: &[f32]) -> Partial {
    let mut total = Partial { numel: gradient.len() as u64, ..Partial::IDENTITY };
    for (index, bits) in gradient.iter().map(|g| g.to_bits()).enumerate() {
        let magnitude = bits & MAGNITUDE_MASK;
        let Some(value) = term(bits) else {
            let kind = NonfiniteKind::of(f32::from_bits(bits));
            total.nan_count += u64::from(kind == NonfiniteKind::Nan);
            total.pos_inf_count += u64::from(kind == NonfiniteKind::PosInf);
            total.neg_inf_count += u64::from(kind == NonfiniteKind::NegInf);
            total.dynamics.first_nonfinite.get_or_insert(FirstNonfinite { index: index as u64, kind });
            continue;
        };
        total.min_key = total.min_key.min(order_key(bits));
        total.max_key = total.max_key.max(order_key(bits));
        total.l1_norm += value.abs();
        total.l2_norm_sq += value * value;
        total.dynamics.sum += value;
        if magnitude > 0 {
            total.dynamics.abs_min_rank = total.dynamics.abs_min_rank.min(magnitude - 1);
            total.dynamics.subnormal_count += u64::from(magnitude < MIN_NORMAL_BITS);
        }
    }
    total.dynamics.moments = moments::of(gradient, total.dynamics.sum, total.finite_count());
    total
}

//! Twin of `grad_reduce/params.wgsl`: statistics of the parameter itself.

use super::moments;
use gradscope_record::stats::{MAGNITUDE_MASK, WeightPartial, order_key, term, weight_threshold_bits};

/// Reduces a parameter.
pub fn weigh(parameter: &[f32]) -> WeightPartial {
    let threshold_bits = weight_threshold_bits();
    let mut total = WeightPartial { numel: parameter.len() as u64, ..WeightPartial::IDENTITY };
    for bits in parameter.iter().map(|w| w.to_bits()) {
        let Some(value) = term(bits) else {
            total.nonfinite_count += 1;
            continue;
        };
        total.min_key = total.min_key.min(order_key(bits));
        total.max_key = total.max_key.max(order_key(bits));
        total.l1_norm += value.abs();
        total.l2_norm_sq += value * value;
        total.sum += value;
        total.near_zero_count += u64::from(bits & MAGNITUDE_MASK <= threshold_bits);
    }
    total.moments = moments::of(parameter, total.sum, total.numel - total.nonfinite_count);
    total
}

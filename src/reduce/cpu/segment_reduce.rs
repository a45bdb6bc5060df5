//! Twin of `segment_reduce.wgsl`.

use gradscope_record::stats::{MAGNITUDE_MASK, Segment, term};

/// Sums up a stretch of a tensor; `threshold_bits` is the larger epsilon's.
pub fn segment(values: impl IntoIterator<Item = f32>, threshold_bits: u32) -> Segment {
    let mut total = Segment::default();
    for bits in values.into_iter().map(f32::to_bits) {
        let magnitude = bits & MAGNITUDE_MASK;
        total.numel += 1;
        let Some(value) = term(bits) else {
            total.nonfinite_count += 1;
            continue;
        };
        total.l2_norm_sq += value * value;
        let near = magnitude != 0 && magnitude <= threshold_bits;
        total.zero_count += u64::from(magnitude == 0);
        total.near_zero_negative_count += u64::from(near && bits >> 31 == 1);
        total.near_zero_positive_count += u64::from(near && bits >> 31 == 0);
    }
    total
}

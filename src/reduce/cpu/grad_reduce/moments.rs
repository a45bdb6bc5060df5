//! Twin of `shared/moments.wgsl`: mean and sums of powers of distances from it.

use gradscope_record::stats::{Moments, term};

/// By two passes, the first of which has left `sum` and `count` of the finite values.
pub(super) fn of(values: &[f32], sum: f64, count: u64) -> Moments {
    let mean = if count > 0 { sum / count as f64 } else { 0.0 };
    let mut moments = Moments { count, mean, ..Moments::IDENTITY };
    for distance in values.iter().filter_map(|x| term(x.to_bits())).map(|x| x - mean) {
        let square = distance * distance;
        moments.m2 += square;
        moments.m3 += square * distance;
        moments.m4 += square * square;
    }
    moments
}

//! Twin of `histogram.wgsl`.

use gradscope_record::stats::kernels::{
    FLUSH_INDEX, HISTOGRAM_LEN, LINEAR_INDEX, OVERFLOW_INDEX, ZERO_INDEX, exponent_bin, linear_bin,
};
use gradscope_record::stats::{Format, Histogram, INFINITY_BITS, MAGNITUDE_MASK, order_key};

/// Counts `values` by exponent, and between `edges` where there are any. `edges` are the 65 of
/// [`linear_edges`](gradscope_record::stats::linear_edges).
pub fn histogram(values: &[f32], edges: Option<&[f32]>) -> Histogram {
    let mut words = vec![0; HISTOGRAM_LEN];
    let keys: Option<Vec<u32>> = edges.map(|edges| edges.iter().map(|edge| order_key(edge.to_bits())).collect());
    for bits in values.iter().map(|x| x.to_bits()) {
        let magnitude = bits & MAGNITUDE_MASK;
        words[exponent_bin(bits)] += 1;
        if magnitude >= INFINITY_BITS {
            continue;
        }
        words[ZERO_INDEX] += u32::from(magnitude == 0);
        for (place, format) in Format::ALL.into_iter().enumerate() {
            words[FLUSH_INDEX + place] += u32::from(magnitude != 0 && magnitude <= format.flush_bits());
            words[OVERFLOW_INDEX + place] += u32::from(magnitude >= format.overflow_bits());
        }
        if let Some(keys) = &keys {
            words[LINEAR_INDEX + linear_bin(bits, keys)] += 1;
        }
    }
    Histogram::from_words(&words, edges)
}

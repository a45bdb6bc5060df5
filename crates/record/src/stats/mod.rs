//! Summaries as monoids: an identity, and parts that combine.
//!
//! A [`Partial`] is what any part of a gradient contributes; [`Partial::combine`] is associative and
//! [`Partial::IDENTITY`] is neutral, so chunks, shards and devices merge in any grouping that keeps their
//! order. [`WeightPartial`] and [`UpdatePartial`] are the same of a parameter and of its last move. Counts,
//! indices and extremes are exact; sums are f64.

mod epsilons;
mod gradient;
mod kinds;
mod moments;
mod parameter;
mod sets;
mod shape;
mod table;
mod update;

pub use epsilons::{EpsilonError, Epsilons};
pub use gradient::{Dynamics, DynamicsPartial, Partial, TensorSummary, Transitions};
pub use gradient::{FirstNonfinite, Global, GlobalDynamics, NonfiniteKind};
pub use moments::Moments;
pub use parameter::{GlobalParameters, ParameterSummary, WeightPartial};
pub use sets::{Stats, UnknownStats};
pub use shape::{EXPONENT_COUNT, Format, Histogram, LINEAR_COUNT, LinearHistogram, Segment, linear_edges};
pub use table::{Cells, Name, Row};
pub use update::{Crossings, GlobalUpdates, RetainedMoves, UpdatePartial, UpdateSummary};

/// What the reductions of `gradscope` share with these statistics, and nobody else needs.
#[doc(hidden)]
pub mod kernels {
    pub use super::shape::{EDGE_COUNT, FLUSH_INDEX, HISTOGRAM_LEN, LINEAR_INDEX, OVERFLOW_INDEX, ZERO_INDEX};
    pub use super::shape::{exponent_bin, linear_bin, scaled_edges};
    pub use super::table::Words;
}

/// The magnitude bits of an f32: everything but the sign.
pub const MAGNITUDE_MASK: u32 = 0x7fff_ffff;
/// Bits of +infinity. A magnitude above it is a NaN, one below it is finite.
pub const INFINITY_BITS: u32 = 0x7f80_0000;
/// Bits of the smallest normal f32. A non-zero magnitude below it is subnormal, and adds 0 to every sum.
pub const MIN_NORMAL_BITS: u32 = 0x0080_0000;

/// Order-preserving key of +0, the value that both zeros are reported as.
const ZERO_KEY: u32 = 0x8000_0000;

/// Maps f32 bits to integers whose order is that of the floats; both zeros share one key.
#[inline]
pub fn order_key(bits: u32) -> u32 {
    match bits {
        0x8000_0000 => ZERO_KEY,
        _ if bits >> 31 == 1 => !bits,
        _ => bits | ZERO_KEY,
    }
}

/// The float whose [`order_key`] is `key`.
#[inline]
pub fn from_order_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & MAGNITUDE_MASK } else { !key })
}

/// Magnitude bits at or under which a parameter is near zero: those of 1e-5, the larger default epsilon.
pub fn weight_threshold_bits() -> u32 {
    Epsilons::default().threshold_bits()[1]
}

/// What an element of these bits adds to sums: its value, 0 for subnormals; `None` where it is not finite.
#[inline]
pub fn term(bits: u32) -> Option<f64> {
    match bits & MAGNITUDE_MASK {
        INFINITY_BITS.. => None,
        ..MIN_NORMAL_BITS => Some(0.0),
        _ => Some(f64::from(f32::from_bits(bits))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_keys_preserve_order() {
        let floats = [f32::MIN, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX];
        let keys = floats.map(|x| order_key(x.to_bits()));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(from_order_key), floats);
        assert_eq!(order_key((-0.0f32).to_bits()), order_key(0));
    }
}

//! Distributions: histograms, channels, sign maps. They have a schedule of their own.

use super::{INFINITY_BITS, MAGNITUDE_MASK, MIN_NORMAL_BITS, order_key};
use serde::{Deserialize, Serialize};

/// Bins of an exponent histogram: the biased exponents of f32.
pub const EXPONENT_COUNT: usize = 256;
/// Bins of a linear histogram between its bounds.
pub const LINEAR_COUNT: usize = 64;

/// A narrow float format, and what rounding to nearest, ties to even, makes of f32 values in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// IEEE 754 binary16: largest value 65504.
    F16,
    /// bfloat16: f32's exponents, 8 bits of precision.
    Bf16,
    /// OCP fp8 E4M3: no infinities, largest value 448.
    Fp8E4m3,
    /// OCP fp8 E5M2: largest value 57344.
    Fp8E5m2,
}

impl Format {
    /// Every format, in the order of [`Histogram`]'s counts.
    pub const ALL: [Self; 4] = [Self::F16, Self::Bf16, Self::Fp8E4m3, Self::Fp8E5m2];

    /// Bits, as f32, of the largest magnitude that is rounded to zero: half the smallest subnormal.
    pub fn flush_bits(self) -> u32 {
        match self {
            Self::F16 => exponent_bits(-25),
            // 2^-134, which is subnormal in f32.
            Self::Bf16 => 0x0000_8000,
            Self::Fp8E4m3 => exponent_bits(-10),
            Self::Fp8E5m2 => exponent_bits(-17),
        }
    }

    /// Bits, as f32, of the smallest magnitude that is rounded past the largest value: 65520, 2^128 - 2^119, just above
    /// 464, 61440.
    pub fn overflow_bits(self) -> u32 {
        match self {
            Self::F16 => 65520f32.to_bits(),
            Self::Bf16 => 0x7f7f_8000,
            // 464 is a tie, and 448 is even.
            Self::Fp8E4m3 => 464f32.to_bits() + 1,
            Self::Fp8E5m2 => 61440f32.to_bits(),
        }
    }
}

fn exponent_bits(exponent: i32) -> u32 {
    ((127 + exponent) as u32) << 23
}

/// How the finite elements of a tensor spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Elements as they come, loss scale included, by biased exponent: zeros and subnormals in bin 0, non-finite ones in
    /// bin 255. Exact. The counts of what formats lose are of the same.
    pub exponent_count: Vec<u64>,
    /// Zeros, of those in bin 0.
    pub zero_count: u64,
    /// Non-zero elements that each of [`Format::ALL`] would round to zero.
    pub flush_count: [u64; 4],
    /// Finite elements that each of [`Format::ALL`] would round past its largest value.
    pub overflow_count: [u64; 4],
    /// Between bounds that were known beforehand; `None` where none were.
    pub linear: Option<LinearHistogram>,
}

/// Counts between edges. Bin i holds `edges[i] <= x < edges[i + 1]`, the last one its upper edge too. Exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearHistogram {
    /// Ascending; one more than there are bins.
    pub edges: Vec<f32>,
    /// By bin.
    pub count: Vec<u64>,
    /// Finite elements below the first edge.
    pub underflow_count: u64,
    /// Finite elements above the last edge.
    pub overflow_count: u64,
}

/// Words of a histogram as kernels count it: exponents, zeros, flushes, overflows, then the linear one with its
/// underflow and overflow.
pub const HISTOGRAM_LEN: usize = EXPONENT_COUNT + 1 + 2 * Format::ALL.len() + LINEAR_COUNT + 2;
/// Index of the count of zeros among those words.
pub const ZERO_INDEX: usize = EXPONENT_COUNT;
/// Index of the first count of elements that a format would flush to zero; one for each [`Format`].
pub const FLUSH_INDEX: usize = ZERO_INDEX + 1;
/// Index of the first count of elements that a format would overflow at; one for each [`Format`].
pub const OVERFLOW_INDEX: usize = FLUSH_INDEX + Format::ALL.len();
/// Index of the linear histogram's underflow, which its bins and its overflow follow.
pub const LINEAR_INDEX: usize = OVERFLOW_INDEX + Format::ALL.len();
/// Edges of a linear histogram.
pub const EDGE_COUNT: usize = LINEAR_COUNT + 1;

impl Histogram {
    /// From counts as kernels leave them, with the edges they were counted by.
    pub fn from_words(words: &[u32], edges: Option<&[f32]>) -> Self {
        let counts = |place: usize, len: usize| words[place..place + len].iter().map(|&count| u64::from(count));
        let formats = |place: usize| [0, 1, 2, 3].map(|format| u64::from(words[place + format]));
        Self {
            exponent_count: counts(0, EXPONENT_COUNT).collect(),
            zero_count: u64::from(words[ZERO_INDEX]),
            flush_count: formats(FLUSH_INDEX),
            overflow_count: formats(OVERFLOW_INDEX),
            linear: edges.map(|edges| LinearHistogram {
                edges: edges.to_vec(),
                count: counts(LINEAR_INDEX, LINEAR_COUNT).collect(),
                underflow_count: u64::from(words[LINEAR_INDEX + LINEAR_COUNT]),
                overflow_count: u64::from(words[LINEAR_INDEX + LINEAR_COUNT + 1]),
            }),
        }
    }

    /// Elements that are finite.
    ///
    /// # Panics
    /// Where `exponent_count` has fewer than 255 bins.
    pub fn finite_count(&self) -> u64 {
        self.exponent_count[..EXPONENT_COUNT - 1].iter().sum()
    }

    /// A magnitude that no finite element reaches; `None` where there is none, or none that is not zero.
    ///
    /// # Panics
    /// Where `exponent_count` has fewer than 255 bins.
    pub fn abs_bound(&self) -> Option<f32> {
        let bin = self.exponent_count[1..EXPONENT_COUNT - 1].iter().rposition(|count| *count > 0)? + 1;
        Some(f32::from_bits((bin as u32 + 1) << 23).min(f32::MAX))
    }

    /// Approximate `q`-quantile of the magnitudes of finite elements, `q` in [0, 1]: the lower end of its exponent's
    /// bin, which the true one is at most a factor of two above. `None` where no element is finite.
    ///
    /// # Panics
    /// Where `exponent_count` has fewer than 255 bins.
    pub fn approximate_abs_quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * self.finite_count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bin = self.exponent_count[..EXPONENT_COUNT - 1].iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(if bin == 0 { 0.0 } else { 2f64.powi(bin as i32 - 127) })
    }

    /// Shares of the non-zero, finite elements that `format` would round to zero, and past its largest value. `None`
    /// where there are no such elements.
    ///
    /// # Panics
    /// Where `exponent_count` has fewer than 255 bins.
    pub fn loss_in(&self, format: Format) -> Option<[f64; 2]> {
        let place = Format::ALL.iter().position(|known| *known == format)?;
        let nonzero = self.finite_count() - self.zero_count;
        let share = |count: u64| count as f64 / nonzero as f64;
        (nonzero > 0).then(|| [share(self.flush_count[place]), share(self.overflow_count[place])])
    }
}

/// Edges of a linear histogram from `min` to `max`, evenly spaced; a little apart where the two are equal.
pub fn linear_edges(min: f32, max: f32) -> Vec<f32> {
    let margin = if min < max { 0.0 } else { 0.5 * f64::from(min.abs()).max(1e-8) };
    let (low, high) = (f64::from(min) - margin, f64::from(max) + margin);
    let edge = |i: usize| ((low + (high - low) * i as f64 / LINEAR_COUNT as f64) as f32).clamp(f32::MIN, f32::MAX);
    (0..EDGE_COUNT).map(edge).collect()
}

/// Edges of a histogram whose elements come multiplied by `scale`.
pub fn scaled_edges(edges: &[f32], scale: f64) -> Vec<f32> {
    edges.iter().map(|edge| ((f64::from(*edge) * scale) as f32).clamp(f32::MIN, f32::MAX)).collect()
}

/// What a stretch of a tensor holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Elements of the stretch.
    pub numel: u64,
    /// Non-zero elements near zero at the larger epsilon that have a sign bit.
    pub near_zero_negative_count: u64,
    /// Non-zero elements near zero at the larger epsilon that have none.
    pub near_zero_positive_count: u64,
    /// Zeros of either sign.
    pub zero_count: u64,
    /// NaN and infinite elements.
    pub nonfinite_count: u64,
    /// Sum of squares over finite elements.
    pub l2_norm_sq: f64,
}

impl Segment {
    /// The summary of both stretches together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        Self {
            numel: self.numel + other.numel,
            near_zero_negative_count: self.near_zero_negative_count + other.near_zero_negative_count,
            near_zero_positive_count: self.near_zero_positive_count + other.near_zero_positive_count,
            zero_count: self.zero_count + other.zero_count,
            nonfinite_count: self.nonfinite_count + other.nonfinite_count,
            l2_norm_sq: self.l2_norm_sq + other.l2_norm_sq,
        }
    }

    /// Of `x / scale` from that of `x`; near zeros were counted at scaled epsilons.
    #[must_use]
    pub fn unscaled(self, scale: f64) -> Self {
        Self { l2_norm_sq: self.l2_norm_sq / (scale * scale), ..self }
    }

    /// Elements that are finite and not near zero.
    pub fn other_count(&self) -> u64 {
        self.numel - self.near_zero_count() - self.nonfinite_count
    }

    /// Finite elements near zero at the larger epsilon, zeros included.
    pub fn near_zero_count(&self) -> u64 {
        self.near_zero_negative_count + self.near_zero_positive_count + self.zero_count
    }

    /// `sqrt(sum x^2)` over finite elements.
    pub fn l2_norm(&self) -> f64 {
        self.l2_norm_sq.sqrt()
    }
}

/// Where a value falls in a histogram: its exponent's bin and its place among `edges`, for the twin.
#[inline]
pub fn linear_bin(bits: u32, edge_keys: &[u32]) -> usize {
    let key = order_key(bits);
    match edge_keys.partition_point(|edge| *edge <= key) {
        0 => LINEAR_COUNT,
        EDGE_COUNT if key > edge_keys[EDGE_COUNT - 1] => LINEAR_COUNT + 1,
        above => above.min(LINEAR_COUNT) - 1,
    }
}

/// The exponent bin of these bits.
#[inline]
pub fn exponent_bin(bits: u32) -> usize {
    ((bits & MAGNITUDE_MASK) >> 23) as usize
}

const _: () = assert!(INFINITY_BITS >> 23 == EXPONENT_COUNT as u32 - 1 && MIN_NORMAL_BITS >> 23 == 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_lose_what_rounding_loses() {
        // The bounds as decimal fractions, from the formats' definitions: 2^-25, 2^-134, 2^-10, 2^-17.
        assert_eq!(f32::from_bits(Format::F16.flush_bits()), 2.980_232_2e-8);
        assert_eq!(f32::from_bits(Format::Bf16.flush_bits()), 4.5918e-41);
        assert_eq!(f32::from_bits(Format::Fp8E4m3.flush_bits()), 9.765_625e-4);
        assert_eq!(f32::from_bits(Format::Fp8E5m2.flush_bits()), 7.629_394_5e-6);
        assert!(f32::from_bits(Format::Fp8E4m3.overflow_bits()) > 464.0);
        let bf16_max = f32::from_bits(0x7f7f_0000);
        // Half a step of bfloat16 there: 2^119.
        let above = f64::from(bf16_max) + 664_613_997_892_457_936_451_903_530_140_172_288.0;
        assert_eq!(f64::from(f32::from_bits(Format::Bf16.overflow_bits())), above);
    }

    #[test]
    fn quantiles_are_within_a_factor_of_two() {
        let values: Vec<f32> = (1..=1000).map(|i| i as f32).collect();
        let mut words = vec![0; HISTOGRAM_LEN];
        values.iter().for_each(|x| words[exponent_bin(x.to_bits())] += 1);
        let histogram = Histogram::from_words(&words, None);
        for q in [0.01, 0.25, 0.5, 0.9, 1.0] {
            let (found, exact) = (histogram.approximate_abs_quantile(q).unwrap(), (1000.0 * q).ceil());
            assert!(found <= exact && exact < 2.0 * found, "{q}: {found} for {exact}");
        }
        assert_eq!(Histogram::from_words(&[0; HISTOGRAM_LEN], None).approximate_abs_quantile(0.5), None);
    }

    #[test]
    fn edges_hold_their_bounds() {
        for (min, max) in [(-1.0, 3.0), (0.0, 0.0), (2.0, 2.0), (f32::MIN, f32::MAX), (1.0, 1.0f32.next_up())] {
            let edges = linear_edges(min, max);
            assert!(edges.is_sorted() && edges[0] <= min && edges[LINEAR_COUNT] >= max, "{min} to {max}");
            let keys: Vec<u32> = edges.iter().map(|edge| order_key(edge.to_bits())).collect();
            assert!(linear_bin(min.to_bits(), &keys) < LINEAR_COUNT && linear_bin(max.to_bits(), &keys) < LINEAR_COUNT);
        }
    }
}

//! The summary of a tensor as a monoid: identity, lift, combine.
//!
//! A [`Partial`] is what any part of a gradient contributes; [`Partial::combine`] is associative and
//! [`Partial::IDENTITY`] is neutral, so chunks, windows and devices merge in any grouping. A
//! [`TensorSummary`] is the finished form. Counts and extremes are exact; sums are f64.

use serde::{Deserialize, Serialize};

/// The magnitude bits of an f32: everything but the sign.
pub const MAGNITUDE_MASK: u32 = 0x7fff_ffff;
/// Bits of +infinity. A magnitude above it is a NaN, one below it is finite.
pub const INFINITY_BITS: u32 = 0x7f80_0000;
/// Bits of the smallest normal f32. A non-zero magnitude below it is subnormal, and adds 0 to every sum.
pub const MIN_NORMAL_BITS: u32 = 0x0080_0000;

/// Order-preserving key of +0, the value that both zeros are reported as.
const ZERO_KEY: u32 = 0x8000_0000;

/// Maps f32 bits to integers whose order is that of the floats; both zeros share one key.
pub fn order_key(bits: u32) -> u32 {
    match bits {
        0x8000_0000 => ZERO_KEY,
        _ if bits >> 31 == 1 => !bits,
        _ => bits | ZERO_KEY,
    }
}

/// The float whose [`order_key`] is `key`.
pub fn from_order_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & MAGNITUDE_MASK } else { !key })
}

/// The two magnitudes under which a gradient counts as near zero.
///
/// `|g| < eps` in f64 is decided on bits: `a <= threshold`, where `threshold` holds the largest f32
/// strictly below `eps`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 2]", into = "[f64; 2]")]
pub struct Epsilons {
    eps: [f64; 2],
    threshold_bits: [u32; 2],
}

impl Epsilons {
    /// # Errors
    /// Where an epsilon is not finite, not positive, or the two do not ascend.
    pub fn new(eps: [f64; 2]) -> Result<Self, EpsilonError> {
        if let Some(&bad) = eps.iter().find(|e| !e.is_finite() || **e <= 0.0) {
            return Err(EpsilonError::NotPositive(bad));
        }
        if eps[0] >= eps[1] {
            return Err(EpsilonError::NotAscending(eps[0], eps[1]));
        }
        Ok(Self { eps, threshold_bits: eps.map(largest_f32_bits_below) })
    }

    /// The two epsilons, ascending.
    pub fn values(&self) -> [f64; 2] {
        self.eps
    }

    /// Magnitude bits at or under which an element is near zero, one for each epsilon.
    pub fn threshold_bits(&self) -> [u32; 2] {
        self.threshold_bits
    }
}

impl Default for Epsilons {
    /// 1e-7 and 1e-5.
    fn default() -> Self {
        let eps = [1e-7, 1e-5];
        Self { eps, threshold_bits: eps.map(largest_f32_bits_below) }
    }
}

impl TryFrom<[f64; 2]> for Epsilons {
    type Error = EpsilonError;
    fn try_from(eps: [f64; 2]) -> Result<Self, EpsilonError> {
        Self::new(eps)
    }
}

impl From<Epsilons> for [f64; 2] {
    fn from(epsilons: Epsilons) -> Self {
        epsilons.eps
    }
}

/// What is wrong with a pair of epsilons.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EpsilonError {
    #[error("epsilon {0} is not a finite, positive number; the defaults are 1e-7 and 1e-5")]
    NotPositive(f64),
    #[error("epsilons must ascend, and {0} is not below {1}; the defaults are 1e-7 and 1e-5")]
    NotAscending(f64, f64),
}

/// `eps` is finite and positive.
fn largest_f32_bits_below(eps: f64) -> u32 {
    let nearest = (eps as f32).min(f32::MAX);
    if f64::from(nearest) < eps { nearest.to_bits() } else { nearest.to_bits() - 1 }
}

/// What a part of a gradient contributes to its tensor's summary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partial {
    /// Elements seen.
    pub numel: u64,
    /// Elements that were compared with the previous step.
    pub previous_numel: u64,
    /// [`order_key`] of the smallest finite element; `u32::MAX` where there is none.
    pub min_key: u32,
    /// [`order_key`] of the largest finite element; 0 where there is none.
    pub max_key: u32,
    /// Sum of `|g|` over finite elements.
    pub l1_norm: f64,
    /// Sum of `g * g` over finite elements.
    pub l2_norm_sq: f64,
    /// Finite elements with `|g| < eps`, for each epsilon. Zeros are near zero.
    pub near_zero_count: [u64; 2],
    /// Finite, non-zero elements without a sign bit.
    pub positive_count: u64,
    /// Finite, non-zero elements with a sign bit.
    pub negative_count: u64,
    /// Elements that are finite and non-zero now and were before, with unequal signs.
    pub sign_flip_count: u64,
    /// Elements that are finite and non-zero now and were before.
    pub signed_pair_count: u64,
    pub nan_count: u64,
    pub pos_inf_count: u64,
    pub neg_inf_count: u64,
}

impl Partial {
    /// The summary of no elements.
    pub const IDENTITY: Self = Self {
        numel: 0,
        previous_numel: 0,
        min_key: u32::MAX,
        max_key: 0,
        l1_norm: 0.0,
        l2_norm_sq: 0.0,
        near_zero_count: [0; 2],
        positive_count: 0,
        negative_count: 0,
        sign_flip_count: 0,
        signed_pair_count: 0,
        nan_count: 0,
        pos_inf_count: 0,
        neg_inf_count: 0,
    };

    /// The summary of the two parts together. Associative; exact for counts and extremes.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        Self {
            numel: self.numel + other.numel,
            previous_numel: self.previous_numel + other.previous_numel,
            min_key: self.min_key.min(other.min_key),
            max_key: self.max_key.max(other.max_key),
            l1_norm: self.l1_norm + other.l1_norm,
            l2_norm_sq: self.l2_norm_sq + other.l2_norm_sq,
            near_zero_count: [0, 1].map(|k| self.near_zero_count[k] + other.near_zero_count[k]),
            positive_count: self.positive_count + other.positive_count,
            negative_count: self.negative_count + other.negative_count,
            sign_flip_count: self.sign_flip_count + other.sign_flip_count,
            signed_pair_count: self.signed_pair_count + other.signed_pair_count,
            nan_count: self.nan_count + other.nan_count,
            pos_inf_count: self.pos_inf_count + other.pos_inf_count,
            neg_inf_count: self.neg_inf_count + other.neg_inf_count,
        }
    }

    /// Elements that are neither NaN nor infinite.
    pub fn finite_count(&self) -> u64 {
        self.numel - self.nan_count - self.pos_inf_count - self.neg_inf_count
    }

    /// The finished summary.
    pub fn finish(&self) -> TensorSummary {
        let finite_count = self.finite_count();
        let extreme = |key| (finite_count > 0).then(|| from_order_key(key));
        let compared = self.numel > 0 && self.previous_numel == self.numel;
        TensorSummary {
            numel: self.numel,
            min: extreme(self.min_key),
            max: extreme(self.max_key),
            l1_norm: self.l1_norm,
            l2_norm: self.l2_norm_sq.sqrt(),
            near_zero_count: self.near_zero_count,
            zero_count: finite_count - self.positive_count - self.negative_count,
            positive_count: self.positive_count,
            negative_count: self.negative_count,
            nan_count: self.nan_count,
            pos_inf_count: self.pos_inf_count,
            neg_inf_count: self.neg_inf_count,
            sign_flip_count: compared.then_some(self.sign_flip_count),
            signed_pair_count: compared.then_some(self.signed_pair_count),
        }
    }
}

/// The statistics of one gradient at one step.
///
/// Extremes are `None` where no element is finite. What compares with the previous step is `None`
/// where there is none: at the first observed step, after a missing gradient, after a change of
/// shape, layout or element type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorSummary {
    /// Elements of the tensor.
    pub numel: u64,
    /// Smallest finite element; both zeros are reported as +0.
    pub min: Option<f32>,
    /// Largest finite element; both zeros are reported as +0.
    pub max: Option<f32>,
    /// `sum |g|` over finite elements; subnormals add 0.
    pub l1_norm: f64,
    /// `sqrt(sum g^2)` over finite elements; subnormals add 0.
    pub l2_norm: f64,
    /// Finite elements with `|g| < eps`, for each epsilon. Zeros are near zero.
    pub near_zero_count: [u64; 2],
    /// Zeros of either sign.
    pub zero_count: u64,
    /// Finite, non-zero elements without a sign bit.
    pub positive_count: u64,
    /// Finite, non-zero elements with a sign bit.
    pub negative_count: u64,
    pub nan_count: u64,
    pub pos_inf_count: u64,
    pub neg_inf_count: u64,
    /// Elements that are finite and non-zero now and were at the previous step, with unequal signs.
    pub sign_flip_count: Option<u64>,
    /// Elements that are finite and non-zero now and were at the previous step.
    pub signed_pair_count: Option<u64>,
}

impl TensorSummary {
    /// NaN and infinite elements together.
    pub fn nonfinite_count(&self) -> u64 {
        self.nan_count + self.pos_inf_count + self.neg_inf_count
    }

    /// Elements that are neither NaN nor infinite.
    pub fn finite_count(&self) -> u64 {
        self.numel - self.nonfinite_count()
    }

    /// Whether global clipping would see a NaN or an infinity.
    pub fn has_nonfinite(&self) -> bool {
        self.nonfinite_count() > 0
    }

    /// `near_zero_count / numel` for each epsilon, in [0, 1].
    pub fn near_zero_ratio(&self) -> [f64; 2] {
        self.near_zero_count.map(|count| count as f64 / self.numel as f64)
    }

    /// `sign_flip_count / signed_pair_count`, in [0, 1]; `None` where nothing could flip.
    pub fn sign_flip_ratio(&self) -> Option<f64> {
        match (self.sign_flip_count, self.signed_pair_count) {
            (Some(flips), Some(pairs)) if pairs > 0 => Some(flips as f64 / pairs as f64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_thresholds_are_the_largest_floats_below() {
        assert_eq!(Epsilons::default().threshold_bits(), [0x33D6_BF94, 0x3727_C5AC]);
        let exact = Epsilons::new([0.25, 0.5]).unwrap();
        assert_eq!(exact.threshold_bits(), [0.25f32.to_bits() - 1, 0.5f32.to_bits() - 1]);
        let extreme = Epsilons::new([1e-300, 1e300]).unwrap();
        assert_eq!(extreme.threshold_bits(), [0, f32::MAX.to_bits()]);
    }

    #[test]
    fn bad_epsilons_are_refused() {
        for bad in [[f64::NAN, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, f64::INFINITY]] {
            assert!(matches!(Epsilons::new(bad), Err(EpsilonError::NotPositive(_))), "{bad:?}");
        }
        assert!(matches!(Epsilons::new([1.0, 1.0]), Err(EpsilonError::NotAscending(..))));
    }

    #[test]
    fn order_keys_preserve_order() {
        let floats = [f32::MIN, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX];
        let keys = floats.map(|x| order_key(x.to_bits()));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(from_order_key), floats);
        assert_eq!(order_key((-0.0f32).to_bits()), order_key(0));
    }

    #[test]
    fn identity_is_neutral() {
        let some = Partial { numel: 3, min_key: 7, max_key: 9, l1_norm: 1.5, nan_count: 1, ..Partial::IDENTITY };
        assert_eq!(some.combine(Partial::IDENTITY), some);
        assert_eq!(Partial::IDENTITY.combine(some), some);
        assert_eq!(Partial::IDENTITY.finish().min, None);
    }
}

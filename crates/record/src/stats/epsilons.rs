//! When a gradient counts as near zero.

use serde::{Deserialize, Serialize};

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
    /// Two epsilons, the smaller first.
    ///
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

    /// As [`Epsilons::threshold_bits`], for elements that come multiplied by `scale`, which is finite and positive.
    pub fn scaled_threshold_bits(&self, scale: f64) -> [u32; 2] {
        self.eps.map(|eps| largest_f32_bits_below((eps * scale).clamp(f64::MIN_POSITIVE, f64::MAX)))
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
#[non_exhaustive]
pub enum EpsilonError {
    /// One that is 0, negative, infinite or NaN: its value.
    #[error("epsilon {0} is not a finite, positive number; the defaults are 1e-7 and 1e-5")]
    NotPositive(f64),
    /// The first is not below the second: the two.
    #[error("epsilons must ascend, and {0} is not below {1}; the defaults are 1e-7 and 1e-5")]
    NotAscending(f64, f64),
}

/// `eps` is finite and positive.
fn largest_f32_bits_below(eps: f64) -> u32 {
    let nearest = (eps as f32).min(f32::MAX);
    if f64::from(nearest) < eps { nearest.to_bits() } else { nearest.to_bits() - 1 }
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
}

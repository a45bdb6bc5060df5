//! Mean and spread that survive values far from zero.

use serde::{Deserialize, Serialize};

/// Count, mean, and the sums of the second to fourth powers of distances from the mean.
///
/// Parts merge by the formulas of Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing
/// sample variances", 1979) and, above squares, of Pébay ("Formulas for robust, one-pass parallel computation of
/// covariances and arbitrary-order statistical moments", 2008): nothing large is subtracted from anything large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// How many values.
    pub count: u64,
    /// Their mean; 0 of none.
    pub mean: f64,
    /// `sum (x - mean)^2`.
    pub m2: f64,
    /// `sum (x - mean)^3`.
    pub m3: f64,
    /// `sum (x - mean)^4`.
    pub m4: f64,
}

/// Of the mean's magnitude: a smaller standard deviation is what rounding left of f32 values, and has no shape.
const SHAPELESS: f64 = 1e-5;

impl Moments {
    /// Of no values.
    pub const IDENTITY: Self = Self { count: 0, mean: 0.0, m2: 0.0, m3: 0.0, m4: 0.0 };

    /// Of a single value.
    pub fn of(value: f64) -> Self {
        Self { count: 1, mean: value, ..Self::IDENTITY }
    }

    /// Of both parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        match (self.count, other.count) {
            (_, 0) => self,
            (0, _) => other,
            (a, b) => {
                let count = a + b;
                let [p, q] = [a, b].map(|part| part as f64 / count as f64);
                let delta = other.mean - self.mean;
                let delta_sq = delta * delta;
                let between = delta_sq * a as f64 * q;
                Self {
                    count,
                    mean: self.mean + delta * q,
                    m2: self.m2 + other.m2 + between,
                    m3: self.m3 + other.m3 + between * delta * (p - q) + 3.0 * delta * (p * other.m2 - q * self.m2),
                    m4: self.m4
                        + other.m4
                        + between * delta_sq * (p * p - p * q + q * q)
                        + 6.0 * delta_sq * (p * p * other.m2 + q * q * self.m2)
                        + 4.0 * delta * (p * other.m3 - q * self.m3),
                }
            }
        }
    }

    /// Population standard deviation, `sqrt(m2 / count)`; `None` of nothing.
    pub fn std(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.m2 / self.count as f64).sqrt())
    }

    /// `(m3 / count) / std^3`: 0 of a symmetric distribution, positive where the upper tail is the longer one.
    /// `None` where the standard deviation is not above 1e-5 of the mean's magnitude.
    pub fn skewness(&self) -> Option<f64> {
        self.shaped_std().map(|std| self.m3 / (self.count as f64 * std.powi(3)))
    }

    /// `(m4 / count) / std^4`, not less 3: 1 at least, 1.8 of a uniform distribution, 3 of a normal one, and the more the
    /// fewer elements make the spread. `None` where [`skewness`](Self::skewness) is.
    pub fn kurtosis(&self) -> Option<f64> {
        self.shaped_std().map(|std| (self.m4 / (self.count as f64 * std.powi(4))).max(1.0))
    }

    fn shaped_std(&self) -> Option<f64> {
        self.std().filter(|std| *std > SHAPELESS * self.mean.abs())
    }

    /// What a mean, a standard deviation and the shape were told of; what is `None` is taken for 0.
    pub(super) fn lift(count: u64, mean: f64, [std, skewness, kurtosis]: [Option<f64>; 3]) -> Self {
        let std = std.unwrap_or(0.0);
        let sum = |power: i32, shape: f64| shape * std.powi(power) * count as f64;
        Self { count, mean, m2: sum(2, 1.0), m3: sum(3, skewness.unwrap_or(0.0)), m4: sum(4, kurtosis.unwrap_or(0.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Moments {
        values.iter().map(|value| Moments::of(*value)).fold(Moments::IDENTITY, Moments::combine)
    }

    #[test]
    fn shapes_that_are_known() {
        let uniform: Vec<f64> = (0..1000).map(|i| 1e3 + f64::from(i)).collect();
        let ten_of_one_kind: Vec<f64> = (0..10).map(|i| f64::from(u8::from(i == 9))).collect();
        // For a share p of ones, (1 - 2p) / sqrt(p (1 - p)) and 1 / (p (1 - p)) - 3.
        for (values, skewness, kurtosis) in
            [(&[-1.0, 1.0][..], 0.0, 1.0), (&uniform, 0.0, 1.8), (&ten_of_one_kind, 0.8 / 0.3, 1.0 / 0.09 - 3.0)]
        {
            let found = of(values);
            assert!((found.skewness().unwrap() - skewness).abs() < 1e-9, "{found:?}");
            assert!((found.kurtosis().unwrap() - kurtosis).abs() < 1e-5, "{found:?}");
        }
        assert_eq!(of(&[0.1; 7]).kurtosis(), None);
        assert_eq!(Moments::IDENTITY.skewness(), None);
    }
}

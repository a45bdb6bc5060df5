//! Mean and spread that survive values far from zero.

use serde::{Deserialize, Serialize};

/// Count, mean, and the sum of squared distances from the mean.
///
/// Parts merge by Chan's formula (Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for
/// computing sample variances", 1979): nothing large is subtracted from anything large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    pub count: u64,
    pub mean: f64,
    /// `sum (x - mean)^2`.
    pub m2: f64,
}

impl Moments {
    /// Of no values.
    pub const IDENTITY: Self = Self { count: 0, mean: 0.0, m2: 0.0 };

    /// Of a single value.
    pub fn of(value: f64) -> Self {
        Self { count: 1, mean: value, m2: 0.0 }
    }

    /// Of both parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        match (self.count, other.count) {
            (_, 0) => self,
            (0, _) => other,
            (a, b) => {
                let count = a + b;
                let share = b as f64 / count as f64;
                let delta = other.mean - self.mean;
                Self {
                    count,
                    mean: self.mean + delta * share,
                    m2: self.m2 + other.m2 + delta * delta * a as f64 * share,
                }
            }
        }
    }

    /// Population standard deviation, `sqrt(m2 / count)`; `None` of nothing.
    pub fn std(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.m2 / self.count as f64).sqrt())
    }
}

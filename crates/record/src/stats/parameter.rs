//! The summaries of a parameter and of its last move.

use super::{Moments, from_order_key};
use serde::{Deserialize, Serialize};

/// What a part of a parameter contributes to its [`ParameterSummary`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightPartial {
    /// Elements seen.
    pub numel: u64,
    /// NaN and infinite elements.
    pub nonfinite_count: u64,
    /// [`order_key`](super::order_key) of the smallest finite element; `u32::MAX` where there is none.
    pub min_key: u32,
    /// [`order_key`](super::order_key) of the largest finite element; 0 where there is none.
    pub max_key: u32,
    /// Sum of `|w|` over finite elements.
    pub l1_norm: f64,
    /// Sum of `w * w` over finite elements.
    pub l2_norm_sq: f64,
    /// Sum of `w` over finite elements.
    pub sum: f64,
    /// Of the finite elements.
    pub moments: Moments,
    /// Finite elements with `|w| < 1e-5`.
    pub near_zero_count: u64,
}

impl WeightPartial {
    /// The summary of no elements.
    pub const IDENTITY: Self = Self {
        numel: 0,
        nonfinite_count: 0,
        min_key: u32::MAX,
        max_key: 0,
        l1_norm: 0.0,
        l2_norm_sq: 0.0,
        sum: 0.0,
        moments: Moments::IDENTITY,
        near_zero_count: 0,
    };

    /// The summary of the two parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        Self {
            numel: self.numel + other.numel,
            nonfinite_count: self.nonfinite_count + other.nonfinite_count,
            min_key: self.min_key.min(other.min_key),
            max_key: self.max_key.max(other.max_key),
            l1_norm: self.l1_norm + other.l1_norm,
            l2_norm_sq: self.l2_norm_sq + other.l2_norm_sq,
            sum: self.sum + other.sum,
            moments: self.moments.combine(other.moments),
            near_zero_count: self.near_zero_count + other.near_zero_count,
        }
    }

    /// The finished summary.
    pub fn finish(&self) -> ParameterSummary {
        let any_finite = self.numel > self.nonfinite_count;
        ParameterSummary {
            numel: self.numel,
            nonfinite_count: self.nonfinite_count,
            min: any_finite.then(|| from_order_key(self.min_key)),
            max: any_finite.then(|| from_order_key(self.max_key)),
            sum: self.sum,
            std: self.moments.std(),
            skewness: self.moments.skewness(),
            kurtosis: self.moments.kurtosis(),
            l1_norm: self.l1_norm,
            l2_norm: self.l2_norm_sq.sqrt(),
            near_zero_count: self.near_zero_count,
        }
    }
}

/// The statistics of one parameter at one step, by the definitions of [`TensorSummary`](super::TensorSummary).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterSummary {
    /// Elements of the tensor.
    pub numel: u64,
    /// NaN and infinite elements.
    pub nonfinite_count: u64,
    /// Smallest finite element; `None` where none is finite.
    pub min: Option<f32>,
    /// Largest finite element; `None` where none is finite.
    pub max: Option<f32>,
    /// `sum w` over finite elements.
    pub sum: f64,
    /// Population standard deviation of the finite elements.
    pub std: Option<f64>,
    /// `mean((w - mean)^3) / std^3` of the finite elements; `None` where `std` is not above 1e-5 of the mean's magnitude.
    #[serde(default)]
    pub skewness: Option<f64>,
    /// `mean((w - mean)^4) / std^4` of the finite elements, 3 of a normal distribution; `None` where `skewness` is.
    #[serde(default)]
    pub kurtosis: Option<f64>,
    /// `sum |w|` over finite elements; subnormals add 0.
    pub l1_norm: f64,
    /// `sqrt(sum w^2)` over finite elements; subnormals add 0.
    pub l2_norm: f64,
    /// Finite elements with `|w| < 1e-5`.
    pub near_zero_count: u64,
}

impl ParameterSummary {
    /// Elements that are neither NaN nor infinite.
    pub fn finite_count(&self) -> u64 {
        self.numel - self.nonfinite_count
    }

    /// `sum / finite_count`.
    pub fn mean(&self) -> Option<f64> {
        (self.finite_count() > 0).then(|| self.sum / self.finite_count() as f64)
    }

    /// `l1_norm / finite_count`.
    pub fn abs_mean(&self) -> Option<f64> {
        (self.finite_count() > 0).then(|| self.l1_norm / self.finite_count() as f64)
    }

    /// Largest magnitude of a finite element.
    pub fn abs_max(&self) -> Option<f32> {
        Some(self.min?.abs().max(self.max?.abs()))
    }
}

/// What a part of a parameter contributes to its [`UpdateSummary`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdatePartial {
    /// Sum of `|w - w'|` over finite moves.
    pub l1_norm: f64,
    /// Sum of `(w - w')^2` over finite moves.
    pub l2_norm_sq: f64,
    /// Sum of squares of the parameter before the move.
    pub weight_l2_norm_sq: f64,
    /// Largest `|w - w'|` of a finite move; 0 of none.
    pub abs_max: f32,
    /// Elements of equal bits before and after.
    pub unchanged_count: u64,
    /// Moves with an end that is not finite, or that overflow.
    pub nonfinite_count: u64,
    /// Extremes crossed where the gradient flipped.
    pub crossings: Crossings,
    /// Moves of elements whose gradient was near zero before and now, for each epsilon.
    pub retained: [RetainedMove; 2],
}

/// The moves `w - w'` of one parameter since the previous step.
///
/// A move counts as non-finite, and is left out of norms, where one of its ends is non-finite or it overflows.
/// Subnormal weights and moves are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateSummary {
    /// The step that `w'` is of: the move was made after it.
    pub previous_step: u64,
    /// `sum |w - w'|`.
    pub l1_norm: f64,
    /// `sqrt(sum (w - w')^2)`.
    pub l2_norm: f64,
    /// `max |w - w'|`.
    pub abs_max: f32,
    /// `l2_norm / max(l2_norm of w', 1e-9)`; healthy around 1e-3.
    pub update_to_weight: f64,
    /// Elements of equal bits before and after.
    pub unchanged_count: u64,
    /// Moves with an end that is not finite, or that overflow.
    pub nonfinite_count: u64,
    /// Where the gradient's signs could be compared.
    pub crossings: Option<Crossings>,
    /// Moves of elements whose gradient was near zero before and now, for each epsilon; where that could be compared.
    pub retained: Option<[RetainedMove; 2]>,
}

/// Which extremes of the loss along a coordinate were crossed where the gradient flipped: the sign of
/// `(w - w')(g - p)`, where `w - w'` is the move from where `p` was taken to where `g` was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossings {
    /// The slope turned from down to up on the way: `(w - w')(g - p) > 0`.
    pub minimum_count: u64,
    /// The slope turned from up to down on the way: `(w - w')(g - p) < 0`.
    pub maximum_count: u64,
    /// The gradient flipped although the element did not move.
    pub flip_unmoved_count: u64,
    /// The gradient flipped, and the element is or was non-finite.
    pub flip_at_nonfinite_count: u64,
}

impl Crossings {
    /// Those of both parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        Self {
            minimum_count: self.minimum_count + other.minimum_count,
            maximum_count: self.maximum_count + other.maximum_count,
            flip_unmoved_count: self.flip_unmoved_count + other.flip_unmoved_count,
            flip_at_nonfinite_count: self.flip_at_nonfinite_count + other.flip_at_nonfinite_count,
        }
    }
}

/// What moved among elements whose gradient was retained near zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetainedMove {
    /// Elements that moved.
    pub moved_count: u64,
    /// `sum |w - w'|`.
    pub sum: f64,
    /// `max |w - w'|`.
    pub max: f32,
}

impl UpdatePartial {
    /// The summary of no elements.
    pub const IDENTITY: Self = Self {
        l1_norm: 0.0,
        l2_norm_sq: 0.0,
        weight_l2_norm_sq: 0.0,
        abs_max: 0.0,
        unchanged_count: 0,
        nonfinite_count: 0,
        crossings: Crossings { minimum_count: 0, maximum_count: 0, flip_unmoved_count: 0, flip_at_nonfinite_count: 0 },
        retained: [RetainedMove { moved_count: 0, sum: 0.0, max: 0.0 }; 2],
    };

    /// The summary of the two parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        Self {
            l1_norm: self.l1_norm + other.l1_norm,
            l2_norm_sq: self.l2_norm_sq + other.l2_norm_sq,
            weight_l2_norm_sq: self.weight_l2_norm_sq + other.weight_l2_norm_sq,
            abs_max: self.abs_max.max(other.abs_max),
            unchanged_count: self.unchanged_count + other.unchanged_count,
            nonfinite_count: self.nonfinite_count + other.nonfinite_count,
            crossings: self.crossings.combine(other.crossings),
            retained: [0, 1].map(|k| RetainedMove {
                moved_count: self.retained[k].moved_count + other.retained[k].moved_count,
                sum: self.retained[k].sum + other.retained[k].sum,
                max: self.retained[k].max.max(other.retained[k].max),
            }),
        }
    }

    /// The finished summary of the move made after `previous_step`. `compared`: whether flips were known.
    pub fn finish(&self, previous_step: u64, compared: bool) -> UpdateSummary {
        let l2_norm = self.l2_norm_sq.sqrt();
        UpdateSummary {
            previous_step,
            l1_norm: self.l1_norm,
            l2_norm,
            abs_max: self.abs_max,
            update_to_weight: l2_norm / self.weight_l2_norm_sq.sqrt().max(1e-9),
            unchanged_count: self.unchanged_count,
            nonfinite_count: self.nonfinite_count,
            crossings: compared.then_some(self.crossings),
            retained: compared.then_some(self.retained),
        }
    }
}

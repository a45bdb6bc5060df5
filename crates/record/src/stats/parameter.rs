//! The statistics of a parameter.

use super::kinds::{self, Whole};
use super::table::statistics;
use super::{Moments, Stats};
use serde::{Deserialize, Serialize};

statistics! {
    prefix "param_";

    /// What a part of a parameter contributes to its [`ParameterSummary`].
    part WeightPartial {
        /// Mean and spread of the finite elements.
        moments: Moments = Spread in PARAMS;
    }

    /// The statistics of one parameter at one step, by the definitions of [`TensorSummary`](super::TensorSummary).
    summary ParameterSummary {
        PARAMS {
            /// Elements of the tensor.
            numel: u64 = Numel of numel: u64, total u64, "Elements of all parameters.";
            /// NaN and infinite elements.
            nonfinite_count: u64 = Count of nonfinite_count: u64, total u64, "NaN and infinite elements.";
            /// Smallest finite element; `None` where none is finite.
            min: Option<f32> = Min of min_key: u32, total Option<f32>, "Smallest finite element of all parameters.";
            /// Largest finite element; `None` where none is finite.
            max: Option<f32> = Max of max_key: u32, total Option<f32>, "Largest finite element of all parameters.";
            /// `sum w` over finite elements.
            sum: f64 = Sum of sum: f64;
            /// Population standard deviation of the finite elements.
            std: Option<f64> = Derived => |part, _whole| part.moments.std();
            /// `mean((w - mean)^3) / std^3` of the finite elements; `None` where `std` is not above 1e-5 of the mean's magnitude.
            #[serde(default)]
            skewness: Option<f64> = Derived => |part, _whole| part.moments.skewness();
            /// `mean((w - mean)^4) / std^4` of the finite elements, 3 of a normal distribution; `None` where `skewness` is.
            #[serde(default)]
            kurtosis: Option<f64> = Derived => |part, _whole| part.moments.kurtosis();
            /// `sum |w|` over finite elements; subnormals add 0.
            l1_norm: f64 = Sum of l1_norm: f64;
            /// `sqrt(sum w^2)` over finite elements; subnormals add 0.
            l2_norm: f64 = SumOfSquares of l2_norm_sq: f64, total f64, "`sqrt(sum of squared l2 norms)`.";
            /// Finite elements with `|w| < 1e-5`.
            near_zero_count: u64 = Count of near_zero_count: u64, total u64, "Finite elements with `|w| < 1e-5`.";
        }
    }

    /// Figures over all parameters of a step, those without a gradient included.
    total GlobalParameters {}
}

impl WeightPartial {
    /// The summary of the two parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        self.combine_rows(other)
    }

    /// The finished summary.
    pub fn finish(&self) -> ParameterSummary {
        let finite_count = self.numel - self.nonfinite_count;
        self.finish_rows(Whole { finite_count, is_compared: false, previous_step: 0 })
    }
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

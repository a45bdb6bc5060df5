//! A finished summary as a part again, for parts that were summed up on their own: shards, devices, processes.

use super::{Dynamics, Moments, Partial, TensorSummary, order_key};

impl Partial {
    /// What `summary` was finished from: counts, indices and extremes as they were, sums to rounding. Of a summary without dynamics, and
    /// of angles, nothing is known: their places are neutral.
    pub fn lift(summary: &TensorSummary) -> Self {
        let finite_count = summary.finite_count();
        let key = |value: Option<f32>, none: u32| value.map_or(none, |value| order_key(value.to_bits()));
        let part = Self {
            numel: summary.numel,
            previous_numel: if summary.sign_flip_count.is_some() { summary.numel } else { 0 },
            min_key: key(summary.min, Self::IDENTITY.min_key),
            max_key: key(summary.max, Self::IDENTITY.max_key),
            l1_norm: summary.l1_norm,
            l2_norm_sq: summary.l2_norm * summary.l2_norm,
            near_zero_count: summary.near_zero_count,
            positive_count: summary.positive_count,
            negative_count: summary.negative_count,
            sign_flip_count: summary.sign_flip_count.unwrap_or(0),
            signed_pair_count: summary.signed_pair_count.unwrap_or(0),
            nan_count: summary.nan_count,
            pos_inf_count: summary.pos_inf_count,
            neg_inf_count: summary.neg_inf_count,
            ..Self::IDENTITY
        };
        let Some(Dynamics {
            abs_min_nonzero,
            subnormal_count,
            sum,
            std,
            skewness,
            kurtosis,
            first_nonfinite,
            transitions,
        }) = summary.dynamics
        else {
            return part;
        };
        let mean = sum / finite_count.max(1) as f64;
        Self {
            abs_min_bits: abs_min_nonzero.map_or(Self::IDENTITY.abs_min_bits, f32::to_bits),
            subnormal_count,
            sum,
            moments: Moments::lift(finite_count, mean, [std, skewness, kurtosis]),
            first_nonfinite,
            transitions: transitions.unwrap_or_default(),
            ..part
        }
    }
}

impl TensorSummary {
    /// The summary of this part followed by `other`. What one of the two has not, their union has not either; angles are lost.
    #[must_use]
    pub fn combine(&self, other: &Self) -> Self {
        let mut whole = Partial::lift(self).combine(Partial::lift(other)).finish();
        whole.dynamics = whole.dynamics.filter(|_| self.dynamics.is_some() && other.dynamics.is_some());
        whole.cosine_previous = None;
        whole
    }
}

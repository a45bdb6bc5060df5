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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::grad_reduce::{State, reduce};
    use crate::stats::Epsilons;
    use proptest::prelude::*;

    /// Ordinary numbers, and now and then one that is not.
    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => -1e3f32..1e3,
            2 => -1e-6f32..1e-6,
            1 => prop::sample::select(vec![0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MAX]),
        ]
    }

    fn close(a: f64, b: f64, scale: f64) -> bool {
        (a - b).abs() <= 1e-12 * scale.max(f64::MIN_POSITIVE)
    }

    proptest! {
        #[test]
        fn parts_summed_up_on_their_own_make_the_whole(
            steps in prop::collection::vec(prop::collection::vec(value(), 40), 2..4),
            cut in 0usize..=40,
        ) {
            let thresholds = Epsilons::default().threshold_bits();
            let [mut whole, mut left, mut right] = [State::default(), State::default(), State::default()];
            for values in &steps {
                let whole = reduce(values, thresholds, &mut whole).finish();
                let left = reduce(&values[..cut], thresholds, &mut left).finish();
                let right = reduce(&values[cut..], thresholds, &mut right).finish();
                let union = left.combine(&right);
                let (ours, theirs) = (union.dynamics.unwrap(), whole.dynamics.unwrap());
                prop_assert!(close(union.l1_norm, whole.l1_norm, whole.l1_norm));
                prop_assert!(close(union.l2_norm, whole.l2_norm, whole.l2_norm));
                prop_assert!(close(ours.sum, theirs.sum, whole.l1_norm));
                prop_assert!(close(ours.std.unwrap_or(0.0), theirs.std.unwrap_or(0.0), 1e3 * whole.l2_norm));
                if let (Some(ours), Some(theirs)) = (ours.kurtosis, theirs.kurtosis) {
                    prop_assert!(close(ours, theirs, 1e4 * theirs), "{ours} {theirs}");
                }
                if let (Some(ours), Some(theirs), Some(kurtosis)) = (ours.skewness, theirs.skewness, theirs.kurtosis) {
                    prop_assert!(close(ours, theirs, 1e4 * kurtosis), "{ours} {theirs}");
                }
                let same = |summary: &TensorSummary| TensorSummary {
                    l1_norm: 0.0,
                    l2_norm: 0.0,
                    cosine_previous: None,
                    dynamics: summary.dynamics.map(|dynamics| Dynamics {
                        sum: 0.0,
                        std: None,
                        skewness: None,
                        kurtosis: None,
                        ..dynamics
                    }),
                    ..*summary
                };
                // An empty part was never compared with anything.
                if cut > 0 && cut < 40 {
                    prop_assert_eq!(same(&union), same(&whole));
                }
            }
        }
    }
}

//! The statistics of a gradient.

use super::kinds::{self, Whole};
use super::table::statistics;
use super::{GlobalParameters, GlobalUpdates, Moments, Stats};
use serde::{Deserialize, Serialize};

/// The non-finite element of the smallest logical (row-major) index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FirstNonfinite {
    /// From 0, in row-major order.
    pub index: u64,
    /// What it is.
    pub kind: NonfiniteKind,
}

/// The ways not to be finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonfiniteKind {
    /// No number, of either sign and any payload.
    Nan,
    /// +infinity.
    PosInf,
    /// -infinity.
    NegInf,
}

impl NonfiniteKind {
    /// NaN or an infinity.
    pub fn value(self) -> f32 {
        match self {
            Self::Nan => f32::NAN,
            Self::PosInf => f32::INFINITY,
            Self::NegInf => f32::NEG_INFINITY,
        }
    }

    /// The kind of an element that is not finite.
    pub fn of(value: f32) -> Self {
        match value {
            f32::INFINITY => Self::PosInf,
            f32::NEG_INFINITY => Self::NegInf,
            _ => Self::Nan,
        }
    }
}

statistics! {
    prefix "";

    /// What a part of a gradient contributes to its [`TensorSummary`].
    ///
    /// ```
    /// use gradscope_record::stats::{Partial, order_key};
    ///
    /// let part = |value: f32| Partial {
    ///     numel: 1,
    ///     min_key: order_key(value.to_bits()),
    ///     max_key: order_key(value.to_bits()),
    ///     l1_norm: f64::from(value.abs()),
    ///     ..Partial::IDENTITY
    /// };
    /// let whole = part(1.0).combine(part(-2.0)).combine(part(3.0)).finish();
    /// assert_eq!((whole.max, whole.l1_norm), (Some(3.0), 6.0));
    /// ```
    part Partial {
        /// Elements that were compared with an earlier step. What compares is finished only where it is `numel`.
        previous_numel: u64 = Numel in BASIC;
        /// Sum of `g * p` over elements that are finite now and were before; `p` is the gradient compared with.
        dot_previous: f64 = SumOfSquares in COSINE;
        /// Sum of `p * p` over elements that were finite before.
        previous_l2_norm_sq: f64 = SumOfSquares in COSINE;
    }

    /// The statistics of one gradient at one step.
    ///
    /// Extremes are `None` where no element is finite. What compares with the previous step is `None`
    /// where there is none: at the first observed step, after a missing gradient, after a change of
    /// shape, layout or element type.
    summary TensorSummary {
        BASIC {
            /// Elements of the tensor.
            numel: u64 = Numel of numel: u64, total u64, "Elements observed.";
            /// Smallest finite element; both zeros are reported as +0.
            min: Option<f32> = Min of min_key: u32, total Option<f32>, "Smallest finite element of all gradients.";
            /// Largest finite element; both zeros are reported as +0.
            max: Option<f32> = Max of max_key: u32, total Option<f32>, "Largest finite element of all gradients.";
            /// `sum |g|` over finite elements; subnormals add 0.
            l1_norm: f64 = Sum of l1_norm: f64, total f64, "`sum |g|` over finite elements.";
            /// `sqrt(sum g^2)` over finite elements; subnormals add 0.
            l2_norm: f64 = SumOfSquares of l2_norm_sq: f64,
                total f64, "`sqrt(sum of squared l2 norms)`: what clipping by global norm compares, non-finite elements left out.";
            /// Finite elements with `|g| < eps`, for each epsilon. Zeros are near zero.
            near_zero_count: [u64; 2] = Count of near_zero_count: [u64; 2],
                total [u64; 2], "Finite elements with `|g| < eps`, for each epsilon. Zeros are near zero.";
            /// Zeros of either sign.
            zero_count: u64 = Count
                => |part, whole| whole.finite_count - part.positive_count - part.negative_count,
                total u64, "Zeros of either sign.";
            /// Finite, non-zero elements without a sign bit.
            positive_count: u64 = Count of positive_count: u64, total u64, "Finite, non-zero elements without a sign bit.";
            /// Finite, non-zero elements with a sign bit.
            negative_count: u64 = Count of negative_count: u64, total u64, "Finite, non-zero elements with a sign bit.";
            /// Elements that are NaN.
            nan_count: u64 = Count of nan_count: u64, total u64, "Elements that are NaN.";
            /// Elements that are +infinity.
            pos_inf_count: u64 = Count of pos_inf_count: u64, total u64, "Elements that are +infinity.";
            /// Elements that are -infinity.
            neg_inf_count: u64 = Count of neg_inf_count: u64, total u64, "Elements that are -infinity.";
            /// Elements that are finite and non-zero now and were at the previous step, with unequal signs.
            sign_flip_count: Option<u64> = ComparedCount of sign_flip_count: u64,
                total Option<u64>, "Over the tensors that could be compared with the previous step; `None` where there was none.";
            /// Elements that are finite and non-zero now and were at the previous step.
            signed_pair_count: Option<u64> = ComparedCount of signed_pair_count: u64,
                total Option<u64>, "Elements that could have flipped, over the same tensors; `None` where there were none.";
        }
        COSINE {
            /// `g.p / (|g| |p|)` with the gradient before, in [-1, 1]; `None` where one of the two is zero. Where
            /// [`Stats::COSINE`] was asked for.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            cosine_previous: Option<f64> = Derived
                => |part, whole| part.cosine_previous().filter(|_| whole.is_compared);
        }
        DYNAMICS {
            /// Where [`Stats::DYNAMICS`] was asked for.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            dynamics: Option<Dynamics> = Nested of dynamics: DynamicsPartial,
                total Option<GlobalDynamics>, "Where [`Stats::DYNAMICS`] was asked for.";
        }
    }

    /// Figures over all observed gradients of a step, or of a group of layers.
    total Global {
        /// Where [`Stats::PARAMS`] was asked for.
        parameters: Option<GlobalParameters> = Nested;
        /// Where [`Stats::UPDATES`] was asked for and a step before is known.
        updates: Option<GlobalUpdates> = Nested;
    }
}

statistics! {
    prefix "";

    /// What a part of a gradient contributes to its [`Dynamics`].
    part DynamicsPartial {
        /// Mean and spread of the finite elements.
        moments: Moments = Spread in DYNAMICS;
    }

    /// What [`Stats::DYNAMICS`] adds to a [`TensorSummary`].
    summary Dynamics {
        DYNAMICS {
            /// Smallest magnitude of a finite, non-zero element, subnormals included.
            abs_min_nonzero: Option<f32> = AbsMin of abs_min_rank: u32;
            /// Non-zero elements below the smallest normal f32.
            subnormal_count: u64 = Count of subnormal_count: u64, total u64, "Non-zero elements below the smallest normal f32.";
            /// `sum g` over finite elements; subnormals add 0.
            sum: f64 = Sum of sum: f64;
            /// Population standard deviation of the finite elements, from merged (count, mean, M2); 0 of a single one.
            std: Option<f64> = Derived => |part, _whole| part.moments.std();
            /// `mean((g - mean)^3) / std^3` of the finite elements; `None` where `std` is not above 1e-5 of the mean's magnitude.
            #[serde(default)]
            skewness: Option<f64> = Derived => |part, _whole| part.moments.skewness();
            /// `mean((g - mean)^4) / std^4` of the finite elements, 3 of a normal distribution; `None` where `skewness` is.
            #[serde(default)]
            kurtosis: Option<f64> = Derived => |part, _whole| part.moments.kurtosis();
            /// In logical (row-major) order, whatever the strides.
            first_nonfinite: Option<FirstNonfinite> = First of first_nonfinite: Option<FirstNonfinite>;
            /// Elements that were finite and not zero at the step compared with, and are zero now.
            #[serde(default)]
            became_zero_count: Option<u64> = ComparedCount of became_zero_count: u64,
                total Option<u64>, "Over the tensors that could be compared with the previous step.";
            /// What became of elements since the step compared with; `None` where there is none.
            transitions: Option<Transitions> = Nested of transitions: Transitions,
                total Option<Transitions>, "Over the tensors that could be compared with the previous step.";
        }
    }

    /// What [`Stats::DYNAMICS`] adds to a [`Global`].
    total GlobalDynamics {}
}

statistics! {
    prefix "";

    /// What became of elements since the step that dynamics compare with. Pairs stand for the two epsilons.
    compared Transitions in DYNAMICS {
        /// Finite before, non-finite now.
        became_nonfinite_count: u64 = Count;
        /// Non-finite before, finite now.
        recovered_count: u64 = Count;
        /// Near zero before and now.
        retained_count: [u64; 2] = Count;
        /// Near zero before; finite and not near zero now.
        released_count: [u64; 2] = Count;
        /// Finite and not near zero before; near zero now.
        captured_count: [u64; 2] = Count;
        /// Near zero before, non-finite now.
        near_zero_to_nonfinite_count: [u64; 2] = Count;
        /// Non-finite before, near zero now.
        nonfinite_to_near_zero_count: [u64; 2] = Count;
        /// Sign flips among the retained.
        flip_in_retained_count: [u64; 2] = Count;
    }
}

impl Transitions {
    /// Those of both parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        self.combine_rows(other)
    }

    /// Elements that were near zero before, for each epsilon.
    pub fn near_zero_before_count(&self) -> [u64; 2] {
        [0, 1].map(|k| self.retained_count[k] + self.released_count[k] + self.near_zero_to_nonfinite_count[k])
    }

    /// `released_count / near_zero_before_count`, in [0, 1]; `None` where nothing was near zero.
    pub fn released_ratio(&self) -> [Option<f64>; 2] {
        let before = self.near_zero_before_count();
        [0, 1].map(|k| (before[k] > 0).then(|| self.released_count[k] as f64 / before[k] as f64))
    }
}

impl Partial {
    /// The summary of this part followed by `other`. Associative; exact for counts, indices and extremes. Order matters
    /// for `first_nonfinite`, and for the last bits of sums.
    #[must_use]
    pub fn combine(self, mut other: Self) -> Self {
        if let Some(first) = &mut other.dynamics.first_nonfinite {
            first.index += self.numel;
        }
        self.combine_rows(other)
    }

    /// Elements that are neither NaN nor infinite.
    pub fn finite_count(&self) -> u64 {
        self.numel - self.nan_count - self.pos_inf_count - self.neg_inf_count
    }

    /// The finished summary.
    pub fn finish(&self) -> TensorSummary {
        self.finish_rows(Whole {
            finite_count: self.finite_count(),
            is_compared: self.numel > 0 && self.previous_numel == self.numel,
            previous_step: 0,
        })
    }

    fn cosine_previous(&self) -> Option<f64> {
        let norms = self.l2_norm_sq.sqrt() * self.previous_l2_norm_sq.sqrt();
        (norms > 0.0).then(|| (self.dot_previous / norms).clamp(-1.0, 1.0))
    }

    /// What `summary` was finished from: counts, indices and extremes as they were, sums to rounding. Of a summary without
    /// dynamics, and of angles, nothing is known: their places are neutral.
    pub fn from_summary(summary: &TensorSummary) -> Self {
        let mut part = Self::unfinish_rows(summary);
        part.previous_numel = if summary.sign_flip_count.is_some() { summary.numel } else { 0 };
        if let Some(Dynamics { sum, std, skewness, kurtosis, .. }) = summary.dynamics {
            let mean = sum / summary.finite_count().max(1) as f64;
            part.dynamics.moments = Moments::lift(summary.finite_count(), mean, [std, skewness, kurtosis]);
        }
        part
    }
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

    /// Whether an element is NaN or infinite: clipping by the global norm would then see one.
    pub fn has_nonfinite(&self) -> bool {
        self.nonfinite_count() > 0
    }

    /// Largest magnitude of a finite element.
    pub fn abs_max(&self) -> Option<f32> {
        Some(self.min?.abs().max(self.max?.abs()))
    }

    /// `l1_norm / finite_count`.
    pub fn abs_mean(&self) -> Option<f64> {
        (self.finite_count() > 0).then(|| self.l1_norm / self.finite_count() as f64)
    }

    /// `sum / finite_count`, of [`Dynamics`].
    pub fn mean(&self) -> Option<f64> {
        let dynamics = self.dynamics?;
        (self.finite_count() > 0).then(|| dynamics.sum / self.finite_count() as f64)
    }

    /// `log2(abs_max / abs_min_nonzero)`, of [`Dynamics`]; `None` where every finite element is zero.
    pub fn dynamic_range(&self) -> Option<f64> {
        let least = self.dynamics?.abs_min_nonzero?;
        Some((f64::from(self.abs_max()?) / f64::from(least)).log2())
    }

    /// `near_zero_count / numel` for each epsilon, in [0, 1].
    pub fn near_zero_ratio(&self) -> [f64; 2] {
        self.near_zero_count.map(|count| count as f64 / self.numel.max(1) as f64)
    }

    /// `sign_flip_count / signed_pair_count`, in [0, 1]; `None` where nothing could flip.
    pub fn sign_flip_ratio(&self) -> Option<f64> {
        match (self.sign_flip_count, self.signed_pair_count) {
            (Some(flips), Some(pairs)) if pairs > 0 => Some(flips as f64 / pairs as f64),
            _ => None,
        }
    }

    /// The summary of this part followed by `other`, of parts that were summed up on their own: shards, devices, processes.
    /// What one of the two has not, their union has not either; angles are lost.
    #[must_use]
    pub fn combine(&self, other: &Self) -> Self {
        let mut whole = Partial::from_summary(self).combine(Partial::from_summary(other)).finish();
        whole.dynamics = self.dynamics.zip(other.dynamics).and_then(|(one, two)| {
            let mut dynamics = whole.dynamics?;
            let counted = one.became_zero_count.and(two.became_zero_count);
            dynamics.became_zero_count = dynamics.became_zero_count.and_then(|count| counted.map(|_| count));
            Some(dynamics)
        });
        whole.cosine_previous = None;
        whole
    }

    /// The same without what compares with an earlier step; norms and shape to rounding.
    #[must_use]
    pub(crate) fn without_comparison(&self) -> Self {
        let mut summary = Partial { previous_numel: 0, ..Partial::from_summary(self) }.finish();
        summary.dynamics = summary.dynamics.filter(|_| self.dynamics.is_some());
        summary
    }

    /// What of it was asked for.
    #[must_use]
    pub fn limited_to(mut self, groups: Stats) -> Self {
        self.dynamics = self.dynamics.filter(|_| groups.contains(Stats::DYNAMICS));
        self.cosine_previous = self.cosine_previous.filter(|_| groups.contains(Stats::COSINE));
        self
    }

    /// Statistics of `g / scale` from those of `g`: extremes and sums, since thresholds were scaled beforehand.
    #[must_use]
    pub fn unscaled(mut self, scale: f64) -> Self {
        let value = |x: Option<f32>| x.map(|x| (f64::from(x) / scale) as f32);
        (self.min, self.max) = (value(self.min), value(self.max));
        self.l1_norm /= scale;
        self.l2_norm /= scale;
        if let Some(dynamics) = &mut self.dynamics {
            dynamics.abs_min_nonzero = value(dynamics.abs_min_nonzero);
            dynamics.sum /= scale;
            dynamics.std = dynamics.std.map(|std| std / scale);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::order_key;

    #[test]
    fn identity_is_neutral() {
        let first_nonfinite = Some(FirstNonfinite { index: 2, kind: NonfiniteKind::Nan });
        let some = Partial {
            numel: 3,
            min_key: 7,
            max_key: 9,
            l1_norm: 1.5,
            nan_count: 1,
            dynamics: DynamicsPartial { moments: Moments::of(1.5), first_nonfinite, ..DynamicsPartial::IDENTITY },
            ..Partial::IDENTITY
        };
        assert_eq!(some.combine(Partial::IDENTITY), some);
        assert_eq!(Partial::IDENTITY.combine(some), some);
        assert_eq!(Partial::IDENTITY.finish().min, None);
    }

    #[test]
    fn a_magnitude_that_a_loss_scale_has_flushed_combines() {
        let mut part = Partial { numel: 1, min_key: order_key(1), max_key: order_key(1), ..Partial::IDENTITY };
        part.dynamics.abs_min_rank = 0;
        let flushed = part.finish().unscaled(65536.0);
        assert_eq!(flushed.dynamics.unwrap().abs_min_nonzero, Some(0.0));
        assert_eq!(flushed.combine(&flushed).numel, 2);
    }

    /// Folders that were written before a count was declared have none of it.
    #[test]
    fn what_one_part_has_not_their_union_has_not() {
        let mut part = Partial { numel: 2, previous_numel: 2, positive_count: 2, ..Partial::IDENTITY };
        part.dynamics.became_zero_count = 1;
        let (counted, mut old) = (part.finish(), part.finish());
        old.dynamics.as_mut().unwrap().became_zero_count = None;
        let became_zero = |summary: TensorSummary| summary.dynamics.unwrap().became_zero_count;
        assert_eq!(became_zero(counted.combine(&counted)), Some(2));
        assert_eq!(became_zero(counted.combine(&old)), None);
    }
}

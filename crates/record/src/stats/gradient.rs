//! The summary of a gradient.

use super::Stats;
use super::{Moments, from_order_key};
use serde::{Deserialize, Serialize};

/// What a part of a gradient contributes to its tensor's summary.
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partial {
    /// Elements seen.
    pub numel: u64,
    /// Elements that were compared with an earlier step. `finish` tells what compares only where it is `numel`.
    pub previous_numel: u64,
    /// [`order_key`](super::order_key) of the smallest finite element; `u32::MAX` where there is none.
    pub min_key: u32,
    /// [`order_key`](super::order_key) of the largest finite element; 0 where there is none.
    pub max_key: u32,
    /// Magnitude bits of the smallest finite, non-zero element; `u32::MAX` where there is none.
    pub abs_min_bits: u32,
    /// Sum of `|g|` over finite elements.
    pub l1_norm: f64,
    /// Sum of `g * g` over finite elements.
    pub l2_norm_sq: f64,
    /// Sum of `g` over finite elements.
    pub sum: f64,
    /// Of the finite elements.
    pub moments: Moments,
    /// Sum of `g * p` over elements that are finite now and were before; `p` is the gradient compared with.
    pub dot_previous: f64,
    /// Sum of `p * p` over elements that were finite before.
    pub previous_l2_norm_sq: f64,
    /// Finite elements with `|g| < eps`, for each epsilon. Zeros are near zero.
    pub near_zero_count: [u64; 2],
    /// Finite, non-zero elements below the smallest normal f32.
    pub subnormal_count: u64,
    /// Finite, non-zero elements without a sign bit.
    pub positive_count: u64,
    /// Finite, non-zero elements with a sign bit.
    pub negative_count: u64,
    /// Elements that are finite and non-zero now and were before, with unequal signs.
    pub sign_flip_count: u64,
    /// Elements that are finite and non-zero now and were before.
    pub signed_pair_count: u64,
    /// Elements that are NaN.
    pub nan_count: u64,
    /// Elements that are +infinity.
    pub pos_inf_count: u64,
    /// Elements that are -infinity.
    pub neg_inf_count: u64,
    /// By its index in this part.
    pub first_nonfinite: Option<FirstNonfinite>,
    /// What became of elements since the step compared with.
    pub transitions: Transitions,
}

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

/// What became of elements since the step that dynamics compare with. Pairs stand for the two epsilons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transitions {
    /// Finite before, non-finite now.
    pub became_nonfinite_count: u64,
    /// Non-finite before, finite now.
    pub recovered_count: u64,
    /// Near zero before and now.
    pub retained_count: [u64; 2],
    /// Near zero before; finite and not near zero now.
    pub released_count: [u64; 2],
    /// Finite and not near zero before; near zero now.
    pub captured_count: [u64; 2],
    /// Near zero before, non-finite now.
    pub near_zero_to_nonfinite_count: [u64; 2],
    /// Non-finite before, near zero now.
    pub nonfinite_to_near_zero_count: [u64; 2],
    /// Sign flips among the retained.
    pub flip_in_retained_count: [u64; 2],
}

impl Transitions {
    /// Those of both parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        let add = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
        Self {
            became_nonfinite_count: self.became_nonfinite_count + other.became_nonfinite_count,
            recovered_count: self.recovered_count + other.recovered_count,
            retained_count: add(self.retained_count, other.retained_count),
            released_count: add(self.released_count, other.released_count),
            captured_count: add(self.captured_count, other.captured_count),
            near_zero_to_nonfinite_count: add(self.near_zero_to_nonfinite_count, other.near_zero_to_nonfinite_count),
            nonfinite_to_near_zero_count: add(self.nonfinite_to_near_zero_count, other.nonfinite_to_near_zero_count),
            flip_in_retained_count: add(self.flip_in_retained_count, other.flip_in_retained_count),
        }
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
    /// The summary of no elements.
    pub const IDENTITY: Self = Self {
        numel: 0,
        previous_numel: 0,
        min_key: u32::MAX,
        max_key: 0,
        abs_min_bits: u32::MAX,
        l1_norm: 0.0,
        l2_norm_sq: 0.0,
        sum: 0.0,
        moments: Moments::IDENTITY,
        dot_previous: 0.0,
        previous_l2_norm_sq: 0.0,
        near_zero_count: [0; 2],
        subnormal_count: 0,
        positive_count: 0,
        negative_count: 0,
        sign_flip_count: 0,
        signed_pair_count: 0,
        nan_count: 0,
        pos_inf_count: 0,
        neg_inf_count: 0,
        first_nonfinite: None,
        transitions: Transitions {
            became_nonfinite_count: 0,
            recovered_count: 0,
            retained_count: [0; 2],
            released_count: [0; 2],
            captured_count: [0; 2],
            near_zero_to_nonfinite_count: [0; 2],
            nonfinite_to_near_zero_count: [0; 2],
            flip_in_retained_count: [0; 2],
        },
    };

    /// The summary of this part followed by `other`. Associative; exact for counts, indices and extremes. Order matters
    /// for `first_nonfinite`, and for the last bits of sums.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        let shifted = |first: FirstNonfinite| FirstNonfinite { index: self.numel + first.index, ..first };
        Self {
            numel: self.numel + other.numel,
            previous_numel: self.previous_numel + other.previous_numel,
            min_key: self.min_key.min(other.min_key),
            max_key: self.max_key.max(other.max_key),
            abs_min_bits: self.abs_min_bits.min(other.abs_min_bits),
            l1_norm: self.l1_norm + other.l1_norm,
            l2_norm_sq: self.l2_norm_sq + other.l2_norm_sq,
            sum: self.sum + other.sum,
            moments: self.moments.combine(other.moments),
            dot_previous: self.dot_previous + other.dot_previous,
            previous_l2_norm_sq: self.previous_l2_norm_sq + other.previous_l2_norm_sq,
            near_zero_count: [0, 1].map(|k| self.near_zero_count[k] + other.near_zero_count[k]),
            subnormal_count: self.subnormal_count + other.subnormal_count,
            positive_count: self.positive_count + other.positive_count,
            negative_count: self.negative_count + other.negative_count,
            sign_flip_count: self.sign_flip_count + other.sign_flip_count,
            signed_pair_count: self.signed_pair_count + other.signed_pair_count,
            nan_count: self.nan_count + other.nan_count,
            pos_inf_count: self.pos_inf_count + other.pos_inf_count,
            neg_inf_count: self.neg_inf_count + other.neg_inf_count,
            first_nonfinite: self.first_nonfinite.or_else(|| other.first_nonfinite.map(shifted)),
            transitions: self.transitions.combine(other.transitions),
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
        let norms = self.l2_norm_sq.sqrt() * self.previous_l2_norm_sq.sqrt();
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
            cosine_previous: (compared && norms > 0.0).then(|| (self.dot_previous / norms).clamp(-1.0, 1.0)),
            dynamics: Some(Dynamics {
                abs_min_nonzero: (self.abs_min_bits != u32::MAX).then(|| f32::from_bits(self.abs_min_bits)),
                subnormal_count: self.subnormal_count,
                sum: self.sum,
                std: self.moments.std(),
                skewness: self.moments.skewness(),
                kurtosis: self.moments.kurtosis(),
                first_nonfinite: self.first_nonfinite,
                transitions: compared.then_some(self.transitions),
            }),
        }
    }
}

/// The statistics of one gradient at one step.
///
/// Extremes are `None` where no element is finite. What compares with the previous step is `None`
/// where there is none: at the first observed step, after a missing gradient, after a change of
/// shape, layout or element type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Elements that are NaN.
    pub nan_count: u64,
    /// Elements that are +infinity.
    pub pos_inf_count: u64,
    /// Elements that are -infinity.
    pub neg_inf_count: u64,
    /// Elements that are finite and non-zero now and were at the previous step, with unequal signs.
    pub sign_flip_count: Option<u64>,
    /// Elements that are finite and non-zero now and were at the previous step.
    pub signed_pair_count: Option<u64>,
    /// `g.p / (|g| |p|)` with the gradient before, in [-1, 1]; `None` where one of the two is zero. Where
    /// [`Stats::COSINE`](crate::stats::Stats::COSINE) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine_previous: Option<f64>,
    /// Where [`Stats::DYNAMICS`](crate::stats::Stats::DYNAMICS) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamics: Option<Dynamics>,
}

/// What [`Stats::DYNAMICS`](crate::stats::Stats::DYNAMICS) adds to a [`TensorSummary`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dynamics {
    /// Smallest magnitude of a finite, non-zero element, subnormals included.
    pub abs_min_nonzero: Option<f32>,
    /// Non-zero elements below the smallest normal f32.
    pub subnormal_count: u64,
    /// `sum g` over finite elements; subnormals add 0.
    pub sum: f64,
    /// Population standard deviation of the finite elements, from merged (count, mean, M2); 0 of a single one.
    pub std: Option<f64>,
    /// `mean((g - mean)^3) / std^3` of the finite elements; `None` where `std` is not above 1e-5 of the mean's magnitude.
    #[serde(default)]
    pub skewness: Option<f64>,
    /// `mean((g - mean)^4) / std^4` of the finite elements, 3 of a normal distribution; `None` where `skewness` is.
    #[serde(default)]
    pub kurtosis: Option<f64>,
    /// In logical (row-major) order, whatever the strides.
    pub first_nonfinite: Option<FirstNonfinite>,
    /// What became of elements since the step compared with; `None` where there is none.
    pub transitions: Option<Transitions>,
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

    #[test]
    fn identity_is_neutral() {
        let first_nonfinite = Some(FirstNonfinite { index: 2, kind: NonfiniteKind::Nan });
        let some = Partial {
            numel: 3,
            min_key: 7,
            max_key: 9,
            l1_norm: 1.5,
            nan_count: 1,
            moments: Moments::of(1.5),
            first_nonfinite,
            ..Partial::IDENTITY
        };
        assert_eq!(some.combine(Partial::IDENTITY), some);
        assert_eq!(Partial::IDENTITY.combine(some), some);
        assert_eq!(Partial::IDENTITY.finish().min, None);
    }
}

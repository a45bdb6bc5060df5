//! Summaries as flat rows, there and back.

use super::columns::columns;
use gradscope_record::record::{Global, GlobalParameters, GlobalUpdates};
use gradscope_record::stats::{
    Crossings, Dynamics, FirstNonfinite, NonfiniteKind, ParameterSummary, RetainedMove, TensorSummary, Transitions,
    UpdateSummary,
};

columns! { CardRow CardBuilders CardArrays {
    numel: u64, min: f32, max: f32, l1_norm: f64, l2_norm: f64,
    near_zero_count_1: u64, near_zero_count_2: u64,
    zero_count: u64, positive_count: u64, negative_count: u64,
    nan_count: u64, pos_inf_count: u64, neg_inf_count: u64,
    sign_flip_count: u64, signed_pair_count: u64,
}}

columns! { CosineRow CosineBuilders CosineArrays { cosine_previous: f64 }}

columns! { DynamicsRow DynamicsBuilders DynamicsArrays {
    abs_min_nonzero: f32, subnormal_count: u64, sum: f64, std: f64, skewness: f64, kurtosis: f64,
    first_nonfinite_index: u64,
    // The value itself: NaN or an infinity.
    first_nonfinite_value: f32,
    became_nonfinite_count: u64, recovered_count: u64,
    retained_count_1: u64, retained_count_2: u64,
    released_count_1: u64, released_count_2: u64,
    captured_count_1: u64, captured_count_2: u64,
    near_zero_to_nonfinite_count_1: u64, near_zero_to_nonfinite_count_2: u64,
    nonfinite_to_near_zero_count_1: u64, nonfinite_to_near_zero_count_2: u64,
    flip_in_retained_count_1: u64, flip_in_retained_count_2: u64,
}}

columns! { ParameterRow ParameterBuilders ParameterArrays {
    numel: u64, nonfinite_count: u64, min: f32, max: f32, sum: f64, std: f64, skewness: f64, kurtosis: f64,
    l1_norm: f64, l2_norm: f64, near_zero_count: u64,
}}

columns! { UpdateRow UpdateBuilders UpdateArrays {
    previous_step: u64, l1_norm: f64, l2_norm: f64, abs_max: f32, to_weight: f64,
    unchanged_count: u64, nonfinite_count: u64,
    minimum_count: u64, maximum_count: u64, flip_unmoved_count: u64, flip_at_nonfinite_count: u64,
    retained_moved_count_1: u64, retained_moved_count_2: u64,
    retained_sum_1: f64, retained_sum_2: f64, retained_max_1: f32, retained_max_2: f32,
}}

columns! { GlobalRow GlobalBuilders GlobalArrays {
    numel: u64, min: f32, max: f32, l1_norm: f64, l2_norm: f64,
    near_zero_count_1: u64, near_zero_count_2: u64,
    zero_count: u64, positive_count: u64, negative_count: u64,
    nan_count: u64, pos_inf_count: u64, neg_inf_count: u64,
    sign_flip_count: u64, signed_pair_count: u64, subnormal_count: u64,
    became_nonfinite_count: u64, recovered_count: u64,
    retained_count_1: u64, retained_count_2: u64,
    released_count_1: u64, released_count_2: u64,
    captured_count_1: u64, captured_count_2: u64,
    near_zero_to_nonfinite_count_1: u64, near_zero_to_nonfinite_count_2: u64,
    nonfinite_to_near_zero_count_1: u64, nonfinite_to_near_zero_count_2: u64,
    flip_in_retained_count_1: u64, flip_in_retained_count_2: u64,
    param_numel: u64, param_min: f32, param_max: f32, param_l2_norm: f64,
    param_near_zero_count: u64, param_nonfinite_count: u64,
    update_numel: u64, update_l2_norm: f64, update_unchanged_count: u64, update_nonfinite_count: u64,
    update_minimum_count: u64, update_maximum_count: u64,
    update_flip_unmoved_count: u64, update_flip_at_nonfinite_count: u64,
}}

fn both<T: Copy>(first: Option<T>, second: Option<T>) -> Option<[T; 2]> {
    Some([first?, second?])
}

/// Takes or gives [`Transitions`] of a row that has their fields.
macro_rules! transitions_of {
    ($row:ident) => {
        Some(Transitions {
            became_nonfinite_count: $row.became_nonfinite_count?,
            recovered_count: $row.recovered_count?,
            retained_count: both($row.retained_count_1, $row.retained_count_2)?,
            released_count: both($row.released_count_1, $row.released_count_2)?,
            captured_count: both($row.captured_count_1, $row.captured_count_2)?,
            near_zero_to_nonfinite_count: both(
                $row.near_zero_to_nonfinite_count_1,
                $row.near_zero_to_nonfinite_count_2,
            )?,
            nonfinite_to_near_zero_count: both(
                $row.nonfinite_to_near_zero_count_1,
                $row.nonfinite_to_near_zero_count_2,
            )?,
            flip_in_retained_count: both($row.flip_in_retained_count_1, $row.flip_in_retained_count_2)?,
        })
    };
    ($row:ident = $transitions:expr) => {
        let t: Option<Transitions> = $transitions;
        $row.became_nonfinite_count = t.map(|t| t.became_nonfinite_count);
        $row.recovered_count = t.map(|t| t.recovered_count);
        [$row.retained_count_1, $row.retained_count_2] = pair(t.map(|t| t.retained_count));
        [$row.released_count_1, $row.released_count_2] = pair(t.map(|t| t.released_count));
        [$row.captured_count_1, $row.captured_count_2] = pair(t.map(|t| t.captured_count));
        [$row.near_zero_to_nonfinite_count_1, $row.near_zero_to_nonfinite_count_2] =
            pair(t.map(|t| t.near_zero_to_nonfinite_count));
        [$row.nonfinite_to_near_zero_count_1, $row.nonfinite_to_near_zero_count_2] =
            pair(t.map(|t| t.nonfinite_to_near_zero_count));
        [$row.flip_in_retained_count_1, $row.flip_in_retained_count_2] = pair(t.map(|t| t.flip_in_retained_count));
    };
}

fn pair<T: Copy>(of: Option<[T; 2]>) -> [Option<T>; 2] {
    [of.map(|of| of[0]), of.map(|of| of[1])]
}

impl CardRow {
    pub fn of(s: &TensorSummary) -> Self {
        Self {
            numel: Some(s.numel),
            min: s.min,
            max: s.max,
            l1_norm: Some(s.l1_norm),
            l2_norm: Some(s.l2_norm),
            near_zero_count_1: Some(s.near_zero_count[0]),
            near_zero_count_2: Some(s.near_zero_count[1]),
            zero_count: Some(s.zero_count),
            positive_count: Some(s.positive_count),
            negative_count: Some(s.negative_count),
            nan_count: Some(s.nan_count),
            pos_inf_count: Some(s.pos_inf_count),
            neg_inf_count: Some(s.neg_inf_count),
            sign_flip_count: s.sign_flip_count,
            signed_pair_count: s.signed_pair_count,
        }
    }

    /// `None` where the row has no summary.
    pub fn summary(&self, cosine: CosineRow, dynamics: &DynamicsRow) -> Option<TensorSummary> {
        Some(TensorSummary {
            numel: self.numel?,
            min: self.min,
            max: self.max,
            l1_norm: self.l1_norm?,
            l2_norm: self.l2_norm?,
            near_zero_count: both(self.near_zero_count_1, self.near_zero_count_2)?,
            zero_count: self.zero_count?,
            positive_count: self.positive_count?,
            negative_count: self.negative_count?,
            nan_count: self.nan_count?,
            pos_inf_count: self.pos_inf_count?,
            neg_inf_count: self.neg_inf_count?,
            sign_flip_count: self.sign_flip_count,
            signed_pair_count: self.signed_pair_count,
            cosine_previous: cosine.cosine_previous,
            dynamics: dynamics.dynamics(),
        })
    }
}

impl DynamicsRow {
    pub fn of(d: &Dynamics) -> Self {
        let mut row = Self {
            abs_min_nonzero: d.abs_min_nonzero,
            subnormal_count: Some(d.subnormal_count),
            sum: Some(d.sum),
            std: d.std,
            skewness: d.skewness,
            kurtosis: d.kurtosis,
            first_nonfinite_index: d.first_nonfinite.map(|first| first.index),
            first_nonfinite_value: d.first_nonfinite.map(|first| match first.kind {
                NonfiniteKind::Nan => f32::NAN,
                NonfiniteKind::PosInf => f32::INFINITY,
                NonfiniteKind::NegInf => f32::NEG_INFINITY,
            }),
            ..Self::default()
        };
        transitions_of!(row = d.transitions);
        row
    }

    fn dynamics(&self) -> Option<Dynamics> {
        let first_nonfinite = self.first_nonfinite_index.zip(self.first_nonfinite_value).map(|(index, value)| {
            let kind = match value {
                f32::INFINITY => NonfiniteKind::PosInf,
                f32::NEG_INFINITY => NonfiniteKind::NegInf,
                _ => NonfiniteKind::Nan,
            };
            FirstNonfinite { index, kind }
        });
        Some(Dynamics {
            abs_min_nonzero: self.abs_min_nonzero,
            subnormal_count: self.subnormal_count?,
            sum: self.sum?,
            std: self.std,
            skewness: self.skewness,
            kurtosis: self.kurtosis,
            first_nonfinite,
            transitions: self.transitions(),
        })
    }

    fn transitions(&self) -> Option<Transitions> {
        transitions_of!(self)
    }
}

impl ParameterRow {
    pub fn of(p: &ParameterSummary) -> Self {
        Self {
            numel: Some(p.numel),
            nonfinite_count: Some(p.nonfinite_count),
            min: p.min,
            max: p.max,
            sum: Some(p.sum),
            std: p.std,
            skewness: p.skewness,
            kurtosis: p.kurtosis,
            l1_norm: Some(p.l1_norm),
            l2_norm: Some(p.l2_norm),
            near_zero_count: Some(p.near_zero_count),
        }
    }

    pub fn summary(&self) -> Option<ParameterSummary> {
        Some(ParameterSummary {
            numel: self.numel?,
            nonfinite_count: self.nonfinite_count?,
            min: self.min,
            max: self.max,
            sum: self.sum?,
            std: self.std,
            skewness: self.skewness,
            kurtosis: self.kurtosis,
            l1_norm: self.l1_norm?,
            l2_norm: self.l2_norm?,
            near_zero_count: self.near_zero_count?,
        })
    }
}

impl UpdateRow {
    pub fn of(u: &UpdateSummary) -> Self {
        let mut row = Self {
            previous_step: Some(u.previous_step),
            l1_norm: Some(u.l1_norm),
            l2_norm: Some(u.l2_norm),
            abs_max: Some(u.abs_max),
            to_weight: Some(u.update_to_weight),
            unchanged_count: Some(u.unchanged_count),
            nonfinite_count: Some(u.nonfinite_count),
            minimum_count: u.crossings.map(|c| c.minimum_count),
            maximum_count: u.crossings.map(|c| c.maximum_count),
            flip_unmoved_count: u.crossings.map(|c| c.flip_unmoved_count),
            flip_at_nonfinite_count: u.crossings.map(|c| c.flip_at_nonfinite_count),
            ..Self::default()
        };
        [row.retained_moved_count_1, row.retained_moved_count_2] = pair(u.retained.map(|r| r.map(|r| r.moved_count)));
        [row.retained_sum_1, row.retained_sum_2] = pair(u.retained.map(|r| r.map(|r| r.sum)));
        [row.retained_max_1, row.retained_max_2] = pair(u.retained.map(|r| r.map(|r| r.max)));
        row
    }

    pub fn summary(&self) -> Option<UpdateSummary> {
        Some(UpdateSummary {
            previous_step: self.previous_step?,
            l1_norm: self.l1_norm?,
            l2_norm: self.l2_norm?,
            abs_max: self.abs_max?,
            update_to_weight: self.to_weight?,
            unchanged_count: self.unchanged_count?,
            nonfinite_count: self.nonfinite_count?,
            crossings: self.crossings(),
            retained: self.retained(),
        })
    }

    fn crossings(&self) -> Option<Crossings> {
        Some(Crossings {
            minimum_count: self.minimum_count?,
            maximum_count: self.maximum_count?,
            flip_unmoved_count: self.flip_unmoved_count?,
            flip_at_nonfinite_count: self.flip_at_nonfinite_count?,
        })
    }

    fn retained(&self) -> Option<[RetainedMove; 2]> {
        let moved = both(self.retained_moved_count_1, self.retained_moved_count_2)?;
        let sum = both(self.retained_sum_1, self.retained_sum_2)?;
        let max = both(self.retained_max_1, self.retained_max_2)?;
        Some([0, 1].map(|k| RetainedMove { moved_count: moved[k], sum: sum[k], max: max[k] }))
    }
}

impl GlobalRow {
    /// Norms over finite elements are left out where there is none.
    pub fn of(g: &Global) -> Self {
        let has_finite = g.finite_count() > 0 || g.numel == 0;
        let (p, u) = (g.parameters.as_ref(), g.updates.as_ref());
        let crossings = u.and_then(|u| u.crossings);
        let mut row = Self {
            numel: Some(g.numel),
            min: g.min,
            max: g.max,
            l1_norm: has_finite.then_some(g.l1_norm),
            l2_norm: has_finite.then_some(g.l2_norm),
            near_zero_count_1: Some(g.near_zero_count[0]),
            near_zero_count_2: Some(g.near_zero_count[1]),
            zero_count: Some(g.zero_count),
            positive_count: Some(g.positive_count),
            negative_count: Some(g.negative_count),
            nan_count: Some(g.nan_count),
            pos_inf_count: Some(g.pos_inf_count),
            neg_inf_count: Some(g.neg_inf_count),
            sign_flip_count: g.sign_flip_count,
            signed_pair_count: g.signed_pair_count,
            subnormal_count: g.subnormal_count,
            param_numel: p.map(|p| p.numel),
            param_min: p.and_then(|p| p.min),
            param_max: p.and_then(|p| p.max),
            param_l2_norm: p.filter(|p| p.nonfinite_count < p.numel).map(|p| p.l2_norm),
            param_near_zero_count: p.map(|p| p.near_zero_count),
            param_nonfinite_count: p.map(|p| p.nonfinite_count),
            update_numel: u.map(|u| u.numel),
            update_l2_norm: u.map(|u| u.l2_norm),
            update_unchanged_count: u.map(|u| u.unchanged_count),
            update_nonfinite_count: u.map(|u| u.nonfinite_count),
            update_minimum_count: crossings.map(|c| c.minimum_count),
            update_maximum_count: crossings.map(|c| c.maximum_count),
            update_flip_unmoved_count: crossings.map(|c| c.flip_unmoved_count),
            update_flip_at_nonfinite_count: crossings.map(|c| c.flip_at_nonfinite_count),
            ..Self::default()
        };
        transitions_of!(row = g.transitions);
        row
    }

    /// Counts that are not there are 0.
    pub fn global(&self) -> Global {
        let count = |count: Option<u64>| count.unwrap_or(0);
        Global {
            numel: count(self.numel),
            min: self.min,
            max: self.max,
            l1_norm: self.l1_norm.unwrap_or(0.0),
            l2_norm: self.l2_norm.unwrap_or(0.0),
            near_zero_count: [count(self.near_zero_count_1), count(self.near_zero_count_2)],
            zero_count: count(self.zero_count),
            positive_count: count(self.positive_count),
            negative_count: count(self.negative_count),
            nan_count: count(self.nan_count),
            pos_inf_count: count(self.pos_inf_count),
            neg_inf_count: count(self.neg_inf_count),
            sign_flip_count: self.sign_flip_count,
            signed_pair_count: self.signed_pair_count,
            subnormal_count: self.subnormal_count,
            transitions: self.transitions(),
            parameters: self.parameters(),
            updates: self.updates(),
        }
    }

    fn transitions(&self) -> Option<Transitions> {
        transitions_of!(self)
    }

    fn parameters(&self) -> Option<GlobalParameters> {
        Some(GlobalParameters {
            numel: self.param_numel?,
            min: self.param_min,
            max: self.param_max,
            l2_norm: self.param_l2_norm.unwrap_or(0.0),
            near_zero_count: self.param_near_zero_count?,
            nonfinite_count: self.param_nonfinite_count?,
        })
    }

    fn updates(&self) -> Option<GlobalUpdates> {
        let crossings = || {
            Some(Crossings {
                minimum_count: self.update_minimum_count?,
                maximum_count: self.update_maximum_count?,
                flip_unmoved_count: self.update_flip_unmoved_count?,
                flip_at_nonfinite_count: self.update_flip_at_nonfinite_count?,
            })
        };
        Some(GlobalUpdates {
            numel: self.update_numel?,
            l2_norm: self.update_l2_norm?,
            unchanged_count: self.update_unchanged_count?,
            nonfinite_count: self.update_nonfinite_count?,
            crossings: crossings(),
        })
    }
}

//! The statistics of an update: the move `w - w'` of a parameter since an earlier step.

use super::Stats;
use super::kinds::{self, Whole};
use super::table::statistics;
use serde::{Deserialize, Serialize};

statistics! {
    prefix "update_";

    /// What a part of a parameter contributes to its [`UpdateSummary`].
    part UpdatePartial {
        /// Sum of squares of the parameter before the move.
        param_l2_norm_sq: f64 = SumOfSquares in UPDATES;
    }

    /// The moves `w - w'` of one parameter since the previous step.
    ///
    /// A move counts as non-finite, and is left out of norms, where one of its ends is non-finite or it overflows.
    /// Subnormal weights and moves are zero.
    summary UpdateSummary {
        UPDATES {
            /// The step that `w'` is of: the move was made after it.
            previous_step: u64 = Given => |_part, whole| whole.previous_step;
            /// `sum |w - w'|`.
            l1_norm: f64 = Sum of l1_norm: f64;
            /// `sqrt(sum (w - w')^2)`.
            l2_norm: f64 = SumOfSquares of l2_norm_sq: f64, total f64, "`sqrt(sum of squared l2 norms)` of the moves.";
            /// `max |w - w'|`.
            abs_max: f32 = AbsMax of abs_max: f32;
            /// `l2_norm / max(l2_norm of w', 1e-9)`; healthy around 1e-3.
            update_to_weight as "update_to_weight": f64 = Derived
                => |part, _whole| part.l2_norm_sq.sqrt() / part.param_l2_norm_sq.sqrt().max(1e-9);
            /// Elements of equal bits before and after.
            unchanged_count: u64 = Count of unchanged_count: u64, total u64, "Elements of equal bits before and after.";
            /// Moves with an end that is not finite, or that overflow.
            nonfinite_count: u64 = Count of nonfinite_count: u64,
                total u64, "Moves with an end that is not finite, or that overflow.";
            /// Where the gradient's signs could be compared.
            crossings: Option<Crossings> = Nested of crossings: Crossings,
                total Option<Crossings>, "Over the tensors whose flips could be compared.";
            /// Moves of elements whose gradient was near zero before and now; where that could be compared.
            retained: Option<RetainedMoves> = Nested of retained: RetainedMoves;
        }
    }

    /// Figures over all moves of a step.
    total GlobalUpdates {
        /// Elements of the parameters whose move is known.
        numel: u64 = Numel;
    }
}

statistics! {
    prefix "update_";

    /// Which extremes of the loss along a coordinate were crossed where the gradient flipped: the sign of
    /// `(w - w')(g - p)`, where `w - w'` is the move from where `p` was taken to where `g` was.
    compared Crossings in UPDATES {
        /// The slope turned from down to up on the way: `(w - w')(g - p) > 0`.
        minimum_count: u64 = Count;
        /// The slope turned from up to down on the way: `(w - w')(g - p) < 0`.
        maximum_count: u64 = Count;
        /// The gradient flipped although the element did not move.
        flip_unmoved_count: u64 = Count;
        /// The gradient flipped, and the element is or was non-finite.
        flip_at_nonfinite_count: u64 = Count;
    }
}

statistics! {
    prefix "update_retained_";

    /// What moved among elements whose gradient was retained near zero. Pairs stand for the two epsilons.
    compared RetainedMoves in UPDATES {
        /// Elements that moved.
        moved_count: [u64; 2] = Count;
        /// `sum |w - w'|`.
        sum: [f64; 2] = Sum;
        /// `max |w - w'|`.
        max: [f32; 2] = AbsMax;
    }
}

impl Crossings {
    /// Those of both parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        self.combine_rows(other)
    }
}

impl UpdatePartial {
    /// The summary of the two parts together.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        self.combine_rows(other)
    }

    /// The finished summary of the move made after `previous_step`. `is_compared`: whether flips were known.
    pub fn finish(&self, previous_step: u64, is_compared: bool) -> UpdateSummary {
        self.finish_rows(Whole { finite_count: 0, is_compared, previous_step })
    }
}

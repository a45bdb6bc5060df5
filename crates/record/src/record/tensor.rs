//! One parameter, or one tap, at one step.

use crate::stats::{ParameterSummary, TensorSummary, UpdateSummary};
use serde::{Deserialize, Serialize};

/// One parameter at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorRecord {
    /// What there was of its gradient.
    pub gradient: Gradient,
    /// Where [`Stats::PARAMS`](crate::stats::Stats::PARAMS) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<ParameterSummary>,
    /// The move since the step before, where [`Stats::UPDATES`](crate::stats::Stats::UPDATES) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateSummary>,
    /// Moving averages of the gradient's figures, this step's included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averages: Option<Averages>,
    /// Where [`Stats::EMA`](crate::stats::Stats::EMA) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<Box<EmaRecord>>,
}

/// The card and the dynamics of element-wise moving averages, of a gradient and of a parameter: `x(1)` at first, then
/// `f * average + (1 - f) * x`, by element, with `f` of
/// `ScopeBuilder::average_factor`, 0.9 unless set. A non-finite `x` leaves its
/// average as it was; one that never was finite is NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmaRecord {
    /// Of the average of its gradient.
    pub gradient: Option<TensorSummary>,
    /// Of the average of the parameter.
    pub parameter: Option<TensorSummary>,
}

/// A gradient at one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "almost every one is the large one")]
pub enum Gradient {
    /// The gradient was there and was reduced.
    Observed {
        /// Its statistics.
        #[serde(flatten)]
        summary: TensorSummary,
        /// The step that this one's dynamics compare with.
        previous_step: Option<u64>,
    },
    /// There was no gradient: frozen, unused, or detached from the loss.
    Missing,
    /// There was a gradient that could not be reduced; a [`Notice`](super::Notice) says why.
    Unreadable,
    /// The schedule of this parameter leaves the step out.
    NotDue,
}

impl TensorRecord {
    /// Of a gradient alone.
    pub fn of(gradient: Gradient) -> Self {
        Self { gradient, parameter: None, update: None, averages: None, ema: None }
    }

    /// Whether the schedule of this parameter has the step: whatever is lacking then is a gap.
    pub fn was_due(&self) -> bool {
        self.gradient != Gradient::NotDue || self.parameter.is_some() || self.update.is_some()
    }

    /// The statistics of the gradient, where it was observed.
    pub fn summary(&self) -> Option<&TensorSummary> {
        match &self.gradient {
            Gradient::Observed { summary, .. } => Some(summary),
            Gradient::Missing | Gradient::Unreadable | Gradient::NotDue => None,
        }
    }
}

/// Exponential moving averages of a gradient's figures over the steps it was observed at: `x(1)` at first, then
/// `f * average + (1 - f) * x`, with `f` of `ScopeBuilder::average_factor`, 0.9
/// unless set. A figure that a step lacks leaves its average as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Averages {
    /// Of `sum |g|`.
    pub l1_norm: f64,
    /// Of `sqrt(sum g^2)`.
    pub l2_norm: f64,
    /// Of the share of elements near zero, for each epsilon, in [0, 1].
    pub near_zero_ratio: [f64; 2],
    /// Of the share of signs that flip, in [0, 1]; `None` while none could.
    pub sign_flip_ratio: Option<f64>,
    /// Of the move over the weight; `None` without [`Stats::UPDATES`](crate::stats::Stats::UPDATES).
    pub update_to_weight: Option<f64>,
}

impl Averages {
    /// Share of the past where a scope is not told another.
    pub const DEFAULT_FACTOR: f64 = 0.9;

    /// The averages once `record` has joined `before`; `None` while there is nothing to average.
    pub fn advance(before: Option<Self>, record: &TensorRecord, factor: f64) -> Option<Self> {
        let Some(summary) = record.summary() else { return before };
        let mix = |before: Option<f64>, now: f64| before.map_or(now, |before| factor * before + (1.0 - factor) * now);
        let mix_some = |before: Option<f64>, now: Option<f64>| now.map_or(before, |now| Some(mix(before, now)));
        let near_zero = summary.near_zero_ratio();
        Some(Self {
            l1_norm: mix(before.map(|a| a.l1_norm), summary.l1_norm),
            l2_norm: mix(before.map(|a| a.l2_norm), summary.l2_norm),
            near_zero_ratio: [0, 1].map(|k| mix(before.map(|a| a.near_zero_ratio[k]), near_zero[k])),
            sign_flip_ratio: mix_some(before.and_then(|a| a.sign_flip_ratio), summary.sign_flip_ratio()),
            update_to_weight: mix_some(
                before.and_then(|a| a.update_to_weight),
                record.update.map(|update| update.update_to_weight),
            ),
        })
    }
}

/// A tensor that was given by name, beside parameters and gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TapRecord {
    /// As it was given.
    pub name: String,
    /// By the definitions for gradients; it has no history.
    pub summary: TensorSummary,
    /// Finite elements at or below the lower rail, and at or above the upper one, where rails were given.
    pub tail_count: Option<[u64; 2]>,
}

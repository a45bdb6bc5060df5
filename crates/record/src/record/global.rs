//! Figures over all tensors of a step.

use super::TensorRecord;
use crate::stats::{Crossings, ParameterSummary, Transitions, UpdateSummary};
use serde::{Deserialize, Serialize};

/// Figures over all observed gradients of a step, or of a group of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// Elements observed.
    pub numel: u64,
    /// Smallest finite element of all gradients.
    pub min: Option<f32>,
    /// Largest finite element of all gradients.
    pub max: Option<f32>,
    /// `sum |g|` over finite elements.
    pub l1_norm: f64,
    /// `sqrt(sum of squared l2 norms)`: what clipping by global norm compares, non-finite elements left out.
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
    /// Over the tensors that could be compared with the previous step; `None` where there was none.
    pub sign_flip_count: Option<u64>,
    /// Elements that could have flipped, over the same tensors; `None` where there were none.
    pub signed_pair_count: Option<u64>,
    /// Non-zero elements below the smallest normal f32, where [`Stats::DYNAMICS`](crate::stats::Stats::DYNAMICS) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnormal_count: Option<u64>,
    /// Over the tensors that could be compared with the previous step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Transitions>,
    /// Where [`Stats::PARAMS`](crate::stats::Stats::PARAMS) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<GlobalParameters>,
    /// Where [`Stats::UPDATES`](crate::stats::Stats::UPDATES) was asked for and a step before is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<GlobalUpdates>,
}

/// Figures over all parameters of a step, those without a gradient included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GlobalParameters {
    /// Elements of all parameters.
    pub numel: u64,
    /// Smallest finite element of all parameters.
    pub min: Option<f32>,
    /// Largest finite element of all parameters.
    pub max: Option<f32>,
    /// `sqrt(sum of squared l2 norms)`.
    pub l2_norm: f64,
    /// Finite elements with `|w| < 1e-5`.
    pub near_zero_count: u64,
    /// NaN and infinite elements.
    pub nonfinite_count: u64,
}

/// Figures over all moves of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GlobalUpdates {
    /// Elements of the parameters whose move is known.
    pub numel: u64,
    /// `sqrt(sum of squared l2 norms)` of the moves.
    pub l2_norm: f64,
    /// Elements of equal bits before and after.
    pub unchanged_count: u64,
    /// Moves with an end that is not finite, or that overflow.
    pub nonfinite_count: u64,
    /// Over the tensors whose flips could be compared.
    pub crossings: Option<Crossings>,
}

impl Global {
    /// Folds the tensors, in order.
    pub fn of<'a>(tensors: impl IntoIterator<Item = &'a TensorRecord>) -> Self {
        let mut global = Self::default();
        let mut l2_norm_sq = 0.0;
        for record in tensors {
            if let Some(parameter) = &record.parameter {
                global.parameters.get_or_insert_default().add(parameter);
                if let Some(update) = &record.update {
                    global.updates.get_or_insert_default().add(parameter.numel, update);
                }
            }
            let Some(s) = record.summary() else { continue };
            global.numel += s.numel;
            global.min = least(global.min, s.min);
            global.max = most(global.max, s.max);
            global.l1_norm += s.l1_norm;
            l2_norm_sq += s.l2_norm * s.l2_norm;
            global.near_zero_count = [0, 1].map(|k| global.near_zero_count[k] + s.near_zero_count[k]);
            global.zero_count += s.zero_count;
            global.positive_count += s.positive_count;
            global.negative_count += s.negative_count;
            global.nan_count += s.nan_count;
            global.pos_inf_count += s.pos_inf_count;
            global.neg_inf_count += s.neg_inf_count;
            add(&mut global.sign_flip_count, s.sign_flip_count);
            add(&mut global.signed_pair_count, s.signed_pair_count);
            add(&mut global.subnormal_count, s.dynamics.map(|dynamics| dynamics.subnormal_count));
            if let Some(transitions) = s.dynamics.and_then(|dynamics| dynamics.transitions) {
                global.transitions = Some(global.transitions.unwrap_or_default().combine(transitions));
            }
        }
        global.l2_norm = l2_norm_sq.sqrt();
        global
    }

    /// Of the gradients of two devices, and of the parameters that each of them weighed.
    #[must_use]
    pub(super) fn combine(self, other: Self) -> Self {
        let sum = |a, b| both(a, b, |a: u64, b| a + b);
        Self {
            numel: self.numel + other.numel,
            min: least(self.min, other.min),
            max: most(self.max, other.max),
            l1_norm: self.l1_norm + other.l1_norm,
            l2_norm: self.l2_norm.hypot(other.l2_norm),
            near_zero_count: [0, 1].map(|k| self.near_zero_count[k] + other.near_zero_count[k]),
            zero_count: self.zero_count + other.zero_count,
            positive_count: self.positive_count + other.positive_count,
            negative_count: self.negative_count + other.negative_count,
            nan_count: self.nan_count + other.nan_count,
            pos_inf_count: self.pos_inf_count + other.pos_inf_count,
            neg_inf_count: self.neg_inf_count + other.neg_inf_count,
            sign_flip_count: sum(self.sign_flip_count, other.sign_flip_count),
            signed_pair_count: sum(self.signed_pair_count, other.signed_pair_count),
            subnormal_count: sum(self.subnormal_count, other.subnormal_count),
            transitions: both(self.transitions, other.transitions, Transitions::combine),
            parameters: both(self.parameters, other.parameters, GlobalParameters::combine),
            updates: both(self.updates, other.updates, GlobalUpdates::combine),
        }
    }

    /// NaN and infinite elements together.
    pub fn nonfinite_count(&self) -> u64 {
        self.nan_count + self.pos_inf_count + self.neg_inf_count
    }

    /// Finite elements.
    pub fn finite_count(&self) -> u64 {
        self.numel - self.nonfinite_count().min(self.numel)
    }

    /// `near_zero_count / numel` for each epsilon, in [0, 1]; `None` where nothing was observed.
    pub fn near_zero_ratio(&self) -> Option<[f64; 2]> {
        (self.numel > 0).then(|| self.near_zero_count.map(|count| count as f64 / self.numel as f64))
    }

    /// `sign_flip_count / signed_pair_count`; `None` where nothing could flip.
    pub fn sign_flip_ratio(&self) -> Option<f64> {
        let (flips, pairs) = (self.sign_flip_count?, self.signed_pair_count?);
        (pairs > 0).then(|| flips as f64 / pairs as f64)
    }
}

impl GlobalParameters {
    fn combine(self, other: Self) -> Self {
        Self {
            numel: self.numel + other.numel,
            min: least(self.min, other.min),
            max: most(self.max, other.max),
            l2_norm: self.l2_norm.hypot(other.l2_norm),
            near_zero_count: self.near_zero_count + other.near_zero_count,
            nonfinite_count: self.nonfinite_count + other.nonfinite_count,
        }
    }

    fn add(&mut self, parameter: &ParameterSummary) {
        self.numel += parameter.numel;
        self.min = least(self.min, parameter.min);
        self.max = most(self.max, parameter.max);
        self.l2_norm = self.l2_norm.hypot(parameter.l2_norm);
        self.near_zero_count += parameter.near_zero_count;
        self.nonfinite_count += parameter.nonfinite_count;
    }
}

impl GlobalUpdates {
    fn combine(self, other: Self) -> Self {
        Self {
            numel: self.numel + other.numel,
            l2_norm: self.l2_norm.hypot(other.l2_norm),
            unchanged_count: self.unchanged_count + other.unchanged_count,
            nonfinite_count: self.nonfinite_count + other.nonfinite_count,
            crossings: both(self.crossings, other.crossings, Crossings::combine),
        }
    }

    fn add(&mut self, numel: u64, update: &UpdateSummary) {
        self.numel += numel;
        self.l2_norm = self.l2_norm.hypot(update.l2_norm);
        self.unchanged_count += update.unchanged_count;
        self.nonfinite_count += update.nonfinite_count;
        if let Some(crossings) = update.crossings {
            self.crossings = Some(self.crossings.unwrap_or_default().combine(crossings));
        }
    }
}

/// The two together, or the one that is there.
fn both<T>(a: Option<T>, b: Option<T>, combine: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(combine(a, b)),
        (a, b) => a.or(b),
    }
}

fn least(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    [a, b].into_iter().flatten().reduce(f32::min)
}

fn most(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    [a, b].into_iter().flatten().reduce(f32::max)
}

fn add(total: &mut Option<u64>, count: Option<u64>) {
    if let Some(count) = count {
        *total = Some(total.unwrap_or(0) + count);
    }
}

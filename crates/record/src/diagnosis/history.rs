//! What of a run's past the rules weigh a step against: a few numbers a tensor, whatever the run's length.

use crate::record::{Gradient, Param, StepRecord, TensorRecord};
use crate::stats::UpdateSummary;

/// Observations that make the early level.
pub(super) const EARLY_COUNT: u32 = 32;
/// Observations that a moving average reaches back over, about.
const REACH: f64 = 16.0;
/// Losses that their early level, and the present one, are the median of.
const LOSS_WINDOW_LEN: usize = 32;
/// Gradient norms that a spike is held against.
const NORM_WINDOW_LEN: usize = 128;

/// A moving average over about [`REACH`] observations, that begins as a plain one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    pub count: u32,
    pub now: f64,
}

impl Mean {
    fn take(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.now += (value - self.now) / f64::from(self.count).min(REACH);
    }
}

/// A positive figure: its level early in the run and its present one, both geometric means.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    early: f64,
    log: Mean,
    /// The highest present level so far.
    peak_log: f64,
}

impl Level {
    fn take(&mut self, value: f64) {
        if !(value.is_finite() && value > 0.0) {
            return;
        }
        let log = value.ln();
        self.log.take(log);
        if self.log.count <= EARLY_COUNT {
            self.early += (log - self.early) / f64::from(self.log.count);
            self.peak_log = self.log.now;
        }
        self.peak_log = self.peak_log.max(self.log.now);
    }

    pub fn count(&self) -> u32 {
        self.log.count
    }

    pub fn now(&self) -> f64 {
        self.log.now.exp()
    }

    pub fn peak(&self) -> f64 {
        self.peak_log.exp()
    }

    /// Present over early, once there is a later part of the run.
    pub fn change(&self) -> Option<f64> {
        (self.log.count >= 2 * EARLY_COUNT).then(|| (self.log.now - self.early).exp())
    }
}

/// Steps in a row in which a figure at least doubled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ratios {
    last: f64,
    pub doubled_count: u32,
}

impl Ratios {
    fn take(&mut self, value: f64) {
        let ratio = if self.last > 0.0 { value / self.last } else { 1.0 };
        self.doubled_count = if ratio >= 2.0 { self.doubled_count + 1 } else { 0 };
        self.last = value;
    }
}

/// Growth, or decay, at a pace that does not slow: how many times in a row a figure has gone on by a factor of 2^(1/4), each in
/// no more than five quarters of the least number of steps that any of them took.
///
/// A figure that grows linearly takes 1.19 times as long each time, and is not counted further than twice. One that takes more than 200
/// steps for a factor is not counted at all: weight decay does that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    count: u32,
    level: f64,
    since: u64,
    least_interval: u64,
    up: bool,
    pub grown_count: u32,
    pub shrunk_count: u32,
}

/// By which each step of a pace goes on: 2^(1/4).
pub(super) const PACE_FACTOR: f64 = 1.189_207_115_002_721;
/// First observations, that settle what initialisation left.
const PACE_FROM: u32 = 8;
/// Steps that a factor may take.
const PACE_STEP_COUNT_MAX: u64 = 200;

impl Pace {
    fn take(&mut self, step: u64, value: f64) {
        if !(value.is_finite() && value > 0.0) {
            return;
        }
        self.count = self.count.saturating_add(1);
        if self.count <= PACE_FROM {
            (self.level, self.since) = (value, step);
            return;
        }
        let (ratio, interval) = (value / self.level, step.saturating_sub(self.since));
        let slows = interval > PACE_STEP_COUNT_MAX || interval as f64 > 1.25 * self.least_interval as f64;
        if (1.0 / PACE_FACTOR..PACE_FACTOR).contains(&ratio) {
            if slows {
                (self.grown_count, self.shrunk_count) = (0, 0);
            }
            return;
        }
        let up = ratio > 1.0;
        let goes_on = up == self.up && self.grown_count + self.shrunk_count > 0 && !slows;
        // A leap is worth one step of the pace: the next begins where it ended.
        let times = match goes_on {
            true => self.grown_count + self.shrunk_count + 1,
            false => u32::from(interval <= PACE_STEP_COUNT_MAX),
        };
        (self.grown_count, self.shrunk_count) = if up { (times, 0) } else { (0, times) };
        self.least_interval = if goes_on { self.least_interval.min(interval) } else { interval };
        (self.up, self.level, self.since) = (up, value, step);
    }
}

/// One parameter.
#[derive(Clone, Debug, Default)]
pub(super) struct TensorHistory {
    /// Root mean square of the gradient.
    pub gradient: Level,
    pub ratios: Ratios,
    /// Share of exact zeros in the gradient: early, and now.
    pub early_zero: Mean,
    pub zero: Mean,
    /// Share of near zeros that were near zero before.
    pub retained: Mean,
    pub sign_flip: Mean,
    /// Of the flips that crossed an extreme, those that crossed a minimum.
    pub minimum_share: Mean,
    pub update_to_weight: Level,
    pub weight: Pace,
    /// L2 norms of the parameter: the first that is not zero, and the last.
    pub first_weight: f64,
    pub last_weight: f64,
    /// Observations until the parameter's growth and moves say something: one that begins at zero takes them to get away from there.
    unsettled_count: u32,
}

/// Observations of a parameter that began at zero before it is like others.
const UNSETTLED_COUNT: u32 = 128;

/// The move of a single step: others are over the steps between two samples, or over an epoch.
fn one_move(step: u64, tensor: &TensorRecord) -> Option<UpdateSummary> {
    tensor.update.filter(|update| update.nonfinite_count == 0 && update.previous_step.saturating_add(1) == step)
}

impl TensorHistory {
    /// Level of the gradient's L2 norm, after that many observations of it.
    pub fn l2_norm(&self, numel: u64, warm_up: u32) -> Option<f64> {
        (self.gradient.count() >= warm_up).then(|| self.gradient.now() * (numel as f64).sqrt())
    }

    fn is_settled(&self) -> bool {
        self.unsettled_count == 0
    }

    fn take(&mut self, step: u64, tensor: &TensorRecord) {
        if let Some(parameter) = tensor.parameter.filter(|parameter| parameter.nonfinite_count == 0) {
            if parameter.l2_norm == 0.0 {
                self.unsettled_count = UNSETTLED_COUNT;
            }
            self.unsettled_count = self.unsettled_count.saturating_sub(1);
            self.last_weight = parameter.l2_norm;
            if self.is_settled() {
                self.weight.take(step, parameter.l2_norm);
                if self.first_weight == 0.0 {
                    self.first_weight = parameter.l2_norm;
                }
            }
            if let Some(update) = one_move(step, tensor).filter(|_| self.is_settled()) {
                // The step that a move is 0 at says nothing of the rate.
                self.update_to_weight.take(update.update_to_weight);
                if let Some(crossings) = update.crossings {
                    let crossed = crossings.minimum_count + crossings.maximum_count;
                    if crossed > 0 {
                        self.minimum_share.take(crossings.minimum_count as f64 / crossed as f64);
                    }
                }
            }
        }
        let Some(summary) = tensor.summary().filter(|summary| !summary.has_nonfinite() && summary.numel > 0) else {
            return;
        };
        let numel = summary.numel as f64;
        self.gradient.take(summary.l2_norm / numel.sqrt());
        self.ratios.take(summary.l2_norm);
        let zero = summary.zero_count as f64 / numel;
        self.zero.take(zero);
        if self.early_zero.count < EARLY_COUNT {
            self.early_zero.take(zero);
        }
        if let Some(ratio) = summary.sign_flip_ratio() {
            self.sign_flip.take(ratio);
        }
        if let Some(transitions) = summary.dynamics.and_then(|dynamics| dynamics.transitions) {
            let before = transitions.near_zero_before_count()[0];
            if before > 0 {
                self.retained.take(transitions.retained_count[0] as f64 / before as f64);
            }
        }
    }
}

/// The loss, by the scalar of that name.
#[derive(Clone, Debug, Default)]
pub(super) struct LossHistory {
    pub count: u32,
    /// Median of the first losses.
    pub early: f64,
    /// That of the next ones, when the first moves are made.
    pub settled: f64,
    /// Median of the last ones.
    pub now: f64,
    /// The lowest such median so far.
    pub best: f64,
    /// The upper quartile of the last ones less the lower.
    pub spread: f64,
    /// That of the first ones.
    early_spread: f64,
    window: Vec<f64>,
}

impl LossHistory {
    fn take(&mut self, loss: f64) {
        if !loss.is_finite() {
            return;
        }
        let at = self.count as usize % LOSS_WINDOW_LEN;
        match self.window.get_mut(at) {
            Some(place) => *place = loss,
            None => self.window.push(loss),
        }
        self.count = self.count.saturating_add(1);
        let mut sorted = [0.0; LOSS_WINDOW_LEN];
        let sorted = &mut sorted[..self.window.len()];
        sorted.copy_from_slice(&self.window);
        sorted.sort_unstable_by(f64::total_cmp);
        let len = sorted.len();
        self.now = sorted[len / 2];
        self.spread = sorted[(3 * len / 4).min(len - 1)] - sorted[len / 4];
        if len < LOSS_WINDOW_LEN || self.count as usize == LOSS_WINDOW_LEN {
            (self.early, self.best, self.early_spread) = (self.now, self.now, self.spread);
        } else if self.now < self.best {
            self.best = self.now;
        }
        if self.count as usize <= 2 * LOSS_WINDOW_LEN {
            self.settled = self.now;
        }
    }

    /// How large the loss is to begin with: losses that begin about zero have a size by how they spread.
    pub fn size(&self) -> f64 {
        self.early.abs().max(self.early_spread)
    }

    /// Whether it is ten times as far below zero as it was above to begin with.
    pub fn falls_without_bound(&self) -> bool {
        self.now < -10.0 * self.size().max(1.0)
    }

    /// Whether there are enough losses for levels.
    pub fn is_known(&self) -> bool {
        self.count as usize >= LOSS_WINDOW_LEN
    }
}

pub(super) struct History {
    /// Records with a gradient.
    pub observed_count: u32,
    pub tensors: Vec<TensorHistory>,
    /// L2 norm of all gradients.
    pub norm: Level,
    pub norm_ratios: Ratios,
    /// Mean and standard deviation of the norms before this one, once there are enough.
    pub norm_before: Option<(f64, f64)>,
    norms: Vec<f64>,
    norm_count: usize,
    /// All moves over all weights: the last, and their level.
    pub last_update_to_weight: Option<f64>,
    pub update_to_weight: Level,
    pub loss: Option<LossHistory>,
    pub lr: Option<f64>,
    lr_peak: f64,
    /// Observation at which the learning rate was last higher than ever before.
    lr_rose_at: u32,
    pub lr_pace: Pace,
    /// Whether the records begin where training did.
    pub from_start: bool,
    pub first_step: Option<u64>,
}

/// A first record further on is not of the start.
const START_STEP_MAX: u64 = 16;

impl History {
    pub fn new(tensor_count: usize, from_start: bool) -> Self {
        Self {
            observed_count: 0,
            tensors: vec![TensorHistory::default(); tensor_count],
            norm: Level::default(),
            norm_ratios: Ratios::default(),
            norm_before: None,
            norms: vec![],
            norm_count: 0,
            last_update_to_weight: None,
            update_to_weight: Level::default(),
            lr_pace: Pace::default(),
            loss: None,
            lr: None,
            lr_peak: 0.0,
            lr_rose_at: 0,
            from_start,
            first_step: None,
        }
    }

    /// How a tensor's gradient has changed since early in the run, over how the whole model's has.
    pub fn relative_change(&self, place: usize) -> Option<f64> {
        Some(self.tensors[place].gradient.change()? / self.norm.change()?.max(1e-30))
    }

    /// Whether the rate has not risen for a while: in a warm-up moves are small on purpose.
    pub fn is_warm(&self) -> bool {
        self.lr_rose_at == 0 || self.observed_count - self.lr_rose_at > 2 * EARLY_COUNT
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &StepRecord, params: &[Param]) {
        if self.first_step.is_none() {
            // A schedule that begins late does not see how training does.
            self.from_start &= record.step <= START_STEP_MAX;
        }
        self.first_step = self.first_step.or(Some(record.step));
        let (mut moves, mut weights) = (0.0, 0.0);
        for ((history, tensor), param) in self.tensors.iter_mut().zip(&record.tensors).zip(params) {
            history.take(record.step, tensor);
            let moved = one_move(record.step, tensor).filter(|_| param.trainable && history.is_settled());
            if let (Some(moved), Some(weight)) = (moved, tensor.parameter) {
                moves += moved.l2_norm.powi(2);
                weights += weight.l2_norm.powi(2);
            }
        }
        self.last_update_to_weight = (weights > 0.0).then(|| (moves / weights).sqrt());
        self.last_update_to_weight.into_iter().for_each(|ratio| self.update_to_weight.take(ratio));
        if record.last_move {
            return;
        }
        if let Some(loss) = record.scalar("loss") {
            self.loss.get_or_insert_default().take(loss);
        }
        if let Some(lr) = record.scalar("lr").filter(|lr| lr.is_finite()) {
            if self.lr.is_some() && lr > self.lr_peak {
                self.lr_rose_at = self.observed_count;
            }
            self.lr_peak = self.lr_peak.max(lr);
            self.lr_pace.take(record.step, lr);
            self.lr = Some(lr);
        }
        if record.global.numel == 0 {
            return;
        }
        self.observed_count = self.observed_count.saturating_add(1);
        let norm = record.global.l2_norm;
        self.norm_before = None;
        // Where schedules differ, norms of different tensors are no history.
        let is_whole = !record.tensors.iter().any(|t| matches!(t.gradient, Gradient::NotDue | Gradient::Unreadable));
        if !is_whole || record.global.nonfinite_count() > 0 || !norm.is_finite() {
            return;
        }
        self.norm.take(norm);
        self.norm_ratios.take(norm);
        self.norm_before = (self.norms.len() == NORM_WINDOW_LEN).then(|| {
            let mean = self.norms.iter().sum::<f64>() / NORM_WINDOW_LEN as f64;
            let variance = self.norms.iter().map(|norm| (norm - mean).powi(2)).sum::<f64>() / NORM_WINDOW_LEN as f64;
            (mean, variance.sqrt())
        });
        match self.norms.get_mut(self.norm_count % NORM_WINDOW_LEN) {
            Some(place) => *place = norm,
            None => self.norms.push(norm),
        }
        self.norm_count += 1;
    }
}

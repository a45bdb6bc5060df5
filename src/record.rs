//! What one step leaves behind, and what a scope reports.

use crate::stats::{Crossings, Histogram, ParameterSummary, Segment, TensorSummary, Transitions, UpdateSummary};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A parameter of the observed model: an entry of the table that [`StepRecord::tensors`] follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Module path, such as `layer1.0.conv1.weight`.
    pub path: String,
    pub shape: Vec<usize>,
    pub numel: u64,
    /// Element type, such as `f32`.
    pub dtype: String,
}

/// One parameter at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorRecord {
    pub gradient: Gradient,
    /// Where [`Group::Params`](crate::Group) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<ParameterSummary>,
    /// The move since the step before, where [`Group::Updates`](crate::Group) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateSummary>,
    /// Moving averages of the gradient's figures, this step's included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averages: Option<Averages>,
    /// Where [`Group::Ema`](crate::Group) was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<Box<EmaRecord>>,
}

/// The card and the dynamics of element-wise moving averages, of a gradient and of a parameter: `x(1)` at first, then
/// `0.9 * average + 0.1 * x`, by element. A non-finite `x` leaves its average as it was; one that never was finite is
/// NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmaRecord {
    pub gradient: Option<TensorSummary>,
    pub parameter: Option<TensorSummary>,
}

/// A gradient at one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "almost every one is the large one")]
pub enum Gradient {
    /// The gradient was there and was reduced.
    Observed {
        #[serde(flatten)]
        summary: TensorSummary,
        /// The step that this one's dynamics compare with.
        previous_step: Option<u64>,
    },
    /// There was no gradient: frozen, unused, or detached from the loss.
    Missing,
    /// There was a gradient that could not be reduced; a [`Notice`] says why.
    Unreadable,
    /// The schedule of this parameter leaves the step out.
    NotDue,
}

impl TensorRecord {
    /// Of a gradient alone.
    pub fn of(gradient: Gradient) -> Self {
        Self { gradient, parameter: None, update: None, averages: None, ema: None }
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
/// `0.9 * average + 0.1 * x`. A figure that a step lacks leaves its average as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    pub l1_norm: f64,
    pub l2_norm: f64,
    pub near_zero_ratio: [f64; 2],
    pub sign_flip_ratio: Option<f64>,
    pub update_to_weight: Option<f64>,
}

impl Averages {
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
    pub name: String,
    /// By the definitions for gradients; it has no history.
    pub summary: TensorSummary,
    /// Finite elements at or below the lower rail, and at or above the upper one, where rails were given.
    pub tail_count: Option<[u64; 2]>,
}

/// Distributions of a step at which they were due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<HistogramRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ChannelsRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_map: Option<SignMapRow>,
}

/// How a gradient or a parameter spreads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramRecord {
    /// Place in the scope's table of parameters.
    pub param: usize,
    pub of: HistogramOf,
    pub histogram: Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistogramOf {
    Gradient,
    Parameter,
}

/// A weight's gradient by output channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelsRecord {
    /// Place in the scope's table of parameters.
    pub param: usize,
    /// The last dimension of a matrix, the first of a kernel of three dimensions or more.
    pub channels: Vec<Segment>,
}

impl ChannelsRecord {
    /// Channels all of whose gradients are zero: units that nothing trains.
    pub fn dead_count(&self) -> usize {
        self.channels.iter().filter(|channel| channel.zero_count == channel.numel).count()
    }
}

/// One row of a [`SignMap`](crate::SignMap): what each column's gradients are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignMapRow {
    /// The elements shown, counted through the selected parameters laid end to end.
    pub first_element: u64,
    pub element_count: u64,
    /// A column whose parameters had no gradient has no elements.
    pub columns: Vec<Segment>,
}

/// Figures over all observed gradients of a step, or of a group of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// Elements observed.
    pub numel: u64,
    /// Smallest finite element of all gradients.
    pub min: Option<f32>,
    /// Largest finite element of all gradients.
    pub max: Option<f32>,
    pub l1_norm: f64,
    /// `sqrt(sum of squared l2 norms)`: what clipping by global norm compares, non-finite elements left out.
    pub l2_norm: f64,
    pub near_zero_count: [u64; 2],
    pub zero_count: u64,
    pub positive_count: u64,
    pub negative_count: u64,
    pub nan_count: u64,
    pub pos_inf_count: u64,
    pub neg_inf_count: u64,
    /// Over the tensors that could be compared with the previous step; `None` where there was none.
    pub sign_flip_count: Option<u64>,
    pub signed_pair_count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnormal_count: Option<u64>,
    /// Over the tensors that could be compared with the previous step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Transitions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<GlobalParameters>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<GlobalUpdates>,
}

/// Figures over all parameters of a step, those without a gradient included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GlobalParameters {
    pub numel: u64,
    /// Smallest and largest finite element of all parameters.
    pub min: Option<f32>,
    pub max: Option<f32>,
    pub l2_norm: f64,
    pub near_zero_count: u64,
    pub nonfinite_count: u64,
}

/// Figures over all moves of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GlobalUpdates {
    pub numel: u64,
    pub l2_norm: f64,
    pub unchanged_count: u64,
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

    /// NaN and infinite elements together.
    pub fn nonfinite_count(&self) -> u64 {
        self.nan_count + self.pos_inf_count + self.neg_inf_count
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

/// What observing the step cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The training thread's time in `gradients()` and `submit()`, all told.
    pub submit_secs: f64,
    /// The part of it spent handing the tensors over to burn's device.
    pub handoff_secs: f64,
    /// The part of it spent waiting for a staging buffer; 0 while the ring has room.
    pub wait_secs: f64,
    /// Tensors that had to be made contiguous, or widened to f32, first.
    pub copied_count: u32,
    /// Bytes read back for the step, all together.
    pub readback_bytes: u32,
}

/// One observed step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    pub step: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Whether this is the record of the last move alone: no step was observed, and there are no gradients.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_move: bool,
    /// Named figures of the step, in the order they were given: GPU scalars and host values.
    #[serde(deserialize_with = "scalars_or_nan")]
    pub scalars: Vec<(String, f64)>,
    /// One entry for each parameter of the scope's table, in its order.
    pub tensors: Vec<TensorRecord>,
    pub global: Global,
    /// Groups of layers, by the names they were given, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<(String, Global)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taps: Vec<TapRecord>,
    /// Where their schedules have them due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapes: Option<Shapes>,
    pub cost: Cost,
}

/// JSON has no NaN: a figure that is none is written as null.
fn scalars_or_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, f64)>, D::Error> {
    let scalars: Vec<(String, Option<f64>)> = Deserialize::deserialize(deserializer)?;
    Ok(scalars.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

impl StepRecord {
    /// The figure given as `name` with this step.
    pub fn scalar(&self, name: &str) -> Option<f64> {
        self.scalars.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }
}

/// How a run stands, in its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Records are being written, or the process was killed while they were.
    Running,
    /// Training came to its end.
    Finished,
    /// Training was asked to stop.
    Interrupted,
    /// The scope was dropped without being finished.
    Unfinished,
}

/// Something that went wrong with observing, and that training did not stop for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The step it happened at.
    pub step: u64,
    #[serde(flatten)]
    pub kind: NoticeKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoticeKind {
    /// The staging ring was full and the scope was told to drop rather than wait.
    StepDropped { in_flight_count: usize },
    /// A gradient's layout or element type changed; its history starts anew.
    HistoryReset { path: String, reason: String },
    /// A gradient could not be reduced.
    Unreadable { path: String, reason: String },
    /// The model has parameters that were not there when the scope was built.
    ModelChanged { unknown_count: usize },
    /// A scalar could not be read.
    ScalarSkipped { name: String, reason: String },
    /// A tap could not be reduced.
    TapSkipped { name: String, reason: String },
    /// A gradient scale that gradients can't be divided by.
    BadScale { scale: String },
    /// Raw tensors could not be written.
    CaptureFailed { path: String, reason: String },
    /// The step's summaries did not come back.
    StepLost { reason: String },
    /// The run folder can't be written any more; observing goes on without it.
    StoreFailed { reason: String },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: ", self.step)?;
        match &self.kind {
            NoticeKind::StepDropped { in_flight_count } => {
                write!(
                    f,
                    "not observed: {in_flight_count} steps were in flight; a longer ring (`ring_len`) or `WhenFull::Wait` keeps every step"
                )
            }
            NoticeKind::HistoryReset { path, reason } => write!(f, "{path}: {reason}; sign flips start anew"),
            NoticeKind::Unreadable { path, reason } => write!(f, "{path}: not observed: {reason}"),
            NoticeKind::ModelChanged { unknown_count } => write!(
                f,
                "{unknown_count} parameters of the model were not there when the scope was built, and are not observed; build a new scope for a changed model"
            ),
            NoticeKind::ScalarSkipped { name, reason } => write!(f, "scalar `{name}` was skipped: {reason}"),
            NoticeKind::TapSkipped { name, reason } => write!(f, "tap `{name}` was skipped: {reason}"),
            NoticeKind::BadScale { scale } => {
                write!(
                    f,
                    "gradient scale {scale} is no finite, positive number; statistics are of gradients as they came"
                )
            }
            NoticeKind::CaptureFailed { path, reason } => write!(f, "{path}: not captured: {reason}"),
            NoticeKind::StepLost { reason } => write!(f, "lost: {reason}"),
            NoticeKind::StoreFailed { reason } => write!(f, "the run folder is no longer written: {reason}"),
        }
    }
}

/// What [`poll`](crate::Scope::poll) hands out.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "almost every one is the large one")]
pub enum Event {
    Record(StepRecord),
    Notice(Notice),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notice(notice) => notice.fmt(f),
            Self::Record(record) => {
                write!(f, "step {}", record.step)?;
                for (name, value) in &record.scalars {
                    write!(f, " {name} {value:.4}")?;
                }
                let global = &record.global;
                write!(f, " |g| {:.4e}", global.l2_norm)?;
                if let Some(ratio) = global.sign_flip_ratio() {
                    write!(f, " flips {:.1}%", 100.0 * ratio)?;
                }
                if global.nonfinite_count() > 0 {
                    write!(f, " NON-FINITE {}", global.nonfinite_count())?;
                }
                Ok(())
            }
        }
    }
}

//! What one step leaves behind, and what a scope reports.

use crate::stats::TensorSummary;
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

/// One parameter's gradient at one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorRecord {
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
}

impl TensorRecord {
    /// The statistics, where the gradient was observed.
    pub fn summary(&self) -> Option<&TensorSummary> {
        match self {
            Self::Observed { summary, .. } => Some(summary),
            Self::Missing | Self::Unreadable => None,
        }
    }
}

/// Figures over all observed gradients of a step.
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
}

impl Global {
    /// Folds the observed tensors, in order.
    pub fn of(tensors: &[TensorRecord]) -> Self {
        let mut global = Self::default();
        let mut l2_norm_sq = 0.0;
        let add = |total: &mut Option<u64>, count: Option<u64>| {
            if let Some(count) = count {
                *total = Some(total.unwrap_or(0) + count);
            }
        };
        for s in tensors.iter().filter_map(TensorRecord::summary) {
            global.numel += s.numel;
            global.min = [global.min, s.min].into_iter().flatten().reduce(f32::min);
            global.max = [global.max, s.max].into_iter().flatten().reduce(f32::max);
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

/// What observing the step cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The training thread's time in `gradients()` and `submit()`, all told.
    pub submit_secs: f64,
    /// The part of it spent handing the tensors over to burn's device.
    pub handoff_secs: f64,
    /// The part of it spent waiting for a staging buffer; 0 while the ring has room.
    pub wait_secs: f64,
    /// Gradients that had to be made contiguous first.
    pub copied_count: u32,
    /// Bytes read back for the step, statistics and scalars together.
    pub readback_bytes: u32,
}

/// One observed step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    pub step: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Named figures of the step, in the order they were given: GPU scalars and host values.
    pub scalars: Vec<(String, f64)>,
    /// One entry for each parameter of the scope's table, in its order.
    pub tensors: Vec<TensorRecord>,
    pub global: Global,
    pub cost: Cost,
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
            NoticeKind::StepLost { reason } => write!(f, "lost: {reason}"),
            NoticeKind::StoreFailed { reason } => write!(f, "the run folder is no longer written: {reason}"),
        }
    }
}

/// What [`poll`](crate::Scope::poll) hands out.
#[derive(Clone, Debug, PartialEq)]
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

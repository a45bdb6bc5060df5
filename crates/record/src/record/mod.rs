//! What one step leaves behind, and what a scope reports.

mod figures;
mod finding;
mod global;
mod merge;
mod notice;
mod prose;
mod rule;
mod shapes;
mod tensor;

pub use figures::{Figure, Scale};
pub use finding::{Action, Finding, Severity};
pub use global::{Global, GlobalDynamics, GlobalParameters, GlobalUpdates};
pub use notice::FOLDER_GONE;
pub use notice::{Notice, NoticeKind};
pub use prose::short;
pub use rule::{Rule, UnknownRule};
pub use shapes::{ChannelsRecord, HistogramOf, HistogramRecord, Shapes, SignMapRow};
pub use tensor::{Averages, EmaRecord, Gradient, TapRecord, TensorRecord};

use serde::{Deserialize, Serialize};
use std::fmt;

/// A parameter of the observed model: an entry of the table that [`StepRecord::tensors`] follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Module path, such as `layer1.0.conv1.weight`.
    pub path: String,
    /// As burn has it: `[in, out]` of a linear layer's weight, `[out, in, height, width]` of a convolution's.
    pub shape: Vec<usize>,
    /// Elements: the product of `shape`.
    pub numel: u64,
    /// Element type, such as `f32`.
    pub dtype: String,
    /// Whether a gradient is asked for it: not of frozen parameters. In a manifest it is as it was last.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub trainable: bool,
    /// Other module paths of the same parameter, where layers share it. It is observed once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tied: Vec<String>,
}

impl Param {
    /// A trainable parameter in f32 at one path; `numel` follows from `shape`.
    pub fn new(path: impl Into<String>, shape: Vec<usize>) -> Self {
        let numel = shape.iter().map(|&len| len as u64).product();
        Self { path: path.into(), shape, numel, dtype: "f32".into(), trainable: true, tied: vec![] }
    }
}

fn yes() -> bool {
    true
}

/// What observing the step cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds of the training thread in `scalar()`, `tap()`, `gradients()` and `submit()`, all told, waiting included.
    pub submit_secs: f64,
    /// The part of it spent handing the tensors over to burn's device.
    pub handoff_secs: f64,
    /// The part of it spent waiting for a staging buffer; 0 while the ring has room.
    pub wait_secs: f64,
    /// The training thread's time reading the step's figures once they had come back, in `poll()` or `read()`.
    #[serde(default)]
    pub read_secs: f64,
    /// Time on burn's device thread: recording the commands and submitting them, which a driver may hold up while its queue
    /// is full.
    #[serde(default)]
    pub encode_secs: f64,
    /// Seconds on the GPU, by its own clock, copies included; `None` where
    /// `ScopeBuilder::gpu_timer` is off, as it is by default on software drivers,
    /// where the adapter has no timestamps among commands, and without a GPU.
    #[serde(default)]
    pub gpu_secs: Option<f64>,
    /// Tensors that had to be made contiguous, or widened to f32, first.
    pub copied_count: u32,
    /// Bytes read back for the step, all together.
    pub readback_bytes: u32,
}

/// One observed step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its number, as given to `Scope::step`.
    pub step: u64,
    /// As given with the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Unix time, in seconds, at which the step was submitted; `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_secs: Option<f64>,
    /// Whether this is the record of the last move alone: no step was observed, and there are no gradients.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_move: bool,
    /// Named figures of the step, in the order they were given: GPU scalars and host values. NaN where the value was
    /// NaN, or did not come back.
    #[serde(deserialize_with = "scalars_or_nan")]
    pub scalars: Vec<(String, f64)>,
    /// One entry for each parameter of the scope's table, in its order.
    pub tensors: Vec<TensorRecord>,
    /// Figures over all of `tensors`.
    pub global: Global,
    /// Groups of layers, by the names they were given, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<(String, Global)>,
    /// Tensors given by name with the step, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taps: Vec<TapRecord>,
    /// Where their schedules have them due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapes: Option<Shapes>,
    /// What observing this step cost.
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
#[non_exhaustive]
pub enum RunStatus {
    /// Records are being written, or the process was killed while they were.
    Running,
    /// Training came to its end.
    Finished,
    /// Training was asked to stop.
    Interrupted,
    /// The scope was dropped without being finished; of `Run::status`, also that the process was
    /// killed.
    Unfinished,
}

impl RunStatus {
    /// As in `run.json`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Unfinished => "unfinished",
        }
    }
}

/// What a scope's `poll` hands out.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "almost every one is the large one")]
#[non_exhaustive]
pub enum Event {
    /// A step, once its figures are back; steps come in order.
    Record(StepRecord),
    /// Something that went wrong with observing.
    Notice(Notice),
    /// A diagnosis, when it is made; and once more, closed, when it holds no longer.
    Finding(Finding),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notice(notice) => notice.fmt(f),
            Self::Finding(finding) => finding.fmt(f),
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

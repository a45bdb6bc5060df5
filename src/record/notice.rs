//! What went wrong with observing.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that went wrong with observing, and that training did not stop for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The step it happened at.
    pub step: u64,
    /// What it was.
    #[serde(flatten)]
    pub kind: NoticeKind,
}

/// What went wrong. `Display` of the [`Notice`] has it in words, with a remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// The staging ring was full and the scope was told to drop rather than wait.
    StepDropped {
        /// Steps that were on their way back.
        in_flight_count: usize,
    },
    /// A gradient's layout or element type changed; its history starts anew.
    HistoryReset {
        /// The parameter.
        path: String,
        /// What changed.
        reason: String,
    },
    /// A gradient could not be reduced.
    Unreadable {
        /// The parameter.
        path: String,
        /// Why.
        reason: String,
    },
    /// The model has parameters that were not there when the scope was built.
    ModelChanged {
        /// How many.
        unknown_count: usize,
    },
    /// A scalar could not be read.
    ScalarSkipped {
        /// As it was given.
        name: String,
        /// Why.
        reason: String,
    },
    /// A tap could not be reduced.
    TapSkipped {
        /// As it was given.
        name: String,
        /// Why.
        reason: String,
    },
    /// A gradient scale that gradients can't be divided by.
    BadScale {
        /// As it was given: 0, negative, infinite or NaN.
        scale: String,
    },
    /// Raw tensors could not be written.
    CaptureFailed {
        /// The file, or the tensor.
        path: String,
        /// Why.
        reason: String,
    },
    /// The step's summaries did not come back.
    StepLost {
        /// Why.
        reason: String,
    },
    /// The run folder can't be written; what can be kept is kept until it can, and observing goes on.
    StoreFailed {
        /// What the file system said.
        reason: String,
    },
    /// What `on_finding` was given panicked.
    CallbackPanicked {
        /// The panic's message.
        reason: String,
    },
    /// The disk is slower than training: steps are left out of the run folder, and counted there.
    StoreBehind {
        /// Steps that were waiting for the disk.
        queue_len: usize,
    },
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
            NoticeKind::CallbackPanicked { reason } => {
                write!(
                    f,
                    "`on_finding` panicked ({reason}), and is not called again; findings stand in the events and on disk"
                )
            }
            NoticeKind::StoreFailed { reason } => {
                write!(
                    f,
                    "the run folder can't be written: {reason}; training goes on, and what the folder lacks is counted in its run.json"
                )
            }
            NoticeKind::StoreBehind { queue_len } => write!(
                f,
                "the disk is slower than training: {queue_len} steps were waiting, and later ones are left out of the run folder; `every` or fewer statistics would keep pace"
            ),
        }
    }
}

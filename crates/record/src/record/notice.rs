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
    /// Times that it happened, counted until the notice was written. What may come at every step is reported when it
    /// happens first, and its count at the end of the run.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u64,
}

/// Why a run folder that is not there any more can't be written.
pub const FOLDER_GONE: &str = "the folder was removed, moved or taken away, and nothing more is recorded";

fn once() -> u64 {
    1
}

fn is_once(count: &u64) -> bool {
    *count == 1
}

impl Notice {
    /// Something that happened once so far.
    pub fn new(step: u64, kind: NoticeKind) -> Self {
        Self { step, kind, count: 1 }
    }

    /// Whether the two report the same: the same kind of thing, of the same object.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self.kind.key(), other.kind.key()) {
            (Some(own), Some(others)) => own == others,
            _ => self.step == other.step && self.kind == other.kind,
        }
    }

    /// Replaces the notice that reports the same, or adds itself.
    pub fn put_into(self, notices: &mut Vec<Self>) {
        match notices.iter_mut().find(|known| known.is_same(&self)) {
            Some(known) => *known = self,
            None => notices.push(self),
        }
    }
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
    /// A gradient, or a parameter, could not be reduced.
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
    /// Numbers of steps did not ascend; the steps are counted on from there.
    StepsRenumbered {
        /// The number that was given.
        given: u64,
        /// The number of the step before.
        last: u64,
        /// The number that was recorded in its place.
        recorded: u64,
    },
    /// Numbers of steps ascend by more than one, so no step has a neighbour to compare with.
    NoNeighbours {
        /// The number of the step before.
        last: u64,
    },
    /// One parameter id stands at several paths of the model.
    TiedParameters {
        /// The path that it is recorded by.
        path: String,
        /// The other paths.
        tied: Vec<String>,
    },
    /// Rules that have nothing to judge by, for want of what the scope was not asked for.
    RulesUnjudged {
        /// Which, and what each needs.
        coverage: String,
    },
    /// Captures found the disk too many of them behind, and were left out.
    CaptureBehind {
        /// Captures that were waiting for the disk.
        queue_len: usize,
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

impl NoticeKind {
    /// Whether something went wrong; `false` of what is only worth knowing.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::RulesUnjudged { .. })
    }

    /// What the notice is about, of a kind that may come at every step. `None` of a gap in the record, which is a
    /// notice of its own each time.
    pub fn key(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::StepDropped { .. } | Self::StepLost { .. } => None,
            Self::HistoryReset { path, .. } => Some(("history_reset", path)),
            Self::Unreadable { path, .. } => Some(("unreadable", path)),
            Self::ModelChanged { .. } => None,
            Self::StepsRenumbered { .. } => Some(("steps_renumbered", "")),
            Self::NoNeighbours { .. } => Some(("no_neighbours", "")),
            Self::RulesUnjudged { .. } => Some(("rules_unjudged", "")),
            Self::TiedParameters { path, .. } => Some(("tied_parameters", path)),
            Self::CaptureBehind { .. } => Some(("capture_behind", "")),
            Self::ScalarSkipped { name, .. } => Some(("scalar_skipped", name)),
            Self::TapSkipped { name, .. } => Some(("tap_skipped", name)),
            Self::BadScale { .. } => Some(("bad_scale", "")),
            Self::CaptureFailed { .. } => Some(("capture_failed", "")),
            Self::StoreFailed { .. } | Self::CallbackPanicked { .. } | Self::StoreBehind { .. } => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 | 1 => write!(f, "step {}: ", self.step)?,
            n => write!(f, "step {} and {} later ones: ", self.step, n - 1)?,
        }
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
            NoticeKind::StepsRenumbered { given, last, recorded } => write!(
                f,
                "its number was given as {given}, and the step before was {last}: numbers have to ascend over the whole run, so steps are counted on from {recorded}; `scope.next_step()` counts by itself"
            ),
            NoticeKind::NoNeighbours { last } => write!(
                f,
                "the step before was {last}, and only neighbours are compared: there are no sign flips and no updates; number steps by one, or compare with the last observed step (`Span::Sample`)"
            ),
            NoticeKind::TiedParameters { path, tied } => write!(
                f,
                "{path} has the same parameter id as {}: it is observed once. burn's optimizers update the first of these places alone, so their values differ after a step unless they are tied again; use one layer in both places to share it",
                tied.join(", ")
            ),
            NoticeKind::RulesUnjudged { coverage } => write!(f, "diagnoses: {coverage}"),
            NoticeKind::CaptureBehind { queue_len } => write!(
                f,
                "not captured: {queue_len} captures were waiting for the disk; capture less often, or fewer tensors"
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
                let kept =
                    if reason == FOLDER_GONE { "" } else { ", and what the folder lacks is counted in its run.json" };
                write!(f, "the run folder can't be written: {reason}; training goes on{kept}")
            }
            NoticeKind::StoreBehind { queue_len } => write!(
                f,
                "the disk is slower than training: {queue_len} steps were waiting, and later ones are left out of the run folder; `every` or fewer statistics would keep pace"
            ),
        }
    }
}

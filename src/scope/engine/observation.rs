//! What the engine is told of a step, beside the tensors themselves.

use crate::reduce::gpu::Slice;
use crate::reduce::survey::SurveyDue;
use std::any::Any;

/// A tensor as a kernel can read it, and what keeps it where it is.
pub(crate) struct Resolved {
    pub slice: Slice,
    #[expect(dead_code, reason = "it is held, and never read")]
    pub pin: Pin,
}

/// Keeps an allocation where it is until the commands that read it have been submitted.
pub(crate) type Pin = Box<dyn Any + Send>;

/// What becomes of each tensor of a hand-off.
pub(crate) type Resolutions = Vec<Result<Resolved, String>>;

/// One step's work, beside the tensors themselves.
pub(crate) struct Observation {
    pub step: u64,
    /// What each of the tensors handed off is.
    pub roles: Vec<TensorRole>,
    /// Tensors whose turn it was: one of them without a gradient has lost its history.
    pub visited: Vec<usize>,
    /// Tensors that had their turn at steps the engine never heard of, since nothing was there.
    pub lost: Vec<usize>,
    /// Tensors whose parameter is another one than before: nothing of it is compared with.
    pub replaced: Vec<usize>,
    /// Tensors of which only state is captured.
    pub primed: Vec<usize>,
    /// What gradients come multiplied by.
    pub scale: f64,
    /// Whether the next comparison is with this step.
    pub keeps: bool,
    /// Whether only the step right before is compared with, or the last that was kept.
    pub neighbours: bool,
    pub survey: SurveyDue,
}

/// Whether step `step` may be compared with what step `at` has left: with any before, or with its neighbour alone.
pub(crate) fn reaches(step: u64, at: u64, neighbours: bool) -> bool {
    at < step && (!neighbours || at + 1 == step)
}

impl Observation {
    pub(super) fn reaches(&self, at: u64) -> bool {
        reaches(self.step, at, self.neighbours)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TensorRole {
    Gradient(usize),
    /// A gradient once more, in logical order.
    Ordered(usize),
    Parameter(usize),
    /// The parameter as it was at `step`.
    PreviousParameter {
        tensor: usize,
        step: u64,
    },
    Scalar,
    Tap {
        rails: [f32; 2],
    },
}

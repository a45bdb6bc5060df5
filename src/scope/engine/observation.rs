//! What the engine is told of a step, beside the tensors themselves.

use crate::reduce::gpu::Slice;
use crate::reduce::history::ComparedStep;
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
    pub compared: ComparedStep,
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
    pub survey: SurveyDue,
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

impl TensorRole {
    /// The tensor that it is of; `None` of scalars and taps.
    pub fn tensor(self) -> Option<usize> {
        match self {
            Self::Gradient(tensor)
            | Self::Ordered(tensor)
            | Self::Parameter(tensor)
            | Self::PreviousParameter { tensor, .. } => Some(tensor),
            Self::Scalar | Self::Tap { .. } => None,
        }
    }
}

//! What can be given to a step as a number.

use super::step::Step;
use burn::tensor::Tensor;

/// A number that [`Step::scalar`] takes: an `f64` or an `f32`, or a tensor of one element, by reference.
pub trait ScalarSource: sealed::Sealed {
    /// Gives the number to the step.
    #[doc(hidden)]
    fn give<'a>(self, step: Step<'a>, name: &str) -> Step<'a>;
}

impl ScalarSource for f64 {
    fn give<'a>(self, step: Step<'a>, name: &str) -> Step<'a> {
        step.known_scalar(name, self)
    }
}

impl ScalarSource for f32 {
    fn give<'a>(self, step: Step<'a>, name: &str) -> Step<'a> {
        step.known_scalar(name, f64::from(self))
    }
}

impl<const D: usize> ScalarSource for &Tensor<D> {
    fn give<'a>(self, step: Step<'a>, name: &str) -> Step<'a> {
        step.tensor_scalar(name, self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f64 {}
    impl Sealed for f32 {}
    impl<const D: usize> Sealed for &burn::tensor::Tensor<D> {}
}

//! Networks that the command, the examples and the tests train. They are there to be watched, and to be compared with what other
//! projects report of the same networks; a release may change them.
//!
//! Modules and fields are named as torchvision's, so that [`torch`] has few names to translate.

#![warn(missing_docs)]

pub mod data;
mod resnet;
mod small;
pub mod torch;
mod transformer;

pub use resnet::{ResNet, ResNetConfig};
pub use small::{Cnn, Mlp};
pub use transformer::{CharTransformer, CharTransformerConfig};

use crate::data::ImageShape;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// A network from images to class scores.
pub trait Classifier: Module {
    /// As it is before training, for images of that shape.
    fn init(shape: ImageShape, class_count: usize, device: &Device) -> Self;

    /// `[batch, channels, height, width]` pixels to `[batch, classes]` scores.
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;
}

//! The networks of the main job.

use super::data::{CLASS_COUNT, IMAGE_LEN};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::tensor::{Device, Tensor};

/// A network from images to class scores.
pub trait Classifier: Module {
    fn init(device: &Device) -> Self;

    /// `[batch, 784]` pixels to `[batch, 10]` scores.
    fn forward(&self, images: Tensor<2>) -> Tensor<2>;
}

/// 784 - 512 - 512 - 10 with ReLU.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Classifier for Mlp {
    fn init(device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(IMAGE_LEN, 512).init(device),
            fc2: LinearConfig::new(512, 512).init(device),
            fc3: LinearConfig::new(512, CLASS_COUNT).init(device),
        }
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        let relu = Relu::new();
        let x = relu.forward(self.fc1.forward(images));
        let x = relu.forward(self.fc2.forward(x));
        self.fc3.forward(x)
    }
}

/// Two 3x3 convolutions of 8 and 16 channels, each with batch norm, ReLU and 2x2 pooling, and a linear head.
#[derive(Module, Debug)]
pub struct Cnn {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    pool: MaxPool2d,
    fc: Linear,
}

impl Classifier for Cnn {
    fn init(device: &Device) -> Self {
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        Self {
            conv1: conv(1, 8),
            bn1: BatchNormConfig::new(8).init(device),
            conv2: conv(8, 16),
            bn2: BatchNormConfig::new(16).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc: LinearConfig::new(16 * 7 * 7, CLASS_COUNT).init(device),
        }
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        let relu = Relu::new();
        let batch = images.dims()[0];
        let x = images.reshape([batch, 1, 28, 28]);
        let x = self.pool.forward(relu.forward(self.bn1.forward(self.conv1.forward(x))));
        let x = self.pool.forward(relu.forward(self.bn2.forward(self.conv2.forward(x))));
        self.fc.forward(x.reshape([batch, 16 * 7 * 7]))
    }
}

//! The two networks of the main job.

use super::Classifier;
use crate::data::ImageShape;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::tensor::{Device, Tensor};

/// Pixels - 512 - 512 - classes with ReLU.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Classifier for Mlp {
    fn init(shape: ImageShape, class_count: usize, device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(shape.pixel_count(), 512).init(device),
            fc2: LinearConfig::new(512, 512).init(device),
            fc3: LinearConfig::new(512, class_count).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let relu = Relu::new();
        let x = relu.forward(self.fc1.forward(images.flatten(1, 3)));
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
    fn init(shape: ImageShape, class_count: usize, device: &Device) -> Self {
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        Self {
            conv1: conv(shape.channel_count, 8),
            bn1: BatchNormConfig::new(8).init(device),
            conv2: conv(8, 16),
            bn2: BatchNormConfig::new(16).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc: LinearConfig::new(16 * (shape.side_len / 4).pow(2), class_count).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let relu = Relu::new();
        let x = self.pool.forward(relu.forward(self.bn1.forward(self.conv1.forward(images))));
        let x = self.pool.forward(relu.forward(self.bn2.forward(self.conv2.forward(x))));
        self.fc.forward(x.flatten(1, 3))
    }
}

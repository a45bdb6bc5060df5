//! Residual networks as torchvision has them: parameter by parameter, in its order and under its names but for those of [`super::torch`].

use super::Classifier;
use crate::data::ImageShape;
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::tensor::{Device, Tensor};

/// What a [`ResNet`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Blocks of each of the four stages.
    block_counts: [usize; 4],
    /// Whether a block is 1x1, 3x3, 1x1, and four times as wide at its end.
    bottleneck: bool,
    class_count: usize,
    /// Of images.
    channel_count: usize,
    /// Channels of the first stage; each later one has twice as many.
    width: usize,
}

impl ResNetConfig {
    /// 18 layers in blocks of two 3x3 convolutions: 11,689,512 parameters with 1,000 classes.
    pub fn resnet18(class_count: usize) -> Self {
        Self { block_counts: [2; 4], bottleneck: false, class_count, channel_count: 3, width: 64 }
    }

    /// 50 layers in blocks of three convolutions: 25,557,032 parameters with 1,000 classes.
    pub fn resnet50(class_count: usize) -> Self {
        Self { block_counts: [3, 4, 6, 3], bottleneck: true, class_count, channel_count: 3, width: 64 }
    }

    /// Channels of the first stage. Default: 64, as published.
    #[must_use]
    pub fn with_width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// Channels of an image. Default: 3, for RGB.
    #[must_use]
    pub fn with_channels(self, channel_count: usize) -> Self {
        Self { channel_count, ..self }
    }

    /// The network with new weights on `device`: convolutions as torchvision initialises them, the head as burn does.
    pub fn init(&self, device: &Device) -> ResNet {
        let mut from = self.width;
        let mut stage = |stage: usize| -> Vec<Block> {
            let inner = self.width << stage;
            let block = |index| {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let block = Block::new(from, inner, stride, self.bottleneck, device);
                from = if self.bottleneck { 4 * inner } else { inner };
                block
            };
            (0..self.block_counts[stage]).map(block).collect()
        };
        let [layer1, layer2, layer3, layer4] = [0, 1, 2, 3].map(&mut stage);
        ResNet {
            conv1: conv(self.channel_count, self.width, 7, 2, device),
            bn1: BatchNormConfig::new(self.width).init(device),
            maxpool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1,
            layer2,
            layer3,
            layer4,
            avgpool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            fc: LinearConfig::new(from, self.class_count).init(device),
        }
    }
}

/// He et al., [Deep Residual Learning for Image Recognition](https://arxiv.org/abs/1512.03385), 2015, with the stride of a bottleneck
/// in its 3x3 convolution, as torchvision has it.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    maxpool: MaxPool2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    avgpool: AdaptiveAvgPool2d,
    fc: Linear,
}

impl ResNet {
    /// `[batch, channels, height, width]` to `[batch, classes]`, for images of any size.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = Relu::new().forward(self.bn1.forward(self.conv1.forward(images)));
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let x = stages.into_iter().flatten().fold(self.maxpool.forward(x), |x, block| block.forward(x));
        self.fc.forward(self.avgpool.forward(x).flatten(1, 3))
    }

    /// With `on` batch norm takes the statistics of the batch, as burn does wherever there is a backward pass; without, the running
    /// ones: PyTorch's `eval()`, with gradients all the same.
    #[must_use]
    pub fn batch_statistics(mut self, on: bool) -> Self {
        self.bn1.training = Param::from_bool(on);
        let stages = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        for block in stages.into_iter().flatten() {
            let own = [&mut block.bn1, &mut block.bn2];
            let others = [block.bn3.as_mut(), block.downsample.as_mut().map(|(_, norm)| norm)];
            own.into_iter().chain(others.into_iter().flatten()).for_each(|norm| norm.training = Param::from_bool(on));
        }
        self
    }
}

/// As [`ResNetConfig::resnet18`].
impl Classifier for ResNet {
    fn init(shape: ImageShape, class_count: usize, device: &Device) -> Self {
        ResNetConfig::resnet18(class_count).with_channels(shape.channel_count).init(device)
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward(images)
    }
}

/// Two or three convolutions, and a way around them.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm>,
    /// Where the way around changes shape.
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Block {
    fn new(from: usize, inner: usize, stride: usize, bottleneck: bool, device: &Device) -> Self {
        let norm = |channel_count| BatchNormConfig::new(channel_count).init(device);
        let to = if bottleneck { 4 * inner } else { inner };
        let (conv1, conv2) = match bottleneck {
            true => (conv(from, inner, 1, 1, device), conv(inner, inner, 3, stride, device)),
            false => (conv(from, inner, 3, stride, device), conv(inner, inner, 3, 1, device)),
        };
        let changes_shape = stride > 1 || from != to;
        Self {
            conv1,
            bn1: norm(inner),
            conv2,
            bn2: norm(inner),
            conv3: bottleneck.then(|| conv(inner, to, 1, 1, device)),
            bn3: bottleneck.then(|| norm(to)),
            downsample: changes_shape.then(|| (conv(from, to, 1, stride, device), norm(to))),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let relu = Relu::new();
        let x = relu.forward(self.bn1.forward(self.conv1.forward(input.clone())));
        let mut x = self.bn2.forward(self.conv2.forward(x));
        if let (Some(conv3), Some(bn3)) = (&self.conv3, &self.bn3) {
            x = bn3.forward(conv3.forward(relu.forward(x)));
        }
        let around = match &self.downsample {
            Some((conv, norm)) => norm.forward(conv.forward(input)),
            None => input,
        };
        relu.forward(x + around)
    }
}

/// Without a bias, since batch norm follows; He initialisation over what goes out, as torchvision has it.
fn conv(from: usize, to: usize, kernel_len: usize, stride: usize, device: &Device) -> Conv2d {
    let padding = kernel_len / 2;
    Conv2dConfig::new([from, to], [kernel_len; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: true })
        .init(device)
}

//! The networks of the zoo.

use super::data::{CLASS_COUNT, FIGURE_COUNT, SENTENCE_LEN, SIDE, Task, WORD_COUNT};
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig,
    Lstm, LstmConfig, PaddingConfig2d,
};
use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::{Device, Tensor};

const PIXEL_COUNT: usize = SIDE * SIDE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Relu,
    Tanh,
    Sigmoid,
}

impl Activation {
    /// Where it saturates.
    fn rails(self) -> [f32; 2] {
        match self {
            Self::Relu => [0.0, f32::INFINITY],
            Self::Tanh => [-0.99, 0.99],
            Self::Sigmoid => [0.01, 0.99],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
        }
    }
}

/// What a forward pass shows, and where a fault cuts it.
#[derive(Default)]
pub struct Watch {
    /// Activations by name, with their rails.
    pub taps: Vec<(String, Tensor<1>, [f32; 2])>,
    /// The layer whose output is detached from the graph.
    pub cut: Option<&'static str>,
}

impl Watch {
    /// The layer's activation, shown.
    fn act<const D: usize>(&mut self, layer: &str, activation: Activation, x: Tensor<D>) -> Tensor<D> {
        let y = match activation {
            Activation::Relu => relu(x),
            Activation::Tanh => tanh(x),
            Activation::Sigmoid => sigmoid(x),
        };
        let numel = y.shape().num_elements();
        self.taps.push((layer.to_owned(), y.clone().reshape([numel]), activation.rails()));
        self.pass(layer, y)
    }

    fn pass<const D: usize>(&self, layer: &str, x: Tensor<D>) -> Tensor<D> {
        if self.cut == Some(layer) { x.detach() } else { x }
    }
}

/// A network of the zoo: rows in, rows out.
pub trait Net: Module {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2>;
}

/// Fully connected layers.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub fn new(lens: &[usize], activation: Activation, dropout: f64, device: &Device) -> Self {
        // burn's default weights are too small for depth; ReLU networks get He's.
        let kaiming = Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: false };
        let linear = |pair: &[usize]| match activation {
            Activation::Relu => LinearConfig::new(pair[0], pair[1]).with_initializer(kaiming.clone()),
            Activation::Tanh | Activation::Sigmoid => LinearConfig::new(pair[0], pair[1]),
        };
        let layers = lens.windows(2).map(|pair| linear(pair).init(device)).collect();
        Self { layers, dropout: DropoutConfig::new(dropout).init(), activation }
    }
}

impl Net for Mlp {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().expect("there are layers");
        let mut x = input;
        for (n, layer) in hidden.iter().enumerate() {
            x = self.dropout.forward(watch.act(&format!("layers.{n}"), self.activation, layer.forward(x)));
        }
        last.forward(x)
    }
}

/// Two convolutions with batch norm, strided, and a linear head.
#[derive(Module, Debug)]
pub struct Cnn {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    head: Linear,
}

fn conv(from: usize, to: usize, stride: usize, device: &Device) -> Conv2d {
    let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
    Conv2dConfig::new([from, to], [3, 3]).with_stride([stride, stride]).with_padding(padding).init(device)
}

impl Cnn {
    pub fn new(device: &Device) -> Self {
        Self {
            conv1: conv(1, 6, 2, device),
            bn1: BatchNormConfig::new(6).init(device),
            conv2: conv(6, 12, 2, device),
            bn2: BatchNormConfig::new(12).init(device),
            head: LinearConfig::new(12 * 16, CLASS_COUNT).init(device),
        }
    }
}

fn image(input: Tensor<2>) -> Tensor<4> {
    let batch_len = input.dims()[0];
    input.reshape([batch_len, 1, SIDE, SIDE])
}

impl Net for Cnn {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2> {
        let x = self.bn1.forward(self.conv1.forward(image(input)));
        let x = watch.act("conv1", Activation::Relu, x);
        let x = self.bn2.forward(self.conv2.forward(x));
        let x = watch.act("conv2", Activation::Relu, x);
        self.head.forward(x.flatten(1, 3))
    }
}

/// A plain recurrent network over the rows of an image.
#[derive(Module, Debug)]
pub struct Rnn {
    input: Linear,
    hidden: Linear,
    head: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Rnn {
    pub fn new(activation: Activation, device: &Device) -> Self {
        Self {
            input: LinearConfig::new(SIDE, 48).init(device),
            hidden: LinearConfig::new(48, 48).init(device),
            head: LinearConfig::new(48, CLASS_COUNT).init(device),
            activation,
        }
    }
}

impl Net for Rnn {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2> {
        let batch_len = input.dims()[0];
        let mut state = Tensor::zeros([batch_len, 48], &input.device());
        let rows = input.reshape([batch_len, SIDE, SIDE]);
        let rows = match watch.cut {
            Some("input") => Tensor::from_inner(self.input.valid().forward(rows.inner())),
            _ => self.input.forward(rows),
        };
        for row in 0..SIDE {
            let x: Tensor<2> = rows.clone().narrow(1, row, 1).squeeze_dim(1);
            // Of the last row alone.
            watch.taps.clear();
            state = watch.act("hidden", self.activation, x + self.hidden.forward(state));
        }
        self.head.forward(state)
    }
}

/// Three residual blocks of convolutions with batch norm. Each block's last scale begins at zero.
#[derive(Module, Debug)]
pub struct ResNet {
    stem: Conv2d,
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Module, Debug)]
pub struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
}

impl ResNet {
    pub fn new(device: &Device) -> Self {
        let block = |_| Block {
            conv1: conv(8, 8, 1, device),
            bn1: BatchNormConfig::new(8).init(device),
            conv2: conv(8, 8, 1, device),
            bn2: BatchNorm {
                gamma: Param::from_tensor(Tensor::zeros([8], device)),
                ..BatchNormConfig::new(8).init(device)
            },
        };
        Self {
            stem: conv(1, 8, 2, device),
            blocks: (0..3).map(block).collect(),
            head: LinearConfig::new(8 * 49, CLASS_COUNT).init(device),
        }
    }
}

impl Net for ResNet {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2> {
        let mut x = watch.act("stem", Activation::Relu, self.stem.forward(image(input)));
        for (n, block) in self.blocks.iter().enumerate() {
            let y = relu(block.bn1.forward(block.conv1.forward(x.clone())));
            let y = block.bn2.forward(block.conv2.forward(y));
            x = watch.act(&format!("blocks.{n}"), Activation::Relu, x + y);
        }
        self.head.forward(x.flatten(1, 3))
    }
}

/// Two encoder layers over the rows of an image.
#[derive(Module, Debug)]
pub struct Transformer {
    embed: Linear,
    encoder: TransformerEncoder,
    head: Linear,
    position: Param<Tensor<2>>,
}

impl Transformer {
    pub fn new(dropout: f64, device: &Device) -> Self {
        let position = Tensor::random([SIDE, 32], burn::tensor::Distribution::Normal(0.0, 0.1), device);
        Self {
            embed: LinearConfig::new(SIDE, 32).init(device),
            encoder: TransformerEncoderConfig::new(32, 64, 4, 2)
                .with_dropout(dropout)
                .with_norm_first(true)
                .init(device),
            head: LinearConfig::new(32, CLASS_COUNT).init(device),
            position: Param::from_tensor(position),
        }
    }
}

impl Net for Transformer {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2> {
        let batch_len = input.dims()[0];
        let x = self.embed.forward(input.reshape([batch_len, SIDE, SIDE]));
        let x = watch.pass("embed", x + self.position.val().unsqueeze());
        let x = self.encoder.forward(TransformerEncoderInput::new(x));
        self.head.forward(watch.pass("encoder", x).mean_dim(1).squeeze_dim(1))
    }
}

/// A gated recurrent network over the rows of an image.
#[derive(Module, Debug)]
pub struct LstmNet {
    lstm: Lstm,
    head: Linear,
}

impl LstmNet {
    pub fn new(device: &Device) -> Self {
        Self {
            lstm: LstmConfig::new(SIDE, 32, true).init(device),
            head: LinearConfig::new(32, CLASS_COUNT).init(device),
        }
    }
}

impl Net for LstmNet {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2> {
        let batch_len = input.dims()[0];
        let rows = input.reshape([batch_len, SIDE, SIDE]);
        let states = match watch.cut {
            Some("lstm") => Tensor::from_inner(self.lstm.valid().forward(rows.inner(), None).0),
            _ => self.lstm.forward(rows, None).0,
        };
        self.head.forward(states.narrow(1, SIDE - 1, 1).squeeze_dim(1))
    }
}

/// Words to vectors, their mean to a class.
#[derive(Module, Debug)]
pub struct Bag {
    words: Embedding,
    hidden: Linear,
    head: Linear,
}

impl Bag {
    pub fn new(device: &Device) -> Self {
        Self {
            words: EmbeddingConfig::new(WORD_COUNT, 24).init(device),
            hidden: LinearConfig::new(24, 48).init(device),
            head: LinearConfig::new(48, CLASS_COUNT).init(device),
        }
    }
}

impl Net for Bag {
    fn forward(&self, input: Tensor<2>, watch: &mut Watch) -> Tensor<2> {
        let words = self.words.forward(input.int()).sum_dim(1).squeeze_dim(1).div_scalar((SENTENCE_LEN as f32).sqrt());
        let x = watch.act("hidden", Activation::Relu, self.hidden.forward(words));
        self.head.forward(x)
    }
}

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    Mlp(Activation),
    /// The MLP with dropout after each layer.
    MlpDropout,
    /// Ten hidden layers.
    DeepMlp(Activation),
    Cnn,
    Rnn(Activation),
    ResNet,
    Transformer,
    TransformerDropout,
    Lstm,
    Bag,
    /// 196 - 64 - 16 - 64 - 196, tanh.
    Autoencoder,
    /// 8 - 32 - 32 - 1, tanh.
    Regressor,
}

impl Arch {
    pub fn task(self) -> Task {
        match self {
            Self::Bag => Task::Sentences,
            Self::Autoencoder => Task::Reconstruction,
            Self::Regressor => Task::Regression,
            _ => Task::Images,
        }
    }

    /// Its activation, where gradscope is told.
    pub fn activation(self) -> Activation {
        match self {
            Self::Mlp(activation) | Self::DeepMlp(activation) | Self::Rnn(activation) => activation,
            Self::Autoencoder | Self::Regressor => Activation::Tanh,
            _ => Activation::Relu,
        }
    }

    pub fn name(self) -> String {
        match self {
            Self::Mlp(activation) => format!("MLP {}", activation.name()),
            Self::MlpDropout => "MLP dropout".into(),
            Self::DeepMlp(activation) => format!("deep MLP {}", activation.name()),
            Self::Cnn => "CNN".into(),
            Self::Rnn(activation) => format!("RNN {}", activation.name()),
            Self::ResNet => "ResNet".into(),
            Self::Transformer => "transformer".into(),
            Self::TransformerDropout => "transformer dropout".into(),
            Self::Lstm => "LSTM".into(),
            Self::Bag => "embedding bag".into(),
            Self::Autoencoder => "autoencoder".into(),
            Self::Regressor => "regressor".into(),
        }
    }

    /// Calls `with` with the network.
    pub fn build<V: WithNet>(self, device: &Device, with: V) -> V::Out {
        let mlp = |lens: &[usize], activation, dropout| Mlp::new(lens, activation, dropout, device);
        match self {
            Self::Mlp(activation) => with.call(mlp(&[PIXEL_COUNT, 64, 64, CLASS_COUNT], activation, 0.0)),
            Self::MlpDropout => with.call(mlp(&[PIXEL_COUNT, 64, 64, CLASS_COUNT], Activation::Relu, 0.3)),
            Self::DeepMlp(activation) => {
                let lens = [vec![PIXEL_COUNT], vec![48; 10], vec![CLASS_COUNT]].concat();
                with.call(mlp(&lens, activation, 0.0))
            }
            Self::Cnn => with.call(Cnn::new(device)),
            Self::Rnn(activation) => with.call(Rnn::new(activation, device)),
            Self::ResNet => with.call(ResNet::new(device)),
            Self::Transformer => with.call(Transformer::new(0.0, device)),
            Self::TransformerDropout => with.call(Transformer::new(0.1, device)),
            Self::Lstm => with.call(LstmNet::new(device)),
            Self::Bag => with.call(Bag::new(device)),
            Self::Autoencoder => with.call(mlp(&[PIXEL_COUNT, 64, 16, 64, PIXEL_COUNT], Activation::Tanh, 0.0)),
            Self::Regressor => with.call(mlp(&[FIGURE_COUNT, 32, 32, 1], Activation::Tanh, 0.0)),
        }
    }
}

/// A closure over networks of any type.
pub trait WithNet {
    type Out;
    fn call<M: Net>(self, net: M) -> Self::Out;
}

/// Changes the parameters whose path begins with `prefix`.
pub struct Change<F> {
    pub prefix: &'static str,
    pub path: Vec<String>,
    pub change: F,
}

/// What becomes of a parameter.
#[derive(Clone, Copy)]
pub enum Edit {
    /// Weights of rank 2 and more, times this.
    ScaleWeights(f32),
    /// Biases, set to this.
    SetBias(f32),
    /// No gradient is asked for.
    Freeze,
}

/// The network with the parameters of a layer changed; of every layer where `layer` is empty.
pub fn edited<M: Module>(net: M, layer: &'static str, edit: Edit) -> M {
    net.map(&mut Change { prefix: layer, path: vec![], change: edit })
}

impl ModuleMapper for Change<Edit> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        if !(self.prefix.is_empty() || path.starts_with(&format!("{}.", self.prefix))) {
            return param;
        }
        match self.change {
            Edit::ScaleWeights(factor) if D >= 2 => changed(param, |w| w.mul_scalar(factor)),
            Edit::SetBias(value) if path.ends_with("bias") || path.ends_with("beta") => {
                changed(param, |w| w.zeros_like().add_scalar(value))
            }
            Edit::Freeze => param.set_require_grad(false),
            _ => param,
        }
    }
}

fn changed<const D: usize>(param: Param<Tensor<D>>, change: impl FnOnce(Tensor<D>) -> Tensor<D>) -> Param<Tensor<D>> {
    let (id, tensor, _) = param.consume();
    Param::initialized(id, Tensor::from_inner(change(tensor.inner())).require_grad())
}

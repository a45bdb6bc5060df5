//! The gradient norms of a three-layer perceptron, layer by layer and iteration by iteration, and what they say, in words.
//!
//! `cargo run --release --example mlp_norms`, with `--activation sigmoid` for a first layer that gets a twentieth of the
//! last one's gradient, with `--lr 3` for gradients that explode.
//!
//! Prints every tenth iteration, and at the end what the run says of itself, such as
//! ```text
//!  step       loss        all  fc1.weight    fc1.bias  fc2.weight    fc2.bias  fc3.weight    fc3.bias
//!     0    0.31630   4.537e-1    1.223e-1    3.693e-2    3.002e-1    7.625e-2    2.686e-1    1.462e-1
//!   100    0.07118   2.110e-1    1.256e-1    2.358e-2    1.416e-1    1.555e-2    8.803e-2    1.172e-2
//!   190    0.03242   1.273e-1    6.954e-2    1.600e-2    9.411e-2    1.579e-2    4.411e-2    7.800e-3
//!
//! Nothing is wrong, as far as the rules see.
//! [...]
//! - gradients reach the first layer: it has 0.465 times the gradient of the last
//! - a step moves the weights by 0.00134 of their size, where 1e-4 to 1e-2 is healthy: the learning rate of 0.05 fits
//! ```
//! The run is kept in `runs`: `gradscope plot runs` draws it, `gradscope explain runs` says the same again.

mod support;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor, activation};
use clap::{Parser, ValueEnum};
use gradscope::{Scope, Stats, StepRecord};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Gradient norms of fc1, fc2 and fc3, iteration by iteration, and their reading in words")]
struct Options {
    /// Training iterations.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Iterations from one printed line to the next.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    #[arg(long, default_value_t = 0.05)]
    lr: f64,
    #[arg(long, value_enum, default_value_t = Activation::Relu)]
    activation: Activation,
    /// Where the run folder goes.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Activation {
    Relu,
    Sigmoid,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { fc1: linear(10, 64), fc2: linear(64, 64), fc3: linear(64, 1) }
    }

    fn forward(&self, x: Tensor<2>, which: Activation) -> Tensor<2> {
        let activate = |x: Tensor<2>| match which {
            Activation::Relu => activation::relu(x),
            Activation::Sigmoid => activation::sigmoid(x),
        };
        self.fc3.forward(activate(self.fc2.forward(activate(self.fc1.forward(x)))))
    }
}

/// Ten numbers, and a smooth function of them to learn.
fn batch(device: &Device) -> (Tensor<2>, Tensor<2>) {
    let x = Tensor::<2>::random([64, 10], Distribution::Normal(0.0, 1.0), device);
    let wanted = x.clone().sin().mean_dim(1) * 3.0;
    (x, wanted)
}

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = gradscope::device()?;
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let mut model = Mlp::new(&training);
    let mut optimizer = SgdConfig::new().init();
    let mut scope = Scope::builder(&device)
        .stats(Stats::FULL)
        .run(&options.runs)
        .optimizer("sgd")
        .activation(options.activation.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned()))
        .build(&model)?;

    println!("L2 norms of the gradients; {}", device.describe());
    let paths: Vec<&str> = scope.params().iter().map(|param| param.path.as_str()).collect();
    let columns: String = paths.iter().map(|path| format!(" {path:>11}")).collect();
    println!("{:>5} {:>10} {:>10}{columns}", "step", "loss", "all");
    for step in 0..options.steps {
        let (x, wanted) = batch(&training);
        let loss = (model.forward(x, options.activation) - wanted).powf_scalar(2.0).mean();
        let gradients = loss.backward();
        scope.step(step).scalar("loss", &loss).scalar("lr", options.lr).gradients(&model, &gradients).submit();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(options.lr, model, gradients);
        support::tell(scope.poll(), options.every, line);
    }
    let mut finished = scope.finish(&model);
    support::tell(std::mem::take(&mut finished.events), options.every, line);
    support::read(&finished)?;
    Ok(())
}

/// Step, loss, the norm over all gradients, and each one's own.
fn line(record: &StepRecord) -> String {
    let loss = record.scalar("loss").unwrap_or(f64::NAN);
    let norm = |norm: f64| format!(" {norm:>11.3e}");
    let own = record.tensors.iter().map(|tensor| norm(tensor.summary().map_or(f64::NAN, |summary| summary.l2_norm)));
    format!("{:>5} {loss:>10.5} {:>10.3e}{}", record.step, record.global.l2_norm, own.collect::<String>())
}

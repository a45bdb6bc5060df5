//! A statistic that is not among gradscope's, beside those that are: how many elements a gradient really has.
//!
//! `cargo run --release --example own_statistic`
//!
//! Whatever burn computes on the device can ride in the copy that brings the summaries home: a figure with `Step::scalar`, a whole tensor,
//! summed up like a gradient, with `Step::tap`. Neither waits for the GPU. Here the figure is the participation ratio of each weight's
//! gradient, `(sum g^2)^2 / sum g^4`: `n` where all `n` elements are of one size, 1 where a single one is all there is. The tensor is the hidden
//! activation, with the share of it at zero.
//! ```text
//!  step     loss   hidden at 0   fc1.weight of 50176   fc2.weight of 640
//!     0   2.2313         50.6%                8278.8                90.9
//!    10   1.3684         50.3%               11560.9                35.8
//!    90   0.3306         35.9%               11072.1                79.0
//! ```
//! The figures are recorded with the rest, by the names they are given: `gradscope watch` draws them, `gradscope export` writes them. A
//! statistic for every tensor and every step, in the pass that reads gradients anyway, is a change to the shaders: CONTRIBUTING.md has the steps.

mod support;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Gradients, Tensor, activation};
use clap::Parser;
use gradscope::{Scope, StepRecord};
use gradscope_models::data::{CLASS_COUNT, Data};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "A statistic of one's own, recorded with the others")]
struct Options {
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    #[arg(long, default_value_t = 32, value_parser = support::one_or_more())]
    batch_size: usize,
    /// Where the run folder goes.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

#[derive(Module, Debug)]
struct Net {
    fc1: Linear,
    fc2: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { fc1: linear(784, 64), fc2: linear(64, CLASS_COUNT) }
    }

    /// Scores, and the hidden activation.
    fn forward(&self, images: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let hidden = activation::relu(self.fc1.forward(images.flatten(1, 3)));
        (self.fc2.forward(hidden.clone()), hidden)
    }
}

/// The participation ratio of every matrix's gradient, by path, on the device.
struct Participation<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    figures: Vec<(String, Tensor<1>)>,
}

impl ModuleVisitor for Participation<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad(self.gradients).filter(|_| D == 2) else { return };
        // Of 1 at most: the fourth power of an ordinary gradient is lost in f32.
        let scaled = gradient.clone() / gradient.abs().max().unsqueeze();
        let squares = scaled.powi_scalar(2);
        let ratio = squares.clone().sum().powi_scalar(2) / squares.powi_scalar(2).sum();
        self.figures.push((format!("participation/{}", self.path.join(".")), ratio));
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = gradscope::device()?;
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let data = Data::shipped()?;
    let mut model = Net::new(&training);
    let mut optimizer = AdamConfig::new().init();
    let loss_of = CrossEntropyLossConfig::new().init(&training);
    let mut scope = Scope::builder(&device).run(&options.runs).optimizer("adam").activation("relu").build(&model)?;

    println!("{}", device.describe());
    println!(" step     loss   hidden at 0   fc1.weight of 50176   fc2.weight of 640");
    let mut order: Vec<usize> = (0..data.train.len()).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    let mut batches = order.chunks(options.batch_size).cycle();
    for number in 0..options.steps {
        let (images, labels) = data.train.batch(batches.next().ok_or("there are no images")?, &training);
        let (scores, hidden) = model.forward(images);
        let loss = loss_of.forward(scores, labels);
        let gradients = loss.backward();
        let mut step = scope.step(number).scalar("loss", &loss).tap_tails("hidden", &hidden, [0.0, f32::INFINITY]);
        if step.is_due() {
            let mut own = Participation { gradients: &gradients, path: vec![], figures: vec![] };
            model.visit(&mut own);
            step = own.figures.iter().fold(step, |step, (name, figure)| step.scalar(name, figure));
        }
        step.gradients(&model, &gradients).submit();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(1e-3, model, gradients);
        support::tell(scope.poll(), 10, line);
    }
    let finished = scope.finish(&model);
    support::tell(finished.events, 10, line);
    Ok(())
}

fn line(record: &StepRecord) -> String {
    let figure = |name| record.scalar(name).unwrap_or(f64::NAN);
    let hidden = record.taps.iter().find(|tap| tap.name == "hidden");
    let at_zero = hidden.and_then(|tap| Some(100.0 * tap.tail_count?[0] as f64 / tap.summary.numel as f64));
    let [fc1, fc2] = ["participation/fc1.weight", "participation/fc2.weight"].map(figure);
    format!("{:>5} {:>8.4} {:>12.1}% {fc1:>21.1} {fc2:>19.1}", record.step, figure("loss"), at_zero.unwrap_or(f64::NAN))
}

//! ResNet-18 on made-up images, and of every parameter the smallest and the largest weight and gradient, at every step and over every epoch.
//!
//! `cargo run --release --example resnet18_minmax`, with `--lr 10` for a training that leaves all bounds.
//!
//! It takes 50 seconds on software Vulkan and two cores. Prints a line a step, and after each epoch a table of all 62 parameters under torchvision's names:
//! ```text
//!  step      loss accuracy   gradients: min, max         weights: min, max
//!     0    2.6270     0.0%     -1.638e0    1.580e0    -5.007e-1    1.000e0
//!    23    0.1127   100.0%    -1.179e-1   1.046e-1    -5.016e-1    1.007e0
//!
//! over epoch 4                        weight min        max   grad min        max
//! conv1.weight                     -1.036e-1   1.059e-1  -3.394e-1   3.795e-1
//! bn1.weight                        9.924e-1    1.007e0  -5.778e-2   8.119e-2
//! bn1.bias                         -1.571e-3   1.932e-3  -1.834e-2   1.783e-2
//! [...]
//! fc.bias                          -2.694e-2   3.986e-2  -1.482e-1   6.651e-2
//! ```
//! The run is kept in `runs`: `gradscope watch runs`, while it goes on, is the live picture; at its end the pictures are drawn, where
//! the command was built (`cargo build --release`).

mod support;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Int, Tensor};
use clap::Parser;
use gradscope::record::Param;
use gradscope::{Event, Scope, Stats, StepRecord};
use gradscope_models::{ResNetConfig, torch};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Smallest and largest weights and gradients of ResNet-18, by parameter, step and epoch")]
struct Options {
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
    /// Batches of an epoch; every epoch has the same ones.
    #[arg(long, default_value_t = 6, value_parser = support::one_or_more())]
    batches: usize,
    #[arg(long, default_value_t = 4, value_parser = support::one_or_more())]
    batch_size: usize,
    /// Pixels along a side of an image; 224 is what the network was made for.
    #[arg(long, default_value_t = 64, value_parser = support::one_or_more())]
    side: usize,
    #[arg(long, default_value_t = 10, value_parser = support::one_or_more())]
    classes: usize,
    #[arg(long, default_value_t = 0.01)]
    lr: f64,
    /// Where to train: auto, gpu or cpu.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Where the run folder goes.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

/// Noise, with a class for each image of it.
fn batch(options: &Options, device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let Options { batch_size, side, classes, .. } = *options;
    let images = Tensor::random([batch_size, 3, side, side], Distribution::Normal(0.0, 1.0), device);
    let classes = Tensor::<1>::random([batch_size], Distribution::Uniform(0.0, classes as f64), device).int();
    (images, classes)
}

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = support::open(&options.device)?;
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let mut model = ResNetConfig::resnet18(options.classes).init(&training);
    let mut optimizer = SgdConfig::new().init();
    let loss_of = CrossEntropyLossConfig::new().init(&training);
    let mut scope = Scope::builder(&device)
        .stats(Stats::PARAMS)
        // Batch norm's running statistics are no parameters to PyTorch.
        .run(&options.runs)
        .fact("model", "resnet18")
        .optimizer("sgd")
        .activation("relu")
        .build(&model)?;
    let params = scope.params().to_vec();
    let batches: Vec<_> = (0..options.batches).map(|_| batch(&options, &training)).collect();

    let count: u64 = params.iter().map(|param| param.numel).sum();
    println!("ResNet-18, {count} parameters; {}", device.describe());
    println!("{:>5} {:>9} {:>8}   gradients: min, max         weights: min, max", "step", "loss", "accuracy");
    for epoch in 1..=options.epochs {
        let mut bounds = vec![Bounds::default(); params.len()];
        for (at, (images, classes)) in batches.iter().enumerate() {
            let scores = model.forward(images.clone());
            let loss = loss_of.forward(scores.clone(), classes.clone());
            let hits = scores.argmax(1).flatten::<1>(0, 1).equal(classes.clone()).float().mean();
            let gradients = loss.backward();
            let step = (epoch - 1) * options.batches as u64 + at as u64;
            scope
                .step(step)
                .epoch(epoch)
                .scalar("loss", &loss)
                .scalar("accuracy", &hits)
                .gradients(&model, &gradients)
                .submit();
            let gradients = GradientsParams::from_grads(gradients, &model);
            model = optimizer.step(options.lr, model, gradients);
            take(scope.poll(), &mut bounds);
        }
        // An epoch's last records are still on their way.
        scope.sync();
        take(scope.poll(), &mut bounds);
        table(epoch, &params, &bounds);
    }
    let finished = scope.finish(&model);
    support::read(&finished)?;
    let folder = support::folder(&finished)?;
    support::gradscope(&["plot", support::text(&folder)?])
}

/// Smallest and largest, so far, of a parameter's weights and of its gradients.
#[derive(Clone, Copy, Default)]
struct Bounds {
    weight: Option<(f32, f32)>,
    gradient: Option<(f32, f32)>,
}

fn widen(so_far: Option<(f32, f32)>, min: Option<f32>, max: Option<f32>) -> Option<(f32, f32)> {
    let Some(now) = min.zip(max) else { return so_far };
    Some(so_far.map_or(now, |so_far| (so_far.0.min(now.0), so_far.1.max(now.1))))
}

fn take(events: Vec<Event>, bounds: &mut [Bounds]) {
    for event in &events {
        if let Event::Record(record) = event {
            for (bounds, tensor) in bounds.iter_mut().zip(&record.tensors) {
                if let Some(weight) = &tensor.parameter {
                    bounds.weight = widen(bounds.weight, weight.min, weight.max);
                }
                if let Some(gradient) = tensor.summary() {
                    bounds.gradient = widen(bounds.gradient, gradient.min, gradient.max);
                }
            }
        }
    }
    support::tell(events, 1, line);
}

fn line(record: &StepRecord) -> String {
    let figure = |name| record.scalar(name).unwrap_or(f64::NAN);
    let or_nan = |value: Option<f32>| value.unwrap_or(f32::NAN);
    let weights = record.global.parameters.unwrap_or_default();
    let [a, b] = [record.global.min, record.global.max].map(or_nan);
    let [c, d] = [weights.min, weights.max].map(or_nan);
    let (loss, accuracy) = (figure("loss"), 100.0 * figure("accuracy"));
    format!("{:>5} {loss:>9.4} {accuracy:>7.1}%   {a:>10.3e} {b:>10.3e}   {c:>10.3e} {d:>10.3e}", record.step)
}

fn table(epoch: u64, params: &[Param], bounds: &[Bounds]) {
    println!("\nover epoch {epoch}{:>34} {:>10} {:>10} {:>10}", "weight min", "max", "grad min", "max");
    for (param, bounds) in params.iter().zip(bounds) {
        let (low, high) = bounds.weight.unwrap_or((f32::NAN, f32::NAN));
        let (least, most) = bounds.gradient.unwrap_or((f32::NAN, f32::NAN));
        let name = torch::name(&param.path);
        println!("{name:<31} {low:>10.3e} {high:>10.3e} {least:>10.3e} {most:>10.3e}");
    }
    println!();
}

//! One image through ResNet-18, one backward pass from the sum of its scores, and of every parameter the largest and smallest weight and
//! gradient, under torchvision's names and in its order.
//!
//! `cargo run --release --example resnet18_snapshot -- --weights resnet18.pth --image dog.png`; without weights they are random, without an
//! image so is the input. `--json FILE` (`-` for stdout) writes the dictionary as JSON.
//!
//! ```text
//! parameter                          param max    param min     grad max     grad min
//! conv1.weight                      9.91534e-2  -1.08601e-1    1.74277e1   -1.68365e1
//! bn1.weight                         1.00000e0    1.00000e0    2.73786e0   -1.92048e0
//! [...]
//! fc.weight                         4.41939e-2  -4.41940e-2   9.94383e-1   6.67047e-1
//! fc.bias                           4.40538e-2  -4.41244e-2    1.00000e0    1.00000e0
//! ```
//! Batch norm takes the statistics of the one image, as in PyTorch's training mode, or with `--eval` the running ones. A network of another
//! width, of ResNet-50's depth or with other classes is read off the weights. Given the same weights and `--input`, every figure agrees with
//! PyTorch's: tests/golden/README.md has by how much, and the script that makes the files.

mod input;
#[path = "../support/mod.rs"]
mod support;
mod weights;

use burn::tensor::{Device as BurnDevice, Tensor};
use clap::Parser;
use gradscope::{Scope, Stats};
use gradscope_models::torch;
use serde::{Serialize, Serializer};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    about = "Largest and smallest weights and gradients of ResNet-18 after one backward pass, under torchvision's names"
)]
struct Options {
    /// Weights under torchvision's names: .pth (a state dictionary) or .safetensors [default: random].
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Where in a .pth the state dictionary is, such as `state_dict` [default: it is the file].
    #[arg(long, value_name = "KEY", requires = "weights")]
    key: Option<String>,
    /// A PNG: its middle, scaled to 224 x 224 and normalised by ImageNet's mean and standard deviation.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    image: Option<PathBuf>,
    /// The input itself: a .npy of (1, 3, height, width) f32, row by row [default: random, 224 x 224].
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Batch norm with its running statistics, not with the image's.
    #[arg(long)]
    eval: bool,
    /// Write the dictionary as JSON as well; `-` is stdout, in place of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to compute: auto, gpu or cpu.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Of random weights and of a random input.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Largest and smallest finite weight and gradient of a parameter.
#[derive(Serialize)]
struct Entry {
    param_max: Option<f32>,
    param_min: Option<f32>,
    grad_max: Option<f32>,
    grad_min: Option<f32>,
}

/// Entries by name, in order.
struct Dictionary(Vec<(String, Entry)>);

impl Serialize for Dictionary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, entry)| (name, entry)))
    }
}

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = support::open(&options.device)?;
    let dictionary = snapshot(&options, &device)?;
    match &options.json {
        Some(path) if path.as_os_str() == "-" => {
            serde_json::to_writer_pretty(std::io::stdout().lock(), &dictionary)?;
            println!();
            return Ok(());
        }
        Some(path) => {
            let mut file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::to_writer_pretty(&mut file, &dictionary)?;
            file.write_all(b"\n")?;
        }
        None => {}
    }
    println!("{} parameters; {}", dictionary.0.len(), device.describe());
    println!("{:<31} {:>12} {:>12} {:>12} {:>12}", "parameter", "param max", "param min", "grad max", "grad min");
    for (name, entry) in &dictionary.0 {
        let figure = |value: Option<f32>| format!(" {:>12.5e}", value.unwrap_or(f32::NAN));
        let figures = [entry.param_max, entry.param_min, entry.grad_max, entry.grad_min].map(figure);
        println!("{name:<31}{}", figures.concat());
    }
    Ok(())
}

fn snapshot(options: &Options, device: &gradscope::Device) -> support::Outcome<Dictionary> {
    let training: BurnDevice = device.burn().clone().autodiff();
    training.seed(options.seed);
    let model = weights::model(options.weights.as_deref(), options.key.as_deref(), &training)?;
    let model = model.batch_statistics(!options.eval);
    let images: Tensor<4> = match (&options.image, &options.input) {
        (Some(file), _) => input::image(file, &training)?,
        (None, Some(file)) => input::npy(file, &training)?,
        (None, None) => input::random(&training),
    };
    let gradients = model.forward(images).sum().backward();
    // Running statistics are no parameters.
    let mut scope = Scope::builder(device).stats(Stats::PARAMS).build(&model)?;
    scope.step(0).gradients(&model, &gradients).submit();
    let record = scope.read(0)?;
    let entry = |tensor: &gradscope::record::TensorRecord| Entry {
        param_max: tensor.parameter.as_ref().and_then(|parameter| parameter.max),
        param_min: tensor.parameter.as_ref().and_then(|parameter| parameter.min),
        grad_max: tensor.summary().and_then(|gradient| gradient.max),
        grad_min: tensor.summary().and_then(|gradient| gradient.min),
    };
    let names = scope.params().iter().map(|param| torch::name(&param.path));
    Ok(Dictionary(names.zip(record.tensors.iter().map(entry)).collect()))
}

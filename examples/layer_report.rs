//! The layers of a network, numbered, some of them chosen, and their gradients by iteration and by epoch: of a training that is stable
//! and of one that is not, side by side.
//!
//! `cargo run --release --example layer_report -- --model resnet50 --layers 0,1,2`; `--list` prints the layers and stops.
//!
//! ```text
//!   0  conv1                    weight [8, 1, 3, 3], bias [8]
//!   1  bn1                      gamma [8], beta [8]
//! [...]
//! stable: learning rate 0.02; llvmpipe (LLVM 15.0.6, 256 bits) (vulkan, llvmpipe Mesa 22.3.6 (LLVM 15.0.6))
//! epoch 1: gradients               L1         L2   mean |g|    max |g|
//! conv1                       9.875e0    1.567e0   1.234e-1   8.951e-1
//! bn1                        9.906e-1   3.070e-1   6.192e-2   2.259e-1
//! [...]
//! unstable: learning rate 20; llvmpipe (LLVM 15.0.6, 256 bits) (vulkan, llvmpipe Mesa 22.3.6 (LLVM 15.0.6))
//! warning, since step 1: conv2.weight has grown to 22.4 times what it was (and one other). Try: lower the learni [...]
//! CRITICAL, since step 5: the gradient of bn2.gamma explodes: mean |g| is 1.5e6 (and 2 others). Try: clip gradie [...]
//! ```
//! Both runs are kept in `runs/layer_report`, with histograms of weights and gradients. Where the command was built
//! (`cargo build --release`) their pictures are drawn, and `runs/layer_report/report.html` shows the two side by side.

mod support;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device as BurnDevice, Tensor};
use clap::{Parser, ValueEnum};
use gradscope::record::Param;
use gradscope::{Device, Event, Schedule, Scope, Stats, StepRecord};
use gradscope_models::data::{CLASS_COUNT, Data, Images};
use gradscope_models::{Classifier, Cnn, Mlp, ResNetConfig, torch};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Gradients of a network's layers, by iteration and by epoch, of a stable and an unstable training")]
struct Options {
    #[arg(long, value_enum, default_value_t = Model::Cnn)]
    model: Model,
    /// Numbers of the layers to report, as --list prints them [default: all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    layers: Vec<usize>,
    /// How parameters are called: as burn has them, or as PyTorch does, with its shapes.
    #[arg(long, value_enum, default_value_t = Names::Burn)]
    names: Names,
    /// Print the layers and stop.
    #[arg(long)]
    list: bool,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
    /// Iterations of an epoch.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    batches: u64,
    #[arg(long, default_value_t = 8, value_parser = support::one_or_more())]
    batch_size: usize,
    /// Learning rate of the stable training.
    #[arg(long, default_value_t = 0.02)]
    lr: f64,
    /// Learning rate of the other.
    #[arg(long, default_value_t = 20.0)]
    unstable_lr: f64,
    #[command(flatten)]
    place: support::Place,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    Mlp,
    Cnn,
    Resnet18,
    Resnet50,
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    Burn,
    Torch,
}

/// A module, and how it goes from images to scores: that is all that is asked of a model.
struct Wrapped<M> {
    init: fn(&Images, &BurnDevice) -> M,
    forward: fn(&M, Tensor<4>) -> Tensor<2>,
}

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = support::open(&options.place.device)?;
    let data = options.place.data_dir.as_deref().map_or_else(Data::shipped, Data::from_dir)?;
    match options.model {
        Model::Mlp => report(&options, &device, &data.train, &wrapped::<Mlp>()),
        Model::Cnn => report(&options, &device, &data.train, &wrapped::<Cnn>()),
        Model::Resnet18 => {
            let init = |images: &Images, device: &BurnDevice| {
                ResNetConfig::resnet18(CLASS_COUNT).with_channels(images.shape().channel_count).init(device)
            };
            report(&options, &device, &data.train, &Wrapped { init, forward: |model, images| model.forward(images) })
        }
        Model::Resnet50 => {
            let init = |images: &Images, device: &BurnDevice| {
                ResNetConfig::resnet50(CLASS_COUNT).with_channels(images.shape().channel_count).init(device)
            };
            report(&options, &device, &data.train, &Wrapped { init, forward: |model, images| model.forward(images) })
        }
    }
}

fn wrapped<M: Classifier>() -> Wrapped<M> {
    Wrapped { init: |images, device| M::init(images.shape(), CLASS_COUNT, device), forward: M::forward }
}

fn report<M: Module>(options: &Options, device: &Device, images: &Images, wrapped: &Wrapped<M>) -> support::Outcome {
    let training = device.burn().clone().autodiff();
    let scope = Scope::builder(device).build(&(wrapped.init)(images, &training))?;
    let layers = layers(scope.params(), options.names);
    for (number, layer) in layers.iter().enumerate() {
        let params: Vec<String> = layer.params.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        println!("{number:>3}  {:<24} {}", layer.path, params.join(", "));
    }
    if options.list {
        return Ok(());
    }
    let chosen: Vec<&Layer> = match options.layers.as_slice() {
        [] => layers.iter().collect(),
        numbers => {
            let layer =
                |&number: &usize| layers.get(number).ok_or(format!("--layers: there are 0 to {}", layers.len() - 1));
            let chosen: Vec<&Layer> = numbers.iter().map(layer).collect::<Result<_, _>>()?;
            if let Some(place) = (1..numbers.len()).find(|&place| numbers[..place].contains(&numbers[place])) {
                return Err(format!("--layers: {} is there twice", numbers[place]).into());
            }
            chosen
        }
    };
    let folder = options.place.runs.join("layer_report");
    let mut runs = vec![];
    for (name, lr) in [("stable", options.lr), ("unstable", options.unstable_lr)] {
        println!("\n{name}: learning rate {lr}; {}", device.describe());
        runs.push(train(options, device, images, wrapped, &chosen, &folder.join(name), lr)?);
    }
    for run in &runs {
        support::gradscope(&["plot", support::text(run)?])?;
    }
    let page = folder.join("report.html");
    support::gradscope(&["report", support::text(&runs[0])?, support::text(&runs[1])?, "-o", support::text(&page)?])
}

/// A module that has parameters of its own.
struct Layer {
    path: String,
    params: Vec<(String, Vec<usize>)>,
}

fn layers(params: &[Param], names: Names) -> Vec<Layer> {
    let mut layers: Vec<Layer> = vec![];
    for param in params {
        let (name, shape) = match names {
            Names::Burn => (param.path.clone(), param.shape.clone()),
            Names::Torch => (torch::name(&param.path), torch::shape(param)),
        };
        let (path, name) = name.rsplit_once('.').unwrap_or(("", &name));
        let own = (name.to_owned(), shape);
        match layers.iter_mut().find(|layer| layer.path == path) {
            Some(layer) => layer.params.push(own),
            None => layers.push(Layer { path: path.to_owned(), params: vec![own] }),
        }
    }
    layers
}

fn train<M: Module>(
    options: &Options,
    device: &Device,
    images: &Images,
    wrapped: &Wrapped<M>,
    chosen: &[&Layer],
    folder: &std::path::Path,
    lr: f64,
) -> support::Outcome<PathBuf> {
    let training = device.burn().clone().autodiff();
    // Both begin with the same weights.
    training.seed(1);
    let mut model = (wrapped.init)(images, &training);
    let mut optimizer = SgdConfig::new().init();
    let loss_of = CrossEntropyLossConfig::new().init(&training);
    let pattern = |layer: &Layer| format!(r"^{}\.(weight|bias|gamma|beta)$", layer.path.replace('.', r"\."));
    let all: Vec<String> = chosen.iter().map(|layer| pattern(layer)).collect();
    let mut builder = Scope::builder(device)
        .stats(Stats::FULL)
        .select(all.join("|"))
        .histograms(Schedule::every(options.batches.max(2) / 2))
        .run(folder)
        .fact("model", options.model.to_possible_value().map_or(String::new(), |model| model.get_name().to_owned()))
        .fact("lr", lr)
        .optimizer("sgd")
        .activation("relu");
    for layer in chosen {
        builder = builder.group(layer.path.clone(), pattern(layer));
    }
    let mut scope = builder.build(&model)?;
    let mut order: Vec<usize> = (0..images.len()).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    let mut batches = order.chunks(options.batch_size).cycle();

    println!("{:>5} {:>11} {:>11}   L2 norms of the gradients by layer", "step", "loss", "all");
    for epoch in 1..=options.epochs {
        let mut records = vec![];
        for step in (epoch - 1) * options.batches..epoch * options.batches {
            let (pixels, labels) = images.batch(batches.next().expect("there are images"), &training);
            let loss = loss_of.forward((wrapped.forward)(&model, pixels), labels);
            let gradients = loss.backward();
            scope.step(step).epoch(epoch).scalar("loss", &loss).gradients(&model, &gradients).submit();
            let gradients = GradientsParams::from_grads(gradients, &model);
            model = optimizer.step(lr, model, gradients);
            keep(scope.poll(), &mut records);
        }
        // An epoch's last records are still on their way.
        scope.sync();
        keep(scope.poll(), &mut records);
        table(epoch, chosen, &records);
    }
    let finished = scope.finish(&model);
    support::read(&finished)?;
    support::folder(&finished)
}

/// Tells of the events, and keeps the records.
fn keep(events: Vec<Event>, records: &mut Vec<StepRecord>) {
    let is_step = |event: &Event| match event {
        Event::Record(record) if !record.last_move => Some(record.clone()),
        _ => None,
    };
    records.extend(events.iter().filter_map(is_step));
    support::tell(events, 1, line);
}

/// Step, loss, the norm over all chosen layers, and those of the first six.
fn line(record: &StepRecord) -> String {
    let loss = record.scalar("loss").unwrap_or(f64::NAN);
    let norms = record.groups.iter().take(6).map(|(name, group)| format!("  {name} {:.2e}", group.l2_norm));
    let more = if record.groups.len() > 6 { "  ..." } else { "" };
    format!("{:>5} {loss:>11.4e} {:>11.4e} {}{more}", record.step, record.global.l2_norm, norms.collect::<String>())
}

/// Means over the epoch's steps, and its largest gradient.
fn table(epoch: u64, chosen: &[&Layer], records: &[StepRecord]) {
    println!(
        "\n{:<24} {:>10} {:>10} {:>10} {:>10}",
        format!("epoch {epoch}: gradients"),
        "L1",
        "L2",
        "mean |g|",
        "max |g|"
    );
    for (place, layer) in chosen.iter().enumerate() {
        let groups = || records.iter().map(|record| &record.groups[place].1);
        let mean =
            |figure: fn(&gradscope::record::Global) -> f64| groups().map(figure).sum::<f64>() / records.len() as f64;
        let (l1_norm, l2_norm) = (mean(|group| group.l1_norm), mean(|group| group.l2_norm));
        let abs_mean = mean(|group| group.l1_norm / (group.numel - group.nonfinite_count()).max(1) as f64);
        let bounds = groups().flat_map(|group| [group.min, group.max]).flatten().map(f32::abs);
        let largest = bounds.reduce(f32::max).unwrap_or(f32::NAN);
        println!("{:<24} {l1_norm:>10.3e} {l2_norm:>10.3e} {abs_mean:>10.3e} {largest:>10.3e}", layer.path);
    }
    println!();
}

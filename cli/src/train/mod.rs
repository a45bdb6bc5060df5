//! The main job: a small network trains on real images, and every gradient of every step is reduced.

mod data;
mod models;
mod report;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device as BurnDevice, Tensor};
use clap::{Args, ValueEnum};
use data::{Data, Images};
use gradscope::{Device, DeviceChoice, Groups, RunStatus, Schedule, Scope};
use models::{Classifier, Cnn, Mlp};
use report::{Progress, Report};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images evaluated at a time.
const TEST_BATCH_LEN: usize = 250;

#[derive(Args)]
pub struct Options {
    /// Network to train: `mlp` is 784-512-512-10, `cnn` two small convolutions with batch norm.
    #[arg(long, value_enum, default_value_t = ModelName::Mlp)]
    model: ModelName,

    /// Passes over the training images [default: 8 for mlp, 2 for cnn].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,

    /// Stop after this many steps, whatever the epochs.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,

    /// Images a step [default: 64 for mlp, 16 for cnn].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65536))]
    batch_size: Option<u64>,

    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3, allow_negative_numbers = true)]
    lr: f64,

    /// Seed of initial weights and of the order of images.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Where to train: auto, gpu or cpu. `auto` takes the GPU where there is a driver for one.
    #[arg(long, default_value = "auto")]
    device: String,

    /// Folder with the four IDX files of a full (Fashion-)MNIST, gzipped or not [default: 4,000 images that ship].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Observe only parameters whose path matches this regular expression, such as `fc[12].*weight`.
    #[arg(long, value_name = "REGEX")]
    select: Option<String>,

    /// What to compute, a list: card (extremes, norms, near zeros, flips), dynamics (means, spreads, what became of near
    /// zeros), params, updates (the optimizer's moves), cosine, ema; full is the first four.
    #[arg(long, value_name = "LIST", default_value = "dynamics")]
    stats: Groups,

    /// Observe every N-th step; the step before each is captured to compare with.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,

    /// Count histograms of gradients and weights at every N-th observed step.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    histograms: Option<u64>,

    /// The two magnitudes under which a gradient counts as near zero.
    #[arg(
        long,
        value_name = "E1,E2",
        value_delimiter = ',',
        allow_negative_numbers = true,
        default_value = "1e-7,1e-5"
    )]
    eps: Vec<f64>,

    /// Folder for run folders: records go to DIR/MODEL/TIME-ID.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,

    /// Write nothing to disk.
    #[arg(long)]
    no_record: bool,

    /// Train without observing, to see what observing costs.
    #[arg(long)]
    no_scope: bool,

    /// No progress bar and no table, errors alone.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModelName {
    Mlp,
    Cnn,
}

impl ModelName {
    fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Cnn => "cnn",
        }
    }

    /// Epochs and images a step that software Vulkan on two cores gets through in a minute or two.
    fn defaults(self) -> (u64, u64) {
        match self {
            Self::Mlp => (8, 64),
            Self::Cnn => (2, 16),
        }
    }
}

/// Why there is no ending, and whether training had started.
pub struct Failure {
    pub error: anyhow::Error,
    pub started: bool,
}

/// How training ended.
pub enum Ending {
    Finished,
    Interrupted,
}

/// Checks everything that can be wrong, then trains.
pub fn run(options: &Options) -> Result<Ending, Failure> {
    let (eps, data, device) = check(options).map_err(|error| Failure { error, started: false })?;
    match options.model {
        ModelName::Mlp => train::<Mlp>(options, eps, &data, &device),
        ModelName::Cnn => train::<Cnn>(options, eps, &data, &device),
    }
}

fn check(options: &Options) -> Result<([f64; 2], Data, Device)> {
    let choice: DeviceChoice = options.device.parse().context("--device")?;
    ensure!(options.lr.is_finite() && options.lr > 0.0, "--lr {}: a finite, positive number is needed", options.lr);
    let eps: [f64; 2] =
        options.eps.as_slice().try_into().with_context(|| format!("--eps: two numbers, not {}", options.eps.len()))?;
    gradscope::stats::Epsilons::new(eps).context("--eps")?;
    let data = match &options.data_dir {
        Some(dir) => Data::from_dir(dir)?,
        None => Data::shipped()?,
    };
    let device = Device::open(choice)?;
    if let Some(reason) = device.fallback_reason() {
        eprintln!("gradscope: NO GPU: {reason}\ngradscope: {}", gradscope::device::DRIVER_HINT);
        eprintln!("gradscope: carrying on without one: burn's CPU backend trains, the CPU twins observe");
    }
    Ok((eps, data, device))
}

fn train<M: Classifier>(options: &Options, eps: [f64; 2], data: &Data, device: &Device) -> Result<Ending, Failure> {
    let training = device.burn().clone().autodiff();
    training.seed(options.seed);
    let mut model = M::init(&training);
    let mut optimizer = AdamConfig::new().init();
    let scope = (!options.no_scope).then(|| scope(options, eps, device, &model)).transpose();
    let mut scope = scope.map_err(|error| Failure { error, started: false })?;
    let loss = CrossEntropyLossConfig::new().init(&training);
    let stop = stop_on_ctrl_c();

    let (epochs, batch_size) = options.model.defaults();
    let (epochs, batch_size) = (options.epochs.unwrap_or(epochs), options.batch_size.unwrap_or(batch_size) as usize);
    let steps_an_epoch = data.train.len().div_ceil(batch_size) as u64;
    let step_count = epochs.saturating_mul(steps_an_epoch).min(options.steps.unwrap_or(u64::MAX));
    let progress = Progress::new(step_count, options.quiet);
    progress.say(&format!("training {} on {}", options.model.name(), device.describe()));
    let mut report = Report::start();
    let mut order: Vec<usize> = (0..data.train.len()).collect();
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut step = 0;
    'epochs: for epoch in 1..=epochs {
        random.shuffle(&mut order);
        for batch in order.chunks(batch_size) {
            if step == step_count || stop.load(Ordering::Relaxed) {
                break 'epochs;
            }
            let (images, labels) = data.train.batch(batch, &training);
            let scores = model.forward(images);
            let batch_loss = loss.forward(scores.clone(), labels.clone());
            let grads = batch_loss.backward();
            if let Some(scope) = &mut scope {
                let mut observed = scope.step(step).epoch(epoch).value("lr", options.lr).scalar("loss", &batch_loss);
                if observed.is_due() {
                    let accuracy = scores.inner().argmax(1).flatten::<1>(0, 1).equal(labels.inner()).float().mean();
                    observed = observed.scalar("accuracy", &accuracy);
                }
                observed.gradients(&model, &grads).submit();
            }
            let grads = GradientsParams::from_grads(grads, &model);
            model = optimizer.step(options.lr, model, grads);
            step += 1;
            let events = scope.as_mut().map(Scope::poll).unwrap_or_default();
            report.take(&events);
            progress.advance(step, &report, &events);
        }
        let accuracy = test_accuracy(&model, &data.test, device.burn());
        report.test_accuracy = Some(accuracy);
        progress.say(&format!("epoch {epoch}: test accuracy {:.1}%", 100.0 * accuracy));
    }
    // Training that stopped inside an epoch was last tested before it.
    if !step.is_multiple_of(steps_an_epoch) {
        report.test_accuracy = Some(test_accuracy(&model, &data.test, device.burn()));
    }
    let interrupted = stop.load(Ordering::Relaxed);
    let status = if interrupted { RunStatus::Interrupted } else { RunStatus::Finished };
    let finished = scope.map(|scope| scope.finish_as(&model, status)).transpose();
    let finished = finished.map_err(|error| Failure { error: error.into(), started: true })?;
    if let Some(finished) = &finished {
        report.take(&finished.events);
        progress.notices(&finished.events);
    }
    progress.end();
    if !options.quiet {
        // A reader who has left is no error.
        let _ = std::io::stdout().write_all(report.text(step, finished.as_ref()).as_bytes());
    }
    Ok(if interrupted { Ending::Interrupted } else { Ending::Finished })
}

fn scope<M: Module>(options: &Options, eps: [f64; 2], device: &Device, model: &M) -> Result<Scope> {
    let mut builder = Scope::builder(device)
        .stats(options.stats)
        .every(options.every)
        .epsilons(eps)
        .fact("model", options.model.name())
        .fact("optimizer", "adam")
        .fact("lr", options.lr)
        .fact("seed", options.seed)
        .fact(
            "data",
            options.data_dir.as_ref().map_or("shipped subset of Fashion-MNIST".into(), |d| d.display().to_string()),
        );
    if let Some(pattern) = &options.select {
        builder = builder.select(pattern);
    }
    if let Some(every) = options.histograms {
        builder = builder.histograms(Schedule::every(options.every.saturating_mul(every)));
    }
    if !options.no_record {
        builder = builder.run(options.runs_dir.join(options.model.name()));
    }
    Ok(builder.build(model)?)
}

/// Share of the test images that the model classifies as they are labelled. Waits for the GPU.
fn test_accuracy<M: Classifier>(model: &M, test: &Images, device: &BurnDevice) -> f64 {
    let model = model.valid();
    let indices: Vec<usize> = (0..test.len()).collect();
    let mut correct = Tensor::<1>::zeros([1], device);
    for batch in indices.chunks(TEST_BATCH_LEN) {
        let (images, labels) = test.batch(batch, device);
        let hits = model.forward(images).argmax(1).flatten::<1>(0, 1).equal(labels);
        correct = correct + hits.float().sum();
    }
    f64::from(correct.into_scalar::<f32>()) / test.len() as f64
}

/// The first Ctrl-C ends training after its step, with everything recorded; a second one ends the process.
fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let handler = move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(crate::INTERRUPTED));
        }
        eprintln!("\ngradscope: stopping after this step; once more to stop at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("gradscope: Ctrl-C will not be caught: {error}");
    }
    stop
}

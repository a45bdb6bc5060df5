//! What becomes of near-zero gradients while a convolutional network learns CIFAR-10: which stay near zero and which are released, whose signs
//! flip, what moves all the same, and which minima and maxima the weights cross.
//!
//! `cargo run --release --example cifar_zero_dynamics -- --data-dir data/full/cifar-10 --images 10000`, after `make data`; without a folder it
//! learns the images of Fashion-MNIST that ship. Near zero is |g| < 1e-7, and < 1e-5.
//!
//! Prints, for every epoch, what happened from step to step, summed over the network:
//! ```text
//! epoch      loss   near zero   released of before   flips  among retained   retained, moved   a [...]
//!     1    1.6543  0.7%  0.9%      50.0%   39.6%    43.7%          26.51%             98.8% [...]
//!    10    0.1777  0.4%  0.9%      40.1%   50.7%    44.5%          29.83%             99.9% [...]
//! Accuracy on 1,000 test images: 78.9%
//! ```
//! The run folder, in `runs`, has all of it by parameter and step, histograms of weights and gradients, a sign map with a line a step,
//! TensorBoard's event files, and the model and its optimizer after every fifth epoch. Where the command was built
//! (`cargo build --release`) its pictures are drawn, and everything is written as JSON.

mod support;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use clap::Parser;
use fastrand::Rng;
use gradscope::{Event, Schedule, Scope, SignMap, Stats, StepRecord};
use gradscope_models::data::{CLASS_COUNT, Data};
use gradscope_models::{Classifier, Cnn};
use std::path::Path;

#[derive(Parser)]
#[command(about = "What becomes of near-zero gradients while a convolutional network learns")]
struct Options {
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
    /// Training images of an epoch, the same ones every time.
    #[arg(long, default_value_t = 320, value_parser = support::one_or_more())]
    images: usize,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    batch_size: u64,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Epochs from one checkpoint to the next.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    #[command(flatten)]
    place: support::Place,
}

/// Images of the test set that accuracy is over.
const TEST_LEN: usize = 1000;

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = support::open(&options.place.device)?;
    let data = options.place.data_dir.as_deref().map_or_else(Data::shipped, Data::from_dir)?;
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let mut model = Cnn::init(data.train.shape(), CLASS_COUNT, &training);
    let mut optimizer = AdamConfig::new().init();
    let loss_of = CrossEntropyLossConfig::new().init(&training);
    let mut scope = Scope::builder(&device)
        .stats(Stats::FULL)
        .histograms(Schedule::every(10))
        .sign_map(SignMap::default(), Schedule::every(1))
        .run(&options.place.runs)
        .tensorboard(true)
        .fact("model", "cnn")
        .optimizer("adam")
        .activation("relu")
        .build(&model)?;
    let folder = scope.run_folder().map(ToOwned::to_owned).ok_or("there is no run folder")?;

    println!("{}", device.describe());
    println!("{HEAD}");
    let mut random = Rng::with_seed(1);
    let mut order: Vec<usize> = (0..data.train.len().min(options.images)).collect();
    let mut step = 0;
    for epoch in 1..=options.epochs {
        let mut sums = Sums::default();
        random.shuffle(&mut order);
        for chosen in order.chunks(options.batch_size as usize) {
            let (images, labels) = data.train.batch(chosen, &training);
            let loss = loss_of.forward(model.forward(images), labels);
            let gradients = loss.backward();
            scope.step(step).epoch(epoch).scalar("loss", &loss).gradients(&model, &gradients).submit();
            let gradients = GradientsParams::from_grads(gradients, &model);
            model = optimizer.step(options.lr, model, gradients);
            step += 1;
            take(scope.poll(), &mut sums);
        }
        // An epoch's last records are still on their way; and a checkpoint must not be ahead of the record.
        scope.sync();
        take(scope.poll(), &mut sums);
        println!("{epoch:>5} {}", sums.line());
        if let Some(last) = step.checked_sub(1) {
            scope.scalar(last, Some(epoch), "validation/accuracy", accuracy(&model, &data, &device));
        }
        if epoch % options.checkpoint_every == 0 {
            save(&folder.join("checkpoints").join(format!("epoch-{epoch}")), &model, &optimizer)?;
        }
    }
    let finished = scope.finish(&model);
    support::read(&finished)?;
    println!("Accuracy on 1,000 test images: {:.1}%", 100.0 * accuracy(&model, &data, &device));
    let folder = support::folder(&finished)?;
    support::gradscope(&["plot", support::text(&folder)?])?;
    support::gradscope(&["export", support::text(&folder)?, "--format", "json"])
}

/// On the first images of the test set.
fn accuracy(model: &Cnn, data: &Data, device: &gradscope::Device) -> f64 {
    let model = model.valid();
    let places: Vec<usize> = (0..data.test.len().min(TEST_LEN)).collect();
    let mut hits = Tensor::<1>::zeros([1], device.burn());
    for chosen in places.chunks(250) {
        let (images, labels) = data.test.batch(chosen, device.burn());
        hits = hits + model.forward(images).argmax(1).flatten::<1>(0, 1).equal(labels).float().sum();
    }
    f64::from(hits.into_scalar::<f32>()) / places.len() as f64
}

fn save(folder: &Path, model: &Cnn, optimizer: &ModuleOptimizer) -> support::Outcome {
    std::fs::create_dir_all(folder)?;
    model.clone().save_file(folder.join("model.bpk"))?;
    optimizer.save(folder.join("optimizer.bpk"))?;
    Ok(())
}

fn take(events: Vec<Event>, sums: &mut Sums) {
    for event in events {
        match event {
            Event::Record(record) if record.last_move => {}
            Event::Record(record) => sums.add(&record),
            other => println!("{other}"),
        }
    }
}

const HEAD: &str = "epoch      loss   near zero   released of before   flips  among retained   retained, moved   a move's L2   crossed minima  maxima";

/// Counts over an epoch's steps. Pairs are for the two epsilons.
#[derive(Default)]
struct Sums {
    step_count: f64,
    loss: f64,
    numel: f64,
    near_zero: [f64; 2],
    before: [f64; 2],
    released: [f64; 2],
    retained: [f64; 2],
    flips: f64,
    signed_pairs: f64,
    flips_in_retained: f64,
    moved: f64,
    move_l2_norm: f64,
    moved_step_count: f64,
    minima: f64,
    maxima: f64,
}

impl Sums {
    fn add(&mut self, record: &StepRecord) {
        let global = &record.global;
        self.step_count += 1.0;
        self.loss += record.scalar("loss").unwrap_or(f64::NAN);
        self.numel += global.numel as f64;
        let transitions = global.dynamics.and_then(|dynamics| dynamics.transitions);
        for k in 0..2 {
            self.near_zero[k] += global.near_zero_count[k] as f64;
            if let Some(transitions) = &transitions {
                self.before[k] += transitions.near_zero_before_count()[k] as f64;
                self.released[k] += transitions.released_count[k] as f64;
                self.retained[k] += transitions.retained_count[k] as f64;
            }
        }
        self.flips += global.sign_flip_count.unwrap_or(0) as f64;
        self.signed_pairs += global.signed_pair_count.unwrap_or(0) as f64;
        self.flips_in_retained += transitions.map_or(0, |t| t.flip_in_retained_count[1]) as f64;
        if let Some(updates) = &global.updates {
            self.moved_step_count += 1.0;
            self.move_l2_norm += updates.l2_norm;
            self.minima += updates.crossings.map_or(0, |crossings| crossings.minimum_count) as f64;
            self.maxima += updates.crossings.map_or(0, |crossings| crossings.maximum_count) as f64;
        }
        for update in record.tensors.iter().filter_map(|tensor| tensor.update.as_ref()) {
            self.moved += update.retained.map_or(0, |retained| retained.moved_count[1]) as f64;
        }
    }

    fn line(&self) -> String {
        let percent = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { f64::NAN };
        let [small, large] = [0, 1].map(|k| percent(self.near_zero[k], self.numel));
        let [small_released, large_released] = [0, 1].map(|k| percent(self.released[k], self.before[k]));
        format!(
            "{:>9.4} {small:>4.1}% {large:>4.1}%     {small_released:>5.1}%  {large_released:>5.1}%   {:>5.1}% {:>14.2}% {:>16.1}% {:>13.3e} {:>16} {:>7}",
            self.loss / self.step_count,
            percent(self.flips, self.signed_pairs),
            percent(self.flips_in_retained, self.retained[1]),
            percent(self.moved, self.retained[1]),
            self.move_l2_norm / self.moved_step_count,
            self.minima,
            self.maxima,
        )
    }
}

//! burn's own `Learner` trains, and every gradient of every step is watched: the six marked places are all that is added to a
//! model and its training.
//!
//! `cargo run --release --example learner`
//!
//! The norm of all gradients stands among burn's own metrics, some steps late, since nobody waits for it; the rest is in the run folder:
//! ```text
//! train   Accuracy: epoch 84.13 % - batch 79.17 %  Gradient norm: epoch 2.0716 - batch 1.6275  Loss: epoch 0.43 - batch 0.64
//! valid   Accuracy: epoch 82.70 % - batch 87.50 %  Loss: epoch 0.49 - batch 0.21
//! ```

mod display;
#[path = "../support/mod.rs"]
mod support;

use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::AdamConfig;
use burn::tensor::{Device, Int, Tensor};
use burn_train::metric::{AccuracyMetric, LossMetric};
use burn_train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
    TrainingStrategy,
};
use clap::Parser;
use display::{GradientNorm, Lines, Watched};
use gradscope::learner::Hook;
use gradscope::{RunStatus, Scope, Stats};
use gradscope_models::data::{CLASS_COUNT, Data, Images};
use gradscope_models::{Classifier, Mlp};

#[derive(Parser)]
#[command(about = "burn's Learner with every gradient of every step watched")]
struct Options {
    #[arg(long, default_value_t = 3, value_parser = support::one_or_more())]
    epochs: usize,
    #[arg(long, default_value_t = 32, value_parser = support::one_or_more())]
    batch_size: usize,
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    #[command(flatten)]
    place: support::Place,
}

#[derive(Module, Debug)]
struct Net {
    mlp: Mlp,
    #[module(skip)]
    scope: Hook, // 1
}

impl Net {
    fn classified(&self, batch: Batch) -> ClassificationOutput {
        let scores = self.mlp.forward(batch.images);
        let loss = CrossEntropyLossConfig::new().init(&scores.device()).forward(scores.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, scores, batch.labels)
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = Watched;

    fn step(&self, batch: Batch) -> TrainOutput<Watched> {
        let output = self.classified(batch);
        self.scope.scalar("loss", &output.loss); // 2
        TrainOutput::new(self, output.loss.backward(), Watched::new(output, &self.scope))
    }

    gradscope::observe_optimize!(scope); // 3
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = Watched;

    fn step(&self, batch: Batch) -> Watched {
        Watched::new(self.classified(batch), &self.scope)
    }
}

#[derive(Clone, Debug)]
struct Batch {
    images: Tensor<4>,
    labels: Tensor<1, Int>,
}

/// Batches by the places of their images.
struct Places(Images);

impl Batcher<usize, Batch> for Places {
    fn batch(&self, places: Vec<usize>, device: &Device) -> Batch {
        let (images, labels) = self.0.batch(&places, device);
        Batch { images, labels }
    }
}

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = support::open(&options.place.device)?;
    let Data { train, test } = options.place.data_dir.as_deref().map_or_else(Data::shipped, Data::from_dir)?;
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let scope = Hook::default(); // 4
    let mut model = Net { mlp: Mlp::init(train.shape(), CLASS_COUNT, &training), scope };
    let scope = Scope::builder(&device) // 5
        .stats(Stats::FULL)
        .run(&options.place.runs)
        .optimizer("adam")
        .activation("relu")
        .build(&model)?;
    model.scope = Hook::from(scope).with_epoch_len(train.len().div_ceil(options.batch_size) as u64);
    println!("{}", device.describe());

    let loader = |images: Images| {
        let places: Vec<usize> = (0..images.len()).collect();
        DataLoaderBuilder::new(Places(images))
            .batch_size(options.batch_size)
            .shuffle(1)
            .build(InMemDataset::new(places))
    };
    // The Learner's own files; its summary would take an earlier training's for this one's.
    let folder = tempfile::tempdir()?;
    let result = SupervisedTraining::new(folder.path(), loader(train), loader(test))
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .metric_train_numeric(GradientNorm::new())
        .with_training_strategy(TrainingStrategy::Default(ExecutionStrategy::SingleDevice(training)))
        .with_application_logger(None)
        .renderer(Box::new(Lines::default()))
        .num_epochs(options.epochs)
        .summary()
        .launch(Learner::new(model, AdamConfig::new().init(), options.lr));

    let status = if result.error.is_some() { RunStatus::Interrupted } else { RunStatus::Finished };
    let finished = result.model.scope.finish_as(&result.model, status).ok_or("nothing was watched")?; // 6
    println!("{}", finished.summary);
    support::read(&finished)?;
    result.error.map_or(Ok(()), |error| Err(error.to_string().into()))
}

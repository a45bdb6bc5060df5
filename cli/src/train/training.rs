//! The loop: steps, tests after each epoch, checkpoints, and how it ends.

use super::checkpoint::{self, State};
use super::options::Recipe;
use super::progress::Progress;
use super::report::Report;
use super::stop::Stop;
use super::{Setup, step_count, steps_an_epoch};
use burn::module::Module;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device as BurnDevice, Tensor};
use gradscope::{Finished, RunStatus, Scope};
use gradscope_models::Classifier;
use gradscope_models::data::{CLASS_COUNT, Data, Images};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Images evaluated at a time.
const TEST_BATCH_LEN: usize = 250;

/// All of a training but the network, which the optimizer takes and gives back: a copy would cost its memory.
pub struct Training<'a> {
    recipe: &'a Recipe,
    data: &'a Data,
    device: BurnDevice,
    optimizer: ModuleOptimizer,
    scope: Option<Scope>,
    loss: CrossEntropyLoss,
    stop: &'a Stop,
    progress: Progress,
    report: Report,
    /// The run folder, where there is one.
    pub folder: Option<PathBuf>,
    /// Steps done.
    step: u64,
    step_count: u64,
    steps_an_epoch: u64,
    /// Steps done when the last checkpoint was saved.
    saved_at: u64,
    /// When the step that is under way began.
    begun: Instant,
    /// A finding asked for the end.
    stopped: bool,
}

/// The figures of a training that has ended.
pub struct Trained {
    pub finished: Option<Finished>,
    pub report: Report,
    pub step: u64,
    pub stopped: bool,
}

impl<'a> Training<'a> {
    /// Makes the network, or loads it where a run goes on, and builds a scope over it with `observe`.
    ///
    /// # Errors
    /// The checkpoint can't be loaded, or the scope can't be built.
    pub fn new<M: Classifier>(
        setup: &'a Setup<'_>,
        stop: &'a Stop,
        observe: impl FnOnce(&M) -> anyhow::Result<Option<Scope>>,
    ) -> anyhow::Result<(Self, M)> {
        let Setup { options, recipe, resumed, data, device, .. } = setup;
        let device = device.burn().clone().autodiff();
        device.seed(recipe.seed);
        let mut model = M::init(data.train.shape(), CLASS_COUNT, &device);
        let mut optimizer = AdamConfig::new().init();
        let mut step = 0;
        if let Some((_, checkpoint)) = resumed {
            (model, optimizer) = checkpoint.load(model, optimizer)?;
            step = checkpoint.state.step;
        }
        let scope = observe(&model)?;
        let params = scope.as_ref().map(Scope::params).unwrap_or_default();
        let paths = params.iter().map(|param| param.path.clone()).collect();
        let step_count = step_count(recipe, data);
        let training = Self {
            recipe,
            data,
            loss: CrossEntropyLossConfig::new().init(&device),
            device,
            optimizer,
            stop,
            progress: Progress::new(step_count, options.manner(), paths),
            report: Report::start(step),
            folder: scope.as_ref().and_then(Scope::run_folder).map(ToOwned::to_owned),
            scope,
            step,
            step_count,
            steps_an_epoch: steps_an_epoch(recipe, data),
            saved_at: step,
            begun: Instant::now(),
            stopped: false,
        };
        Ok((training, model))
    }

    /// Says what is about to be trained, and where it can be seen.
    pub fn announce(&self, setup: &Setup<'_>, url: Option<&str>) {
        let (progress, model, device) = (&self.progress, self.recipe.model.name(), setup.device.describe());
        progress.say(&format!("training {model} on {device}"));
        if let Some(url) = url {
            progress.need(&format!("watch it at {url}"));
        }
        let started = json!({
            "model": model, "device": device, "step_count": self.step_count, "first_step": self.step,
            "folder": self.folder, "url": url,
        });
        progress.event("start", started);
        if let Some((run, _)) = &setup.resumed {
            progress.say(&format!("going on with {} at step {}", run.folder().display(), self.step));
        }
    }

    /// Trains to the last epoch, or until something asks for the end.
    pub fn run<M: Classifier>(&mut self, mut model: M) -> M {
        let mut order: Vec<usize> = (0..self.data.train.len()).collect();
        let mut random = fastrand::Rng::with_seed(self.recipe.seed);
        for epoch in 1..=self.recipe.epochs {
            // A resumed run shuffles as often as the run did, and passes over the batches that it had.
            random.shuffle(&mut order);
            let first_step = (epoch - 1) * self.steps_an_epoch;
            if self.step >= first_step + self.steps_an_epoch {
                continue;
            }
            for batch in order.chunks(self.recipe.batch_size).skip((self.step - first_step) as usize) {
                if self.step == self.step_count || self.stopped || self.stop.is_asked() {
                    return model;
                }
                model = self.train(model, epoch, batch);
            }
            let accuracy = self.test(&model, epoch);
            self.progress.say(&format!("epoch {epoch}: test accuracy {:.1}%", 100.0 * accuracy));
            if epoch.is_multiple_of(self.recipe.checkpoint_every) && self.step < self.step_count {
                self.save(&model);
            }
            self.begun = Instant::now();
        }
        model
    }

    /// One step, on these images.
    fn train<M: Classifier>(&mut self, mut model: M, epoch: u64, batch: &[usize]) -> M {
        let (images, labels) = self.data.train.batch(batch, &self.device);
        let scores = model.forward(images);
        let loss = self.loss.forward(scores.clone(), labels.clone());
        let grads = loss.backward();
        if let Some(scope) = &mut self.scope {
            let step_secs = self.begun.elapsed().as_secs_f64();
            let mut observed = scope.step(self.step).epoch(epoch).scalar("lr", self.recipe.lr).scalar("loss", &loss);
            if observed.is_due() {
                let accuracy = scores.inner().argmax(1).flatten::<1>(0, 1).equal(labels.inner()).float().mean();
                observed = observed.scalar("accuracy", &accuracy).scalar("step_secs", step_secs);
            }
            observed.gradients(&model, &grads).submit();
        }
        self.begun = Instant::now();
        let grads = GradientsParams::from_grads(grads, &model);
        model = self.optimizer.step(self.recipe.lr, model, grads);
        self.step += 1;
        let events = self.scope.as_mut().map(Scope::poll).unwrap_or_default();
        self.report.take(&events);
        self.progress.advance(self.step, &self.report, &events);
        self.stopped = self.scope.as_ref().is_some_and(|scope| scope.should_stop().is_some());
        model
    }

    /// Tests the network on images that it was not trained on, and records how it did. Waits for the GPU.
    fn test<M: Classifier>(&mut self, model: &M, epoch: u64) -> f64 {
        let Tested { loss, accuracy } = Tested::of(model, &self.data.test, &self.loss, &self.device.clone().inner());
        self.progress.event("test", json!({ "epoch": epoch, "loss": loss, "accuracy": accuracy }));
        if let (Some(scope), Some(last)) = (&mut self.scope, self.step.checked_sub(1)) {
            scope.scalar(last, Some(epoch), "validation/loss", loss);
            scope.scalar(last, Some(epoch), "validation/accuracy", accuracy);
        }
        self.report.test_accuracy = Some(accuracy);
        accuracy
    }

    /// Saves a checkpoint into the run folder, where there is one.
    fn save<M: Classifier>(&mut self, model: &M) {
        self.saved_at = self.step;
        let Some(folder) = &self.folder else { return };
        // A checkpoint that is ahead of the record would leave a gap in a resumed run.
        if self.scope.as_mut().is_some_and(|scope| !scope.sync()) {
            self.progress.notice("the record is not all on disk, so a run that goes on from here may have a gap");
        }
        if let Err(error) = checkpoint::save(folder, State { step: self.step }, model, &self.optimizer) {
            self.progress.notice(&format!("{error:#}"));
        }
    }

    /// Saves and tests what was not yet, and closes the run.
    pub fn finish<M: Classifier>(mut self, model: &M) -> Trained {
        if self.step > self.saved_at {
            self.save(model);
        }
        // Training that stopped inside an epoch was last tested before it.
        if !self.step.is_multiple_of(self.steps_an_epoch) {
            self.test(model, self.step / self.steps_an_epoch + 1);
        }
        if let Some(finding) = self.scope.as_ref().and_then(Scope::should_stop) {
            let (last, rule) = (self.step - 1, finding.rule);
            self.progress.notice(&format!("stopped after step {last}, as the rule {rule} was told to"));
        }
        let was_cut = self.stop.is_asked() || self.stopped;
        let status = if was_cut { RunStatus::Interrupted } else { RunStatus::Finished };
        let finished = self.scope.take().map(|scope| scope.finish_as(model, status));
        if let Some(finished) = &finished {
            self.report.take(&finished.events);
            self.progress.told(&self.report, &finished.events);
        }
        self.progress.end();
        let ended = json!({
            "status": status, "step_count": self.step, "test_accuracy": self.report.test_accuracy,
            "folder": self.folder, "findings": self.report.findings(),
        });
        self.progress.event("end", ended);
        Trained { finished, report: self.report, step: self.step, stopped: self.stopped }
    }
}

/// Loss and accuracy on images that the network was not trained on.
struct Tested {
    loss: f64,
    accuracy: f64,
}

impl Tested {
    fn of<M: Classifier>(model: &M, images: &Images, loss: &CrossEntropyLoss, device: &BurnDevice) -> Self {
        let model = Module::valid(model);
        let indices: Vec<usize> = (0..images.len()).collect();
        let mut sums = Tensor::<1>::zeros([2], device);
        for batch in indices.chunks(TEST_BATCH_LEN) {
            let (images, labels) = images.batch(batch, device);
            let scores = model.forward(images);
            let batch_loss = loss.forward(scores.clone(), labels.clone()).mul_scalar(batch.len() as f32);
            let hits = scores.argmax(1).flatten::<1>(0, 1).equal(labels).float().sum();
            sums = sums + Tensor::cat(vec![batch_loss, hits], 0);
        }
        let sums: Vec<f32> = sums.into_data().try_into_vec().expect("two f32 sums");
        let [loss, accuracy] = [sums[0], sums[1]].map(|sum| f64::from(sum) / images.len() as f64);
        Self { loss, accuracy }
    }
}

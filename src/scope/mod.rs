//! The scope: what a training loop holds. Reads as the path of one gradient, top to bottom.

pub(crate) mod bridge;
mod builder;
mod capture;
mod comparing;
mod cpu_engine;
pub mod device;
mod diagnosing;
mod engine;
pub(crate) mod error;
mod events;
mod gpu_engine;
pub mod learner;
mod notices;
mod numbering;
mod observer;
mod parcel;
mod recording;
mod run_start;
mod scalar;
mod schedule;
mod selection;
mod step;
mod survey;
mod walk;

pub(crate) use builder::RING_LEN;
pub use builder::{ScopeBuilder, WhenFull};
pub use device::{Device, DeviceChoice, device};
pub use error::Error;
pub(crate) use events::EventBuffer;
pub use scalar::ScalarSource;
pub use schedule::{Schedule, Span};
pub use step::Step;
pub use walk::GradientSource;
pub(crate) use walk::SumOn;

use burn::module::{Module, ParamId};
use burn::tensor::Device as BurnDevice;
use comparing::Comparing;
use diagnosing::Diagnosing;
use gradscope_record::record::{Averages, Event, Finding, Notice, NoticeKind, Param, RunStatus, StepRecord};
use gradscope_record::stats::{Epsilons, Stats, TensorSummary};
use gradscope_record::summary::Summary;
use notices::Notices;
use numbering::Numbering;
use observer::Observer;
use std::sync::Arc;
use survey::Survey;

/// By the key of a path, which tensor it is, if selected.
type Places = std::collections::HashMap<u64, Option<usize>>;

/// What a parameter was at the last step that it was looked at.
struct Known {
    id: ParamId,
    trainable: bool,
    /// Whether there was such a step since the scope was built.
    seen: bool,
}

/// Watches the gradients of one model.
///
/// Observation never stops training: what goes wrong becomes a [`Notice`] and a gap in the record. A scope
/// holds no global state; several can watch on one device. It may move to another thread;
/// calls come from one thread at a time, and in the order of the steps.
///
/// ```no_run
/// # use burn::{module::Module, nn::{Linear, LinearConfig}, optim::{AdamConfig, GradientsParams, Optimizer}, tensor::Tensor};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = gradscope::device()?;
/// let training = device.burn().clone().autodiff();
/// let mut model = LinearConfig::new(4, 2).init(&training);
/// let mut optimizer = AdamConfig::new().init();
/// let mut scope = gradscope::Scope::builder(&device).build(&model)?;
/// for step in 0..100 {
///     let input = Tensor::<2>::random([8, 4], burn::tensor::Distribution::Default, &training);
///     let loss = model.forward(input).powf_scalar(2.0).mean();
///     let grads = loss.backward();
///     scope.step(step).scalar("loss", &loss).gradients(&model, &grads).submit();
///     let grads = GradientsParams::from_grads(grads, &model);
///     model = optimizer.step(1e-3, model, grads);
///     for event in scope.poll() {
///         println!("{event}");
///     }
/// }
/// println!("{}", scope.finish(&model).summary);
/// # Ok(())
/// # }
/// ```
pub struct Scope {
    device: BurnDevice,
    params: Arc<[Param]>,
    places: Places,
    /// For each tensor.
    known: Vec<Known>,
    numbering: Numbering,
    notices: Notices,
    /// What is to be reported of the model, with the first step.
    early_notices: Vec<NoticeKind>,
    epsilons: Epsilons,
    groups: Stats,
    comparing: Comparing,
    /// Names of the groups of layers, and their tensors.
    layers: Vec<(String, Vec<usize>)>,
    survey: Survey,
    average_factor: f64,
    averages: Vec<Option<Averages>>,
    diagnosing: Option<Diagnosing>,
    last_step: Option<u64>,
    when_full: WhenFull,
    observer: Observer,
    events: EventBuffer,
    summary: Summary,
    wait_count: u64,
    /// Parameters of the last step's model that were not there when the scope was built.
    unknown_count: usize,
    store: Option<gradscope_store::RunWriter>,
    capture: Option<capture::Capturing>,
    /// Parameters that were replaced at a step that was dropped, which the engine has not heard of.
    replaced: Vec<(usize, ParamId)>,
    /// Captures that findings have asked for.
    snapshot_count: usize,
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope")
            .field("groups", &self.groups)
            .field("params", &self.params.len())
            .field("last_step", &self.last_step)
            .finish_non_exhaustive()
    }
}

impl Scope {
    /// Settings for a scope on `device`.
    pub fn builder(device: &Device) -> ScopeBuilder {
        ScopeBuilder::new(device)
    }

    /// The device whose gradients are observed.
    pub(crate) fn device(&self) -> &BurnDevice {
        &self.device
    }

    /// The parameters observed, in the order of every record's tensors.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The epsilons of `near_zero_count`.
    pub fn epsilons(&self) -> [f64; 2] {
        self.epsilons.values()
    }

    /// The statistics that the scope was asked for.
    pub fn groups(&self) -> Stats {
        self.groups
    }

    /// Starts the observation of training step `number`. Dynamics compare with `number - 1`, unless the scope was built
    /// with another [`Span`]. Numbers ascend over the whole run, by one. Where a number is not above the last one's, the
    /// step is recorded under the number after that, and so on from there
    /// ([`NoticeKind::StepsRenumbered`]). Nothing is observed before [`Step::submit`].
    pub fn step(&mut self, number: u64) -> Step<'_> {
        Step::new(self, number)
    }

    /// Starts the observation of the step after the last one: 0 at first, or the step that
    /// [`ScopeBuilder::resume`] goes on from. For loops that do not count their steps.
    pub fn next_step(&mut self) -> Step<'_> {
        let number = self.numbering.next();
        // Numbers that did not ascend are counted on from here.
        self.numbering.count_on();
        Step::new(self, number)
    }

    /// What has come back since the last call, in order: at most the last 512 records, fewer where they are large, and the
    /// last 512 notices and findings. Never waits for the GPU.
    ///
    /// A step's numbers come with the work of later steps; [`Scope::read`] and [`Scope::finish`] wait for them.
    pub fn poll(&mut self) -> Vec<Event> {
        self.land();
        self.events.take()
    }

    /// The record of step `number`: blocks for all steps in flight up to that one. It stays with the events that
    /// [`Scope::poll`] returns.
    ///
    /// # Errors
    /// [`Error::UnknownStep`] where the step was not submitted, not due, polled before, or has had to make room for
    /// later events; [`Error::StepLost`] where it was dropped or did not come back.
    pub fn read(&mut self, number: u64) -> Result<StepRecord, Error> {
        loop {
            self.land();
            for event in self.events.iter() {
                match event {
                    Event::Record(record) if record.step == number => return Ok(record.clone()),
                    Event::Notice(Notice { step, kind: NoticeKind::StepLost { reason }, .. }) if *step == number => {
                        return Err(Error::StepLost { step: number, reason: reason.clone() });
                    }
                    _ => {}
                }
            }
            if !self.observer.engine.wait_for_oldest() {
                return Err(Error::UnknownStep(number));
            }
        }
    }

    /// Reports the move that the optimizer made after the last step, waits for what is in flight, closes the run folder,
    /// and sums the run up. `model` is as that move left it; without [`Stats::UPDATES`](crate::Stats::UPDATES) it is not looked
    /// at.
    ///
    /// It never fails: what could not be written is reported in [`Finished::events`] and counted in `run.json`, and what
    /// the run folder holds so far stays. [`Hook::finish`](crate::scope::learner::Hook::finish) is this for a model that carries its scope.
    pub fn finish<M: Module>(self, model: &M) -> Finished {
        self.finish_as(model, RunStatus::Finished)
    }

    /// As [`Scope::finish`], for a run that ended otherwise.
    pub fn finish_as<M: Module>(mut self, model: &M, status: RunStatus) -> Finished {
        // What is under way comes home first: the ring has room then, and the queue is this thread's.
        self.drain();
        if let (Some(last), true) = (self.last_step, self.observer.engine.awaits_update()) {
            Step::last_move(&mut self, last.saturating_add(1)).weights(model).submit();
        }
        self.drain();
        let found = self.diagnosing.as_mut().map(Diagnosing::finish).unwrap_or_default();
        self.tell(found);
        if let Some(mut capture) = self.capture.take() {
            for (step, kind) in capture.writer.finish() {
                self.notify(Notice::new(step, kind));
            }
        }
        self.notify_counts();
        let folder = self.store.take().and_then(|store| {
            let (folder, failures) = store.finish(status, self.missed());
            let step = self.last_step.unwrap_or(0);
            failures.into_iter().for_each(|kind| self.push(Event::Notice(Notice::new(step, kind))));
            folder
        });
        Finished { summary: std::mem::take(&mut self.summary), events: self.events.take(), folder }
    }

    /// The finding that asks training to stop, if one has: a rule whose [`Action`](gradscope_record::record::Action) is `Stop` has
    /// found something in a record that came back. What to do about it is the loop's affair.
    pub fn should_stop(&self) -> Option<&Finding> {
        self.diagnosing.as_ref().and_then(Diagnosing::stop)
    }

    /// The run so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Records a number that is known only after its step, such as a validation loss after the last step of an epoch.
    /// It goes to the run folder, and to TensorBoard, where those are written. Nothing happens without a run folder.
    /// `name` is the series' name, `log` its source ([`SeriesName`](gradscope_store::SeriesName)).
    pub fn scalar(&mut self, step: u64, epoch: Option<u64>, name: &str, value: f64) {
        if let Some(store) = &mut self.store {
            store.log(step, epoch, name, value);
        }
    }

    /// Waits until every step so far is in the run folder, for half a minute at most. Call it before a checkpoint is
    /// saved: a run that goes on from there has no gap then. False where it is not all there, and where no run folder
    /// is written.
    pub fn sync(&mut self) -> bool {
        self.drain();
        self.store.as_ref().is_some_and(gradscope_store::RunWriter::sync)
    }

    fn missed(&self) -> gradscope_store::Missed {
        gradscope_store::Missed { dropped_count: self.summary.dropped_count, lost_count: self.summary.lost_count }
    }

    /// Captures the tensors of [`ScopeBuilder::capture`] at the next observed step, whatever their schedule: what to do
    /// when a record shows something that wants a closer look. Nothing happens without [`ScopeBuilder::capture`].
    pub fn capture_next(&mut self) {
        if let Some(capture) = &mut self.capture {
            capture.asked = true;
        }
    }

    /// Times the training thread had to wait for a staging buffer: 0 while the ring has room.
    pub fn wait_count(&self) -> u64 {
        self.wait_count
    }

    /// Where the run is written, if it is.
    pub fn run_folder(&self) -> Option<&std::path::Path> {
        self.store.as_ref().map(gradscope_store::RunWriter::folder)
    }

    /// Bytes of state kept on the GPU from step to step; 0 without one. The parameters that
    /// [`Stats::UPDATES`](crate::Stats::UPDATES) keeps are not among them: they are burn's own.
    pub fn state_bytes(&self) -> u64 {
        self.observer.engine.state_bytes()
    }

    /// Pipelines that have been compiled for taps, for tests.
    #[doc(hidden)]
    pub fn tap_pipeline_count(&self) -> usize {
        self.observer.engine.tap_pipeline_count()
    }

    fn drain(&mut self) {
        self.land();
        while self.observer.engine.wait_for_oldest() {
            self.land();
        }
    }

    /// Turns steps whose numbers are there into events.
    fn land(&mut self) {
        self.tell_failures();
        while let Some(landed) = self.observer.poll() {
            self.record(landed);
        }
    }
}

impl Drop for Scope {
    /// A scope dropped without [`Scope::finish`] still brings home what is in flight, unless in a panic.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.drain();
            let found = self.diagnosing.as_mut().map(Diagnosing::finish).unwrap_or_default();
            self.tell(found);
            if let Some(mut capture) = self.capture.take() {
                for (step, kind) in capture.writer.finish() {
                    self.notify(Notice::new(step, kind));
                }
            }
            self.notify_counts();
            if let Some(store) = self.store.take() {
                store.finish(RunStatus::Unfinished, self.missed());
            }
        }
    }
}

/// What a finished scope leaves.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// A table people can read, by its `Display`.
    pub summary: Summary,
    /// What had not been polled yet.
    pub events: Vec<Event>,
    /// The run folder, where one was asked for.
    pub folder: Option<std::path::PathBuf>,
}

/// One look at the gradients of `model`: a scope for a single step, which blocks until the figures are there. Path and
/// card of each parameter, in the order of the module; `None` where it has no gradient, or one that can't be reduced.
///
/// # Errors
/// As [`ScopeBuilder::build`] and [`Scope::read`].
///
/// ```no_run
/// # use burn::{nn::LinearConfig, tensor::{Distribution, Tensor}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let device = gradscope::device()?;
/// # let training = device.burn().clone().autodiff();
/// # let model = LinearConfig::new(4, 2).init(&training);
/// let input = Tensor::<2>::random([8, 4], Distribution::Default, &training);
/// let grads = model.forward(input).powf_scalar(2.0).mean().backward();
/// for (path, summary) in gradscope::snapshot(&device, &model, &grads)? {
///     match summary {
///         Some(summary) => println!("{path}: {:?} to {:?}, L2 {}", summary.min, summary.max, summary.l2_norm),
///         None => println!("{path}: no gradient"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn snapshot<M: Module, G: GradientSource>(
    device: &Device,
    model: &M,
    source: &G,
) -> Result<Vec<(String, Option<TensorSummary>)>, Error> {
    let mut scope = Scope::builder(device).diagnose(false).build(model)?;
    scope.step(0).gradients(model, source).submit();
    let record = scope.read(0)?;
    let paths = scope.params.iter().map(|param| param.path.clone());
    Ok(paths.zip(record.tensors.iter().map(|tensor| tensor.summary().copied())).collect())
}

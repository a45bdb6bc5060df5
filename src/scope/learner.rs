//! A model that burn's `Learner` trains, watched.
//!
//! The `Learner` owns model and loop; the one place where a model sees its gradients, after accumulation and before clipping, is
//! `TrainStep::optimize`, which it may override. So the model carries a [`Hook`], and
//! [`observe_optimize!`](crate::observe_optimize) overrides that method (shown against a cut-down `TrainStep`;
//! `examples/learner` has the real one):
//!
//! ```
//! # use burn::{module::Module, nn::Linear, optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams}, tensor::Tensor};
//! # use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
//! # trait TrainStep: Sized {
//! #     fn step(&self, input: Tensor<2>) -> Tensor<1>;
//! #     fn optimize(self, _: &mut ModuleOptimizer, _: ModuleLearningRate, _: GradientsParams) -> Self;
//! #     fn optimize_multi(self, _: &mut ModuleOptimizer, _: ModuleLearningRate, _: MultiGradientsParams) -> Self;
//! # }
//! use gradscope::learner::Hook;
//!
//! #[derive(Module, Debug)]
//! struct Net {
//!     fc: Linear,
//!     #[module(skip)]
//!     scope: Hook,
//! }
//!
//! impl TrainStep for Net {
//!     // type Input = ..; type Output = ..;
//!     fn step(&self, input: Tensor<2>) -> Tensor<1> {
//!         let loss = self.fc.forward(input).powf_scalar(2.0).mean();
//!         self.scope.scalar("loss", &loss); // the hook sees no loss of itself
//!         // TrainOutput::new(self, loss.backward(), ..)
//!         # loss
//!     }
//!
//!     gradscope::observe_optimize!(scope);
//! }
//! ```
//!
//! Until the model's hook is given a scope it watches nothing:
//!
//! ```no_run
//! # use burn::{module::Module, nn::{Linear, LinearConfig}};
//! # use gradscope::{Scope, learner::Hook};
//! # #[derive(Module, Debug)]
//! # struct Net { fc: Linear, #[module(skip)] scope: Hook }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = gradscope::device()?;
//! let training = device.burn().clone().autodiff();
//! let mut model = Net { fc: LinearConfig::new(4, 2).init(&training), scope: Hook::default() };
//! model.scope = Scope::builder(&device).run("runs").build(&model)?.into();
//! // let model = SupervisedTraining::new(..).launch(Learner::new(model, ..)).model;
//! println!("{}", model.scope.finish(&model).expect("it watched").summary);
//! # Ok(())
//! # }
//! ```
//!
//! # Several devices
//! - `MultiDevice` with `OptimMainDevice` brings the gradients to the main device: a scope for that one sees what is applied.
//! - With `OptimSharded` each device's gradients stay where they are until burn adds them up, parameter by parameter. A hook with one scope
//!   adds them up as well, on the scope's device. A hook with a scope for each device (`Hook::over(vec![main, other])`, the other one built
//!   on `model.clone().fork(other_device)`) moves nothing: every device's gradients are reduced where they lie, and what the hook hands out
//!   are records merged by [`StepRecord::merge`]. Run folders and findings are each scope's own. Parameters are weighed where they live;
//!   burn moves them between devices, and a move across is in no record.
//! - `DistributedDataParallel` needs a transport between devices, which burn 0.22.1 has none of on wgpu.

use crate::Error;
use crate::scope::{EventBuffer, Finished, GradientSource, RING_LEN, Scope, Step, SumOn};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::MultiGradientsParams;
use burn::tensor::{Device as BurnDevice, Tensor};
use gradscope_record::record::{Event, Finding, Global, Param as Parameter, RunStatus, StepRecord};
use gradscope_record::summary::Summary;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Overrides `optimize` and `optimize_multi` of burn's `TrainStep` in its `impl` for a model, so that they show the gradients to the
/// [`Hook`] in the named field and then do what burn does. Like burn's own macros it wants the crate to be called `burn`.
///
/// Written out, for a method that does more: `self.scope.observe(&self, &grads, lr.base());` before `optim.step(lr, self, grads)`.
#[macro_export]
macro_rules! observe_optimize {
    ($hook:ident) => {
        fn optimize(
            self,
            optim: &mut burn::optim::ModuleOptimizer,
            lr: burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate,
            grads: burn::optim::GradientsParams,
        ) -> Self {
            self.$hook.observe(&self, &grads, lr.base());
            optim.step(lr, self, grads)
        }

        fn optimize_multi(
            self,
            optim: &mut burn::optim::ModuleOptimizer,
            lr: burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate,
            grads: burn::optim::MultiGradientsParams,
        ) -> Self {
            self.$hook.observe_multi(&self, &grads, lr.base());
            optim.step_multi(lr, self, grads)
        }
    };
}

/// Records that wait for those of a slower device: twice the default ring.
const WAITING_COUNT_MAX: usize = 2 * RING_LEN;

/// A handle on the scopes that watch a model, to be carried in a field of it that burn skips. Clones watch together;
/// the default one watches nothing.
///
/// Threads take turns. A scope's [`on_finding`](crate::ScopeBuilder::on_finding) runs in such a turn, and must not ask
/// the hook. The [module](self) has the whole of it.
#[derive(Clone, Default)]
pub struct Hook(Option<Arc<Mutex<Watching>>>);

impl From<Scope> for Hook {
    fn from(scope: Scope) -> Self {
        Self::watching(vec![scope])
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_watching = self.with(|watching| !watching.watched.is_empty()).unwrap_or(false);
        f.write_str(if is_watching { "Hook(watching)" } else { "Hook(watching nothing)" })
    }
}

/// The scopes, and what has come of them.
struct Watching {
    watched: Vec<Watched>,
    /// For each scope, records that wait for those of the others.
    records: Vec<VecDeque<StepRecord>>,
    epoch_len: Option<u64>,
    gradient_scale: Option<f64>,
    events: EventBuffer,
    latest: Option<Global>,
    /// Of merged records.
    summary: Summary,
}

/// One device's scope.
struct Watched {
    scope: Scope,
    next_step: u64,
    scalars: Vec<(String, Tensor<1>)>,
}

impl Watched {
    /// Observes the next step as far as `describe` goes, with what `TrainStep::step` left.
    fn observe(&mut self, shared: Shared, describe: impl FnOnce(Step) -> Step) {
        let number = self.next_step;
        self.next_step += 1;
        let mut step = self.scope.step(number).scalar("lr", shared.lr);
        if let Some(scale) = shared.gradient_scale {
            step = step.gradient_scale(scale);
        }
        if let Some(len) = shared.epoch_len {
            step = step.epoch(number / len + 1);
        }
        for (name, tensor) in self.scalars.drain(..) {
            step = step.scalar(&name, &tensor);
        }
        describe(step).submit();
    }
}

/// What holds for a step on every device.
#[derive(Clone, Copy)]
struct Shared {
    lr: f64,
    epoch_len: Option<u64>,
    gradient_scale: Option<f64>,
}

impl Hook {
    /// A scope for each device, the main one first.
    ///
    /// # Errors
    /// Where they watch different parameters: their records could not be merged.
    pub fn over(scopes: Vec<Scope>) -> Result<Self, Error> {
        for pair in scopes.windows(2) {
            let [a, b] = [pair[0].params(), pair[1].params()];
            let agree_until = a.iter().zip(b).position(|(a, b)| a.path != b.path).unwrap_or(a.len().min(b.len()));
            if let Some(param) = a.get(agree_until).or(b.get(agree_until)) {
                return Err(Error::ScopesDiffer { path: param.path.clone() });
            }
        }
        Ok(Self::watching(scopes))
    }

    fn watching(scopes: Vec<Scope>) -> Self {
        let watching = Watching {
            records: vec![VecDeque::new(); scopes.len()],
            summary: Summary::new(scopes.first().map(Scope::params).unwrap_or_default()),
            watched: scopes.into_iter().map(|scope| Watched { scope, next_step: 0, scalars: vec![] }).collect(),
            epoch_len: None,
            gradient_scale: None,
            events: EventBuffer::default(),
            latest: None,
        };
        Self(Some(Arc::new(Mutex::new(watching))))
    }

    /// Numbers epochs from 1, of so many optimizer steps each. Without it records have no epochs.
    #[must_use]
    pub fn with_epoch_len(self, steps: u64) -> Self {
        self.with(|watching| watching.epoch_len = Some(steps.max(1)));
        self
    }

    /// The number of the next step, for a training that goes on from a checkpoint; see
    /// [`ScopeBuilder::resume`](crate::ScopeBuilder::resume). It is 0 at first.
    #[must_use]
    pub fn with_next_step(self, number: u64) -> Self {
        self.with(|watching| watching.watched.iter_mut().for_each(|watched| watched.next_step = number));
        self
    }

    /// As [`Step::gradient_scale`], for every step: the number of batches whose gradients the `Learner` adds up, say. (An epoch's last sum may
    /// be of fewer; its figures are too small then.)
    #[must_use]
    pub fn with_gradient_scale(self, scale: f64) -> Self {
        self.with(|watching| watching.gradient_scale = Some(scale));
        self
    }

    /// A number that is on the GPU, such as the loss, for the next [`Hook::observe`] on its device: call it in `TrainStep::step`. Given
    /// again before that, as where gradients are accumulated, the last holds. It is read back with the statistics.
    pub fn scalar(&self, name: &str, tensor: &Tensor<1>) {
        let (tensor, device) = (tensor.clone().inner(), tensor.device());
        self.with(|watching| {
            if let Some(watched) = watching.on(&device) {
                watched.scalars.retain(|(known, _)| known != name);
                watched.scalars.push((name.to_owned(), tensor));
            }
        });
    }

    /// Observes the next step of `model`, on the device it lives on. Where no scope watches that device, nothing happens.
    pub fn observe<M: Module, G: GradientSource>(&self, model: &M, gradients: &G, lr: f64) {
        self.with(|watching| {
            let shared = watching.shared(lr);
            if let Some(watched) = device_of(model).and_then(|device| watching.on(&device)) {
                watched.observe(shared, |step| step.gradients(model, gradients));
            }
            watching.collect();
        });
    }

    /// Observes the next step of a model whose gradients several devices have parts of: each part by its device's scope, or the sum of
    /// all where there is a single one.
    pub fn observe_multi<M: Module>(&self, model: &M, gradients: &MultiGradientsParams, lr: f64) {
        self.with(|watching| {
            let shared = watching.shared(lr);
            match watching.watched.as_mut_slice() {
                [single] => {
                    let sum = SumOn(gradients, Some(single.scope.device().clone()));
                    single.observe(shared, |step| step.scattered().gradients(model, &sum));
                }
                several => {
                    for watched in several {
                        let part = gradients.grads.iter().find(|(_, device)| device == watched.scope.device());
                        if let Some((part, _)) = part {
                            watched.observe(shared, |step| step.scattered().gradients(model, part));
                        }
                    }
                }
            }
            watching.collect();
        });
    }

    /// What has come back since the last call, of several devices merged: as much as [`Scope::poll`] keeps. Never waits for the GPU.
    pub fn poll(&self) -> Vec<Event> {
        self.with(|watching| {
            watching.collect();
            watching.events.take()
        })
        .unwrap_or_default()
    }

    /// The last step that has come back, over all tensors: for a metric of the `Learner`'s. It is some steps old.
    pub fn latest(&self) -> Option<Global> {
        self.with(|watching| watching.latest).flatten()
    }

    /// The parameters watched, in the order of every record's tensors.
    pub fn params(&self) -> Vec<Parameter> {
        self.with(|watching| watching.watched.first().map(|main| main.scope.params().to_vec()))
            .flatten()
            .unwrap_or_default()
    }

    /// As [`Scope::should_stop`], of any device: `TrainStep::step` may hand it to the `Learner`'s interrupter.
    pub fn should_stop(&self) -> Option<Finding> {
        self.with(|watching| watching.watched.iter().find_map(|watched| watched.scope.should_stop().cloned())).flatten()
    }

    /// As [`Scope::finish`]: waits for what is in flight, and closes the run folders. Of several devices the events and the summary are of
    /// merged records, the folder is the main one's. From then on the hook watches nothing. `None` where it watched nothing before.
    pub fn finish<M: Module>(&self, model: &M) -> Option<Finished> {
        self.finish_as(model, RunStatus::Finished)
    }

    /// As [`Hook::finish`], for a training that ended otherwise.
    pub fn finish_as<M: Module>(&self, model: &M, status: RunStatus) -> Option<Finished> {
        self.with(|watching| watching.finish(model, status)).flatten()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Watching) -> T) -> Option<T> {
        let watching = self.0.as_ref()?;
        // A panic in a turn, such as burn's over a lost device, leaves what is recorded as it was.
        let mut watching: MutexGuard<Watching> = watching.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Some(work(&mut watching))
    }
}

impl Watching {
    fn shared(&self, lr: f64) -> Shared {
        Shared { lr, epoch_len: self.epoch_len, gradient_scale: self.gradient_scale }
    }

    fn on(&mut self, device: &BurnDevice) -> Option<&mut Watched> {
        self.watched.iter_mut().find(|watched| watched.scope.device() == device)
    }

    /// Takes what has come back.
    fn collect(&mut self) {
        for place in 0..self.watched.len() {
            let events = self.watched[place].scope.poll();
            self.take(place, events);
        }
        self.merge(false);
    }

    fn take(&mut self, place: usize, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Record(record) => self.records[place].push_back(record),
                other => self.tell(other),
            }
        }
    }

    /// Makes one record of all devices' records of a step, once each that was given the step has delivered it or a later one; at the end at
    /// once. A device that delivers nothing is not waited for for ever.
    fn merge(&mut self, at_end: bool) {
        while let Some(step) = self.records.iter().filter_map(|records| records.front()).map(|record| record.step).min()
        {
            let owes = |(watched, records): (&Watched, &VecDeque<_>)| records.is_empty() && watched.next_step > step;
            let waits = self.watched.iter().zip(&self.records).any(owes);
            if waits && !at_end && self.records.iter().all(|records| records.len() < WAITING_COUNT_MAX) {
                return;
            }
            let of_step = |records: &mut VecDeque<StepRecord>| records.pop_front_if(|record| record.step == step);
            let mut parts: Vec<StepRecord> = self.records.iter_mut().filter_map(of_step).collect();
            let whole = if parts.len() == 1 { parts.pop() } else { StepRecord::merge(&parts) };
            let Some(record) = whole else { return };
            if !record.last_move {
                self.latest = Some(record.global);
            }
            self.summary.add(&record);
            self.tell(Event::Record(record));
        }
    }

    fn tell(&mut self, event: Event) {
        self.summary.unpolled_count += self.events.push(event);
    }

    fn finish<M: Module>(&mut self, model: &M, status: RunStatus) -> Option<Finished> {
        let mut main = None;
        for (place, watched) in std::mem::take(&mut self.watched).into_iter().enumerate() {
            // The model lives on the main device.
            let mut finished = match place {
                0 => watched.scope.finish_as(model, status),
                _ => watched.scope.finish_as(&Vec::<Param<Tensor<1>>>::new(), status),
            };
            self.take(place, std::mem::take(&mut finished.events));
            self.summary.dropped_count += finished.summary.dropped_count;
            self.summary.lost_count += finished.summary.lost_count;
            self.summary.record_secs += finished.summary.record_secs;
            main.get_or_insert(finished);
        }
        self.merge(true);
        let mut main = main?;
        main.summary = std::mem::take(&mut self.summary);
        main.events = self.events.take();
        Some(main)
    }
}

/// Where a model's first parameter lives.
fn device_of<M: Module>(model: &M) -> Option<BurnDevice> {
    struct First(Option<BurnDevice>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_none() {
                self.0 = Some(param.val().device());
            }
        }
    }
    let mut first = First(None);
    model.visit(&mut first);
    first.0
}

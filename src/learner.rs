//! A model that burn's `Learner` trains, watched.
//!
//! The `Learner` owns model and loop; the one place where a model sees its gradients, after accumulation and before clipping, is
//! `TrainStep::optimize`, which it may override. So the model carries a [`Hook`], and [`observe_optimize!`](crate::observe_optimize)
//! overrides that method:
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
//! // let result = SupervisedTraining::new(..).launch(Learner::new(model, ..));
//! # let result = model;
//! println!("{}", result.scope.finish(&result).expect("it watched").summary);
//! # Ok(())
//! # }
//! ```
//!
//! # Several devices
//! A hook holds a scope for each device that is to be watched: `Hook::from(vec![main, other])`.
//! - `MultiDevice` with `OptimMainDevice` brings the gradients to the main device: one scope, there, sees what is applied.
//! - With `OptimSharded` each device's gradients stay where they are until burn adds them up parameter by parameter. With one scope the hook
//!   adds them up as well, on the scope's device; with one for each device nothing is moved, every device's gradients are reduced where they
//!   lie, and records are merged by [`StepRecord::merge`].
//! - `DistributedDataParallel` needs a transport between devices, which burn 0.22.1 has none of on wgpu.

use crate::record::{Event, Global, StepRecord};
use crate::scope::{Finished, GradientSource, Scope, Step};
use crate::summary::Summary;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::MultiGradientsParams;
use burn::tensor::{Device as BurnDevice, Tensor};
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

/// Events kept for a caller who does not poll.
const EVENT_COUNT_MAX: usize = 512;

/// A handle on the scopes that watch a model, to be carried in a field of it that burn skips. Clones watch together; the default one
/// watches nothing.
#[derive(Clone, Default)]
pub struct Hook(Option<Arc<Mutex<Watching>>>);

impl From<Scope> for Hook {
    fn from(scope: Scope) -> Self {
        vec![scope].into()
    }
}

impl From<Vec<Scope>> for Hook {
    /// A scope for each device, the main one first.
    fn from(scopes: Vec<Scope>) -> Self {
        let watching = Watching {
            records: vec![VecDeque::new(); scopes.len()],
            summary: Summary::new(scopes.first().map(Scope::params).unwrap_or_default()),
            watched: scopes.into_iter().map(|scope| Watched { scope, next_step: 0, scalars: vec![] }).collect(),
            epoch_len: None,
            gradient_scale: None,
            events: VecDeque::new(),
            latest: None,
        };
        Self(Some(Arc::new(Mutex::new(watching))))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hook(watching)" } else { "Hook(watching nothing)" })
    }
}

/// The scopes, and what has come of them.
struct Watching {
    watched: Vec<Watched>,
    /// For each scope, records that wait for those of the others.
    records: Vec<VecDeque<StepRecord>>,
    epoch_len: Option<u64>,
    gradient_scale: Option<f64>,
    events: VecDeque<Event>,
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
        let mut step = self.scope.step(number).value("lr", shared.lr);
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
    /// Numbers epochs from 1, of so many optimizer steps each.
    pub fn epoch_len(&self, steps: u64) {
        self.with(|watching| watching.epoch_len = Some(steps.max(1)));
    }

    /// As [`Step::gradient_scale`], for every step: the number of batches whose gradients the `Learner` adds up, say.
    pub fn gradient_scale(&self, scale: f64) {
        self.with(|watching| watching.gradient_scale = Some(scale));
    }

    /// A figure that is on the GPU, such as the loss, for the next [`Hook::observe`] on its device: call it in `TrainStep::step`. Given
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
                [single] => single.observe(shared, |step| step.scattered().gradients(model, gradients)),
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

    /// What has come back since the last call, of several devices merged: the last 512 events at most. Never waits for the GPU.
    pub fn poll(&self) -> Vec<Event> {
        self.with(|watching| {
            watching.collect();
            watching.events.drain(..).collect()
        })
        .unwrap_or_default()
    }

    /// The last step that has come back, over all tensors: for a metric of the `Learner`'s. It is some steps old.
    pub fn latest(&self) -> Option<Global> {
        self.with(|watching| watching.latest).flatten()
    }

    /// As [`Scope::finish`]: waits for what is in flight, and closes the run folders. Of several devices the events and the summary are of
    /// merged records, the folder is the main one's. From then on the hook watches nothing. `None` where it watched nothing before.
    pub fn finish<M: Module>(&self, model: &M) -> Option<Finished> {
        self.with(|watching| watching.finish(model)).flatten()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Watching) -> T) -> Option<T> {
        let watching = self.0.as_ref()?;
        // A panic elsewhere in training has not harmed what is recorded.
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

    /// Makes one record of all devices' records of a step, once each has delivered that step or a later one; at the end at once. A device
    /// that delivers nothing is not waited for for ever.
    fn merge(&mut self, at_end: bool) {
        while let Some(step) = self.records.iter().filter_map(|records| records.front()).map(|record| record.step).min()
        {
            let waits = self.records.iter().any(VecDeque::is_empty);
            if waits && !at_end && self.records.iter().all(|records| records.len() < EVENT_COUNT_MAX) {
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
        if self.events.len() == EVENT_COUNT_MAX {
            self.events.pop_front();
            self.summary.unpolled_count += 1;
        }
        self.events.push_back(event);
    }

    fn finish<M: Module>(&mut self, model: &M) -> Option<Finished> {
        let mut main = None;
        for (place, watched) in std::mem::take(&mut self.watched).into_iter().enumerate() {
            // The model lives on the main device.
            let finished = match place {
                0 => watched.scope.finish(model),
                _ => watched.scope.finish(&Vec::<Param<Tensor<1>>>::new()),
            };
            let Ok(mut finished) = finished else { continue };
            self.take(place, std::mem::take(&mut finished.events));
            self.summary.dropped_count += finished.summary.dropped_count;
            self.summary.lost_count += finished.summary.lost_count;
            self.summary.record_secs += finished.summary.record_secs;
            main.get_or_insert(finished);
        }
        self.merge(true);
        main.map(|main| Finished {
            summary: std::mem::take(&mut self.summary),
            events: self.events.drain(..).collect(),
            ..main
        })
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

//! One step of a scope: what is given with it, and the walk that takes the gradients.

use super::observer::{self, Given, HostObserver, Landed, Observer, ScalarValue};
use super::walk::{self, GradientSource};
use super::{Places, Scope, WhenFull};
use crate::bridge::{self, Primitive};
use crate::error::Error;
use crate::record::{Cost, Notice, NoticeKind, Param, TensorRecord};
use burn::module::Module;
use burn::tensor::{Device as BurnDevice, Tensor};
use std::time::{Duration, Instant};

/// One step being described; [`Step::submit`] sends it off.
#[must_use = "a step is observed by `submit`"]
pub struct Step<'a> {
    scope: &'a mut Scope,
    given: Given,
    work: Work,
    spent: Duration,
}

enum Work {
    Gpu { gradients: Vec<(usize, Primitive)>, scalars: Vec<Primitive> },
    Host { tensors: Option<Vec<TensorRecord>> },
}

impl<'a> Step<'a> {
    pub(super) fn new(scope: &'a mut Scope, number: u64) -> Self {
        let given = Given {
            step: number,
            epoch: None,
            scalars: vec![],
            cost: Cost::default(),
            notices: vec![],
            unreadable: vec![],
        };
        let work = match &scope.observer {
            Observer::Gpu(_) => Work::Gpu { gradients: vec![], scalars: vec![] },
            Observer::Host(_) => Work::Host { tensors: None },
        };
        Self { scope, given, work, spent: Duration::ZERO }
    }

    /// The epoch the step belongs to.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.given.epoch = Some(epoch);
        self
    }

    /// A figure that the host knows.
    pub fn value(mut self, name: &str, value: f64) -> Self {
        self.given.scalars.push((name.to_owned(), ScalarValue::Known(value)));
        self
    }

    /// A figure that is still on the GPU, such as the loss: it is read back with the statistics, not by a
    /// read of its own. One that is not a single element is left out, with a notice.
    pub fn scalar<const D: usize>(mut self, name: &str, tensor: &Tensor<D>) -> Self {
        let started = Instant::now();
        let value = match (&mut self.work, tensor.shape().num_elements()) {
            (Work::Gpu { scalars, .. }, 1) => observer::scalar_fits(scalars.len())
                .and_then(|()| bridge::primitive(tensor.clone(), &self.scope.device))
                .map(|primitive| {
                    scalars.push(primitive);
                    ScalarValue::Gpu(scalars.len() - 1)
                }),
            (Work::Host { .. }, 1) => {
                observer::values(tensor.clone()).map(|values| ScalarValue::Known(f64::from(values[0])))
            }
            (_, numel) => Err(format!("it has {numel} elements, not one")),
        };
        match value {
            Ok(value) => self.given.scalars.push((name.to_owned(), value)),
            Err(reason) => {
                self.given.notices.push(NoticeKind::ScalarSkipped { name: name.to_owned(), reason });
            }
        }
        self.spent += started.elapsed();
        self
    }

    /// The gradients of `model`: burn's `Gradients` or `GradientsParams`. They are not changed and not kept.
    pub fn gradients<M: Module, G: GradientSource>(mut self, model: &M, source: &G) -> Self {
        let started = Instant::now();
        let (device, places, params) = (&self.scope.device, &self.scope.places, &self.scope.params);
        let Given { step, notices, unreadable, .. } = &mut self.given;
        let mut unknown_count = 0;
        let unknown = &mut unknown_count;
        // Given twice, the last holds.
        unreadable.clear();
        match (&mut self.work, &mut self.scope.observer) {
            (Work::Gpu { gradients, .. }, _) => {
                gradients.clear();
                let collect = CollectGpu { device, places, params, gradients, notices, unreadable, unknown };
                walk::gradients(model, source, collect);
            }
            (Work::Host { tensors }, Observer::Host(host)) => {
                let tensors = tensors.insert(vec![TensorRecord::Missing; params.len()]);
                let collect = CollectHost { places, params, step: *step, host, tensors, notices, unknown };
                walk::gradients(model, source, collect);
            }
            (Work::Host { .. }, Observer::Gpu(_)) => {}
        }
        // One notice a change, not one a step.
        if unknown_count > self.scope.unknown_count {
            notices.push(NoticeKind::ModelChanged { unknown_count });
        }
        self.scope.unknown_count = unknown_count;
        self.spent += started.elapsed();
        self
    }

    /// Sends the step off and returns. Never waits for the GPU while the staging ring has room.
    pub fn submit(self) {
        // What went wrong has become a notice: training goes on.
        let _ = self.try_submit();
    }

    /// As [`Step::submit`], for those who want to hear at once that the step was dropped.
    ///
    /// # Errors
    /// Where the ring was full and the scope drops rather than waits.
    pub fn try_submit(self) -> Result<(), Error> {
        let Self { scope, mut given, work, spent } = self;
        // As if submitting had started when its first part did.
        let started = Instant::now() - spent;
        let step = given.step;
        match work {
            Work::Host { tensors } => {
                let tensors = tensors.unwrap_or_else(|| vec![TensorRecord::Missing; scope.params.len()]);
                given.cost.submit_secs = started.elapsed().as_secs_f64();
                scope.record(Landed { given, tensors: Ok(tensors) });
            }
            Work::Gpu { gradients, scalars } => {
                scope.land();
                if let Observer::Gpu(gpu) = &scope.observer
                    && gpu.is_full()
                {
                    gpu.refresh();
                    scope.land();
                }
                if scope.is_full() && scope.when_full == WhenFull::Drop {
                    let in_flight_count = scope.in_flight_count();
                    scope.notify(Notice { step, kind: NoticeKind::StepDropped { in_flight_count } });
                    let reason = format!("{in_flight_count} steps were in flight");
                    return Err(Error::StepLost { step, reason });
                }
                let waiting = Instant::now();
                while scope.is_full() {
                    scope.wait_count += 1;
                    scope.wait_for_oldest();
                    scope.land();
                    given.cost.wait_secs = waiting.elapsed().as_secs_f64();
                }
                if let Observer::Gpu(gpu) = &mut scope.observer {
                    gpu.submit(given, gradients, scalars, started);
                }
            }
        }
        Ok(())
    }
}

struct CollectGpu<'a> {
    device: &'a BurnDevice,
    places: &'a Places,
    params: &'a [Param],
    gradients: &'a mut Vec<(usize, Primitive)>,
    notices: &'a mut Vec<NoticeKind>,
    unreadable: &'a mut Vec<usize>,
    unknown: &'a mut usize,
}

impl walk::OnGradient for CollectGpu<'_> {
    fn call<const D: usize>(&mut self, key: u64, gradient: Option<Tensor<D>>) {
        let place = self.places.get(&key);
        *self.unknown += usize::from(place.is_none());
        if let (Some(tensor), Some(gradient)) = (place.copied().flatten(), gradient) {
            match bridge::primitive(gradient, self.device) {
                Ok(primitive) => self.gradients.push((tensor, primitive)),
                Err(reason) => {
                    let path = self.params[tensor].path.clone();
                    self.notices.push(NoticeKind::Unreadable { path, reason });
                    self.unreadable.push(tensor);
                }
            }
        }
    }
}

struct CollectHost<'a> {
    places: &'a Places,
    params: &'a [Param],
    step: u64,
    host: &'a mut HostObserver,
    tensors: &'a mut [TensorRecord],
    notices: &'a mut Vec<NoticeKind>,
    unknown: &'a mut usize,
}

impl walk::OnGradient for CollectHost<'_> {
    fn call<const D: usize>(&mut self, key: u64, gradient: Option<Tensor<D>>) {
        let place = self.places.get(&key);
        *self.unknown += usize::from(place.is_none());
        let Some(tensor) = place.copied().flatten() else { return };
        self.tensors[tensor] = match gradient {
            None => self.host.missing(tensor),
            Some(gradient) => self.host.observe(tensor, self.step, gradient).unwrap_or_else(|reason| {
                let path = self.params[tensor].path.clone();
                self.notices.push(NoticeKind::Unreadable { path, reason });
                TensorRecord::Unreadable
            }),
        };
    }
}

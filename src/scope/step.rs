//! One step of a scope: what is given with it, and the walk that takes the tensors.

use super::capture::Item;
use super::comparing::Attention;
use super::numbering::Number;
use super::observer::Maker;
use super::parcel::{Given, Parcel, Payload, ScalarValue};
use super::scalar::ScalarSource;
use super::walk::{self, GradientSource};
use super::{Known, Places, Scope, WhenFull};
use crate::Error;
use crate::reduce::survey::SurveyDue;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device as BurnDevice, Tensor};
use gradscope_record::record::Param as ParamEntry;
use gradscope_record::record::{Notice, NoticeKind};
use gradscope_record::stats::Stats;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One step being described; [`Step::submit`] sends it off.
///
/// ```no_run
/// # use burn::{nn::LinearConfig, tensor::{Distribution, Tensor, activation::relu}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let device = gradscope::device()?;
/// # let training = device.burn().clone().autodiff();
/// # let model = LinearConfig::new(4, 2).init(&training);
/// # let mut scope = gradscope::Scope::builder(&device).build(&model)?;
/// let hidden = relu(model.forward(Tensor::<2>::random([8, 4], Distribution::Default, &training)));
/// let loss = hidden.clone().powf_scalar(2.0).mean();
/// let grads = loss.backward();
/// scope
///     .step(0)
///     .epoch(1)
///     .scalar("lr", 1e-3)
///     .scalar("loss", &loss)
///     .tap_tails("hidden", &hidden, [0.0, f32::INFINITY])
///     .gradients(&model, &grads)
///     .submit();
/// # Ok(())
/// # }
/// ```
#[must_use = "a step is observed by `submit`"]
pub struct Step<'a> {
    scope: &'a mut Scope,
    given: Given,
    parcel: Parcel,
    /// For each tensor.
    attention: Vec<Attention>,
    number: Number,
    /// Parameters of the step's models that were not there when the scope was built.
    unknown_count: usize,
    /// Whether some of the parameters live on other devices, which is nothing to tell then.
    scattered: bool,
    captured: Vec<Item>,
    spent: Duration,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("step", &self.given.step).finish_non_exhaustive()
    }
}

impl<'a> Step<'a> {
    pub(super) fn new(scope: &'a mut Scope, number: u64) -> Self {
        let number = scope.numbering.of(number);
        let attention = scope.comparing.attention(number);
        let mut given = Given::new(number.step);
        if attention.contains(&Attention::Observe) {
            given.survey = scope.survey.due(number.step, number.index);
        }
        Self {
            number,
            unknown_count: 0,
            scope,
            given,
            parcel: Parcel::default(),
            attention,
            scattered: false,
            captured: vec![],
            spent: Duration::ZERO,
        }
    }

    /// The move that was made after the last step: parameters, and nothing else.
    pub(super) fn last_move(scope: &'a mut Scope, number: u64) -> Self {
        let mut step = Self::new(scope, number);
        step.given.step = number;
        step.given.last_move = true;
        step.given.survey = SurveyDue::default();
        step.attention.fill(Attention::Observe);
        step
    }

    /// Parameters that live on other devices are passed over: each is watched where it lives.
    pub(crate) fn scattered(mut self) -> Self {
        self.scattered = true;
        self
    }

    /// Whether the schedule observes any parameter at this step. Where it does not, the step leaves no record, and
    /// nothing need be computed for one.
    pub fn is_due(&self) -> bool {
        self.attention.contains(&Attention::Observe)
    }

    /// The epoch the step belongs to.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.given.epoch = Some(epoch);
        self
    }

    /// What the gradients come multiplied by: the loss scale, or the number of batches that were added up without
    /// dividing. Statistics and epsilons are those of `g / scale`; subnormals and zeros are counted as they come.
    /// One that is not finite and positive is left out, with a notice.
    pub fn gradient_scale(mut self, scale: f64) -> Self {
        if scale.is_finite() && scale > 0.0 {
            self.given.scale = scale;
        } else if self.attention.iter().any(|attention| *attention != Attention::None) {
            self.given.notices.push(NoticeKind::BadScale { scale: scale.to_string() });
        }
        self
    }

    /// A number that belongs to the step: one that the host knows, or a tensor of one element that is still on the GPU,
    /// such as the loss. A tensor is read back with the statistics, not by a read of its own, and not at a step that is
    /// not due. Up to 64 tensors a step; one more, one of another length and one of another device or element type are
    /// left out, with a notice. The rules look at `loss` and `lr`. Of two with one name both are recorded.
    pub fn scalar(self, name: &str, value: impl ScalarSource) -> Self {
        value.give(self, name)
    }

    pub(super) fn known_scalar(mut self, name: &str, value: f64) -> Self {
        self.given.scalars.push((name.to_owned(), ScalarValue::Known(value)));
        self
    }

    pub(super) fn tensor_scalar<const D: usize>(mut self, name: &str, tensor: &Tensor<D>) -> Self {
        if !self.is_due() {
            return self;
        }
        let started = Instant::now();
        let value = match tensor.shape().num_elements() {
            1 => self.scope.observer.scalar(tensor.clone(), &mut self.parcel),
            numel => Err(format!("it has {numel} elements, not one")),
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

    /// Any float tensor by name: activations, their gradients, an optimizer's moments. The card and the dynamics are
    /// computed of it, whatever the scope's groups; it has no history and is not kept. Up to 64 a step; one more, or
    /// one that can't be reduced, is left out with a notice. Epsilons are the scope's, without the gradient scale.
    pub fn tap<const D: usize>(self, name: &str, tensor: &Tensor<D>) -> Self {
        self.tap_with(name, tensor, None)
    }

    /// As [`Step::tap`], and counts finite elements at or below `rails[0]` and at or above `rails[1]`: a sigmoid's
    /// saturation with `[0.01, 0.99]`, a ReLU's zeros with `[0.0, f32::INFINITY]`. A rail that is NaN is refused, with
    /// a notice. Two rails are what [`Rule::SaturatedActivation`](gradscope_record::record::Rule) looks at.
    pub fn tap_tails<const D: usize>(self, name: &str, tensor: &Tensor<D>, rails: [f32; 2]) -> Self {
        self.tap_with(name, tensor, Some(rails))
    }

    fn tap_with<const D: usize>(mut self, name: &str, tensor: &Tensor<D>, rails: Option<[f32; 2]>) -> Self {
        if !self.is_due() {
            return self;
        }
        let started = Instant::now();
        let payload = match rails {
            Some(rails) if rails.iter().any(|rail| rail.is_nan()) => Err("a rail is NaN".into()),
            _ => self.scope.observer.maker().payload(tensor.clone()),
        };
        match payload.and_then(|payload| self.parcel.tap(payload, rails)) {
            Ok(()) => self.given.taps.push((name.to_owned(), rails.is_some())),
            Err(reason) => self.given.notices.push(NoticeKind::TapSkipped { name: name.to_owned(), reason }),
        }
        self.spent += started.elapsed();
        self
    }

    /// The gradients of `model`: burn's `Gradients`, `GradientsParams` or `MultiGradientsParams`. They are not changed
    /// and not kept. Where the scope was asked for [`Stats::UPDATES`], the parameters are kept until the next step. Given more
    /// than once, as after several backward passes of one step, the gradients are added, as an optimizer that
    /// accumulates them does; one addition for each parameter that has several. A parameter that the scope does not know
    /// is reported once ([`NoticeKind::ModelChanged`](crate::NoticeKind)); a gradient of another element type, length or
    /// device is [`Unreadable`](gradscope_record::record::Gradient), with a notice.
    pub fn gradients<M: Module, G: GradientSource>(self, model: &M, source: &G) -> Self {
        self.collect(model, Some(source))
    }

    /// The parameters of `model` alone.
    pub(super) fn weights<M: Module>(self, model: &M) -> Self {
        self.collect::<M, burn::optim::GradientsParams>(model, None)
    }

    fn collect<M: Module, G: GradientSource>(mut self, model: &M, source: Option<&G>) -> Self {
        if self.attention.iter().all(|attention| *attention == Attention::None) {
            return self;
        }
        let started = Instant::now();
        let Scope { device, observer, places, params, groups, known, .. } = &*self.scope;
        let mut found = Found::default();
        let collect = Collect {
            source,
            places,
            known,
            attention: &self.attention,
            weighs: groups.contains(Stats::PARAMS)
                || groups.contains(Stats::EMA)
                || self.given.survey.histograms.is_some(),
            only_on: self.scattered.then_some(device),
            payload: observer.maker(),
            found: &mut found,
        };
        walk::each(model, collect);
        let refused = self.parcel.add(found.tensors).into_iter().map(|(tensor, reason)| (tensor, true, reason));
        self.given.refuse(found.refused.into_iter().chain(refused), params);
        self.given.note(found.not_due, found.replaced, found.trainable);
        self.unknown_count += found.unknown_count;
        if let (Some(capture), Some(source), true) = (&self.scope.capture, source, self.is_due())
            && capture.is_due(self.given.step, self.number.index)
        {
            let items = &mut self.captured;
            walk::each(model, CaptureTensors { source, places, params, captured: &capture.captured, items });
        }
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
    /// [`Error::StepLost`] where the ring was full and the scope was built with [`WhenFull::Drop`].
    pub fn try_submit(self) -> Result<(), Error> {
        let is_due = self.is_due();
        let Self { scope, mut given, parcel, attention, number, unknown_count, captured, spent, .. } = self;
        // As if submitting had started when its first part did.
        let started = Instant::now() - spent;
        given.unix_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let step = given.step;
        let keeping = match given.last_move {
            true => scope.comparing.keeping_last(step),
            false => {
                let keeps_params = scope.groups.contains(Stats::UPDATES);
                scope.comparing.keeping(number, given.epoch, &attention, keeps_params)
            }
        };
        scope.count_step(&mut given, number, unknown_count);
        if attention.iter().any(|attention| *attention != Attention::None) {
            scope.unknown_count = unknown_count;
            scope.know(&mut given, &parcel);
        }
        given.replaced.append(&mut scope.replaced);
        if !is_due {
            scope.observer.engine.prime(&given, parcel, &keeping);
            scope.take_trainable(&given.trainable);
            scope.notify_all(step, given.notices);
            return Ok(());
        }
        if let Some(capture) = scope.capture.as_mut().filter(|_| !captured.is_empty()) {
            capture.asked = false;
            given.notices.extend(capture.writer.send(step, captured));
        }
        if !scope.make_room(&mut given) {
            let in_flight_count = scope.observer.engine.in_flight_count();
            scope.take_trainable(&given.trainable);
            scope.replaced.append(&mut given.replaced);
            given.notices.push(NoticeKind::StepDropped { in_flight_count });
            scope.notify_all(step, given.notices);
            return Err(Error::StepLost { step, reason: format!("{in_flight_count} steps were in flight") });
        }
        scope.comparing.submitted(&keeping, given.epoch);
        scope.observer.engine.submit(given, parcel, &keeping, started);
        // What is there at once, as from the CPU twins, is recorded at once.
        scope.land();
        Ok(())
    }
}

impl Scope {
    /// Takes the step's number, and what is to be reported of it.
    fn count_step(&mut self, given: &mut Given, number: Number, unknown_count: usize) {
        if !given.last_move {
            let reported = self.numbering.take(number);
            // Other spans compare with steps that are no neighbours.
            let is_wanted = |kind: &NoticeKind| {
                self.comparing.is_with_neighbours() || !matches!(kind, NoticeKind::NoNeighbours { .. })
            };
            given.notices.extend(reported.filter(is_wanted));
            let found = self.diagnosing.as_mut().map(|diagnosing| diagnosing.stepped(given.step)).unwrap_or_default();
            self.tell(found);
        }
        self.last_step = Some(given.step);
        given.notices.append(&mut self.early_notices);
        // One notice a change, not one a step.
        if unknown_count > self.unknown_count {
            given.notices.push(NoticeKind::ModelChanged { unknown_count });
        }
    }

    /// Makes room for a step in the ring: waits for the oldest, unless the scope drops steps. False where there is none.
    fn make_room(&mut self, given: &mut Given) -> bool {
        self.land();
        if self.observer.engine.is_full() {
            self.observer.engine.refresh();
            self.land();
        }
        if self.observer.engine.is_full() && self.when_full == WhenFull::Drop {
            return false;
        }
        let waiting = Instant::now();
        while self.observer.engine.is_full() {
            self.wait_count += 1;
            self.observer.engine.wait_for_oldest();
            self.land();
            given.cost.wait_secs = waiting.elapsed().as_secs_f64();
        }
        true
    }

    fn notify_all(&mut self, step: u64, kinds: Vec<NoticeKind>) {
        kinds.into_iter().for_each(|kind| self.notify(Notice::new(step, kind)));
    }
}

/// What a walk over a model finds.
#[derive(Default)]
struct Found {
    /// Gradient and parameter, by tensor.
    tensors: Vec<(usize, Option<Payload>, Option<Payload>)>,
    /// Tensors that are there and cannot be handed on, whether it is the gradient, and why.
    refused: Vec<(usize, bool, String)>,
    not_due: Vec<usize>,
    replaced: Vec<(usize, ParamId)>,
    trainable: Vec<(usize, bool)>,
    unknown_count: usize,
}

struct Collect<'a, G> {
    source: Option<&'a G>,
    places: &'a Places,
    known: &'a [Known],
    attention: &'a [Attention],
    weighs: bool,
    /// The device whose parameters alone are weighed.
    only_on: Option<&'a BurnDevice>,
    payload: &'a Maker,
    found: &'a mut Found,
}

impl<G: GradientSource> walk::OnParam for Collect<'_, G> {
    fn call<const D: usize>(&mut self, key: u64, param: &Param<Tensor<D>>) {
        let place = self.places.get(&key);
        self.found.unknown_count += usize::from(place.is_none());
        let Some(tensor) = place.copied().flatten() else { return };
        let attention = self.attention[tensor];
        if attention != Attention::Observe {
            self.found.not_due.push(tensor);
        }
        if attention == Attention::None {
            return;
        }
        let known = &self.known[tensor];
        if known.id != param.id {
            self.found.replaced.push((tensor, param.id));
        }
        // One that is still lazy took no part in the loss, and drawing its values now would change those of others.
        if !param.is_initialized() {
            self.found.tensors.push((tensor, None, None));
            return;
        }
        if self.source.is_some() && known.trainable != param.is_require_grad() && param.device().is_autodiff() {
            self.found.trainable.push((tensor, !known.trainable));
        }
        let mut made = |part: Option<Tensor<D>>, is_gradient: bool| -> Option<Payload> {
            let made = self.payload.payload(part?);
            made.map_err(|reason| self.found.refused.push((tensor, is_gradient, reason))).ok()
        };
        let gradient = made(self.source.and_then(|source| source.gradient(param)), true);
        let weight = self.weighs.then(|| param.val());
        let weight = weight.filter(|weight| self.only_on.is_none_or(|device| weight.device() == *device));
        let weight = made(weight, false);
        self.found.tensors.push((tensor, gradient, weight));
    }
}

/// Clones the tensors that are captured.
struct CaptureTensors<'a, G> {
    source: &'a G,
    places: &'a Places,
    params: &'a [ParamEntry],
    captured: &'a [bool],
    items: &'a mut Vec<Item>,
}

impl<G: GradientSource> walk::OnParam for CaptureTensors<'_, G> {
    fn call<const D: usize>(&mut self, key: u64, param: &Param<Tensor<D>>) {
        let Some(tensor) = self.places.get(&key).copied().flatten().filter(|&tensor| self.captured[tensor]) else {
            return;
        };
        let path = &self.params[tensor].path;
        self.items.extend(self.source.gradient(param).map(|g| Item::new(format!("gradient/{path}"), g)));
        if param.is_initialized() {
            self.items.push(Item::new(format!("parameter/{path}"), param.val()));
        }
    }
}

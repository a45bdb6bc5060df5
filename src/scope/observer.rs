//! The two engines behind a scope: hand-written shaders on burn's wgpu device, or the CPU twins.

use super::host::HostObserver;
use super::parcel::{Given, Keeping, Landed, MakePayload, Parcel, Payload, Read, ScalarValue};
use crate::Error;
use crate::reduce::gpu::{Flight, Form, Gpu, Ring};
use crate::scope::bridge::{self, Demand, Handed, Primitive};
use crate::scope::device::Device;
use crate::scope::engine::{Engine, Observation, Outcome, ReadLayout, Resolutions, Settings, TensorRole, reaches};
use burn::tensor::{DType, Device as BurnDevice, Tensor};
use gradscope_record::record::{NoticeKind, Param, TapRecord};
use gradscope_record::stats::Stats;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub(super) enum Observer {
    Gpu(Box<GpuObserver>),
    Host(Box<HostObserver>),
}

/// Where payloads go: the scope's device, or host memory.
pub(super) struct Maker<'a>(Option<&'a BurnDevice>);

impl MakePayload for Maker<'_> {
    fn payload<const D: usize>(&self, tensor: Tensor<D>) -> Result<Payload, String> {
        match self.0 {
            Some(device) => bridge::primitive(tensor, device).map(Payload::Gpu),
            None => values(tensor).map(|values| Payload::Host(values.into())),
        }
    }
}

impl Observer {
    pub fn new(device: &Device, params: &Arc<[Param]>, settings: &Settings, ring_len: usize) -> Result<Self, Error> {
        Ok(match &device.gpu {
            Some(gpu) => {
                let engine = gpu.guarded(|| Engine::new(gpu, Arc::clone(params), settings));
                let engine = engine.map_err(|reason| Error::NoRoomOnGpu { reason })??;
                Self::Gpu(Box::new(GpuObserver::new(gpu, device.burn().clone(), settings.form, engine, ring_len)))
            }
            None => Self::Host(Box::new(HostObserver::new(params, settings))),
        })
    }

    /// Which engine this is, for the record.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gpu(_) => "wgsl",
            Self::Host(_) => "cpu twin",
        }
    }

    /// What makes payloads for this engine.
    pub fn maker(&self) -> Maker<'_> {
        match self {
            Self::Gpu(gpu) => Maker(Some(&gpu.device)),
            Self::Host(_) => Maker(None),
        }
    }

    /// Adds a tensor of one element to the step, or reads it at once where there is no GPU.
    ///
    /// # Errors
    /// As [`MakePayload::payload`], and where the step has as many as it carries.
    pub fn scalar<const D: usize>(&self, tensor: Tensor<D>, parcel: &mut Parcel) -> Result<ScalarValue, String> {
        match self {
            Self::Gpu(gpu) => parcel.scalar(bridge::primitive(tensor, &gpu.device)?),
            Self::Host(_) => number(tensor).map(ScalarValue::Known),
        }
    }

    /// # Errors
    /// As [`MakePayload::payload`].
    pub fn payload<const D: usize>(&self, tensor: Tensor<D>) -> Result<Payload, String> {
        self.maker().payload(tensor)
    }

    /// Bytes of state kept on the GPU from step to step; 0 without one.
    pub fn state_bytes(&self) -> u64 {
        match self {
            Self::Gpu(gpu) => gpu.state_bytes,
            Self::Host(_) => 0,
        }
    }

    /// Pipelines that have been compiled for taps.
    pub fn tap_pipeline_count(&self) -> usize {
        match self {
            Self::Gpu(gpu) => gpu.engine.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).tap_pipeline_count(),
            Self::Host(_) => 0,
        }
    }

    pub fn is_full(&self) -> bool {
        matches!(self, Self::Gpu(gpu) if gpu.ring.is_full())
    }

    pub fn in_flight_count(&self) -> usize {
        match self {
            Self::Gpu(gpu) => gpu.ring.in_flight_count(),
            Self::Host(_) => 0,
        }
    }

    /// Looks whether the GPU has got further.
    pub fn refresh(&self) {
        if let Self::Gpu(gpu) = self {
            gpu.ring.refresh();
        }
    }

    /// Hands the step over. The ring has room.
    pub fn submit(&mut self, given: Given, parcel: Parcel, keeping: &Keeping, started: Instant) {
        match self {
            Self::Gpu(gpu) => gpu.submit(given, parcel, keeping, started),
            Self::Host(host) => host.submit(given, parcel, keeping, started),
        }
    }

    /// Hands over a step that the next one compares with, and of which nothing is read back.
    pub fn prime(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping) {
        match self {
            Self::Gpu(gpu) => gpu.prime(given, parcel, keeping),
            Self::Host(host) => drop(host.observe(given, parcel, keeping)),
        }
    }

    /// Whether parameters are kept whose next move is still to be told.
    pub fn awaits_move(&self) -> bool {
        match self {
            Self::Gpu(gpu) => gpu.kept.iter().any(Option::is_some),
            Self::Host(host) => host.awaits_move(),
        }
    }

    /// The oldest step, if its numbers are there. Never blocks.
    pub fn poll(&mut self) -> Option<Landed> {
        let mut landed = match self {
            Self::Gpu(gpu) => gpu.poll(),
            Self::Host(host) => host.poll(),
        }?;
        if let Ok(read) = &mut landed.read {
            landed.given.complete(&mut read.tensors);
        }
        Some(landed)
    }

    /// Blocks until the oldest step's numbers are there; `false` where none is in flight.
    pub fn wait_for_oldest(&mut self) -> bool {
        match self {
            Self::Gpu(gpu) if gpu.ring.in_flight_count() > 0 => {
                gpu.wait_for_oldest();
                true
            }
            _ => false,
        }
    }
}

pub(super) struct GpuObserver {
    device: BurnDevice,
    form: Form,
    engine: Arc<Mutex<Engine>>,
    ring: Ring<Outcome, Given>,
    layout: ReadLayout,
    /// Parameters whose next move is to be told, and the step they are of. A kept tensor makes the optimizer allocate
    /// rather than write in place; a kept address would not stop it.
    kept: Vec<Option<(u64, Primitive)>>,
    /// Tensors that had their turn since the last hand-off, and no gradient.
    lost: Vec<usize>,
    /// Where the last hand-off went, to drain it.
    destination: Option<bridge::Destination>,
    state_bytes: u64,
}

impl GpuObserver {
    fn new(gpu: &Gpu, device: BurnDevice, form: Form, engine: Engine, ring_len: usize) -> Self {
        let layout = engine.read_layout();
        Self {
            device,
            form,
            ring: Ring::new(gpu, engine.staging_bytes(), ring_len),
            kept: vec![None; layout.tensor_count()],
            layout,
            state_bytes: engine.state_bytes(),
            engine: Arc::new(Mutex::new(engine)),
            lost: Vec::new(),
            destination: None,
        }
    }

    /// What is handed to burn's device, in the order of the observation's roles.
    fn load(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping) -> (Vec<Handed>, Observation) {
        let groups = self.form.groups;
        // What was kept is of another parameter.
        given.replaced.iter().for_each(|(tensor, _)| self.kept[*tensor] = None);
        let mut observation = Observation {
            step: given.step,
            roles: vec![],
            visited: parcel.tensors.iter().map(|(tensor, ..)| *tensor).collect(),
            lost: std::mem::take(&mut self.lost),
            replaced: given.replaced.iter().map(|(tensor, _)| *tensor).collect(),
            primed: given.not_due.clone(),
            scale: given.scale,
            keeps: keeping.keeps,
            neighbours: keeping.neighbours,
            survey: given.survey.clone(),
        };
        let orders = given.survey.channels || given.survey.sign_map;
        let mut handed = Vec::new();
        let mut load = |payload: Option<Payload>, role: TensorRole, demand: Demand, pair: Option<usize>| {
            if let Some(Payload::Gpu(primitive)) = payload {
                handed.push(Handed { primitive, demand, pair });
                observation.roles.push(role);
            }
        };
        let fresh = |at: u64| reaches(given.step, at, keeping.neighbours);
        for (tensor, gradient, weight) in parcel.tensors {
            let pair = groups.contains(Stats::UPDATES).then_some(tensor);
            let demand = if groups.contains(Stats::DYNAMICS) || groups.contains(Stats::EMA) {
                Demand::Indexed
            } else {
                Demand::Dense
            };
            let weight_demand = if groups.contains(Stats::UPDATES) || groups.contains(Stats::EMA) {
                Demand::Indexed
            } else {
                Demand::Dense
            };
            if orders {
                load(gradient.clone(), TensorRole::Ordered(tensor), Demand::RowMajor, None);
            }
            load(gradient, TensorRole::Gradient(tensor), demand, pair);
            let kept = if keeping.keeps { self.kept[tensor].take() } else { None };
            if let (true, Some(Payload::Gpu(primitive))) = (keeping.weights[tensor], &weight) {
                self.kept[tensor] = Some((given.step, primitive.clone()));
            }
            // At a step that is only compared with, a parameter is kept, and averaged; it is not weighed.
            let primed = observation.primed.contains(&tensor);
            let weight = weight.filter(|_| groups.contains(Stats::EMA) || !primed);
            let weighed = weight.is_some() && !primed;
            load(weight, TensorRole::Parameter(tensor), weight_demand, pair);
            if let Some((step, before)) = kept.filter(|(at, _)| weighed && fresh(*at)) {
                load(Some(Payload::Gpu(before)), TensorRole::PreviousParameter { tensor, step }, weight_demand, pair);
            }
        }
        for scalar in parcel.scalars {
            load(Some(Payload::Gpu(scalar)), TensorRole::Scalar, Demand::Dense, None);
        }
        for (tap, rails) in parcel.taps {
            let rails = rails.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
            load(Some(tap), TensorRole::Tap { rails }, Demand::Indexed, None);
        }
        (handed, observation)
    }

    /// Hands the step's tensors over to burn's device, where the engine takes them up. The ring has room.
    fn submit(&mut self, mut given: Given, parcel: Parcel, keeping: &Keeping, started: Instant) {
        given.cost.readback_bytes = self.layout.bytes(parcel.scalars.len(), parcel.taps.len(), &given.survey) as u32;
        let (handed, observation) = self.load(&given, parcel, keeping);
        let Some(first) = handed.first() else {
            // Nothing to hand off, and no place in burn's queue to wait for: this step is complete. The engine
            // finds the gap by the numbers of the steps.
            self.lost_again(observation);
            given.cost.readback_bytes = 0;
            given.cost.submit_secs = started.elapsed().as_secs_f64();
            return self.ring.take_off(given, 0).complete_empty(Outcome::all_missing(self.layout.tensor_count()));
        };
        self.destination = Some(bridge::Destination::of(&first.primitive));
        let engine = Arc::clone(&self.engine);
        // The cost is known only after the hand-off, which needs the flight: write it in afterwards.
        let bytes = u64::from(given.cost.readback_bytes);
        let flight = self.ring.take_off(given, bytes);
        if !flight.is_pending() {
            return self.lost_again(observation);
        }
        let ticket = Ticket(Arc::clone(&flight));
        let handing_off = Instant::now();
        bridge::hand_off(handed, move |resolutions| {
            if let Err(reason) = observe(&engine, &observation, &resolutions, Some(&ticket.0)) {
                ticket.0.fail(reason);
            }
        });
        if let Some(given) = self.ring.newest() {
            given.cost.handoff_secs = handing_off.elapsed().as_secs_f64();
            given.cost.submit_secs = started.elapsed().as_secs_f64();
        }
    }

    /// Keeps for the next hand-off what this one would have told.
    fn lost_again(&mut self, observation: Observation) {
        self.lost = observation.lost;
        if observation.keeps {
            self.lost.extend(observation.visited);
        }
    }

    fn prime(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping) {
        let (handed, observation) = self.load(given, parcel, keeping);
        let engine = Arc::clone(&self.engine);
        if handed.is_empty() {
            self.lost_again(observation);
        } else {
            bridge::hand_off(handed, move |resolutions| {
                // A failure leaves no history: the next step then has nothing to compare with.
                let _ = observe(&engine, &observation, &resolutions, None);
            });
        }
    }

    fn poll(&mut self) -> Option<Landed> {
        let (flight, mut given) = self.ring.next_landed()?;
        let reading = Instant::now();
        let landed = flight.land(u64::from(given.cost.readback_bytes));
        self.ring.recycle(&flight);
        let read = landed.and_then(|(outcome, data)| {
            given.cost.copied_count = outcome.copied_count;
            given.cost.encode_secs = outcome.encode_secs;
            given.cost.gpu_secs = self.layout.gpu_secs(&data);
            for (name, value) in &mut given.scalars {
                if let ScalarValue::Gpu(index) = *value {
                    match outcome.scalars.get(index) {
                        Some(Ok(())) => *value = ScalarValue::Known(f64::from(self.layout.scalar(&data, index))),
                        refused => {
                            let reason = refused.and_then(|refused| refused.clone().err());
                            let reason = reason.unwrap_or_else(|| "it was not read back".into());
                            given.notices.push(NoticeKind::ScalarSkipped { name: name.clone(), reason });
                        }
                    }
                }
            }
            let tensors = self.layout.read(&outcome, &data)?;
            let mut taps = Vec::new();
            for ((name, railed), tap) in given.taps.iter().zip(self.layout.taps(&outcome, &data)) {
                match tap {
                    Ok((summary, tails)) => {
                        let tail_count = railed.then_some(tails);
                        taps.push(TapRecord { name: name.clone(), summary, tail_count });
                    }
                    Err(reason) => given.notices.push(NoticeKind::TapSkipped { name: name.clone(), reason }),
                }
            }
            let counted = self.layout.counted(&outcome, &data);
            given.notices.extend(outcome.notices);
            Ok(Read { tensors, taps, counted })
        });
        given.cost.read_secs = reading.elapsed().as_secs_f64();
        Some(Landed { given, read })
    }

    fn wait_for_oldest(&mut self) {
        if let (false, Some(destination)) = (self.ring.oldest_was_submitted(), &self.destination) {
            destination.drain();
        }
        self.ring.wait_for_oldest();
    }
}

/// Runs the engine on burn's thread, which goes on whatever happens here.
fn observe(
    engine: &Mutex<Engine>,
    observation: &Observation,
    resolutions: &Resolutions,
    flight: Option<&Arc<Flight<Outcome>>>,
) -> Result<(), String> {
    let mut engine = engine.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    catch_unwind(AssertUnwindSafe(|| engine.observe(observation, resolutions, flight)))
        .unwrap_or_else(|_| Err("observing panicked; the panic's own message stands in the log".into()))
        .inspect_err(|_| engine.forget())
}

/// Fails its flight if burn drops the operation without running it.
struct Ticket(Arc<Flight<Outcome>>);

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.0.was_submitted() {
            self.0.fail("burn dropped the operation, after an error of its own".into());
        }
    }
}

/// A tensor's values in logical order. Blocks until they are there.
///
/// # Errors
/// Where they are quantised, or f64 beyond what f32 can hold.
fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, String> {
    let tensor = tensor.inner();
    match tensor.dtype() {
        quantised @ DType::QFloat(_) => Err(bridge::unsupported(quantised)),
        DType::F64 => {
            let wide: Vec<f64> = tensor.try_into_vec_as().map_err(|error| format!("{error:?}"))?;
            wide.into_iter().map(narrowed).collect()
        }
        _ => tensor.try_into_vec_as().map_err(|error| format!("{error:?}")),
    }
}

/// An f64 as the f32 that statistics are computed in. What is not zero stays so: below f32's smallest number it becomes
/// that one, which counts as subnormal and adds nothing to sums.
///
/// # Errors
/// Where it is finite, and infinite in f32.
fn narrowed(wide: f64) -> Result<f32, String> {
    let narrow = wide as f32;
    match wide {
        _ if narrow.is_infinite() && wide.is_finite() => {
            Err(format!("it holds {wide:e} in f64, beyond the range of f32, in which statistics are computed"))
        }
        _ if narrow == 0.0 && wide != 0.0 => Ok(f32::from_bits(1).copysign(narrow)),
        _ => Ok(narrow),
    }
}

/// The value of a tensor of one element, in f64. Blocks until it is there.
///
/// # Errors
/// Where it is quantised.
fn number<const D: usize>(tensor: Tensor<D>) -> Result<f64, String> {
    let tensor = tensor.inner();
    if let quantised @ DType::QFloat(_) = tensor.dtype() {
        return Err(bridge::unsupported(quantised));
    }
    let values: Vec<f64> = tensor.try_into_vec_as().map_err(|error| format!("{error:?}"))?;
    values.first().copied().ok_or_else(|| "it has no element".into())
}

#[cfg(test)]
mod tests {
    use super::narrowed;

    #[test]
    fn f64_keeps_its_zeros_signs_and_infinities() {
        let smallest = f32::from_bits(1);
        for (wide, narrow) in [(0.0, 0.0), (1e-60, smallest), (-1e-60, -smallest), (0.1, 0.1), (-3.0, -3.0)] {
            assert_eq!(narrowed(wide), Ok(narrow), "{wide}");
        }
        assert!(narrowed(1e60).unwrap_err().contains("1e60"));
        assert_eq!(narrowed(f64::NEG_INFINITY), Ok(f32::NEG_INFINITY), "it is infinite already");
        assert!(narrowed(f64::NAN).unwrap().is_nan());
    }
}

//! The GPU engine's half on the training thread: hands tensors to burn's device, keeps the ring, reads what came back.

use super::comparing::Keeping;
use super::observer::StepEngine;
use super::parcel::{Given, Landed, Parcel, Payload, Read, ScalarValue};
use crate::Error;
use crate::reduce::gpu::{Flight, Form, Gpu, Ring};
use crate::reduce::history::KeptParams;
use crate::scope::bridge::{self, Demand, Handed, Primitive};
use crate::scope::engine::{Engine, Observation, Outcome, ReadLayout, Resolutions, Settings, TensorRole};
use gradscope_record::record::{NoticeKind, Param, TapRecord};
use gradscope_record::stats::Stats;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub(super) struct GpuEngine {
    form: Form,
    engine: Arc<Mutex<Engine>>,
    ring: Ring<Outcome, Given>,
    layout: ReadLayout,
    /// A kept tensor makes the optimizer allocate rather than write in place; a kept address would not stop it.
    kept_params: KeptParams<Primitive>,
    /// Tensors that had their turn since the last hand-off, and no gradient.
    lost: Vec<usize>,
    /// Tensors whose parameter was replaced since the last hand-off.
    replaced: Vec<usize>,
    /// Where the last hand-off went, to drain it.
    destination: Option<bridge::Destination>,
    state_bytes: u64,
}

impl GpuEngine {
    /// # Errors
    /// Where the model outgrows the device's limits, or its memory.
    pub fn new(gpu: &Gpu, params: &Arc<[Param]>, settings: &Settings, ring_len: usize) -> Result<Self, Error> {
        let engine = gpu.guarded(|| Engine::new(gpu, Arc::clone(params), settings));
        let engine = engine.map_err(|reason| Error::NoRoomOnGpu { reason })??;
        let layout = engine.read_layout();
        Ok(Self {
            form: settings.form,
            ring: Ring::new(gpu, engine.staging_bytes(), ring_len),
            kept_params: KeptParams::new(layout.tensor_count()),
            layout,
            state_bytes: engine.state_bytes(),
            engine: Arc::new(Mutex::new(engine)),
            lost: Vec::new(),
            replaced: Vec::new(),
            destination: None,
        })
    }

    /// What is handed to burn's device, in the order of the observation's roles.
    fn load(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping) -> (Vec<Handed>, Observation) {
        let groups = self.form.groups;
        // What was kept is of another parameter.
        given.replaced.iter().for_each(|(tensor, _)| self.kept_params.forget(*tensor));
        self.replaced.extend(given.replaced.iter().map(|(tensor, _)| *tensor));
        let mut load = Load {
            handed: vec![],
            observation: Observation {
                roles: vec![],
                visited: parcel.tensors.iter().map(|(tensor, ..)| *tensor).collect(),
                lost: std::mem::take(&mut self.lost),
                replaced: std::mem::take(&mut self.replaced),
                primed: given.not_due.clone(),
                scale: given.scale,
                compared: keeping.compared,
                survey: given.survey.clone(),
            },
        };
        let orders = given.survey.channels || given.survey.sign_map;
        let indexed = |set: Stats| if groups.intersects(set | Stats::EMA) { Demand::Indexed } else { Demand::Dense };
        let (demand, param_demand) = (indexed(Stats::DYNAMICS), indexed(Stats::UPDATES));
        for (tensor, gradient, param) in parcel.tensors {
            let pair = groups.contains(Stats::UPDATES).then_some(tensor);
            if orders {
                load.add(gradient.clone(), TensorRole::Ordered(tensor), Demand::RowMajor, None);
            }
            load.add(gradient, TensorRole::Gradient(tensor), demand, pair);
            let kept = match &param {
                Some(Payload::Gpu(primitive)) if keeping.params[tensor] => Some(primitive.clone()),
                _ => None,
            };
            let previous = self.kept_params.replace(tensor, keeping.compared, kept);
            // At a step that is only compared with, a parameter is kept, and averaged; it is not weighed.
            let is_primed = load.observation.primed.contains(&tensor);
            let param = param.filter(|_| groups.contains(Stats::EMA) || !is_primed);
            let is_weighed = param.is_some() && !is_primed;
            load.add(param, TensorRole::Parameter(tensor), param_demand, pair);
            if let Some((step, previous)) = previous.filter(|_| is_weighed) {
                let role = TensorRole::PreviousParameter { tensor, step };
                load.add(Some(Payload::Gpu(previous)), role, param_demand, pair);
            }
        }
        for scalar in parcel.scalars {
            load.add(Some(Payload::Gpu(scalar)), TensorRole::Scalar, Demand::Dense, None);
        }
        for (tap, rails) in parcel.taps {
            let rails = rails.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
            load.add(Some(tap), TensorRole::Tap { rails }, Demand::Indexed, None);
        }
        (load.handed, load.observation)
    }

    /// Keeps for the next hand-off what this one would have told.
    fn lost_again(&mut self, observation: Observation) {
        self.lost = observation.lost;
        self.replaced = observation.replaced;
        if observation.compared.keeps {
            self.lost.extend(observation.visited);
        }
    }

    /// What a step has brought back.
    fn read(&self, given: &mut Given, outcome: Outcome, data: &[u8]) -> Result<Read, String> {
        given.cost.copied_count = outcome.copied_count;
        given.cost.encode_secs = outcome.encode_secs;
        given.cost.gpu_secs = self.layout.gpu_secs(data);
        for (name, value) in &mut given.scalars {
            let ScalarValue::Gpu(index) = *value else { continue };
            match outcome.scalars.get(index) {
                Some(Ok(())) => *value = ScalarValue::Known(f64::from(self.layout.scalar(data, index))),
                refused => {
                    let reason = refused.and_then(|refused| refused.clone().err());
                    let reason = reason.unwrap_or_else(|| "it was not read back".into());
                    given.notices.push(NoticeKind::ScalarSkipped { name: name.clone(), reason });
                }
            }
        }
        let tensors = self.layout.read(&outcome, data)?;
        let mut taps = Vec::new();
        for ((name, railed), tap) in given.taps.iter().zip(self.layout.taps(&outcome, data)) {
            match tap {
                Ok((summary, tails)) => {
                    let tail_count = railed.then_some(tails);
                    taps.push(TapRecord { name: name.clone(), summary, tail_count });
                }
                Err(reason) => given.notices.push(NoticeKind::TapSkipped { name: name.clone(), reason }),
            }
        }
        let counted = self.layout.counted(&outcome, data);
        given.notices.extend(outcome.notices);
        Ok(Read { tensors, taps, counted })
    }
}

/// Tensors on their way to burn's device, and what each is.
struct Load {
    handed: Vec<Handed>,
    observation: Observation,
}

impl Load {
    fn add(&mut self, payload: Option<Payload>, role: TensorRole, demand: Demand, pair: Option<usize>) {
        if let Some(Payload::Gpu(primitive)) = payload {
            self.handed.push(Handed { primitive, demand, pair });
            self.observation.roles.push(role);
        }
    }
}

impl StepEngine for GpuEngine {
    fn name(&self) -> &'static str {
        "wgsl"
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

    fn awaits_update(&self) -> bool {
        self.kept_params.is_any()
    }

    fn next_landed(&mut self) -> Option<Landed> {
        let (flight, mut given) = self.ring.next_landed()?;
        let reading = Instant::now();
        let landed = flight.land(u64::from(given.cost.readback_bytes));
        self.ring.recycle(&flight);
        let read = landed.and_then(|(outcome, data)| self.read(&mut given, outcome, &data));
        given.cost.read_secs = reading.elapsed().as_secs_f64();
        Some(Landed { given, read })
    }

    fn refresh(&self) {
        self.ring.refresh();
    }

    fn wait_for_oldest(&mut self) -> bool {
        if self.ring.in_flight_count() == 0 {
            return false;
        }
        if let (false, Some(destination)) = (self.ring.oldest_was_submitted(), &self.destination) {
            destination.drain();
        }
        self.ring.wait_for_oldest();
        true
    }

    fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    fn in_flight_count(&self) -> usize {
        self.ring.in_flight_count()
    }

    fn state_bytes(&self) -> u64 {
        self.state_bytes
    }

    fn tap_pipeline_count(&self) -> usize {
        self.engine.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).tap_pipeline_count()
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

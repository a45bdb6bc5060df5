//! The two engines behind a scope: hand-written shaders on burn's wgpu device, or the CPU twins.

use crate::bridge::{self, Primitive};
use crate::cpu::grad_reduce::{SignState, reduce};
use crate::device::Device;
use crate::engine::{Engine, Outcome, ReadLayout, SCALAR_COUNT_MAX};
use crate::error::Error;
use crate::gpu::{Flight, Gpu, PretendLimits, Ring, Shaders};
use crate::record::{Cost, NoticeKind, Param, TensorRecord};
use crate::stats::Epsilons;
use burn::tensor::{DType, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a step's caller has given beside the gradients, kept until its numbers are back.
pub(super) struct Given {
    pub step: u64,
    pub epoch: Option<u64>,
    pub scalars: Vec<(String, ScalarValue)>,
    pub cost: Cost,
    pub notices: Vec<NoticeKind>,
    /// Tensors whose gradient is there and cannot be handed to the engine.
    pub unreadable: Vec<usize>,
}

#[derive(Clone, Copy)]
pub(super) enum ScalarValue {
    Known(f64),
    /// The `n`-th GPU scalar of the step.
    Gpu(usize),
}

/// A step whose numbers are there.
pub(super) struct Landed {
    pub given: Given,
    /// The tensors, or why the step was lost.
    pub tensors: Result<Vec<TensorRecord>, String>,
}

pub(super) enum Observer {
    Gpu(Box<GpuObserver>),
    Host(HostObserver),
}

impl Observer {
    pub fn new(
        device: &Device,
        params: &[Param],
        epsilons: Epsilons,
        shaders: Shaders,
        limits: PretendLimits,
        ring_len: usize,
    ) -> Result<Self, Error> {
        Ok(match &device.gpu {
            Some(gpu) => Self::Gpu(Box::new(GpuObserver::new(gpu, params, &epsilons, shaders, limits, ring_len)?)),
            None => Self::Host(HostObserver::new(params, epsilons)),
        })
    }

    /// Which engine this is, for the record.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gpu(_) => "wgsl",
            Self::Host(_) => "cpu twin",
        }
    }
}

pub(super) struct GpuObserver {
    engine: Arc<Mutex<Engine>>,
    ring: Ring<Outcome, Given>,
    layout: ReadLayout,
    /// Where the last hand-off went, to drain it.
    destination: Option<bridge::Destination>,
    pub state_bytes: u64,
    pub bytes_per_step: u64,
}

impl GpuObserver {
    fn new(
        gpu: &Gpu,
        params: &[Param],
        epsilons: &Epsilons,
        shaders: Shaders,
        limits: PretendLimits,
        ring_len: usize,
    ) -> Result<Self, Error> {
        let engine = Engine::new(gpu, params.into(), epsilons, shaders, limits)?;
        Ok(Self {
            ring: Ring::new(gpu, engine.staging_bytes(), ring_len),
            layout: engine.read_layout(),
            state_bytes: engine.state_bytes(),
            bytes_per_step: engine.readback_bytes(0),
            engine: Arc::new(Mutex::new(engine)),
            destination: None,
        })
    }

    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// Looks whether the GPU has got further.
    pub fn refresh(&self) {
        self.ring.refresh();
    }

    pub fn in_flight_count(&self) -> usize {
        self.ring.in_flight_count()
    }

    /// Hands the step's tensors over to burn's device, where the engine takes them up. The ring has room.
    pub fn submit(
        &mut self,
        mut given: Given,
        gradients: Vec<(usize, Primitive)>,
        scalars: Vec<Primitive>,
        started: Instant,
    ) {
        let step = given.step;
        given.cost.readback_bytes = self.bytes_per_step as u32 + 4 * scalars.len() as u32;
        let (tensors, mut primitives): (Vec<usize>, Vec<Primitive>) = gradients.into_iter().unzip();
        primitives.extend(scalars);
        let Some(first) = primitives.first() else {
            // Nothing to hand off, and no place in burn's queue to wait for: this step is complete. The engine
            // finds the gap by the numbers of the steps.
            given.cost.readback_bytes = 0;
            given.cost.submit_secs = started.elapsed().as_secs_f64();
            return self.ring.take_off(given).complete_empty(Outcome::all_missing(self.layout.tensor_count()));
        };
        self.destination = Some(bridge::Destination::of(first));
        let engine = Arc::clone(&self.engine);
        // The cost is known only after the hand-off, which needs the flight: write it in afterwards.
        let flight = self.ring.take_off(given);
        let ticket = Ticket(Arc::clone(&flight));
        let handing_off = Instant::now();
        bridge::hand_off(primitives, move |resolutions| {
            let ticket = ticket;
            let observe = AssertUnwindSafe(|| {
                let mut engine = engine.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                engine.observe(step, &tensors, resolutions, &ticket.0);
            });
            if catch_unwind(observe).is_err() {
                ticket.0.fail("observing panicked; the panic's own message stands in the log".into());
            }
        });
        if let Some(given) = self.ring.newest() {
            given.cost.handoff_secs = handing_off.elapsed().as_secs_f64();
            given.cost.submit_secs = started.elapsed().as_secs_f64();
        }
    }

    /// The oldest step, if its numbers are there. Never blocks.
    pub fn poll(&mut self) -> Option<Landed> {
        let (flight, mut given) = self.ring.next_landed()?;
        let landed = flight.land(u64::from(given.cost.readback_bytes));
        self.ring.recycle(&flight);
        let tensors = landed.and_then(|(outcome, data)| {
            given.cost.copied_count = outcome.copied_count;
            for (name, value) in &mut given.scalars {
                if let ScalarValue::Gpu(index) = *value {
                    let read = outcome.scalars.get(index).copied().unwrap_or(false);
                    *value = ScalarValue::Known(f64::from(self.layout.scalar(&data, index)));
                    if !read {
                        *value = ScalarValue::Known(f64::NAN);
                        let reason = "its buffer could not be resolved".into();
                        given.notices.push(NoticeKind::ScalarSkipped { name: name.clone(), reason });
                    }
                }
            }
            let tensors = Engine::read(&self.layout, &outcome, &data);
            given.notices.extend(outcome.notices);
            tensors.map(|mut tensors| {
                given.unreadable.iter().for_each(|&tensor| tensors[tensor] = TensorRecord::Unreadable);
                tensors
            })
        });
        Some(Landed { given, tensors })
    }

    /// Blocks until the oldest step's numbers are there.
    pub fn wait_for_oldest(&mut self) {
        if let (false, Some(destination)) = (self.ring.oldest_was_submitted(), &self.destination) {
            destination.drain();
        }
        self.ring.wait_for_oldest();
    }
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

/// The CPU engine: reads every gradient on the training thread and reduces it there.
pub(super) struct HostObserver {
    epsilons: Epsilons,
    tensors: Vec<HostTensor>,
}

struct HostTensor {
    numel: u64,
    state: SignState,
    step: Option<u64>,
}

impl HostObserver {
    fn new(params: &[Param], epsilons: Epsilons) -> Self {
        let tensors = params
            .iter()
            .map(|param| HostTensor { numel: param.numel, state: SignState::default(), step: None })
            .collect();
        Self { epsilons, tensors }
    }

    /// Forgets tensors that had no gradient at this step.
    pub fn missing(&mut self, tensor: usize) -> TensorRecord {
        self.tensors[tensor].step = None;
        TensorRecord::Missing
    }

    /// Reduces one gradient.
    ///
    /// # Errors
    /// Where its values cannot be read as f32, or are not as many as planned.
    pub fn observe<const D: usize>(
        &mut self,
        tensor: usize,
        step: u64,
        gradient: Tensor<D>,
    ) -> Result<TensorRecord, String> {
        let values = values(gradient)?;
        let host = &mut self.tensors[tensor];
        if values.len() as u64 != host.numel {
            return Err(format!(
                "it has {} elements, and the model had {} when the scope was built",
                values.len(),
                host.numel
            ));
        }
        let previous_step = host.step.filter(|before| before + 1 == step);
        if previous_step.is_none() {
            host.state = SignState::default();
        }
        host.step = Some(step);
        let partial = reduce(&values, &self.epsilons, &mut host.state);
        Ok(TensorRecord::Observed { summary: partial.finish(), previous_step })
    }
}

/// A tensor's values in logical order. Blocks until they are there.
pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, String> {
    let data = tensor.inner().into_data();
    let data = if data.dtype() == DType::F32 { data } else { data.convert::<f32>() };
    data.try_into_vec().map_err(|error| format!("{error:?}"))
}

/// Whether a step can take one more GPU scalar.
pub(super) fn scalar_fits(count: usize) -> Result<(), String> {
    if count < SCALAR_COUNT_MAX {
        Ok(())
    } else {
        Err(format!("a step carries at most {SCALAR_COUNT_MAX} GPU scalars"))
    }
}

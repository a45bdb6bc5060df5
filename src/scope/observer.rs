//! What a scope hands its steps to: one of two engines, with what makes payloads for it.

use super::comparing::Keeping;
use super::cpu_engine::CpuEngine;
use super::gpu_engine::GpuEngine;
use super::parcel::{Given, Landed, Parcel, Payload, ScalarValue};
use crate::Error;
use crate::scope::bridge;
use crate::scope::device::Device;
use crate::scope::engine::Settings;
use burn::tensor::{DType, Device as BurnDevice, Tensor};
use gradscope_record::record::Param;
use std::sync::Arc;
use std::time::Instant;

/// Reduces the tensors of steps: hand-written shaders on burn's wgpu device, or the CPU twins. One that works on the
/// training thread has every step complete when [`StepEngine::submit`] returns, and is never full.
pub(super) trait StepEngine: Send {
    /// Which engine this is, for the record.
    fn name(&self) -> &'static str;

    /// Hands a step over. The ring has room.
    fn submit(&mut self, given: Given, parcel: Parcel, keeping: &Keeping, started: Instant);

    /// Hands over a step that the next one compares with, and of which nothing is read back.
    fn prime(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping);

    /// Whether parameters are kept whose next update is still to be computed.
    fn awaits_update(&self) -> bool;

    /// The oldest step, if its numbers are there, without what its caller alone knows: [`Observer::poll`] adds that. Never
    /// blocks.
    fn next_landed(&mut self) -> Option<Landed>;

    /// Looks whether the GPU has got further.
    fn refresh(&self) {}

    /// Blocks until the oldest step's numbers are there; `false` where none is in flight.
    fn wait_for_oldest(&mut self) -> bool {
        false
    }

    fn is_full(&self) -> bool {
        false
    }

    fn in_flight_count(&self) -> usize {
        0
    }

    /// Bytes of state kept on the GPU from step to step.
    fn state_bytes(&self) -> u64 {
        0
    }

    /// Pipelines that have been compiled for taps.
    fn tap_pipeline_count(&self) -> usize {
        0
    }
}

pub(super) struct Observer {
    pub engine: Box<dyn StepEngine>,
    maker: Maker,
}

/// Where payloads go: the scope's device, or host memory.
pub(super) struct Maker(Option<BurnDevice>);

impl Maker {
    /// Makes a payload of a tensor of any rank.
    ///
    /// # Errors
    /// Where the tensor does not live on the scope's device, or can't be read.
    pub fn payload<const D: usize>(&self, tensor: Tensor<D>) -> Result<Payload, String> {
        match &self.0 {
            Some(device) => bridge::primitive(tensor, device).map(Payload::Gpu),
            None => values(tensor).map(|values| Payload::Host(values.into())),
        }
    }
}

impl Observer {
    pub fn new(device: &Device, params: &Arc<[Param]>, settings: &Settings, ring_len: usize) -> Result<Self, Error> {
        Ok(match &device.gpu {
            Some(gpu) => Self {
                engine: Box::new(GpuEngine::new(gpu, params, settings, ring_len)?),
                maker: Maker(Some(device.burn().clone())),
            },
            None => Self { engine: Box::new(CpuEngine::new(params, settings)), maker: Maker(None) },
        })
    }

    /// What makes payloads for this engine.
    pub fn maker(&self) -> &Maker {
        &self.maker
    }

    /// Adds a tensor of one element to the step, or reads it at once where there is no GPU.
    ///
    /// # Errors
    /// As [`Maker::payload`], and where the step has as many as it carries.
    pub fn scalar<const D: usize>(&self, tensor: Tensor<D>, parcel: &mut Parcel) -> Result<ScalarValue, String> {
        match &self.maker.0 {
            Some(device) => parcel.scalar(bridge::primitive(tensor, device)?),
            None => number(tensor).map(ScalarValue::Known),
        }
    }

    /// The oldest step, if its numbers are there, with what its caller alone knew. Never blocks.
    pub fn poll(&mut self) -> Option<Landed> {
        let mut landed = self.engine.next_landed()?;
        if let Ok(read) = &mut landed.read {
            landed.given.complete(&mut read.tensors);
        }
        Some(landed)
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

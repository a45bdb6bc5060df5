//! What this machine has, and whether the kernels compute here what their twins do.

use crate::runs::say;
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as BurnDevice, Tensor, TensorData};
use clap::Args;
use gradscope::device::adapters;
use gradscope::{Device, DeviceChoice, Error, Scope, Stats, StepRecord};
use serde_json::json;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Args)]
pub struct Options {
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Lengths of the tensors of the self-test: one element, one more than a workgroup has invocations, and many workgroups.
const LENS: [usize; 4] = [1, 257, 4096, 500_000];
/// What a sum may differ by, over itself: the bound for norms of so many elements.
const SUM_TOLERANCE: f64 = 4e-6;

/// `gradscope doctor`. Exit code 1 where the kernels are wrong, or there is no adapter to run them on.
pub fn doctor(options: &Options) -> ExitCode {
    let found = adapters();
    let device = Device::open(DeviceChoice::Gpu);
    let started = Instant::now();
    let test = device.as_ref().map_err(ToString::to_string).and_then(self_test);
    let secs = started.elapsed().as_secs_f64();
    let features = [("fusion", cfg!(feature = "fusion")), ("autotune", cfg!(feature = "autotune"))];
    if options.json {
        let adapters: Vec<_> = found
            .iter()
            .map(|adapter| json!({ "description": adapter.description, "kind": adapter.kind, "f16": adapter.has_f16 }))
            .collect();
        let limits: serde_json::Map<_, _> =
            device.iter().flat_map(Device::limits).map(|(name, value)| (name.to_owned(), value.into())).collect();
        say(&json!({
            "version": env!("CARGO_PKG_VERSION"), "features": features.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "adapters": adapters, "uses": device.as_ref().ok().map(Device::describe), "limits": limits,
            "self_test": { "ok": test.is_ok(), "error": test.as_ref().err(), "secs": secs },
        }));
        return if test.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let states: Vec<_> =
        features.iter().map(|(name, on)| format!("{name} {}", if *on { "on" } else { "off" })).collect();
    say(&format_args!("gradscope {}, {}", env!("CARGO_PKG_VERSION"), states.join(", ")));
    say(&if found.is_empty() { "adapters: none" } else { "adapters:" });
    for adapter in &found {
        let f16 = if adapter.has_f16 { ", f16" } else { "" };
        say(&format_args!("- {}: {}{f16}", adapter.description, adapter.kind));
    }
    match &device {
        Ok(device) => {
            say(&format_args!("gradscope will use {}", device.describe()));
            device.limits().iter().for_each(|(name, value)| say(&format_args!("  {name}: {value}")));
        }
        Err(error @ Error::NoAdapter { .. }) => say(&format_args!("gradscope will use the CPU: {error}")),
        Err(error) => say(&format_args!("gradscope can't start: {error}")),
    }
    match &test {
        Ok(numel) => say(&format_args!("self-test: {numel} elements, two steps, GPU and CPU twin agree ({secs:.1} s)")),
        Err(reason) => say(&format_args!("self-test: FAILED: {reason}")),
    }
    if test.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Module, Debug)]
struct Bag {
    tensors: Vec<Param<Tensor<1>>>,
}

/// Two steps of gradients that look like training's and have what breaks reductions, the second with every third sign flipped.
fn values(len: usize, step: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(len as u64);
    let value = |n: usize| {
        let size = (random.f32() - 0.5) * 10f32.powi(-random.i32(0..9));
        let size = if step == 1 && n.is_multiple_of(3) { -size } else { size };
        match random.u32(0..64) {
            0 => 0.0,
            1 => f32::NAN,
            2 => f32::INFINITY,
            3 => 1e-40,
            _ => size,
        }
    };
    (0..len).map(value).collect()
}

fn record(device: &Device) -> Result<StepRecord, Error> {
    let tensor = |values: Vec<f32>, device: &BurnDevice| {
        let len = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [len]), device)
    };
    let model =
        Bag { tensors: LENS.iter().map(|&len| Param::from_tensor(tensor(vec![0.5; len], device.burn()))).collect() };
    let mut scope = Scope::builder(device).stats(Stats::FULL).diagnose(false).build(&model)?;
    for step in 0..2 {
        let mut gradients = GradientsParams::new();
        for (param, len) in model.tensors.iter().zip(LENS) {
            gradients.register(param.id, tensor(values(len, step), device.burn()));
        }
        scope.step(step as u64).gradients(&model, &gradients).submit();
    }
    scope.read(1)
}

/// The elements compared, or the first figure that differs.
fn self_test(gpu: &Device) -> Result<usize, String> {
    let cpu = Device::open(DeviceChoice::Cpu).map_err(|error| error.to_string())?;
    let [here, there] = [record(gpu), record(&cpu)].map(|record| record.map_err(|error| error.to_string()));
    let (here, there) = (here?, there?);
    for ((gpu, cpu), len) in here.tensors.iter().zip(&there.tensors).zip(LENS) {
        let [gpu, cpu] = [gpu, cpu].map(|tensor| serde_json::to_value(tensor).unwrap_or_default());
        compare(&gpu, &cpu, &format!("a tensor of {len}"))?;
    }
    Ok(LENS.iter().sum())
}

/// Integers and extremes are equal, sums are within their bound.
fn compare(gpu: &serde_json::Value, cpu: &serde_json::Value, at: &str) -> Result<(), String> {
    use serde_json::Value;
    match (gpu, cpu) {
        (Value::Object(gpu), Value::Object(cpu)) if gpu.len() == cpu.len() => {
            gpu.iter().try_for_each(|(name, gpu)| compare(gpu, &cpu[name], &format!("{at}, {name}")))
        }
        (Value::Array(gpu), Value::Array(cpu)) if gpu.len() == cpu.len() => {
            gpu.iter().zip(cpu).try_for_each(|(gpu, cpu)| compare(gpu, cpu, at))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            let close = (a - b).abs() <= SUM_TOLERANCE * b.abs().max(1.0);
            if close { Ok(()) } else { Err(format!("{at}: {a} on the GPU, {b} by the CPU twin")) }
        }
        (gpu, cpu) if gpu == cpu => Ok(()),
        (gpu, cpu) => Err(format!("{at}: {gpu} on the GPU, {cpu} by the CPU twin")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_count_or_one_sum_that_differs_is_named() {
        let record = |count: u64, sum: f64| json!({ "gradient": { "zero_count": count, "l1_norm": sum, "min": null } });
        let differs = |count: u64, sum: f64| compare(&record(count, sum), &record(7, 100.0), "a tensor").err();
        assert_eq!(differs(7, 100.0003), None);
        assert!(differs(8, 100.0).unwrap().contains("zero_count: 8 on the GPU, 7"), "{:?}", differs(8, 100.0));
        assert!(differs(7, 100.001).unwrap().contains("l1_norm"), "{:?}", differs(7, 100.001));
        let without = json!({ "gradient": { "zero_count": 7, "l1_norm": 100.0 } });
        assert!(compare(&without, &record(7, 100.0), "a tensor").is_err());
    }
}

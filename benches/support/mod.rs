//! What the benches of the reductions share: gradients of a model, a step that is timed, and where the figures go.

pub mod results;

pub use results::{Results, quantile};

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as BurnDevice, Distribution, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use gradscope::record::Cost;
use gradscope::{Device, Scope, ScopeBuilder, StepRecord};
use std::time::{Duration, Instant};

/// Sets of gradients that take turns, at most.
const SET_COUNT_MAX: usize = 64;
/// Bytes of all sets together, at most.
const WORKING_SET_BYTES_MAX: usize = 2 << 30;
/// What no GPU of today has in caches.
const GPU_WORKING_SET_BYTES: usize = 512 << 20;

#[derive(Module, Debug)]
struct Bag {
    tensors: Vec<Param<Tensor<1>>>,
}

/// Sets of gradients to take turns: together twice as large as the last-level cache, so that none is still in it when its turn
/// comes again.
pub fn gradients(device: &BurnDevice, lens: &[usize]) -> Vec<Vec<Tensor<1>>> {
    let random = |len: &usize| Tensor::<1>::random([*len], Distribution::Normal(0.0, 1e-3), device);
    let sets = (0..set_count(4 * lens.iter().sum::<usize>())).map(|_| lens.iter().map(random).collect()).collect();
    device.sync().expect("the inputs are made");
    sets
}

/// How many sets of so many bytes that takes.
pub fn set_count(set_bytes: usize) -> usize {
    let bytes = (2 * last_level_cache_bytes()).clamp(GPU_WORKING_SET_BYTES, WORKING_SET_BYTES_MAX);
    bytes.div_ceil(set_bytes.max(1)).clamp(2, SET_COUNT_MAX)
}

/// A model and [`gradients`] for it.
struct Inputs {
    model: Bag,
    sources: Vec<GradientsParams>,
}

impl Inputs {
    fn new(device: &BurnDevice, lens: &[usize]) -> Self {
        let model = Bag { tensors: lens.iter().map(|len| Param::from_tensor(Tensor::zeros([*len], device))).collect() };
        let sources = gradients(device, lens).into_iter().map(|set| {
            let mut gradients = GradientsParams::new();
            for (param, gradient) in model.tensors.iter().zip(set) {
                gradients.register(param.id, gradient);
            }
            gradients
        });
        Self { sources: sources.collect(), model }
    }

    /// Observes the next set and waits for what comes back.
    fn observe(&self, scope: &mut Scope, step: u64) -> StepRecord {
        let source = &self.sources[step as usize % self.sources.len()];
        scope.step(step).gradients(&self.model, source).submit();
        let record = scope.read(step).expect("the step comes back");
        scope.poll();
        record
    }

    /// A scope over the model that has observed its first step, so that all is compiled.
    fn scope(&self, builder: ScopeBuilder) -> Scope {
        let mut scope = builder.build(&self.model).expect("the model is observable");
        let first = self.observe(&mut scope, 0);
        assert!(first.tensors.iter().all(|tensor| tensor.summary().is_some()), "a gradient was not observed");
        scope
    }
}

/// Of a processor, which is also a software driver's memory.
fn last_level_cache_bytes() -> usize {
    let told = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index3/size").unwrap_or_default();
    told.trim().strip_suffix('K').and_then(|kib| kib.parse::<usize>().ok()).map_or(64 << 20, |kib| kib << 10)
}

/// Elements of ResNet-18's parameters in the order of its modules.
pub fn resnet18_lens() -> Vec<usize> {
    let mut lens = vec![7 * 7 * 3 * 64, 64, 64];
    for (stage, [from, to]) in [[64, 64], [64, 128], [128, 256], [256, 512]].into_iter().enumerate() {
        for block in 0..2 {
            let from = if block == 0 { from } else { to };
            lens.extend([9 * from * to, to, to, 9 * to * to, to, to]);
            if block == 0 && stage > 0 {
                lens.extend([from * to, to, to]);
            }
        }
    }
    lens.extend([512 * 1000, 1000]);
    assert_eq!((lens.len(), lens.iter().sum::<usize>()), (62, 11_689_512));
    lens
}

/// Times `work` under criterion, each run by itself: wall times in seconds, warm-up included, and what was made for it. Nothing
/// is made or timed where the case was not asked for.
pub fn timed<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    make: impl Fn() -> S,
    mut work: impl FnMut(&mut S),
) -> (Option<S>, Vec<f64>) {
    let mut made = None;
    let mut secs = Vec::new();
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        let state = made.get_or_insert_with(&make);
        b.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                let started = Instant::now();
                work(state);
                let elapsed = started.elapsed();
                secs.push(elapsed.as_secs_f64());
                total += elapsed;
            }
            total
        });
    });
    (made, secs)
}

/// What one case of observed steps costs.
pub struct Case<'a> {
    pub group: &'a str,
    pub name: &'a str,
    pub lens: &'a [usize],
}

impl Case<'_> {
    /// Observed steps one after another: wall time under criterion, then the GPU's own where it can tell.
    ///
    /// `stride` 1 compares every step with the one before; 2 has none to compare with.
    pub fn run(
        &self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        results: &mut Results,
        device: &Device,
        builder: impl Fn() -> ScopeBuilder,
        stride: u64,
    ) {
        let label = format!("{}/{}", self.group, self.name);
        let largest_bytes = 4 * self.lens.iter().max().copied().unwrap_or(0) as u64;
        let binding_bytes = device.limits().into_iter().find(|(name, _)| *name == "bytes of a storage binding");
        if binding_bytes.is_some_and(|(_, most)| largest_bytes > most) {
            return eprintln!("{label}: left out: this adapter binds no buffer of {} MiB", largest_bytes >> 20);
        }
        let make = || {
            let inputs = Inputs::new(device.burn(), self.lens);
            let scope = inputs.scope(builder().gpu_timer(false));
            (inputs, scope)
        };
        let mut step = 0;
        let mut costs = Vec::new();
        let (made, wall) = timed(group, self.name, make, |(inputs, scope)| {
            step += stride;
            costs.push(inputs.observe(scope, step).cost);
        });
        let Some((inputs, _)) = made else { return };
        let cost = |of: fn(&Cost) -> f64| quantile(&costs.iter().map(of).collect::<Vec<_>>(), 0.5);
        let mut scope = inputs.scope(builder().gpu_timer(true));
        let records: Vec<StepRecord> = (1..=20).map(|step| inputs.observe(&mut scope, step * stride)).collect();
        let gpu: Vec<f64> = records.iter().filter_map(|record| record.cost.gpu_secs).collect();
        let numel: usize = self.lens.iter().sum();
        results.put(
            &label,
            &[
                ("tensors", self.lens.len() as f64),
                ("numel", numel as f64),
                ("secs", quantile(&wall, 0.5)),
                ("p99_secs", quantile(&wall, 0.99)),
                ("submit_secs", cost(|cost| cost.submit_secs)),
                ("encode_secs", cost(|cost| cost.encode_secs)),
                ("read_secs", cost(|cost| cost.read_secs)),
                ("gpu_secs", quantile(&gpu, 0.5)),
            ],
        );
    }
}

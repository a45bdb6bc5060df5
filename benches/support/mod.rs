//! What the benches of the reductions share: gradients of a model, a step that is timed, and where the figures go.

pub mod results;

pub use results::{Results, quantile};

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as BurnDevice, Distribution, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use gradscope::{Device, Scope, ScopeBuilder, StepRecord};
use std::hint::black_box;
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

    /// A scope over the model that has observed its first step, so that all is compiled; `None`, with a word why, where the
    /// adapter can't hold it.
    fn scope(&self, what: &str, builder: ScopeBuilder) -> Option<Scope> {
        let mut scope = builder.build(&self.model).inspect_err(|error| eprintln!("{what}: left out: {error}")).ok()?;
        let source = &self.sources[0];
        scope.step(0).gradients(&self.model, source).submit();
        let first = scope.read(0).expect("the step comes back");
        let whole = first.tensors.iter().all(|tensor| tensor.summary().is_some());
        if !whole {
            eprintln!("{what}: left out: this adapter does not hold its tensors");
        }
        scope.poll();
        whole.then_some(scope)
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

/// Times `work` under criterion, each run by itself; its wall times in seconds, warm-up included. None where the case was not
/// asked for.
pub fn timed(group: &mut BenchmarkGroup<'_, WallTime>, id: BenchmarkId, mut work: impl FnMut()) -> Vec<f64> {
    let mut secs = Vec::new();
    group.bench_function(id, |b| {
        b.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                let started = Instant::now();
                work();
                let elapsed = started.elapsed();
                secs.push(elapsed.as_secs_f64());
                total += elapsed;
            }
            total
        });
    });
    secs
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
        let inputs = Inputs::new(device.burn(), self.lens);
        let Some(mut scope) = inputs.scope(&label, builder().gpu_timer(false)) else { return };
        let mut step = 0;
        let wall = timed(group, BenchmarkId::from_parameter(self.name), || {
            step += stride;
            black_box(inputs.observe(&mut scope, step));
        });
        drop(scope);
        let Some(mut scope) = (!wall.is_empty()).then(|| inputs.scope(&label, builder().gpu_timer(true))).flatten()
        else {
            return;
        };
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
                ("gpu_secs", quantile(&gpu, 0.5)),
            ],
        );
    }
}

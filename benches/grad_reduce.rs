//! One observed step, submitted and read back: what the shaders and the round trip cost together.
//!
//! `cargo bench` runs all; `cargo bench --bench grad_reduce -- one_tensor` a part. The adapter is printed first.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gradscope::cpu::grad_reduce::{State, reduce};
use gradscope::internals::PretendLimits;
use gradscope::stats::Epsilons;
use gradscope::{Device, Group, Groups, Schedule, Scope, ScopeBuilder, SignMap};
use std::hint::black_box;
use std::time::Duration;

#[derive(Module, Debug)]
struct Bag {
    tensors: Vec<Param<Tensor<1>>>,
}

/// Gradient sets of a model, more bytes together than a CPU's last-level cache where that is affordable.
struct Inputs {
    model: Bag,
    sets: Vec<GradientsParams>,
}

impl Inputs {
    fn new(device: &Device, lens: &[usize]) -> Self {
        let zeros = |len: &usize| Param::from_tensor(Tensor::zeros([*len], device.burn()));
        let model = Bag { tensors: lens.iter().map(zeros).collect() };
        let bytes: usize = lens.iter().sum::<usize>() * 4;
        let set_count = ((128 << 20) / bytes.max(1)).clamp(2, 16);
        let sets = (0..set_count).map(|_| {
            let mut gradients = GradientsParams::new();
            for (param, len) in model.tensors.iter().zip(lens) {
                let values = Tensor::<1>::random([*len], Distribution::Normal(0.0, 1e-3), device.burn());
                gradients.register(param.id, values);
            }
            gradients
        });
        let sets = sets.collect();
        device.burn().sync().expect("the inputs are made");
        Self { model, sets }
    }
}

fn observe(c: &mut Criterion, group: &str, id: BenchmarkId, device: &Device, builder: ScopeBuilder, lens: &[usize]) {
    let inputs = Inputs::new(device, lens);
    let mut scope = builder.build(&inputs.model).expect("the model is observable");
    scope.step(0).gradients(&inputs.model, &inputs.sets[0]).submit();
    let first = scope.read(0).expect("the step comes back");
    if first.tensors.iter().any(|tensor| tensor.summary().is_none()) {
        let why = scope.poll().first().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "{group} of {} elements: left out on this adapter: {}",
            lens[0],
            why.lines().last().unwrap_or_default()
        );
        return;
    }
    let mut step = 1;
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(lens.iter().sum::<usize>() as u64));
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.bench_function(id, |b| {
        b.iter(|| {
            let source = &inputs.sets[step as usize % inputs.sets.len()];
            scope.step(step).gradients(&inputs.model, source).submit();
            black_box(scope.read(step).expect("the step comes back"));
            scope.poll();
            step += 1;
        });
    });
    group.finish();
}

fn one_tensor(c: &mut Criterion) {
    let device = gradscope::device().expect("a wgpu adapter");
    eprintln!("adapter: {}", device.describe());
    // The round trip alone; a bias or a small layer; the main job's largest; ResNet-18 as one tensor; a large layer.
    for len in [64, 100_000, 669_706, 11_689_512, 1 << 26] {
        observe(c, "one_tensor", BenchmarkId::from_parameter(len), &device, Scope::builder(&device), &[len]);
    }
}

fn tensor_count(c: &mut Criterion) {
    let device = gradscope::device().expect("a wgpu adapter");
    // As many as ResNet-18 and ResNet-50 have, a large model's, and more than any dispatch has pages; tiny and middling.
    for (count, len) in [(62, 64), (300, 64), (1000, 64), (62, 188_540), (300, 38_965)] {
        let id = BenchmarkId::new(count.to_string(), len);
        observe(c, "tensor_count", id, &device, Scope::builder(&device), &vec![len; count]);
    }
}

fn shaders(c: &mut Criterion) {
    let device = gradscope::device().expect("a wgpu adapter");
    let len = 11_689_512;
    for pages in [1, 4, 24] {
        let limits = PretendLimits { page_count: Some(pages), ..PretendLimits::default() };
        let builder = Scope::builder(&device).pretend_limits(limits);
        observe(c, "shaders", BenchmarkId::new("pages", pages), &device, builder, &[len]);
    }
    let builder = Scope::builder(&device).checked_shaders(true);
    observe(c, "shaders", BenchmarkId::from_parameter("checked"), &device, builder, &[len]);
}

fn groups(c: &mut Criterion) {
    let device = gradscope::device().expect("a wgpu adapter");
    let len = 11_689_512;
    let sets = [
        ("card", Groups::CARD),
        ("dynamics", Group::Dynamics.into()),
        ("params", Group::Params.into()),
        ("full", Groups::FULL),
        ("card,cosine", Group::Cosine.into()),
        ("card,ema", Group::Ema.into()),
    ];
    for (name, groups) in sets {
        observe(c, "groups", BenchmarkId::from_parameter(name), &device, Scope::builder(&device).stats(groups), &[len]);
    }
    let histograms = Scope::builder(&device).histograms(Schedule::every(1));
    observe(c, "groups", BenchmarkId::from_parameter("card and histograms"), &device, histograms, &[len]);
    let sign_map = Scope::builder(&device).sign_map(SignMap::default(), Schedule::every(1));
    observe(c, "groups", BenchmarkId::from_parameter("card and a sign map"), &device, sign_map, &[len]);
}

fn cpu_twin(c: &mut Criterion) {
    let mut group = c.benchmark_group("cpu_twin");
    let len = 1 << 20;
    let values: Vec<f32> = (0..len).map(|i| ((i * 7919 % 10_007) as f32 - 5000.0) * 1e-6).collect();
    let mut state = State::default();
    group.throughput(Throughput::Elements(len as u64)).sample_size(20);
    group.bench_function(BenchmarkId::from_parameter(len), |b| {
        b.iter(|| black_box(reduce(black_box(&values), Epsilons::default().threshold_bits(), &mut state)));
    });
    group.finish();
}

criterion_group!(benches, one_tensor, tensor_count, shaders, groups, cpu_twin);
criterion_main!(benches);

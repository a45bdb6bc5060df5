//! One observed step, submitted and read back: what the shaders and the round trip cost together, and the shaders alone by
//! the GPU's clock.
//!
//! `cargo bench --bench grad_reduce [-- CASE]`; `cargo bench --bench report` makes tables of what it has measured.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradscope::cpu::grad_reduce::{State, reduce};
use gradscope::internals::PretendLimits;
use gradscope::stats::Epsilons;
use gradscope::{Device, Schedule, Scope, ScopeBuilder, SignMap, Stats};
use std::hint::black_box;
use std::time::Duration;
use support::{Case, Results, quantile, resnet18_lens, timed};

/// Elements of ResNet-18 in one tensor.
const NUMEL: usize = 11_689_512;

struct Bench<'c> {
    c: &'c mut Criterion,
    device: Device,
    results: Results,
}

impl<'c> Bench<'c> {
    fn new(c: &'c mut Criterion) -> Self {
        let device = gradscope::device().expect("a wgpu adapter");
        let results = Results::of("grad_reduce", &device.describe());
        Self { c, device, results }
    }

    fn case(&mut self, group: &str, name: &str, lens: &[usize], set: impl Fn(ScopeBuilder) -> ScopeBuilder) {
        self.spaced(group, name, lens, 1, set);
    }

    fn spaced(
        &mut self,
        group: &str,
        name: &str,
        lens: &[usize],
        stride: u64,
        set: impl Fn(ScopeBuilder) -> ScopeBuilder,
    ) {
        let Self { c, device, results } = self;
        let mut criterion_group = c.benchmark_group(group);
        criterion_group.throughput(Throughput::Elements(lens.iter().sum::<usize>() as u64));
        criterion_group.sample_size(20).warm_up_time(Duration::from_millis(500));
        criterion_group.measurement_time(Duration::from_secs(3));
        let builder = || set(Scope::builder(device));
        Case { group, name, lens }.run(&mut criterion_group, results, device, builder, stride);
        criterion_group.finish();
    }
}

fn one_tensor(c: &mut Criterion) {
    let mut bench = Bench::new(c);
    // The round trip alone; a bias; a small layer; a layer of the main job; ResNet-18 whole; the largest that 128 MiB hold;
    // the largest layers of language models, and a size that fills any GPU.
    for len in [1000, 10_000, 100_000, 1_000_000, NUMEL, 30_000_000, 1 << 26, 100_000_000] {
        bench.case("one_tensor", &len.to_string(), &[len], |scope| scope);
    }
}

fn tensor_count(c: &mut Criterion) {
    let mut bench = Bench::new(c);
    // Nothing but overhead: as many tensors as ResNet-18, ResNet-50, a large model have, and more than any dispatch has pages.
    for count in [62, 161, 300, 1000] {
        bench.case("tiny_tensors", &count.to_string(), &vec![64; count], |scope| scope);
    }
    bench.case("tensor_count", "ResNet-18", &resnet18_lens(), |scope| scope);
    // The same elements in ever more tensors.
    for (count, len) in [(1, 30_000_000), (62, 483_870), (161, 186_335), (300, 100_000), (1000, 30_000)] {
        bench.case("tensor_count", &count.to_string(), &vec![len; count], |scope| scope);
    }
    bench.case("tensor_count", "300 of 1e8", &[333_333; 300], |scope| scope);
}

fn shaders(c: &mut Criterion) {
    let mut bench = Bench::new(c);
    for pages in [1, 4, 24] {
        let limits = PretendLimits { page_count: Some(pages), ..PretendLimits::default() };
        bench.case("shaders", &format!("pages {pages}"), &[NUMEL], |scope| scope.pretend_limits(limits));
    }
    bench.case("shaders", "checked", &[NUMEL], |scope| scope.checked_shaders(true));
}

fn groups(c: &mut Criterion) {
    let mut bench = Bench::new(c);
    bench.spaced("groups", "card, without the step before", &[NUMEL], 2, |scope| scope);
    let sets: [(&str, Stats); 6] = [
        ("card", Stats::BASIC),
        ("dynamics", Stats::DYNAMICS),
        ("params", Stats::PARAMS),
        ("full", Stats::FULL),
        ("card,cosine", Stats::COSINE),
        ("card,ema", Stats::EMA),
    ];
    for (name, groups) in sets {
        bench.case("groups", name, &[NUMEL], |scope| scope.stats(groups));
    }
    bench.case("groups", "card and histograms", &[NUMEL], |scope| scope.histograms(Schedule::every(1)));
    bench.case("groups", "card and a sign map", &[NUMEL], |scope| {
        scope.sign_map(SignMap::default(), Schedule::every(1))
    });
}

fn cpu_twin(c: &mut Criterion) {
    let mut bench = Bench::new(c);
    let mut group = bench.c.benchmark_group("cpu_twin");
    let len = 1 << 20;
    let values: Vec<f32> = (0..len).map(|i| ((i * 7919 % 10_007) as f32 - 5000.0) * 1e-6).collect();
    group.throughput(Throughput::Elements(len as u64)).sample_size(20);
    let (_, secs) = timed(&mut group, &len.to_string(), State::default, |state| {
        black_box(reduce(black_box(&values), Epsilons::default().threshold_bits(), state));
    });
    group.finish();
    if !secs.is_empty() {
        bench.results.put("cpu_twin", &[("numel", len as f64), ("secs", quantile(&secs, 0.5))]);
    }
}

criterion_group!(benches, one_tensor, tensor_count, shaders, groups, cpu_twin);
criterion_main!(benches);

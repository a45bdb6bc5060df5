//! What people do today, and what no one can beat, in one run on one adapter.
//!
//! `cargo bench --bench peers [-- CASE]`, on the gradients of ResNet-18 (62 tensors, 11,689,512 elements) and on one large tensor:
//! - `gradscope`: one observed step, the card, submitted and read back;
//! - `copy`: a copy of the same bytes, the ceiling;
//! - `sum_only`: a kernel that adds the elements up and does nothing else;
//!
//! and on the former alone:
//! - `burn_read_each`: the same statistics by burn's operations, each read by itself, as people write it;
//! - `burn_read_once`: the same, put together on the GPU and read in one go;
//! - `read_back`: all gradients read back and reduced by the CPU twin, one thread.
//!
//! `benches/peers/torch_stats.py` is the same for PyTorch. `cargo bench --bench report` makes a table of all of them.

mod support;

use burn::tensor::{Device as BurnDevice, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use gradscope::cpu::grad_reduce::{State, reduce};
use gradscope::stats::Epsilons;
use gradscope::{Device, Scope};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;
use support::{Case, Results, gradients, quantile, resnet18_lens, set_count, timed};

/// The statistics of the group `card`, by burn's own operations: one tensor each of one element.
fn burn_statistics(gradient: &Tensor<1>, previous: &Tensor<1>) -> Vec<Tensor<1>> {
    let g = || gradient.clone();
    let magnitude = || g().abs();
    vec![
        g().min(),
        g().max(),
        magnitude().sum(),
        (g() * g()).sum().sqrt(),
        magnitude().lower_elem(1e-7).float().sum(),
        magnitude().lower_elem(1e-5).float().sum(),
        g().equal_elem(0.0).float().sum(),
        g().greater_elem(0.0).float().sum(),
        g().lower_elem(0.0).float().sum(),
        g().is_nan().float().sum(),
        g().equal_elem(f32::INFINITY).float().sum(),
        g().equal_elem(f32::NEG_INFINITY).float().sum(),
        (g() * previous.clone()).lower_elem(0.0).float().sum(),
    ]
}

/// Raw wgpu beside burn, for the ceilings.
struct Raw {
    setup: burn::tensor::wgpu::WgpuSetup,
    /// Take turns, as gradients do.
    from: Vec<(wgpu::Buffer, wgpu::BindGroup)>,
    to: wgpu::Buffer,
    pipeline: wgpu::ComputePipeline,
    workgroup_count: u32,
    clock: Option<Clock>,
    turn: Cell<usize>,
}

/// What a run records of the buffer whose turn it is.
type Way = fn(&Raw, usize, &mut wgpu::CommandEncoder);

/// Two readings of the GPU's clock.
struct Clock {
    queries: wgpu::QuerySet,
    ticks: wgpu::Buffer,
    read: wgpu::Buffer,
}

const SUM_ONLY: &str = "
@group(0) @binding(0) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
var<workgroup> shared_sums: array<f32, 256>;
@compute @workgroup_size(256)
fn sum_only(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let last = arrayLength(&values) - 1u;
    let at = (workgroup.y * 65535u + workgroup.x) * 2048u + lane;
    let a = (values[min(at, last)] + values[min(at + 256u, last)]) + (values[min(at + 512u, last)] + values[min(at + 768u, last)]);
    let b = (values[min(at + 1024u, last)] + values[min(at + 1280u, last)]) + (values[min(at + 1536u, last)] + values[min(at + 1792u, last)]);
    let v = a + b;
    shared_sums[lane] = (v.x + v.y) + (v.z + v.w);
    workgroupBarrier();
    if lane < 16u {
        var sum = 0.0;
        for (var i = lane; i < 256u; i += 16u) { sum += shared_sums[i]; }
        shared_sums[lane] = sum;
    }
    workgroupBarrier();
    if lane == 0u {
        var sum = 0.0;
        for (var i = 0u; i < 16u; i++) { sum += shared_sums[i]; }
        sums[workgroup.y * 65535u + workgroup.x] = sum;
    }
}";

impl Raw {
    fn new(setup: &burn::tensor::wgpu::WgpuSetup, bytes: u64, set_count: usize) -> Self {
        let device = &setup.device;
        let buffer = |size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(SUM_ONLY.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("sum_only"),
            compilation_options: Default::default(),
            cache: None,
        });
        let to = buffer(bytes, storage);
        // Random words that are finite floats.
        let words: Vec<u32> = (0..bytes as u32 / 4).map(|i| i.wrapping_mul(2_654_435_769) & 0xbf7f_ffff).collect();
        let from = (0..set_count).map(|_| {
            let from = buffer(bytes, storage);
            setup.queue.write_buffer(&from, 0, bytemuck::cast_slice(&words));
            let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[
                    wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() },
                    wgpu::BindGroupEntry { binding: 1, resource: to.as_entire_binding() },
                ],
            });
            (from, bind_group)
        });
        let needed = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        let clock = device.features().contains(needed).then(|| Clock {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            ticks: buffer(16, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            read: buffer(16, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        });
        Self {
            from: from.collect(),
            to,
            pipeline,
            workgroup_count: (bytes / 4).div_ceil(8192) as u32,
            clock,
            turn: Cell::new(0),
            setup: setup.clone(),
        }
    }

    /// Runs what `record` says of the next buffer, and waits for it; the GPU's own seconds where its clock is asked for, else NaN.
    fn run(&self, clock: Option<&Clock>, record: Way) -> f64 {
        let turn = self.turn.replace((self.turn.get() + 1) % self.from.len());
        let mut encoder = self.setup.device.create_command_encoder(&Default::default());
        if let Some(clock) = clock {
            encoder.write_timestamp(&clock.queries, 0);
        }
        record(self, turn, &mut encoder);
        if let Some(clock) = clock {
            encoder.write_timestamp(&clock.queries, 1);
            encoder.resolve_query_set(&clock.queries, 0..2, &clock.ticks, 0);
            encoder.copy_buffer_to_buffer(&clock.ticks, 0, &clock.read, 0, None);
        }
        self.setup.queue.submit([encoder.finish()]);
        if let Some(clock) = clock {
            clock.read.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the clock can be read"));
        }
        self.setup.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
        let Some(clock) = clock else { return f64::NAN };
        let view = clock.read.get_mapped_range(..).expect("the clock is mapped");
        let [before, after]: [u64; 2] = bytemuck::pod_read_unaligned(&view);
        drop(view);
        clock.read.unmap();
        after.wrapping_sub(before) as f64 * f64::from(self.setup.queue.get_timestamp_period()) * 1e-9
    }

    fn copy(&self, turn: usize, encoder: &mut wgpu::CommandEncoder) {
        encoder.copy_buffer_to_buffer(&self.from[turn].0, 0, &self.to, 0, None);
    }

    fn sum_only(&self, turn: usize, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.from[turn].1, &[]);
        pass.dispatch_workgroups(self.workgroup_count.min(65_535), self.workgroup_count.div_ceil(65_535), 1);
    }
}

struct Peers<'c> {
    group: BenchmarkGroup<'c, WallTime>,
    workload: &'static str,
    results: Results,
}

impl Peers<'_> {
    fn put(&mut self, name: &str, wall: &[f64], gpu: &[f64]) {
        if !wall.is_empty() {
            let figures = [("secs", quantile(wall, 0.5)), ("gpu_secs", quantile(gpu, 0.5))];
            self.results.put(&format!("{}/{name}", self.workload), &figures);
        }
    }

    fn time<S>(&mut self, name: &str, make: impl Fn() -> S, work: impl FnMut(&mut S)) {
        let (_, wall) = timed(&mut self.group, name, make, work);
        self.put(name, &wall, &[]);
    }

    /// gradscope, the copy and the kernel that only adds up.
    fn ceilings(&mut self, device: &Device, setup: &burn::tensor::wgpu::WgpuSetup, lens: &[usize]) {
        let case = Case { group: self.workload, name: "gradscope", lens };
        case.run(&mut self.group, &mut self.results, device, || Scope::builder(device), 1);
        let bytes = 4 * lens.iter().sum::<usize>();
        for (name, way) in [("copy", Raw::copy as Way), ("sum_only", Raw::sum_only)] {
            let make = || Raw::new(setup, bytes as u64, set_count(bytes));
            let (raw, wall) = timed(&mut self.group, name, make, |raw| {
                raw.run(None, way);
            });
            let Some(raw) = raw else { continue };
            let gpu = raw.clock.iter().flat_map(|clock| (0..20).map(|_| raw.run(Some(clock), way))).collect::<Vec<_>>();
            self.put(name, &wall, &gpu);
        }
    }

    fn burn(&mut self, burn: &BurnDevice, lens: &[usize]) {
        let make = || Turns { sets: gradients(burn, lens), turn: 0, states: vec![State::default(); lens.len()] };
        self.time("burn_read_each", make, |turns| {
            for (gradient, previous) in turns.next() {
                for statistic in burn_statistics(gradient, previous) {
                    black_box(statistic.into_scalar::<f32>());
                }
            }
        });
        self.time("burn_read_once", make, |turns| {
            let all = turns.next().flat_map(|(gradient, previous)| burn_statistics(gradient, previous)).collect();
            black_box(Tensor::cat(all, 0).into_data());
        });
        self.time("read_back", make, |turns| {
            let mut states = std::mem::take(&mut turns.states);
            for ((gradient, _), state) in turns.next().zip(&mut states) {
                let values = gradient.clone().into_data().try_into_vec::<f32>().expect("f32");
                black_box(reduce(&values, Epsilons::default().threshold_bits(), state));
            }
            turns.states = states;
        });
    }
}

/// Gradients that take turns, and what the twin keeps of the ones before.
struct Turns {
    sets: Vec<Vec<Tensor<1>>>,
    turn: usize,
    states: Vec<State>,
}

impl Turns {
    /// The next gradients, each beside the one before it.
    fn next(&mut self) -> impl Iterator<Item = (&Tensor<1>, &Tensor<1>)> {
        self.turn += 1;
        let set = |turn: usize| &self.sets[turn % self.sets.len()];
        set(self.turn).iter().zip(set(self.turn - 1))
    }
}

fn peers(c: &mut Criterion) {
    let (burn, setup) = BurnDevice::wgpu_options().init_with_setup().expect("a wgpu adapter");
    let device = Device::attach(burn.clone(), &setup);
    let mut results = Some(Results::of("peers", &device.describe()));
    let lens = resnet18_lens();
    // What a GPU needs to be full, or the most that a small one holds in a buffer.
    let bytes_max = setup.adapter.limits().max_storage_buffer_binding_size;
    let large = [1 << 26, 30_000_000].into_iter().find(|&len| 4 * len as u64 <= bytes_max).expect("buffers of 120 MB");
    for (workload, lens) in [("ResNet-18", lens), ("one tensor", vec![large])] {
        let mut group = c.benchmark_group(workload);
        group.throughput(Throughput::Elements(lens.iter().sum::<usize>() as u64));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
        let mut peers = Peers { group, workload, results: results.take().expect("it is put back") };
        peers.ceilings(&device, &setup, &lens);
        if lens.len() > 1 {
            peers.burn(&burn, &lens);
        }
        peers.group.finish();
        results = Some(peers.results);
    }
}

criterion_group!(benches, peers);
criterion_main!(benches);

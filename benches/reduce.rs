//! Throughput of the reductions on this machine's adapter, without burn: a step encoded, submitted and read back.
//!
//! `cargo bench -p gradscope --no-default-features --bench reduce [-- CASE]` prints elements a second. The
//! group `copy` is a plain copy of as many elements, to compare with.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gradscope::{Reducer, Stats, TensorInput, TensorSlice};
use std::time::Duration;
use wgpu::BufferUsages;

/// Elements of ResNet-18 in one tensor.
const NUMEL: usize = 11_689_512;

struct Gpu {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Gpu {
    fn open() -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
        let adapter = adapter.expect("a wgpu adapter");
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).expect("the adapter's own limits");
        eprintln!("on {} ({})", adapter.get_info().name, adapter.get_info().backend);
        Self { adapter, device, queue }
    }

    /// Small numbers of both signs.
    fn upload(&self, len: usize) -> wgpu::Buffer {
        let values: Vec<f32> = (0..len).map(|i| ((i * 7919 % 10_007) as f32 - 5000.0) * 1e-6).collect();
        let size = (4 * len as u64).next_multiple_of(16);
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&values));
        buffer
    }

    fn wait(&self) {
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
    }
}

fn case(c: &mut Criterion, gpu: &Gpu, group: &str, name: &str, lens: &[usize], stats: Stats) {
    let numels: Vec<u64> = lens.iter().map(|len| *len as u64).collect();
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(numels.iter().sum()));
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    let mut made = None;
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        let (reducer, buffers) = made.get_or_insert_with(|| {
            let reducer = Reducer::new(&gpu.adapter, &gpu.device, &gpu.queue, &numels, stats).expect("they fit");
            let buffers: Vec<wgpu::Buffer> = lens.iter().map(|len| gpu.upload(*len)).collect();
            (reducer, buffers)
        });
        let slices = buffers.iter().map(|buffer| Some(TensorSlice { buffer, offset_bytes: 0 }));
        let inputs: Vec<TensorInput<'_>> =
            slices.map(|slice| TensorInput { gradient: slice, parameter: slice, previous_parameter: slice }).collect();
        b.iter(|| reducer.reduce(&inputs).expect("the step comes back"));
    });
    group.finish();
}

/// Measures a copy of as many elements: each byte is read once and written once.
fn copy(c: &mut Criterion, gpu: &Gpu) {
    let mut group = c.benchmark_group("copy");
    group.throughput(Throughput::Elements(NUMEL as u64)).sample_size(20);
    let (from, to) = (gpu.upload(NUMEL), gpu.upload(NUMEL));
    group.bench_function(BenchmarkId::from_parameter(NUMEL), |b| {
        b.iter(|| {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&from, 0, &to, 0, None);
            gpu.queue.submit([encoder.finish()]);
            gpu.wait();
        });
    });
    group.finish();
}

fn throughput(c: &mut Criterion) {
    let gpu = Gpu::open();
    copy(c, &gpu);
    let sets = [
        ("basic", Stats::BASIC),
        ("dynamics", Stats::DYNAMICS),
        ("params", Stats::PARAMS),
        ("full", Stats::FULL),
        ("cosine", Stats::COSINE),
    ];
    for (name, stats) in sets {
        case(c, &gpu, "stats", name, &[NUMEL], stats);
    }
    for len in [10_000, 1_000_000, 30_000_000] {
        case(c, &gpu, "len", &len.to_string(), &[len], Stats::BASIC);
    }
    for count in [62, 300, 1000] {
        case(c, &gpu, "tensor_count", &count.to_string(), &vec![NUMEL / count; count], Stats::BASIC);
    }
}

criterion_group!(benches, throughput);
criterion_main!(benches);

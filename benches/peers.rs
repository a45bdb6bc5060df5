//! What people do today, and what no one can beat, on the gradients of ResNet-18 (62 tensors, 11,689,512 elements).
//!
//! `cargo bench --bench peers`. In one run, on one adapter:
//! - `gradscope`: one observed step, submitted and read back;
//! - `copy`: a copy of the same bytes, the ceiling;
//! - `sum_only`: a kernel that adds the elements up and does nothing else;
//! - `burn_read_each`: the same statistics by burn's operations, each read by itself, as people write it;
//! - `burn_read_once`: the same, put together on the GPU and read in one go;
//! - `read_back`: all gradients read back and reduced by the CPU twin.
//!
//! `benches/peers/torch_stats.py` is the same for PyTorch.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as BurnDevice, Distribution, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradscope::cpu::grad_reduce::{State, reduce};
use gradscope::stats::Epsilons;
use gradscope::{Device, Scope};
use std::hint::black_box;
use std::time::Duration;

/// Elements of ResNet-18's parameters in the order of its modules.
fn resnet18_lens() -> Vec<usize> {
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

#[derive(Module, Debug)]
struct Bag {
    tensors: Vec<Param<Tensor<1>>>,
}

/// Two sets of gradients that take turns: together twice what a CPU's caches hold of one.
fn gradient_sets(lens: &[usize], device: &BurnDevice) -> [Vec<Tensor<1>>; 2] {
    [0, 1].map(|_| {
        let random = |len: &usize| Tensor::<1>::random([*len], Distribution::Normal(0.0, 1e-3), device);
        lens.iter().map(random).collect()
    })
}

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
    from: wgpu::Buffer,
    to: wgpu::Buffer,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroup_count: u32,
}

const SUM_ONLY: &str = "
@group(0) @binding(0) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
var<workgroup> shared_sums: array<f32, 256>;
@compute @workgroup_size(256)
fn sum_only(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let last = arrayLength(&values) - 1u;
    let at = workgroup.x * 2048u + lane;
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
        sums[workgroup.x] = sum;
    }
}";

impl Raw {
    fn new(setup: burn::tensor::wgpu::WgpuSetup, bytes: u64) -> Self {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = |size| {
            setup.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let (from, to) = (buffer(bytes), buffer(bytes));
        // Random words that are finite floats.
        let words: Vec<u32> = (0..bytes as u32 / 4).map(|i| i.wrapping_mul(2_654_435_769) & 0xbf7f_ffff).collect();
        setup.queue.write_buffer(&from, 0, bytemuck::cast_slice(&words));
        let module = setup.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(SUM_ONLY.into()),
        });
        let pipeline = setup.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("sum_only"),
            compilation_options: Default::default(),
            cache: None,
        });
        let bind_group = setup.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: to.as_entire_binding() },
            ],
        });
        Self { setup, from, to, pipeline, bind_group, workgroup_count: (bytes / 4).div_ceil(8192) as u32 }
    }

    fn run(&self, record: impl FnOnce(&mut wgpu::CommandEncoder)) {
        let mut encoder = self.setup.device.create_command_encoder(&Default::default());
        record(&mut encoder);
        self.setup.queue.submit([encoder.finish()]);
        self.setup.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
    }

    fn copy(&self) {
        self.run(|encoder| encoder.copy_buffer_to_buffer(&self.from, 0, &self.to, 0, None));
    }

    fn sum_only(&self) {
        self.run(|encoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bind_group, &[]);
            pass.dispatch_workgroups(self.workgroup_count, 1, 1);
        });
    }
}

fn peers(c: &mut Criterion) {
    let (burn, setup) = BurnDevice::wgpu_options().init_with_setup().expect("a wgpu adapter");
    let device = Device::attach(burn.clone(), &setup);
    eprintln!("adapter: {}", device.describe());
    let lens = resnet18_lens();
    let numel: usize = lens.iter().sum();
    let raw = Raw::new(setup, 4 * numel as u64);
    let sets = gradient_sets(&lens, &burn);
    let model = Bag { tensors: lens.iter().map(|len| Param::from_tensor(Tensor::zeros([*len], &burn))).collect() };
    let sources = sets.each_ref().map(|set| {
        let mut gradients = GradientsParams::new();
        for (param, gradient) in model.tensors.iter().zip(set) {
            gradients.register(param.id, gradient.clone());
        }
        gradients
    });
    burn.sync().expect("the inputs are made");

    let mut group = c.benchmark_group("peers");
    group.throughput(Throughput::Elements(numel as u64));
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    let mut scope = Scope::builder(&device).build(&model).expect("the model is observable");
    let mut step = 0;
    group.bench_function("gradscope", |b| {
        b.iter(|| {
            scope.step(step).gradients(&model, &sources[step as usize % 2]).submit();
            black_box(scope.read(step).expect("the step comes back"));
            scope.poll();
            step += 1;
        });
    });
    group.bench_function("copy", |b| b.iter(|| raw.copy()));
    group.bench_function("sum_only", |b| b.iter(|| raw.sum_only()));
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        sets[turn % 2].iter().zip(&sets[(turn + 1) % 2])
    };
    group.bench_function("burn_read_each", |b| {
        b.iter(|| {
            for (gradient, previous) in next() {
                for statistic in burn_statistics(gradient, previous) {
                    black_box(statistic.into_scalar::<f32>());
                }
            }
        });
    });
    group.bench_function("burn_read_once", |b| {
        b.iter(|| {
            let all = next().flat_map(|(gradient, previous)| burn_statistics(gradient, previous)).collect();
            black_box(Tensor::cat(all, 0).into_data());
        });
    });
    let mut states = vec![State::default(); lens.len()];
    group.bench_function("read_back", |b| {
        b.iter(|| {
            for ((gradient, _), state) in next().zip(&mut states) {
                let values = gradient.clone().into_data().try_into_vec::<f32>().expect("f32");
                black_box(reduce(&values, Epsilons::default().threshold_bits(), state));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, peers);
criterion_main!(benches);

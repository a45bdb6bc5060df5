//! The GPU has no memory left. A process of its own, which may have its memory taken.
#![cfg(target_os = "linux")]

use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Distribution, Gradients, Tensor};
use gradscope::{Device, Event, NoticeKind, Schedule, Scope, SignMap, Stats};
use std::process::Command;

/// 16 MiB of weights.
const WIDTH: usize = 2048;
/// Elements of what is tapped: 64 of those take the engine megabytes.
const TAP_SHAPE: [usize; 2] = [8192, 4096];
/// Columns of a sign map whose row does not fit into what is left.
const COLUMN_COUNT: usize = 1 << 21;
const MIB: u64 = 1 << 20;

/// All of the GPU's memory but crumbs: buffers of 64 MiB, then smaller, until each size is refused.
///
/// A software driver's memory is the process's: its address space is bounded for as long as this lives.
struct Starved {
    _ballast: Vec<wgpu::Buffer>,
}

impl Starved {
    fn new(gpu: &wgpu::Device) -> Self {
        if gpu.adapter_info().device_type == wgpu::DeviceType::Cpu {
            bound_address_space(Some(512 * MIB));
        }
        let mut ballast = Vec::new();
        // What is only waiting to be freed comes first.
        gpu.poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
        for bytes in [64 * MIB, 8 * MIB, MIB] {
            loop {
                let refused = gpu.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
                let usage = wgpu::BufferUsages::STORAGE;
                let label = Some("ballast");
                let descriptor = wgpu::BufferDescriptor { label, size: bytes, usage, mapped_at_creation: false };
                let buffer = gpu.create_buffer(&descriptor);
                if pollster::block_on(refused.pop()).is_some() {
                    break;
                }
                ballast.push(buffer);
            }
        }
        Self { _ballast: ballast }
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        bound_address_space(None);
    }
}

/// Leaves the process so many bytes beside those it has.
fn bound_address_space(beside: Option<u64>) {
    let limit = beside.map(|beside| {
        let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells how large a process is");
        let pages: u64 = pages.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
        pages * 4096 + beside
    });
    let limit = limit.map_or("unlimited".into(), |bytes| bytes.to_string());
    let id = std::process::id().to_string();
    let done = Command::new("prlimit").args(["--pid", &id, &format!("--as={limit}:unlimited")]).status();
    assert!(done.expect("util-linux brings prlimit").success());
}

fn gradients(model: &Linear, device: &burn::tensor::Device) -> Gradients {
    model.forward(Tensor::<2>::random([4, WIDTH], Distribution::Default, device)).mean().backward()
}

/// Set where the process is the one that starves.
const STARVES: &str = "GRADSCOPE_TEST_STARVES";

#[test]
fn without_memory_steps_are_lost_and_training_goes_on() {
    if std::env::var_os(STARVES).is_some() {
        return starve();
    }
    // Each thread's allocator has a store of its own otherwise, out of which a software driver can serve burn's.
    let one_store = [("MALLOC_ARENA_MAX", "1"), (STARVES, "1")];
    let itself = std::env::current_exe().expect("a program");
    let done = Command::new(itself).arg("--nocapture").envs(one_store).output().expect("it starts");
    assert!(done.status.success(), "{}: {}", done.status, String::from_utf8_lossy(&done.stderr));
}

fn starve() {
    let (burn, setup) = burn::tensor::Device::wgpu_options()
        .init_with_setup()
        .expect("this test needs a wgpu adapter; software Vulkan will do");
    let device = Device::attach(burn, &setup);
    let training = device.burn().clone().autodiff();
    let model = LinearConfig::new(WIDTH, WIDTH).with_initializer(Initializer::Constant { value: 1e-3 }).init(&training);
    let map = SignMap::default().columns(COLUMN_COUNT);
    let builder = Scope::builder(&device).stats(Stats::DYNAMICS | Stats::EMA).sign_map(map, Schedule::window(3..4, 1));
    let mut scope = builder.build(&model).expect("a scope");
    let made: Vec<Gradients> = (0..6).map(|_| gradients(&model, &training)).collect();
    let tapped = Tensor::<2>::ones(TAP_SHAPE, device.burn());
    device.burn().sync().expect("the device is there");
    device.burn().memory_cleanup();
    for (step, gradients) in (0..3).zip(&made) {
        scope.step(step).gradients(&model, gradients).submit();
    }
    scope.read(2).expect("there is memory");

    let starved = Starved::new(&setup.device);
    let refused = Scope::builder(&device).stats(Stats::COSINE).build(&model).map(drop);
    drop(starved);
    let refused = refused.expect_err("kept gradients of 16 MiB").to_string();
    assert!(refused.contains("select") && refused.contains("memory"), "{refused}");

    let starved = Starved::new(&setup.device);
    // On the training thread: the staging buffer. On burn's: the buffers of a set of taps.
    scope.step(3).gradients(&model, &made[3]).submit();
    let mut step = scope.step(4);
    for tap in 0..64 {
        step = step.tap(&format!("tap {tap}"), &tapped);
    }
    step.gradients(&model, &made[4]).submit();
    scope.step(5).gradients(&model, &made[5]).submit();
    let after = scope.read(5);
    drop(starved);

    let after = after.expect("a step that needs nothing new").tensors.swap_remove(0);
    let gradient = after.summary().expect("an observed gradient");
    assert_eq!(gradient.sign_flip_count, None, "step 4 is not there to compare with");
    let average = after.ema.as_ref().and_then(|ema| ema.gradient).expect("an average");
    assert!((average.l2_norm / gradient.l2_norm - 1.0).abs() < 1e-5, "averages start with the step after the lost one");
    // Training has gone on, and what was refused is had now.
    scope.step(6).gradients(&model, &gradients(&model, &training)).submit();
    Scope::builder(&device).stats(Stats::COSINE).build(&model).expect("there is memory again");
    let finished = scope.finish(&model);
    let (mut observed, mut lost) = (Vec::new(), Vec::new());
    for event in finished.events {
        match event {
            Event::Record(record) => observed.push(record.step),
            Event::Notice(notice) if notice.kind.is_fault() => match notice.kind {
                NoticeKind::StepLost { reason } => lost.push((notice.step, reason)),
                other => panic!("{other:?}"),
            },
            _ => {}
        }
    }
    assert_eq!(observed, [0, 1, 2, 5, 6]);
    let [(3, read_back), (4, taps)] = &lost[..] else { panic!("{lost:?}") };
    assert!(read_back.contains("no memory") && read_back.contains("read back"), "{read_back}");
    assert!(taps.contains("no memory"), "{taps}");
}

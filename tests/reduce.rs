//! Reductions over buffers of the caller's, held against the oracle, without burn.

#[path = "support/filled.rs"]
mod filled;
#[path = "suite/oracle.rs"]
mod oracle;

use fastrand::Rng;
use gradscope::stats::Epsilons;
use gradscope::{ReduceError, Reducer, Stats, TensorInput, TensorOutput, TensorSlice};
use wgpu::BufferUsages;

/// Elements around everything that has a border: a vector, a state word, a workgroup's vectors, a tile.
const LENS: [usize; 7] = [1, 3, 64, 257, 8191, 8193, 70_001];
/// Bytes before a tensor in its buffer.
const OFFSET_BYTES: u64 = 48;

struct Gpu {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Gpu {
    fn open() -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
        let adapter = adapter.expect("these tests need a wgpu adapter; software Vulkan will do");
        let device = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()));
        let (device, queue) = device.expect("the adapter has the default limits");
        Self { adapter, device, queue }
    }

    fn reducer(&self, stats: Stats) -> Reducer {
        let numels = LENS.map(|len| len as u64);
        Reducer::new(&self.adapter, &self.device, &self.queue, &numels, stats).expect("they fit")
    }

    /// A buffer with the values behind others, and others behind them.
    fn upload(&self, values: &[f32]) -> wgpu::Buffer {
        let size = (OFFSET_BYTES + 4 * values.len() as u64 + 64).next_multiple_of(16);
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        let filler = vec![f32::NAN; size as usize / 4];
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&filler));
        self.queue.write_buffer(&buffer, OFFSET_BYTES, bytemuck::cast_slice(values));
        buffer
    }
}

fn slice(buffer: &wgpu::Buffer) -> Option<TensorSlice<'_>> {
    Some(TensorSlice { buffer, offset_bytes: OFFSET_BYTES })
}

/// Small numbers of both signs, zeros, and what reductions stumble over.
fn values(random: &mut Rng, len: usize) -> Vec<f32> {
    const ODD: [f32; 6] = [0.0, 1e-45, 1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let mut value = || match random.u8(..16) {
        0 => ODD[random.usize(..ODD.len())],
        1..4 => 1e-6 * (random.f32() - 0.5),
        _ => random.f32() - 0.5,
    };
    (0..len).map(|_| value()).collect()
}

#[test]
fn steps_are_what_the_oracle_finds() {
    let gpu = Gpu::open();
    let mut random = Rng::with_seed(7);
    let mut make = || LENS.map(|len| values(&mut random, len));
    let (gradients, weights) = ([make(), make(), make()], [make(), make(), make()]);
    let mut reducer = gpu.reducer(Stats::FULL | Stats::COSINE);
    let eps = Epsilons::default().values();
    for step in 0..3 {
        let buffers = [&gradients[step], &weights[step], &weights[step.saturating_sub(1)]]
            .map(|of| of.each_ref().map(|values| gpu.upload(values)));
        let input = |tensor: usize| TensorInput {
            gradient: slice(&buffers[0][tensor]),
            parameter: slice(&buffers[1][tensor]),
            previous_parameter: slice(&buffers[2][tensor]).filter(|_| step > 0),
        };
        let inputs: Vec<_> = (0..LENS.len()).map(input).collect();
        for (tensor, found) in reducer.reduce(&inputs).unwrap().iter().enumerate() {
            let what = format!("step {step}, {} elements", LENS[tensor]);
            let (g, w) = (&gradients[step][tensor], &weights[step][tensor]);
            let p = (step > 0).then(|| gradients[step - 1][tensor].as_slice());
            oracle::assert_summary(&found.gradient.unwrap(), &oracle::summarise(g, p, eps), &what);
            oracle::assert_weight(&found.parameter.unwrap(), &oracle::weigh(w), &what);
            assert_eq!(found.update.is_some(), step > 0, "{what}");
            if let (Some(update), Some(p)) = (&found.update, p) {
                let expected = oracle::moved(w, &weights[step - 1][tensor], Some((p, g)), eps, step as u64);
                oracle::assert_move(update, &expected, LENS[tensor] as u64, &what);
            }
        }
    }
}

#[test]
fn a_step_without_a_gradient_is_compared_with_by_none() {
    let gpu = Gpu::open();
    let buffers = LENS.map(|len| gpu.upload(&vec![1.0; len]));
    let mut reducer = gpu.reducer(Stats::BASIC);
    let all: Vec<_> = buffers.iter().map(|b| TensorInput { gradient: slice(b), ..TensorInput::default() }).collect();
    let mut gap = all.clone();
    gap[2].gradient = None;
    let compared = |found: &[TensorOutput]| {
        found.iter().map(|output| output.gradient.map(|summary| summary.sign_flip_count.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(compared(&reducer.reduce(&all).unwrap()), [Some(false); 7]);
    assert_eq!(compared(&reducer.reduce(&gap).unwrap())[1..4], [Some(true), None, Some(true)]);
    assert_eq!(compared(&reducer.reduce(&all).unwrap())[1..4], [Some(true), Some(false), Some(true)]);
    reducer.forget();
    assert_eq!(compared(&reducer.reduce(&all).unwrap()), [Some(false); 7]);
}

#[test]
fn summaries_are_left_on_the_gpu_for_the_callers_own_shaders() {
    let gpu = Gpu::open();
    let buffers = LENS.map(|len| gpu.upload(&vec![-2.0; len]));
    let inputs: Vec<_> = buffers.iter().map(|b| TensorInput { gradient: slice(b), ..TensorInput::default() }).collect();
    let mut reducer = gpu.reducer(Stats::BASIC);
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let step = reducer.encode(&mut encoder, &inputs).unwrap();
    let size = reducer.summaries_bytes();
    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let staging = gpu.device.create_buffer(&descriptor);
    encoder.copy_buffer_to_buffer(reducer.summaries(), 0, &staging, 0, size);
    gpu.queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = staging.get_mapped_range(..).unwrap().to_vec();
    let names: Vec<&str> = reducer.record_words().collect();
    let word = |tensor: usize, name: &str| {
        let index = tensor * names.len() + names.iter().position(|known| *known == name).expect(name);
        u32::from_le_bytes(bytes[4 * index..4 * index + 4].try_into().unwrap())
    };
    for (tensor, len) in LENS.into_iter().enumerate() {
        assert_eq!(word(tensor, "negative_count") as usize, len);
        assert_eq!(f32::from_bits(word(tensor, "l2_norm_sq")), 4.0 * len as f32);
    }
    assert_eq!(reducer.read(&step, &bytes).unwrap()[6].gradient.unwrap().l1_norm, 140_002.0);
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let next = reducer.encode(&mut encoder, &inputs).unwrap();
    assert_eq!(reducer.read(&next, &bytes), Err(ReduceError::OtherStep), "these are the step's before");
}

#[test]
fn slices_that_hold_no_tensor_are_refused() {
    let gpu = Gpu::open();
    let buffers = LENS.map(|len| gpu.upload(&vec![1.0; len]));
    let mut inputs: Vec<_> =
        buffers.iter().map(|b| TensorInput { gradient: slice(b), ..TensorInput::default() }).collect();
    let mut reducer = gpu.reducer(Stats::BASIC);
    let refused = |reducer: &mut Reducer, inputs: &[TensorInput<'_>]| reducer.reduce(inputs).unwrap_err().to_string();
    assert!(refused(&mut reducer, &inputs[1..]).contains("6 tensors were given, and the reducer was made for 7"));
    for offset_bytes in [8, 1 << 20, u64::MAX - 15] {
        inputs[4].gradient = Some(TensorSlice { buffer: &buffers[4], offset_bytes });
        let error = refused(&mut reducer, &inputs);
        assert!(error.starts_with(&format!("tensor 4: 8191 f32 at byte {offset_bytes} of a buffer")), "{error}");
    }
    let usage = BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 1 << 16, usage, mapped_at_creation: false };
    let no_storage = gpu.device.create_buffer(&descriptor);
    inputs[4].gradient = Some(TensorSlice { buffer: &no_storage, offset_bytes: 0 });
    assert!(refused(&mut reducer, &inputs).contains("BufferUsages::STORAGE"));
}

//! Reduces buffers of a program's own, with nothing but wgpu and pollster:
//! `cargo run --release -p gradscope --no-default-features --example wgpu_reduce`.

use gradscope::{Reducer, Stats, TensorInput, TensorSlice};
use std::error::Error;
use wgpu::util::{BufferInitDescriptor, DeviceExt};

/// Elements of the tensor.
const LEN: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    println!("on {}", adapter.get_info().name);

    let mut reducer = Reducer::new(&adapter, &device, &queue, &[LEN as u64], Stats::DYNAMICS)?;
    for step in 0..5 {
        // A gradient of some shape that shrinks, and whose signs turn.
        let value = |i: usize| ((i + step * LEN / 7) as f32 * 1e-4).sin() / 10f32.powi(step as i32);
        let gradient: Vec<u8> = (0..LEN).flat_map(|i| value(i).to_le_bytes()).collect();
        let usage = wgpu::BufferUsages::STORAGE;
        let descriptor = BufferInitDescriptor { label: Some("gradient"), contents: &gradient, usage };
        let buffer = device.create_buffer_init(&descriptor);
        let slice = TensorSlice { buffer: &buffer, offset_bytes: 0 };
        let found = reducer.reduce(&[TensorInput { gradient: Some(slice), ..TensorInput::default() }])?;
        let summary = found[0].gradient.ok_or("the tensor had a gradient")?;
        println!(
            "step {step}: L2 {:.3e}, max {:.3e}, near zero {:.1}%, signs flipped {}",
            summary.l2_norm,
            summary.max.unwrap_or(f32::NAN),
            100.0 * summary.near_zero_ratio()[1],
            summary.sign_flip_ratio().map_or("-".into(), |ratio| format!("{:.1}%", 100.0 * ratio)),
        );
    }
    Ok(())
}

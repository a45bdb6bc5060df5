//! One launcher a shader, same stem: the pipeline, its bindings, and the commands that run it.

pub(crate) mod average;
pub(crate) mod grad_reduce;
pub(crate) mod histogram;
pub(crate) mod paged;
pub(crate) mod reduction;
pub(crate) mod segment_reduce;
pub(crate) mod tensor_reduce;

use crate::reduce::gpu::{Gpu, Shaders};
use std::sync::{Arc, Mutex};

/// The extent of a dispatch of `count` workgroups where one dimension holds `len_max`.
///
/// The shaders recover the index as `y * x_len + x` and leave where it is past the end.
pub(crate) fn grid(count: u32, len_max: u32) -> (u32, u32) {
    let rows = count.div_ceil(len_max).max(1);
    (count.div_ceil(rows), rows)
}

/// A pipeline, and the layout of its one bind group.
#[derive(Clone)]
struct Compiled {
    layout: wgpu::BindGroupLayout,
    pipeline: wgpu::ComputePipeline,
}

/// The pipelines of one form, each compiled when it is first needed. Clones share them, so that plans for other lengths
/// compile nothing anew.
#[derive(Clone, Default)]
pub(crate) struct Pipelines(Arc<Mutex<Vec<(PipelineKey, Compiled)>>>);

/// A kernel's name, and its size: pages a role, or invocations of a workgroup.
type PipelineKey = (&'static str, u32);

impl Pipelines {
    /// The pipeline of that kernel and size.
    fn get(&self, kernel: &'static str, size: u32, compile: impl FnOnce() -> Compiled) -> Compiled {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, compiled)) = known.iter().find(|(key, _)| *key == (kernel, size)) {
            return compiled.clone();
        }
        let compiled = compile();
        known.push(((kernel, size), compiled.clone()));
        compiled
    }

    /// Number of pipelines that have been compiled.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len()
    }
}

/// A compute pipeline whose entry point bears the shader's name, and the layout of its one bind group.
fn pipeline(gpu: &Gpu, name: &str, entries: &[wgpu::BindGroupLayoutEntry], wgsl: String, shaders: Shaders) -> Compiled {
    let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries });
    let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: Some(&pipeline_layout),
        module: &shaders.module(&gpu.device, name, wgsl),
        entry_point: Some(name),
        // Every shared word is written before it is read.
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    Compiled { layout, pipeline }
}

/// A bind group whose bindings count up from 0.
fn bind_group(
    gpu: &Gpu,
    name: &str,
    layout: &wgpu::BindGroupLayout,
    resources: Vec<wgpu::BindingResource<'_>>,
) -> wgpu::BindGroup {
    let entries: Vec<_> =
        resources.into_iter().zip(0..).map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource }).collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(name), layout, entries: &entries })
}

#[cfg(test)]
mod tests {
    #[test]
    fn grids_hold_every_workgroup_within_the_limit() {
        for (count, len_max) in [(1, 65_535), (65_535, 65_535), (65_536, 65_535), (200_000, 65_535), (7, 2)] {
            let (x, y) = super::grid(count, len_max);
            assert!(x <= len_max && x * y >= count && x * y - count < y, "{count} -> {x} x {y}");
        }
    }
}

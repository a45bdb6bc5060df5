//! Launcher of `tensor_reduce.wgsl`: chunk records to one summary a tensor.

use super::{Compiled, Pipelines, grid};
use crate::reduce::gpu::{self, Form, Gpu, Plan, RecordLayout, Shaders};

/// Pipeline and buffers of the kernel for one plan.
pub(crate) struct TensorReduce {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    /// One record a tensor, in the order of the plan.
    summaries: wgpu::Buffer,
    grid: (u32, u32),
    bytes: u64,
}

impl TensorReduce {
    /// `pipelines` are of the same form.
    pub fn new(
        gpu: &Gpu,
        form: Form,
        plan: &Plan,
        records: &wgpu::Buffer,
        shaders: Shaders,
        pipelines: &Pipelines,
    ) -> Self {
        let entries = [Gpu::storage_entry(0, true), Gpu::storage_entry(1, true), Gpu::storage_entry(2, false)];
        let workgroup_len = gpu::fold_workgroup_len(plan.tensors.iter().map(|chunks| chunks.count).max().unwrap_or(0));
        let Compiled { layout, pipeline } = pipelines.get("tensor_reduce", workgroup_len, || {
            let wgsl = gpu::tensor_reduce_wgsl(form, workgroup_len);
            super::pipeline(gpu, "tensor_reduce", &entries, wgsl, shaders)
        });
        let table = bytemuck::cast_slice::<_, u8>(&plan.tensors);
        // Exactly sized: the shader takes the number of tensors from the array's length.
        let tensors = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("gradscope tensors"),
            size: (table.len() as u64).max(8),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue.write_buffer(&tensors, 0, table);
        let bytes = plan.tensors.len() as u64 * RecordLayout::bytes_of(form);
        let summaries = gpu.storage_buffer("gradscope summaries", bytes, wgpu::BufferUsages::COPY_SRC);
        let resources = vec![tensors.as_entire_binding(), records.as_entire_binding(), summaries.as_entire_binding()];
        let bind_group = super::bind_group(gpu, "tensor_reduce", &layout, resources);
        Self { pipeline, bind_group, summaries, grid: grid(plan.tensors.len() as u32, gpu.grid_len_max), bytes }
    }

    pub fn summaries(&self) -> &wgpu::Buffer {
        &self.summaries
    }

    /// Bytes that come back: a record a tensor.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }

    /// Copies the summaries to byte `at` of `staging`.
    pub fn copy_to(&self, encoder: &mut wgpu::CommandEncoder, staging: &wgpu::Buffer, at: u64) {
        encoder.copy_buffer_to_buffer(&self.summaries, 0, staging, at, Some(self.bytes));
    }
}

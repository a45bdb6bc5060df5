//! Launcher of `grad_reduce.wgsl`: gradients, parameters and the state of the step before to one record a chunk.

use super::Pipelines;
use super::paged::{Kernel, Paged};
use crate::reduce::gpu::{self, Form, Gpu, Plan, RecordLayout, Shaders};
use gradscope_record::stats::Stats;

/// Pipelines and buffers of the kernel for one plan.
pub(crate) struct GradReduce {
    pub paged: Paged,
    /// One record a chunk; `tensor_reduce` folds them.
    pub records: wgpu::Buffer,
}

impl GradReduce {
    /// `pipelines` are of the same form.
    pub fn new(
        gpu: &Gpu,
        form: Form,
        plan: &Plan,
        shaders: Shaders,
        page_count_max: Option<u32>,
        pipelines: &Pipelines,
    ) -> Self {
        let usage = wgpu::BufferUsages::empty();
        let record_bytes = plan.chunks.len() as u64 * RecordLayout::bytes_of(form);
        let records = gpu.storage_buffer("gradscope records", record_bytes, usage);
        let mut outputs = vec![records.clone()];
        if form.plane_count() > 0 {
            outputs.push(gpu.storage_buffer("gradscope state", plan.state_bytes(), usage));
        }
        if form.groups.contains(Stats::COSINE) {
            outputs.push(gpu.storage_buffer("gradscope past gradients", plan.past_bytes(), usage));
        }
        let wgsl = Box::new(move |page_count| gpu::grad_reduce_wgsl(form, page_count));
        let kernel = Kernel { name: "grad_reduce", wgsl, role_count: form.role_count() as u32, outputs };
        Self { paged: Paged::new(gpu, kernel, plan, shaders, page_count_max, pipelines), records }
    }
}

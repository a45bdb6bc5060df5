//! `grad_reduce` and `tensor_reduce` over one list of tensors: elements in, one summary a tensor out.

use super::Pipelines;
use super::grad_reduce::GradReduce;
use super::paged::Terms;
use super::tensor_reduce::TensorReduce;
use crate::reduce::ModelTooLarge;
use crate::reduce::gpu::{Form, Gpu, Plan, PretendLimits, Reads, Shaders};

pub(crate) struct Reduction {
    plan: Plan,
    grad_reduce: GradReduce,
    tensor_reduce: TensorReduce,
}

impl Reduction {
    /// `pipelines` are of the same form.
    ///
    /// # Errors
    /// Where the tensors, by their elements, outgrow the adapter's limits.
    pub fn new(
        gpu: &Gpu,
        form: Form,
        numels: &[u64],
        shaders: Shaders,
        limits: PretendLimits,
        pipelines: &Pipelines,
    ) -> Result<Self, ModelTooLarge> {
        let plan = Plan::new(gpu, form, numels);
        plan.check(gpu)?;
        let grad_reduce = GradReduce::new(gpu, form, &plan, shaders, limits.page_count, pipelines);
        let tensor_reduce = TensorReduce::new(gpu, form, &plan, &grad_reduce.records, shaders, pipelines);
        Ok(Self { plan, grad_reduce, tensor_reduce })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the summaries lie.
    pub fn summaries(&self) -> &wgpu::Buffer {
        self.tensor_reduce.summaries()
    }

    /// Bytes of the summaries.
    pub fn bytes(&self) -> u64 {
        self.tensor_reduce.bytes()
    }

    /// Records the step's dispatches over what `reads` names for each tensor.
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, reads: &[Reads<'_>], terms: &Terms) {
        if self.grad_reduce.paged.encode(encoder, &self.plan, reads, terms) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.tensor_reduce.encode(&mut pass);
        }
    }

    /// Copies the summaries to byte `at` of `staging`.
    pub fn copy_to(&self, encoder: &mut wgpu::CommandEncoder, staging: &wgpu::Buffer, at: u64) {
        self.tensor_reduce.copy_to(encoder, staging, at);
    }
}

//! `grad_reduce` and `tensor_reduce` over one list of tensors: elements in, one summary a tensor out.

use super::grad_reduce::GradReduce;
use super::tensor_reduce::TensorReduce;
use crate::gpu::{Form, Gpu, Group, ModelTooLarge, Plan, PretendLimits, Reads, Shaders, Span};

pub(crate) struct Reduction {
    gpu: Gpu,
    plan: Plan,
    grad_reduce: GradReduce,
    tensor_reduce: TensorReduce,
    spans: Vec<Span>,
}

impl Reduction {
    /// # Errors
    /// Where the tensors, by their elements, outgrow the adapter's limits.
    pub fn new(
        gpu: &Gpu,
        form: Form,
        numels: &[u64],
        shaders: Shaders,
        limits: PretendLimits,
    ) -> Result<Self, ModelTooLarge> {
        let plan = Plan::new(form, numels, Plan::span_len_max(gpu));
        plan.check(gpu)?;
        let grad_reduce = GradReduce::new(gpu, form, &plan, shaders, limits.page_count);
        let tensor_reduce = TensorReduce::new(gpu, form, &plan, &grad_reduce.records, shaders);
        Ok(Self { gpu: gpu.clone(), plan, grad_reduce, tensor_reduce, spans: Vec::new() })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of the summaries.
    pub fn bytes(&self) -> u64 {
        self.tensor_reduce.bytes()
    }

    /// Records the step's dispatches over what `reads` names for each tensor.
    pub fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        reads: &[Reads<'_>],
        stamp: u32,
        threshold_bits: [u32; 2],
    ) {
        let page_count = self.grad_reduce.page_count_max();
        let groups: Vec<Group> = self.plan.group(&self.gpu, page_count, reads, &mut self.spans);
        if !groups.is_empty() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.grad_reduce.encode(&mut pass, &groups, &self.spans, stamp, threshold_bits);
            self.tensor_reduce.encode(&mut pass);
        }
    }

    /// Copies the summaries to byte `at` of `staging`.
    pub fn copy_to(&self, encoder: &mut wgpu::CommandEncoder, staging: &wgpu::Buffer, at: u64) {
        self.tensor_reduce.copy_to(encoder, staging, at);
    }
}

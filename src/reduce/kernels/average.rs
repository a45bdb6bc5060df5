//! Launcher of `average.wgsl`: element-wise moving averages of tensors, in a buffer of our own.

use super::Pipelines;
use super::paged::{Kernel, Paged, Terms};
use crate::reduce::ModelTooLarge;
use crate::reduce::gpu::{Cut, Gpu, Plan, Reads, Shaders, Slice, TILE_LEN, VECTOR_BYTES, average_wgsl};

/// Elements that one workgroup moves on.
const CHUNK_LEN: u64 = 4 * TILE_LEN as u64;

pub(crate) struct Average {
    plan: Plan,
    paged: Paged,
    averages: wgpu::Buffer,
    /// Where each tensor's averages start, in bytes.
    offsets: Vec<u64>,
}

impl Average {
    /// # Errors
    /// Where the averages outgrow a binding.
    pub fn new(
        gpu: &Gpu,
        numels: &[u64],
        shaders: Shaders,
        page_count_max: Option<u32>,
    ) -> Result<Self, ModelTooLarge> {
        let mut bytes = 0;
        let mut offset = |numel: &u64| {
            let start = bytes;
            bytes += (4 * numel).next_multiple_of(VECTOR_BYTES);
            start
        };
        let offsets: Vec<u64> = numels.iter().map(&mut offset).collect();
        gpu.fits_binding("moving averages", bytes)?;
        let plan = Plan::cut(numels, Plan::span_len_max(gpu), |tensor, span_start, len| {
            let cut = |start: u64| Cut {
                start: start as u32,
                len: CHUNK_LEN.min(len - start) as u32,
                extra: ((offsets[tensor] + 4 * (span_start + start)) / VECTOR_BYTES) as u32,
            };
            (0..len).step_by(CHUNK_LEN as usize).map(cut).collect()
        });
        let averages = gpu.storage_buffer("gradscope averages", bytes, wgpu::BufferUsages::empty());
        let outputs = vec![averages.clone()];
        let kernel = Kernel { name: "average", wgsl: Box::new(average_wgsl), role_count: 1, outputs };
        let paged = Paged::new(gpu, kernel, &plan, shaders, page_count_max, &Pipelines::default());
        Ok(Self { plan, paged, averages, offsets })
    }

    /// Moves the averages of what `reads` names on; those without `has_previous` start anew.
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, reads: &[Reads<'_>], terms: &Terms) {
        self.paged.encode(encoder, &self.plan, reads, terms);
    }

    /// The averages of a tensor that lies as `of` does.
    pub fn slice(&self, tensor: usize, of: &Slice) -> Slice {
        let (buffer, offset) = (self.averages.clone(), self.offsets[tensor]);
        Slice { buffer, offset, numel: of.numel, layout: of.layout, order: of.order, copied: false }
    }
}

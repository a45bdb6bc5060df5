//! Launcher of `histogram.wgsl`: counts a tensor, for gradients and then for parameters.

use super::Pipelines;
use super::paged::{Kernel, Paged, Terms};
use crate::reduce::ModelTooLarge;
use crate::reduce::gpu::{Cut, Gpu, Plan, Reads, Shaders, histogram_wgsl};
use gradscope_record::stats::kernels::{EDGE_COUNT, HISTOGRAM_LEN};
use gradscope_record::stats::{Histogram, order_key};

/// Elements that one workgroup counts.
const CHUNK_LEN: u64 = 1 << 16;

pub(crate) struct HistogramKernel {
    gpu: Gpu,
    plan: Plan,
    paged: Paged,
    counts: wgpu::Buffer,
    edges: wgpu::Buffer,
}

impl HistogramKernel {
    /// # Errors
    /// Where the counts outgrow a binding.
    pub fn new(
        gpu: &Gpu,
        numels: &[u64],
        shaders: Shaders,
        page_count_max: Option<u32>,
    ) -> Result<Self, ModelTooLarge> {
        gpu.fits_binding("histograms", Self::bytes(numels.len()))?;
        let plan = Plan::cut(numels, Plan::span_len_max(gpu), |tensor, _, len| {
            let starts = (0..len).step_by(CHUNK_LEN as usize);
            let cut =
                |start: u64| Cut { start: start as u32, len: CHUNK_LEN.min(len - start) as u32, extra: tensor as u32 };
            starts.map(cut).collect()
        });
        let counts = gpu.storage_buffer(
            "gradscope histograms",
            Self::bytes(numels.len()),
            wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        );
        let edge_bytes = (numels.len() * EDGE_COUNT * 4) as u64;
        let edges = gpu.storage_buffer("gradscope edges", edge_bytes, wgpu::BufferUsages::COPY_DST);
        let kernel = Kernel {
            name: "histogram",
            wgsl: Box::new(histogram_wgsl),
            role_count: 1,
            outputs: vec![counts.clone(), edges.clone()],
        };
        let paged = Paged::new(gpu, kernel, &plan, shaders, page_count_max, &Pipelines::default());
        Ok(Self { gpu: gpu.clone(), plan, paged, counts, edges })
    }

    /// Bytes of the counts of so many tensors.
    pub fn bytes(tensor_count: usize) -> u64 {
        (tensor_count * HISTOGRAM_LEN * 4) as u64
    }

    /// Counts what `reads` names, between `edges` where there are any, and copies the counts to byte `at`.
    pub fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        reads: &[Reads<'_>],
        edges: &[Option<Vec<f32>>],
        terms: &Terms,
        staging: &wgpu::Buffer,
        at: u64,
    ) {
        let no_edges = vec![u32::MAX; EDGE_COUNT];
        let keys = |edges: &Option<Vec<f32>>| {
            edges.as_ref().map_or(no_edges.clone(), |e| e.iter().map(|edge| order_key(edge.to_bits())).collect())
        };
        let keys: Vec<u32> = edges.iter().flat_map(keys).collect();
        self.gpu.queue.write_buffer(&self.edges, 0, bytemuck::cast_slice(&keys));
        encoder.clear_buffer(&self.counts, 0, None);
        self.paged.encode(encoder, &self.plan, reads, terms);
        encoder.copy_buffer_to_buffer(&self.counts, 0, staging, at, Some(Self::bytes(reads.len())));
    }

    /// The histograms in what came back, of the tensors that were there.
    pub fn read(words: &[u32], present: &[bool], edges: &[Option<Vec<f32>>]) -> Vec<Option<Histogram>> {
        let found = words.chunks(HISTOGRAM_LEN).zip(present).zip(edges);
        found.map(|((words, there), edges)| there.then(|| Histogram::from_words(words, edges.as_deref()))).collect()
    }
}

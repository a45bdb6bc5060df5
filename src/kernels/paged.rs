//! What kernels that read burn's buffers share: a dispatch for each group of pages, a workgroup for each chunk.

use super::grid;
use crate::gpu::{Chunk, Gpu, Group, Plan, Reads, Shaders, Span, TABLE_COUNT};
use crate::stats::{MAGNITUDE_MASK, weight_threshold_bits};
use bytemuck::{Pod, Zeroable};
use std::num::NonZeroU64;

/// Pages a dispatch binds at most, all roles together: more cost bind-group time and code, and hardly any model has them.
const PAGE_COUNT_MAX: u32 = 24;
/// On software drivers, which run every case of the choice among pages, masked, whichever is taken: on llvmpipe
/// 24 pages take 4.9 times as long as one.
const PAGE_COUNT_MAX_ON_CPU: u32 = 1;

/// The uniform of a dispatch, as the shaders read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Dispatch {
    first_chunk: u32,
    end_chunk: u32,
    stamp: u32,
    weight_above: u32,
    above_threshold: [u32; 2],
    average_factor: f32,
    unused: u32,
}

/// What a step's dispatches have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub stamp: u32,
    /// Of the two epsilons, as elements come.
    pub threshold_bits: [u32; 2],
    /// Share of the past in moving averages.
    pub average_factor: f64,
}

/// What is added to magnitudes for a threshold: the sum's sign bit tells whether they are above it.
fn above(threshold_bits: u32) -> u32 {
    MAGNITUDE_MASK - threshold_bits
}

/// Byte sizes of the structs as Rust lays them out, for the test that holds them against the shaders'.
#[doc(hidden)]
pub const STRUCT_BYTES: [(&str, usize); 3] =
    [("Dispatch", size_of::<Dispatch>()), ("Chunk", size_of::<Chunk>()), ("Span", size_of::<Span>())];

/// A kernel's shader, and how it binds.
pub(crate) struct Kernel {
    /// Also the entry point's.
    pub name: &'static str,
    /// The shader with so many pages a role.
    pub wgsl: Box<dyn Fn(u32) -> String + Send>,
    /// Pages follow the kernel's own bindings: dispatch, chunks, spans, and the buffers it writes.
    pub role_count: u32,
    /// What it writes to.
    pub outputs: Vec<wgpu::Buffer>,
}

/// The shader compiled for so many pages a role.
#[derive(Clone)]
struct Variant {
    page_count: u32,
    layout: wgpu::BindGroupLayout,
    pipeline: wgpu::ComputePipeline,
}

/// Pipelines and tables of a kernel for one plan.
pub(crate) struct Paged {
    gpu: Gpu,
    shaders: Shaders,
    kernel: Kernel,
    page_count_max: u32,
    /// Compiled when a step first needs them.
    variants: Vec<Variant>,
    dispatches: wgpu::Buffer,
    dispatch_stride: u64,
    chunks: wgpu::Buffer,
    spans: wgpu::Buffer,
    rows: Vec<Span>,
    uniforms: Vec<u8>,
}

impl Paged {
    /// `page_count_max` bounds the buffers a role has in one dispatch, below what the adapter allows.
    pub fn new(gpu: &Gpu, kernel: Kernel, plan: &Plan, shaders: Shaders, page_count_max: Option<u32>) -> Self {
        let by_default = if gpu.is_software() { PAGE_COUNT_MAX_ON_CPU } else { PAGE_COUNT_MAX };
        let own_storage_count = TABLE_COUNT - 1 + kernel.outputs.len() as u32;
        let page_count_max = page_count_max
            .map_or(by_default, |count| count * kernel.role_count)
            .min(gpu.storage_buffer_count_max.saturating_sub(own_storage_count))
            .min(PAGE_COUNT_MAX)
            / kernel.role_count;
        let copy_dst = wgpu::BufferUsages::COPY_DST;
        let chunk_bytes = bytemuck::cast_slice::<Chunk, u8>(&plan.chunks);
        let chunks = gpu.storage_buffer("gradscope chunks", chunk_bytes.len() as u64, copy_dst);
        gpu.queue.write_buffer(&chunks, 0, chunk_bytes);
        let dispatch_stride = (size_of::<Dispatch>() as u64).next_multiple_of(gpu.uniform_alignment);
        // No step has more dispatches than spans.
        let dispatches = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("gradscope dispatches"),
            size: dispatch_stride * plan.span_count().max(1) as u64,
            usage: wgpu::BufferUsages::UNIFORM | copy_dst,
            mapped_at_creation: false,
        });
        Self {
            gpu: gpu.clone(),
            shaders,
            kernel,
            page_count_max: page_count_max.max(1),
            variants: Vec::new(),
            dispatches,
            dispatch_stride,
            chunks,
            spans: gpu.storage_buffer("gradscope spans", (plan.span_count() * size_of::<Span>()) as u64, copy_dst),
            rows: Vec::new(),
            uniforms: Vec::new(),
        }
    }

    /// Takes over what has been compiled for another plan of the same kernel.
    pub fn adopt(&mut self, other: &Self) {
        self.variants.clone_from(&other.variants);
    }

    /// Records the step's dispatches over what `reads` names; their tables are written to the queue before the next
    /// submission. Tells whether there were any.
    pub fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        plan: &Plan,
        reads: &[Reads<'_>],
        terms: &Terms,
    ) -> bool {
        let groups = plan.group(&self.gpu, self.page_count_max as usize, reads, &mut self.rows);
        if groups.is_empty() {
            return false;
        }
        self.gpu.queue.write_buffer(&self.spans, 0, bytemuck::cast_slice(&self.rows));
        self.uniforms.clear();
        for group in &groups {
            let dispatch = Dispatch {
                first_chunk: group.chunks.start,
                end_chunk: group.chunks.end,
                stamp: terms.stamp,
                weight_above: above(weight_threshold_bits()),
                above_threshold: terms.threshold_bits.map(above),
                average_factor: terms.average_factor as f32,
                unused: 0,
            };
            self.uniforms.extend_from_slice(bytemuck::bytes_of(&dispatch));
            self.uniforms.resize(self.uniforms.len().next_multiple_of(self.dispatch_stride as usize), 0);
        }
        self.gpu.queue.write_buffer(&self.dispatches, 0, &self.uniforms);

        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (index, group) in groups.iter().enumerate() {
            let variant = self.variant(group);
            pass.set_pipeline(&self.variants[variant].pipeline);
            let bind_group = self.bind(&self.variants[variant], group);
            pass.set_bind_group(0, &bind_group, &[(index as u64 * self.dispatch_stride) as u32]);
            let (x, y) = grid(group.chunks.end - group.chunks.start, self.gpu.grid_len_max);
            pass.dispatch_workgroups(x, y, 1);
        }
        true
    }

    /// The smallest variant that holds the group.
    fn variant(&mut self, group: &Group) -> usize {
        let needed = group.windows.iter().map(Vec::len).max().unwrap_or(0) as u32;
        let page_count = [1, 4].into_iter().find(|&pages| needed <= pages).unwrap_or(self.page_count_max);
        let page_count = page_count.min(self.page_count_max);
        let found = self.variants.iter().position(|variant| variant.page_count == page_count);
        found.unwrap_or_else(|| {
            self.variants.push(Variant::new(&self.gpu, &self.kernel, page_count, self.shaders));
            self.variants.len() - 1
        })
    }

    fn bind(&self, variant: &Variant, group: &Group) -> wgpu::BindGroup {
        let dispatch = wgpu::BufferBinding {
            buffer: &self.dispatches,
            offset: 0,
            size: NonZeroU64::new(size_of::<Dispatch>() as u64),
        };
        let mut resources = vec![
            wgpu::BindingResource::Buffer(dispatch),
            self.chunks.as_entire_binding(),
            self.spans.as_entire_binding(),
        ];
        resources.extend(self.kernel.outputs.iter().map(wgpu::Buffer::as_entire_binding));
        // A slot without a page of its own repeats one of the group's: it is never chosen, and it is bound read-only.
        let any = group.windows.iter().flatten().next();
        for windows in &group.windows[..self.kernel.role_count as usize] {
            let slots =
                (0..variant.page_count as usize).filter_map(|page| windows.get(page).or(windows.last()).or(any));
            resources.extend(slots.map(|window| {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &window.buffer,
                    offset: window.offset,
                    size: NonZeroU64::new(window.bytes),
                })
            }));
        }
        super::bind_group(&self.gpu, self.kernel.name, &variant.layout, resources)
    }
}

impl Variant {
    fn new(gpu: &Gpu, kernel: &Kernel, page_count: u32, shaders: Shaders) -> Self {
        let mut entries = vec![
            Gpu::uniform_entry(0, size_of::<Dispatch>() as u64),
            Gpu::storage_entry(1, true),
            Gpu::storage_entry(2, true),
        ];
        let first_page = TABLE_COUNT + kernel.outputs.len() as u32;
        entries.extend((TABLE_COUNT..first_page).map(|binding| Gpu::storage_entry(binding, false)));
        let pages = page_count * kernel.role_count;
        entries.extend((0..pages).map(|page| Gpu::storage_entry(first_page + page, true)));
        let wgsl = (kernel.wgsl)(page_count);
        let (layout, pipeline) = super::pipeline(gpu, kernel.name, &entries, wgsl, shaders);
        Self { page_count, layout, pipeline }
    }
}

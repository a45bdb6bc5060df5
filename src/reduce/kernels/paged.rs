//! What kernels that read burn's buffers share: a dispatch for each group of pages, a workgroup for each chunk.

use super::{Compiled, Pipelines, grid};
use crate::reduce::gpu::{Chunk, DispatchBatch, Gpu, Plan, Reads, Shaders, Span, TABLE_COUNT};
use bytemuck::{Pod, Zeroable};
use gradscope_record::stats::{MAGNITUDE_MASK, weight_threshold_bits};
use std::num::NonZeroU64;

/// Pages a dispatch binds at most, all roles together: more cost bind-group time and code, and hardly any model has them.
const PAGE_COUNT_MAX: u32 = 24;
/// On software drivers, which run every case of the choice among pages, masked, whichever is taken: on llvmpipe
/// 24 pages take 4.9 times as long as one.
const PAGE_COUNT_MAX_ON_CPU: u32 = 1;
/// Of the tables, those that are uniforms: the dispatch's.
const UNIFORM_COUNT: u32 = 1;

/// Buffers of all kinds that a stage may bind. Metal has 31 places for them, of which wgpu keeps two for itself.
const BUFFER_COUNT_MAX: u32 = 29;

/// Pages that a kernel may bind, all roles together: no more than are `asked` for, than the adapter's storage buffers
/// leave beside the kernel's own, and than all kinds of buffers leave.
fn page_count_bound(asked: u32, storage_buffer_count_max: u32, output_count: u32) -> u32 {
    let own_count = TABLE_COUNT + output_count;
    asked
        .min(PAGE_COUNT_MAX)
        .min(storage_buffer_count_max.saturating_sub(own_count - UNIFORM_COUNT))
        .min(BUFFER_COUNT_MAX - own_count)
}

/// The uniform of a dispatch, as the shaders read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Dispatch {
    first_chunk: u32,
    end_chunk: u32,
    stamp: u32,
    param_above: u32,
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

/// Pipelines and tables of a kernel for one plan.
pub(crate) struct Paged {
    gpu: Gpu,
    shaders: Shaders,
    kernel: Kernel,
    page_count_max: u32,
    /// By pages a role.
    pipelines: Pipelines,
    dispatches: wgpu::Buffer,
    dispatch_stride: u64,
    chunks: wgpu::Buffer,
    spans: wgpu::Buffer,
    rows: Vec<Span>,
    uniforms: Vec<u8>,
}

impl Paged {
    /// `page_count_max` bounds the buffers a role has in one dispatch, below what the adapter allows. `pipelines` are of
    /// the same form of the kernel.
    pub fn new(
        gpu: &Gpu,
        kernel: Kernel,
        plan: &Plan,
        shaders: Shaders,
        page_count_max: Option<u32>,
        pipelines: &Pipelines,
    ) -> Self {
        let by_default = if gpu.is_software() { PAGE_COUNT_MAX_ON_CPU } else { PAGE_COUNT_MAX };
        let asked = page_count_max.map_or(by_default, |count| count * kernel.role_count);
        let page_count_max =
            page_count_bound(asked, gpu.storage_buffer_count_max, kernel.outputs.len() as u32) / kernel.role_count;
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
            pipelines: pipelines.clone(),
            dispatches,
            dispatch_stride,
            chunks,
            spans: gpu.storage_buffer("gradscope spans", (plan.span_count() * size_of::<Span>()) as u64, copy_dst),
            rows: Vec::new(),
            uniforms: Vec::new(),
        }
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
                param_above: above(weight_threshold_bits()),
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
            let (page_count, compiled) = self.compiled(group);
            pass.set_pipeline(&compiled.pipeline);
            let bind_group = self.bind(&compiled.layout, page_count, group);
            pass.set_bind_group(0, &bind_group, &[(index as u64 * self.dispatch_stride) as u32]);
            let (x, y) = grid(group.chunks.end - group.chunks.start, self.gpu.grid_len_max);
            pass.dispatch_workgroups(x, y, 1);
        }
        true
    }

    /// The pipeline with the fewest pages that hold the group, and their number.
    fn compiled(&self, group: &DispatchBatch) -> (u32, Compiled) {
        let needed = group.windows.iter().map(Vec::len).max().unwrap_or(0) as u32;
        let page_count = [1, 4].into_iter().find(|&pages| needed <= pages).unwrap_or(self.page_count_max);
        let page_count = page_count.min(self.page_count_max);
        let compile = || compile(&self.gpu, &self.kernel, page_count, self.shaders);
        (page_count, self.pipelines.get(self.kernel.name, page_count, compile))
    }

    fn bind(&self, layout: &wgpu::BindGroupLayout, page_count: u32, group: &DispatchBatch) -> wgpu::BindGroup {
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
            let slots = (0..page_count as usize).filter_map(|page| windows.get(page).or(windows.last()).or(any));
            resources.extend(slots.map(|window| {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &window.buffer,
                    offset: window.offset,
                    size: NonZeroU64::new(window.bytes),
                })
            }));
        }
        super::bind_group(&self.gpu, self.kernel.name, layout, resources)
    }
}

fn compile(gpu: &Gpu, kernel: &Kernel, page_count: u32, shaders: Shaders) -> Compiled {
    let mut entries = vec![
        Gpu::uniform_entry(0, size_of::<Dispatch>() as u64),
        Gpu::storage_entry(1, true),
        Gpu::storage_entry(2, true),
    ];
    let first_page = TABLE_COUNT + kernel.outputs.len() as u32;
    entries.extend((TABLE_COUNT..first_page).map(|binding| Gpu::storage_entry(binding, false)));
    let pages = page_count * kernel.role_count;
    entries.extend((0..pages).map(|page| Gpu::storage_entry(first_page + page, true)));
    super::pipeline(gpu, kernel.name, &entries, (kernel.wgsl)(page_count), shaders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduce::gpu::Form;
    use gradscope_record::stats::Stats;

    #[test]
    fn every_form_fits_metals_places_and_webgpus_default_limits() {
        /// Storage buffers a stage: of WebGPU by default, and of adapters that have more than anybody needs.
        const LIMITS: [u32; 3] = [8, 31, 500_000];
        let all = Stats::FULL | Stats::COSINE | Stats::EMA;
        for groups in [Stats::BASIC, Stats::COSINE, Stats::FULL, all] {
            let form = Form { groups, ..Form::default() };
            for limit in LIMITS {
                let pages = page_count_bound(PAGE_COUNT_MAX, limit, form.output_count()) / form.role_count() as u32;
                assert!(pages >= 1, "{groups} with {limit} storage buffers");
                let storage_count =
                    TABLE_COUNT - UNIFORM_COUNT + form.output_count() + pages * form.role_count() as u32;
                assert!(storage_count <= limit, "{groups}: {storage_count} of {limit} storage buffers");
                assert!(storage_count + UNIFORM_COUNT <= BUFFER_COUNT_MAX, "{groups}: {storage_count} and a uniform");
            }
        }
    }
}

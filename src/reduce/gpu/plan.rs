//! Dispatch maths: tensors to spans, spans to chunks, chunks to dispatches.
//!
//! A *span* is a part of a tensor that fits one binding; almost every tensor is one span. A *chunk* is
//! what one workgroup folds. Both are fixed when a scope is built. Where a span lies is found anew at
//! every step, because burn's allocations move.

use super::numbers::{
    HAS_GRADIENT, HAS_PARAM, HAS_PREVIOUS, HAS_UPDATE, KEEPS, ROLE_COUNT, TABLE_COUNT, TILE_LEN, VECTOR_BYTES,
};
use super::{Form, Gpu, RecordLayout};
use crate::reduce::ModelTooLarge;
use bytemuck::{Pod, Zeroable};
use gradscope_record::stats::Stats;
use std::ops::Range;

/// Workgroups a model should have at least, as far as its tiles go round: enough to fill a large GPU twice.
const CHUNK_COUNT_TARGET: u64 = 4096;
/// On software drivers: a chunk costs what it does once, however many tiles it has, and their cores are few.
const CHUNK_COUNT_TARGET_ON_CPU: u64 = 16;
/// Elements up to which cubecl lays tensors together into one page.
const SHARED_PAGE_LEN_MAX: u64 = (64 << 10) / 4;
/// Tiles of a chunk at most: longer runs save nothing and round more.
const CHUNK_TILES_MAX: u64 = 32;
const _: () = assert!(CHUNK_TILES_MAX <= 32, "tiles that want care are marked in a word");

/// A row of the static chunk table, as `grad_reduce.wgsl` reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(crate) struct Chunk {
    pub span: u32,
    /// First element, counted from the span's.
    pub start: u32,
    pub len: u32,
    /// First `Planes` of its state, first vector of its averages; the tensor of a histogram; the distance between a
    /// segment's elements.
    pub extra: u32,
}

/// A row of the per-step span table, as `grad_reduce.wgsl` reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub(crate) struct Span {
    pub flags: u32,
    pub start: u32,
    pub block_len: u32,
    pub run_len: u32,
    /// Page and first vector, for each role.
    pub at: [[u32; 2]; ROLE_COUNT],
    /// Keys of a tap's rails.
    pub rail_keys: [u32; 2],
    pub inverse_scale: f32,
}

/// The chunks of a tensor, as `tensor_reduce.wgsl` reads them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(crate) struct TensorChunks {
    pub first: u32,
    pub count: u32,
}

/// A chunk of a span, before it has one.
pub(crate) struct Cut {
    pub start: u32,
    pub len: u32,
    pub extra: u32,
}

struct PlannedSpan {
    tensor: usize,
    /// First element, counted from the tensor's.
    start: u64,
    len: u64,
    chunks: Range<u32>,
}

/// A tensor where it lies: `numel` f32 at `offset` bytes of `buffer`, densely, in any order of dimensions.
pub(crate) struct Slice {
    pub buffer: wgpu::Buffer,
    /// Bytes, a multiple of 16.
    pub offset: u64,
    pub numel: u64,
    /// Equal where the order of elements in memory is.
    pub layout: u64,
    pub order: Order,
    /// Whether the tensor had to be made contiguous first.
    pub copied: bool,
}

/// From memory to logical order, block by block: element `m` of a block in memory is element
/// `(m % run_len) * (block_len / run_len) + m / run_len` of it in logical order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Order {
    pub block_len: u32,
    pub run_len: u32,
}

impl Order {
    pub fn is_row_major(self) -> bool {
        self.block_len == self.run_len
    }
}

/// What a kernel reads of one tensor at a step.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reads<'a> {
    /// Gradient, parameter, and the parameter before its last move.
    pub slices: [Option<&'a Slice>; ROLE_COUNT],
    /// Whether the state is that of the step to compare with.
    pub has_previous: bool,
    /// Whether the state is to be this step's from now on.
    pub keeps: bool,
    pub rail_keys: [u32; 2],
    /// What elements are multiplied by before they join an average.
    pub inverse_scale: f32,
}

/// A stretch of a buffer that is bound as one page: bytes, aligned for binding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
}

/// One dispatch: a run of chunks, and the pages their gradients lie in.
#[derive(Debug, PartialEq)]
pub(crate) struct DispatchBatch {
    pub chunks: Range<u32>,
    /// Pages of each role.
    pub windows: [Vec<Window>; ROLE_COUNT],
}

impl DispatchBatch {
    fn starting_with(chunks: &Range<u32>) -> Self {
        Self { chunks: chunks.clone(), windows: [const { Vec::new() }; ROLE_COUNT] }
    }
}

pub(crate) struct Plan {
    numels: Vec<u64>,
    spans: Vec<PlannedSpan>,
    pub chunks: Vec<Chunk>,
    pub tensors: Vec<TensorChunks>,
    /// `Planes` of state, all chunks together.
    state_len: u64,
    form: Form,
}

impl Plan {
    /// Chunks of whole tiles, as many as fill the adapter.
    pub fn new(gpu: &Gpu, form: Form, numels: &[u64]) -> Self {
        let target = if gpu.is_software() { CHUNK_COUNT_TARGET_ON_CPU } else { CHUNK_COUNT_TARGET };
        Self::with_target(form, numels, Self::span_len_max(gpu), target)
    }

    /// `span_len_max` is what [`Plan::span_len_max`] tells.
    fn with_target(form: Form, numels: &[u64], span_len_max: u64, chunk_count_target: u64) -> Self {
        let tile = u64::from(TILE_LEN);
        let tile_count: u64 = numels.iter().map(|n| n.div_ceil(tile)).sum();
        let chunk_len = tile * (tile_count / chunk_count_target).clamp(1, CHUNK_TILES_MAX);
        let mut state_len = 0;
        let mut plan = Self::cut(numels, span_len_max, |_, _, len| {
            let starts = (0..len).step_by(chunk_len as usize);
            let mut chunk = |start: u64| {
                let this_len = chunk_len.min(len - start);
                let extra = u32::try_from(state_len).unwrap_or(u32::MAX);
                state_len += self::state_len(this_len);
                Cut { start: start as u32, len: this_len as u32, extra }
            };
            starts.map(&mut chunk).collect()
        });
        (plan.state_len, plan.form) = (state_len, form);
        plan
    }

    /// Chunks as `cut` makes them of each span: of its tensor, its first element and its length.
    pub fn cut(numels: &[u64], span_len_max: u64, mut cut: impl FnMut(usize, u64, u64) -> Vec<Cut>) -> Self {
        let form = Form::default();
        let mut plan =
            Self { numels: numels.to_vec(), spans: vec![], chunks: vec![], tensors: vec![], state_len: 0, form };
        plan.tensors.resize(numels.len(), TensorChunks { first: 0, count: 0 });
        // Small tensors side by side, so that those of one page fall into one dispatch.
        let (small, large): (Vec<_>, Vec<_>) = (0..numels.len()).partition(|&t| numels[t] <= SHARED_PAGE_LEN_MAX);
        for tensor in small.into_iter().chain(large) {
            let (numel, first) = (numels[tensor], plan.chunks.len() as u32);
            for start in (0..numel).step_by(span_len_max as usize) {
                let len = span_len_max.min(numel - start);
                plan.push_span(tensor, start, len, cut(tensor, start, len));
            }
            plan.tensors[tensor] = TensorChunks { first, count: plan.chunks.len() as u32 - first };
        }
        plan
    }

    /// Elements of a span at most: what one binding covers, whatever the alignment of its start.
    pub fn span_len_max(gpu: &Gpu) -> u64 {
        let tile = u64::from(TILE_LEN);
        // Room for a start between two places where a binding may begin, and for rounding the end up to a vector.
        ((gpu.binding_bytes_max - gpu.offset_alignment - VECTOR_BYTES) / 4 / tile * tile).max(tile)
    }

    /// # Errors
    /// Where state or records outgrow a binding.
    pub fn check(&self, gpu: &Gpu) -> Result<(), ModelTooLarge> {
        let record_bytes = self.chunks.len() as u64 * RecordLayout::bytes_of(self.form);
        gpu.fits_binding("state", self.state_bytes())?;
        gpu.fits_binding("chunk records", record_bytes)?;
        gpu.fits_binding("the gradients kept for cosines", self.past_bytes())?;
        let limit = u64::from(gpu.grid_len_max).pow(2);
        let needed = TABLE_COUNT - 1 + self.form.output_count() + self.form.role_count() as u32;
        if gpu.storage_buffer_count_max < needed {
            let (needed, limit) = (u64::from(needed), u64::from(gpu.storage_buffer_count_max));
            return Err(ModelTooLarge { what: "a kernel", unit: "storage buffers", needed, limit });
        }
        match self.chunks.len() as u64 {
            needed if needed > limit => Err(ModelTooLarge { what: "the dispatch", unit: "workgroups", needed, limit }),
            _ => Ok(()),
        }
    }

    /// Bytes of planes kept from step to step: 2 to 4 bits an element, and less than 4 KiB a tensor of padding.
    pub fn state_bytes(&self) -> u64 {
        self.state_len * 4 * self.form.plane_count()
    }

    /// Bytes of gradients kept from step to step: an f32 an element, where cosines are asked for.
    pub fn past_bytes(&self) -> u64 {
        if self.form.groups.contains(Stats::COSINE) { self.state_len * 32 * 4 } else { 0 }
    }

    pub fn span_count(&self) -> usize {
        self.spans.len()
    }

    /// Chunks of a tensor.
    pub fn chunk_count(&self, tensor: usize) -> u32 {
        self.tensors[tensor].count
    }

    pub fn numel(&self, tensor: usize) -> u64 {
        self.numels[tensor]
    }

    fn push_span(&mut self, tensor: usize, start: u64, len: u64, cuts: Vec<Cut>) {
        let span = self.spans.len() as u32;
        let first = self.chunks.len() as u32;
        self.chunks.extend(cuts.into_iter().map(|Cut { start, len, extra }| Chunk { span, start, len, extra }));
        self.spans.push(PlannedSpan { tensor, start, len, chunks: first..self.chunks.len() as u32 });
    }

    /// Lays what the step reads into dispatches of at most `page_count` pages a role.
    ///
    /// `reads` follows the tensors; one without slices is missing. The span table is written to `table`.
    pub fn group(
        &self,
        gpu: &Gpu,
        page_count: usize,
        reads: &[Reads<'_>],
        table: &mut Vec<Span>,
    ) -> Vec<DispatchBatch> {
        table.clear();
        let mut groups: Vec<DispatchBatch> = Vec::new();
        let mut open: Option<DispatchBatch> = None;
        for span in &self.spans {
            let read = &reads[span.tensor];
            if read.slices.iter().all(Option::is_none) {
                // Chunks of a missing tensor leave at once, so they may ride in any dispatch.
                table.push(Span::default());
                if let Some(group) = &mut open {
                    group.chunks.end = span.chunks.end;
                }
                continue;
            }
            let bytes = read.slices.map(|slice| slice.map(|slice| (slice, slice.bytes(span))));
            let group = open.get_or_insert_with(|| DispatchBatch::starting_with(&span.chunks));
            if !group.has_room(&bytes, page_count) {
                groups.push(std::mem::replace(group, DispatchBatch::starting_with(&span.chunks)));
            }
            group.chunks.end = span.chunks.end;
            let mut row = Span { flags: read.flags(), start: span.start as u32, ..Span::default() };
            (row.rail_keys, row.inverse_scale) = (read.rail_keys, read.inverse_scale);
            if let Some(gradient) = read.slices[0] {
                (row.block_len, row.run_len) = (gradient.order.block_len, gradient.order.run_len);
            }
            for (role, (slice, bytes)) in bytes.into_iter().enumerate().filter_map(|(role, b)| Some((role, b?))) {
                let page = group.page(gpu, role, &slice.buffer, &bytes);
                row.at[role] = [page as u32, ((bytes.start - group.windows[role][page].offset) / VECTOR_BYTES) as u32];
            }
            table.push(row);
        }
        groups.extend(open);
        groups
    }
}

type RoleBytes<'a> = [Option<(&'a Slice, Range<u64>)>; ROLE_COUNT];

impl DispatchBatch {
    /// Whether every role's slice lies in a page that is bound, or in one more.
    fn has_room(&self, bytes: &RoleBytes<'_>, page_count: usize) -> bool {
        self.windows.iter().zip(bytes).all(|(windows, bytes)| match bytes {
            None => true,
            Some((slice, bytes)) => {
                windows.len() < page_count || windows.iter().any(|window| window.covers(&slice.buffer, bytes))
            }
        })
    }

    /// The page of `role` that covers the bytes, bound now if it was not.
    fn page(&mut self, gpu: &Gpu, role: usize, buffer: &wgpu::Buffer, bytes: &Range<u64>) -> usize {
        let windows = &mut self.windows[role];
        windows.iter().position(|window| window.covers(buffer, bytes)).unwrap_or_else(|| {
            windows.push(Window::around(gpu, buffer, bytes));
            windows.len() - 1
        })
    }
}

impl Reads<'_> {
    fn flags(&self) -> u32 {
        let [gradient, weight, before] = self.slices.map(|slice| slice.is_some());
        [
            (gradient, HAS_GRADIENT),
            (self.has_previous, HAS_PREVIOUS),
            (self.keeps, KEEPS),
            (weight, HAS_PARAM),
            (before, HAS_UPDATE),
        ]
        .into_iter()
        .map(|(on, flag)| if on { flag } else { 0 })
        .sum()
    }
}

impl Slice {
    /// Where a span of it lies in its buffer.
    fn bytes(&self, span: &PlannedSpan) -> Range<u64> {
        self.offset + span.start * 4..self.offset + (span.start + span.len) * 4
    }

    /// Whether whole vectors cover the slice: what a kernel needs to read it in place.
    pub fn is_bindable(&self) -> bool {
        let end = self.offset.saturating_add(self.numel * 4);
        self.offset.is_multiple_of(VECTOR_BYTES) && end <= self.buffer.size() / VECTOR_BYTES * VECTOR_BYTES
    }
}

impl Window {
    /// The whole buffer where a binding can cover it, else as much as one can from `bytes.start` on.
    fn around(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: &Range<u64>) -> Self {
        let size = buffer.size() / VECTOR_BYTES * VECTOR_BYTES;
        let alignment = gpu.offset_alignment.max(VECTOR_BYTES);
        let offset = if size <= gpu.binding_bytes_max { 0 } else { bytes.start / alignment * alignment };
        Self { buffer: buffer.clone(), offset, bytes: (size - offset).min(gpu.binding_bytes_max) }
    }

    fn covers(&self, buffer: &wgpu::Buffer, bytes: &Range<u64>) -> bool {
        self.buffer == *buffer && self.offset <= bytes.start && bytes.end <= self.offset + self.bytes
    }
}

/// `Planes` of state for a chunk: one for each invocation and tile, none past the tail.
fn state_len(chunk_len: u64) -> u64 {
    let tile = u64::from(TILE_LEN);
    let planes_a_tile = tile / 32;
    chunk_len / tile * planes_a_tile + (chunk_len % tile).div_ceil(4).min(planes_a_tile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_element_once() {
        let tile = u64::from(TILE_LEN);
        let numels = [1, 0, tile, tile + 1, 5 * tile + 17];
        let plan = Plan::with_target(Form::default(), &numels, 2 * tile, CHUNK_COUNT_TARGET);
        for (tensor, &numel) in numels.iter().enumerate() {
            let spans: Vec<_> = plan.spans.iter().filter(|s| s.tensor == tensor).collect();
            assert_eq!(spans.iter().map(|s| s.len).sum::<u64>(), numel);
            assert!(spans.iter().all(|s| s.len <= 2 * tile));
            let TensorChunks { first, count } = plan.tensors[tensor];
            let chunks = &plan.chunks[first as usize..(first + count) as usize];
            assert_eq!(chunks.iter().map(|c| u64::from(c.len)).sum::<u64>(), numel);
            let mut state = chunks.first().map_or(0, |c| u64::from(c.extra));
            for chunk in chunks {
                assert_eq!(u64::from(chunk.extra), state, "states neither overlap nor leave gaps");
                state += state_len(u64::from(chunk.len));
            }
        }
        assert!(plan.state_bytes() * 8 <= numels.iter().map(|n| 2 * n + 2048 * 8).sum());
    }

    #[test]
    fn a_large_model_gets_longer_chunks() {
        let plan = Plan::with_target(Form::default(), &[100_000_000], 1 << 25, CHUNK_COUNT_TARGET);
        assert!((2048..8192).contains(&plan.chunks.len()), "{}", plan.chunks.len());
    }
}

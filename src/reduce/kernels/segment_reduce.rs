//! Launcher of `segment_reduce.wgsl`: stretches of tensors to one record each.

use super::Pipelines;
use super::paged::{Kernel, Paged, Terms};
use crate::reduce::ModelTooLarge;
use crate::reduce::gpu::{Cut, Gpu, Plan, Reads, SEGMENT_WORDS, Shaders, segment, segment_reduce_wgsl};
use crate::reduce::survey::{Stretch, Stretches};
use gradscope_record::stats::Segment;

/// Bytes of a record.
const RECORD_BYTES: u64 = 4 * SEGMENT_WORDS.len() as u64;

/// Elements of a record at most: the host adds records in f64.
const RECORD_LEN_MAX: u64 = 1 << 17;

pub(crate) struct SegmentReduce {
    plan: Plan,
    paged: Paged,
    records: wgpu::Buffer,
    layout: SegmentLayout,
}

/// What each record is of.
#[derive(Clone)]
pub(crate) struct SegmentLayout {
    /// Tensor, slot and elements, by record.
    records: Vec<(usize, usize, u64)>,
    slot_count: usize,
}

impl SegmentLayout {
    pub fn bytes(&self) -> u64 {
        self.records.len() as u64 * RECORD_BYTES
    }

    /// The slots in what came back, over the tensors that were there.
    pub fn read(&self, words: &[u32], present: &[bool]) -> Vec<Segment> {
        let mut slots = vec![Segment::default(); self.slot_count];
        for (words, &(tensor, slot, numel)) in words.chunks(SEGMENT_WORDS.len()).zip(&self.records) {
            if present[tensor] {
                slots[slot] = slots[slot].combine(segment(words, numel));
            }
        }
        slots
    }
}

impl SegmentReduce {
    /// # Errors
    /// Where the records outgrow a binding.
    pub fn new(
        gpu: &Gpu,
        numels: &[u64],
        stretches: &Stretches,
        shaders: Shaders,
        page_count_max: Option<u32>,
    ) -> Result<Self, ModelTooLarge> {
        let mut by_tensor: Vec<Vec<&Stretch>> = vec![vec![]; numels.len()];
        stretches.list.iter().for_each(|stretch| by_tensor[stretch.tensor].push(stretch));
        let mut records = Vec::new();
        let plan = Plan::cut(numels, Plan::span_len_max(gpu), |tensor, start, len| {
            let mut cuts = Vec::new();
            for stretch in &by_tensor[tensor] {
                if let Some((first, count)) = stretch.within(&(start..start + len)) {
                    for done in (0..count).step_by(RECORD_LEN_MAX as usize) {
                        let len = RECORD_LEN_MAX.min(count - done);
                        records.push((tensor, stretch.slot, len));
                        let from = first + done * stretch.stride - start;
                        cuts.push(Cut { start: from as u32, len: len as u32, extra: stretch.stride as u32 });
                    }
                }
            }
            cuts
        });
        let layout = SegmentLayout { records, slot_count: stretches.slot_count };
        gpu.fits_binding("columns and channels", layout.bytes())?;
        let records = gpu.storage_buffer("gradscope segments", layout.bytes(), wgpu::BufferUsages::COPY_SRC);
        let kernel = Kernel {
            name: "segment_reduce",
            wgsl: Box::new(segment_reduce_wgsl),
            role_count: 1,
            outputs: vec![records.clone()],
        };
        let paged = Paged::new(gpu, kernel, &plan, shaders, page_count_max, &Pipelines::default());
        Ok(Self { plan, paged, records, layout })
    }

    pub fn layout(&self) -> &SegmentLayout {
        &self.layout
    }

    /// Reduces the stretches of what `reads` names, and copies the records to byte `at`.
    pub fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        reads: &[Reads<'_>],
        terms: &Terms,
        staging: &wgpu::Buffer,
        at: u64,
    ) {
        self.paged.encode(encoder, &self.plan, reads, terms);
        encoder.copy_buffer_to_buffer(&self.records, 0, staging, at, Some(self.layout.bytes()));
    }
}

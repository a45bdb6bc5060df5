//! Distributions on the GPU: which kernels count them, and how the counts lie in what comes back.

use crate::reduce::ModelTooLarge;
use crate::reduce::gpu::{Gpu, PretendLimits, Reads, Shaders, Slice};
use crate::reduce::kernels::histogram::HistogramKernel;
use crate::reduce::kernels::paged::Terms;
use crate::reduce::kernels::segment_reduce::{SegmentLayout, SegmentReduce};
use crate::reduce::survey::{Counted, Stretches, SurveyDue, SurveyPlan};
use gradscope_record::stats::kernels::scaled_edges;
use gradscope_record::stats::linear_edges;

pub(super) struct GpuSurvey {
    histograms: Option<HistogramKernel>,
    channels: Option<SegmentReduce>,
    sign_map: Option<SegmentReduce>,
}

/// What a step's survey was over.
#[derive(Default)]
pub(super) struct SurveyOutcome {
    due: SurveyDue,
    /// What gradients come multiplied by.
    scale: f64,
    edges: Vec<Option<Vec<f32>>>,
    /// Gradients and then parameters that histograms counted, and gradients that segments were of.
    counted: Vec<bool>,
    ordered: Vec<bool>,
}

/// The tensors of a step, by what a survey needs of them.
pub(super) struct SurveyReads<'a> {
    /// What gradients come multiplied by.
    pub scale: f64,
    pub gradients: Vec<Option<&'a Slice>>,
    pub weights: Vec<Option<&'a Slice>>,
    /// Gradients in logical order.
    pub ordered: Vec<Option<&'a Slice>>,
}

impl GpuSurvey {
    /// # Errors
    /// Where what is counted outgrows a binding.
    pub fn new(
        gpu: &Gpu,
        plan: &SurveyPlan,
        numels: &[u64],
        shaders: Shaders,
        limits: PretendLimits,
    ) -> Result<Self, ModelTooLarge> {
        let twice: Vec<u64> = [numels, numels].concat();
        let segments = |stretches: &Option<Stretches>| {
            let kernel = |s: &Stretches| SegmentReduce::new(gpu, numels, s, shaders, limits.page_count);
            stretches.as_ref().map(kernel).transpose()
        };
        let histograms = plan.histograms.then(|| HistogramKernel::new(gpu, &twice, shaders, limits.page_count));
        Ok(Self {
            histograms: histograms.transpose()?,
            channels: segments(&plan.channels)?,
            sign_map: segments(&plan.sign_map)?,
        })
    }

    /// How the counts of so many tensors lie.
    pub fn layout(&self, tensor_count: usize) -> SurveyLayout {
        let layout = |segments: &Option<SegmentReduce>| segments.as_ref().map(|s| s.layout().clone());
        SurveyLayout { tensor_count, channels: layout(&self.channels), sign_map: layout(&self.sign_map) }
    }

    /// Counts what is due, and copies the counts to byte `at`.
    pub fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        due: &SurveyDue,
        tensors: &SurveyReads<'_>,
        terms: &Terms,
        staging: &wgpu::Buffer,
        mut at: u64,
    ) -> SurveyOutcome {
        let mut outcome = SurveyOutcome { due: due.clone(), scale: tensors.scale, ..SurveyOutcome::default() };
        if let (Some(bounds), Some(kernel)) = (&due.histograms, &mut self.histograms) {
            let both = || tensors.gradients.iter().chain(&tensors.weights);
            outcome.counted = both().map(Option::is_some).collect();
            outcome.edges = bounds.iter().map(|bounds| bounds.map(|[min, max]| linear_edges(min, max))).collect();
            let reads: Vec<Reads<'_>> = both().map(read_alone).collect();
            // Gradients are counted as they come, between edges that are scaled as they are.
            let gradients = outcome.edges.len() / 2;
            let scaled = |(place, edges): (usize, &Option<Vec<f32>>)| {
                let scale = if place < gradients { tensors.scale } else { 1.0 };
                edges.as_ref().map(|edges| scaled_edges(edges, scale))
            };
            let edges: Vec<_> = outcome.edges.iter().enumerate().map(scaled).collect();
            kernel.encode(encoder, &reads, &edges, terms, staging, at);
            at += HistogramKernel::bytes(reads.len());
        }
        outcome.ordered = tensors.ordered.iter().map(Option::is_some).collect();
        let ordered: Vec<Reads<'_>> = tensors.ordered.iter().map(read_alone).collect();
        for (due, kernel) in [(due.channels, &mut self.channels), (due.sign_map, &mut self.sign_map)] {
            if let (true, Some(kernel)) = (due, kernel) {
                kernel.encode(encoder, &ordered, terms, staging, at);
                at += kernel.layout().bytes();
            }
        }
        outcome
    }
}

fn read_alone<'a>(slice: &Option<&'a Slice>) -> Reads<'a> {
    Reads { slices: [*slice, None, None], ..Reads::default() }
}

/// How the counts of a survey lie.
#[derive(Clone, Default)]
pub(crate) struct SurveyLayout {
    tensor_count: usize,
    channels: Option<SegmentLayout>,
    sign_map: Option<SegmentLayout>,
}

impl SurveyLayout {
    /// Bytes of what is due.
    pub fn bytes(&self, due: &SurveyDue) -> u64 {
        let histograms = due.histograms.as_ref().map_or(0, |_| HistogramKernel::bytes(2 * self.tensor_count));
        let segments =
            |due: bool, layout: &Option<SegmentLayout>| layout.as_ref().filter(|_| due).map_or(0, SegmentLayout::bytes);
        histograms + segments(due.channels, &self.channels) + segments(due.sign_map, &self.sign_map)
    }

    /// The counts in what came back; `data` starts with them.
    pub(super) fn read(&self, outcome: &SurveyOutcome, data: &[u8]) -> Counted {
        let mut rest: Vec<u32> = bytemuck::pod_collect_to_vec(data);
        let mut take = |bytes: u64| {
            let behind = rest.split_off(bytes as usize / 4);
            std::mem::replace(&mut rest, behind)
        };
        let mut counted = Counted::default();
        if outcome.due.histograms.is_some() {
            let words = take(HistogramKernel::bytes(2 * self.tensor_count));
            counted.histograms = HistogramKernel::read(&words, &outcome.counted, &outcome.edges);
        }
        let mut segments = |due: bool, layout: &Option<SegmentLayout>| {
            let layout = layout.as_ref().filter(|_| due)?;
            let slots = layout.read(&take(layout.bytes()), &outcome.ordered);
            Some(slots.into_iter().map(|slot| slot.unscaled(outcome.scale)).collect())
        };
        counted.channels = segments(outcome.due.channels, &self.channels);
        counted.sign_map = segments(outcome.due.sign_map, &self.sign_map);
        counted
    }
}

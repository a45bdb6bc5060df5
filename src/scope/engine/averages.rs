//! Moving averages of gradients and parameters, and the dynamics of those.

use super::{Observation, Settings};
use crate::reduce::ModelTooLarge;
use crate::reduce::gpu::{Form, Gpu, Reads, RecordLayout, Slice};
use crate::reduce::history::History;
use crate::reduce::kernels::Pipelines;
use crate::reduce::kernels::average::Average;
use crate::reduce::kernels::paged::Terms;
use crate::reduce::kernels::reduction::Reduction;
use gradscope_record::stats::Stats;

/// What averages are reduced as: gradients with history.
pub(crate) fn averages_form() -> Form {
    Form { groups: Stats::DYNAMICS, ..Form::default() }
}

pub(super) struct GpuAverages {
    average: Average,
    reduction: Reduction,
    /// Of each average the layout it is in. Gradients first, then parameters.
    layouts: Vec<Option<u64>>,
    history: History,
}

/// What became of an average at a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct AverageStatus {
    pub previous_step: Option<u64>,
    pub numel: u64,
    pub chunk_count: u32,
}

impl GpuAverages {
    pub fn new(gpu: &Gpu, numels: &[u64], settings: &Settings) -> Result<Self, ModelTooLarge> {
        let twice = [numels, numels].concat();
        let pipelines = Pipelines::default();
        Ok(Self {
            average: Average::new(gpu, &twice, settings.shaders, settings.limits.page_count)?,
            reduction: Reduction::new(gpu, averages_form(), &twice, settings.shaders, settings.limits, &pipelines)?,
            layouts: vec![None; twice.len()],
            history: History::new(twice.len()),
        })
    }

    /// Starts over at the next step.
    pub fn forget(&mut self) {
        self.layouts.fill(None);
        self.history.forget_all();
    }

    /// Starts over for these tensors, their gradients and parameters.
    pub fn forget_tensors(&mut self, tensors: &[usize]) {
        let count = self.layouts.len() / 2;
        for place in tensors.iter().flat_map(|&tensor| [tensor, count + tensor]) {
            self.layouts[place] = None;
            self.history.forget(&[place]);
        }
    }

    /// Bytes of the summaries of so many tensors.
    pub fn bytes(tensor_count: usize) -> u64 {
        2 * tensor_count as u64 * RecordLayout::bytes_of(averages_form())
    }

    /// Moves the averages on by gradients and parameters, and reduces them; copies the summaries to byte `at`.
    pub fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        observation: &Observation,
        slices: &[Option<&Slice>],
        terms: &Terms,
        copy: Option<(&wgpu::Buffer, u64)>,
    ) -> Vec<Option<AverageStatus>> {
        let mut statuses = vec![None; slices.len()];
        let mut moves = vec![Reads::default(); slices.len()];
        let averages: Vec<Option<Slice>> =
            slices.iter().enumerate().map(|(place, slice)| slice.map(|s| self.average.slice(place, s))).collect();
        let mut reads = vec![Reads::default(); slices.len()];
        // An average that does not advance stays what it was: a visit without a gradient does not end its history.
        self.history.begin(observation.compared, []);
        for (place, slice) in slices.iter().enumerate() {
            let (Some(slice), Some(average)) = (slice, &averages[place]) else { continue };
            // An average starts over where its layout changes.
            let goes_on = self.layouts[place].replace(slice.layout) == Some(slice.layout);
            if !goes_on {
                self.history.forget(&[place]);
            }
            let previous_step = self.history.compare(place, observation.compared, slice.layout).previous_step;
            let scale = if place < slices.len() / 2 { observation.scale } else { 1.0 };
            moves[place] = Reads {
                slices: [Some(slice), None, None],
                has_previous: goes_on,
                inverse_scale: (1.0 / scale) as f32,
                ..Reads::default()
            };
            reads[place] = Reads {
                slices: [Some(average), None, None],
                has_previous: previous_step.is_some(),
                keeps: observation.compared.keeps,
                ..Reads::default()
            };
            let chunk_count = self.reduction.plan().chunk_count(place);
            statuses[place] = Some(AverageStatus { previous_step, numel: slice.numel, chunk_count });
        }
        self.average.encode(encoder, &moves, terms);
        self.reduction.encode(encoder, &reads, terms);
        if let Some((staging, at)) = copy {
            self.reduction.copy_to(encoder, staging, at);
        }
        statuses
    }
}

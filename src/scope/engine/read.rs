//! What comes back of a step, and what it means under what the engine knew of it.

use super::averages::{AverageStatus, GpuAverages, averages_form};
use super::survey::{SurveyLayout, SurveyOutcome};
use crate::reduce::gpu::{Encoded, Form, RecordLayout, Timer};
use crate::reduce::survey::{Counted, SurveyDue};
use gradscope_record::record::{EmaRecord, Gradient, NoticeKind, TensorRecord};
use gradscope_record::stats::{Stats, TensorSummary};

/// What the engine knows of a step before its numbers are back.
pub(crate) struct Outcome {
    pub(super) stamp: u32,
    pub(super) scale: f64,
    pub(super) tensors: Vec<TensorStatus>,
    /// Of each of the step's GPU scalars, in order, whether it was copied, or why not.
    pub scalars: Vec<Result<(), String>>,
    /// Elements and chunks of each tap, or why it was left out.
    pub(super) taps: Vec<Result<(u64, u32), String>>,
    pub(super) survey: Option<SurveyOutcome>,
    /// Of gradients, then of parameters.
    pub(super) averages: Vec<Option<AverageStatus>>,
    pub notices: Vec<NoticeKind>,
    pub copied_count: u32,
    /// Time on burn's device thread, once the buffers were found.
    pub encode_secs: f64,
}

impl Outcome {
    /// Of a step without anything of the `count` tensors.
    pub fn all_missing(count: usize) -> Self {
        Self {
            stamp: 0,
            scale: 1.0,
            tensors: vec![TensorStatus::default(); count],
            scalars: vec![],
            taps: vec![],
            survey: None,
            averages: vec![],
            notices: vec![],
            copied_count: 0,
            encode_secs: 0.0,
        }
    }
}

/// What of a tensor was there.
#[derive(Clone, Copy, Default)]
pub(super) struct TensorStatus {
    pub gradient: GradientStatus,
    pub weighed: bool,
    /// The step its last move was made after.
    pub moved_since: Option<u64>,
}

#[derive(Clone, Copy, Default)]
pub(super) enum GradientStatus {
    #[default]
    Missing,
    Unreadable,
    Observed {
        previous_step: Option<u64>,
    },
}

/// How the numbers of a step lie in what comes back: summaries, averages, scalars, taps, survey, clock readings.
pub(crate) struct ReadLayout {
    /// Elements and chunks of each tensor.
    pub(super) tensors: Vec<(u64, u32)>,
    pub(super) form: Form,
    pub(super) layout: RecordLayout,
    pub(super) average_layout: RecordLayout,
    pub(super) tap_layout: RecordLayout,
    pub(super) survey: SurveyLayout,
    /// Of the GPU's clock, where it is read.
    pub(super) tick_secs: Option<f64>,
}

impl ReadLayout {
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// Bytes read back for a step with that many GPU scalars and taps, and this survey.
    pub fn bytes(&self, scalar_count: usize, tap_count: usize, due: &SurveyDue) -> u64 {
        let timer = self.tick_secs.map_or(0, |_| Timer::BYTES);
        self.survey_at(scalar_count, tap_count) as u64 + self.survey.bytes(due) + timer
    }

    /// Seconds that the GPU spent on the step, where it has told: the last that comes back.
    pub fn gpu_secs(&self, data: &[u8]) -> Option<f64> {
        let tick_secs = self.tick_secs?;
        let at = data.len().checked_sub(Timer::BYTES as usize)?;
        let [before, after]: [u64; 2] = bytemuck::pod_read_unaligned(&data[at..]);
        (after > before).then(|| (after - before) as f64 * tick_secs)
    }

    fn survey_at(&self, scalar_count: usize, tap_count: usize) -> usize {
        self.taps_at(scalar_count) + tap_count * self.tap_layout.bytes() as usize
    }

    /// What the step's survey counted, if it had one.
    pub fn counted(&self, outcome: &Outcome, data: &[u8]) -> Option<Counted> {
        let survey = outcome.survey.as_ref()?;
        Some(self.survey.read(survey, &data[self.survey_at(outcome.scalars.len(), outcome.taps.len())..]))
    }

    fn averages_at(&self) -> usize {
        self.tensors.len() * self.layout.bytes() as usize
    }

    fn scalars_at(&self) -> usize {
        let averages = if self.form.groups.contains(Stats::EMA) { GpuAverages::bytes(self.tensors.len()) } else { 0 };
        self.averages_at() + averages as usize
    }

    fn taps_at(&self, scalar_count: usize) -> usize {
        self.scalars_at() + 4 * scalar_count
    }

    /// The scalar copied as the `index`-th, after the summaries.
    pub fn scalar(&self, data: &[u8], index: usize) -> f32 {
        let at = self.scalars_at() + 4 * index;
        bytemuck::pod_read_unaligned(&data[at..at + 4])
    }

    /// A step's summaries: the words that came back, under what `observe` knew of it.
    ///
    /// # Errors
    /// Where they are those of another step.
    pub fn read(&self, outcome: &Outcome, data: &[u8]) -> Result<Vec<TensorRecord>, String> {
        outcome
            .tensors
            .iter()
            .zip(&self.tensors)
            .enumerate()
            .map(|(tensor, (status, &(numel, chunk_count)))| {
                let any = status.weighed || matches!(status.gradient, GradientStatus::Observed { .. });
                let mut record = TensorRecord::of(match status.gradient {
                    GradientStatus::Unreadable => Gradient::Unreadable,
                    _ => Gradient::Missing,
                });
                record.ema = self.ema(tensor, outcome, data)?;
                if !any {
                    return Ok(record);
                }
                let words = words(data, tensor * self.layout.bytes() as usize, self.layout.len());
                let found = self.layout.read(&words);
                found.check(&Encoded { numel, chunk_count, stamp: outcome.stamp })?;
                let mut compared = false;
                if let GradientStatus::Observed { previous_step } = status.gradient {
                    compared = previous_step.is_some();
                    let summary = found.gradient(numel, compared).finish().limited_to(self.form.groups);
                    let summary = if outcome.scale == 1.0 { summary } else { summary.unscaled(outcome.scale) };
                    record.gradient = Gradient::Observed { summary, previous_step };
                }
                record.parameter = status.weighed.then(|| found.weight(numel).finish());
                record.update = status.moved_since.map(|step| found.update().finish(step, compared));
                Ok(record)
            })
            .collect()
    }

    /// The averages of a tensor, where there are any.
    fn ema(&self, tensor: usize, outcome: &Outcome, data: &[u8]) -> Result<Option<Box<EmaRecord>>, String> {
        let read = |place: usize| {
            let Some(Some(status)) = outcome.averages.get(place) else { return Ok(None) };
            let at = self.averages_at() + place * self.average_layout.bytes() as usize;
            let words = words(data, at, self.average_layout.len());
            let found = self.average_layout.read(&words);
            found.check(&Encoded { numel: status.numel, chunk_count: status.chunk_count, stamp: outcome.stamp })?;
            let summary = found.gradient(status.numel, status.previous_step.is_some()).finish();
            Ok::<_, String>(Some(summary.limited_to(averages_form().groups)))
        };
        let record = EmaRecord { gradient: read(tensor)?, parameter: read(self.tensors.len() + tensor)? };
        Ok((record != EmaRecord::default()).then(|| Box::new(record)))
    }

    /// The summaries of a step's taps, with the counts at their rails.
    pub fn taps(&self, outcome: &Outcome, data: &[u8]) -> Vec<Result<(TensorSummary, [u64; 2]), String>> {
        let first = self.taps_at(outcome.scalars.len());
        let read = |(index, tap): (usize, &Result<(u64, u32), String>)| {
            let (numel, chunk_count) = tap.clone()?;
            let bytes = self.tap_layout.bytes() as usize;
            let words = words(data, first + index * bytes, self.tap_layout.len());
            let found = self.tap_layout.read(&words);
            found.check(&Encoded { numel, chunk_count, stamp: outcome.stamp })?;
            Ok((found.gradient(numel, false).finish(), found.tails()))
        };
        outcome.taps.iter().enumerate().map(read).collect()
    }
}

/// Words of what came back; the bytes need not be aligned.
fn words(data: &[u8], at: usize, len: usize) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(&data[at..at + 4 * len])
}

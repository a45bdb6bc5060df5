//! The GPU engine of a scope: what happens to a step's tensors between the hand-off and the map.

mod averages;
mod observation;
mod read;
mod survey;

pub(crate) use averages::averages_form;
pub(crate) use observation::{Observation, Pin, Resolutions, Resolved, TensorRole};
pub(crate) use read::{Outcome, ReadLayout};

use crate::reduce::ModelTooLarge;
use crate::reduce::gpu::{Flight, Form, Gpu, PretendLimits, Reads, RecordLayout, Shaders, Slice, Timer};
use crate::reduce::history::History;
use crate::reduce::kernels::Pipelines;
use crate::reduce::kernels::paged::Terms;
use crate::reduce::kernels::reduction::Reduction;
use crate::reduce::survey::SurveyPlan;
use averages::GpuAverages;
use gradscope_record::record::{NoticeKind, Param};
use gradscope_record::stats::{Epsilons, Stats, order_key};
use read::GradientStatus;
use std::sync::Arc;
use std::time::Instant;
use survey::{GpuSurvey, SurveyReads};

/// GPU scalars that ride in one step's copy.
pub(crate) const SCALAR_COUNT_MAX: usize = 64;
/// Taps that ride in one step's copy.
pub(crate) const TAP_COUNT_MAX: usize = 64;
/// Sets of tap lengths whose buffers are kept: a last batch is often shorter than the others.
const TAP_SET_COUNT_MAX: usize = 4;

/// What a scope is built for, whichever engine does it.
#[derive(Clone)]
pub(crate) struct Settings {
    pub form: Form,
    pub epsilons: Epsilons,
    pub survey: SurveyPlan,
    /// Share of the past in moving averages.
    pub average_factor: f64,
    pub shaders: Shaders,
    /// Whether to read the GPU's clock; `None` is up to the adapter.
    pub gpu_timer: Option<bool>,
    pub limits: PretendLimits,
}

/// What of a step's tensors a kernel reads.
struct StepInputs<'a> {
    reads: Vec<Reads<'a>>,
    surveyed: SurveyReads<'a>,
    scalars: Vec<Result<&'a Slice, String>>,
    taps: Vec<([f32; 2], Result<&'a Slice, String>)>,
}

impl<'a> StepInputs<'a> {
    /// Nothing yet of `count` tensors.
    fn new(observation: &Observation, count: usize) -> Self {
        let nothing = vec![None; count];
        Self {
            reads: vec![Reads { keeps: observation.compared.keeps, ..Reads::default() }; count],
            surveyed: SurveyReads {
                scale: observation.scale,
                gradients: nothing.clone(),
                weights: nothing.clone(),
                ordered: nothing,
            },
            scalars: vec![],
            taps: vec![],
        }
    }

    /// Adds a scalar or a tap, or why there is none.
    fn add(&mut self, role: TensorRole, slice: Result<&'a Slice, String>) {
        match role {
            TensorRole::Tap { rails } => self.taps.push((rails, slice)),
            _ => self.scalars.push(slice),
        }
    }
}

pub(crate) struct Engine {
    gpu: Gpu,
    form: Form,
    epsilons: Epsilons,
    shaders: Shaders,
    limits: PretendLimits,
    params: Arc<[Param]>,
    reduction: Reduction,
    /// By the elements of the taps.
    taps: Vec<(Vec<u64>, Reduction)>,
    tap_pipelines: Pipelines,
    survey: GpuSurvey,
    averages: Option<GpuAverages>,
    average_factor: f64,
    timer: Option<Timer>,
    history: History,
    stamp: u32,
}

impl Engine {
    pub fn new(gpu: &Gpu, params: Arc<[Param]>, settings: &Settings) -> Result<Self, ModelTooLarge> {
        let Settings { form, epsilons, ref survey, average_factor, shaders, gpu_timer, limits } = *settings;
        let gpu = limits.applied_to(gpu);
        let numels: Vec<u64> = params.iter().map(|param| param.numel).collect();
        Ok(Self {
            survey: GpuSurvey::new(&gpu, survey, &numels, shaders, limits)?,
            reduction: Reduction::new(&gpu, form, &numels, shaders, limits, &Pipelines::default())?,
            averages: form
                .groups
                .contains(Stats::EMA)
                .then(|| GpuAverages::new(&gpu, &numels, settings))
                .transpose()?,
            average_factor,
            timer: gpu_timer.unwrap_or(!gpu.is_software()).then(|| Timer::new(&gpu)).flatten(),
            taps: Vec::new(),
            tap_pipelines: Pipelines::default(),
            gpu,
            form,
            epsilons,
            shaders,
            limits,
            history: History::new(params.len()),
            params,
            stamp: 0,
        })
    }

    /// Bytes of a staging buffer: the summaries, then scalars, taps and the timer's.
    pub fn staging_bytes(&self) -> u64 {
        let averages = self.averages.as_ref().map_or(0, |_| GpuAverages::bytes(self.params.len()));
        self.reduction.bytes()
            + averages
            + 4 * SCALAR_COUNT_MAX as u64
            + TAP_COUNT_MAX as u64 * RecordLayout::bytes_of(tap_form())
            + self.timer.as_ref().map_or(0, |_| Timer::BYTES)
    }

    /// Bytes of state kept on the GPU from step to step.
    pub fn state_bytes(&self) -> u64 {
        self.reduction.plan().state_bytes()
    }

    /// Reduces what was handed off, and starts the copy of what is read back where there is a flight for it.
    ///
    /// `resolutions` follows `observation.roles`.
    ///
    /// # Errors
    /// Where wgpu refuses a buffer or a command: the step is lost then, and [`Engine::forget`] is due.
    pub fn observe(
        &mut self,
        observation: &Observation,
        resolutions: &Resolutions,
        flight: Option<&Arc<Flight<Outcome>>>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        self.stamp = self.stamp.wrapping_add(1);
        let none = Outcome::all_missing(self.params.len());
        let mut outcome = Outcome { stamp: self.stamp, scale: observation.scale, ..none };
        let inputs = self.resolve(observation, resolutions, &mut outcome);
        let gpu = self.gpu.clone();
        let staging = flight.and_then(|flight| flight.staging.as_ref());
        let submitted = gpu.guarded(|| {
            let (commands, end) = self.record(observation, inputs, staging, &mut outcome);
            (gpu.queue.submit([commands]), end)
        });
        let (submission, end) = submitted?;
        outcome.encode_secs = begun.elapsed().as_secs_f64();
        if let Some(flight) = flight {
            *flight.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(outcome);
            flight.map(submission, end);
        }
        Ok(())
    }

    /// Sorts what was handed off by its role, and finds what each gradient is compared with. Returns what kernels read.
    fn resolve<'r>(
        &mut self,
        observation: &Observation,
        resolutions: &'r Resolutions,
        outcome: &mut Outcome,
    ) -> StepInputs<'r> {
        let count = self.params.len();
        self.history.forget(observation.lost.iter().chain(&observation.replaced));
        self.averages.iter_mut().for_each(|averages| averages.forget_tensors(&observation.replaced));
        self.history.begin(observation.compared, observation.visited.iter().copied());
        let mut inputs = StepInputs::new(observation, count);
        for (&role, resolution) in observation.roles.iter().zip(resolutions) {
            let resolution = resolution.as_ref().map_err(Clone::clone);
            let Some(tensor) = role.tensor() else {
                inputs.add(role, resolution.map(|resolved| &resolved.slice));
                continue;
            };
            match resolution.and_then(|resolved| self.fits(tensor, resolved)) {
                Ok(slice) => {
                    outcome.copied_count += u32::from(slice.copied);
                    self.take(observation, (role, tensor), slice, &mut inputs, outcome);
                }
                Err(reason) => self.refuse(role, tensor, reason, outcome),
            }
        }
        inputs
    }

    /// Takes one of a tensor's slices for the kernels that read it.
    fn take<'r>(
        &mut self,
        observation: &Observation,
        (role, tensor): (TensorRole, usize),
        slice: &'r Slice,
        inputs: &mut StepInputs<'r>,
        outcome: &mut Outcome,
    ) {
        let (status, read) = (&mut outcome.tensors[tensor], &mut inputs.reads[tensor]);
        match role {
            TensorRole::Gradient(_) => {
                inputs.surveyed.gradients[tensor] = Some(slice);
                let compared = self.history.compare(tensor, observation.compared, slice.layout);
                read.slices[0] = Some(slice);
                read.has_previous = compared.previous_step.is_some();
                status.gradient = GradientStatus::Observed { previous_step: compared.previous_step };
                if compared.is_reset {
                    let path = self.params[tensor].path.clone();
                    let reason = "the gradient's layout in memory or its element type changed".into();
                    outcome.notices.push(NoticeKind::HistoryReset { path, reason });
                }
            }
            TensorRole::Ordered(_) => inputs.surveyed.ordered[tensor] = Some(slice),
            TensorRole::Parameter(_) => {
                inputs.surveyed.weights[tensor] = Some(slice);
                if self.form.groups.contains(Stats::PARAMS) {
                    read.slices[1] = Some(slice);
                    status.weighed = true;
                }
            }
            // Its parameter comes first in the list.
            TensorRole::PreviousParameter { step, .. } if read.slices[1].is_some() => {
                read.slices[2] = Some(slice);
                status.moved_since = Some(step);
            }
            TensorRole::PreviousParameter { .. } | TensorRole::Scalar | TensorRole::Tap { .. } => {}
        }
    }

    /// Notes that a tensor can't be read. A gradient that is read twice is reported once.
    fn refuse(&self, role: TensorRole, tensor: usize, reason: String, outcome: &mut Outcome) {
        if matches!(role, TensorRole::Gradient(_)) {
            outcome.tensors[tensor].gradient = GradientStatus::Unreadable;
        }
        if !matches!(role, TensorRole::Ordered(_)) {
            let path = self.params[tensor].path.clone();
            outcome.notices.push(NoticeKind::Unreadable { path, reason });
        }
    }

    /// Leaves nothing of a step that was lost: neither what was made for it, nor anything to compare the next with.
    pub fn forget(&mut self) {
        self.taps.clear();
        // One that failed to compile is not used again.
        self.tap_pipelines = Pipelines::default();
        self.history.forget_all();
        self.averages.iter_mut().for_each(GpuAverages::forget);
    }

    /// Records a step's commands; how many bytes of `staging` they fill.
    fn record(
        &mut self,
        observation: &Observation,
        StepInputs { reads, mut surveyed, scalars, taps }: StepInputs<'_>,
        staging: Option<&wgpu::Buffer>,
        outcome: &mut Outcome,
    ) -> (wgpu::CommandBuffer, u64) {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("gradscope step") };
        let mut encoder = self.gpu.device.create_command_encoder(&descriptor);
        // Without a staging buffer nobody reads the clock.
        if let (Some(timer), Some(_)) = (&self.timer, staging) {
            timer.start(&mut encoder);
        }
        let terms = self.terms(observation.scale);
        self.reduction.encode(&mut encoder, &reads, &terms);
        let averages_at = self.reduction.bytes();
        if let Some(averages) = &mut self.averages {
            let slices = [&surveyed.gradients[..], &surveyed.weights[..]].concat();
            // Averages are unscaled.
            let terms = Terms { threshold_bits: self.epsilons.threshold_bits(), ..terms };
            let copy = staging.map(|staging| (staging, averages_at));
            outcome.averages = averages.encode(&mut encoder, observation, &slices, &terms, copy);
        }
        let Some(staging) = staging else { return (encoder.finish(), 0) };
        let count = self.params.len();
        self.reduction.copy_to(&mut encoder, staging, 0);
        let mut end = averages_at + self.averages.as_ref().map_or(0, |_| GpuAverages::bytes(count));
        for scalar in scalars {
            if let Ok(slice) = &scalar {
                encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset, staging, end, Some(4));
            }
            outcome.scalars.push(scalar.map(|_| ()));
            end += 4;
        }
        if !taps.is_empty() {
            end += self.tap(&mut encoder, &taps, staging, end, outcome);
        }
        if observation.survey.is_any() {
            for &tensor in &observation.primed {
                (surveyed.gradients[tensor], surveyed.weights[tensor], surveyed.ordered[tensor]) = (None, None, None);
            }
            let due = &observation.survey;
            let counted = self.survey.encode(&mut encoder, due, &surveyed, &terms, staging, end);
            outcome.survey = Some(counted);
            end += self.survey.layout(count).bytes(due);
        }
        if let Some(timer) = &self.timer {
            timer.stop(&mut encoder, staging, end);
            end += Timer::BYTES;
        }
        (encoder.finish(), end)
    }

    /// Reduces the taps and copies their summaries to byte `at`; returns how many bytes there are.
    fn tap(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        taps: &[([f32; 2], Result<&Slice, String>)],
        staging: &wgpu::Buffer,
        at: u64,
        outcome: &mut Outcome,
    ) -> u64 {
        let terms = self.terms(1.0);
        let bytes = taps.len() as u64 * RecordLayout::bytes_of(tap_form());
        let numels: Vec<u64> = taps.iter().map(|(_, tap)| tap.as_ref().map_or(0, |slice| slice.numel)).collect();
        let place = match self.taps.iter().position(|(lens, _)| *lens == numels) {
            Some(place) => place,
            None => match self.tap_reduction(&numels) {
                Ok(reduction) => {
                    self.taps.truncate(TAP_SET_COUNT_MAX - 1);
                    self.taps.insert(0, (numels, reduction));
                    0
                }
                Err(error) => {
                    outcome.taps = taps.iter().map(|_| Err(error.to_string())).collect();
                    return bytes;
                }
            },
        };
        // The set used last comes first.
        self.taps[..=place].rotate_right(1);
        let reduction = &mut self.taps[0].1;
        let reads: Vec<Reads<'_>> = taps
            .iter()
            .map(|(rails, tap)| Reads {
                slices: [tap.as_ref().ok().copied(), None, None],
                rail_keys: rails.map(|rail| order_key(rail.to_bits())),
                ..Reads::default()
            })
            .collect();
        reduction.encode(encoder, &reads, &terms);
        reduction.copy_to(encoder, staging, at);
        for (index, (_, tap)) in taps.iter().enumerate() {
            let chunk_count = reduction.plan().chunk_count(index);
            outcome.taps.push(tap.as_ref().map(|slice| (slice.numel, chunk_count)).map_err(Clone::clone));
            outcome.copied_count += u32::from(tap.as_ref().is_ok_and(|slice| slice.copied));
        }
        bytes
    }

    /// For taps of these lengths.
    fn tap_reduction(&self, numels: &[u64]) -> Result<Reduction, ModelTooLarge> {
        Reduction::new(&self.gpu, tap_form(), numels, self.shaders, self.limits, &self.tap_pipelines)
    }

    fn terms(&self, scale: f64) -> Terms {
        Terms {
            stamp: self.stamp,
            threshold_bits: self.epsilons.scaled_threshold_bits(scale),
            average_factor: self.average_factor,
        }
    }

    fn fits<'s>(&self, tensor: usize, resolved: &'s Resolved) -> Result<&'s Slice, String> {
        match (resolved.slice.numel, self.reduction.plan().numel(tensor)) {
            (now, planned) if now == planned => Ok(&resolved.slice),
            (now, planned) => {
                Err(format!("it has {now} elements, and the model had {planned} when the scope was built"))
            }
        }
    }

    /// Number of pipelines that taps have been compiled for.
    pub fn tap_pipeline_count(&self) -> usize {
        self.tap_pipelines.count()
    }

    /// What [`ReadLayout::read`] needs on the training thread, while the engine works on burn's.
    pub fn read_layout(&self) -> ReadLayout {
        let plan = self.reduction.plan();
        ReadLayout {
            tensors: (0..self.params.len()).map(|t| (plan.numel(t), plan.chunk_count(t))).collect(),
            form: self.form,
            layout: RecordLayout::new(self.form),
            average_layout: RecordLayout::new(averages_form()),
            tap_layout: RecordLayout::new(tap_form()),
            survey: self.survey.layout(self.params.len()),
            tick_secs: self.timer.as_ref().map(Timer::tick_secs),
        }
    }
}

/// Taps are reduced as gradients are, without history.
fn tap_form() -> Form {
    Form { groups: Stats::DYNAMICS, tap: true }
}

//! The GPU engine of a scope: what happens to a step's gradients between the hand-off and the map.

use crate::bridge::Resolutions;
use crate::gpu::{Flight, Gpu, GradSlice, ModelTooLarge, Plan, PretendLimits, RECORD_LEN, Shaders, Span, Word};
use crate::kernels::grad_reduce::GradReduce;
use crate::kernels::tensor_reduce::TensorReduce;
use crate::record::{NoticeKind, Param, TensorRecord};
use crate::stats::{Epsilons, Partial};
use std::sync::Arc;

/// GPU scalars that ride in one step's copy.
pub(crate) const SCALAR_COUNT_MAX: usize = 64;

/// What the engine knows of a step before its numbers are back.
pub(crate) struct Outcome {
    stamp: u32,
    tensors: Vec<Fate>,
    /// Which of the step's GPU scalars were copied, in order.
    pub scalars: Vec<bool>,
    pub notices: Vec<NoticeKind>,
    pub copied_count: u32,
}

impl Outcome {
    /// Of a step without any gradient of the `count` tensors.
    pub fn all_missing(count: usize) -> Self {
        Self { stamp: 0, tensors: vec![Fate::Missing; count], scalars: vec![], notices: vec![], copied_count: 0 }
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Missing,
    Unreadable,
    Observed { previous_step: Option<u64> },
}

/// The step whose signs a tensor's state holds, and the layout they are in.
#[derive(Clone, Copy)]
struct History {
    step: u64,
    layout: u64,
}

pub(crate) struct Engine {
    gpu: Gpu,
    params: Arc<[Param]>,
    plan: Plan,
    grad_reduce: GradReduce,
    tensor_reduce: TensorReduce,
    history: Vec<Option<History>>,
    spans: Vec<Span>,
    stamp: u32,
}

impl Engine {
    pub fn new(
        gpu: &Gpu,
        params: Arc<[Param]>,
        epsilons: &Epsilons,
        shaders: Shaders,
        limits: PretendLimits,
    ) -> Result<Self, ModelTooLarge> {
        let gpu = &limits.applied_to(gpu);
        let numels: Vec<u64> = params.iter().map(|param| param.numel).collect();
        let plan = Plan::new(&numels, Plan::span_len_max(gpu));
        plan.check(gpu)?;
        let grad_reduce = GradReduce::new(gpu, &plan, epsilons.threshold_bits(), shaders, limits.page_count);
        let tensor_reduce = TensorReduce::new(gpu, &plan, &grad_reduce.records, shaders);
        Ok(Self {
            gpu: gpu.clone(),
            history: vec![None; params.len()],
            params,
            plan,
            grad_reduce,
            tensor_reduce,
            spans: Vec::new(),
            stamp: 0,
        })
    }

    /// Bytes of a staging buffer: the summaries, then the scalars.
    pub fn staging_bytes(&self) -> u64 {
        self.tensor_reduce.bytes() + 4 * SCALAR_COUNT_MAX as u64
    }

    /// Bytes read back for a step with that many GPU scalars.
    pub fn readback_bytes(&self, scalar_count: usize) -> u64 {
        self.tensor_reduce.bytes() + 4 * scalar_count as u64
    }

    /// Bytes of state kept on the GPU from step to step.
    pub fn state_bytes(&self) -> u64 {
        self.plan.state_bytes()
    }

    /// Reduces the step's gradients and starts the copy of what is read back.
    ///
    /// `gradients` names the tensors that have one; `resolutions` holds theirs, then the scalars'.
    pub fn observe(
        &mut self,
        step: u64,
        gradients: &[usize],
        mut resolutions: Resolutions,
        flight: &Arc<Flight<Outcome>>,
    ) {
        let scalars = resolutions.split_off(gradients.len().min(resolutions.len()));
        self.stamp = self.stamp.wrapping_add(1);
        let count = self.params.len();
        let mut outcome = Outcome { stamp: self.stamp, ..Outcome::all_missing(count) };
        let mut slices: Vec<Option<&GradSlice>> = vec![None; count];
        let mut has_previous = vec![false; count];
        // Set once the commands are on the queue: a step that fails before leaves no state to compare with.
        let before = std::mem::replace(&mut self.history, vec![None; count]);
        let mut after = vec![None; count];
        for (&tensor, resolution) in gradients.iter().zip(&resolutions) {
            let slice = match resolution.as_ref().map_err(Clone::clone).and_then(|r| self.fits(tensor, &r.slice)) {
                Ok(slice) => slice,
                Err(reason) => {
                    outcome.tensors[tensor] = Fate::Unreadable;
                    let path = self.params[tensor].path.clone();
                    outcome.notices.push(NoticeKind::Unreadable { path, reason });
                    continue;
                }
            };
            let previous = before[tensor].filter(|history| history.step + 1 == step);
            let same_layout = previous.is_some_and(|history| history.layout == slice.layout);
            if previous.is_some() && !same_layout {
                let path = self.params[tensor].path.clone();
                let reason = "the gradient's layout in memory or its element type changed".into();
                outcome.notices.push(NoticeKind::HistoryReset { path, reason });
            }
            has_previous[tensor] = same_layout;
            let previous_step = previous.filter(|_| same_layout).map(|history| history.step);
            outcome.tensors[tensor] = Fate::Observed { previous_step };
            outcome.copied_count += u32::from(slice.copied);
            after[tensor] = Some(History { step, layout: slice.layout });
            slices[tensor] = Some(slice);
        }

        let page_count = self.grad_reduce.page_count_max();
        let groups = self.plan.group(&self.gpu, page_count, &slices, &has_previous, &mut self.spans);
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("gradscope step") };
        let mut encoder = self.gpu.device.create_command_encoder(&descriptor);
        if !groups.is_empty() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.grad_reduce.encode(&mut pass, &groups, &self.spans, self.stamp);
            self.tensor_reduce.encode(&mut pass);
        }
        self.tensor_reduce.copy_to(&mut encoder, &flight.staging);
        let mut scalar_end = self.tensor_reduce.bytes();
        for scalar in &scalars {
            if let Ok(resolved) = scalar {
                let slice = &resolved.slice;
                encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset, &flight.staging, scalar_end, Some(4));
            }
            outcome.scalars.push(scalar.is_ok());
            scalar_end += 4;
        }
        *flight.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(outcome);
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.history = after;
        flight.map(submission, scalar_end);
    }

    fn fits<'s>(&self, tensor: usize, slice: &'s GradSlice) -> Result<&'s GradSlice, String> {
        match (slice.numel, self.plan.numel(tensor)) {
            (now, planned) if now == planned => Ok(slice),
            (now, planned) => {
                Err(format!("it has {now} elements, and the model had {planned} when the scope was built"))
            }
        }
    }

    /// Reads a step's summaries: the words that came back, under what `observe` knew of it.
    pub fn read(layout: &ReadLayout, outcome: &Outcome, data: &[u8]) -> Result<Vec<TensorRecord>, String> {
        let mut words = [0u32; RECORD_LEN];
        outcome
            .tensors
            .iter()
            .enumerate()
            .map(|(tensor, fate)| {
                let previous_step = match fate {
                    Fate::Missing => return Ok(TensorRecord::Missing),
                    Fate::Unreadable => return Ok(TensorRecord::Unreadable),
                    Fate::Observed { previous_step } => *previous_step,
                };
                let at = tensor * RECORD_LEN * 4;
                bytemuck::cast_slice_mut(&mut words).copy_from_slice(&data[at..at + RECORD_LEN * 4]);
                let (numel, chunk_count) = layout.0[tensor];
                let sentinel = (numel as u32).wrapping_add(chunk_count.wrapping_mul(outcome.stamp));
                if words[Word::Sentinel as usize] != sentinel {
                    return Err("the summaries that came back are not those of this step".into());
                }
                let partial: Partial = Word::decode(&words, numel, previous_step.is_some());
                Ok(TensorRecord::Observed { summary: partial.finish(), previous_step })
            })
            .collect()
    }

    /// What [`Engine::read`] needs on the training thread, while the engine works on burn's.
    pub fn read_layout(&self) -> ReadLayout {
        ReadLayout((0..self.params.len()).map(|t| (self.plan.numel(t), self.plan.chunk_count(t))).collect())
    }
}

/// Elements and chunks of each tensor.
pub(crate) struct ReadLayout(Vec<(u64, u32)>);

impl ReadLayout {
    pub fn tensor_count(&self) -> usize {
        self.0.len()
    }

    /// The scalar copied as the `index`-th, after the summaries.
    pub fn scalar(&self, data: &[u8], index: usize) -> f32 {
        let at = self.0.len() * RECORD_LEN * 4 + 4 * index;
        bytemuck::pod_read_unaligned(&data[at..at + 4])
    }
}

//! The CPU engine: reads every tensor on the training thread and reduces it there.

use super::comparing::Keeping;
use super::observer::StepEngine;
use super::parcel::{Given, Landed, Parcel, Payload, Read};
use crate::reduce::cpu::average::average;
use crate::reduce::cpu::grad_reduce::{State, moved, reduce, weigh};
use crate::reduce::cpu::histogram::histogram;
use crate::reduce::cpu::segment_reduce::segment;
use crate::reduce::history::{ComparedStep, History, KeptParams};
use crate::reduce::survey::{Counted, Stretches};
use crate::scope::engine::{Settings, averages_form};
use gradscope_record::record::{EmaRecord, Gradient, NoticeKind, Param, TapRecord, TensorRecord};
use gradscope_record::stats::kernels::scaled_edges;
use gradscope_record::stats::{Segment, Stats, TensorSummary, UpdateSummary, linear_edges, order_key};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(super) struct CpuEngine {
    settings: Settings,
    params: Arc<[Param]>,
    gradients: Compares,
    /// Of gradients, and of parameters.
    averages: [Averages; 2],
    kept_params: KeptParams<Arc<[f32]>>,
    landed: VecDeque<Landed>,
}

/// The state of a list of tensors, and the steps that it is of.
struct Compares {
    states: Vec<State>,
    history: History,
}

/// Moving averages of a list of tensors.
struct Averages {
    values: Vec<Vec<f32>>,
    compares: Compares,
}

/// The elements of a tensor, or why they are not reduced; `None` where there is no tensor.
type Values = Option<Result<Arc<[f32]>, String>>;

impl Compares {
    fn new(count: usize) -> Self {
        Self { states: vec![State::default(); count], history: History::new(count) }
    }

    /// Reduces a tensor and compares it with an earlier step; returns which.
    fn reduce(
        &mut self,
        tensor: usize,
        values: &[f32],
        step: ComparedStep,
        threshold_bits: [u32; 2],
    ) -> (TensorSummary, Option<u64>) {
        let previous_step = self.history.compare(tensor, step, 0).previous_step;
        let mut unkept = State::default();
        let state = if step.keeps { &mut self.states[tensor] } else { &mut unkept };
        if previous_step.is_none() {
            *state = State::default();
        }
        (reduce(values, threshold_bits, state).finish(), previous_step)
    }
}

impl CpuEngine {
    pub fn new(params: &Arc<[Param]>, settings: &Settings) -> Self {
        let count = params.len();
        let averages = || Averages { values: vec![vec![]; count], compares: Compares::new(count) };
        Self {
            settings: settings.clone(),
            params: Arc::clone(params),
            gradients: Compares::new(count),
            averages: [averages(), averages()],
            kept_params: KeptParams::new(count),
            landed: VecDeque::new(),
        }
    }

    fn observe(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping) -> (Read, Vec<NoticeKind>) {
        let mut notices = Vec::new();
        given.replaced.iter().for_each(|(tensor, _)| self.forget(*tensor));
        self.gradients.history.begin(keeping.compared, parcel.tensors.iter().map(|(tensor, ..)| *tensor));
        // An average that does not advance stays what it was: a visit without a gradient does not end its history.
        self.averages.iter_mut().for_each(|averages| averages.compares.history.begin(keeping.compared, []));
        let counted = given.survey.is_any().then(|| self.count(given, &parcel));
        let mut tensors = vec![TensorRecord::of(Gradient::Missing); self.params.len()];
        for (tensor, gradient, param) in parcel.tensors {
            let [gradient, param] = [gradient, param].map(|payload| self.values(tensor, payload));
            for reason in [&gradient, &param].into_iter().filter_map(|values| values.as_ref()?.as_ref().err()) {
                let path = self.params[tensor].path.clone();
                notices.push(NoticeKind::Unreadable { path, reason: reason.clone() });
            }
            let record = &mut tensors[tensor];
            record.ema = self.ema(given, tensor, [&gradient, &param], keeping.compared);
            record.gradient = self.gradient(given, tensor, gradient, keeping.compared);
            if self.settings.form.groups.contains(Stats::PARAMS) {
                let param = param.and_then(Result::ok);
                record.parameter = param.as_ref().map(|param| weigh(param).finish());
                record.update = self.update(tensor, param, record.gradient, keeping);
            }
        }
        let taps = parcel.taps.into_iter().zip(&given.taps);
        let taps = taps.filter_map(|((payload, rails), (name, _))| self.tap(name, &payload, rails));
        (Read { tensors, taps: taps.collect(), counted }, notices)
    }

    /// Compares nothing of a tensor with what was before: its parameter is another one.
    fn forget(&mut self, tensor: usize) {
        self.gradients.history.forget(&[tensor]);
        self.kept_params.forget(tensor);
        for averages in &mut self.averages {
            averages.values[tensor].clear();
            averages.compares.history.forget(&[tensor]);
        }
    }

    fn values(&self, tensor: usize, payload: Option<Payload>) -> Values {
        let Some(Payload::Host(values)) = payload else { return None };
        let (now, built) = (values.len() as u64, self.params[tensor].numel);
        let wrong_len = || format!("it has {now} elements, and the model had {built} when the scope was built");
        Some(if now == built { Ok(values) } else { Err(wrong_len()) })
    }

    fn gradient(&mut self, given: &Given, tensor: usize, gradient: Values, step: ComparedStep) -> Gradient {
        let thresholds = self.settings.epsilons.scaled_threshold_bits(given.scale);
        match gradient {
            None => Gradient::Missing,
            Some(Err(_)) => Gradient::Unreadable,
            Some(Ok(values)) => {
                let (summary, previous_step) = self.gradients.reduce(tensor, &values, step, thresholds);
                let summary = summary.limited_to(self.settings.form.groups);
                let summary = if given.scale == 1.0 { summary } else { summary.unscaled(given.scale) };
                Gradient::Observed { summary, previous_step }
            }
        }
    }

    /// The update that led to `param`, where the parameter before it was kept; keeps `param` for the next.
    fn update(
        &mut self,
        tensor: usize,
        param: Option<Arc<[f32]>>,
        gradient: Gradient,
        keeping: &Keeping,
    ) -> Option<UpdateSummary> {
        let kept = param.clone().filter(|_| keeping.params[tensor]);
        let previous = self.kept_params.replace(tensor, keeping.compared, kept);
        let (param, (previous_step, previous)) = param.zip(previous)?;
        let is_compared = matches!(gradient, Gradient::Observed { previous_step: Some(_), .. });
        let state = is_compared.then_some(&self.gradients.states[tensor]);
        Some(moved(&param, &previous, state).finish(previous_step, is_compared))
    }

    /// Moves the averages of a gradient and a parameter on, and reduces them.
    fn ema(
        &mut self,
        given: &Given,
        tensor: usize,
        values: [&Values; 2],
        step: ComparedStep,
    ) -> Option<Box<EmaRecord>> {
        if !self.settings.form.groups.contains(Stats::EMA) {
            return None;
        }
        let Settings { average_factor, epsilons, .. } = &self.settings;
        let mut averaged = |index: usize, scale: f64| {
            let Some(Ok(values)) = values[index] else { return None };
            let averages = &mut self.averages[index];
            average(&mut averages.values[tensor], values, scale, *average_factor);
            let thresholds = epsilons.threshold_bits();
            let (summary, _) = averages.compares.reduce(tensor, &averages.values[tensor], step, thresholds);
            Some(summary.limited_to(averages_form().groups))
        };
        let ema = EmaRecord { gradient: averaged(0, given.scale), parameter: averaged(1, 1.0) };
        (ema != EmaRecord::default()).then(|| Box::new(ema))
    }

    fn tap(&self, name: &str, payload: &Payload, rails: Option<[f32; 2]>) -> Option<TapRecord> {
        let Payload::Host(values) = payload else { return None };
        let thresholds = self.settings.epsilons.threshold_bits();
        let summary = reduce(values, thresholds, &mut State::default()).finish();
        Some(TapRecord { name: name.to_owned(), summary, tail_count: rails.map(|rails| tails(values, rails)) })
    }

    /// What is due of the survey.
    fn count(&self, given: &Given, parcel: &Parcel) -> Counted {
        let due = &given.survey;
        let threshold_bits = self.settings.epsilons.scaled_threshold_bits(given.scale)[1];
        let tensor_count = self.params.len();
        let mut values: Vec<Option<&[f32]>> = vec![None; 2 * tensor_count];
        for (tensor, gradient, weight) in parcel.tensors.iter().filter(|(tensor, ..)| !given.not_due.contains(tensor)) {
            for (place, payload) in [(*tensor, gradient), (tensor_count + tensor, weight)] {
                if let Some(Payload::Host(found)) = payload
                    && found.len() as u64 == self.params[*tensor].numel
                {
                    values[place] = Some(found);
                }
            }
        }
        let segments = |stretches: &Stretches| {
            let mut slots = vec![Segment::default(); stretches.slot_count];
            for stretch in &stretches.list {
                if let Some(values) = values[stretch.tensor] {
                    slots[stretch.slot] =
                        slots[stretch.slot].combine(segment(stretch.elements(values), threshold_bits));
                }
            }
            slots.into_iter().map(|slot| slot.unscaled(given.scale)).collect()
        };
        let counts = |place: usize, bounds: Option<[f32; 2]>| {
            let edges = bounds.map(|[min, max]| linear_edges(min, max));
            let scale = if place < tensor_count { given.scale } else { 1.0 };
            let scaled = edges.as_ref().map(|edges| scaled_edges(edges, scale));
            let mut counted = histogram(values[place]?, scaled.as_deref());
            if let (Some(linear), Some(edges)) = (&mut counted.linear, edges) {
                linear.edges = edges;
            }
            Some(counted)
        };
        let all =
            |bounds: &Vec<Option<[f32; 2]>>| (0..values.len()).map(|place| counts(place, bounds[place])).collect();
        Counted {
            histograms: due.histograms.as_ref().map(all).unwrap_or_default(),
            channels: self.settings.survey.channels.as_ref().filter(|_| due.channels).map(segments),
            sign_map: self.settings.survey.sign_map.as_ref().filter(|_| due.sign_map).map(segments),
        }
    }
}

impl StepEngine for CpuEngine {
    fn name(&self) -> &'static str {
        "cpu twin"
    }

    fn submit(&mut self, mut given: Given, parcel: Parcel, keeping: &Keeping, started: Instant) {
        let (read, notices) = self.observe(&given, parcel, keeping);
        given.notices.extend(notices);
        given.cost.submit_secs = started.elapsed().as_secs_f64();
        self.landed.push_back(Landed { given, read: Ok(read) });
    }

    fn prime(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping) {
        self.observe(given, parcel, keeping);
    }

    fn awaits_update(&self) -> bool {
        self.kept_params.is_any()
    }

    fn next_landed(&mut self) -> Option<Landed> {
        self.landed.pop_front()
    }
}

/// Finite elements at or below the lower rail, and at or above the upper one.
fn tails(values: &[f32], rails: [f32; 2]) -> [u64; 2] {
    let [low, high] = rails.map(|rail| order_key(rail.to_bits()));
    let keys = || values.iter().filter(|x| x.is_finite()).map(|x| order_key(x.to_bits()));
    [keys().filter(|key| *key <= low).count() as u64, keys().filter(|key| *key >= high).count() as u64]
}

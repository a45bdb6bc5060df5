//! The CPU engine: reads every tensor on the training thread and reduces it there.

use super::parcel::{Given, Keeping, Landed, Parcel, Payload, Read};
use crate::reduce::cpu::average::average as average_on;
use crate::reduce::cpu::grad_reduce::{State, moved, reduce, weigh};
use crate::reduce::cpu::histogram::histogram;
use crate::reduce::cpu::segment_reduce::segment;
use crate::reduce::survey::{Counted, Stretches};
use crate::scope::engine::{Settings, averages_form, reaches};
use gradscope_record::record::{EmaRecord, Gradient, NoticeKind, Param, TapRecord, TensorRecord};
use gradscope_record::stats::{Segment, Stats, linear_edges, order_key, scaled_edges};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(super) struct HostObserver {
    settings: Settings,
    tensors: Vec<HostTensor>,
    landed: VecDeque<Landed>,
}

struct HostTensor {
    path: String,
    numel: u64,
    state: State,
    /// The step that `state` is of.
    step: Option<u64>,
    /// The parameter whose next move is to be told, and the step it is of.
    kept: Option<(u64, Arc<[f32]>)>,
    /// Of the gradient and of the parameter.
    averages: [HostAverage; 2],
}

#[derive(Default)]
struct HostAverage {
    values: Vec<f32>,
    state: State,
    step: Option<u64>,
}

impl HostObserver {
    pub fn new(params: &[Param], settings: &Settings) -> Self {
        let tensors = params
            .iter()
            .map(|param| HostTensor {
                path: param.path.clone(),
                numel: param.numel,
                state: State::default(),
                step: None,
                kept: None,
                averages: Default::default(),
            })
            .collect();
        Self { settings: settings.clone(), tensors, landed: VecDeque::new() }
    }

    pub fn submit(&mut self, mut given: Given, parcel: Parcel, keeping: &Keeping, started: Instant) {
        let (read, notices) = self.observe(&given, parcel, keeping);
        given.notices.extend(notices);
        given.cost.submit_secs = started.elapsed().as_secs_f64();
        self.landed.push_back(Landed { given, read: Ok(read) });
    }

    pub fn poll(&mut self) -> Option<Landed> {
        self.landed.pop_front()
    }

    pub fn awaits_move(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.kept.is_some())
    }

    pub fn observe(&mut self, given: &Given, parcel: Parcel, keeping: &Keeping) -> (Read, Vec<NoticeKind>) {
        let mut notices = Vec::new();
        for (tensor, _) in &given.replaced {
            let host = &mut self.tensors[*tensor];
            (host.step, host.kept, host.averages) = (None, None, Default::default());
        }
        let mut tensors = vec![TensorRecord::of(Gradient::Missing); self.tensors.len()];
        let thresholds = self.settings.epsilons.scaled_threshold_bits(given.scale);
        let counted = given.survey.is_any().then(|| self.count(given, &parcel, thresholds[1]));
        for (tensor, gradient, weight) in parcel.tensors {
            let host = &mut self.tensors[tensor];
            let fresh = |at: u64| reaches(given.step, at, keeping.neighbours);
            let history = if keeping.keeps { host.step.take() } else { None };
            let [gradient, weight] = [gradient, weight].map(|payload| match payload {
                Some(Payload::Host(values)) if values.len() as u64 == host.numel => Some(Ok(values)),
                Some(Payload::Host(values)) => Some(Err(format!(
                    "it has {} elements, and the model had {} when the scope was built",
                    values.len(),
                    host.numel
                ))),
                Some(Payload::Gpu(_)) | None => None,
            });
            let record = &mut tensors[tensor];
            if self.settings.form.groups.contains(Stats::EMA) {
                let mut average = |place: usize, payload: &Option<Result<Arc<[f32]>, String>>, scale: f64| {
                    let (Some(Ok(values)), average) = (payload, &mut host.averages[place]) else { return None };
                    average_on(&mut average.values, values, scale, self.settings.average_factor);
                    let previous = average.step.filter(|at| keeping.keeps && fresh(*at));
                    let mut unkept = State::default();
                    let state = if keeping.keeps { &mut average.state } else { &mut unkept };
                    if previous.is_none() {
                        *state = State::default();
                    }
                    average.step = if keeping.keeps { Some(given.step) } else { average.step };
                    let thresholds = self.settings.epsilons.threshold_bits();
                    let averages = averages_form().groups;
                    Some(reduce(&average.values, thresholds, state).finish().limited_to(averages))
                };
                let ema =
                    EmaRecord { gradient: average(0, &gradient, given.scale), parameter: average(1, &weight, 1.0) };
                record.ema = (ema != EmaRecord::default()).then(|| Box::new(ema));
            }
            let mut compared = false;
            match gradient {
                None => {}
                Some(Err(reason)) => {
                    record.gradient = Gradient::Unreadable;
                    notices.push(NoticeKind::Unreadable { path: host.path.clone(), reason });
                }
                Some(Ok(values)) => {
                    let previous = history.filter(|at| fresh(*at));
                    compared = previous.is_some();
                    let mut fresh_state = State::default();
                    let state = match (keeping.keeps, compared) {
                        (true, true) => &mut host.state,
                        (true, false) => {
                            host.state = State::default();
                            &mut host.state
                        }
                        (false, _) => &mut fresh_state,
                    };
                    let summary = reduce(&values, thresholds, state).finish().limited_to(self.settings.form.groups);
                    let summary = if given.scale == 1.0 { summary } else { summary.unscaled(given.scale) };
                    record.gradient = Gradient::Observed { summary, previous_step: previous };
                    if keeping.keeps {
                        host.step = Some(given.step);
                    }
                }
            }
            match weight {
                None => {}
                Some(Err(reason)) => notices.push(NoticeKind::Unreadable { path: host.path.clone(), reason }),
                Some(Ok(values)) => {
                    if !self.settings.form.groups.contains(Stats::PARAMS) {
                        continue;
                    }
                    record.parameter = Some(weigh(&values).finish());
                    let kept = if keeping.keeps { host.kept.take() } else { None };
                    if let Some((step, before)) = kept.filter(|(at, _)| fresh(*at)) {
                        let state = compared.then_some(&host.state);
                        record.update = Some(moved(&values, &before, state).finish(step, compared));
                    }
                    if keeping.weights[tensor] {
                        host.kept = Some((given.step, values));
                    }
                }
            }
        }
        let mut taps = Vec::new();
        for ((payload, rails), (name, _)) in parcel.taps.into_iter().zip(&given.taps) {
            if let Payload::Host(values) = payload {
                let summary = reduce(&values, self.settings.epsilons.threshold_bits(), &mut State::default()).finish();
                let tail_count = rails.map(|rails| tails(&values, rails));
                taps.push(TapRecord { name: name.clone(), summary, tail_count });
            }
        }
        (Read { tensors, taps, counted }, notices)
    }

    /// What is due of the survey.
    fn count(&self, given: &Given, parcel: &Parcel, threshold_bits: u32) -> Counted {
        let due = &given.survey;
        let tensor_count = self.tensors.len();
        let mut values: Vec<Option<&[f32]>> = vec![None; 2 * tensor_count];
        for (tensor, gradient, weight) in parcel.tensors.iter().filter(|(tensor, ..)| !given.not_due.contains(tensor)) {
            for (place, payload) in [(*tensor, gradient), (tensor_count + tensor, weight)] {
                if let Some(Payload::Host(found)) = payload
                    && found.len() as u64 == self.tensors[*tensor].numel
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

/// Finite elements at or below the lower rail, and at or above the upper one.
fn tails(values: &[f32], rails: [f32; 2]) -> [u64; 2] {
    let [low, high] = rails.map(|rail| order_key(rail.to_bits()));
    let keys = || values.iter().filter(|x| x.is_finite()).map(|x| order_key(x.to_bits()));
    [keys().filter(|key| *key <= low).count() as u64, keys().filter(|key| *key >= high).count() as u64]
}

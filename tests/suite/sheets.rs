//! Records made by hand, in the figures that rules weigh.

use crate::filled::filled;
use gradscope::StepRecord;
use gradscope::diagnosis::Diagnosis;
use gradscope::record::{
    Finding, Global, Gradient, HistogramOf, HistogramRecord, Param, Shapes, TapRecord, TensorRecord,
};
use gradscope::stats::{Crossings, Dynamics, Histogram, ParameterSummary, TensorSummary, Transitions, UpdateSummary};

/// Inputs and outputs of each layer.
const WIDTH: usize = 100;
const LAYERS: [&str; 3] = ["first", "middle", "last"];

/// One tensor at one step, in the figures that rules weigh.
#[derive(Clone, Copy)]
pub struct Tensor {
    pub present: bool,
    /// Root mean square of the gradient.
    pub rms: f64,
    pub zero_ratio: f64,
    pub nan_count: u64,
    pub flip_ratio: f64,
    pub minimum_share: f64,
    pub retained: f64,
    pub weight_rms: f64,
    pub weight_zero_ratio: f64,
    pub update_to_weight: f64,
    pub unchanged: bool,
}

/// One step: weight and bias of each layer, and what comes beside them.
#[derive(Clone)]
pub struct Sheet {
    pub tensors: [Tensor; 6],
    pub loss: Option<f64>,
    pub rails: f64,
    pub flushed: f64,
}

pub fn params() -> Vec<Param> {
    let param = |n: usize| {
        let shape = if n.is_multiple_of(2) { vec![WIDTH, WIDTH] } else { vec![WIDTH] };
        let name = if n.is_multiple_of(2) { "weight" } else { "bias" };
        Param::new(format!("{}.{name}", LAYERS[n / 2]), shape)
    };
    (0..6).map(param).collect()
}

impl Sheet {
    /// What a run that goes well looks like.
    pub fn healthy(n: u64) -> Self {
        let tensor = Tensor {
            present: true,
            rms: 1e-3,
            zero_ratio: 0.0,
            nan_count: 0,
            flip_ratio: 0.5,
            minimum_share: 0.5,
            retained: 0.5,
            weight_rms: 0.1,
            weight_zero_ratio: 0.0,
            update_to_weight: 1e-3,
            unchanged: false,
        };
        let loss = 0.2 + 2.0 * 0.99f64.powi(n as i32);
        Self { tensors: [tensor; 6], loss: Some(loss), rails: 0.0, flushed: 0.0 }
    }

    pub fn record(&self, n: u64, step: u64) -> StepRecord {
        let params = params();
        let tensors: Vec<_> =
            self.tensors.iter().zip(&params).map(|(tensor, param)| tensor.record(param, n, step)).collect();
        let tap = TapRecord {
            name: "act".into(),
            summary: summary(1000, 1.0, 0.0, 0, None),
            tail_count: Some([(500.0 * self.rails) as u64, (500.0 * self.rails) as u64]),
        };
        let mut histogram = Histogram {
            exponent_count: vec![0; 256],
            zero_count: 0,
            flush_count: [0; 4],
            overflow_count: [0; 4],
            linear: None,
        };
        histogram.exponent_count[127] = 1000;
        histogram.flush_count = [(1000.0 * self.flushed) as u64; 4];
        let histograms = vec![HistogramRecord { param: 2, of: HistogramOf::Gradient, histogram }];
        StepRecord {
            step,
            scalars: self.loss.map(|loss| ("loss".to_owned(), loss)).into_iter().collect(),
            global: Global::of(&tensors),
            tensors,
            taps: vec![tap],
            shapes: Some(Shapes { histograms, ..Shapes::default() }),
            ..StepRecord::default()
        }
    }
}

fn summary(numel: u64, rms: f64, zero_ratio: f64, nan_count: u64, pairs: Option<(f64, f64)>) -> TensorSummary {
    let zero_count = (zero_ratio * numel as f64).round() as u64;
    let signed = numel - zero_count - nan_count;
    filled!(TensorSummary {
        numel,
        min: Some(-rms as f32),
        max: Some(rms as f32),
        l1_norm: rms * (numel - nan_count) as f64,
        l2_norm: rms * ((numel - nan_count) as f64).sqrt(),
        near_zero_count: [zero_count; 2],
        zero_count,
        positive_count: signed / 2,
        negative_count: signed - signed / 2,
        nan_count,
        sign_flip_count: pairs.map(|(flips, _)| (flips * signed as f64) as u64),
        signed_pair_count: pairs.map(|_| signed),
        dynamics: Some(filled!(Dynamics {
            transitions: pairs.map(|(_, retained)| {
                let retained = (retained * zero_count as f64).round() as u64;
                filled!(Transitions { retained_count: [retained; 2], released_count: [zero_count - retained; 2] })
            }),
        })),
    })
}

impl Tensor {
    fn record(&self, param: &Param, n: u64, step: u64) -> TensorRecord {
        let numel = param.numel;
        let pairs = (n > 0).then_some((self.flip_ratio, self.retained));
        let gradient = match self.present {
            false => Gradient::Missing,
            true => Gradient::Observed {
                summary: summary(numel, self.rms, self.zero_ratio, self.nan_count, pairs),
                previous_step: step.checked_sub(1),
            },
        };
        let l2_norm = self.weight_rms * (numel as f64).sqrt();
        let flips = (self.flip_ratio * numel as f64) as u64;
        let minimum_count = (self.minimum_share * flips as f64).round() as u64;
        let update = filled!(UpdateSummary {
            previous_step: step.saturating_sub(1),
            l2_norm: if self.unchanged { 0.0 } else { self.update_to_weight * l2_norm },
            update_to_weight: if self.unchanged { 0.0 } else { self.update_to_weight },
            unchanged_count: if self.unchanged { numel } else { 0 },
            crossings: Some(filled!(Crossings { minimum_count, maximum_count: flips - minimum_count })),
        });
        let parameter = filled!(ParameterSummary {
            numel,
            std: Some(self.weight_rms),
            l1_norm: self.weight_rms * numel as f64,
            l2_norm,
            near_zero_count: (self.weight_zero_ratio * numel as f64) as u64,
        });
        TensorRecord { parameter: Some(parameter), update: (n > 0).then_some(update), ..TensorRecord::of(gradient) }
    }
}

/// What is found over the sheets, with the place of the one that told it; at the end's place what was still open.
pub fn found_by(mut diagnosis: Diagnosis, every: u64, sheets: &[Sheet]) -> Vec<(u64, Finding)> {
    let mut found = Vec::new();
    for (n, sheet) in (0..).zip(sheets) {
        let record = sheet.record(n, every * n);
        found.extend(diagnosis.examine(&record).into_iter().map(|finding| (n, finding)));
    }
    found.extend(diagnosis.finish().into_iter().map(|finding| (sheets.len() as u64, finding)));
    found
}

pub fn found(every: u64, sheets: &[Sheet]) -> Vec<(u64, Finding)> {
    found_by(Diagnosis::new(params().into()), every, sheets)
}

/// `len` healthy sheets, changed.
pub fn sheets(len: u64, change: impl Fn(u64, &mut Sheet)) -> Vec<Sheet> {
    let changed = |n: u64| {
        let mut sheet = Sheet::healthy(n);
        change(n, &mut sheet);
        sheet
    };
    (0..len).map(changed).collect()
}

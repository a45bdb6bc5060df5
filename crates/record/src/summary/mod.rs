//! A run in tables people can read.

mod display;

use crate::record::{Finding, Global, Notice, NoticeKind, Param, StepRecord, TensorRecord};
use crate::stats::{Crossings, ParameterSummary, TensorSummary, Transitions, UpdateSummary};

/// Figures of a run so far, a row a parameter. `Display` prints a table of gradients and, where they were asked for, one
/// of their dynamics and one of parameters and moves.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Steps recorded.
    pub step_count: u64,
    /// The last step recorded.
    pub last_step: Option<u64>,
    /// Smallest finite element of all gradients of the run.
    pub min: Option<f32>,
    /// Largest finite element of all gradients of the run.
    pub max: Option<f32>,
    /// Figures over all gradients at the last step.
    pub last_global: Global,
    /// NaN and infinite elements over the run.
    pub nonfinite_count: u64,
    /// Steps left out because the staging ring was full.
    pub dropped_count: u64,
    /// Steps whose summaries did not come back.
    pub lost_count: u64,
    /// Events that went because nobody polled.
    pub unpolled_count: u64,
    /// Sum of [`Cost::submit_secs`](crate::record::Cost) over the run.
    pub submit_secs: f64,
    /// Time spent on records that came back: decoding, summing up, writing.
    pub record_secs: f64,
    /// One for each parameter, in order.
    pub rows: Vec<Row>,
    /// What was found, an entry each, as it was reported last.
    pub findings: Vec<Finding>,
    /// What went wrong with observing, an entry for each kind and object.
    pub notices: Vec<Notice>,
}

/// One parameter over the run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// Module path.
    pub path: String,
    /// Elements of the parameter.
    pub numel: u64,
    /// Steps at which it had a gradient that was reduced.
    pub observed_count: u64,
    /// The last of those.
    pub last: Option<TensorSummary>,
    /// Smallest finite element of its gradients over the run.
    pub min: Option<f32>,
    /// Largest finite element of its gradients over the run.
    pub max: Option<f32>,
    observed_numel: u64,
    near_zero_count: [u64; 2],
    sign_flip_count: u64,
    signed_pair_count: u64,
    /// NaN and infinite elements over the run.
    pub nonfinite_count: u64,
    /// Over the run; `None` where no two steps were compared, or nobody asked.
    pub transitions: Option<Transitions>,
    /// Extremes crossed over the run; `None` where no moves were compared, or nobody asked.
    pub crossings: Option<Crossings>,
    /// The last that was told, where [`Stats::PARAMS`](crate::stats::Stats::PARAMS) was asked for.
    pub last_parameter: Option<ParameterSummary>,
    /// The last that was told, where [`Stats::UPDATES`](crate::stats::Stats::UPDATES) was asked for.
    pub last_update: Option<UpdateSummary>,
}

impl Row {
    /// Elements near zero over elements observed, for each epsilon; `None` without any.
    pub fn near_zero_ratio(&self) -> [Option<f64>; 2] {
        self.near_zero_count.map(|count| ratio(count, self.observed_numel))
    }

    /// Sign flips over pairs that could flip; `None` without any.
    pub fn sign_flip_ratio(&self) -> Option<f64> {
        ratio(self.sign_flip_count, self.signed_pair_count)
    }
}

impl Summary {
    /// Of no steps yet, for the parameters of a scope or of a run folder.
    pub fn new(params: &[Param]) -> Self {
        let row = |param: &Param| Row {
            path: param.path.clone(),
            numel: param.numel,
            observed_count: 0,
            last: None,
            min: None,
            max: None,
            observed_numel: 0,
            near_zero_count: [0; 2],
            sign_flip_count: 0,
            signed_pair_count: 0,
            nonfinite_count: 0,
            transitions: None,
            crossings: None,
            last_parameter: None,
            last_update: None,
        };
        Self { rows: params.iter().map(row).collect(), ..Self::default() }
    }

    /// Adds the next step; its tensors follow the parameters. A record of the last move counts no step.
    pub fn add(&mut self, record: &StepRecord) {
        for (row, tensor) in self.rows.iter_mut().zip(&record.tensors) {
            row.last_parameter = tensor.parameter.or(row.last_parameter);
            row.last_update = tensor.update.or(row.last_update);
            if let Some(crossings) = tensor.update.and_then(|update| update.crossings) {
                row.crossings = Some(row.crossings.unwrap_or_default().combine(crossings));
            }
        }
        if record.last_move {
            return;
        }
        self.step_count += 1;
        self.last_step = Some(record.step);
        self.min = [self.min, record.global.min].into_iter().flatten().reduce(f32::min);
        self.max = [self.max, record.global.max].into_iter().flatten().reduce(f32::max);
        self.last_global = record.global;
        self.nonfinite_count += record.global.nonfinite_count();
        self.submit_secs += record.cost.submit_secs;
        let observed = self.rows.iter_mut().zip(record.tensors.iter().map(TensorRecord::summary));
        for (row, summary) in observed.filter_map(|(row, summary)| Some((row, summary?))) {
            row.observed_count += 1;
            row.observed_numel += summary.numel;
            row.last = Some(*summary);
            row.min = [row.min, summary.min].into_iter().flatten().reduce(f32::min);
            row.max = [row.max, summary.max].into_iter().flatten().reduce(f32::max);
            row.near_zero_count = [0, 1].map(|k| row.near_zero_count[k] + summary.near_zero_count[k]);
            row.sign_flip_count += summary.sign_flip_count.unwrap_or(0);
            row.signed_pair_count += summary.signed_pair_count.unwrap_or(0);
            row.nonfinite_count += summary.nonfinite_count();
            if let Some(transitions) = summary.dynamics.and_then(|dynamics| dynamics.transitions) {
                row.transitions = Some(row.transitions.unwrap_or_default().combine(transitions));
            }
        }
    }

    /// Adds a finding, or what became of one.
    pub fn find(&mut self, finding: &Finding) {
        finding.clone().put_into(&mut self.findings);
    }

    /// Adds a notice, or the count of one. Steps that were dropped or lost are counted alone.
    pub fn notice(&mut self, notice: &Notice) {
        if !matches!(notice.kind, NoticeKind::StepDropped { .. } | NoticeKind::StepLost { .. }) {
            notice.clone().put_into(&mut self.notices);
        }
    }

    /// Counts a gap in the record.
    pub fn count(&mut self, notice: &NoticeKind) {
        match notice {
            NoticeKind::StepDropped { .. } => self.dropped_count += 1,
            NoticeKind::StepLost { .. } => self.lost_count += 1,
            _ => {}
        }
    }
}

fn ratio(count: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| count as f64 / of as f64)
}

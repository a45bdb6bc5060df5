//! A run in a table people can read.

use crate::record::{Global, NoticeKind, Param, StepRecord, TensorRecord};
use crate::stats::TensorSummary;
use std::fmt;

/// Figures of a run so far, a row a parameter. `Display` prints the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Steps recorded.
    pub step_count: u64,
    /// The last step recorded.
    pub last_step: Option<u64>,
    /// Smallest and largest finite gradient of the run, over all parameters.
    pub min: Option<f32>,
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
    pub rows: Vec<Row>,
}

/// One parameter over the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub path: String,
    /// Elements of the parameter.
    pub numel: u64,
    /// Steps at which it had a gradient that was reduced.
    pub observed_count: u64,
    /// The last of those.
    pub last: Option<TensorSummary>,
    /// Smallest and largest finite element over the run.
    pub min: Option<f32>,
    pub max: Option<f32>,
    near_zero_count: [u64; 2],
    sign_flip_count: u64,
    signed_pair_count: u64,
    /// NaN and infinite elements over the run.
    pub nonfinite_count: u64,
}

impl Row {
    /// Elements near zero over elements observed, for each epsilon; `None` without any.
    pub fn near_zero_ratio(&self) -> [Option<f64>; 2] {
        self.near_zero_count.map(|count| ratio(count, self.observed_count * self.numel))
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
            near_zero_count: [0; 2],
            sign_flip_count: 0,
            signed_pair_count: 0,
            nonfinite_count: 0,
        };
        Self { rows: params.iter().map(row).collect(), ..Self::default() }
    }

    /// Adds the next step; its tensors follow the parameters.
    pub fn add(&mut self, record: &StepRecord) {
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
            row.last = Some(*summary);
            row.min = [row.min, summary.min].into_iter().flatten().reduce(f32::min);
            row.max = [row.max, summary.max].into_iter().flatten().reduce(f32::max);
            row.near_zero_count = [0, 1].map(|k| row.near_zero_count[k] + summary.near_zero_count[k]);
            row.sign_flip_count += summary.sign_flip_count.unwrap_or(0);
            row.signed_pair_count += summary.signed_pair_count.unwrap_or(0);
            row.nonfinite_count += summary.nonfinite_count();
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

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last_step) = self.last_step else { return write!(f, "no step was recorded") };
        let width = self.rows.iter().map(|row| row.path.len()).max().unwrap_or(0).max("parameter".len());
        writeln!(
            f,
            "{:<width$} {:>10} {:>11} {:>11} {:>11} {:>11} {:>7} {:>7} {:>7} {:>9}",
            "parameter", "elements", "min", "max", "L1", "L2", "~0 (1)", "~0 (2)", "flips", "nonfinite"
        )?;
        let extreme = |value: Option<f32>| value.map_or("-".into(), |v| format!("{v:.3e}"));
        let percent = |value: Option<f64>| value.map_or("-".into(), |v| format!("{:.1}%", 100.0 * v));
        for row in &self.rows {
            let sum =
                |pick: fn(&TensorSummary) -> f64| row.last.as_ref().map_or("-".into(), |s| format!("{:.3e}", pick(s)));
            let [tiny, small] = row.near_zero_ratio();
            writeln!(
                f,
                "{:<width$} {:>10} {:>11} {:>11} {:>11} {:>11} {:>7} {:>7} {:>7} {:>9}",
                row.path,
                row.numel,
                extreme(row.min),
                extreme(row.max),
                sum(|s| s.l1_norm),
                sum(|s| s.l2_norm),
                percent(tiny),
                percent(small),
                percent(row.sign_flip_ratio()),
                if row.observed_count == 0 { "missing".into() } else { row.nonfinite_count.to_string() },
            )?;
        }
        let global = &self.last_global;
        let [tiny, small] = global.near_zero_ratio().map_or([None; 2], |ratios| ratios.map(Some));
        writeln!(
            f,
            "all gradients of {} steps: min {}, max {}, {} non-finite",
            self.step_count,
            extreme(self.min),
            extreme(self.max),
            self.nonfinite_count,
        )?;
        writeln!(
            f,
            "all gradients of step {last_step}: L1 {:.3e}, L2 {:.3e}, near zero {} and {}, flips {}",
            global.l1_norm,
            global.l2_norm,
            percent(tiny),
            percent(small),
            percent(global.sign_flip_ratio()),
        )?;
        if self.dropped_count + self.lost_count > 0 {
            writeln!(f, "not recorded: {} steps dropped, {} lost", self.dropped_count, self.lost_count)?;
        }
        write!(
            f,
            "L1 and L2 are the last step's; min, max, near zero (~0, at each epsilon), flips and nonfinite are the run's"
        )
    }
}

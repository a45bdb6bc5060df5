//! NaNs or infinities among gradients.
//!
//! Backpropagation runs from the loss to the first layer: of tensors with NaNs, the last in the order of the module is
//! the nearest to their source. Where every gradient has them at once, they were there before it began.

use super::Examine;
use super::episode::{Change, Episode, Patience};
use crate::record::{Finding, Param, Rule, Severity, StepRecord};

const PATIENCE: Patience = Patience { open_after: 1, close_after: 10 };

#[derive(Default)]
pub(super) struct NonFinite {
    episode: Episode,
    /// As it was found.
    finding: Option<Finding>,
}

impl Examine for NonFinite {
    fn examine(&mut self, record: &StepRecord, params: &[Param], found: &mut Vec<Finding>) {
        let observed =
            || record.tensors.iter().enumerate().filter_map(|(place, tensor)| Some((place, tensor.summary()?)));
        if observed().next().is_none() {
            return;
        }
        let bad = || observed().filter(|(_, summary)| summary.has_nonfinite());
        match self.episode.observe(record.step, bad().next().is_some(), PATIENCE) {
            None => {}
            Some(Change { first_step, last_step, open: true }) => {
                let tensor_count = bad().count();
                let everywhere = tensor_count == observed().count();
                let nearest = bad().next_back().filter(|_| !everywhere);
                let mut evidence = vec![
                    ("tensor_count".to_owned(), tensor_count as f64),
                    ("nonfinite_count".to_owned(), bad().map(|(_, summary)| summary.nonfinite_count() as f64).sum()),
                ];
                let first = nearest.and_then(|(_, summary)| summary.dynamics?.first_nonfinite);
                evidence.extend(first.map(|first| ("first_nonfinite_index".to_owned(), first.index as f64)));
                let finding = Finding {
                    rule: Rule::NonFinite,
                    severity: Severity::Critical,
                    path: nearest.map(|(place, _)| params[place].path.clone()),
                    first_step,
                    last_step,
                    open: true,
                    evidence,
                };
                self.finding = Some(finding.clone());
                found.push(finding);
            }
            Some(closed) => self.close(closed, found),
        }
    }

    fn finish(&mut self, _: &[Param], found: &mut Vec<Finding>) {
        if let Some(closed) = self.episode.close() {
            self.close(closed, found);
        }
    }
}

impl NonFinite {
    fn close(&mut self, change: Change, found: &mut Vec<Finding>) {
        if let Some(finding) = self.finding.take() {
            found.push(Finding { last_step: change.last_step, open: change.open, ..finding });
        }
    }
}

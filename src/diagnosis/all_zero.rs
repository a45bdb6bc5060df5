//! Gradients that are zero in every element. *Missing* ones, of frozen or unused parameters, are none.

use super::Examine;
use super::episode::{Change, Episode, Patience};
use crate::record::{Finding, Param, Rule, Severity, StepRecord};

/// Layers before one that begins at zero (a residual branch's last scale) have no gradient at first.
const PATIENCE: Patience = Patience { open_after: 10, close_after: 3 };

pub(super) struct AllZero {
    /// Of each tensor, and of all together.
    tensors: Vec<Episode>,
    whole: Episode,
}

impl AllZero {
    pub fn new(tensor_count: usize) -> Self {
        Self { tensors: vec![Episode::default(); tensor_count], whole: Episode::default() }
    }
}

fn finding(path: Option<&str>, Change { first_step, last_step, open }: Change) -> Finding {
    let severity = if path.is_some() { Severity::Warn } else { Severity::Critical };
    let path = path.map(str::to_owned);
    Finding { rule: Rule::AllZero, severity, path, first_step, last_step, open, evidence: vec![] }
}

impl Examine for AllZero {
    fn examine(&mut self, record: &StepRecord, params: &[Param], found: &mut Vec<Finding>) {
        let step = record.step;
        let zero = |place: usize| {
            let summary = record.tensors[place].summary().filter(|summary| summary.numel > 0)?;
            Some(summary.zero_count == summary.numel)
        };
        let observed: Vec<(usize, bool)> = (0..self.tensors.len()).filter_map(|p| Some((p, zero(p)?))).collect();
        if observed.is_empty() {
            return;
        }
        // Where nothing has a gradient, that is one finding, and not one a tensor.
        let whole = observed.iter().all(|(_, zero)| *zero);
        let change = self.whole.observe(step, whole, PATIENCE);
        found.extend(change.map(|change| finding(None, change)));
        for (place, zero) in observed {
            let change = self.tensors[place].observe(step, zero && !whole, PATIENCE);
            found.extend(change.map(|change| finding(Some(&params[place].path), change)));
        }
    }

    fn finish(&mut self, params: &[Param], found: &mut Vec<Finding>) {
        found.extend(self.whole.close().map(|change| finding(None, change)));
        for (episode, param) in self.tensors.iter_mut().zip(params) {
            found.extend(episode.close().map(|change| finding(Some(&param.path), change)));
        }
    }
}

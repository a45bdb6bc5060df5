//! Parameters that do not move although their gradient is not zero. Needs `Group::Updates`.

use super::Examine;
use super::episode::{Change, Episode, Patience};
use crate::record::{Finding, Param, Rule, Severity, StepRecord};

const PATIENCE: Patience = Patience { open_after: 3, close_after: 1 };

pub(super) struct Unchanged {
    tensors: Vec<Episode>,
    /// Whether each tensor's last gradient had an element that is not zero, and the step it is of.
    asked: Vec<Option<(u64, bool)>>,
}

impl Unchanged {
    pub fn new(tensor_count: usize) -> Self {
        Self { tensors: vec![Episode::default(); tensor_count], asked: vec![None; tensor_count] }
    }
}

fn finding(path: &str, Change { first_step, last_step, open }: Change) -> Finding {
    let (rule, severity, path) = (Rule::Unchanged, Severity::Warn, Some(path.to_owned()));
    Finding { rule, severity, path, first_step, last_step, open, evidence: vec![] }
}

impl Examine for Unchanged {
    fn examine(&mut self, record: &StepRecord, params: &[Param], found: &mut Vec<Finding>) {
        let moves: Vec<(usize, u64, bool)> = (0..self.tensors.len())
            .filter_map(|place| {
                let tensor = &record.tensors[place];
                let (update, parameter) = (tensor.update?, tensor.parameter?);
                (parameter.numel > 0).then_some((
                    place,
                    update.previous_step,
                    update.unchanged_count == parameter.numel,
                ))
            })
            .collect();
        // Where nothing moves the learning rate is 0, as at the start of a warm-up: no parameter's own trouble.
        let some_move = moves.iter().any(|(_, _, unchanged)| !unchanged);
        for (place, moved_after, unchanged) in moves {
            // The move was made after the gradient of that step.
            let Some((_, true)) = self.asked[place].filter(|(step, _)| *step == moved_after) else { continue };
            if some_move {
                let change = self.tensors[place].observe(record.step, unchanged, PATIENCE);
                found.extend(change.map(|change| finding(&params[place].path, change)));
            }
        }
        for (asked, tensor) in self.asked.iter_mut().zip(&record.tensors) {
            *asked = tensor.summary().map(|summary| (record.step, summary.positive_count + summary.negative_count > 0));
        }
    }

    fn finish(&mut self, params: &[Param], found: &mut Vec<Finding>) {
        for (episode, param) in self.tensors.iter_mut().zip(params) {
            found.extend(episode.close().map(|change| finding(&param.path, change)));
        }
    }
}

//! Diagnoses: records in, findings out. One rule a file; each keeps an episode a tensor, so that a condition is told once, with
//! its first and last step, however long it holds. `docs/diagnoses.md` has the rules.

mod all_zero;
mod episode;
mod non_finite;
mod unchanged;

use crate::record::{Finding, Param, StepRecord};
use std::sync::Arc;

/// A rule over the records of a run.
trait Examine: Send {
    /// Takes the next record; what is found, and what has ended.
    fn examine(&mut self, record: &StepRecord, params: &[Param], found: &mut Vec<Finding>);
    /// What was still open.
    fn finish(&mut self, params: &[Param], found: &mut Vec<Finding>);
}

/// All rules over one run. An open finding is handed out when it is found, and once more, closed, when it has ended.
pub struct Diagnosis {
    params: Arc<[Param]>,
    rules: Vec<Box<dyn Examine>>,
}

impl Diagnosis {
    /// Over records of these parameters.
    pub fn new(params: Arc<[Param]>) -> Self {
        let tensor_count = params.len();
        let rules: Vec<Box<dyn Examine>> = vec![
            Box::<non_finite::NonFinite>::default(),
            Box::new(all_zero::AllZero::new(tensor_count)),
            Box::new(unchanged::Unchanged::new(tensor_count)),
        ];
        Self { params, rules }
    }

    /// Takes the next record.
    pub fn examine(&mut self, record: &StepRecord) -> Vec<Finding> {
        let mut found = Vec::new();
        self.rules.iter_mut().for_each(|rule| rule.examine(record, &self.params, &mut found));
        found
    }

    /// At the end of the run: what was still open, closed.
    pub fn finish(&mut self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.rules.iter_mut().for_each(|rule| rule.finish(&self.params, &mut found));
        found
    }
}

//! Findings as they are made: who is told, and whether training is asked to stop.

use crate::diagnosis::Diagnosis;
use crate::record::{Action, Finding, StepRecord};
use std::time::Instant;

/// What an embedder does with each finding.
pub(super) type OnFinding = Box<dyn FnMut(&Finding) + Send>;

pub(super) struct Diagnosing {
    diagnosis: Diagnosis,
    on_finding: Option<OnFinding>,
    last_at: Option<Instant>,
    /// The first finding that asks for an end.
    stop: Option<Finding>,
}

impl Diagnosing {
    pub fn new(diagnosis: Diagnosis, on_finding: Option<OnFinding>) -> Self {
        Self { diagnosis, on_finding, last_at: None, stop: None }
    }

    pub fn examine(&mut self, record: &StepRecord) -> Vec<Finding> {
        let found = self.diagnosis.examine(record);
        self.tell(&found);
        found
    }

    /// That a step has come, observed or not.
    pub fn stepped(&mut self, step: u64) -> Vec<Finding> {
        let now = Instant::now();
        let waited = self.last_at.replace(now).map_or(0.0, |before| (now - before).as_secs_f64());
        let found = self.diagnosis.waited(step, waited);
        self.tell(&found);
        found
    }

    pub fn finish(&mut self) -> Vec<Finding> {
        let found = self.diagnosis.finish();
        self.tell(&found);
        found
    }

    fn tell(&mut self, found: &[Finding]) {
        for finding in found {
            if finding.open && finding.action == Action::Stop && self.stop.is_none() {
                self.stop = Some(finding.clone());
            }
            if let Some(on_finding) = &mut self.on_finding {
                on_finding(finding);
            }
        }
    }

    pub fn stop(&self) -> Option<&Finding> {
        self.stop.as_ref()
    }
}

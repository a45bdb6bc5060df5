//! Findings as they are made: who is told, and whether training is asked to stop.

use gradscope_record::diagnosis::Diagnosis;
use gradscope_record::record::{Action, Finding, StepRecord};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// What an embedder does with each finding.
pub(super) type OnFinding = Box<dyn FnMut(&Finding) + Send>;

pub(super) struct Diagnosing {
    diagnosis: Diagnosis,
    on_finding: Option<OnFinding>,
    last_at: Option<Instant>,
    /// What the embedder's own part panicked with.
    panicked: Option<String>,
    /// The first finding that asks for an end.
    stop: Option<Finding>,
}

/// What a panic was made with.
fn text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}

impl Diagnosing {
    pub fn new(diagnosis: Diagnosis, on_finding: Option<OnFinding>) -> Self {
        Self { diagnosis, on_finding, last_at: None, panicked: None, stop: None }
    }

    pub fn examine(&mut self, record: &StepRecord) -> Vec<Finding> {
        let found = self.diagnosis.examine(record);
        self.tell(&found);
        found
    }

    /// That parameters have been frozen or unfrozen.
    pub fn set_trainable(&mut self, changes: &[(usize, bool)]) {
        changes.iter().for_each(|&(tensor, trainable)| self.diagnosis.set_trainable(tensor, trainable));
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
            // Training does not stop for it. What it has left half done is its own, and is not called again.
            if let Some(mut on_finding) = self.on_finding.take() {
                match catch_unwind(AssertUnwindSafe(|| on_finding(finding))) {
                    Ok(()) => self.on_finding = Some(on_finding),
                    Err(panic) => self.panicked = Some(text(&*panic)),
                }
            }
        }
    }

    /// That the embedder's own part has panicked; once.
    pub fn take_panic(&mut self) -> Option<String> {
        self.panicked.take()
    }

    pub fn stop(&self) -> Option<&Finding> {
        self.stop.as_ref()
    }
}

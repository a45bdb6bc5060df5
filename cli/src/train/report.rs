//! The figures at the end of training.

use gradscope::store::Reading;
use gradscope::{Event, Finding, Finished, Run, StepRecord};
use std::fmt::Write;
use std::time::Instant;

/// Figures of the run that the end report prints.
pub struct Report {
    started: Instant,
    /// Of a resumed run, where it goes on.
    first_step: u64,
    pub test_accuracy: Option<f64>,
    last: Option<StepRecord>,
    first_loss: Option<f64>,
    submit_secs: Vec<f64>,
    handoff_secs: Vec<f64>,
    /// Where the adapter tells.
    gpu_secs: Vec<f64>,
    /// As they were told last.
    findings: Vec<Finding>,
}

impl Report {
    pub fn start(first_step: u64) -> Self {
        Self {
            started: Instant::now(),
            first_step,
            test_accuracy: None,
            last: None,
            first_loss: None,
            submit_secs: vec![],
            handoff_secs: vec![],
            gpu_secs: vec![],
            findings: vec![],
        }
    }

    /// Takes what has come back.
    pub fn take(&mut self, events: &[Event]) {
        for event in events {
            if let Event::Finding(finding) = event {
                finding.clone().put_into(&mut self.findings);
            }
            if let Event::Record(record) = event
                && !record.last_move
            {
                self.first_loss = self.first_loss.or(record.scalar("loss"));
                self.submit_secs.push(record.cost.submit_secs);
                self.handoff_secs.push(record.cost.handoff_secs);
                self.gpu_secs.extend(record.cost.gpu_secs);
                self.last = Some(record.clone());
            }
        }
    }

    /// As they were told last.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The last step that has come back.
    pub fn last(&self) -> Option<&StepRecord> {
        self.last.as_ref()
    }

    /// The table, the accuracy, and what observing cost.
    pub fn text(&self, step_count: u64, finished: Option<&Finished>) -> String {
        let secs = self.started.elapsed().as_secs_f64();
        let step_count = (step_count - self.first_step).max(1);
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every write");
        if let Some(finished) = finished {
            if self.first_step > 0 {
                line(format!("since step {}, where the run went on:\n", self.first_step));
            }
            line(format!("{:1$}\n", finished.summary, crate::terminal::width()));
            if finished.summary.findings.is_empty() {
                line("findings: none\n".into());
            }
        }
        if let (Some(first), Some(last)) = (self.first_loss, self.last.as_ref().and_then(|r| r.scalar("loss"))) {
            line(format!("loss of the batch: {first:.4} at the first step, {last:.4} at the last"));
        }
        if let Some(accuracy) = self.test_accuracy {
            line(format!("test accuracy: {:.1}%", 100.0 * accuracy));
        }
        line(format!(
            "time: {secs:.1} s for {step_count} steps and the tests, {:.1} ms a step",
            1e3 * secs / step_count as f64
        ));
        if let (Some(last), Some(finished)) = (&self.last, finished) {
            let [submit, handoff] =
                [&self.submit_secs, &self.handoff_secs].map(|secs| [0.5, 0.99].map(|q| 1e3 * quantile(secs, q)));
            line(format!(
                "the scope on the training thread, ms a step: submit {:.3} (p99 {:.3}), of which the hand-off to burn {:.3} (p99 {:.3}); records {:.3}; {} bytes read back",
                submit[0],
                submit[1],
                handoff[0],
                handoff[1],
                1e3 * finished.summary.record_secs / step_count as f64,
                last.cost.readback_bytes
            ));
            if !self.gpu_secs.is_empty() {
                let [median, p99] = [0.5, 0.99].map(|q| 1e3 * quantile(&self.gpu_secs, q));
                line(format!("the scope on the GPU, ms a step: {median:.3} (p99 {p99:.3})"));
            }
        }
        if let Some(folder) = finished.and_then(|finished| finished.folder.as_ref()) {
            // What can't be read is told by the views.
            let reading = Run::open(folder).and_then(|run| Reading::of(&run));
            line("in words (`gradscope explain` has more):".into());
            reading.iter().flat_map(Reading::lines).for_each(|reading| line(format!("- {reading}")));
            line(format!("recorded in {}", folder.display()));
            let unwritten_count = Run::open(folder).map_or(0, |run| run.manifest().unwritten_count);
            if unwritten_count > 0 {
                line(format!("NOT RECORDED: {unwritten_count} steps could not be written"));
            }
        }
        text
    }
}

/// The `q`-quantile by nearest rank; 0 of nothing.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

//! What a person sees: the progress bar, and the figures at the end.

use gradscope::store::Reading;
use gradscope::{Event, Finding, Finished, Run, StepRecord};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
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
                self.last = Some(record.clone());
            }
        }
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
            line(format!("{}\n", finished.summary));
        }
        if finished.is_some() {
            line(if self.findings.is_empty() { "findings: none".into() } else { "findings:".into() });
            self.findings.iter().for_each(|finding| line(format!("- {finding}")));
            line(String::new());
        }
        if let (Some(first), Some(last)) = (self.first_loss, self.last.as_ref().and_then(|r| r.scalar("loss"))) {
            line(format!("loss: {first:.4} at the first step, {last:.4} at the last"));
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

/// The bar on stderr; lines where stderr is no terminal.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    quiet: bool,
    step_count: u64,
}

impl Progress {
    pub fn new(step_count: u64, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(step_count),
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() },
        );
        let template = "{bar:24} {pos}/{len} {elapsed} (left {eta}) {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        let plain = !quiet && bar.is_hidden();
        Self { bar, plain, quiet, step_count }
    }

    /// A line of its own.
    pub fn say(&self, line: &str) {
        if self.plain { eprintln!("{line}") } else { self.bar.println(line) }
    }

    /// A line of what could not be recorded or saved, also where nothing else is wanted.
    pub fn notice(&self, line: &str) {
        if self.quiet { eprintln!("gradscope: {line}") } else { self.say(&format!("notice: {line}")) }
    }

    fn finding(&self, finding: &Finding) {
        if self.quiet { eprintln!("gradscope: {finding}") } else { self.say(&format!("finding: {finding}")) }
    }

    /// A line for each notice and each new finding among the events.
    pub fn notices(&self, events: &[Event]) {
        for event in events {
            match event {
                Event::Notice(notice) => self.notice(&notice.to_string()),
                // When it ends stands in the table at the end.
                Event::Finding(finding) if finding.open => self.finding(finding),
                Event::Finding(_) | Event::Record(_) => {}
            }
        }
    }

    /// Step `step` was sent off; notices among the events get a line each.
    pub fn advance(&self, step: u64, report: &Report, events: &[Event]) {
        self.notices(events);
        let message = report.last.as_ref().map(message).unwrap_or_default();
        // A log gets twenty lines, not one a step.
        if self.plain && step.is_multiple_of((self.step_count / 20).max(1)) {
            eprintln!("{step}/{} {message}", self.step_count);
        }
        self.bar.set_position(step);
        self.bar.set_message(message);
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(record: &StepRecord) -> String {
    let figure = |name| record.scalar(name).unwrap_or(f64::NAN);
    let nonfinite_count = record.global.nonfinite_count();
    let alarm = if nonfinite_count > 0 { format!(" NON-FINITE {nonfinite_count}") } else { String::new() };
    format!(
        "loss {:.3} acc {:.0}% |g| {:.2e}{alarm} scope {:.2} ms",
        figure("loss"),
        100.0 * figure("accuracy"),
        record.global.l2_norm,
        1e3 * record.cost.submit_secs
    )
}

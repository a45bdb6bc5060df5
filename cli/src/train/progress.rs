//! What is seen while training goes on: a bar, lines where there is no terminal, or JSON for programs.

use super::report::Report;
use crate::runs::{self, say};
use gradscope::record::Severity;
use gradscope::{Event, Finding, StepRecord};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

/// Lines that a log gets of a whole run.
const LOG_LINE_COUNT: u64 = 20;

/// For whom.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// The bar on stderr; lines where stderr is no terminal.
    People,
    /// What went wrong, alone.
    Quiet,
    /// A JSON object a line on stdout: `start`, `step`, `test`, `finding`, `notice`, `end`.
    Json,
}

pub struct Progress {
    bar: ProgressBar,
    manner: Manner,
    /// Lines instead of the bar.
    plain: bool,
    step_count: u64,
    /// Of the parameters.
    paths: Vec<String>,
}

/// The layer to look at first, and why.
struct Worst<'a> {
    path: &'a str,
    why: String,
}

impl Progress {
    pub fn new(step_count: u64, manner: Manner, paths: Vec<String>) -> Self {
        let target = if manner == Manner::People { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(step_count), target);
        let template = "{bar:12} {pos}/{len} {elapsed}<{eta} {wide_msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        let plain = manner == Manner::People && bar.is_hidden();
        Self { bar, manner, plain, step_count, paths }
    }

    /// A line of its own, for people.
    pub fn say(&self, line: &str) {
        match self.manner {
            Manner::People if self.plain => eprintln!("{line}"),
            Manner::People => self.bar.println(line),
            Manner::Quiet | Manner::Json => {}
        }
    }

    /// A line that people can't do without.
    pub fn need(&self, line: &str) {
        if self.manner == Manner::Quiet { runs::complain(&format_args!("{line}")) } else { self.say(line) }
    }

    /// An event of training, for programs.
    pub fn event(&self, event: &str, mut value: Value) {
        if self.manner == Manner::Json {
            value["event"] = event.into();
            say(&value);
        }
    }

    /// A line of what could not be recorded or saved, also where nothing else is wanted.
    pub fn notice(&self, line: &str) {
        match self.manner {
            Manner::People => self.say(&format!("notice: {line}")),
            Manner::Quiet => runs::complain(&format_args!("{line}")),
            Manner::Json => self.event("notice", json!({ "text": line })),
        }
    }

    fn finding(&self, finding: &Finding) {
        match self.manner {
            Manner::People => self.say(&format!("finding: {finding}")),
            Manner::Quiet => runs::complain(&format_args!("{finding}")),
            Manner::Json => {
                let mut value = json!(finding);
                value["text"] = finding.to_string().into();
                self.event("finding", value);
            }
        }
    }

    /// A line for each notice and each new finding among the events; for programs one for each step too.
    pub fn told(&self, report: &Report, events: &[Event]) {
        for event in events {
            match event {
                Event::Record(record) if self.manner == Manner::Json && !record.last_move => {
                    self.event("step", self.figures(record, report.findings()));
                }
                // What is only worth knowing stands in the summary.
                Event::Notice(notice) if notice.kind.is_fault() => self.notice(&notice.to_string()),
                // When it ends stands in the table at the end.
                Event::Finding(finding) if finding.open || self.manner == Manner::Json => self.finding(finding),
                _ => {}
            }
        }
    }

    /// Step `step` was sent off, and these events have come back.
    pub fn advance(&self, step: u64, report: &Report, events: &[Event]) {
        self.told(report, events);
        let message = report.last().map(|record| self.message(record, report.findings())).unwrap_or_default();
        if self.plain && step.is_multiple_of((self.step_count / LOG_LINE_COUNT).max(1)) {
            eprintln!("{step}/{} {message}", self.step_count);
        }
        self.bar.set_position(step);
        self.bar.set_message(message);
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn message(&self, record: &StepRecord, findings: &[Finding]) -> String {
        let figure = |name| record.scalar(name).unwrap_or(f64::NAN);
        let nonfinite_count = record.global.nonfinite_count();
        let alarm = if nonfinite_count > 0 { format!(" NON-FINITE {nonfinite_count}") } else { String::new() };
        let worst = self.worst(record, findings).map(|Worst { path, why }| format!(", {path} {why}"));
        format!(
            "loss {:.3}, acc {:.0}%, |g| {:.2e}{alarm}{}, scope {:.2} ms",
            figure("loss"),
            100.0 * figure("accuracy"),
            record.global.l2_norm,
            worst.unwrap_or_default(),
            1e3 * record.cost.submit_secs
        )
    }

    fn figures(&self, record: &StepRecord, findings: &[Finding]) -> Value {
        let global = &record.global;
        let scalars: serde_json::Map<_, _> =
            record.scalars.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "step": record.step, "epoch": record.epoch, "scalars": scalars, "l2_norm": global.l2_norm,
            "min": global.min, "max": global.max, "near_zero_ratio": global.near_zero_ratio(),
            "sign_flip_ratio": global.sign_flip_ratio(), "nonfinite_count": global.nonfinite_count(),
            "worst": self.worst(record, findings).map(|worst| json!({ "path": worst.path, "why": worst.why })),
            "submit_secs": record.cost.submit_secs,
        })
    }

    /// The first with a NaN or an infinity; else the one that the worst open finding names; else the one nearest to zero.
    fn worst<'a>(&'a self, record: &StepRecord, findings: &'a [Finding]) -> Option<Worst<'a>> {
        let observed = || {
            let tensors = self.paths.iter().zip(&record.tensors);
            tensors.filter_map(|(path, tensor)| tensor.summary().map(|summary| (path.as_str(), summary)))
        };
        if let Some((path, _)) = observed().find(|(_, summary)| summary.nonfinite_count() > 0) {
            return Some(Worst { path, why: "is not finite".into() });
        }
        let open = findings.iter().filter(|finding| finding.open && finding.severity >= Severity::Warn);
        let named = open.filter_map(|finding| Some((finding.severity, finding.path.as_deref()?, finding.rule)));
        if let Some((_, path, rule)) = named.max_by_key(|(severity, ..)| *severity) {
            return Some(Worst { path, why: rule.to_string() });
        }
        let near_zero = observed().map(|(path, summary)| (path, summary.near_zero_ratio()[1]));
        let (path, share) = near_zero.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        Some(Worst { path, why: format!("{:.0}% near zero", 100.0 * share) })
    }
}

//! The runs that are being written, as Prometheus reads them: the last value of every figure, in the text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use super::catalog::{Catalog, locked};
use anyhow::Result;
use gradscope::RunStatus;
use gradscope::record::Figure;
use gradscope::store::Follower;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Running runs, the newest first: each is held in memory while it is asked for.
const RUN_COUNT_MAX: usize = 16;
/// Figures of every tensor, where nobody asks for others: a fleet's store keeps what it is given.
const FIGURES: [&str; 5] = ["l2_norm", "abs_max", "near_zero_ratio_2", "sign_flip_ratio", "nonfinite_count"];

/// A metric, its meaning, and its samples so far; those of a metric stand together.
struct Family {
    name: &'static str,
    help: &'static str,
    samples: String,
}

impl Family {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, samples: String::new() }
    }

    /// Numbers of these types are never infinite here, and `Display` writes the others as the format has them.
    fn put(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        // Writing to a string does not fail.
        let _ = writeln!(self.samples, "{}{{{}}} {}", self.name, labels.join(","), value);
    }
}

/// Every metric of the runs that are being written; of each tensor the figures asked for.
pub fn text(catalog: &Catalog, figures: &[String]) -> Result<String> {
    let mut infos = Family::new("gradscope_run_info", "A run that is being written.");
    let mut steps = Family::new("gradscope_step", "The last step that was recorded.");
    let mut missed = Family::new("gradscope_missed_steps_total", "Steps that have no record, by the reason.");
    let mut values = Family::new(
        "gradscope_figure",
        "A figure of the whole model: what the loop gave (scalar, log), over all tensors (global), of a group or of the scope's own cost.",
    );
    let mut tensors = Family::new("gradscope_tensor_figure", "A figure of one tensor.");
    let mut findings = Family::new("gradscope_open_findings", "Findings that hold, by rule.");
    let running = catalog.list()?.into_iter().filter(|entry| entry.status == RunStatus::Running);
    for entry in running.take(RUN_COUNT_MAX) {
        // One that can't be read is told of by the page.
        let Ok(followed) = catalog.follow(&entry.id) else { continue };
        followed.look();
        let mut follower = locked(&followed.follower);
        while follower.poll().unwrap_or(false) {}
        let run = entry.id.as_str();
        let manifest = follower.run().manifest();
        let labels =
            [("run", run), ("model", &entry.model), ("engine", &manifest.engine), ("adapter", &manifest.adapter)];
        infos.put(&labels, 1);
        let counts = [manifest.dropped_count, manifest.lost_count, manifest.unwritten_count];
        for (reason, count) in ["ring_full", "lost", "unwritten"].into_iter().zip(counts) {
            missed.put(&[("run", run), ("reason", reason)], count);
        }
        if let Some([_, last]) = follower.curves().spans().iter().rev().copied().flatten().next() {
            steps.put(&[("run", run)], last);
        }
        for trace in follower.traces().iter().filter(|trace| trace.name.name != "unix_secs") {
            if let Some(point) = trace.points().last() {
                let labels = [("run", run), ("source", &trace.name.source), ("name", &trace.name.name)];
                values.put(&labels, point.envelope.last);
            }
        }
        put_tensors(&mut tensors, run, &follower, figures);
        let mut open: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for finding in follower.findings().iter().filter(|finding| finding.open) {
            *open.entry((finding.rule.to_string(), finding.severity.id())).or_default() += 1;
        }
        for ((rule, severity), count) in &open {
            findings.put(&[("run", run), ("rule", rule), ("severity", severity)], count);
        }
    }
    let mut text = String::new();
    for Family { name, help, samples } in [infos, steps, missed, values, tensors, findings] {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
    }
    Ok(text)
}

fn put_tensors(family: &mut Family, run: &str, follower: &Follower, figures: &[String]) {
    // Each once, however often it was asked for.
    let wanted = |name: &str| match figures {
        [] => FIGURES.contains(&name),
        asked => asked.iter().any(|asked| asked == name),
    };
    let figures: Vec<&str> = Figure::ALL.iter().map(|figure| figure.name).filter(|name| wanted(name)).collect();
    for (tensor, param) in follower.run().manifest().params.iter().enumerate() {
        for figure in &figures {
            // Figures that the run does not have are left out.
            let last = follower.curves().of(figure, tensor).and_then(Iterator::last);
            if let Some(last) = last.map(|envelope| envelope.last).filter(|last| !last.is_nan()) {
                family.put(&[("run", run), ("tensor", &param.path), ("figure", figure)], last);
            }
        }
    }
}

/// As the format has it: a backslash, a quote and a line's end are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

//! Runs as lines, and one run as tables.

use crate::runs::{self, say};
use anyhow::Result;
use clap::Args;
use gradscope::record::Severity;
use gradscope::{Run, Summary};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub struct LsOptions {
    /// Folder of runs.
    #[arg(value_name = "DIR", default_value = "runs")]
    dir: PathBuf,

    /// A JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct ShowOptions {
    /// Run folder, or a folder of runs, of which the newest is taken. It may still be written.
    #[arg(value_name = "RUN", default_value = "runs")]
    run: PathBuf,

    /// One JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// What a line says of a run.
struct Line {
    folder: String,
    status: &'static str,
    model: String,
    step_count: u64,
    loss: Option<f64>,
    /// Warnings, and the first of them.
    warning_count: usize,
    first: Option<String>,
}

impl Line {
    fn of(run: &Run) -> Result<Self> {
        let findings = run.findings()?;
        let mut warnings = findings.iter().filter(|finding| finding.severity >= Severity::Warn).peekable();
        let first = warnings.peek().map(|finding| runs::brief(finding));
        let loss = run.series(|name| name.name == "loss")?;
        Ok(Self {
            folder: run.folder().display().to_string(),
            status: run.status().id(),
            model: run.manifest().facts.get("model").and_then(Value::as_str).unwrap_or("-").to_owned(),
            step_count: run.step_count(u64::MAX)?,
            loss: loss.first().and_then(|series| series.points.last()).map(|(_, loss)| *loss),
            warning_count: warnings.count(),
            first,
        })
    }

    fn json(&self) -> Value {
        let Self { folder, status, model, step_count, loss, warning_count, first } = self;
        json!({
            "folder": folder, "status": status, "model": model, "step_count": step_count, "loss": loss,
            "warning_count": warning_count, "first_warning": first,
        })
    }
}

/// `gradscope ls`.
pub fn ls(options: &LsOptions) -> Result<()> {
    let runs = runs::all(&options.dir)?;
    let lines = runs.iter().map(Line::of).collect::<Result<Vec<_>>>()?;
    if options.json {
        lines.iter().for_each(|line| say(&line.json()));
        return Ok(());
    }
    if lines.is_empty() {
        eprintln!("gradscope: {}: no run is there; `gradscope train` makes runs/MODEL/TIME-ID", options.dir.display());
    }
    let width = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or(0);
    let (folders, models) = (width(|line| line.folder.len()), width(|line| line.model.len()));
    for Line { folder, status, model, step_count, loss, warning_count, first } in &lines {
        let loss = loss.map_or_else(|| "-".into(), |loss| format!("{loss:.4}"));
        let wrong = match (warning_count, first) {
            (0 | 1, first) => first.clone().unwrap_or_default(),
            (n, first) => format!("{} and {} more", first.as_deref().unwrap_or_default(), n - 1),
        };
        let line =
            format!("{folder:folders$}  {status:11}  {model:models$}  {step_count:>8} steps  loss {loss:>9}  {wrong}");
        say(&line.trim_end());
    }
    Ok(())
}

/// `gradscope show`.
pub fn show(options: &ShowOptions) -> Result<()> {
    let run = runs::find(&options.run)?;
    let mut summary = Summary::new(run.params());
    run.each_record(|record| summary.add(&record))?;
    if options.json {
        say(&json!({ "run": Line::of(&run)?.json(), "findings": run.findings()?, "parameters": rows(&summary) }));
        return Ok(());
    }
    say(&format_args!("{}: {}\n\n{summary}", run.folder().display(), run.status().id()));
    let findings = run.findings()?;
    say(&if findings.is_empty() { "\nfindings: none" } else { "\nfindings:" });
    findings.iter().for_each(|finding| say(&format_args!("- {finding}")));
    Ok(())
}

fn rows(summary: &Summary) -> Vec<Value> {
    let row = |row: &gradscope::SummaryRow| {
        json!({
            "path": row.path, "numel": row.numel, "observed_count": row.observed_count, "min": row.min, "max": row.max,
            "near_zero_ratio": row.near_zero_ratio(), "sign_flip_ratio": row.sign_flip_ratio(),
            "nonfinite_count": row.nonfinite_count, "last": row.last, "last_parameter": row.last_parameter,
            "last_update": row.last_update,
        })
    };
    summary.rows.iter().map(row).collect()
}

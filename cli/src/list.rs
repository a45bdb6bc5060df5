//! Runs as lines, and one run as tables.

use crate::runs::{self, say};
use crate::terminal::{self, PLAIN, STRONG, say_parts, style_of};
use anyhow::Result;
use clap::Args;
use gradscope::record::Severity;
use gradscope::store::Headline;
use gradscope::{Finding, Run, RunStatus, Summary};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

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
    start: String,
    /// From the run's start to its end, or to now.
    secs: Option<f64>,
    lr: Option<f64>,
    headline: Option<Headline>,
    /// Warnings, and the first of them.
    warning_count: usize,
    first: Option<Finding>,
}

impl Line {
    fn of(run: &Run) -> Result<Self> {
        let mut warnings = run.findings()?;
        warnings.retain(|finding| finding.severity >= Severity::Warn);
        let rates = run.series(|name| name.name == "lr")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let end = if run.status() == RunStatus::Running { Some(now) } else { run.end_secs() };
        Ok(Self {
            folder: run.folder().display().to_string(),
            status: run.status().id(),
            model: run.manifest().facts.get("model").and_then(Value::as_str).unwrap_or("-").to_owned(),
            step_count: run.step_count(u64::MAX)?,
            start: run.manifest().start.clone(),
            secs: run.start_secs().zip(end).map(|(start, end)| (end - start).max(0.0)),
            lr: rates.first().and_then(|series| series.points.last()).map(|(_, lr)| *lr),
            headline: run.headline()?,
            warning_count: warnings.len(),
            first: warnings.into_iter().next(),
        })
    }

    fn json(&self) -> Value {
        let Self { folder, status, model, step_count, start, secs, lr, headline, warning_count, first } = self;
        json!({
            "folder": folder, "status": status, "model": model, "step_count": step_count, "start": start, "secs": secs,
            "lr": lr, "loss": headline.as_ref().map(|headline| headline.value),
            "loss_of": headline.as_ref().map(|headline| &headline.name), "warning_count": warning_count,
            "first_warning": first.as_ref().map(runs::brief),
        })
    }

    /// As [`HEADS`] has them, but for what is wrong.
    fn cells(&self) -> [String; 8] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let (loss, validation) = match &self.headline {
            Some(headline) if headline.name == "loss" => (Some(headline.value), None),
            Some(headline) => (None, Some(headline.value)),
            None => (None, None),
        };
        [
            self.folder.clone(),
            self.status.into(),
            self.model.clone(),
            self.step_count.to_string(),
            self.start.replace('T', " ").trim_end_matches('Z').to_owned(),
            or_dash(self.secs.map(duration)),
            or_dash(self.lr.map(|lr| format!("{lr:.1e}"))),
            or_dash(validation.map(|value| format!("{value:.4} val")).or(loss.map(|value| format!("{value:.4}")))),
        ]
    }
}

const HEADS: [&str; 8] = ["run", "status", "model", "steps", "started (UTC)", "time", "rate", "loss"];
/// Columns whose cells stand to the right.
const RIGHT: [bool; 8] = [false, false, false, true, false, true, true, true];

/// `1h 02m`, `3m 07s` or `12s`.
fn duration(secs: f64) -> String {
    match secs as u64 {
        secs @ 0..60 => format!("{secs}s"),
        secs @ 60..3600 => format!("{}m {:02}s", secs / 60, secs % 60),
        secs => format!("{}h {:02}m", secs / 3600, secs / 60 % 60),
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
        runs::complain(&format_args!(
            "{}: no run is there; `gradscope train` makes runs/MODEL/TIME-ID",
            options.dir.display()
        ));
        return Ok(());
    }
    let cells: Vec<[String; 8]> = lines.iter().map(Line::cells).collect();
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let of_cells = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        of_cells.max(HEADS[column].len())
    });
    let row = |row: [&str; 8]| -> String {
        let padded = row.iter().zip(widths).zip(RIGHT).map(|((cell, width), right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        padded.collect::<Vec<_>>().join("  ")
    };
    // A table that the terminal has no room for stands on two lines a run.
    let is_narrow = widths.iter().sum::<usize>() + 2 * widths.len() > terminal::width();
    if !is_narrow {
        say_parts(&[(STRONG, format!("{}  warnings", row(HEADS)))]);
    }
    for (line, cells) in lines.iter().zip(&cells) {
        let wrong = line.first.as_ref().map(|first| {
            let more =
                if line.warning_count > 1 { format!(" and {} more", line.warning_count - 1) } else { String::new() };
            (style_of(first.severity), format!("{}{more}", runs::brief(first)))
        });
        let wrong = wrong.unwrap_or((PLAIN, String::new()));
        if is_narrow {
            say_parts(&[(STRONG, cells[0].clone())]);
            let facts: Vec<&str> = cells[1..].iter().map(String::as_str).filter(|cell| *cell != "-").collect();
            say_parts(&[(PLAIN, format!("  {}", facts.join(", ")))]);
            if !wrong.1.is_empty() {
                say_parts(&[(PLAIN, "  ".into()), wrong]);
            }
        } else {
            say_parts(&[(PLAIN, format!("{}  ", row(cells.each_ref().map(String::as_str)))), wrong]);
        }
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
    say(&format_args!("{}: {}\n\n{summary:2$}", run.folder().display(), run.status().id(), terminal::width()));
    let findings = run.findings()?;
    say(&if findings.is_empty() { "\nfindings: none" } else { "\nfindings:" });
    findings.iter().for_each(terminal::say_finding);
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

//! One page that holds a run, or two side by side, and needs nothing else.

use super::picture::Picture;
use super::pictures;
use crate::runs;
use anyhow::{Context, Result};
use clap::Args;
use gradscope::record::Severity;
use gradscope::store::{Reading, files};
use gradscope::{Run, RunStatus};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Args)]
pub struct ReportOptions {
    /// Run folder, or a folder of runs, of which the newest is taken.
    #[arg(value_name = "RUN", default_value = "runs")]
    run: PathBuf,

    /// A second run, to lie beside the first.
    #[arg(value_name = "RUN2")]
    other: Option<PathBuf>,

    /// The page [default: report.html in the run folder].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const STYLE: &str = "body{font:15px/1.5 'DejaVu Sans',Verdana,sans-serif;margin:2em auto;max-width:1500px;padding:0 1em;color:#222}\
h1{font-size:1.5em}h2{font-size:1.15em;margin:2em 0 .5em}.runs{display:grid;grid-template-columns:repeat(auto-fit,minmax(0,1fr));gap:1.5em;grid-auto-flow:column}\
.runs>*{min-width:0}div[id]{margin:1.2em 0}svg{width:100%;height:auto;border:1px solid #e4e4e4}table{border-collapse:collapse}td{padding:.1em 1em .1em 0;vertical-align:top;overflow-wrap:anywhere}\
td:first-child{color:#666;white-space:nowrap}.none{color:#888}.bad{color:#b00020}li{overflow-wrap:anywhere}";

/// `gradscope report`.
pub fn report(options: &ReportOptions) -> Result<()> {
    let mut all = vec![runs::find(&options.run)?];
    all.extend(options.other.as_ref().map(|other| runs::find(other)).transpose()?);
    let path = options.output.clone().unwrap_or_else(|| all[0].folder().join("report.html"));
    let page = page(&all)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("-o {}", path.display()))?;
    }
    files::write(&path, page.as_bytes()).with_context(|| format!("-o {}", path.display()))?;
    runs::say(&path.display());
    Ok(())
}

fn page(all: &[Run]) -> Result<String> {
    let (mut drawings, mut missing): (Vec<_>, Vec<String>) = (vec![], vec![]);
    for run in all {
        let gallery = pictures::gallery(run)?;
        drawings.push(gallery.drawings);
        missing.extend(gallery.missing);
    }
    let drawn = pictures::draw(drawings);
    let names: Vec<_> = all.iter().map(name).collect();
    let mut page = String::new();
    let mut put = |text: &str| page.push_str(text);
    put("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    put(&escaped(&names.join(" and ")));
    put(" - gradscope</title><style>");
    put(STYLE);
    put("</style></head><body><h1>gradscope report</h1><h2>Findings</h2>");
    let columns = |cells: Vec<String>| format!("<div class=\"runs\">{}</div>", cells.concat());
    let found = all.iter().zip(&names).map(|(run, name)| {
        Ok(format!("<section><h3>{}</h3>{}{}</section>", escaped(name), findings(run)?, facts(run)))
    });
    put(&columns(found.collect::<Result<Vec<_>>>()?));
    // Pictures that both have lie side by side.
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for picture in drawn.iter().flatten() {
        if !shown.iter().any(|(name, _)| *name == picture.name) {
            shown.push((&picture.name, &picture.title));
        }
    }
    for (name, title) in shown {
        let cell = |pictures: &Vec<Picture>| {
            let picture = pictures.iter().find(|picture| picture.name == name);
            picture.map_or_else(
                || format!("<p class=\"none\">{}: not recorded</p>", escaped(title)),
                |picture| format!("<div>{}</div>", picture.svg()),
            )
        };
        put(&format!("<div id=\"{name}\">{}</div>", columns(drawn.iter().map(cell).collect())));
    }
    if !missing.is_empty() {
        put("<h2>Not recorded</h2><ul>");
        missing.iter().for_each(|missing| put(&format!("<li>{}</li>", escaped(missing))));
        put("</ul>");
    }
    put("</body></html>\n");
    Ok(page)
}

fn name(run: &Run) -> String {
    let parts: Vec<_> =
        run.folder().components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// What a reader has to know first.
fn findings(run: &Run) -> Result<String> {
    let manifest = run.manifest();
    let mut lines: Vec<String> = Vec::new();
    let status = match run.status() {
        RunStatus::Running => "is being written",
        RunStatus::Finished => "finished",
        RunStatus::Interrupted => "was interrupted",
        RunStatus::Unfinished => "was not finished: its process was killed, or dropped its scope",
        other => other.id(),
    };
    let lacking = [
        (manifest.dropped_count, "left out because the staging ring was full"),
        (manifest.lost_count, "did not come back"),
        (manifest.unwritten_count, "and late figures could not be written"),
    ];
    let lacking = lacking.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} steps {why}"));
    for finding in run.findings()? {
        let class = if finding.severity == Severity::Note { "" } else { " class=\"bad\"" };
        lines.push(format!("<b{class}>{}</b>", escaped(&finding.to_string())));
    }
    if lines.is_empty()
        && let Some((step, count)) = pictures::first_nonfinite(run)?
    {
        lines.push(format!("<b class=\"bad\">non-finite gradients</b> from step {step} on: {count} elements there"));
    }
    let reading = Reading::of(run)?;
    if lines.is_empty() {
        lines.push(match reading.coverage.judged.is_empty() {
            true => "nothing is known of the run: no rule could judge it".into(),
            false => "nothing is wrong, as far as the rules see that could judge the run".into(),
        });
    }
    lines.push(format!("rules: {}", escaped(&reading.coverage.to_string())));
    lines.push(format!("the run {status}, with {} steps recorded", reading.step_count));
    lines.extend(lacking.map(|line| format!("<b class=\"bad\">{line}</b>")));
    let finals = run
        .series(|name| ["loss", "validation/loss", "accuracy", "validation/accuracy"].contains(&name.name.as_str()))?;
    if let Some(headline) = &reading.headline {
        let how = if headline.name == "loss" {
            "loss, median of the last eighth of the run"
        } else {
            "validation loss at last"
        };
        lines.push(format!("{how}: {:.4}", headline.value));
    }
    for series in &finals {
        let (Some((_, first)), Some((step, last))) = (series.points.first(), series.points.last()) else { continue };
        let finite = series.points.iter().rposition(|(_, value)| value.is_finite()).map_or(0, |at| at + 1);
        let name = escaped(&series.name.name);
        lines.push(match series.points.get(finite) {
            Some((since, _)) => format!("<b class=\"bad\">{name}: NaN since step {since}</b>, {first:.4} at first"),
            None => format!("{name}: {first:.4} at first, {last:.4} at step {step}"),
        });
    }
    lines.extend(reading.notices.iter().map(|notice| escaped(&notice.to_string())));
    let items: String = lines.iter().map(|line| format!("<li>{line}</li>")).collect();
    Ok(format!("<ul>{items}</ul>"))
}

fn facts(run: &Run) -> String {
    let manifest = run.manifest();
    let mut table = String::from("<table>");
    let mut row = |name: &str, value: &str| {
        let _ = write!(table, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value));
    };
    manifest.fact_lines().iter().for_each(|(name, value)| row(name, value));
    row("statistics", &manifest.groups().to_string());
    row("parameters", &run.params().len().to_string());
    for segment in &manifest.segments {
        let from =
            if manifest.segments.len() > 1 { format!(" (from step {})", segment.first_step) } else { String::new() };
        row("adapter", &format!("{}{from}", segment.adapter));
    }
    row("start", &manifest.start);
    row("end", manifest.end.as_deref().unwrap_or("-"));
    table + "</table>"
}

/// Text that stands in a page as it is.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

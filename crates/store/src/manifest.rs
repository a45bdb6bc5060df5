//! `run.json`: what a run is, and which segments it has.

use super::{files, time};
use crate::Error;
use gradscope_record::record::{Averages, Finding, Notice, Param, RunStatus};
use gradscope_record::stats::Stats;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Version of the run folder's form. Version 1, a JSON line a step, was never published.
pub const SCHEMA_VERSION: u32 = 2;

/// A manifest of 100,000 parameters has 20 MB.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

pub(super) const NOTICES: &str = "notices.jsonl";
/// Folder of the last records before a finding.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// The file of findings in a run folder.
pub const FINDINGS: &str = "findings.jsonl";

/// The manifest of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the form: [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Of the writer, at the run's last start.
    pub gradscope_version: String,
    /// Version of burn that the writer was built with.
    #[serde(default)]
    pub burn_version: String,
    /// As the writer noted it last; [`Run::status`](super::Run::status) knows of killed processes too.
    pub status: RunStatus,
    /// UTC, `2026-11-21T21:30:00Z`.
    pub start: String,
    /// UTC, as `start`; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Steps that the run has a record of; while it is written, some seconds ago.
    #[serde(default)]
    pub step_count: u64,
    /// Steps left out because the staging ring was full.
    #[serde(default)]
    pub dropped_count: u64,
    /// Steps whose summaries did not come back.
    #[serde(default)]
    pub lost_count: u64,
    /// Steps, and figures, notices and findings beside them, that could not be written: the disk was full, gone or too slow.
    #[serde(default)]
    pub unwritten_count: u64,
    /// Name, graphics API and driver, at the last start.
    pub adapter: String,
    /// Which engine reduces the gradients.
    pub engine: String,
    /// Whether burn was built with its fusion, whoever turned it on.
    pub fusion: bool,
    /// Whether gradscope's feature `autotune` was on.
    #[serde(default)]
    pub autotune: bool,
    /// Of the scope, at the run's last start.
    pub settings: Value,
    /// The caller's own facts: model, optimizer, seed, data.
    #[serde(default)]
    pub facts: Map<String, Value>,
    /// What the column `tensor` counts through.
    pub params: Vec<Param>,
    /// Paths of the model's buffers, such as batch norm's running statistics: no optimizer updates them, and they are not
    /// recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buffers: Vec<String>,
    /// One a start of the process that trained.
    pub segments: Vec<Segment>,
}

/// What one process wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Segment {
    /// From 1: `stats-0001.arrows`.
    pub index: u32,
    /// Rows of earlier segments at or past this step are no part of the run any more. 0 for the first segment.
    pub first_step: u64,
    /// Name, graphics API and driver of what trained.
    #[serde(default)]
    pub adapter: String,
    /// `wgsl` or `cpu twin`.
    #[serde(default)]
    pub engine: String,
    /// UTC, `2026-11-21T21:30:00Z`.
    pub start: String,
    /// UTC; `None` while it is written, and where the process was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// What is known of a run when it starts.
#[derive(Clone, Debug, Default)]
pub struct RunStart {
    /// Version of burn that the writer was built with.
    pub burn_version: String,
    /// Name, graphics API and driver of what trains.
    pub adapter: String,
    /// Which engine reduces the gradients.
    pub engine: String,
    /// Whether burn was built with its fusion.
    pub fusion: bool,
    /// Whether gradscope's feature `autotune` was on.
    pub autotune: bool,
    /// What the manifest keeps as `settings`; readers know `stats`, `epsilons`, `average_factor`, `diagnose` and `survey`.
    pub settings: Value,
    /// The statistics that records have: they decide which columns there are.
    pub groups: Stats,
    /// Whether event files are written too.
    pub tensorboard: bool,
    /// What records' tensors are of, in order.
    pub params: Vec<Param>,
    /// Paths of the model's buffers, which are not recorded.
    pub buffers: Vec<String>,
    /// The caller's own facts: model, optimizer, seed, data.
    pub facts: Vec<(String, Value)>,
    /// Records that a snapshot has; 0 for none.
    pub flight_recorder_len: usize,
}

/// Steps of which a run has no record, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// They found the staging ring full.
    pub dropped_count: u64,
    /// Their summaries did not come back.
    pub lost_count: u64,
}

/// A line of `notices.jsonl`.
#[derive(Serialize, Deserialize)]
pub(super) struct NoticeLine {
    pub segment: u32,
    #[serde(flatten)]
    pub notice: Notice,
}

/// A line of `findings.jsonl`.
#[derive(Serialize, Deserialize)]
pub(super) struct FindingLine {
    pub segment: u32,
    #[serde(flatten)]
    pub finding: Finding,
}

impl Manifest {
    /// Its file in a run folder.
    pub const FILE: &'static str = "run.json";

    /// Reads the manifest of a run folder.
    ///
    /// # Errors
    /// Where there is none, it is no manifest, or it is of a newer form.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(Self::FILE);
        let unreadable = |reason: String| Error::UnreadableRun { path: path.clone(), reason };
        let bytes = files::read(&path, MANIFEST_BYTES_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unreadable(
                "it is not there: this is no run folder; name the one below runs/ that holds a run.json".into(),
            ),
            _ => unreadable(error.to_string()),
        })?;
        // The version first: a newer manifest need not have today's fields.
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| unreadable(format!("it is damaged ({error}); restore it from a copy")))?;
        match value.get("schema_version").and_then(Value::as_u64) {
            Some(version) if version > u64::from(SCHEMA_VERSION) => Err(unreadable(format!(
                "its form is version {version}, and this gradscope reads up to {SCHEMA_VERSION}: a newer gradscope opens it"
            ))),
            Some(version) if version == u64::from(SCHEMA_VERSION) => serde_json::from_value(value)
                .map_err(|error| unreadable(format!("it is damaged ({error}); restore it from a copy"))),
            Some(version) => Err(unreadable(format!("its form is version {version}, which was never published"))),
            None => Err(unreadable("it has no schema_version: some other program's file?".into())),
        }
    }

    /// Whole or not at all: a reader never meets half a manifest.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let partial = folder.join(Self::FILE).with_extension("json.partial");
        let mut file = files::create(&partial)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(partial, folder.join(Self::FILE))
    }

    /// Whether the folder still has its manifest.
    pub(super) fn is_there(folder: &Path) -> bool {
        folder.join(Self::FILE).exists()
    }

    /// The statistics that the run's last scope was asked for.
    pub fn groups(&self) -> Stats {
        self.settings["stats"].as_str().and_then(|list| list.parse().ok()).unwrap_or_default()
    }

    /// The epsilons of near zeros; the defaults where the settings don't tell.
    pub fn epsilons(&self) -> [f64; 2] {
        serde_json::from_value(self.settings["epsilons"].clone())
            .unwrap_or_else(|_| gradscope_record::stats::Epsilons::default().values())
    }

    /// Facts in words, those inside a fact by its name and theirs: `recipe.lr`. What is null is left out.
    pub fn fact_lines(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.fact_values().into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    /// As [`Manifest::fact_lines`], as JSON has them.
    pub(super) fn fact_values(&self) -> Vec<(String, &Value)> {
        fn flatten<'a>(name: &str, value: &'a Value, into: &mut Vec<(String, &'a Value)>) {
            match value {
                Value::Null => {}
                Value::Object(fields) => {
                    fields.iter().for_each(|(field, value)| flatten(&format!("{name}.{field}"), value, into));
                }
                value => into.push((name.to_owned(), value)),
            }
        }
        let mut found = Vec::new();
        self.facts.iter().for_each(|(name, value)| flatten(name, value, &mut found));
        found
    }

    /// Share of the past in moving averages.
    pub(super) fn average_factor(&self) -> f64 {
        self.settings["average_factor"].as_f64().unwrap_or(Averages::DEFAULT_FACTOR)
    }

    /// Rows of the segment at or past this step are no part of the run: a later one goes on from there.
    pub fn limit(&self, index: u32) -> u64 {
        let later = self.segments.iter().filter(|segment| segment.index > index);
        later.map(|segment| segment.first_step).min().unwrap_or(u64::MAX)
    }

    /// Begins a segment that goes on from `first_step`.
    pub(super) fn begin(&mut self, first_step: u64) -> u32 {
        let index = self.segments.iter().map(|segment| segment.index).max().unwrap_or(0) + 1;
        let start = time::now();
        let (adapter, engine) = (self.adapter.clone(), self.engine.clone());
        self.segments.push(Segment { index, first_step, adapter, engine, start, end: None });
        self.status = RunStatus::Running;
        self.end = None;
        index
    }

    pub(super) fn close(&mut self, status: RunStatus) {
        let end = time::now();
        self.status = status;
        if let Some(segment) = self.segments.last_mut() {
            segment.end = Some(end.clone());
        }
        self.end = Some(end);
    }
}

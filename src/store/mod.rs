//! The run folder: a manifest, and one record a step.

mod time;

use crate::error::Error;
use crate::record::{Notice, Param, RunStatus, StepRecord};
use crate::summary::Summary;
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Version of what [`RunWriter`] writes.
pub const SCHEMA_VERSION: u32 = 1;

/// Records reach the disk at least this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What is known of a run when it starts.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub adapter: String,
    /// Which engine reduces the gradients.
    pub engine: &'static str,
    /// Whether burn was built with its fusion.
    pub fusion: bool,
    pub settings: Value,
    pub params: Vec<Param>,
    /// The caller's own facts: model, optimizer, seed, data.
    pub facts: Vec<(String, Value)>,
}

/// Writes `run.json`, `steps.jsonl` and, where there are any, `notices.jsonl` into a folder of their own.
pub struct RunWriter {
    folder: PathBuf,
    manifest: Map<String, Value>,
    steps: BufWriter<File>,
    flushed: Instant,
    step_count: u64,
    closed: bool,
}

impl RunWriter {
    /// Makes `<parent>/<UTC time>-<id>/` and its manifest.
    ///
    /// # Errors
    /// Where the folder or a file in it can't be made.
    pub fn create(parent: &Path, manifest: Manifest) -> Result<Self, Error> {
        let now = std::time::SystemTime::now();
        let id = std::process::id() ^ now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        let folder = parent.join(format!("{}-{:05x}", time::stamp(now), id & 0xf_ffff));
        let failed = |error: io::Error| Error::RunFolder { path: folder.clone(), reason: error.to_string() };
        fs::create_dir_all(parent).map_err(failed)?;
        fs::create_dir(&folder).map_err(failed)?;
        let mut fields = Map::new();
        let facts: Map<String, Value> = manifest.facts.into_iter().collect();
        for (name, value) in [
            ("schema_version", json!(SCHEMA_VERSION)),
            ("gradscope_version", json!(env!("CARGO_PKG_VERSION"))),
            ("status", json!(RunStatus::Running)),
            ("start", json!(time::rfc3339(now))),
            ("adapter", json!(manifest.adapter)),
            ("engine", json!(manifest.engine)),
            ("fusion", json!(manifest.fusion)),
            ("settings", manifest.settings),
            ("facts", Value::Object(facts)),
            ("params", json!(manifest.params)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        let made = || -> io::Result<Self> {
            let writer = Self {
                manifest: fields,
                steps: BufWriter::new(File::create(folder.join("steps.jsonl"))?),
                flushed: Instant::now(),
                step_count: 0,
                closed: false,
                folder: folder.clone(),
            };
            writer.write_manifest().map(|()| writer)
        };
        made().map_err(|error| {
            // Nothing half-made stays behind.
            let _ = fs::remove_dir_all(&folder);
            failed(error)
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends a record; it is on disk a second later at most, if records keep coming.
    ///
    /// # Errors
    /// As the file system's.
    pub fn write(&mut self, record: &StepRecord) -> io::Result<()> {
        serde_json::to_writer(&mut self.steps, record)?;
        self.steps.write_all(b"\n")?;
        self.step_count += u64::from(!record.last_move);
        if self.flushed.elapsed() >= FLUSH_EVERY {
            self.steps.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }

    /// Appends a notice to `notices.jsonl`, at once.
    ///
    /// # Errors
    /// As the file system's.
    pub fn write_notice(&mut self, notice: &Notice) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("notices.jsonl"))?;
        let mut line = serde_json::to_vec(notice)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Flushes, notes `status` and the end in the manifest, and returns the folder.
    ///
    /// # Errors
    /// As the file system's.
    pub fn finish(mut self, status: RunStatus, summary: &Summary) -> Result<PathBuf, Error> {
        self.manifest.insert("dropped_count".into(), json!(summary.dropped_count));
        self.manifest.insert("lost_count".into(), json!(summary.lost_count));
        self.close(status)
            .map(|()| self.folder.clone())
            .map_err(|error| Error::RunFolder { path: self.folder.clone(), reason: error.to_string() })
    }

    fn close(&mut self, status: RunStatus) -> io::Result<()> {
        self.closed = true;
        // The manifest says how the run ended even where its last records could not be written.
        let flushed = self.steps.flush();
        self.manifest.insert("status".into(), json!(status));
        self.manifest.insert("end".into(), json!(time::rfc3339(std::time::SystemTime::now())));
        self.manifest.insert("step_count".into(), json!(self.step_count));
        let written = self.write_manifest();
        flushed.and(written)
    }

    /// Whole or not at all: a reader never meets half a manifest.
    fn write_manifest(&self) -> io::Result<()> {
        let partial = self.folder.join("run.json.partial");
        fs::write(&partial, serde_json::to_vec_pretty(&self.manifest)?)?;
        fs::rename(partial, self.folder.join("run.json"))
    }
}

impl Drop for RunWriter {
    /// A writer that was not finished leaves what it has, and says so.
    fn drop(&mut self) {
        if !self.closed {
            let _ = self.close(RunStatus::Unfinished);
        }
    }
}

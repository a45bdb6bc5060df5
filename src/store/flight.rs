//! The flight recorder: the last records, written out when something is found.

use super::manifest::SNAPSHOTS;
use crate::record::{Action, Finding, StepRecord};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Snapshots of one process: a run that goes from bad to worse does not fill the disk.
const SNAPSHOT_COUNT_MAX: usize = 16;

pub(super) struct FlightRecorder {
    len: usize,
    records: VecDeque<Box<StepRecord>>,
    snapshot_count: usize,
}

impl FlightRecorder {
    pub fn new(len: usize) -> Self {
        Self { len, records: VecDeque::new(), snapshot_count: 0 }
    }

    pub fn push(&mut self, record: Box<StepRecord>) {
        if self.len > 0 {
            while self.records.len() >= self.len {
                self.records.pop_front();
            }
            self.records.push_back(record);
        }
    }

    /// The records up to here, a JSON line each, where the finding is new and asks for them. One that can't be written is left out: the
    /// run's own tables have its steps.
    pub fn snapshot(&mut self, folder: &Path, finding: &Finding) {
        let wanted = finding.open && finding.action >= Action::Snapshot && self.snapshot_count < SNAPSHOT_COUNT_MAX;
        if wanted && !self.records.is_empty() {
            self.snapshot_count += 1;
            let _ = self.write(folder, finding);
        }
    }

    fn write(&self, folder: &Path, finding: &Finding) -> io::Result<()> {
        let folder = folder.join(SNAPSHOTS);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("step-{:09}-{}.jsonl", finding.last_step, finding.rule));
        let mut file = BufWriter::new(File::create(path)?);
        for record in &self.records {
            serde_json::to_writer(&mut file, record)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }
}

//! The flight recorder: the last records, written out when something is found.

use super::files;
use super::manifest::SNAPSHOTS;
use gradscope_record::record::{Action, Finding, Rule, StepRecord};
use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Snapshots of one process: a run that goes from bad to worse does not fill the disk.
pub const SNAPSHOT_COUNT_MAX: usize = 16;
/// And those of one rule: an overflow that comes again and again leaves room for others.
const SNAPSHOT_COUNT_MAX_OF_RULE: usize = 3;

pub(super) struct FlightRecorder {
    len: usize,
    records: VecDeque<Box<StepRecord>>,
    /// Rules that have had one written.
    snapshots: Vec<Rule>,
}

impl FlightRecorder {
    pub fn new(len: usize) -> Self {
        Self { len, records: VecDeque::new(), snapshots: vec![] }
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
        let of_rule = self.snapshots.iter().filter(|rule| **rule == finding.rule).count();
        let has_room = self.snapshots.len() < SNAPSHOT_COUNT_MAX && of_rule < SNAPSHOT_COUNT_MAX_OF_RULE;
        if finding.open && finding.action >= Action::Snapshot && has_room && !self.records.is_empty() {
            self.snapshots.push(finding.rule);
            let _ = self.write(folder, finding);
        }
    }

    fn write(&self, folder: &Path, finding: &Finding) -> io::Result<()> {
        let folder = folder.join(SNAPSHOTS);
        files::create_folder(&folder)?;
        let path = folder.join(format!("step-{:09}-{}.jsonl", finding.last_step, finding.rule));
        let mut file = BufWriter::new(files::create(&path)?);
        for record in &self.records {
            serde_json::to_writer(&mut file, record)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }
}

//! Run folders, read back.

use super::files;
use super::lock::Lock;
use super::manifest::{FINDINGS, FindingLine, Manifest, NOTICES, NoticeLine};
use super::records::Records;
use super::source::{Source, damaged};
use super::tables::{
    HistogramTable, MapRow, MapTable, ScalarRows, ScalarTable, StatsArrays, StatsTable, Table, TapTable,
    histogram_rows, map_rows, place,
};
use crate::Error;
use gradscope_record::record::{
    Averages, Finding, HistogramRecord, Notice, Param, RunStatus, SignMapRow, StepRecord, TensorRecord,
};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// A run folder, read back: finished, left behind by a killed process, or still being written.
///
/// Every whole batch of rows is read, and a torn tail is ignored. Rows that a resumed run has written anew are read once.
///
/// ```no_run
/// # fn main() -> Result<(), gradscope_store::Error> {
/// let run = gradscope_store::Run::open("runs/mlp/20261121T213000Z-0a1b2")?;
/// println!("{:?}, {} steps", run.status(), run.step_count(u64::MAX)?);
/// for series in run.series(|name| name.name == "loss")? {
///     for (step, value) in &series.points {
///         println!("{step} {value}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Run {
    folder: PathBuf,
    manifest: Manifest,
}

/// Findings and notices of a run: a million lines.
const LINES_BYTES_MAX: u64 = 512 << 20;

/// Whose figure a series is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesName {
    /// `scalar` (given with a step), `log` (given after it), `global` (over all tensors), `group/NAME` (over a group of
    /// layers), `cost` (of observing).
    pub source: String,
    /// The figure's own name, such as `loss` or `l2_norm`.
    pub name: String,
}

/// A figure over the steps, in the order they were recorded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// Whose figure it is, and which.
    pub name: SeriesName,
    /// Step and value; NaN where it was none.
    pub points: Vec<(u64, f64)>,
    /// The epoch of each point.
    pub epochs: Vec<Option<u64>>,
}

/// One tensor at one step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TensorRow {
    /// The step's number.
    pub step: u64,
    /// As given with the step.
    pub epoch: Option<u64>,
    /// Place in the table of parameters.
    pub tensor: usize,
    /// Whether the row holds the last move alone: its step is the one after the last, which was not observed.
    pub last_move: bool,
    /// As it was recorded, but for moving averages.
    pub record: TensorRecord,
}

impl Run {
    /// Opens a run folder.
    ///
    /// # Errors
    /// Where there is no manifest, it is damaged, or it is of a newer form.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        let manifest = Manifest::read(&folder)?;
        Ok(Self { folder, manifest })
    }

    /// Whether the folder is one of a run.
    pub fn is_at(folder: &Path) -> bool {
        Manifest::is_there(folder)
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `run.json`, as it was when the run was opened.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the entries of [`StepRecord::tensors`] are of.
    pub fn params(&self) -> &[Param] {
        &self.manifest.params
    }

    /// Unix time, in seconds, of the run's start; `None` where the manifest has none.
    pub fn start_secs(&self) -> Option<f64> {
        super::time::unix_secs(&self.manifest.start)
    }

    /// Unix time, in seconds, of the run's end; `None` while it goes on.
    pub fn end_secs(&self) -> Option<f64> {
        super::time::unix_secs(self.manifest.end.as_deref()?)
    }

    /// Whether a process is writing the run at this moment. False where the file system has no locks.
    pub fn is_live(&self) -> bool {
        Lock::is_held(&self.folder)
    }

    /// How the run stands: one whose process was killed is `Unfinished`.
    pub fn status(&self) -> RunStatus {
        match self.manifest.status {
            RunStatus::Running if !self.is_live() => RunStatus::Unfinished,
            status => status,
        }
    }

    /// Turns closed segments into Parquet, where that was not done: after a killed process, or by a gradscope without the
    /// feature.
    ///
    /// # Errors
    /// Where the run is being written, or a file can't be read or written; what could not be compacted stays as it was.
    #[cfg(feature = "parquet")]
    pub fn compact(&mut self) -> Result<(), Error> {
        let lock = Lock::take(&self.folder)?;
        // What another process wrote since the run was opened.
        self.manifest = Manifest::read(&self.folder)?;
        if self.manifest.status == RunStatus::Running {
            if !lock.is_certain() {
                return Err(Error::RunTaken { path: self.folder.clone() });
            }
            self.manifest.step_count = self.step_count(u64::MAX)?;
            self.manifest.close(RunStatus::Unfinished);
            let failed = |error: io::Error| Error::RunFolder { path: self.folder.clone(), reason: error.to_string() };
            self.manifest.write(&self.folder).map_err(failed)?;
        }
        super::compact::closed(&self.folder, &self.manifest)
    }

    /// The figure by which runs are compared: the last validation loss, or the median of the last eighth of the losses.
    /// `None` where the loop gave neither.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn headline(&self) -> Result<Option<super::reading::Headline>, Error> {
        let series = self.series(|name| ["loss", "validation/loss"].contains(&name.name.as_str()))?;
        Ok(super::reading::Headline::of(&series))
    }

    /// Whether the run has tapped tensors.
    pub(super) fn has_taps(&self) -> Result<bool, Error> {
        let sources = self.sources(TapTable::NAME)?;
        Ok(sources.iter().map(|(_, source)| source.row_count()).collect::<Result<Vec<_>, _>>()?.iter().any(|n| *n > 0))
    }

    /// Steps before `end` that the run has a record of.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn step_count(&self, end: u64) -> Result<u64, Error> {
        let series = self.series(|name| name.source == "cost" && name.name == "submit_secs")?;
        let steps = series.iter().flat_map(|series| &series.points).filter(|(step, _)| *step < end);
        Ok(steps.count() as u64)
    }

    /// Segments that have no file of a table: nothing was written, or somebody removed it.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn segments_without(&self, table: &str) -> Result<Vec<u32>, Error> {
        let found: Vec<u32> = self.sources(table)?.into_iter().map(|(index, _)| index).collect();
        let all = self.manifest.segments.iter().map(|segment| segment.index);
        Ok(all.filter(|index| !found.contains(index)).collect())
    }

    /// The files of a table, in order of their segments.
    pub(super) fn sources(&self, table: &str) -> Result<Vec<(u32, Source)>, Error> {
        let mut sources = Vec::new();
        for segment in &self.manifest.segments {
            let limit = self.manifest.limit(segment.index);
            let source = Source::open(&self.folder, table, segment.index, limit)?;
            sources.extend(source.map(|source| (segment.index, source)));
        }
        Ok(sources)
    }

    /// Figures that no single tensor owns: those `wanted`, in the order they first came. Those of the parameters after
    /// the last update are not among them: that is no step.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn series(&self, wanted: impl Fn(&SeriesName) -> bool) -> Result<Vec<Series>, Error> {
        let mut places: HashMap<String, HashMap<String, Option<usize>>> = HashMap::new();
        let mut found: Vec<Series> = Vec::new();
        let mut rows = ScalarRows::default();
        for (_, source) in self.sources(ScalarTable::NAME)? {
            source.each(None, |batch| {
                rows.each(batch, |row| {
                    let known = places.get(row.source).and_then(|names| names.get(row.name)).copied();
                    let place = known.unwrap_or_else(|| {
                        let name = SeriesName { source: row.source.to_owned(), name: row.name.to_owned() };
                        let place = wanted(&name).then(|| {
                            found.push(Series { name: name.clone(), points: vec![], epochs: vec![] });
                            found.len() - 1
                        });
                        places.entry(name.source).or_default().insert(name.name, place);
                        place
                    });
                    if let Some(place) = place.filter(|_| !row.is_last_move) {
                        found[place].points.push((row.step, row.value));
                        found[place].epochs.push(row.epoch);
                    }
                })
            })?;
        }
        Ok(found)
    }

    /// Hands over every row of `stats`.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn each_row(&self, mut row: impl FnMut(TensorRow)) -> Result<(), Error> {
        let tensor_count = self.params().len();
        for (_, source) in self.sources(StatsTable::NAME)? {
            source.each(None, |batch| {
                let rows = StatsArrays::bind(batch)?;
                for i in 0..batch.num_rows() {
                    let tensor = place(rows.tensor.value(i), tensor_count)?;
                    row(TensorRow {
                        step: rows.step.value(i),
                        epoch: rows.epoch_at(i),
                        tensor,
                        last_move: rows.is_last_move(i),
                        record: rows.record(i),
                    });
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Hands over every record, as the scope made it.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn each_record(&self, mut record: impl FnMut(StepRecord)) -> Result<(), Error> {
        let factor = self.manifest.average_factor();
        for segment in &self.manifest.segments {
            let limit = self.manifest.limit(segment.index);
            let mut records = Records::open(&self.folder, segment.index, limit, self.params().len())?;
            let mut averages: Vec<Option<Averages>> = vec![None; self.params().len()];
            while let Some(mut found) = records.next()? {
                if !found.last_move {
                    for (average, tensor) in averages.iter_mut().zip(&mut found.tensors) {
                        *average = Averages::advance(*average, tensor, factor);
                        tensor.averages = average.filter(|_| tensor.summary().is_some());
                    }
                }
                record(found);
            }
        }
        Ok(())
    }

    /// Hands over every histogram, with its step.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn each_histogram(&self, mut histogram: impl FnMut(u64, HistogramRecord)) -> Result<(), Error> {
        let tensor_count = self.params().len();
        for (_, source) in self.sources(HistogramTable::NAME)? {
            source.each(None, |batch| {
                let mut misplaced = Ok(());
                histogram_rows(batch, |step, record| match place(record.param as u64, tensor_count) {
                    Ok(_) => histogram(step, record),
                    Err(reason) => misplaced = Err(reason),
                })?;
                misplaced
            })?;
        }
        Ok(())
    }

    /// Hands over every line of the sign map, with its step.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn each_sign_map_line(&self, mut line: impl FnMut(u64, SignMapRow)) -> Result<(), Error> {
        for (_, source) in self.sources(MapTable::NAME)? {
            source.each(None, |batch| {
                map_rows(batch, |step, row| {
                    if let MapRow::SignMap(row) = row {
                        line(step, row);
                    }
                })
            })?;
        }
        Ok(())
    }

    /// The parameters that the sign map lays end to end, by their places.
    pub fn sign_map_params(&self) -> Vec<usize> {
        let pattern = self.manifest.settings["survey"]["sign_map"][0]["pattern"].as_str();
        let regex = pattern.and_then(|pattern| regex::Regex::new(pattern).ok());
        let selected = |param: &Param| regex.as_ref().is_none_or(|regex| regex.is_match(&param.path));
        (0..self.params().len()).filter(|&place| selected(&self.params()[place])).collect()
    }

    /// What went wrong with observing.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn notices(&self) -> Result<Vec<Notice>, Error> {
        let mut found = Vec::new();
        for NoticeLine { segment, notice } in self.lines::<NoticeLine>(NOTICES)? {
            if notice.step < self.manifest.limit(segment) {
                notice.put_into(&mut found);
            }
        }
        Ok(found)
    }

    /// What was diagnosed: an episode each, as it was told last, in the order they were found.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut found: Vec<Finding> = Vec::new();
        for FindingLine { segment, mut finding } in self.lines(FINDINGS)? {
            let limit = self.manifest.limit(segment);
            if finding.first_step >= limit {
                continue;
            }
            // Where a later segment goes on, it ended with its own: if it still holds, that finds it anew.
            finding.last_step = finding.last_step.min(limit - 1);
            finding.open &= limit == u64::MAX;
            finding.put_into(&mut found);
        }
        Ok(found)
    }

    fn lines<T: serde::de::DeserializeOwned>(&self, file: &str) -> Result<Vec<T>, Error> {
        let path = self.folder.join(file);
        let bytes = match files::read(&path, LINES_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(damaged(&path, &error.to_string())),
        };
        // A line that can't be read is a torn one, or of a newer gradscope.
        Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

//! Run folders, read back.

use super::curves::Curves;
use super::manifest::{Manifest, NoticeLine};
use super::source::{Batches, Source, damaged, within};
use super::tables::{MapRow, ScalarRow, StatsArrays, StepScalars, histogram_rows, map_rows, tap_rows};
use super::writer;
use crate::error::Error;
use crate::record::{
    Averages, Gradient, HistogramRecord, Notice, Param, RunStatus, Shapes, SignMapRow, StepRecord, TapRecord,
    TensorRecord,
};
use arrow_array::RecordBatch;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A run folder, read back: finished, left behind by a killed process, or still being written.
///
/// Every whole batch of rows is read, and a torn tail is ignored. Rows that a resumed run has written anew are read once.
///
/// ```no_run
/// # fn main() -> Result<(), gradscope::Error> {
/// let run = gradscope::Run::open("runs/mlp/20261121T213000Z-0a1b2")?;
/// let loss = run.series(|figure| figure.name == "loss")?;
/// for (step, value) in &loss[0].points {
///     println!("{step} {value}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Run {
    folder: PathBuf,
    manifest: Manifest,
}

/// Curves of a run of up to this many rows are read from them.
const ROW_COUNT_MAX: u64 = 200_000;

/// Whose figure a series is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesName {
    /// `scalar` (given with a step), `log` (given after it), `global` (over all tensors), `group/NAME` (over a group of
    /// layers), `cost` (of observing).
    pub source: String,
    pub name: String,
}

/// A figure over the steps, in the order they were recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: SeriesName,
    /// Step and value; NaN where it was none.
    pub points: Vec<(u64, f64)>,
    /// The epoch of each point.
    pub epochs: Vec<Option<u64>>,
}

/// One tensor at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRow {
    pub step: u64,
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

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the entries of [`StepRecord::tensors`] are of.
    pub fn params(&self) -> &[Param] {
        &self.manifest.params
    }

    /// Whether a process is writing the run at this moment.
    pub fn is_live(&self) -> bool {
        writer::is_locked(&self.folder)
    }

    /// How the run stands: one whose process was killed is `Unfinished`.
    pub fn status(&self) -> RunStatus {
        match self.manifest.status {
            RunStatus::Running if !self.is_live() => RunStatus::Unfinished,
            status => status,
        }
    }

    /// Turns closed segments into Parquet, where that was not done: after a killed process, or by a gradscope without the
    /// feature. A run that is being written is left alone.
    ///
    /// # Errors
    /// Where a file can't be read or written; what could not be compacted stays as it was.
    #[cfg(feature = "parquet")]
    pub fn compact(&self) -> Result<(), Error> {
        if self.is_live() { Ok(()) } else { super::compact::closed(&self.folder, &self.manifest) }
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

    /// Figures that no single tensor owns: those `wanted`, in the order they first came.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn series(&self, wanted: impl Fn(&SeriesName) -> bool) -> Result<Vec<Series>, Error> {
        let mut places: HashMap<String, HashMap<String, Option<usize>>> = HashMap::new();
        let mut found: Vec<Series> = Vec::new();
        for (_, source) in self.sources("scalars")? {
            source.each(None, |batch| {
                ScalarRow::each(batch, |row| {
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
                    if let Some(place) = place {
                        found[place].points.push((row.step, row.value));
                        found[place].epochs.push(row.epoch);
                    }
                })
            })?;
        }
        Ok(found)
    }

    /// Every figure of every tensor in at most `point_count` spans of steps, from the overview where the run is long.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn curves(&self, point_count: usize) -> Result<Curves, Error> {
        self.curves_within(point_count, ROW_COUNT_MAX)
    }

    /// As [`Run::curves`], from the overview where there are more rows than that.
    ///
    /// # Errors
    /// As [`Run::curves`].
    #[doc(hidden)]
    pub fn curves_within(&self, point_count: usize, row_count_max: u64) -> Result<Curves, Error> {
        Curves::read(self, point_count, row_count_max)
    }

    /// Hands over every row of `stats`.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn each_row(&self, mut row: impl FnMut(TensorRow)) -> Result<(), Error> {
        let tensor_count = self.params().len();
        for (_, source) in self.sources("stats")? {
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
        for (_, source) in self.sources("histograms")? {
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

    /// The lines of the sign map, with their steps.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn sign_map(&self) -> Result<Vec<(u64, SignMapRow)>, Error> {
        let mut lines = Vec::new();
        for (_, source) in self.sources("maps")? {
            source.each(None, |batch| {
                map_rows(batch, |step, row| {
                    if let MapRow::SignMap(row) = row {
                        lines.push((step, row));
                    }
                })
            })?;
        }
        Ok(lines)
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
        let path = self.folder.join("notices.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(damaged(&path, &error.to_string())),
        };
        // A line that is no notice is a torn one, or of a newer gradscope.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<NoticeLine>(line).ok());
        let limit = |index| self.manifest.limit(index);
        Ok(lines.filter(|line| line.notice.step < limit(line.segment)).map(|line| line.notice).collect())
    }
}

pub(super) fn place(tensor: u64, tensor_count: usize) -> Result<usize, String> {
    let place = usize::try_from(tensor).ok().filter(|place| *place < tensor_count);
    place.ok_or_else(|| format!("a row is of tensor {tensor}, and run.json has {tensor_count}"))
}

type Decode<T> = fn(&RecordBatch, &mut VecDeque<(u64, T)>) -> Result<(), String>;

/// Rows of a table, decoded as they are asked for.
struct Cursor<T> {
    path: PathBuf,
    batches: Batches,
    limit: u64,
    decode: Decode<T>,
    rows: VecDeque<(u64, T)>,
}

impl<T> Cursor<T> {
    fn open(folder: &Path, table: &str, index: u32, limit: u64, decode: Decode<T>) -> Result<Self, Error> {
        let batches = match Source::open(folder, table, index, limit)? {
            Some(source) => source.batches(0, None)?,
            None => Box::new(std::iter::empty()),
        };
        let path = folder.join(format!("{table}-{index:04}"));
        Ok(Self { path, batches, limit, decode, rows: VecDeque::new() })
    }

    /// Decodes until `enough`, or to the end.
    fn fill(&mut self, enough: impl Fn(&VecDeque<(u64, T)>) -> bool) -> Result<(), Error> {
        while !enough(&self.rows) {
            let Some(batch) = self.batches.next() else { break };
            let (rows, decode) = (&mut self.rows, self.decode);
            let decoded = batch.and_then(|batch| within(&batch, self.limit, |batch| decode(batch, rows)));
            decoded.map_err(|reason| damaged(&self.path, &reason))?;
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u64>, Error> {
        self.fill(|rows| !rows.is_empty())?;
        Ok(self.rows.front().map(|(step, _)| *step))
    }

    /// The rows of a step that is next.
    fn take(&mut self, step: u64) -> Result<Vec<T>, Error> {
        self.fill(|rows| rows.back().is_some_and(|(last, _)| *last > step))?;
        let mut found = Vec::new();
        while let Some((_, row)) = self.rows.pop_front_if(|(at, _)| *at == step) {
            found.push(row);
        }
        Ok(found)
    }
}

struct StatsRow {
    tensor: u64,
    epoch: Option<u64>,
    last_move: bool,
    record: TensorRecord,
}

struct OwnedScalar {
    source: String,
    name: String,
    epoch: Option<u64>,
    value: f64,
}

/// The records of one segment, put together from its tables.
struct Records {
    tensor_count: usize,
    stats: Cursor<StatsRow>,
    scalars: Cursor<OwnedScalar>,
    taps: Cursor<TapRecord>,
    histograms: Cursor<HistogramRecord>,
    maps: Cursor<MapRow>,
}

impl Records {
    fn open(folder: &Path, index: u32, limit: u64, tensor_count: usize) -> Result<Self, Error> {
        let stats: Decode<StatsRow> = |batch, rows| {
            let arrays = StatsArrays::bind(batch)?;
            rows.extend((0..batch.num_rows()).map(|i| {
                let (tensor, epoch, last_move) = (arrays.tensor.value(i), arrays.epoch_at(i), arrays.is_last_move(i));
                (arrays.step.value(i), StatsRow { tensor, epoch, last_move, record: arrays.record(i) })
            }));
            Ok(())
        };
        let scalars: Decode<OwnedScalar> = |batch, rows| {
            ScalarRow::each(batch, |row| {
                // What came after its step is no part of the step's record, and out of order.
                if row.source() != super::tables::Source::Log {
                    let (source, name) = (row.source.to_owned(), row.name.to_owned());
                    rows.push_back((row.step, OwnedScalar { source, name, epoch: row.epoch, value: row.value }));
                }
            })
        };
        Ok(Self {
            tensor_count,
            stats: Cursor::open(folder, "stats", index, limit, stats)?,
            scalars: Cursor::open(folder, "scalars", index, limit, scalars)?,
            taps: Cursor::open(folder, "taps", index, limit, |batch, rows| {
                tap_rows(batch, |step, tap| rows.push_back((step, tap)))
            })?,
            histograms: Cursor::open(folder, "histograms", index, limit, |batch, rows| {
                histogram_rows(batch, |step, histogram| rows.push_back((step, histogram)))
            })?,
            maps: Cursor::open(folder, "maps", index, limit, |batch, rows| {
                map_rows(batch, |step, map| rows.push_back((step, map)))
            })?,
        })
    }

    fn next(&mut self) -> Result<Option<StepRecord>, Error> {
        // A killed process may have written a step to one table and not to another.
        let fronts =
            [self.stats.peek()?, self.scalars.peek()?, self.taps.peek()?, self.histograms.peek()?, self.maps.peek()?];
        let Some(step) = fronts.into_iter().flatten().min() else { return Ok(None) };
        let mut figures = StepScalars::default();
        for row in self.scalars.take(step)? {
            let OwnedScalar { source, name, epoch, value } = &row;
            figures.take(&ScalarRow { step, epoch: *epoch, source, name, value: *value });
        }
        let mut tensors = vec![TensorRecord::of(Gradient::NotDue); self.tensor_count];
        let (mut epoch, mut last_move) = (figures.epoch, figures.is_last_move());
        if last_move {
            tensors.fill(TensorRecord::of(Gradient::Missing));
        }
        for row in self.stats.take(step)? {
            let place = place(row.tensor, self.tensor_count).map_err(|reason| damaged(&self.stats.path, &reason))?;
            (epoch, last_move) = (epoch.or(row.epoch), last_move || row.last_move);
            tensors[place] = row.record;
        }
        let mut shapes = Shapes { histograms: self.histograms.take(step)?, ..Shapes::default() };
        for map in self.maps.take(step)? {
            match map {
                MapRow::Channels(channels) => shapes.channels.push(channels),
                MapRow::SignMap(row) => shapes.sign_map = Some(row),
            }
        }
        Ok(Some(StepRecord {
            step,
            epoch,
            last_move,
            scalars: std::mem::take(&mut figures.scalars),
            global: figures.global(),
            groups: figures.groups(),
            tensors,
            taps: self.taps.take(step)?,
            shapes: (shapes != Shapes::default()).then_some(shapes),
            cost: figures.cost(),
        }))
    }
}

//! Records put together from a segment's tables.

use super::frames::Batches;
use super::source::{Source, damaged, within};
use super::tables::{
    HistogramTable, MapRow, MapTable, ScalarRow, ScalarRows, ScalarTable, StatsArrays, StatsTable, StepScalars, Table,
    TapTable, histogram_rows, map_rows, place, tap_rows,
};
use crate::Error;
use arrow_array::RecordBatch;
use gradscope_record::record::{Global, Gradient, HistogramRecord, Shapes, StepRecord, TapRecord, TensorRecord};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

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
        let (path, batches): (_, Batches) = match Source::open(folder, table, index, limit)? {
            Some(source) => (source.path().to_owned(), source.batches(0, None)?),
            None => (PathBuf::new(), Box::new(std::iter::empty())),
        };
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
pub(super) struct Records {
    tensor_count: usize,
    stats: Cursor<StatsRow>,
    scalars: Cursor<OwnedScalar>,
    taps: Cursor<TapRecord>,
    histograms: Cursor<HistogramRecord>,
    maps: Cursor<MapRow>,
}

impl Records {
    pub fn open(folder: &Path, index: u32, limit: u64, tensor_count: usize) -> Result<Self, Error> {
        let stats: Decode<StatsRow> = |batch, rows| {
            let arrays = StatsArrays::bind(batch)?;
            rows.extend((0..batch.num_rows()).map(|i| {
                let (tensor, epoch, last_move) = (arrays.tensor.value(i), arrays.epoch_at(i), arrays.is_last_move(i));
                (arrays.step.value(i), StatsRow { tensor, epoch, last_move, record: arrays.record(i) })
            }));
            Ok(())
        };
        let scalars: Decode<OwnedScalar> = |batch, rows| {
            ScalarRows::default().each(batch, |row| {
                // What came after its step is no part of the step's record, and out of order.
                if row.source() != super::tables::Source::Log {
                    let (source, name) = (row.source.to_owned(), row.name.to_owned());
                    rows.push_back((row.step, OwnedScalar { source, name, epoch: row.epoch, value: row.value }));
                }
            })
        };
        Ok(Self {
            tensor_count,
            stats: Cursor::open(folder, StatsTable::NAME, index, limit, stats)?,
            scalars: Cursor::open(folder, ScalarTable::NAME, index, limit, scalars)?,
            taps: Cursor::open(folder, TapTable::NAME, index, limit, |batch, rows| {
                tap_rows(batch, |step, tap| rows.push_back((step, tap)))
            })?,
            histograms: Cursor::open(folder, HistogramTable::NAME, index, limit, |batch, rows| {
                histogram_rows(batch, |step, histogram| rows.push_back((step, histogram)))
            })?,
            maps: Cursor::open(folder, MapTable::NAME, index, limit, |batch, rows| {
                map_rows(batch, |step, map| rows.push_back((step, map)))
            })?,
        })
    }

    pub fn next(&mut self) -> Result<Option<StepRecord>, Error> {
        // A killed process may have written a step to one table and not to another.
        let fronts =
            [self.stats.peek()?, self.scalars.peek()?, self.taps.peek()?, self.histograms.peek()?, self.maps.peek()?];
        let Some(step) = fronts.into_iter().flatten().min() else { return Ok(None) };
        let mut figures = StepScalars::default();
        for row in self.scalars.take(step)? {
            let OwnedScalar { source, name, epoch, value } = &row;
            figures.take(&ScalarRow { step, epoch: *epoch, source, name, value: *value, is_last_move: false });
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
        for histogram in &shapes.histograms {
            let misplaced = |reason: String| damaged(&self.histograms.path, &reason);
            place(histogram.param as u64, self.tensor_count).map_err(misplaced)?;
        }
        for map in self.maps.take(step)? {
            match map {
                MapRow::Channels(channels) => {
                    let misplaced = |reason: String| damaged(&self.maps.path, &reason);
                    place(channels.param as u64, self.tensor_count).map_err(misplaced)?;
                    shapes.channels.push(channels);
                }
                MapRow::SignMap(row) => shapes.sign_map = Some(row),
            }
        }
        Ok(Some(StepRecord {
            step,
            epoch,
            unix_secs: figures.unix_secs(),
            last_move,
            scalars: std::mem::take(&mut figures.scalars),
            // A killed process may have left a step's rows without its figures.
            global: figures.global().unwrap_or_else(|| Global::of(&tensors)),
            groups: figures.groups(),
            tensors,
            taps: self.taps.take(step)?,
            shapes: (shapes != Shapes::default()).then_some(shapes),
            cost: figures.cost(),
        }))
    }
}

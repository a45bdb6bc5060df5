//! The overview: minimum, maximum and last value of every figure of every tensor over 2^k steps, written as the run goes,
//! so that no view has to read a long run's rows.

use super::segment::Stream;
use super::tables::{numbers, steps};
use arrow_array::builder::{Float32Builder, UInt64Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gradscope_record::record::{Figure, TensorRecord};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of a run folder that has the overview of its figures.
pub const FOLDER: &str = "overview";

/// log2 of the steps that the finest level sums up; each level above sums four of the one below.
const FINEST: u32 = 5;
const LEVEL_STEP: u32 = 2;
/// 2^19 steps a row: the coarsest.
const COARSEST: u32 = 19;

/// Minimum, maximum and last of a figure over a span of steps. NaN where there was none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Envelope {
    /// Smallest value, within f32's range.
    pub min: f32,
    /// Largest value, within f32's range.
    pub max: f32,
    /// The last value of the span.
    pub last: f32,
}

impl Envelope {
    pub(super) const NONE: Self = Self { min: f32::NAN, max: f32::NAN, last: f32::NAN };

    pub(super) fn of(value: Option<f64>) -> Self {
        // What is finite stays so, however large.
        let narrow = |value: f64| value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        value.map(narrow).map_or(Self::NONE, |value| Self { min: value, max: value, last: value })
    }

    /// Of this span followed by `later`. `f32::min` and `max` pass a NaN over.
    #[must_use]
    pub(super) fn then(self, later: Self) -> Self {
        let last = if later.last.is_nan() { self.last } else { later.last };
        Self { min: self.min.min(later.min), max: self.max.max(later.max), last }
    }
}

/// The levels that sum up no more than 2^`shift` steps, the coarsest first.
pub(super) fn levels_under(shift: u32) -> impl Iterator<Item = u32> {
    (FINEST..=shift.min(COARSEST)).rev().filter(|level| (level - FINEST).is_multiple_of(LEVEL_STEP))
}

pub(super) fn path(folder: &Path, index: u32, level: u32) -> PathBuf {
    folder.join(FOLDER).join(format!("{index:04}-{level:02}.arrows"))
}

/// All levels of a segment's overview.
pub(super) struct Overview {
    figures: Arc<[&'static Figure]>,
    levels: Vec<Level>,
}

/// A span that is being summed up.
struct Level {
    shift: u32,
    /// First and last step so far.
    span: Option<[u64; 2]>,
    /// By tensor, then figure.
    cells: Vec<Envelope>,
    seen: Vec<bool>,
    closed_count: u64,
    table: OverviewTable,
    stream: Stream,
}

impl Overview {
    /// `path` names the file of a level.
    pub fn new(figures: &[&'static Figure], tensor_count: usize, path: impl Fn(u32) -> PathBuf) -> Self {
        let level = |shift| Level {
            shift,
            span: None,
            cells: vec![Envelope::NONE; tensor_count * figures.len()],
            seen: vec![false; tensor_count],
            closed_count: 0,
            table: OverviewTable::new(figures),
            stream: Stream::new(path(shift)),
        };
        let levels = (FINEST..=COARSEST).step_by(LEVEL_STEP as usize).map(level).collect();
        Self { figures: figures.into(), levels }
    }

    /// Takes one tensor at one step; steps ascend. A tensor that the run does not have is left out.
    pub fn add(&mut self, step: u64, tensor: usize, record: &TensorRecord) {
        let Self { figures, levels } = self;
        let Some(finest) = levels.first_mut().filter(|finest| tensor < finest.seen.len()) else { return };
        if finest.span.is_some_and(|[first, _]| first >> FINEST != step >> FINEST) {
            close(levels);
        }
        let level = &mut levels[0];
        level.span = Some([level.span.map_or(step, |[first, _]| first.min(step)), step]);
        level.seen[tensor] = true;
        let cells = &mut level.cells[tensor * figures.len()..][..figures.len()];
        for (cell, figure) in cells.iter_mut().zip(figures.iter()) {
            *cell = cell.then(Envelope::of((figure.of)(record)));
        }
    }

    /// Writes the spans that are closed.
    pub fn flush(&mut self) -> io::Result<()> {
        self.levels.iter_mut().try_for_each(Level::flush)
    }

    /// Closes every span that is more than a copy of the level below, and writes it.
    pub fn finish(&mut self) -> io::Result<()> {
        for place in 0..self.levels.len() {
            if place > 0 && self.levels[place - 1].closed_count < 2 {
                break;
            }
            close(&mut self.levels[place..]);
        }
        for level in &mut self.levels {
            level.flush()?;
            level.stream.finish()?;
        }
        Ok(())
    }

    /// Whether spans could not be written.
    pub fn has_gaps(&self) -> bool {
        self.levels.iter().any(|level| level.stream.lost_batch_count > 0)
    }

    /// Removes the files.
    pub fn remove(&self) {
        self.levels.iter().for_each(|level| {
            let _ = fs::remove_file(level.stream.path());
        });
    }

    /// The files of the levels that have any rows.
    #[cfg(feature = "parquet")]
    pub fn paths(&self) -> Vec<PathBuf> {
        let written = self.levels.iter().map(|level| level.stream.path());
        written.filter(|path| path.exists()).map(Path::to_owned).collect()
    }
}

/// Closes the first level's span: its rows go to its table, and into the level above.
fn close(levels: &mut [Level]) {
    let Some((level, above)) = levels.split_first_mut() else { return };
    let Some([first, last]) = level.span.take() else { return };
    level.closed_count += 1;
    if above.first().is_some_and(|next| next.span.is_some_and(|[from, _]| from >> next.shift != first >> next.shift)) {
        close(above);
    }
    let figure_count = level.cells.len() / level.seen.len().max(1);
    for (tensor, seen) in level.seen.iter_mut().enumerate() {
        if !std::mem::take(seen) {
            continue;
        }
        let range = tensor * figure_count..(tensor + 1) * figure_count;
        level.table.push(first, last, tensor, &level.cells[range.clone()]);
        if let Some(next) = above.first_mut() {
            next.seen[tensor] = true;
            next.span = Some([next.span.map_or(first, |[from, _]| from.min(first)), last]);
            for (into, cell) in next.cells[range.clone()].iter_mut().zip(&level.cells[range.clone()]) {
                *into = into.then(*cell);
            }
        }
        level.cells[range].fill(Envelope::NONE);
    }
}

impl Level {
    fn flush(&mut self) -> io::Result<()> {
        if let Some(batch) = self.table.take() {
            self.stream.put(&batch, 0)?;
        }
        self.stream.flush()
    }
}

struct OverviewTable {
    schema: SchemaRef,
    step: UInt64Builder,
    last_step: UInt64Builder,
    tensor: UInt64Builder,
    /// Minimum, maximum and last of each figure.
    values: Vec<Float32Builder>,
}

impl OverviewTable {
    fn new(figures: &[&'static Figure]) -> Self {
        let mut fields: Vec<_> =
            ["step", "last_step", "tensor"].map(|name| Field::new(name, DataType::UInt64, false)).into();
        for figure in figures {
            fields.extend(columns_of(figure).map(|name| Field::new(name, DataType::Float32, true)));
        }
        Self {
            schema: Arc::new(Schema::new(fields)),
            step: UInt64Builder::new(),
            last_step: UInt64Builder::new(),
            tensor: UInt64Builder::new(),
            values: (0..3 * figures.len()).map(|_| Float32Builder::new()).collect(),
        }
    }

    fn push(&mut self, first: u64, last: u64, tensor: usize, cells: &[Envelope]) {
        self.step.append_value(first);
        self.last_step.append_value(last);
        self.tensor.append_value(tensor as u64);
        for (builders, cell) in self.values.chunks_exact_mut(3).zip(cells) {
            for (builder, value) in builders.iter_mut().zip([cell.min, cell.max, cell.last]) {
                builder.append_option((!value.is_nan()).then_some(value));
            }
        }
    }

    fn take(&mut self) -> Option<RecordBatch> {
        let step = self.step.finish();
        if step.is_empty() {
            return None;
        }
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(step), Arc::new(self.last_step.finish()), Arc::new(self.tensor.finish())];
        columns.extend(self.values.iter_mut().map(|values| Arc::new(values.finish()) as ArrayRef));
        Some(RecordBatch::try_new(self.schema.clone(), columns).expect("the columns are made in the schema's order"))
    }
}

fn columns_of(figure: &Figure) -> [String; 3] {
    ["min", "max", "last"].map(|part| format!("{}_{part}", figure.name))
}

/// Hands every row of an overview to `row`: span, tensor, and the envelopes of `figures`.
///
/// # Errors
/// Where a column is lacking, and the first error of `row`.
pub(super) fn rows(
    batch: &RecordBatch,
    figures: &[&'static Figure],
    mut row: impl FnMut([u64; 2], usize, &[Envelope]) -> Result<(), String>,
) -> Result<(), String> {
    let (first, last, tensor) = (steps(batch)?, numbers(batch, "last_step")?, numbers(batch, "tensor")?);
    let column = |name: &String| batch.column_by_name(name)?.as_primitive_opt::<Float32Type>();
    let columns: Vec<[Option<_>; 3]> = figures.iter().map(|figure| columns_of(figure).each_ref().map(column)).collect();
    let mut cells = vec![Envelope::NONE; figures.len()];
    for i in 0..batch.num_rows() {
        let value = |column: &Option<&arrow_array::Float32Array>| {
            column.filter(|column| column.is_valid(i)).map_or(f32::NAN, |column| column.value(i))
        };
        for (cell, [min, max, last]) in cells.iter_mut().zip(&columns) {
            *cell = Envelope { min: value(min), max: value(max), last: value(last) };
        }
        row([first.value(i), last.value(i)], tensor.value(i) as usize, &cells)?;
    }
    Ok(())
}

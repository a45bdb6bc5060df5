//! The tables of a run: what stands in a row, how records become rows and rows records.

mod scalars;
mod shapes;
mod stats;
mod taps;

pub(super) use scalars::{ScalarRow, ScalarRows, ScalarTable, Source, StepScalars};
pub(super) use shapes::{HistogramTable, MapRow, MapTable, histogram_rows, map_rows};
pub(super) use stats::{StatsArrays, StatsTable};
pub(super) use taps::{TapTable, tap_rows};

use super::columns::{ArrayOf, done};
use arrow_array::builder::UInt64Builder;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, SchemaRef};

/// The tables of a run.
pub(super) const TABLES: [&str; 5] =
    [StatsTable::NAME, ScalarTable::NAME, TapTable::NAME, HistogramTable::NAME, MapTable::NAME];

/// The columns that every row begins with.
#[derive(Default)]
pub(super) struct Keys {
    row_count: usize,
    step: UInt64Builder,
    epoch: UInt64Builder,
}

impl Keys {
    fn put(&mut self, step: u64, epoch: Option<u64>) {
        self.row_count += 1;
        self.step.append_value(step);
        self.epoch.append_option(epoch);
    }

    /// The columns so far.
    fn take(&mut self) -> Vec<ArrayRef> {
        self.row_count = 0;
        vec![done(self.step.finish()), done(self.epoch.finish())]
    }
}

/// Rows on their way to a segment.
pub(super) trait Table {
    const NAME: &'static str;
    fn keys(&self) -> &Keys;
    fn row_count(&self) -> usize {
        self.keys().row_count
    }
    /// Steps that the rows are of, where the table counts them.
    fn step_count(&self) -> u64 {
        0
    }
    /// The rows so far, as a batch.
    fn take(&mut self) -> RecordBatch;
}

fn key_fields() -> Vec<Field> {
    vec![Field::new("step", DataType::UInt64, false), Field::new("epoch", DataType::UInt64, true)]
}

/// The batch of columns that were made by `schema`'s own list.
fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema, columns).expect("the columns are made in the schema's order")
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("the column `{name}` is not there"))?;
    column.as_string_opt::<i32>().ok_or_else(|| format!("the column `{name}` is no text"))
}

pub(super) fn numbers(batch: &RecordBatch, name: &str) -> Result<ArrayOf<u64>, String> {
    super::columns::bound::<u64>(batch, name).ok_or_else(|| format!("the column `{name}` is not there"))
}

/// Steps of a batch.
pub(super) fn steps(batch: &RecordBatch) -> Result<ArrayOf<u64>, String> {
    numbers(batch, "step")
}

/// The place of a row's tensor, where `run.json` has it.
pub(super) fn place(tensor: u64, tensor_count: usize) -> Result<usize, String> {
    let place = usize::try_from(tensor).ok().filter(|place| *place < tensor_count);
    place.ok_or_else(|| format!("a row is of tensor {tensor}, and run.json has {tensor_count}"))
}

//! `taps`: a row a tap and step.

use super::{Keys, Table, batch, key_fields, numbers, text};
use crate::columns::{RowBuilder, RowReader, done};
use arrow_array::RecordBatch;
use arrow_array::builder::StringBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gradscope_record::record::{StepRecord, TapRecord};
use gradscope_record::stats::{Cells, Name, Row, Stats, TensorSummary};
use std::sync::Arc;

/// Elements of a tap at or past its lower and its upper bound.
#[derive(Clone, Copy)]
struct Tails([u64; 2]);

impl Row for Tails {
    fn visit(row: Option<&Self>, cells: &mut impl Cells) -> Option<Self> {
        let low = cells.u64(Name::new("tail_low_count"), row.map(|tails| tails.0[0]));
        let high = cells.u64(Name::new("tail_high_count"), row.map(|tails| tails.0[1]));
        Some(Self([low?, high?]))
    }
}

pub(crate) struct TapTable {
    schema: SchemaRef,
    keys: Keys,
    name: StringBuilder,
    summary: RowBuilder<TensorSummary>,
    tails: RowBuilder<Tails>,
}

impl TapTable {
    pub fn new() -> Self {
        let summary = RowBuilder::new(Stats::DYNAMICS, "");
        let tails = RowBuilder::new(Stats::BASIC, "");
        let mut fields = key_fields();
        fields.push(Field::new("name", DataType::Utf8, false));
        fields.extend(summary.fields().chain(tails.fields()));
        Self {
            schema: Arc::new(Schema::new(fields)),
            keys: Keys::default(),
            name: StringBuilder::new(),
            summary,
            tails,
        }
    }

    pub fn push(&mut self, record: &StepRecord) {
        for tap in &record.taps {
            self.keys.put(record.step, record.epoch);
            self.name.append_value(&tap.name);
            self.summary.append(Some(&tap.summary));
            self.tails.append(tap.tail_count.map(Tails).as_ref());
        }
    }
}

impl Table for TapTable {
    const NAME: &'static str = "taps";

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn take(&mut self) -> RecordBatch {
        let mut columns = self.keys.take();
        columns.push(done(self.name.finish()));
        columns.extend(self.summary.finish());
        columns.extend(self.tails.finish());
        batch(self.schema.clone(), columns)
    }
}

/// The taps of a batch, with their steps.
pub(crate) fn tap_rows(batch: &RecordBatch, mut tap: impl FnMut(u64, TapRecord)) -> Result<(), String> {
    let (step, name) = (numbers(batch, "step")?, text(batch, "name")?);
    let summaries = RowReader::<TensorSummary>::bind(batch, "");
    let tails = RowReader::<Tails>::bind(batch, "");
    for row in 0..batch.num_rows() {
        let Some(summary) = summaries.at(row) else { continue };
        let tail_count = tails.at(row).map(|tails| tails.0);
        tap(step.value(row), TapRecord { name: name.value(row).to_owned(), summary, tail_count });
    }
    Ok(())
}

//! `taps`: a row a tap and step.

use super::{Keys, Table, batch, key_fields, numbers, text};
use crate::columns::{Columns, columns, done};
use crate::rows::{CardBuilders, CardRow, CosineRow, DynamicsBuilders, DynamicsRow};
use arrow_array::RecordBatch;
use arrow_array::builder::StringBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gradscope_record::record::{StepRecord, TapRecord};
use std::sync::Arc;

columns! { TailRow TailBuilders TailArrays { tail_low_count: u64, tail_high_count: u64 }}

pub(crate) struct TapTable {
    schema: SchemaRef,
    keys: Keys,
    name: StringBuilder,
    card: CardBuilders,
    dynamics: DynamicsBuilders,
    tails: TailBuilders,
}

impl TapTable {
    pub fn new() -> Self {
        let mut fields = key_fields();
        fields.push(Field::new("name", DataType::Utf8, false));
        fields.extend(CardRow::fields(""));
        fields.extend(DynamicsRow::fields(""));
        fields.extend(TailRow::fields(""));
        Self {
            schema: Arc::new(Schema::new(fields)),
            keys: Keys::default(),
            name: StringBuilder::new(),
            card: CardBuilders::default(),
            dynamics: DynamicsBuilders::default(),
            tails: TailBuilders::default(),
        }
    }

    pub fn push(&mut self, record: &StepRecord) {
        for tap in &record.taps {
            self.keys.put(record.step, record.epoch);
            self.name.append_value(&tap.name);
            CardRow::of(&tap.summary).append(&mut self.card);
            tap.summary.dynamics.as_ref().map(DynamicsRow::of).unwrap_or_default().append(&mut self.dynamics);
            let tails = TailRow {
                tail_low_count: tap.tail_count.map(|tails| tails[0]),
                tail_high_count: tap.tail_count.map(|tails| tails[1]),
            };
            tails.append(&mut self.tails);
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
        columns.extend([done(self.name.finish())]);
        columns.extend(CardRow::finish(&mut self.card));
        columns.extend(DynamicsRow::finish(&mut self.dynamics));
        columns.extend(TailRow::finish(&mut self.tails));
        batch(self.schema.clone(), columns)
    }
}

/// The taps of a batch, with their steps.
pub(crate) fn tap_rows(batch: &RecordBatch, mut tap: impl FnMut(u64, TapRecord)) -> Result<(), String> {
    let (step, name) = (numbers(batch, "step")?, text(batch, "name")?);
    let (card, dynamics, tails) = (CardRow::bind(batch, ""), DynamicsRow::bind(batch, ""), TailRow::bind(batch, ""));
    for row in 0..batch.num_rows() {
        let (dynamics, tails) = (DynamicsRow::at(&dynamics, row), TailRow::at(&tails, row));
        let Some(summary) = CardRow::at(&card, row).summary(CosineRow::default(), &dynamics) else { continue };
        let tail_count = tails.tail_low_count.zip(tails.tail_high_count).map(|(low, high)| [low, high]);
        tap(step.value(row), TapRecord { name: name.value(row).to_owned(), summary, tail_count });
    }
    Ok(())
}

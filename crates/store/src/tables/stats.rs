//! `stats`: a row a parameter and step.

use super::{Keys, Table, batch, key_fields, numbers, text};
use crate::columns::{ArrayOf, RowBuilder, RowReader, bound, cell, done};
use arrow_array::builder::{StringBuilder, UInt64Builder};
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gradscope_record::record::{EmaRecord, Gradient, Param, StepRecord, TensorRecord};
use gradscope_record::stats::{ParameterSummary, Stats, TensorSummary, UpdateSummary};
use std::sync::Arc;

/// What the columns of moving averages begin with.
const EMA: [&str; 2] = ["ema_gradient_", "ema_parameter_"];

/// What the column `gradient` says.
const OBSERVED: &str = "observed";
const MISSING: &str = "missing";
const UNREADABLE: &str = "unreadable";
const NOT_DUE: &str = "not_due";
const LAST_MOVE: &str = "last_move";

pub(crate) struct StatsTable {
    params: Arc<[Param]>,
    schema: SchemaRef,
    keys: Keys,
    step_count: u64,
    tensor: UInt64Builder,
    path: StringBuilder,
    gradient: StringBuilder,
    previous_step: UInt64Builder,
    summary: RowBuilder<TensorSummary>,
    parameter: RowBuilder<ParameterSummary>,
    update: RowBuilder<UpdateSummary>,
    /// Empty where nobody asked for moving averages.
    ema: Vec<RowBuilder<TensorSummary>>,
}

impl StatsTable {
    pub fn new(groups: Stats, params: Arc<[Param]>) -> Self {
        let summary = RowBuilder::new(groups, "");
        let parameter = RowBuilder::new(groups, "");
        let update = RowBuilder::new(groups, "");
        let prefixes = EMA.iter().filter(|_| groups.contains(Stats::EMA));
        let ema: Vec<_> = prefixes.map(|prefix| RowBuilder::new(Stats::DYNAMICS, prefix)).collect();
        let mut fields = key_fields();
        fields.extend([
            Field::new("tensor", DataType::UInt64, false),
            Field::new("path", DataType::Utf8, false),
            Field::new("gradient", DataType::Utf8, false),
            Field::new("previous_step", DataType::UInt64, true),
        ]);
        fields.extend(summary.fields().chain(parameter.fields()).chain(update.fields()));
        fields.extend(ema.iter().flat_map(RowBuilder::fields));
        Self {
            schema: Arc::new(Schema::new(fields)),
            params,
            keys: Keys::default(),
            step_count: 0,
            tensor: UInt64Builder::new(),
            path: StringBuilder::new(),
            gradient: StringBuilder::new(),
            previous_step: UInt64Builder::new(),
            summary,
            parameter,
            update,
            ema,
        }
    }

    /// A row for each tensor that was due.
    pub fn push(&mut self, record: &StepRecord) {
        self.step_count += u64::from(!record.last_move);
        for (tensor, found) in record.tensors.iter().enumerate() {
            let nothing = matches!(found.gradient, Gradient::NotDue) || record.last_move;
            if nothing && found.parameter.is_none() && found.update.is_none() {
                continue;
            }
            self.keys.put(record.step, record.epoch);
            self.tensor.append_value(tensor as u64);
            self.path.append_value(&self.params[tensor].path);
            let (state, previous_step) = match found.gradient {
                _ if record.last_move => (LAST_MOVE, None),
                Gradient::Observed { previous_step, .. } => (OBSERVED, previous_step),
                Gradient::Missing => (MISSING, None),
                Gradient::Unreadable => (UNREADABLE, None),
                Gradient::NotDue => (NOT_DUE, None),
            };
            self.gradient.append_value(state);
            self.previous_step.append_option(previous_step);
            self.append(found);
        }
    }

    fn append(&mut self, found: &TensorRecord) {
        self.summary.append(found.summary());
        self.parameter.append(found.parameter.as_ref());
        self.update.append(found.update.as_ref());
        let ema = found.ema.as_deref().copied().unwrap_or_default();
        for (builder, summary) in self.ema.iter_mut().zip([ema.gradient, ema.parameter]) {
            builder.append(summary.as_ref());
        }
    }
}

impl Table for StatsTable {
    const NAME: &'static str = "stats";

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn step_count(&self) -> u64 {
        self.step_count
    }

    fn take(&mut self) -> RecordBatch {
        self.step_count = 0;
        let mut columns = self.keys.take();
        columns.extend([
            done(self.tensor.finish()),
            done(self.path.finish()),
            done(self.gradient.finish()),
            done(self.previous_step.finish()),
        ]);
        columns.extend(self.summary.finish().chain(self.parameter.finish()).chain(self.update.finish()));
        columns.extend(self.ema.iter_mut().flat_map(RowBuilder::finish));
        batch(self.schema.clone(), columns)
    }
}

/// The rows of a batch.
pub(crate) struct StatsArrays {
    pub step: ArrayOf<u64>,
    pub epoch: Option<ArrayOf<u64>>,
    pub tensor: ArrayOf<u64>,
    gradient: StringArray,
    previous_step: Option<ArrayOf<u64>>,
    summary: RowReader<TensorSummary>,
    parameter: RowReader<ParameterSummary>,
    update: RowReader<UpdateSummary>,
    ema: [RowReader<TensorSummary>; 2],
}

impl StatsArrays {
    /// # Errors
    /// On a batch without the columns that every row has.
    pub fn bind(batch: &RecordBatch) -> Result<Self, String> {
        Ok(Self {
            step: numbers(batch, "step")?,
            epoch: bound::<u64>(batch, "epoch"),
            tensor: numbers(batch, "tensor")?,
            gradient: text(batch, "gradient")?.clone(),
            previous_step: bound::<u64>(batch, "previous_step"),
            summary: RowReader::bind(batch, ""),
            parameter: RowReader::bind(batch, ""),
            update: RowReader::bind(batch, ""),
            ema: EMA.map(|prefix| RowReader::bind(batch, prefix)),
        })
    }

    pub fn epoch_at(&self, row: usize) -> Option<u64> {
        cell(self.epoch.as_ref(), row)
    }

    /// Whether the row holds the last move alone.
    pub fn is_last_move(&self, row: usize) -> bool {
        self.gradient.value(row) == LAST_MOVE
    }

    /// The row as it was recorded, but for its moving averages.
    pub fn record(&self, row: usize) -> TensorRecord {
        let gradient = match self.gradient.value(row) {
            OBSERVED => match self.summary.at(row) {
                Some(summary) => Gradient::Observed { summary, previous_step: cell(self.previous_step.as_ref(), row) },
                None => Gradient::Unreadable,
            },
            MISSING | LAST_MOVE => Gradient::Missing,
            NOT_DUE => Gradient::NotDue,
            _ => Gradient::Unreadable,
        };
        let ema = EmaRecord { gradient: self.ema[0].at(row), parameter: self.ema[1].at(row) };
        TensorRecord {
            gradient,
            parameter: self.parameter.at(row),
            update: self.update.at(row),
            averages: None,
            ema: (ema != EmaRecord::default()).then(|| Box::new(ema)),
        }
    }
}

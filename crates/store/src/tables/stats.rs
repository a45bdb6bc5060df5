//! `stats`: a row a parameter and step.

use super::{Keys, Table, batch, key_fields, numbers, text};
use crate::columns::{ArrayOf, Columns, bound, cell, done};
use crate::rows::{
    CardArrays, CardBuilders, CardRow, CosineArrays, CosineBuilders, CosineRow, DynamicsArrays, DynamicsBuilders,
    DynamicsRow, ParameterArrays, ParameterBuilders, ParameterRow, UpdateArrays, UpdateBuilders, UpdateRow,
};
use arrow_array::builder::{StringBuilder, UInt64Builder};
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gradscope_record::record::{EmaRecord, Gradient, Param, StepRecord, TensorRecord};
use gradscope_record::stats::{Stats, TensorSummary};
use std::sync::Arc;

const PARAMETER: &str = "param_";
const UPDATE: &str = "update_";
const EMA: [&str; 2] = ["ema_gradient_", "ema_parameter_"];

/// What the column `gradient` says.
const OBSERVED: &str = "observed";
const MISSING: &str = "missing";
const UNREADABLE: &str = "unreadable";
const NOT_DUE: &str = "not_due";
const LAST_MOVE: &str = "last_move";

pub(crate) struct StatsTable {
    groups: Stats,
    params: Arc<[Param]>,
    schema: SchemaRef,
    keys: Keys,
    step_count: u64,
    tensor: UInt64Builder,
    path: StringBuilder,
    gradient: StringBuilder,
    previous_step: UInt64Builder,
    card: CardBuilders,
    cosine: CosineBuilders,
    dynamics: DynamicsBuilders,
    parameter: ParameterBuilders,
    update: UpdateBuilders,
    ema: [(CardBuilders, DynamicsBuilders); 2],
}

impl StatsTable {
    pub fn new(groups: Stats, params: Arc<[Param]>) -> Self {
        Self {
            schema: schema(groups),
            groups,
            params,
            keys: Keys::default(),
            step_count: 0,
            tensor: UInt64Builder::new(),
            path: StringBuilder::new(),
            gradient: StringBuilder::new(),
            previous_step: UInt64Builder::new(),
            card: CardBuilders::default(),
            cosine: CosineBuilders::default(),
            dynamics: DynamicsBuilders::default(),
            parameter: ParameterBuilders::default(),
            update: UpdateBuilders::default(),
            ema: Default::default(),
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
        let summary = found.summary();
        let card = |s: Option<&TensorSummary>| s.map(CardRow::of).unwrap_or_default();
        let dynamics =
            |s: Option<&TensorSummary>| s.and_then(|s| s.dynamics.as_ref()).map(DynamicsRow::of).unwrap_or_default();
        card(summary).append(&mut self.card);
        if self.groups.contains(Stats::COSINE) {
            CosineRow { cosine_previous: summary.and_then(|s| s.cosine_previous) }.append(&mut self.cosine);
        }
        if self.groups.contains(Stats::DYNAMICS) {
            dynamics(summary).append(&mut self.dynamics);
        }
        if self.groups.contains(Stats::PARAMS) {
            found.parameter.as_ref().map(ParameterRow::of).unwrap_or_default().append(&mut self.parameter);
        }
        if self.groups.contains(Stats::UPDATES) {
            found.update.as_ref().map(UpdateRow::of).unwrap_or_default().append(&mut self.update);
        }
        if self.groups.contains(Stats::EMA) {
            let ema = found.ema.as_deref().copied().unwrap_or_default();
            for (builders, summary) in self.ema.iter_mut().zip([ema.gradient, ema.parameter]) {
                card(summary.as_ref()).append(&mut builders.0);
                dynamics(summary.as_ref()).append(&mut builders.1);
            }
        }
    }
}

fn schema(groups: Stats) -> SchemaRef {
    let mut fields = key_fields();
    fields.extend([
        Field::new("tensor", DataType::UInt64, false),
        Field::new("path", DataType::Utf8, false),
        Field::new("gradient", DataType::Utf8, false),
        Field::new("previous_step", DataType::UInt64, true),
    ]);
    fields.extend(CardRow::fields(""));
    if groups.contains(Stats::COSINE) {
        fields.extend(CosineRow::fields(""));
    }
    if groups.contains(Stats::DYNAMICS) {
        fields.extend(DynamicsRow::fields(""));
    }
    if groups.contains(Stats::PARAMS) {
        fields.extend(ParameterRow::fields(PARAMETER));
    }
    if groups.contains(Stats::UPDATES) {
        fields.extend(UpdateRow::fields(UPDATE));
    }
    if groups.contains(Stats::EMA) {
        for prefix in EMA {
            fields.extend(CardRow::fields(prefix));
            fields.extend(DynamicsRow::fields(prefix));
        }
    }
    Arc::new(Schema::new(fields))
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
        columns.extend(CardRow::finish(&mut self.card));
        if self.groups.contains(Stats::COSINE) {
            columns.extend(CosineRow::finish(&mut self.cosine));
        }
        if self.groups.contains(Stats::DYNAMICS) {
            columns.extend(DynamicsRow::finish(&mut self.dynamics));
        }
        if self.groups.contains(Stats::PARAMS) {
            columns.extend(ParameterRow::finish(&mut self.parameter));
        }
        if self.groups.contains(Stats::UPDATES) {
            columns.extend(UpdateRow::finish(&mut self.update));
        }
        if self.groups.contains(Stats::EMA) {
            for (card, dynamics) in &mut self.ema {
                columns.extend(CardRow::finish(card));
                columns.extend(DynamicsRow::finish(dynamics));
            }
        }
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
    card: CardArrays,
    cosine: CosineArrays,
    dynamics: DynamicsArrays,
    parameter: ParameterArrays,
    update: UpdateArrays,
    ema: [(CardArrays, DynamicsArrays); 2],
}

impl StatsArrays {
    /// # Errors
    /// On a batch without the columns that every row has.
    pub fn bind(batch: &RecordBatch) -> Result<Self, String> {
        Ok(Self {
            step: numbers(batch, "step")?,
            epoch: bound::<u64>(batch, "", "epoch"),
            tensor: numbers(batch, "tensor")?,
            gradient: text(batch, "gradient")?.clone(),
            previous_step: bound::<u64>(batch, "", "previous_step"),
            card: CardRow::bind(batch, ""),
            cosine: CosineRow::bind(batch, ""),
            dynamics: DynamicsRow::bind(batch, ""),
            parameter: ParameterRow::bind(batch, PARAMETER),
            update: UpdateRow::bind(batch, UPDATE),
            ema: EMA.map(|prefix| (CardRow::bind(batch, prefix), DynamicsRow::bind(batch, prefix))),
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
        let summary = || {
            CardRow::at(&self.card, row)
                .summary(CosineRow::at(&self.cosine, row), &DynamicsRow::at(&self.dynamics, row))
        };
        let gradient = match self.gradient.value(row) {
            OBSERVED => match summary() {
                Some(summary) => Gradient::Observed { summary, previous_step: cell(self.previous_step.as_ref(), row) },
                None => Gradient::Unreadable,
            },
            MISSING | LAST_MOVE => Gradient::Missing,
            NOT_DUE => Gradient::NotDue,
            _ => Gradient::Unreadable,
        };
        let average = |(card, dynamics): &(CardArrays, DynamicsArrays)| {
            CardRow::at(card, row).summary(CosineRow::default(), &DynamicsRow::at(dynamics, row))
        };
        let ema = EmaRecord { gradient: average(&self.ema[0]), parameter: average(&self.ema[1]) };
        TensorRecord {
            gradient,
            parameter: ParameterRow::at(&self.parameter, row).summary(),
            update: UpdateRow::at(&self.update, row).summary(),
            averages: None,
            ema: (ema != EmaRecord::default()).then(|| Box::new(ema)),
        }
    }
}

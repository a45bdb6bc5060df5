//! `scalars`: a row a figure and step, that no single tensor owns.

use super::{Keys, Table, batch, key_fields, numbers, text};
use crate::columns::{ArrayOf, Columns, bound, cell, columns, done};
use crate::rows::GlobalRow;
use arrow_array::builder::{Float64Builder, StringBuilder};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gradscope_record::record::{Cost, Global, StepRecord};
use std::sync::Arc;

/// Where a figure comes from: the column `source`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Given with the step.
    Scalar,
    /// Given after the step.
    Log,
    /// Over all tensors.
    Global,
    /// Over a group of layers, by its name.
    Group(String),
    /// What observing cost.
    Cost,
}

const GROUP: &str = "group/";
const COST: &str = "cost";
const LAST_MOVE: &str = "last_move";

impl Source {
    fn text(&self) -> String {
        match self {
            Self::Scalar => "scalar".into(),
            Self::Log => "log".into(),
            Self::Global => "global".into(),
            Self::Cost => COST.into(),
            Self::Group(name) => format!("{GROUP}{name}"),
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "log" => Self::Log,
            "global" => Self::Global,
            COST => Self::Cost,
            text => text.strip_prefix(GROUP).map_or(Self::Scalar, |name| Self::Group(name.to_owned())),
        }
    }
}

columns! { CostRow CostBuilders CostArrays {
    submit_secs: f64, handoff_secs: f64, wait_secs: f64, read_secs: f64, encode_secs: f64, gpu_secs: f64, copied_count: u64,
    readback_bytes: u64, last_move: u64, unix_secs: f64,
}}

pub(crate) struct ScalarTable {
    schema: SchemaRef,
    keys: Keys,
    source: StringBuilder,
    name: StringBuilder,
    value: Float64Builder,
}

impl ScalarTable {
    pub fn new() -> Self {
        let mut fields = key_fields();
        fields.extend([
            Field::new("source", DataType::Utf8, false),
            Field::new("name", DataType::Utf8, false),
            Field::new("value", DataType::Float64, true),
        ]);
        Self {
            schema: Arc::new(Schema::new(fields)),
            keys: Keys::default(),
            source: StringBuilder::new(),
            name: StringBuilder::new(),
            value: Float64Builder::new(),
        }
    }

    pub fn put(&mut self, step: u64, epoch: Option<u64>, source: &Source, name: &str, value: f64) {
        self.keys.put(step, epoch);
        self.source.append_value(source.text());
        self.name.append_value(name);
        self.value.append_value(value);
    }

    pub fn push(&mut self, record: &StepRecord) {
        let (step, epoch) = (record.step, record.epoch);
        // The mark comes before what it is of, so that readers know in time.
        if record.last_move {
            self.put(step, epoch, &Source::Cost, LAST_MOVE, 1.0);
        }
        for (name, value) in &record.scalars {
            self.put(step, epoch, &Source::Scalar, name, *value);
        }
        let global = |table: &mut Self, source: Source, global: &Global| {
            GlobalRow::of(global).each(|name, value| {
                // The last move comes without gradients: zeros of theirs would be points of curves.
                if !record.last_move || name.starts_with("param_") || name.starts_with("update_") {
                    table.put(step, epoch, &source, name, value);
                }
            });
        };
        global(self, Source::Global, &record.global);
        for (name, figures) in &record.groups {
            global(self, Source::Group(name.clone()), figures);
        }
        let cost = &record.cost;
        let row = CostRow {
            submit_secs: Some(cost.submit_secs),
            handoff_secs: Some(cost.handoff_secs),
            wait_secs: Some(cost.wait_secs),
            read_secs: Some(cost.read_secs),
            encode_secs: Some(cost.encode_secs),
            gpu_secs: cost.gpu_secs,
            copied_count: Some(u64::from(cost.copied_count)),
            readback_bytes: Some(u64::from(cost.readback_bytes)),
            last_move: None,
            unix_secs: record.unix_secs,
        };
        row.each(|name, value| self.put(step, epoch, &Source::Cost, name, value));
    }
}

impl Table for ScalarTable {
    const NAME: &'static str = "scalars";

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn take(&mut self) -> RecordBatch {
        let mut columns = self.keys.take();
        columns.extend([done(self.source.finish()), done(self.name.finish()), done(self.value.finish())]);
        batch(self.schema.clone(), columns)
    }
}

/// One figure read back.
pub(crate) struct ScalarRow<'a> {
    pub step: u64,
    pub epoch: Option<u64>,
    pub source: &'a str,
    pub name: &'a str,
    /// NaN where it was none.
    pub value: f64,
    /// Whether the row describes the parameters after the last update, which belongs to no curve over steps.
    pub is_last_move: bool,
}

struct Arrays {
    step: ArrayOf<u64>,
    epoch: Option<ArrayOf<u64>>,
    source: StringArray,
    name: StringArray,
    value: ArrayOf<f64>,
}

/// Reads the batches of a table, in order.
#[derive(Default)]
pub(crate) struct ScalarRows {
    /// The step whose rows describe the parameters after the last update.
    last_move: Option<u64>,
}

impl ScalarRows {
    /// Hands every row of the batch to `row`, in order.
    pub fn each(&mut self, batch: &RecordBatch, mut row: impl FnMut(ScalarRow<'_>)) -> Result<(), String> {
        let arrays = Arrays {
            step: numbers(batch, "step")?,
            epoch: bound::<u64>(batch, "", "epoch"),
            source: text(batch, "source")?.clone(),
            name: text(batch, "name")?.clone(),
            value: bound::<f64>(batch, "", "value").ok_or("the column `value` is not there")?,
        };
        // Earlier versions wrote the mark behind the rows that it is of.
        let is_mark = |i: &usize| arrays.name.value(*i) == LAST_MOVE && arrays.source.value(*i) == COST;
        let mark = (0..batch.num_rows()).rfind(is_mark);
        self.last_move = mark.map(|i| arrays.step.value(i)).or(self.last_move);
        for i in 0..batch.num_rows() {
            let step = arrays.step.value(i);
            row(ScalarRow {
                step,
                is_last_move: self.last_move == Some(step),
                epoch: cell(arrays.epoch.as_ref(), i),
                source: arrays.source.value(i),
                name: arrays.name.value(i),
                value: if arrays.value.is_valid(i) { arrays.value.value(i) } else { f64::NAN },
            });
        }
        Ok(())
    }
}

impl ScalarRow<'_> {
    pub fn source(&self) -> Source {
        Source::parse(self.source)
    }
}

/// Collects the figures of one step.
#[derive(Default)]
pub(crate) struct StepScalars {
    pub epoch: Option<u64>,
    pub scalars: Vec<(String, f64)>,
    global: GlobalRow,
    groups: Vec<(String, GlobalRow)>,
    cost: CostRow,
}

impl StepScalars {
    /// Takes a row of this step; what came after the step is no part of its record.
    pub fn take(&mut self, row: &ScalarRow<'_>) {
        match row.source() {
            Source::Log => return,
            Source::Scalar => self.scalars.push((row.name.to_owned(), row.value)),
            Source::Global => {
                self.global.set(row.name, row.value);
            }
            Source::Cost => {
                self.cost.set(row.name, row.value);
            }
            Source::Group(name) => {
                if self.groups.last().is_none_or(|(last, _)| *last != name) {
                    self.groups.push((name, GlobalRow::default()));
                }
                if let Some((_, group)) = self.groups.last_mut() {
                    group.set(row.name, row.value);
                }
            }
        }
        self.epoch = row.epoch;
    }

    pub fn is_last_move(&self) -> bool {
        self.cost.last_move.is_some()
    }

    pub fn cost(&self) -> Cost {
        Cost {
            submit_secs: self.cost.submit_secs.unwrap_or(0.0),
            handoff_secs: self.cost.handoff_secs.unwrap_or(0.0),
            wait_secs: self.cost.wait_secs.unwrap_or(0.0),
            read_secs: self.cost.read_secs.unwrap_or(0.0),
            encode_secs: self.cost.encode_secs.unwrap_or(0.0),
            gpu_secs: self.cost.gpu_secs,
            copied_count: self.cost.copied_count.unwrap_or(0) as u32,
            readback_bytes: self.cost.readback_bytes.unwrap_or(0) as u32,
        }
    }

    /// When the step was submitted.
    pub fn unix_secs(&self) -> Option<f64> {
        self.cost.unix_secs
    }

    /// `None` where the step has none at all.
    pub fn global(&self) -> Option<Global> {
        (self.global != GlobalRow::default() || self.is_last_move()).then(|| self.global.global())
    }

    pub fn groups(&self) -> Vec<(String, Global)> {
        self.groups.iter().map(|(name, row)| (name.clone(), row.global())).collect()
    }
}

//! `scalars`: a row a figure and step, that no single tensor owns.

use super::{Keys, Table, batch, key_fields, numbers, text};
use crate::columns::{ArrayOf, bound, cell, done};
use crate::figures::Figures;
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
const UNIX_SECS: &str = "unix_secs";

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

/// Norms over all tensors: each with the counts that it has no finite element by.
const NORMS: [(&str, &str, &[&str]); 3] = [
    ("l1_norm", "numel", &["nan_count", "pos_inf_count", "neg_inf_count"]),
    ("l2_norm", "numel", &["nan_count", "pos_inf_count", "neg_inf_count"]),
    ("param_l2_norm", "param_numel", &["param_nonfinite_count"]),
];

/// The figures over all tensors, or over a group of layers. A norm without a finite element is left out: it would be a
/// zero in curves.
fn global_figures(global: &Global) -> Figures {
    let mut figures = Figures::of(global);
    for (norm, numel, nonfinite) in NORMS {
        let numel = figures.get(numel).unwrap_or(0.0);
        let nonfinite: f64 = nonfinite.iter().filter_map(|name| figures.get(name)).sum();
        if numel > 0.0 && nonfinite >= numel {
            figures.set(norm, None);
        }
    }
    figures
}

/// What figures were of. Counts and norms that are not there are 0.
fn global_of(mut figures: Figures) -> Global {
    for (norm, numel, _) in NORMS {
        if figures.get(numel).is_some() && figures.get(norm).is_none() {
            figures.set(norm, Some(0.0));
        }
    }
    figures.row().unwrap_or_default()
}

/// Names and figures of what observing a step cost.
fn costs(cost: &Cost) -> [(&'static str, Option<f64>); 8] {
    [
        ("submit_secs", Some(cost.submit_secs)),
        ("handoff_secs", Some(cost.handoff_secs)),
        ("wait_secs", Some(cost.wait_secs)),
        ("read_secs", Some(cost.read_secs)),
        ("encode_secs", Some(cost.encode_secs)),
        ("gpu_secs", cost.gpu_secs),
        ("copied_count", Some(f64::from(cost.copied_count))),
        ("readback_bytes", Some(f64::from(cost.readback_bytes))),
    ]
}

fn set_cost(cost: &mut Cost, name: &str, value: f64) {
    match name {
        "submit_secs" => cost.submit_secs = value,
        "handoff_secs" => cost.handoff_secs = value,
        "wait_secs" => cost.wait_secs = value,
        "read_secs" => cost.read_secs = value,
        "encode_secs" => cost.encode_secs = value,
        "gpu_secs" => cost.gpu_secs = Some(value),
        "copied_count" => cost.copied_count = value as u32,
        "readback_bytes" => cost.readback_bytes = value as u32,
        _ => {}
    }
}

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
        self.put_global(record, &Source::Global, &record.global);
        for (name, figures) in &record.groups {
            self.put_global(record, &Source::Group(name.clone()), figures);
        }
        for (name, value) in costs(&record.cost).into_iter().chain([(UNIX_SECS, record.unix_secs)]) {
            if let Some(value) = value {
                self.put(step, epoch, &Source::Cost, name, value);
            }
        }
    }

    fn put_global(&mut self, record: &StepRecord, source: &Source, global: &Global) {
        for (name, value) in global_figures(global).each() {
            // The last move comes without gradients: zeros of theirs would be points of curves.
            if !record.last_move || name.stem.starts_with("param_") || name.stem.starts_with("update_") {
                self.put(record.step, record.epoch, source, &name.to_string(), value);
            }
        }
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
            epoch: bound::<u64>(batch, "epoch"),
            source: text(batch, "source")?.clone(),
            name: text(batch, "name")?.clone(),
            value: bound::<f64>(batch, "value").ok_or("the column `value` is not there")?,
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
    /// `None` until a figure of it was taken.
    global: Option<Figures>,
    groups: Vec<(String, Figures)>,
    cost: Cost,
    unix_secs: Option<f64>,
    is_last_move: bool,
}

impl StepScalars {
    /// Takes a row of this step; what came after the step is no part of its record.
    pub fn take(&mut self, row: &ScalarRow<'_>) {
        match row.source() {
            Source::Log => return,
            Source::Scalar => self.scalars.push((row.name.to_owned(), row.value)),
            Source::Global => self.global.get_or_insert_with(no_figures).set(row.name, Some(row.value)),
            Source::Cost => match row.name {
                LAST_MOVE => self.is_last_move = true,
                UNIX_SECS => self.unix_secs = Some(row.value),
                name => set_cost(&mut self.cost, name, row.value),
            },
            Source::Group(name) => {
                if self.groups.last().is_none_or(|(last, _)| *last != name) {
                    self.groups.push((name, no_figures()));
                }
                if let Some((_, group)) = self.groups.last_mut() {
                    group.set(row.name, Some(row.value));
                }
            }
        }
        self.epoch = row.epoch;
    }

    pub fn is_last_move(&self) -> bool {
        self.is_last_move
    }

    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// When the step was submitted.
    pub fn unix_secs(&self) -> Option<f64> {
        self.unix_secs
    }

    /// `None` where the step has none at all.
    pub fn global(&self) -> Option<Global> {
        let figures = self.global.clone().or_else(|| self.is_last_move.then(no_figures));
        figures.map(global_of)
    }

    pub fn groups(&self) -> Vec<(String, Global)> {
        self.groups.iter().map(|(name, figures)| (name.clone(), global_of(figures.clone()))).collect()
    }
}

/// The figures of no tensors: counts of 0, and nothing that was not asked for.
fn no_figures() -> Figures {
    Figures::of(&Global::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_norm_of_a_total_is_left_out_where_nothing_is_finite() {
        let figures = Figures::of(&Global::default());
        let named =
            NORMS.iter().flat_map(|(norm, numel, nonfinite)| [*norm, *numel].into_iter().chain(nonfinite.to_vec()));
        for name in named {
            assert!(figures.names().any(|known| known == name), "`{name}` is no figure");
        }
        // The norm of updates is that of no update at all where every one is not finite.
        let norms = figures.names().filter(|name| name.ends_with("_norm") && name != "update_l2_norm");
        let norms: Vec<String> = norms.collect();
        assert_eq!(norms, NORMS.map(|(norm, ..)| norm));
    }
}

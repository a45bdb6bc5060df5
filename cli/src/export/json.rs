//! The shape that scripts around training loops save: name -> statistics by step, and figures by epoch.
//!
//! JSON has no NaN: a figure that is none, or not finite, is null.

use super::{EveryNth, Names};
use anyhow::{Context, Result};
use gradscope::Run;
use gradscope::record::{Figure, Param};
use gradscope::store::files;
use gradscope_models::torch;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

const FILE: &str = "statistics.json";
/// Values that are held at a time; a longer run is read several times.
const VALUE_COUNT_MAX: u64 = 100_000_000;

/// What an epoch has of a figure: the least of smallest ones, the most of largest ones, the last of what came after the
/// steps, and the mean of everything else. Not finite where one of them is not.
#[derive(Clone, Copy, Default)]
struct OfEpoch {
    value: f64,
    count: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Fold {
    Least,
    Most,
    Last,
    Mean,
}

impl Fold {
    fn of(name: &str) -> Self {
        match name.rsplit('/').next() {
            Some("min" | "param_min") => Self::Least,
            Some("max" | "param_max" | "abs_max") => Self::Most,
            _ => Self::Mean,
        }
    }
}

impl OfEpoch {
    fn add(&mut self, fold: Fold, value: f64) {
        self.count += 1;
        self.value = match fold {
            _ if self.count == 1 || fold == Fold::Last => value,
            Fold::Least if value < self.value || value.is_nan() => value,
            Fold::Most if value > self.value || value.is_nan() => value,
            Fold::Mean => self.value + value,
            Fold::Least | Fold::Most | Fold::Last => self.value,
        };
    }

    fn value(self, fold: Fold) -> Value {
        let count = if fold == Fold::Mean { self.count as f64 } else { 1.0 };
        if self.count > 0 { number(self.value / count) } else { Value::Null }
    }
}

fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

impl Names {
    fn of(self, param: &Param) -> (String, Vec<usize>) {
        match self {
            Self::Burn => (param.path.clone(), param.shape.clone()),
            Self::Torch => (torch::name(&param.path), torch::shape(param)),
        }
    }
}

struct Column {
    step: Vec<u64>,
    /// By figure.
    values: Vec<Vec<f64>>,
}

pub fn write(run: &Run, folder: &Path, every: u64, names: Names) -> Result<Vec<PathBuf>> {
    let figures: Vec<_> = Figure::of_groups(run.manifest().groups()).collect();
    let path = folder.join(FILE);
    let in_words = || format!("{}", path.display());
    let mut file = BufWriter::new(files::create(&path).with_context(in_words)?);
    write!(file, "{{\"schema_version\":1,\"facts\":{},\n\"parameters\":{{", json!(run.manifest().facts))
        .with_context(in_words)?;
    let step_count = run.step_count(u64::MAX)?;
    let held = (VALUE_COUNT_MAX / (step_count / every + 1) / figures.len() as u64).max(1) as usize;
    // By epoch and tensor.
    let mut epochs: BTreeMap<u64, BTreeMap<String, Value>> = BTreeMap::new();
    let bar = super::progress(run);
    for first in (0..run.params().len()).step_by(held) {
        let tensors = first..(first + held).min(run.params().len());
        let (columns, folds) = read_columns(run, &tensors, &figures, every, &bar)?;
        for ((epoch, tensor), folds) in folds {
            let of_figure =
                |(figure, fold): (&&Figure, OfEpoch)| (figure.name.to_owned(), fold.value(Fold::of(figure.name)));
            let values: Map<String, Value> = figures.iter().zip(folds).map(of_figure).collect();
            let (name, _) = names.of(&run.params()[tensor]);
            epochs.entry(epoch).or_default().insert(name, Value::Object(values));
        }
        for (tensor, column) in tensors.zip(&columns) {
            let comma = if tensor > 0 { ",\n" } else { "\n" };
            write!(file, "{comma}").with_context(in_words)?;
            put_column(&mut file, names.of(&run.params()[tensor]), column, &figures).with_context(in_words)?;
        }
    }
    bar.finish_and_clear();
    let (scalars, mut of_epochs) = scalars(run, every)?;
    epochs.keys().for_each(|epoch| {
        of_epochs.entry(*epoch).or_default();
    });
    let entries: Vec<Value> = of_epochs
        .into_iter()
        .map(|(epoch, scalars)| json!({ "epoch": epoch, "scalars": scalars, "parameters": epochs.remove(&epoch) }))
        .collect();
    let ended = writeln!(file, "}},\n\"scalars\":{},\n\"epochs\":{}}}", json!(scalars), json!(entries));
    ended.and_then(|()| file.flush()).with_context(in_words)?;
    Ok(vec![path])
}

/// By epoch and tensor, the figures of that epoch.
type Folds = BTreeMap<(u64, usize), Vec<OfEpoch>>;

/// Reads what these tensors have of each figure: at every n-th step, and folded by epoch.
fn read_columns(
    run: &Run,
    tensors: &Range<usize>,
    figures: &[&Figure],
    every: u64,
    bar: &ProgressBar,
) -> Result<(Vec<Column>, Folds)> {
    let column = |_| Column { step: vec![], values: vec![vec![]; figures.len()] };
    let mut columns: Vec<Column> = tensors.clone().map(column).collect();
    let mut folds = Folds::new();
    let mut picked = EveryNth::new(every);
    run.each_row(|row| {
        let kept = picked.keeps(row.step);
        if !tensors.contains(&row.tensor) {
            return;
        }
        let column = &mut columns[row.tensor - tensors.start];
        if kept {
            column.step.push(row.step);
        }
        let epoch = row.epoch.filter(|_| !row.last_move);
        let mut of_epoch = epoch
            .map(|epoch| folds.entry((epoch, row.tensor)).or_insert_with(|| vec![OfEpoch::default(); figures.len()]));
        for (place, figure) in figures.iter().enumerate() {
            let value = (figure.of)(&row.record);
            if let (Some(folds), Some(value)) = (&mut of_epoch, value) {
                folds[place].add(Fold::of(figure.name), value);
            }
            if kept {
                column.values[place].push(value.unwrap_or(f64::NAN));
            }
        }
        bar.set_position(row.step);
    })?;
    Ok((columns, folds))
}

/// Written piece by piece: a long run's columns as JSON values would be many times their size.
fn put_column(
    file: &mut impl Write,
    (name, shape): (String, Vec<usize>),
    column: &Column,
    figures: &[&Figure],
) -> std::io::Result<()> {
    let numel: usize = shape.iter().product();
    write!(file, "{}:{{\"shape\":{},\"numel\":{numel},", json!(name), json!(shape))?;
    write!(file, "\"step\":{}", json!(column.step))?;
    for (figure, values) in figures.iter().zip(&column.values) {
        write!(file, ",\"{}\":[", figure.name)?;
        for (place, value) in values.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(file, "{comma}{}", number(*value))?;
        }
        write!(file, "]")?;
    }
    write!(file, "}}")
}

type Scalars = (Map<String, Value>, BTreeMap<u64, Map<String, Value>>);

/// Figures that no tensor owns, by step and by epoch.
fn scalars(run: &Run, every: u64) -> Result<Scalars> {
    let mut by_step = Map::new();
    let mut by_epoch: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    for series in run.series(|name| name.source != "cost")? {
        let late = series.name.source == "log";
        let name = match series.name.source.as_str() {
            "scalar" => series.name.name,
            // What came after the steps has its own name, unless a step had that too.
            "log" if !by_step.contains_key(&series.name.name) => series.name.name,
            source => format!("{source}/{}", series.name.name),
        };
        let fold = if late { Fold::Last } else { Fold::of(&name) };
        let mut folds: BTreeMap<u64, OfEpoch> = BTreeMap::new();
        for ((_, value), epoch) in series.points.iter().zip(&series.epochs) {
            if let Some(epoch) = epoch {
                folds.entry(*epoch).or_default().add(fold, *value);
            }
        }
        for (epoch, of_epoch) in folds {
            by_epoch.entry(epoch).or_default().insert(name.clone(), of_epoch.value(fold));
        }
        let mut picked = EveryNth::new(every);
        let kept = series.points.iter().filter(|(step, _)| late || picked.keeps(*step));
        let (step, value): (Vec<u64>, Vec<Value>) = kept.map(|(step, value)| (*step, number(*value))).unzip();
        by_step.insert(name, json!({ "step": step, "value": value }));
    }
    Ok((by_step, by_epoch))
}

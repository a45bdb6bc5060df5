//! The shape that scripts around training loops save: name -> statistics by step, and figures by epoch.
//!
//! JSON has no NaN: a figure that is none, or not finite, is null.

use anyhow::{Context, Result};
use gradscope::Run;
use gradscope::record::Figure;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Mean, and number, of what an epoch has of a figure.
#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(self) -> Value {
        if self.count > 0 { number(self.sum / self.count as f64) } else { Value::Null }
    }
}

fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

struct Column {
    step: Vec<u64>,
    /// By figure.
    values: Vec<Vec<f64>>,
}

pub fn write(run: &Run, folder: &Path, every: u64) -> Result<Vec<PathBuf>> {
    let figures: Vec<_> = Figure::of_groups(run.manifest().groups()).collect();
    let column = || Column { step: vec![], values: vec![vec![]; figures.len()] };
    let mut columns: Vec<Column> = run.params().iter().map(|_| column()).collect();
    // By epoch, tensor and figure.
    let mut epochs: BTreeMap<u64, Vec<Vec<Mean>>> = BTreeMap::new();
    let bar = super::progress(run);
    run.each_row(|row| {
        let kept = row.step.is_multiple_of(every).then(|| &mut columns[row.tensor]);
        let means = row.epoch.filter(|_| !row.last_move).map(|epoch| {
            let nothing = || vec![vec![Mean::default(); figures.len()]; run.params().len()];
            &mut epochs.entry(epoch).or_insert_with(nothing)[row.tensor]
        });
        let values: Vec<f64> = figures.iter().map(|figure| (figure.of)(&row.record).unwrap_or(f64::NAN)).collect();
        if let Some(means) = means {
            means.iter_mut().zip(&values).for_each(|(mean, value)| mean.add(*value));
        }
        if let Some(column) = kept {
            column.step.push(row.step);
            column.values.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
        bar.set_position(row.step);
    })?;
    bar.finish_and_clear();
    let mut scalars = Map::new();
    let mut of_epochs: BTreeMap<u64, Map<String, Value>> = epochs.keys().map(|epoch| (*epoch, Map::new())).collect();
    for series in run.series(|name| name.source != "cost")? {
        let mut means: BTreeMap<u64, Mean> = BTreeMap::new();
        for ((_, value), epoch) in series.points.iter().zip(&series.epochs) {
            if let Some(epoch) = epoch {
                means.entry(*epoch).or_default().add(*value);
            }
        }
        let name = match series.name.source.as_str() {
            "scalar" | "log" => series.name.name,
            source => format!("{source}/{}", series.name.name),
        };
        for (epoch, mean) in means {
            of_epochs.entry(epoch).or_default().insert(name.clone(), mean.value());
        }
        let kept =
            series.points.iter().filter(|(step, _)| name.starts_with("validation") || step.is_multiple_of(every));
        let (step, value): (Vec<u64>, Vec<Value>) = kept.map(|(step, value)| (*step, number(*value))).unzip();
        scalars.insert(name, json!({ "step": step, "value": value }));
    }
    let path = folder.join("run.json");
    let file = File::create(&path).with_context(|| format!("{}", path.display()))?;
    let mut file = BufWriter::new(file);
    // Written piece by piece: a long run's columns as JSON values would be many times their size.
    let mut put = || -> std::io::Result<()> {
        let manifest = run.manifest();
        write!(file, "{{\"schema_version\":1,\"facts\":{},\n\"parameters\":{{", json!(manifest.facts))?;
        for (place, (param, column)) in run.params().iter().zip(&columns).enumerate() {
            let comma = if place > 0 { ",\n" } else { "\n" };
            write!(file, "{comma}{}:{{\"shape\":{},\"numel\":{},", json!(param.path), json!(param.shape), param.numel)?;
            write!(file, "\"step\":{}", json!(column.step))?;
            for (figure, values) in figures.iter().zip(&column.values) {
                write!(file, ",\"{}\":[", figure.name)?;
                for (place, value) in values.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(file, "{comma}{}", number(*value))?;
                }
                write!(file, "]")?;
            }
            write!(file, "}}")?;
        }
        write!(file, "}},\n\"scalars\":{},\n\"epochs\":[", json!(scalars))?;
        for (place, (epoch, scalars)) in of_epochs.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let of_tensor = |means: &Vec<Mean>| -> Map<String, Value> {
                figures.iter().zip(means).map(|(figure, mean)| (figure.name.to_owned(), mean.value())).collect()
            };
            let paths = run.params().iter().map(|param| param.path.clone());
            let means: Map<String, Value> = epochs.get(epoch).map_or_else(Map::new, |tensors| {
                paths.zip(tensors.iter().map(|means| Value::Object(of_tensor(means)))).collect()
            });
            let entry = json!({ "epoch": epoch, "scalars": scalars, "parameters": means });
            write!(file, "{comma}\n{entry}")?;
        }
        writeln!(file, "]}}")?;
        file.flush()
    };
    put().with_context(|| format!("{}", path.display()))?;
    Ok(vec![path])
}

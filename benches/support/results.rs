//! What a bench has measured, kept in `target/bench/NAME.json` for `cargo bench --bench report`.
//!
//! A row is a case and its figures. Measuring a case again replaces its row, so a part of a bench can be run alone.

#![allow(dead_code, reason = "each bench uses a part of it")]

use serde_json::{Map, Value, json};
use std::path::PathBuf;

pub struct Results {
    path: PathBuf,
    rows: Vec<Value>,
}

impl Results {
    /// Of the bench `name`, beside what it measured on the same adapter before.
    pub fn of(name: &str, adapter: &str) -> Self {
        println!("adapter: {adapter}");
        let path = folder().join(format!("{name}.json"));
        let stored = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Vec<Value>>(&text).ok());
        let known = gradscope::device::adapters().into_iter().find(|known| known.description == adapter);
        let of_adapter = json!({ "adapter": adapter, "kind": known.map(|known| known.kind) });
        let rows = stored.filter(|rows| rows.first() == Some(&of_adapter)).unwrap_or_else(|| vec![of_adapter]);
        Self { path, rows }
    }

    /// A row: the case, and its figures by name.
    pub fn put(&mut self, case: &str, figures: &[(&str, f64)]) {
        let mut row = Map::from_iter([("case".to_owned(), case.into())]);
        row.extend(figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        match self.rows.iter_mut().find(|row| row["case"] == case) {
            Some(found) => *found = Value::Object(row),
            None => self.rows.push(Value::Object(row)),
        }
        self.save();
    }

    fn save(&self) {
        let text = serde_json::to_vec_pretty(&self.rows).expect("rows are plain JSON");
        std::fs::write(&self.path, text).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }
}

/// Where results lie: `GRADSCOPE_BENCH_DIR`, or `target/bench`.
pub fn folder() -> PathBuf {
    let told = std::env::var_os("GRADSCOPE_BENCH_DIR").map(PathBuf::from);
    let folder = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench"));
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}

/// The `q`-quantile by nearest rank; NaN of nothing.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

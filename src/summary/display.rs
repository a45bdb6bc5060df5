//! The tables.

use super::{Row, Summary, ratio};
use crate::stats::TensorSummary;
use std::fmt;

/// A column: its heading, and what it says of a row.
type Column<'a> = (&'a str, Box<dyn Fn(&Row) -> String + 'a>);

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last_step) = self.last_step else { return write!(f, "no step was recorded") };
        writeln!(
            f,
            "gradients: L1 and L2 at the last step; near zeros (~0) at each epsilon and the rest over the run"
        )?;
        table(f, &self.rows, &card())?;
        if self.rows.iter().any(|row| row.last.is_some_and(|last| last.dynamics.is_some())) {
            writeln!(
                f,
                "\ngradients: mean and spread at the last step; near zeros at the larger epsilon, over the run"
            )?;
            table(f, &self.rows, &dynamics())?;
        }
        if self.rows.iter().any(|row| row.last_parameter.is_some()) {
            writeln!(
                f,
                "\nparameters and their moves: the last; minima and maxima crossed where gradients flipped, over the run"
            )?;
            table(f, &self.rows, &parameters())?;
        }
        writeln!(f)?;
        let global = &self.last_global;
        let [tiny, small] = global.near_zero_ratio().map_or([None; 2], |ratios| ratios.map(Some));
        write!(
            f,
            "all gradients of {} steps: min {}, max {}, {} non-finite",
            self.step_count,
            figure(self.min),
            figure(self.max),
            self.nonfinite_count,
        )?;
        write!(
            f,
            "\nall gradients of step {last_step}: L1 {:.3e}, L2 {:.3e}, near zero {} and {}, flips {}",
            global.l1_norm,
            global.l2_norm,
            percent(tiny),
            percent(small),
            percent(global.sign_flip_ratio()),
        )?;
        if let Some(parameters) = &global.parameters {
            let (min, max) = (figure(parameters.min), figure(parameters.max));
            write!(f, "\nall parameters of step {last_step}: min {min}, max {max}, L2 {:.3e}", parameters.l2_norm)?;
        }
        if let Some(updates) = &global.updates {
            let unmoved = percent(ratio(updates.unchanged_count, updates.numel));
            write!(f, "; the move before it: L2 {:.3e}, {unmoved} unmoved", updates.l2_norm)?;
        }
        if self.dropped_count + self.lost_count > 0 {
            write!(f, "\nnot recorded: {} steps dropped, {} lost", self.dropped_count, self.lost_count)?;
        }
        Ok(())
    }
}

fn card<'a>() -> Vec<Column<'a>> {
    let last = |pick: fn(&TensorSummary) -> f64| {
        Box::new(move |row: &Row| figure(row.last.as_ref().map(pick))) as Box<dyn Fn(&Row) -> String>
    };
    vec![
        ("min", Box::new(|row: &Row| figure(row.min))),
        ("max", Box::new(|row: &Row| figure(row.max))),
        ("L1", last(|s| s.l1_norm)),
        ("L2", last(|s| s.l2_norm)),
        ("~0 (1)", Box::new(|row: &Row| percent(row.near_zero_ratio()[0]))),
        ("~0 (2)", Box::new(|row: &Row| percent(row.near_zero_ratio()[1]))),
        ("flips", Box::new(|row: &Row| percent(row.sign_flip_ratio()))),
        (
            "cosine",
            Box::new(|row: &Row| row.last.and_then(|s| s.cosine_previous).map_or("-".into(), |c| format!("{c:.3}"))),
        ),
        (
            "nonfinite",
            Box::new(
                |row: &Row| {
                    if row.observed_count == 0 { "missing".into() } else { row.nonfinite_count.to_string() }
                },
            ),
        ),
    ]
}

fn dynamics<'a>() -> Vec<Column<'a>> {
    let transition = |pick: fn(&crate::stats::Transitions) -> Option<f64>| {
        Box::new(move |row: &Row| percent(row.transitions.as_ref().and_then(pick))) as Box<dyn Fn(&Row) -> String>
    };
    vec![
        ("mean", Box::new(|row: &Row| figure(row.last.and_then(|s| s.mean())))),
        ("std", Box::new(|row: &Row| figure(row.last.and_then(|s| s.dynamics?.std)))),
        ("|g| max", Box::new(|row: &Row| figure(row.last.and_then(|s| s.abs_max())))),
        ("|g| min>0", Box::new(|row: &Row| figure(row.last.and_then(|s| s.dynamics?.abs_min_nonzero)))),
        ("retained", transition(|t| ratio(t.retained_count[1], t.near_zero_before_count()[1]))),
        ("released", transition(|t| t.released_ratio()[1])),
        ("flips there", transition(|t| ratio(t.flip_in_retained_count[1], t.retained_count[1]))),
        (
            "became nonf.",
            Box::new(|row: &Row| {
                row.transitions.map_or("-".into(), |transitions| transitions.became_nonfinite_count.to_string())
            }),
        ),
    ]
}

fn parameters<'a>() -> Vec<Column<'a>> {
    vec![
        ("min", Box::new(|row: &Row| figure(row.last_parameter.and_then(|p| p.min)))),
        ("max", Box::new(|row: &Row| figure(row.last_parameter.and_then(|p| p.max)))),
        ("mean", Box::new(|row: &Row| figure(row.last_parameter.and_then(|p| p.mean())))),
        ("std", Box::new(|row: &Row| figure(row.last_parameter.and_then(|p| p.std)))),
        ("L2", Box::new(|row: &Row| figure(row.last_parameter.map(|p| p.l2_norm)))),
        ("move L2", Box::new(|row: &Row| figure(row.last_update.map(|u| u.l2_norm)))),
        ("move/weight", Box::new(|row: &Row| figure(row.last_update.map(|u| u.update_to_weight)))),
        ("unmoved", Box::new(|row: &Row| percent(row.last_update.and_then(|u| ratio(u.unchanged_count, row.numel))))),
        ("minima", Box::new(|row: &Row| row.crossings.map_or("-".into(), |c| c.minimum_count.to_string()))),
        ("maxima", Box::new(|row: &Row| row.crossings.map_or("-".into(), |c| c.maximum_count.to_string()))),
    ]
}

/// A line a row; columns as wide as they need to be. Columns that say nothing of any row are left out.
fn table(f: &mut fmt::Formatter<'_>, rows: &[Row], columns: &[Column<'_>]) -> fmt::Result {
    let mut cells: Vec<Vec<String>> =
        vec![std::iter::once("parameter".to_owned()).chain(rows.iter().map(|row| row.path.clone())).collect()];
    cells.push(std::iter::once("elements".to_owned()).chain(rows.iter().map(|row| row.numel.to_string())).collect());
    for (heading, say) in columns {
        let column: Vec<String> = std::iter::once((*heading).to_owned()).chain(rows.iter().map(say)).collect();
        if column[1..].iter().any(|cell| cell != "-") {
            cells.push(column);
        }
    }
    let widths: Vec<usize> = cells.iter().map(|column| column.iter().map(String::len).max().unwrap_or(0)).collect();
    for line in 0..=rows.len() {
        let mut text = format!("{:<1$}", cells[0][line], widths[0]);
        for (column, width) in cells.iter().zip(&widths).skip(1) {
            text += &format!("  {:>width$}", column[line]);
        }
        writeln!(f, "{text}")?;
    }
    Ok(())
}

fn figure(value: Option<impl Into<f64>>) -> String {
    value.map_or("-".into(), |value| format!("{:.3e}", value.into()))
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{:.1}%", 100.0 * value))
}

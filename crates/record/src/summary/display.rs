//! The tables.

use super::{Row, Summary, ratio};
use crate::stats::{ParameterSummary, TensorSummary};
use std::fmt;

/// A column: its heading, and what it says of a row.
type Column<'a> = (&'a str, Box<dyn Fn(&Row) -> String + 'a>);

/// Tables are as wide as they need to be, or, where the format has a width, as in `{summary:80}`, at most that wide: a
/// table that is wider is printed in parts.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last_step) = self.last_step else {
            write!(f, "no step was recorded")?;
            return self.messages(f);
        };
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
        self.totals(f, last_step)?;
        if self.dropped_count + self.lost_count > 0 {
            write!(f, "\nnot recorded: {} steps dropped, {} lost", self.dropped_count, self.lost_count)?;
        }
        self.messages(f)
    }
}

impl Summary {
    /// Figures over all layers: of the run, and of its last step.
    fn totals(&self, f: &mut fmt::Formatter<'_>, last_step: u64) -> fmt::Result {
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
            "\nall gradients of step {last_step}: L1 {}, L2 {}, near zero {} and {}, flips {}",
            of_finite(global.finite_count(), Some(global.l1_norm)),
            of_finite(global.finite_count(), Some(global.l2_norm)),
            percent(tiny),
            percent(small),
            percent(global.sign_flip_ratio()),
        )?;
        if let Some(parameters) = &global.parameters {
            let finite_count = parameters.numel - parameters.nonfinite_count.min(parameters.numel);
            let [min, max] = [parameters.min, parameters.max].map(|value| of_finite(finite_count, value));
            let l2_norm = of_finite(finite_count, Some(parameters.l2_norm));
            write!(f, "\nall parameters of step {last_step}: min {min}, max {max}, L2 {l2_norm}")?;
            if parameters.nonfinite_count > 0 {
                write!(f, ", {} non-finite", parameters.nonfinite_count)?;
            }
        }
        if let Some(updates) = &global.updates {
            let unmoved = percent(ratio(updates.unchanged_count, updates.numel));
            write!(f, "; the move before it: L2 {:.3e}, {unmoved} unmoved", updates.l2_norm)?;
        }
        Ok(())
    }

    /// Findings and notices, a line each.
    fn messages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.findings.is_empty() {
            write!(f, "\n\nfindings:")?;
            self.findings.iter().try_for_each(|finding| write!(f, "\n- {finding}"))?;
        }
        if !self.notices.is_empty() {
            write!(f, "\n\nnotices:")?;
            self.notices.iter().try_for_each(|notice| write!(f, "\n- {notice}"))?;
        }
        Ok(())
    }
}

fn card<'a>() -> Vec<Column<'a>> {
    let last = |pick: fn(&TensorSummary) -> f64| {
        Box::new(move |row: &Row| last_of(row, |s| Some(pick(s)))) as Box<dyn Fn(&Row) -> String>
    };
    vec![
        ("min", Box::new(|row: &Row| of_run(row, row.min))),
        ("max", Box::new(|row: &Row| of_run(row, row.max))),
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
        ("mean", Box::new(|row: &Row| last_of(row, TensorSummary::mean))),
        ("std", Box::new(|row: &Row| last_of(row, |s| s.dynamics?.std))),
        ("|g| max", Box::new(|row: &Row| last_of(row, |s| s.abs_max().map(f64::from)))),
        ("|g| min>0", Box::new(|row: &Row| last_of(row, |s| s.dynamics?.abs_min_nonzero.map(f64::from)))),
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
        ("min", Box::new(|row: &Row| parameter_of(row, |p| p.min.map(f64::from)))),
        ("max", Box::new(|row: &Row| parameter_of(row, |p| p.max.map(f64::from)))),
        ("mean", Box::new(|row: &Row| parameter_of(row, ParameterSummary::mean))),
        ("std", Box::new(|row: &Row| parameter_of(row, |p| p.std))),
        ("L2", Box::new(|row: &Row| parameter_of(row, |p| Some(p.l2_norm)))),
        ("move L2", Box::new(|row: &Row| figure(row.last_update.map(|u| u.l2_norm)))),
        ("move/weight", Box::new(|row: &Row| figure(row.last_update.map(|u| u.update_to_weight)))),
        ("unmoved", Box::new(|row: &Row| percent(row.last_update.and_then(|u| ratio(u.unchanged_count, row.numel))))),
        ("minima", Box::new(|row: &Row| row.crossings.map_or("-".into(), |c| c.minimum_count.to_string()))),
        ("maxima", Box::new(|row: &Row| row.crossings.map_or("-".into(), |c| c.maximum_count.to_string()))),
    ]
}

/// A line a row; columns as wide as they need to be, in parts where the format has a width. Columns that say nothing of
/// any row are left out.
fn table(f: &mut fmt::Formatter<'_>, rows: &[Row], columns: &[Column<'_>]) -> fmt::Result {
    let names: Vec<String> =
        std::iter::once("parameter".to_owned()).chain(rows.iter().map(|row| row.path.clone())).collect();
    let mut cells: Vec<Vec<String>> = vec![];
    cells.push(std::iter::once("elements".to_owned()).chain(rows.iter().map(|row| row.numel.to_string())).collect());
    for (heading, say) in columns {
        let column: Vec<String> = std::iter::once((*heading).to_owned()).chain(rows.iter().map(say)).collect();
        if column[1..].iter().any(|cell| cell != "-") {
            cells.push(column);
        }
    }
    let width = |column: &[String]| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    let names_width = width(&names);
    let room = f.width().unwrap_or(usize::MAX);
    let mut parts: Vec<(usize, Vec<&Vec<String>>)> = vec![];
    for column in &cells {
        let wide = width(column) + 2;
        match parts.last_mut() {
            Some((taken, part)) if *taken + wide <= room => {
                *taken += wide;
                part.push(column);
            }
            _ => parts.push((names_width + wide, vec![column])),
        }
    }
    for (place, (_, part)) in parts.iter().enumerate() {
        if place > 0 {
            writeln!(f)?;
        }
        for (line, name) in names.iter().enumerate() {
            let mut text = format!("{name:<names_width$}");
            for column in part {
                text += &format!("  {:>1$}", column[line], width(column));
            }
            writeln!(f, "{text}")?;
        }
    }
    Ok(())
}

/// A figure over the finite elements of the last gradient.
fn last_of(row: &Row, pick: impl Fn(&TensorSummary) -> Option<f64>) -> String {
    row.last.map_or("-".into(), |last| of_finite(last.finite_count(), pick(&last)))
}

/// A figure over the finite elements of all gradients of a row.
fn of_run(row: &Row, value: Option<f32>) -> String {
    if value.is_none() && row.nonfinite_count > 0 { "NaN".into() } else { figure(value) }
}

/// A figure over the finite elements of the last parameter.
fn parameter_of(row: &Row, pick: impl Fn(&ParameterSummary) -> Option<f64>) -> String {
    row.last_parameter.map_or("-".into(), |p| of_finite(p.numel - p.nonfinite_count.min(p.numel), pick(&p)))
}

/// A figure over so many finite elements: without one there is none, and 0 would be false.
fn of_finite(finite_count: u64, value: Option<impl Into<f64>>) -> String {
    if finite_count == 0 { "NaN".into() } else { figure(value) }
}

fn figure(value: Option<impl Into<f64>>) -> String {
    value.map_or("-".into(), |value| format!("{:.3e}", value.into()))
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{:.1}%", 100.0 * value))
}

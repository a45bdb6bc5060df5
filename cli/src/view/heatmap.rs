//! Layers by steps, a colour a value.

use super::axis::{self, step_ticks};
use super::chart::{self, FONT_SIZE, TITLE_HEIGHT, inner, style, text_width, thousands};
use super::palette::{self, Rgb};
use super::picture::{Picture, Raster};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Decades that a logarithmic scale shows at most: below are the darkest cells.
const DECADE_COUNT_MAX: f64 = 14.0;
const PLOT_WIDTH: u32 = 900;
const BAR_WIDTH: u32 = 120;
/// Rows whose height is that of their name.
const NAMED_ROW_COUNT_MAX: usize = 80;
/// Pixels of all rows together, of more rows.
const HEIGHT_MAX: u32 = 2400;
/// Pixels between two names at least.
const NAME_HEIGHT: f64 = 12.0;
/// Pixels that a cell with NaNs takes at least.
const NONFINITE_WIDTH: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// There was nothing to observe.
    None,
    Nonfinite,
    Value(f32),
}

pub struct Heatmap {
    /// Of the file.
    pub name: String,
    pub title: String,
    pub rows: Vec<String>,
    /// First and last step.
    pub steps: [u64; 2],
    pub column_count: usize,
    /// Row by row.
    pub cells: Vec<Cell>,
    /// Magnitudes that span decades, or shares and counts from 0.
    pub log: bool,
    pub share: bool,
}

impl Heatmap {
    /// `None` where there is nothing to draw.
    pub fn picture(&self) -> Option<Picture> {
        let scale = self.scale()?;
        let is_named = self.rows.len() <= NAMED_ROW_COUNT_MAX;
        let names = axis::shown_names(self.rows.iter().map(String::as_str));
        let names_width = names.iter().map(|name| text_width(name)).max().unwrap_or(0) + 20;
        let row_height = if is_named { 17 } else { 13 };
        let height = (row_height * self.rows.len() as u32).clamp(140, HEIGHT_MAX);
        let size = [axis::with_title(names_width + PLOT_WIDTH + BAR_WIDTH, &self.title), TITLE_HEIGHT + height + 50];
        let frame = [names_width as f32, TITLE_HEIGHT as f32, PLOT_WIDTH as f32, height as f32];
        let bar_height = height.min(260);
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (size[0], size[1])).into_drawing_area();
            root.draw(&Text::new(self.title.clone(), (14, 10), style(20))).ok()?;
            steps_below(&root, self.steps, frame)?;
            let font_size = if is_named { FONT_SIZE } else { 12 };
            row_names(&root, &names, font_size, names_width, f64::from(height))?;
            let x = (names_width + PLOT_WIDTH + 20) as i32;
            self.bar_labels(&root, scale, x, f64::from(bar_height))?;
            key(&root, &self.cells, (x, (TITLE_HEIGHT + bar_height) as i32 + 22))?;
            root.present().ok()?;
        }
        let cells = Raster {
            place: frame,
            size: [self.column_count as u32, self.rows.len() as u32],
            rgb: self.shown_cells().iter().map(|cell| self.color(cell, scale)).collect(),
        };
        let bar = Raster {
            place: [(names_width + PLOT_WIDTH + 20) as f32, TITLE_HEIGHT as f32, 18.0, bar_height as f32],
            size: [1, 128],
            rgb: (0..128).map(|row| palette::sequential(1.0 - f64::from(row) / 127.0)).collect(),
        };
        let (name, title) = (self.name.clone(), self.title.clone());
        Some(Picture { name, title, size, body: inner(&svg), rasters: vec![cells, bar] })
    }

    /// Returns the place of a value on the scale: its decimal logarithm on a logarithmic one.
    fn place(&self, value: f32) -> f64 {
        if self.log { f64::from(value).log10() } else { f64::from(value) }
    }

    /// The ends of the scale; `None` where there is nothing to draw.
    fn scale(&self) -> Option<[f64; 2]> {
        let values = self.cells.iter().filter_map(|cell| match cell {
            Cell::Value(value) if !self.log || *value > 0.0 => Some(self.place(*value)),
            _ => None,
        });
        let [low, high] = values.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], v| [a.min(v), b.max(v)]);
        if self.column_count == 0 || (low > high && !self.cells.contains(&Cell::Nonfinite)) {
            return None;
        }
        Some(match (self.share, self.log) {
            _ if low > high => [0.0, 1.0],
            (true, _) => [0.0, chart::TOPS.into_iter().find(|top| *top >= high).unwrap_or(high)],
            (_, true) => [low.floor().max(high.ceil() - DECADE_COUNT_MAX), high.ceil().max(low.floor() + 1.0)],
            (_, false) => [0.0, high.max(f64::MIN_POSITIVE)],
        })
    }

    fn color(&self, cell: &Cell, [low, high]: [f64; 2]) -> Rgb {
        match cell {
            Cell::None => palette::NONE,
            Cell::Nonfinite => palette::NONFINITE,
            Cell::Value(value) if self.log && *value <= 0.0 => palette::sequential(0.0),
            Cell::Value(value) => palette::sequential((self.place(*value) - low) / (high - low)),
        }
    }

    /// Draws the ticks and labels of the color bar, from `x` on.
    fn bar_labels(&self, root: &Root<'_>, [low, high]: [f64; 2], x: i32, height: f64) -> Option<()> {
        let label = |share: f64| {
            let value = low + (high - low) * share;
            match (self.share, self.log) {
                (true, _) => chart::percent(&value),
                (_, true) => format!("1e{value:.0}"),
                _ => chart::number(&value),
            }
        };
        let parts = if self.log { ((high - low) as usize).clamp(1, 7) } else { 4 };
        for part in 0..=parts {
            let share = part as f64 / parts as f64;
            let y = TITLE_HEIGHT as i32 + (height * (1.0 - share)) as i32;
            root.draw(&PathElement::new([(x + 18, y), (x + 22, y)], chart::TEXT)).ok()?;
            let left = style(FONT_SIZE).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(label(share), (x + 26, y), left)).ok()?;
        }
        Some(())
    }
}

/// Draws the names of the rows, as many as have room.
fn row_names(root: &Root<'_>, names: &[String], font_size: u32, width: u32, height: f64) -> Option<()> {
    let each = height / names.len() as f64;
    let every = (NAME_HEIGHT / each).ceil().max(1.0) as usize;
    for (row, name) in names.iter().enumerate().step_by(every) {
        let y = TITLE_HEIGHT as i32 + (each * (row as f64 + 0.5)) as i32;
        let right = style(font_size).pos(Pos::new(HPos::Right, VPos::Center));
        root.draw(&Text::new(name.clone(), (width as i32 - 6, y), right)).ok()?;
    }
    Some(())
}

impl Heatmap {
    /// The cells, with each NaN as wide as it takes to be seen: over its neighbours, where columns are narrow.
    fn shown_cells(&self) -> Vec<Cell> {
        let spread = (NONFINITE_WIDTH * self.column_count / 2).div_ceil(PLOT_WIDTH as usize);
        if self.column_count * NONFINITE_WIDTH <= PLOT_WIDTH as usize {
            return self.cells.clone();
        }
        let mut shown = self.cells.clone();
        for (place, _) in self.cells.iter().enumerate().filter(|(_, cell)| **cell == Cell::Nonfinite) {
            let row = place / self.column_count * self.column_count;
            let (from, to) = (place.saturating_sub(spread).max(row), (place + spread + 1).min(row + self.column_count));
            shown[from..to].fill(Cell::Nonfinite);
        }
        shown
    }
}

pub type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// A frame, and numbers of steps below it.
pub fn steps_below(root: &Root<'_>, steps: [u64; 2], [x, y, width, height]: [f32; 4]) -> Option<()> {
    let [left, top, right, bottom] = [x, y, x + width, y + height].map(|len| len as i32);
    let frame = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    root.draw(&PathElement::new(frame, chart::TEXT)).ok()?;
    let [first, last] = steps;
    for step in step_ticks(first, last, 8) {
        // The middle of the step's own column.
        let share = ((step - first) as f64 + 0.5) / ((last - first) as f64 + 1.0);
        let at = left + (f64::from(width) * share) as i32;
        root.draw(&PathElement::new([(at, bottom), (at, bottom + 5)], chart::TEXT)).ok()?;
        let below = style(FONT_SIZE).pos(Pos::new(HPos::Center, VPos::Top));
        root.draw(&Text::new(thousands(step), (at, bottom + 8), below)).ok()?;
    }
    let below = style(FONT_SIZE).pos(Pos::new(HPos::Center, VPos::Top));
    root.draw(&Text::new("step", ((left + right) / 2, bottom + 28), below)).ok()
}

/// What the colours of no scale mean, where they are there.
fn key(root: &Root<'_>, cells: &[Cell], (x, mut y): (i32, i32)) -> Option<()> {
    let entries: [(Cell, Rgb, &str); 2] =
        [(Cell::None, palette::NONE, "no value"), (Cell::Nonfinite, palette::NONFINITE, "non-finite")];
    for (cell, rgb, text) in entries {
        if cells.contains(&cell) {
            swatch(root, rgb, text, (x, y))?;
            y += 20;
        }
    }
    Some(())
}

/// A coloured square and what it means.
pub fn swatch(root: &Root<'_>, rgb: Rgb, text: &str, (x, y): (i32, i32)) -> Option<()> {
    root.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], chart::color(rgb).filled())).ok()?;
    root.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], chart::TEXT)).ok()?;
    root.draw(&Text::new(text.to_owned(), (x + 18, y), style(FONT_SIZE))).ok()
}

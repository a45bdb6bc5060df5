//! How a distribution moves: for each parameter a panel of ridges, one a step, the last in front.

use super::axis;
use super::chart::{self, FONT_SIZE, inner, style};
use super::palette;
use super::picture::Picture;
use gradscope::stats::LinearHistogram;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Ridges of a panel, at most.
pub const RIDGE_COUNT: usize = 24;
const COLUMN_COUNT: usize = 4;
const PANEL: [u32; 2] = [300, 230];
const TOP: u32 = 44;
/// Panels of a picture: of more parameters as many, evenly chosen.
const PANEL_COUNT_MAX: usize = 40;

pub struct Panel {
    pub name: String,
    /// Step and counts, in the order of steps.
    pub ridges: Vec<(u64, LinearHistogram)>,
}

/// `None` where no panel has ridges. Heights are densities over the ridge's own highest, to `power`: below 1 it lets tails be seen beside a peak.
pub fn picture(name: &str, title: &str, panels: &[Panel], power: f64) -> Option<Picture> {
    // Where all elements lie outside the bounds that were known, there is no shape to see.
    let shaped = |panel: &&Panel| panel.ridges.iter().any(|(_, ridge)| ridge.count.iter().any(|count| *count > 0));
    let panels: Vec<_> = panels.iter().filter(shaped).collect();
    if panels.is_empty() {
        return None;
    }
    let all_count = panels.len();
    let count = all_count.min(PANEL_COUNT_MAX);
    let panels: Vec<_> = (0..count).map(|place| panels[place * all_count / count]).collect();
    let names = axis::shown_names(panels.iter().map(|panel| panel.name.as_str()));
    let of_all = if count < all_count { format!(" ({count} of {all_count} parameters)") } else { String::new() };
    let heading = format!("{title}{of_all}");
    let across = panels.len().min(COLUMN_COUNT) as u32;
    let down = panels.len().div_ceil(COLUMN_COUNT) as u32;
    let size = [axis::with_title((across * PANEL[0]).max(560) + 20, &heading), TOP + down * PANEL[1] + 10];
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (size[0], size[1])).into_drawing_area();
        root.draw(&Text::new(heading, (14, 10), style(20))).ok()?;
        for (place, (panel, name)) in panels.iter().zip(&names).enumerate() {
            let x = 10 + PANEL[0] as i32 * (place % COLUMN_COUNT) as i32;
            let y = TOP as i32 + PANEL[1] as i32 * (place / COLUMN_COUNT) as i32;
            draw(&root, panel, name, (x, y), power)?;
        }
        root.present().ok()?;
    }
    Some(Picture { name: name.into(), title: title.into(), size, body: inner(&svg), rasters: vec![] })
}

fn draw(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    panel: &Panel,
    name: &str,
    (x, y): (i32, i32),
    power: f64,
) -> Option<()> {
    root.draw(&Text::new(name.to_owned(), (x + 8, y + 2), style(FONT_SIZE))).ok()?;
    let (left, right) = (f64::from(x) + 44.0, f64::from(x) + f64::from(PANEL[0]) - 14.0);
    let (top, bottom) = (f64::from(y) + 62.0, f64::from(y) + f64::from(PANEL[1]) - 30.0);
    let count = panel.ridges.len().min(RIDGE_COUNT);
    let picked = (0..count).map(|i| &panel.ridges[i * (panel.ridges.len() - 1) / (count - 1).max(1)]);
    let picked: Vec<_> = picked.collect();
    let edges = || picked.iter().flat_map(|(_, ridge)| &ridge.edges).map(|edge| f64::from(*edge));
    let range = chart::widened(edges().fold(f64::INFINITY, f64::min), edges().fold(f64::NEG_INFINITY, f64::max), 0.0);
    let across = |value: f64| left + (right - left) * (value - range.start) / (range.end - range.start);
    // Counts per width, so that bins of other bounds compare.
    let densities = |ridge: &LinearHistogram| -> Vec<f64> {
        let total = ridge.count.iter().sum::<u64>().max(1) as f64;
        let width = |i: usize| f64::from(ridge.edges[i + 1]) - f64::from(ridge.edges[i]);
        (0..ridge.count.len()).map(|i| ridge.count[i] as f64 / total / width(i).max(f64::MIN_POSITIVE)).collect()
    };
    for (place, (_, ridge)) in picked.iter().enumerate() {
        let share = if count > 1 { place as f64 / (count - 1) as f64 } else { 1.0 };
        let base = top + (bottom - top) * share;
        let height = 46.0;
        let point = |value: f64, up: f64| (across(value).round() as i32, (base - height * up).round() as i32);
        let mut outline = vec![point(f64::from(ridge.edges[0]), 0.0)];
        // Each by its own highest: one step of zeros alone would leave nothing to see of the others.
        let densities = densities(ridge);
        let highest = densities.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (i, density) in densities.into_iter().enumerate() {
            let middle = 0.5 * (f64::from(ridge.edges[i]) + f64::from(ridge.edges[i + 1]));
            outline.push(point(middle, (density / highest).powf(power)));
        }
        outline.push(point(f64::from(ridge.edges[ridge.edges.len() - 1]), 0.0));
        let rgb = chart::color(palette::sequential(0.9 * share));
        root.draw(&Polygon::new(outline.clone(), rgb.mix(0.75))).ok()?;
        root.draw(&PathElement::new(outline, WHITE.stroke_width(1))).ok()?;
    }
    let (from, to) = (picked.first()?.0, picked.last()?.0);
    for (step, at) in [(from, top), (to, bottom)] {
        let right_of = style(12).pos(Pos::new(HPos::Right, VPos::Center));
        root.draw(&Text::new(chart::thousands(step), (left as i32 - 6, at as i32), right_of)).ok()?;
    }
    let axis = [(left as i32, bottom as i32 + 2), (right as i32, bottom as i32 + 2)];
    root.draw(&PathElement::new(axis, chart::TEXT)).ok()?;
    let middle = 0.5 * (range.start + range.end);
    for (value, anchor) in [(range.start, HPos::Left), (middle, HPos::Center), (range.end, HPos::Right)] {
        let at = (across(value) as i32, bottom as i32 + 6);
        root.draw(&Text::new(label(value, range.end - range.start), at, style(12).pos(Pos::new(anchor, VPos::Top))))
            .ok()?;
    }
    Some(())
}

/// A number with as many digits as the range asks for.
fn label(value: f64, range: f64) -> String {
    if value.abs() < range * 1e-6 {
        return "0".into();
    }
    let digits = (1.0 - range.log10().floor()).clamp(0.0, 6.0) as usize;
    if range < 1e-4 || value.abs() >= 1e5 { format!("{value:.1e}") } else { format!("{value:.digits$}") }
}

//! The sign map: parameters laid end to end, a line a step, near-zero gradients by their sign.

use super::axis;
use super::chart::{self, FONT_SIZE, inner, style};
use super::heatmap::{Root, swatch};
use super::palette::{self, Rgb};
use super::picture::{Picture, Raster};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gradscope::record::SignMapRow;
use gradscope::stats::Segment;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;
use std::ops::Range;

/// Of the whole map's file.
pub const NAME: &str = "sign-map";
const WIDTH: u32 = 1024;
/// Title and the meaning of colours.
const TOP: u32 = 74;
const LEFT: u32 = 90;
/// Of lines between parameters.
const BORDER: Rgb = [0x22, 0x55, 0xcc];
/// Cells across and down of a zoom.
const ZOOM: usize = 48;

/// Where a parameter lies among the columns.
pub struct Stretch {
    pub path: String,
    pub elements: Range<u64>,
}

/// The map, and the part of it where most happens; `None` without lines.
pub fn pictures(lines: &[(u64, SignMapRow)], stretches: &[Stretch]) -> Vec<Picture> {
    let lines = alike(lines);
    let Some((_, last)) = lines.last() else { return vec![] };
    let whole = Part { columns: 0..last.columns.len(), lines: 0..lines.len() };
    let zoom = liveliest(&lines);
    let title = "Near-zero gradients by sign";
    let mut found: Vec<Picture> = draw(NAME, title, &lines, stretches, &whole).into_iter().collect();
    if zoom != whole {
        found.extend(draw("sign-map-zoom", &format!("{title}, where they change most"), &lines, stretches, &zoom));
    }
    found
}

/// Lines of one map: a resumed run may have been asked for another, and the last one counts.
fn alike(lines: &[(u64, SignMapRow)]) -> Vec<&(u64, SignMapRow)> {
    let Some((_, last)) = lines.last().filter(|(_, row)| !row.columns.is_empty()) else { return vec![] };
    let alike = |(_, row): &&(u64, SignMapRow)| {
        row.columns.len() == last.columns.len() && row.first_element == last.first_element
    };
    lines.iter().filter(alike).collect()
}

/// One parameter's part of the map.
#[derive(Serialize)]
pub struct SignMapPart {
    /// Of each line.
    steps: Vec<u64>,
    column_count: usize,
    /// Elements of the parameter that the columns are of; those at the ends may share theirs with its neighbours.
    first_element: u64,
    end_element: u64,
    /// Red, green and blue of each cell, line by line, in base64.
    rgb: String,
}

/// `None` where the map does not show the parameter.
pub fn part(lines: &[(u64, SignMapRow)], stretch: &Stretch) -> Option<SignMapPart> {
    let lines = alike(lines);
    let (_, row) = lines.last()?;
    let columns: Vec<usize> = (0..row.columns.len())
        .filter(|&column| {
            let shown = row.first_element_of(column)..row.first_element_of(column + 1);
            shown.start < stretch.elements.end && shown.end > stretch.elements.start
        })
        .collect();
    let (first, last) = (*columns.first()?, *columns.last()?);
    let cells = lines.iter().flat_map(|(_, row)| row.columns[first..=last].iter().flat_map(color));
    let within = |element: u64| element.clamp(stretch.elements.start, stretch.elements.end) - stretch.elements.start;
    Some(SignMapPart {
        steps: lines.iter().map(|(step, _)| *step).collect(),
        column_count: columns.len(),
        first_element: within(row.first_element_of(first)),
        end_element: within(row.first_element_of(last + 1)),
        rgb: BASE64.encode(cells.collect::<Vec<u8>>()),
    })
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    columns: Range<usize>,
    lines: Range<usize>,
}

fn color(segment: &Segment) -> Rgb {
    if segment.numel == 0 {
        return palette::NONE;
    }
    if segment.nonfinite_count > 0 {
        return palette::NONFINITE;
    }
    let numel = segment.numel as f64;
    let parts = [
        (segment.other_count(), palette::LARGE),
        (segment.near_zero_negative_count, palette::NEGATIVE),
        (segment.near_zero_positive_count, palette::POSITIVE),
        (segment.zero_count, palette::ZERO),
    ];
    std::array::from_fn(|i| {
        parts.iter().map(|(n, rgb)| *n as f64 / numel * f64::from(rgb[i])).sum::<f64>().round() as u8
    })
}

/// The window of columns, at the last lines, in which cells differ most from the line before.
fn liveliest(lines: &[&(u64, SignMapRow)]) -> Part {
    let column_count = lines[0].1.columns.len();
    let shown = lines.len().saturating_sub(ZOOM)..lines.len();
    let distance = |a: Rgb, b: Rgb| a.iter().zip(b).map(|(a, b)| usize::from(a.abs_diff(b))).sum::<usize>();
    let changes: Vec<usize> = (0..column_count)
        .map(|column| {
            let cell = |line: usize| color(&lines[line].1.columns[column]);
            (shown.start + 1..shown.end).map(|line| distance(cell(line), cell(line - 1))).sum()
        })
        .collect();
    let width = ZOOM.min(column_count);
    let start = (0..=column_count - width).max_by_key(|&start| {
        // The first of equals.
        (changes[start..start + width].iter().sum::<usize>(), column_count - start)
    });
    let start = start.unwrap_or(0);
    Part { columns: start..start + width, lines: shown }
}

fn draw(name: &str, title: &str, lines: &[&(u64, SignMapRow)], stretches: &[Stretch], part: &Part) -> Option<Picture> {
    let row = &lines[0].1;
    let (columns, rows) = (part.columns.len() as u32, part.lines.len() as u32);
    let width = columns * WIDTH.div_ceil(columns);
    let each_row = (480 / rows.max(1)).clamp(1, 10);
    let height = rows * each_row;
    let names = axis::shown_names(stretches.iter().map(|stretch| stretch.path.as_str()));
    let rotated = |(stretch, name): (&Stretch, &String)| {
        let share = (stretch.elements.end - stretch.elements.start) as f64 / row.element_count.max(1) as f64;
        let name = chart::text_width(name);
        if share * f64::from(width) > f64::from(name) { 0 } else { name }
    };
    let names_height = 40 + stretches.iter().zip(&names).map(rotated).max().unwrap_or(0);
    let shown = row.first_element_of(part.columns.start)..row.first_element_of(part.columns.end);
    let per_column = (shown.end - shown.start) as f64 / f64::from(columns);
    let heading = format!(
        "{title} (elements {} to {}, {} a column)",
        chart::thousands(shown.start),
        chart::thousands(shown.end.saturating_sub(1)),
        chart::thousands(per_column.round() as u64)
    );
    let size = [axis::with_title(LEFT + width + 30, &heading), TOP + height + names_height];
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (size[0], size[1])).into_drawing_area();
        root.draw(&Text::new(heading, (14, 10), style(20))).ok()?;
        legend(&root)?;
        let [left, top, right, bottom] = [LEFT, TOP, LEFT + width, TOP + height].map(|len| len as i32);
        let frame = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        root.draw(&PathElement::new(frame, chart::TEXT)).ok()?;
        line_labels(&root, lines, part, each_row)?;
        root.draw(&Text::new("step", (14, top - 18), style(FONT_SIZE))).ok()?;
        stretch_names(&root, stretches, &names, &shown, [width, height])?;
        root.present().ok()?;
    }
    let cells =
        lines[part.lines.clone()].iter().flat_map(|(_, row)| row.columns[part.columns.clone()].iter().map(color));
    let raster =
        Raster { place: [LEFT, TOP, width, height].map(|len| len as f32), size: [columns, rows], rgb: cells.collect() };
    Some(Picture { name: name.into(), title: title.into(), size, body: inner(&svg), rasters: vec![raster] })
}

/// Draws what the colours stand for.
fn legend(root: &Root<'_>) -> Option<()> {
    let entries = [
        (palette::LARGE, "not near zero"),
        (palette::NEGATIVE, "near zero, negative"),
        (palette::POSITIVE, "near zero, positive"),
        (palette::ZERO, "zero"),
        (palette::NONFINITE, "non-finite"),
        (palette::NONE, "no gradient"),
    ];
    let mut x = LEFT as i32;
    for (rgb, text) in entries {
        swatch(root, rgb, text, (x, 46))?;
        x += chart::text_width(text) as i32 + 40;
    }
    Some(())
}

/// Draws the steps of some lines beside them.
fn line_labels(root: &Root<'_>, lines: &[&(u64, SignMapRow)], part: &Part, each_row: u32) -> Option<()> {
    let height = part.lines.len() as u32 * each_row;
    let count = part.lines.len().min((height / 18).max(2) as usize).min(12);
    for label in 0..count {
        let line = part.lines.start + label * (part.lines.len() - 1) / (count - 1).max(1);
        let y =
            TOP as i32 + ((line - part.lines.start) as f64 * f64::from(each_row) + f64::from(each_row) / 2.0) as i32;
        let text = style(FONT_SIZE).pos(Pos::new(HPos::Right, VPos::Center));
        root.draw(&Text::new(chart::thousands(lines[line].0), (LEFT as i32 - 6, y), text)).ok()?;
    }
    Some(())
}

/// Draws borders between parameters, and their names below.
fn stretch_names(
    root: &Root<'_>,
    stretches: &[Stretch],
    names: &[String],
    shown: &Range<u64>,
    [width, height]: [u32; 2],
) -> Option<()> {
    let [left, top, bottom] = [LEFT, TOP, TOP + height].map(|len| len as i32);
    let at = |element: u64| {
        let share = (element - shown.start) as f64 / (shown.end - shown.start) as f64;
        left + (share * f64::from(width)) as i32
    };
    let mut named_to = None;
    for (stretch, name) in stretches.iter().zip(names) {
        let (from, to) = (stretch.elements.start.max(shown.start), stretch.elements.end.min(shown.end));
        if from >= to {
            continue;
        }
        let (start, end) = (at(from), at(to));
        if start > left && end - start > 3 {
            root.draw(&PathElement::new([(start, top), (start, bottom + 4)], chart::color(BORDER))).ok()?;
        }
        let (name, middle) = (name.clone(), (start + end) / 2);
        if end - start > chart::text_width(&name) as i32 {
            let below = style(FONT_SIZE).pos(Pos::new(HPos::Center, VPos::Top));
            root.draw(&Text::new(name, (middle, bottom + 8), below)).ok()?;
        } else if end - start >= 4 && named_to.is_none_or(|last| middle - last >= 16) {
            // Names that would lie on one another are left out: those of the smallest parameters.
            let below = style(FONT_SIZE).transform(FontTransform::Rotate90);
            root.draw(&Text::new(name, (middle + 5, bottom + 8), below)).ok()?;
            named_to = Some(middle);
        }
    }
    Some(())
}

//! Curves, with axes and names.

use super::axis::{self, Decades, step_ticks};
use super::palette::{self, Rgb};
use super::picture::{FONT_FAMILY, Picture};
use gradscope::store::Envelope;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

pub const TEXT: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
pub const FONT_SIZE: u32 = 14;
const TITLE_SIZE: u32 = 20;
pub const TITLE_HEIGHT: u32 = 40;
/// Pixels a character takes, about.
const CHAR_WIDTH: f64 = 7.0;
const LINE_HEIGHT: u32 = 17;
/// Positive values that spread wider than this get a logarithmic axis.
const DECADES: f64 = 1e3;
/// Where an axis of shares may end.
pub const TOPS: [f64; 6] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Curves of few points show them.
const MARKED_COUNT: usize = 40;
/// Pixels for the labels of the y axis.
const LEFT: u32 = 100;
/// Names below an axis, at most: of more, every so many-th is shown.
const X_NAME_COUNT_MAX: usize = 90;
/// Pixels of a mark for what an axis has no place for.
const MARK: [i32; 2] = [3, 9];

pub struct Line {
    pub name: String,
    pub color: Rgb,
    pub points: Vec<Point>,
}

/// A step of a line, or several.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The first step, or the place of a name.
    pub at: u64,
    /// NaN where there is no value: the line has a gap there.
    pub envelope: Envelope,
    /// Whether there was a value that is NaN or infinite.
    pub is_nonfinite: bool,
}

impl Line {
    /// The step from which on every value is NaN or infinite.
    fn nonfinite_since(&self) -> Option<u64> {
        let tail = self.points.iter().rposition(|point| !point.envelope.last.is_nan()).map_or(0, |last| last + 1);
        self.points[tail..].iter().find(|point| point.is_nonfinite).map(|point| point.at)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    Linear,
    /// Values that are not positive have no place on it.
    Log,
    /// From 0 to 100%.
    Share,
}

pub struct Chart {
    /// Of the file.
    pub name: String,
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub axis: Axis,
    pub lines: Vec<Line>,
    /// Names below places of the x axis, instead of numbers.
    pub x_names: Option<Vec<String>>,
    /// From this step on there are non-finite gradients.
    pub mark: Option<u64>,
}

pub fn text_width(text: &str) -> u32 {
    (text.chars().count() as f64 * CHAR_WIDTH).ceil() as u32
}

pub fn style(size: u32) -> TextStyle<'static> {
    (FONT_FAMILY, size).into_font().color(&TEXT)
}

/// What a chart's axes have to show.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    axis: Axis,
    x: [u64; 2],
    y: [f64; 2],
}

impl Extent {
    /// Of two charts that lie side by side: the same steps, and the same values unless their axis is linear, where a run
    /// that diverges would leave nothing to see of one that does not.
    #[must_use]
    pub fn shared(self, other: Self) -> Self {
        let both = |a: [f64; 2], b: [f64; 2]| [a[0].min(b[0]), a[1].max(b[1])];
        let x = [self.x[0].min(other.x[0]), self.x[1].max(other.x[1])];
        let log = [self.axis, other.axis].contains(&Axis::Log) && self.y[0] > 0.0 && other.y[0] > 0.0;
        let axis = if log { Axis::Log } else { self.axis };
        let y = if axis == Axis::Linear { self.y } else { both(self.y, other.y) };
        Self { axis, x, y }
    }
}

impl Chart {
    /// `None` where there is nothing to draw.
    pub fn extent(&self) -> Option<Extent> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)])
        };
        let values = points().map(|point| point.envelope).flat_map(|e| [e.min, e.max, e.last]);
        let values: Vec<f64> = values.filter(|value| value.is_finite()).map(f64::from).collect();
        let mut y = range(&mut values.iter().copied());
        let spread = self.axis == Axis::Linear && y[0] > 0.0 && y[1] > DECADES * y[0];
        let axis = if spread { Axis::Log } else { self.axis };
        if axis == Axis::Log {
            y = range(&mut values.into_iter().filter(|value| *value > 0.0));
        }
        let x = match &self.x_names {
            Some(names) => [0, names.len().saturating_sub(1) as u64],
            None => [points().map(|point| point.at).min()?, points().map(|point| point.at).max()?],
        };
        // Of zeros alone there is no logarithm, and of NaNs alone no value: they are marked all the same.
        let is_marked = points().any(|point| point.is_nonfinite) || !points().all(|point| point.envelope.last.is_nan());
        match y[0] <= y[1] {
            true => Some(Extent { axis, x, y }),
            false => {
                is_marked.then_some(Extent { axis, x, y: if axis == Axis::Log { [0.1, 1.0] } else { [0.0, 1.0] } })
            }
        }
    }

    /// With axes that show `extent`, which is the chart's own, or one that it shares.
    pub fn picture(mut self, extent: Extent) -> Option<Picture> {
        self.axis = extent.axis;
        // Steps are drawn by their distance from the first: numbers may be clocks, which f64 does not tell apart.
        let len = (extent.x[1] - extent.x[0]) as f64;
        let x = if self.x_names.is_some() { -0.5..len + 0.5 } else { widened(0.0, len, 0.0) };
        let [low, high] = extent.y;
        let legend = if self.lines.len() > 1 { self.lines.as_slice() } else { &[] };
        let legend_names = axis::shown_names(legend.iter().map(|line| line.name.as_str()));
        let legend_width = legend_names.iter().map(|name| text_width(name)).max().map_or(16, |w| w + 46);
        if let Some(names) = &mut self.x_names {
            *names = axis::shown_names(names.iter().map(String::as_str));
        }
        let names_len = self.x_names.iter().flatten().map(|name| text_width(name)).max();
        let name_count = self.x_names.as_ref().map_or(0, |names| names.len().min(X_NAME_COUNT_MAX));
        let plot_width = (LINE_HEIGHT * name_count as u32).max(760);
        let bottom = names_len.map_or(44, |len| len + 30);
        let plot_height = if plot_width > 1200 { 560 } else { 366 };
        let height = (TITLE_HEIGHT + plot_height + bottom).max(TITLE_HEIGHT + LINE_HEIGHT * legend.len() as u32 + 20);
        let size = [axis::with_title(LEFT + plot_width + legend_width, &self.title), height];
        let legend_width = size[0] - LEFT - plot_width;
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (size[0], size[1])).into_drawing_area();
            root.draw(&Text::new(self.title.clone(), (14, 10), style(TITLE_SIZE))).ok()?;
            let area = root.margin(TITLE_HEIGHT, 6, 12, legend_width);
            match self.axis {
                Axis::Linear => {
                    let range = widened(low, high, 0.05);
                    // What rounding leaves of a zero is a zero.
                    let nothing = 1e-9 * (range.end - range.start);
                    let label = move |value: &f64| number(if value.abs() < nothing { &0.0 } else { value });
                    self.plot(&area, x, range, extent.x, bottom, &label)
                }
                Axis::Share => {
                    let top = TOPS.into_iter().find(|top| *top >= high).unwrap_or(high);
                    self.plot(&area, x, 0.0..top.max(f64::MIN_POSITIVE), extent.x, bottom, &percent)
                }
                Axis::Log => self.plot(&area, x, Decades::around(low, high), extent.x, bottom, &power),
            }
            .ok()?;
            for (row, (line, name)) in legend.iter().zip(&legend_names).enumerate() {
                let y = (TITLE_HEIGHT + 12 + LINE_HEIGHT * row as u32) as i32;
                let x = (LEFT + plot_width + 8) as i32;
                let swatch = [(x, y), (x + 18, y)];
                root.draw(&PathElement::new(swatch, color(line.color).stroke_width(3))).ok()?;
                root.draw(&Text::new(name.clone(), (x + 24, y - 7), style(FONT_SIZE))).ok()?;
            }
            root.present().ok()?;
        }
        Some(Picture { name: self.name.clone(), title: self.title.clone(), size, body: inner(&svg), rasters: vec![] })
    }

    fn plot<'a, Y>(
        &self,
        area: &Area<'a>,
        x: Range<f64>,
        y: Y,
        [first, last]: [u64; 2],
        bottom: u32,
        label: &dyn Fn(&f64) -> String,
    ) -> Result<(), DrawError>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let shown = x.clone();
        let mut chart = ChartBuilder::on(area)
            .margin_right(8)
            .x_label_area_size(bottom)
            .y_label_area_size(LEFT - 12)
            .build_cartesian_2d(x, y)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(TEXT)
            .label_style(style(FONT_SIZE))
            .axis_desc_style(style(FONT_SIZE))
            .y_desc(&self.y_label)
            .y_label_formatter(&label);
        match &self.x_names {
            None => mesh.x_desc(&self.x_label).x_labels(0).disable_x_mesh().draw()?,
            Some(_) => mesh.x_labels(0).disable_x_mesh().draw()?,
        }
        let (xs, ys) = chart.plotting_area().get_pixel_range();
        let base = area.get_base_pixel();
        let frame = Frame {
            left: xs.start - base.0,
            right: xs.end - base.0,
            top: ys.start - base.1,
            foot: ys.end - base.1,
            first,
            shown,
        };
        if self.x_names.is_none() {
            frame.step_grid(area, last)?;
        }
        for line in &self.lines {
            self.draw_line(&mut chart, line, first)?;
            self.draw_marks(area, &frame, line)?;
        }
        let since = self.lines.iter().filter_map(Line::nonfinite_since).max();
        let since = since.map(|step| (step, "NaN from here"));
        let since = since.or(self.mark.map(|step| (step, "non-finite gradients from here")));
        if let Some((step, text)) = since.filter(|(step, _)| (first..=last).contains(step)) {
            frame.draw_since(area, step, text)?;
        }
        self.x_names.as_ref().map_or(Ok(()), |names| frame.draw_names(area, names))
    }

    /// Draws a line: the band from smallest to largest, and the last values.
    fn draw_line<'a, Y>(
        &self,
        chart: &mut ChartContext<'_, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Y>>,
        line: &Line,
        first: u64,
    ) -> Result<(), DrawError>
    where
        Y: Ranged<ValueType = f64>,
    {
        let rgb = color(line.color);
        for part in self.parts(line) {
            let x = |point: &Point| (point.at - first) as f64;
            if part.iter().any(|point| point.envelope.min < point.envelope.max) {
                let least = |value: f32| if self.axis == Axis::Log { value.max(self.least(line)) } else { value };
                let upper = part.iter().map(|point| (x(point), f64::from(point.envelope.max)));
                let lower = part.iter().rev().map(|point| (x(point), f64::from(least(point.envelope.min))));
                let band: Vec<_> = upper.chain(lower).collect();
                chart.draw_series([Polygon::new(band, rgb.mix(0.22))])?;
            }
            let last: Vec<_> = part.iter().map(|point| (x(point), f64::from(point.envelope.last))).collect();
            if last.len() == 1 || line.points.len() <= MARKED_COUNT {
                chart.draw_series(last.iter().map(|at| Circle::new(*at, 4, rgb.filled())))?;
            }
            if last.len() > 1 {
                chart.draw_series(LineSeries::new(last, rgb.stroke_width(2)))?;
            }
        }
        Ok(())
    }

    /// Marks what a line cannot show: points that are not finite, and zeros on a logarithmic axis.
    fn draw_marks(&self, area: &Area<'_>, frame: &Frame, line: &Line) -> Result<(), DrawError> {
        let [half, tall] = MARK;
        let mark = |at: i32, [from, to]: [i32; 2], rgb: RGBColor| {
            area.draw(&Rectangle::new([(at - half / 2, from), (at + half / 2 + 1, to)], rgb.filled()))
        };
        for point in &line.points {
            if point.is_nonfinite {
                mark(frame.pixel(point.at), [frame.top, frame.top + tall], color(palette::NONFINITE))?;
            }
            // A zero has no place on a logarithmic axis: it stands at its foot.
            if self.axis == Axis::Log && point.envelope.min <= 0.0 {
                mark(frame.pixel(point.at), [frame.foot - tall, frame.foot], color(line.color))?;
            }
        }
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// Position of a chart's axes, in pixels of the area that it is drawn on.
struct Frame {
    left: i32,
    right: i32,
    top: i32,
    foot: i32,
    /// The first step.
    first: u64,
    /// Range of the horizontal axis that is shown, in steps from the first one.
    shown: Range<f64>,
}

impl Frame {
    fn pixel(&self, at: u64) -> i32 {
        let share = ((at - self.first) as f64 - self.shown.start) / (self.shown.end - self.shown.start);
        self.left + (share * f64::from(self.right - self.left)).round() as i32
    }

    fn step_grid(&self, area: &Area<'_>, last: u64) -> Result<(), DrawError> {
        for step in step_ticks(self.first, last, 8) {
            let at = self.pixel(step);
            area.draw(&PathElement::new([(at, self.top), (at, self.foot)], GRID))?;
            area.draw(&PathElement::new([(at, self.foot), (at, self.foot + 5)], TEXT))?;
            let below = style(FONT_SIZE).pos(Pos::new(HPos::Center, VPos::Top));
            area.draw(&Text::new(thousands(step), (at, self.foot + 8), below))?;
        }
        Ok(())
    }

    /// Draws the line from which on something is not finite, and its text on the side that has room.
    fn draw_since(&self, area: &Area<'_>, step: u64, text: &'static str) -> Result<(), DrawError> {
        let at = self.pixel(step);
        let rgb = color(palette::NONFINITE);
        area.draw(&PathElement::new([(at, self.top), (at, self.foot)], rgb.stroke_width(2)))?;
        let is_late = at + text_width(text) as i32 + 10 > self.right;
        let (side, x) = if is_late { (HPos::Right, at - 6) } else { (HPos::Left, at + 6) };
        let style = style(FONT_SIZE).color(&rgb).pos(Pos::new(side, VPos::Top));
        area.draw(&Text::new(text, (x, self.top + MARK[1] + 2), style))
    }

    fn draw_names(&self, area: &Area<'_>, names: &[String]) -> Result<(), DrawError> {
        let every = names.len().div_ceil(X_NAME_COUNT_MAX).max(1);
        for (place, name) in names.iter().enumerate().step_by(every) {
            let vertical = style(FONT_SIZE).transform(FontTransform::Rotate90);
            // Plotters turns text about its own corner.
            area.draw(&Text::new(name.clone(), (self.pixel(place as u64) + 5, self.foot + 6), vertical))?;
        }
        Ok(())
    }
}

impl Chart {
    /// The stretches of a line without a gap.
    fn parts(&self, line: &Line) -> Vec<Vec<Point>> {
        let has_place = |value: f32| value.is_finite() && (self.axis != Axis::Log || value > 0.0);
        let mut parts = vec![Vec::new()];
        for point in &line.points {
            if has_place(point.envelope.last) && has_place(point.envelope.max) && point.envelope.min.is_finite() {
                if let Some(part) = parts.last_mut() {
                    part.push(*point);
                }
            } else if parts.last().is_some_and(|part| !part.is_empty()) {
                parts.push(Vec::new());
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// The smallest positive value of a line: where its band ends on a logarithmic axis.
    fn least(&self, line: &Line) -> f32 {
        let values = line.points.iter().flat_map(|point| [point.envelope.min, point.envelope.last]);
        values.filter(|value| *value > 0.0).fold(f32::MAX, f32::min)
    }
}

/// A range that is none is widened to one.
pub fn widened(low: f64, high: f64, margin: f64) -> Range<f64> {
    if low < high {
        let margin = margin * (high - low);
        low - margin..high + margin
    } else {
        let margin = (0.05 * low.abs()).max(f64::MIN_POSITIVE.sqrt()).max(if low == 0.0 { 0.5 } else { 0.0 });
        low - margin..high + margin
    }
}

pub fn color(rgb: Rgb) -> RGBColor {
    RGBColor(rgb[0], rgb[1], rgb[2])
}

/// Colours for lines: distinct while they are few, along the layers where they are many.
pub fn colors(count: usize) -> Vec<Rgb> {
    match count {
        0..=palette::DISTINCT_COUNT => palette::DISTINCT[..count].to_vec(),
        _ => (0..count).map(|i| palette::sequential(0.92 * i as f64 / (count - 1) as f64)).collect(),
    }
}

pub fn number(value: &f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        1e-3..1e4 => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        _ => format!("{value:.1e}"),
    }
}

pub fn percent(value: &f64) -> String {
    let text = format!("{:.1}", 100.0 * value);
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

fn power(value: &f64) -> String {
    let exponent = value.log10();
    if (exponent - exponent.round()).abs() < 1e-6 { format!("1e{}", exponent.round()) } else { format!("{value:.0e}") }
}

pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The inside of an SVG document.
pub fn inner(svg: &str) -> String {
    let start = svg.find("<svg").and_then(|at| svg[at..].find('>').map(|end| at + end + 1)).unwrap_or(0);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg[start..end].to_owned()
}

//! Curves, with axes and names.

use super::palette::{self, Rgb};
use super::picture::{FONT_FAMILY, Picture};
use gradscope::store::Envelope;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
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
/// Characters of a name that are shown.
pub const NAME_LEN: usize = 34;

pub struct Line {
    pub name: String,
    pub color: Rgb,
    pub points: Vec<(f64, Envelope)>,
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

/// The start and the end of a name that is too long.
pub fn shortened(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let len = name.chars().count();
    if len <= NAME_LEN {
        return name;
    }
    let half = NAME_LEN / 2;
    let start: String = name.chars().take(half).collect();
    let end: String = name.chars().skip(len - half + 1).collect();
    format!("{start}…{end}")
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
    x: [f64; 2],
    y: [f64; 2],
}

impl Extent {
    /// Of two charts that lie side by side: the same steps, and the same values unless their axis is linear, where a run
    /// that diverges would leave nothing to see of one that does not.
    #[must_use]
    pub fn shared(self, other: Self) -> Self {
        let both = |a: [f64; 2], b: [f64; 2]| [a[0].min(b[0]), a[1].max(b[1])];
        let log = [self.axis, other.axis].contains(&Axis::Log) && self.y[0] > 0.0 && other.y[0] > 0.0;
        let axis = if log { Axis::Log } else { self.axis };
        let y = if axis == Axis::Linear { self.y } else { both(self.y, other.y) };
        Self { axis, x: both(self.x, other.x), y }
    }
}

impl Chart {
    /// `None` where there is nothing to draw.
    pub fn extent(&self) -> Option<Extent> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)])
        };
        let values = points().flat_map(|(_, envelope)| [envelope.min, envelope.max, envelope.last]);
        let values: Vec<f64> = values.filter(|value| value.is_finite()).map(f64::from).collect();
        let mut y = range(&mut values.iter().copied());
        let spread = self.axis == Axis::Linear && y[0] > 0.0 && y[1] > DECADES * y[0];
        let axis = if spread { Axis::Log } else { self.axis };
        if axis == Axis::Log {
            y = range(&mut values.into_iter().filter(|value| *value > 0.0));
        }
        let x = match &self.x_names {
            Some(names) => [-0.5, names.len() as f64 - 0.5],
            None => range(&mut points().map(|(x, _)| *x)),
        };
        (y[0] <= y[1]).then_some(Extent { axis, x, y })
    }

    /// With axes that show `extent`, which is the chart's own, or one that it shares.
    pub fn picture(mut self, extent: Extent) -> Option<Picture> {
        self.axis = extent.axis;
        let x = if self.x_names.is_some() { extent.x[0]..extent.x[1] } else { widened(extent.x[0], extent.x[1], 0.0) };
        let [low, high] = extent.y;
        let legend = if self.lines.len() > 1 { self.lines.as_slice() } else { &[] };
        let legend_width = legend.iter().map(|line| text_width(&shortened(&line.name))).max().map_or(16, |w| w + 46);
        let names_len = self.x_names.iter().flatten().map(|name| text_width(&shortened(name))).max();
        let plot_width = self.x_names.as_ref().map_or(760, |names| (LINE_HEIGHT * names.len() as u32).max(760));
        let bottom = names_len.map_or(44, |len| len + 30);
        let plot_height = if plot_width > 1200 { 560 } else { 366 };
        let height = (TITLE_HEIGHT + plot_height + bottom).max(TITLE_HEIGHT + LINE_HEIGHT * legend.len() as u32 + 20);
        let size = [LEFT + plot_width + legend_width, height];
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
                    self.plot(&area, x, range, bottom, &label)
                }
                Axis::Share => {
                    let top = TOPS.into_iter().find(|top| *top >= high).unwrap_or(high);
                    self.plot(&area, x, 0.0..top, bottom, &percent)
                }
                Axis::Log => {
                    let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
                    let high = if high > low { high } else { 10.0 * low };
                    self.plot(&area, x, (low..high).log_scale(), bottom, &power)
                }
            }
            .ok()?;
            for (row, line) in legend.iter().enumerate() {
                let y = (TITLE_HEIGHT + 12 + LINE_HEIGHT * row as u32) as i32;
                let x = (LEFT + plot_width + 8) as i32;
                let swatch = [(x, y), (x + 18, y)];
                root.draw(&PathElement::new(swatch, color(line.color).stroke_width(3))).ok()?;
                root.draw(&Text::new(shortened(&line.name), (x + 24, y - 7), style(FONT_SIZE))).ok()?;
            }
            root.present().ok()?;
        }
        Some(Picture { name: self.name.clone(), title: self.title.clone(), size, body: inner(&svg), rasters: vec![] })
    }

    fn plot<'a, Y>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
        x: Range<f64>,
        y: Y,
        bottom: u32,
        label: &dyn Fn(&f64) -> String,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>>
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
        let whole = |x: &f64| if x.fract() == 0.0 { thousands(*x) } else { String::new() };
        match &self.x_names {
            None => mesh.x_desc(&self.x_label).x_labels(8).x_label_formatter(&whole).draw()?,
            Some(_) => mesh.x_labels(0).disable_x_mesh().draw()?,
        }
        for line in &self.lines {
            let known = |value: f32| value.is_finite() && (self.axis != Axis::Log || value > 0.0);
            let mut parts = vec![Vec::new()];
            for (x, envelope) in &line.points {
                if known(envelope.last) && known(envelope.min) && known(envelope.max) {
                    if let Some(part) = parts.last_mut() {
                        part.push((*x, *envelope));
                    }
                } else if parts.last().is_some_and(|part| !part.is_empty()) {
                    parts.push(Vec::new());
                }
            }
            let rgb = color(line.color);
            for part in &parts {
                if part.iter().any(|(_, envelope)| envelope.min < envelope.max) {
                    let upper = part.iter().map(|(x, e)| (*x, f64::from(e.max)));
                    let lower = part.iter().rev().map(|(x, e)| (*x, f64::from(e.min)));
                    let band: Vec<_> = upper.chain(lower).collect();
                    chart.draw_series([Polygon::new(band, rgb.mix(0.22))])?;
                }
                let last: Vec<_> = part.iter().map(|(x, e)| (*x, f64::from(e.last))).collect();
                if last.len() == 1 || line.points.len() <= MARKED_COUNT {
                    chart.draw_series(last.iter().map(|at| Circle::new(*at, 4, rgb.filled())))?;
                }
                if last.len() > 1 {
                    chart.draw_series(LineSeries::new(last, rgb.stroke_width(2)))?;
                }
            }
        }
        if let Some(step) = self.mark.map(|step| step as f64) {
            let (xs, ys) = chart.plotting_area().get_pixel_range();
            let base = area.get_base_pixel();
            let share = (step - shown.start) / (shown.end - shown.start);
            let at = xs.start - base.0 + (share * f64::from(xs.end - xs.start)) as i32;
            let (top, bottom) = (ys.start - base.1, ys.end - base.1);
            if (xs.start..=xs.end).contains(&(at + base.0)) {
                let rgb = color(palette::NONFINITE);
                area.draw(&PathElement::new([(at, top), (at, bottom)], rgb.stroke_width(2)))?;
                let text = style(FONT_SIZE).color(&rgb);
                area.draw(&Text::new("non-finite from here", (at + 6, top + 4), text))?;
            }
        }
        if let Some(names) = &self.x_names {
            let (xs, ys) = chart.plotting_area().get_pixel_range();
            let step = f64::from(xs.end - xs.start) / names.len().max(1) as f64;
            for (place, name) in names.iter().enumerate() {
                let x = xs.start + (step * (place as f64 + 0.5)) as i32 + 5;
                let vertical = style(FONT_SIZE).transform(FontTransform::Rotate90);
                // Plotters turns text about its own corner.
                let at = (x - area.get_base_pixel().0, ys.end + 6 - area.get_base_pixel().1);
                area.draw(&Text::new(shortened(name), at, vertical))?;
            }
        }
        Ok(())
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

pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// The inside of an SVG document.
pub fn inner(svg: &str) -> String {
    let start = svg.find("<svg").and_then(|at| svg[at..].find('>').map(|end| at + end + 1)).unwrap_or(0);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg[start..end].to_owned()
}

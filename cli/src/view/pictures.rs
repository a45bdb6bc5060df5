//! Which pictures a run has.

use super::chart::{Axis, Chart, Extent, Line, Point, colors};
use super::flow;
use super::heatmap::{Cell, Heatmap};
use super::picture::Picture;
use super::ridgeline::{self, Panel, RIDGE_COUNT};
use super::sign_map::{self, SignMapPart, Stretch};
use super::thinned::Thinned;
use anyhow::Result;
use gradscope::record::{Figure, HistogramOf, Scale, SignMapRow};
use gradscope::store::{Curves, Envelope, Series};
use gradscope::{Run, Stats};
use std::collections::HashMap;

/// Points of a curve.
const POINT_COUNT: usize = 1000;
/// More curves than that have no legible names: they become rows of a heatmap.
const LINE_COUNT_MAX: usize = 12;
/// Lines of a sign map, and ridges of a parameter, of twice as many.
const LINE_COUNT_MAX_OF_MAP: usize = 500;

/// Figures of single tensors that have a picture, with the file's name.
const FIGURES: [(&str, &str); 15] = [
    ("gradient-l2-norm", "l2_norm"),
    ("gradient-l1-norm", "l1_norm"),
    ("gradient-mean", "abs_mean"),
    ("gradient-max", "abs_max"),
    ("near-zero-smaller-epsilon", "near_zero_ratio_1"),
    ("near-zero-larger-epsilon", "near_zero_ratio_2"),
    ("released-smaller-epsilon", "released_ratio_1"),
    ("released-larger-epsilon", "released_ratio_2"),
    ("sign-flips", "sign_flip_ratio"),
    ("weight-l2-norm", "param_l2_norm"),
    ("move-l2-norm", "update_l2_norm"),
    ("move-to-weight", "update_to_weight"),
    ("minima-crossed", "minimum_ratio"),
    ("maxima-crossed", "maximum_ratio"),
    ("unmoved-weights", "unchanged_ratio"),
];

/// A picture, or what is one once its axes are known.
pub enum Drawing {
    Chart(Chart),
    Picture(Picture),
}

/// The pictures of a run, in the order of a report, and what there is no picture of, with the reason.
pub struct Gallery {
    pub drawings: Vec<Drawing>,
    pub missing: Vec<String>,
}

/// Draws the charts of runs that lie side by side, with axes that they share.
pub fn draw(runs: Vec<Vec<Drawing>>) -> Vec<Vec<Picture>> {
    let mut extents: HashMap<String, Extent> = HashMap::new();
    for drawing in runs.iter().flatten() {
        if let Drawing::Chart(chart) = drawing
            && let Some(extent) = chart.extent()
        {
            let shared = extents.get(&chart.name).map_or(extent, |before| extent.shared(*before));
            extents.insert(chart.name.clone(), shared);
        }
    }
    let picture = |drawing: Drawing| match drawing {
        Drawing::Picture(picture) => Some(picture),
        Drawing::Chart(chart) => {
            let own = chart.extent()?;
            let shared = extents.get(&chart.name).map_or(own, |all| own.shared(*all));
            chart.picture(shared)
        }
    };
    runs.into_iter().map(|drawings| drawings.into_iter().filter_map(picture).collect()).collect()
}

/// What of a run curves are drawn from.
struct Source<'a> {
    run: &'a Run,
    /// The first step with a NaN or an infinity among its gradients.
    nonfinite_from: Option<u64>,
    curves: Curves,
    series: Vec<Series>,
}

/// Draws everything that the run has.
pub fn gallery(run: &Run) -> Result<Gallery> {
    let drawn = ["loss", "accuracy", "validation/loss", "validation/accuracy"];
    let global = ["min", "max", "param_min", "param_max", "l2_norm"];
    let series = run.series(|name| match name.source.as_str() {
        "global" => global.contains(&name.name.as_str()),
        "scalar" | "log" => drawn.contains(&name.name.as_str()),
        _ => false,
    })?;
    let nonfinite_from = first_nonfinite(run)?.map(|(step, _)| step);
    let source = Source { run, nonfinite_from, curves: run.curves(POINT_COUNT)?, series };
    let mut gallery = Gallery { drawings: vec![], missing: vec![] };
    for table in ["stats", "scalars"] {
        for segment in run.segments_without(table)? {
            gallery.missing.push(format!("segment {segment}: the folder has no `{table}-{segment:04}` file"));
        }
    }
    if source.curves.spans().is_empty() {
        gallery.missing.push("anything: no step is recorded".into());
        return Ok(gallery);
    }
    source.scalars(&mut gallery);
    source.norms(&mut gallery);
    gallery.chart(flow::charts(run, &source.curves, source.named("global", "l2_norm")));
    source.figures(&mut gallery);
    source.maps(&mut gallery)?;
    source.histograms(&mut gallery)?;
    Ok(gallery)
}

/// The sign map and its zoom, where the run has one.
pub fn sign_maps(run: &Run) -> Result<Vec<Picture>> {
    Ok(sign_map::pictures(&map_lines(run)?, &stretches(run)))
}

/// One parameter's part of the sign map; `None` where it has none.
pub fn sign_map_of(run: &Run, place: usize) -> Result<Option<SignMapPart>> {
    let path = &run.params()[place].path;
    let stretch = stretches(run).into_iter().find(|stretch| stretch.path == *path);
    let Some(stretch) = stretch else { return Ok(None) };
    Ok(sign_map::part(&map_lines(run)?, &stretch))
}

fn stretches(run: &Run) -> Vec<Stretch> {
    let mut first = 0;
    let stretch = |place: usize| {
        let param = &run.params()[place];
        let elements = first..first + param.numel;
        first = elements.end;
        Stretch { path: param.path.clone(), elements }
    };
    run.sign_map_params().into_iter().map(stretch).collect()
}

fn map_lines(run: &Run) -> Result<Vec<(u64, SignMapRow)>> {
    let mut lines = Thinned::new(LINE_COUNT_MAX_OF_MAP);
    run.each_sign_map_line(|step, line| lines.push((step, line)))?;
    Ok(lines.into_kept())
}

impl Gallery {
    fn add(&mut self, pictures: impl IntoIterator<Item = Picture>) {
        self.drawings.extend(pictures.into_iter().map(Drawing::Picture));
    }

    fn chart(&mut self, charts: impl IntoIterator<Item = Chart>) {
        self.drawings.extend(charts.into_iter().map(Drawing::Chart));
    }
}

/// The first step with NaNs or infinities, and how many.
pub fn first_nonfinite(run: &Run) -> Result<Option<(u64, f64)>> {
    let counts = ["nan_count", "pos_inf_count", "neg_inf_count"];
    let series = run.series(|name| name.source == "global" && counts.contains(&name.name.as_str()))?;
    let firsts = series.iter().filter_map(|series| series.points.iter().find(|(_, count)| *count > 0.0));
    let step = firsts.map(|(step, _)| *step).min();
    let points = || series.iter().flat_map(|series| &series.points);
    Ok(step.map(|step| (step, points().filter(|(at, _)| *at == step).map(|(_, count)| count).sum())))
}

/// The figure that counts the non-finite elements that a figure leaves out.
fn count_of(figure: &Figure) -> &'static str {
    if figure.name.starts_with("param_") || figure.name.starts_with("update") || figure.name.starts_with("unchanged") {
        "param_nonfinite_count"
    } else {
        "nonfinite_count"
    }
}

/// A figure over all tensors in at most [`POINT_COUNT`] spans.
fn thinned(points: &[(u64, f64)]) -> Vec<Point> {
    let span = points.len().div_ceil(POINT_COUNT).max(1);
    let point = |span: &[(u64, f64)]| {
        let finite = || span.iter().map(|(_, value)| *value as f32).filter(|value| value.is_finite());
        let (min, max) = (finite().fold(f32::NAN, f32::min), finite().fold(f32::NAN, f32::max));
        let envelope = Envelope { min, max, last: finite().next_back().unwrap_or(f32::NAN) };
        Point { at: span[0].0, envelope, is_nonfinite: span.iter().any(|(_, value)| !value.is_finite()) }
    };
    points.chunks(span).map(point).collect()
}

impl Source<'_> {
    fn named(&self, source: &str, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name.source == source && series.name.name == name)
    }

    fn lines(&self, wanted: &[(&str, &str, &str)]) -> Vec<Line> {
        let found = wanted.iter().filter_map(|(source, name, title)| Some((self.named(source, name)?, *title)));
        let found: Vec<_> = found.collect();
        let line = |(&(series, title), color): (&(&Series, &str), _)| Line {
            name: str::to_owned(title),
            color,
            points: thinned(&series.points),
        };
        found.iter().zip(colors(found.len())).map(line).collect()
    }

    /// Curves over steps.
    fn chart(&self, name: &str, title: String, y_label: &str, axis: Axis, lines: Vec<Line>) -> Chart {
        let (name, x_label, y_label) = (name.to_owned(), "step".to_owned(), y_label.to_owned());
        Chart { name, title, x_label, y_label, axis, lines, x_names: None, mark: self.nonfinite_from }
    }

    fn scalars(&self, gallery: &mut Gallery) {
        let chart = |name, title: &str, y_label, axis, lines| self.chart(name, title.into(), y_label, axis, lines);
        let loss = [("scalar", "loss", "training"), ("log", "validation/loss", "validation")];
        gallery.chart([chart("loss", "Loss", "loss", Axis::Linear, self.lines(&loss))]);
        let accuracy = [("scalar", "accuracy", "training batch"), ("log", "validation/accuracy", "validation")];
        gallery.chart([chart("accuracy", "Accuracy", "accuracy", Axis::Share, self.lines(&accuracy))]);
        let total = [("global", "l2_norm", "L2 norm of all gradients")];
        gallery.chart([chart(
            "global-gradient-norm",
            "L2 norm of all gradients",
            "L2 norm",
            Axis::Log,
            self.lines(&total),
        )]);
        let gradients = [("global", "min", "smallest gradient"), ("global", "max", "largest gradient")];
        let title = "Smallest and largest gradient of all layers";
        gallery.chart([chart("global-gradient-min-max", title, "gradient", Axis::Linear, self.lines(&gradients))]);
        let weights = [("global", "param_min", "smallest weight"), ("global", "param_max", "largest weight")];
        let title = "Smallest and largest weight of all layers";
        gallery.chart([chart("global-weight-min-max", title, "weight", Axis::Linear, self.lines(&weights))]);
        if !self.run.manifest().groups().contains(Stats::PARAMS) {
            gallery.missing.push("smallest and largest weights: `--stats params` records them".into());
        }
    }

    /// The one picture of all layers and steps.
    fn norms(&self, gallery: &mut Gallery) {
        if let Some(figure) = Figure::named("l2_norm") {
            gallery.add(self.heatmap("gradient-norm-map", figure, "Gradient L2 norm by layer and step".into()));
        }
    }

    fn heatmap(&self, name: &str, figure: &Figure, title: String) -> Option<Picture> {
        let spans = self.curves.spans();
        // The last move comes after the last gradients.
        let has = |tensor: usize, span: usize| {
            self.curves.of(figure.name, tensor).and_then(|mut curve| curve.nth(span)).is_some_and(|e| !e.max.is_nan())
        };
        let end = (0..spans.len()).rev().find(|&span| (0..self.run.params().len()).any(|tensor| has(tensor, span)))?;
        let spans = &spans[..=end];
        let (first, last) = (spans.iter().copied().flatten().next()?, spans.iter().copied().flatten().next_back()?);
        let mut cells = Vec::with_capacity(spans.len() * self.run.params().len());
        for tensor in 0..self.run.params().len() {
            let nonfinite: Vec<_> = self.curves.of(count_of(figure), tensor)?.collect();
            for (envelope, nonfinite) in self.curves.of(figure.name, tensor)?.zip(nonfinite).take(spans.len()) {
                cells.push(match envelope.max {
                    _ if nonfinite.max > 0.0 => Cell::Nonfinite,
                    max if max.is_nan() => Cell::None,
                    max if max.is_infinite() => Cell::Nonfinite,
                    max => Cell::Value(max),
                });
            }
        }
        let heatmap = Heatmap {
            name: name.into(),
            title,
            rows: self.run.params().iter().map(|param| param.path.clone()).collect(),
            steps: [first[0], last[1]],
            column_count: spans.len(),
            cells,
            log: figure.scale == Scale::Log,
            share: figure.scale == Scale::Ratio,
        };
        heatmap.picture()
    }

    fn figures(&self, gallery: &mut Gallery) {
        let epsilons = self.run.manifest().epsilons();
        let mut left_out: Vec<&str> = vec![];
        for (name, figure) in FIGURES {
            let Some(figure) = Figure::named(figure) else { continue };
            if !self.run.manifest().groups().contains(figure.needs) {
                left_out.push(figure.title);
                continue;
            }
            let title = figure.title.replace("smaller epsilon", &format!("|g| < {:e}", epsilons[0]));
            let title = title.replace("larger epsilon", &format!("|g| < {:e}", epsilons[1]));
            let title = format!("{}{}", title[..1].to_uppercase(), &title[1..]);
            let params = self.run.params();
            if params.len() > LINE_COUNT_MAX && figure.name == "l2_norm" {
                // It is the picture of all layers and steps.
                continue;
            }
            if params.len() > LINE_COUNT_MAX {
                gallery.add(self.heatmap(name, figure, title));
            } else {
                let lines = (0..params.len()).zip(colors(params.len())).filter_map(|(tensor, color)| {
                    let points = self.points(figure, tensor)?;
                    Some(Line { name: params[tensor].path.clone(), color, points })
                });
                let axis = match figure.scale {
                    Scale::Log => Axis::Log,
                    Scale::Ratio => Axis::Share,
                    Scale::Linear | Scale::Count => Axis::Linear,
                };
                let y_label = match figure.scale {
                    Scale::Ratio => "share of elements",
                    Scale::Count => "elements",
                    Scale::Log | Scale::Linear => figure.title,
                };
                gallery.chart([self.chart(name, title, y_label, axis, lines.collect())]);
            }
        }
        if !left_out.is_empty() {
            let wanted = Stats::FULL;
            gallery.missing.push(format!("{}: `--stats full` ({wanted}) records them", left_out.join(", ")));
        }
    }

    /// The points of a figure of a tensor: where its schedule had a step, and the figure is not there, is a gap.
    fn points(&self, figure: &Figure, tensor: usize) -> Option<Vec<Point>> {
        let spans = self.curves.spans().iter();
        let envelopes = self.curves.of(figure.name, tensor)?;
        let nonfinite: Vec<bool> = match self.curves.of(count_of(figure), tensor) {
            Some(counts) => counts.map(|count| count.max > 0.0).collect(),
            None => vec![false; self.curves.spans().len()],
        };
        let due: Vec<bool> = self.curves.due(tensor).collect();
        let points = spans.zip(envelopes).enumerate().filter(|(place, _)| due[*place]);
        let points = points.filter_map(|(place, (span, envelope))| {
            let [at, _] = (*span)?;
            Some(Point { at, envelope, is_nonfinite: nonfinite[place] })
        });
        // The row of the last update has no gradient, which is no gap.
        let mut points: Vec<Point> = points.collect();
        while points.last().is_some_and(|point| point.envelope.last.is_nan() && !point.is_nonfinite) {
            points.pop();
        }
        Some(points)
    }

    fn maps(&self, gallery: &mut Gallery) -> Result<()> {
        let found = sign_maps(self.run)?;
        if found.is_empty() {
            self.lacks(gallery, "the sign map", "sign_map", "--sign-map 1");
        }
        gallery.add(found);
        Ok(())
    }

    /// Says why there is no picture: what has to be asked for, or that what was asked for is not there.
    fn lacks(&self, gallery: &mut Gallery, what: &str, setting: &str, option: &str) {
        gallery.missing.push(match &self.run.manifest().settings["survey"][setting] {
            serde_json::Value::Null => format!("{what}: `{option}` records it"),
            _ => format!("{what}: the run was to record it, and its folder has none"),
        });
    }

    fn histograms(&self, gallery: &mut Gallery) -> Result<()> {
        for (of, name, title, power) in [
            (
                HistogramOf::Parameter,
                "weight-histograms",
                "Weights, from the first that were counted (back) to the last (front)",
                1.0,
            ),
            (
                HistogramOf::Gradient,
                "gradient-histograms",
                "Gradients, from the first that were counted (back) to the last (front); square roots of densities",
                0.5,
            ),
        ] {
            let mut ridges: Vec<_> = self.run.params().iter().map(|_| Thinned::new(RIDGE_COUNT)).collect();
            self.run.each_histogram(|step, record| {
                if let (true, Some(linear)) = (record.of == of, record.histogram.linear) {
                    ridges[record.param].push((step, linear));
                }
            })?;
            let panel = |(param, ridges): (&gradscope::record::Param, Thinned<_>)| Panel {
                name: param.path.clone(),
                ridges: ridges.into_kept(),
            };
            let panels: Vec<Panel> = self.run.params().iter().zip(ridges).map(panel).collect();
            let picture = ridgeline::picture(name, title, &panels, power);
            if picture.is_none() {
                self.lacks(gallery, &name.replace('-', " "), "histograms", "--histograms 10");
            }
            gallery.add(picture);
        }
        Ok(())
    }
}

//! What a page is sent of the runs that it shows: everything at first, then what was added.
//!
//! A page that reads slowly is sent less often, and then more at once: nothing is queued for it.

use super::catalog::{Catalog, Followed, locked};
use gradscope::diagnosis::{Coverage, Material, Rules};
use gradscope::record::{Figure, Finding, Param, Scale, Severity};
use gradscope::store::{Envelope, Follower, Trace, TracePoint};
use gradscope::{Run, RunStatus};
use serde::Serialize;
use std::sync::Arc;

/// What the heatmap shows where nobody has chosen.
const FIGURE: &str = "l2_norm";
/// Of figures over all tensors, those that the page draws; of those given by the loop, all.
const GLOBAL: [&str; 8] =
    ["l2_norm", "min", "max", "param_min", "param_max", "nan_count", "pos_inf_count", "neg_inf_count"];
const COST: [&str; 6] = ["submit_secs", "handoff_secs", "wait_secs", "read_secs", "encode_secs", "gpu_secs"];

/// What the page looks at.
pub struct Wanted {
    /// Of the heatmap.
    pub figure: Option<String>,
    /// Path of the tensor whose curves are shown.
    pub tensor: Option<String>,
}

/// One page's look at some runs.
pub struct Subscription {
    catalog: Arc<Catalog>,
    wanted: Wanted,
    runs: Vec<(Arc<Followed>, Cursor)>,
    over: bool,
}

/// How much of a run the page has.
#[derive(Default)]
struct Cursor {
    /// `None` before the first look.
    version: Option<u64>,
    generation: u64,
    /// Spans that the page has and that will not change.
    span_count: usize,
    /// Shift, number of points and last point of each trace.
    traces: Vec<(u32, usize, Option<TracePoint>)>,
    epoch_count: usize,
    about: Option<(RunStatus, Option<String>, usize)>,
    findings: Vec<Finding>,
    coverage: String,
}

#[derive(Serialize)]
struct News<'a> {
    id: &'a str,
    /// Whether this is all there is, and not what is added to what the page has.
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<About<'a>>,
    spans: Spans,
    series: Vec<Points<'a>>,
    /// Epochs, and the first step of each, from the one of that place on.
    epochs: (usize, Vec<(u64, u64)>),
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Told>>,
    /// Which rules could judge the run, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<String>,
}

/// What stays, mostly.
#[derive(Serialize)]
struct About<'a> {
    status: RunStatus,
    start: &'a str,
    end: Option<&'a str>,
    adapter: &'a str,
    engine: &'a str,
    groups: String,
    epsilons: [f64; 2],
    facts: Vec<(String, String)>,
    figures: Vec<FigureName>,
    params: &'a [Param],
    has_histograms: bool,
    has_sign_map: bool,
    buffer_count: usize,
}

#[derive(Serialize)]
struct FigureName {
    name: &'static str,
    title: &'static str,
    scale: &'static str,
}

/// Spans of steps from the one of that place on, which take the place of those that the page has.
#[derive(Serialize)]
struct Spans {
    from: usize,
    /// First and last step of each.
    steps: Vec<[u64; 2]>,
    figure: &'static str,
    /// The figure's value that is farthest from zero, a list of tensors a span. Null where there is none.
    cells: Vec<Vec<f32>>,
    /// Span and tensor of those with non-finite gradients.
    nonfinite: Vec<[usize; 2]>,
    /// Of the tensor that was asked for: minimum, maximum and last value of a figure in each span.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor: Option<Vec<Curve>>,
}

/// A figure's name, and its cells: minimum, maximum and last value, nulls where there is a gap. `None` where the tensor's
/// schedule had no step, and nothing is lacking.
type Curve = (&'static str, Vec<Option<[f32; 3]>>);

/// Points of a figure over all tensors, from the one of that place on.
#[derive(Serialize)]
struct Points<'a> {
    source: &'a str,
    name: &'a str,
    from: usize,
    /// First and last step, minimum, maximum and last value, and how many values were NaN or infinite.
    points: Vec<(u64, u64, f32, f32, f32, u64)>,
    /// The step from which on no value is finite.
    nonfinite_since: Option<u64>,
}

/// A finding, in words too.
#[derive(Serialize)]
struct Told {
    rule: String,
    severity: Severity,
    first_step: u64,
    last_step: u64,
    open: bool,
    text: String,
    /// Places of the parameters that it is of.
    tensors: Vec<usize>,
}

impl Subscription {
    pub fn new(catalog: Arc<Catalog>, runs: Vec<Arc<Followed>>, wanted: Wanted) -> Self {
        let runs = runs.into_iter().map(|run| (run, Cursor::default())).collect();
        Self { catalog, wanted, runs, over: false }
    }

    /// Whether one of the runs can't be read any more, and the page is to ask anew.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What the page has not got, as one line of JSON; `None` where it has all.
    pub fn news(&mut self) -> Option<String> {
        let Self { catalog, wanted, runs, over } = self;
        let mut told: Vec<String> = Vec::new();
        for (followed, cursor) in runs {
            if !catalog.has(followed) {
                *over = true;
                continue;
            }
            let follower = locked(&followed.follower);
            if cursor.version != Some(follower.version()) {
                let news = cursor.news(&followed.id, &follower, wanted);
                told.extend(serde_json::to_string(&news).ok());
            }
        }
        (!told.is_empty()).then(|| format!("[{}]", told.join(",")))
    }
}

impl Cursor {
    fn news<'a>(&mut self, id: &'a str, follower: &'a Follower, wanted: &Wanted) -> News<'a> {
        let run = follower.run();
        if self.generation != follower.generation() {
            // The run was read anew, or its spans are longer now.
            *self = Self { generation: follower.generation(), ..Self::default() };
        }
        let about = (follower.status(), run.manifest().end.clone(), run.manifest().segments.len());
        let about_changed = self.about.as_ref() != Some(&about);
        let whole = self.version.is_none();
        let findings_changed = whole || self.findings != follower.findings();
        self.about = Some(about);
        if findings_changed {
            self.findings = follower.findings().to_vec();
        }
        let coverage = coverage(follower).to_string();
        let coverage_changed = whole || self.coverage != coverage;
        self.coverage.clone_from(&coverage);
        let news = News {
            coverage: coverage_changed.then_some(coverage),
            id,
            whole,
            about: about_changed.then(|| About::of(run, follower.status())),
            spans: self.spans(follower, wanted),
            series: self.series(follower),
            epochs: self.epochs(follower),
            findings: findings_changed
                .then(|| follower.findings().iter().map(|finding| Told::of(finding, run.params())).collect()),
        };
        self.version = Some(follower.version());
        news
    }

    fn spans(&mut self, follower: &Follower, wanted: &Wanted) -> Spans {
        let (curves, params) = (follower.curves(), follower.run().params());
        let named = |name: &Option<String>| {
            let known = |figure: &&&'static Figure| Some(figure.name) == name.as_deref();
            curves.figures().iter().find(known).map(|figure| figure.name)
        };
        let figure = named(&wanted.figure).unwrap_or(FIGURE);
        let from = self.span_count.min(curves.spans().len());
        // A span without rows is no column.
        let places: Vec<usize> = (from..curves.spans().len()).filter(|&span| curves.spans()[span].is_some()).collect();
        let envelopes = |figure: &str, tensor: usize| -> Vec<Envelope> {
            let Some(curve) = curves.of(figure, tensor) else { return vec![] };
            let all = curve.enumerate().skip(from);
            all.filter(|(span, _)| curves.spans()[*span].is_some()).map(|(_, envelope)| envelope).collect()
        };
        let sent_count = curves.spans()[..from].iter().flatten().count();
        let mut cells = vec![Vec::with_capacity(params.len()); places.len()];
        let mut nonfinite = Vec::new();
        for tensor in 0..params.len() {
            let shown = envelopes(figure, tensor).into_iter().map(farthest).chain(std::iter::repeat(f32::NAN));
            cells.iter_mut().zip(shown).for_each(|(span, value)| span.push(value));
            let counts = envelopes("nonfinite_count", tensor);
            let bad = counts.iter().enumerate().filter(|(_, count)| count.max > 0.0);
            nonfinite.extend(bad.map(|(place, _)| [sent_count + place, tensor]));
        }
        let tensor = wanted.tensor.as_ref().and_then(|path| {
            let tensor = params.iter().position(|param| param.path == *path)?;
            let due = curves.due(tensor).enumerate().skip(from);
            let due: Vec<bool> = due.filter(|(span, _)| curves.spans()[*span].is_some()).map(|(_, due)| due).collect();
            let curve = |figure: &&'static Figure| {
                let parts = envelopes(figure.name, tensor).into_iter().map(|e| [e.min, e.max, e.last]);
                (figure.name, parts.zip(&due).map(|(part, due)| due.then_some(part)).collect::<Vec<_>>())
            };
            Some(curves.figures().iter().map(curve).collect())
        });
        let spans = Spans {
            from: sent_count,
            steps: places.iter().filter_map(|&span| curves.spans()[span]).collect(),
            figure,
            cells,
            nonfinite,
            tensor,
        };
        // The last one may still grow.
        self.span_count = curves.spans().len().saturating_sub(1);
        spans
    }

    fn series<'a>(&mut self, follower: &'a Follower) -> Vec<Points<'a>> {
        let drawn = |trace: &Trace| match trace.name.source.as_str() {
            "global" => GLOBAL.contains(&trace.name.name.as_str()),
            "cost" => COST.contains(&trace.name.name.as_str()),
            "scalar" | "log" => true,
            _ => false,
        };
        self.traces.resize(follower.traces().len().max(self.traces.len()), (0, 0, None));
        let mut told = Vec::new();
        for (trace, had) in follower.traces().iter().zip(&mut self.traces) {
            let points = trace.points();
            let has = (trace.shift(), points.len(), points.last().copied());
            let before = std::mem::replace(had, has);
            if before == has || !drawn(trace) {
                continue;
            }
            // The last one may have grown.
            let from = if before.0 == has.0 { before.1.saturating_sub(1).min(points.len()) } else { 0 };
            let point = |point: &TracePoint| {
                let e = point.envelope;
                (point.steps[0], point.steps[1], e.min, e.max, e.last, point.nonfinite_count)
            };
            let points = points[from..].iter().map(point).collect();
            let nonfinite_since = trace.nonfinite_since();
            told.push(Points { source: &trace.name.source, name: &trace.name.name, from, points, nonfinite_since });
        }
        told
    }

    fn epochs(&mut self, follower: &Follower) -> (usize, Vec<(u64, u64)>) {
        let all = follower.epochs();
        let from = self.epoch_count.min(all.len());
        self.epoch_count = all.len();
        (from, all[from..].to_vec())
    }
}

/// Which rules could judge the run so far. Taps are not followed: they count as given.
fn coverage(follower: &Follower) -> Coverage {
    let manifest = follower.run().manifest();
    if manifest.settings["diagnose"].as_bool() != Some(true) {
        return Coverage::none();
    }
    let material = Material {
        groups: manifest.groups(),
        step_count: manifest.step_count,
        has_loss: Some(follower.traces().iter().any(|trace| trace.name.name == "loss")),
        has_taps: None,
        has_histograms: !manifest.settings["survey"]["histograms"].is_null(),
        is_live: true,
    };
    Coverage::of(&material, &Rules::default())
}

/// What a span's cell shows: the value farthest from zero.
fn farthest(cell: Envelope) -> f32 {
    if cell.min.abs() > cell.max.abs() { cell.min } else { cell.max }
}

impl<'a> About<'a> {
    fn of(run: &'a Run, status: RunStatus) -> Self {
        let manifest = run.manifest();
        let figure = |figure: &'static Figure| FigureName {
            name: figure.name,
            title: figure.title,
            scale: match figure.scale {
                Scale::Log => "log",
                Scale::Linear => "linear",
                Scale::Ratio => "ratio",
                Scale::Count => "count",
            },
        };
        let survey = &manifest.settings["survey"];
        Self {
            status,
            start: &manifest.start,
            end: manifest.end.as_deref(),
            adapter: &manifest.adapter,
            engine: &manifest.engine,
            groups: manifest.groups().to_string(),
            epsilons: manifest.epsilons(),
            facts: manifest.fact_lines(),
            figures: Figure::of_groups(manifest.groups()).map(figure).collect(),
            params: run.params(),
            has_histograms: !survey["histograms"].is_null(),
            has_sign_map: !survey["sign_map"].is_null(),
            buffer_count: manifest.buffers.len(),
        }
    }
}

impl Told {
    fn of(finding: &Finding, params: &[Param]) -> Self {
        let path = finding.path.as_deref();
        // A finding may be of a layer, which owns parameters.
        let is_of = |param: &Param| {
            let below = path.and_then(|path| param.path.strip_prefix(path));
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        Self {
            rule: finding.rule.to_string(),
            severity: finding.severity,
            first_step: finding.first_step,
            last_step: finding.last_step,
            open: finding.open,
            text: finding.to_string(),
            tensors: (0..params.len()).filter(|&place| is_of(&params[place])).collect(),
        }
    }
}

//! A run in words: how large its gradients are layer by layer, where they go, and what the updates say of the learning
//! rate.

mod loss;
mod words;

pub use loss::{Headline, LossReading};

use super::curves::Curves;
use super::run::Run;
use crate::Error;
use gradscope_record::diagnosis::{Context, Coverage, Diagnosis, Material, Rules};
use gradscope_record::record::{Finding, Notice, Param, Severity};
use gradscope_record::stats::Stats;
use loss::PART;
use serde::Serialize;
use std::ops::Range;

/// Spans of steps that a run is read in.
const SPAN_COUNT: usize = 64;
/// Ratios of first to last layer that are no fall and no rise.
const EVEN: std::ops::RangeInclusive<f64> = 1e-2..=1e2;
/// L2 of all moves over L2 of all weights that is healthy; around 1e-3 by long custom.
const HEALTHY_MOVES: std::ops::RangeInclusive<f64> = 1e-4..=1e-2;

/// A short plain reading of a run. `Display` has it in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Reading {
    /// The run's folder.
    pub name: String,
    /// Steps that the run has a record of.
    pub step_count: u64,
    /// What was diagnosed, an episode each, in the order they were found.
    pub findings: Vec<Finding>,
    /// Which rules could judge the run.
    pub coverage: Coverage,
    /// What went wrong with observing.
    pub notices: Vec<Notice>,
    /// Where the loop gave a figure called `loss`.
    pub loss: Option<LossReading>,
    /// The figure by which runs are compared.
    pub headline: Option<Headline>,
    /// In the order of the module; parameters without a gradient are left out.
    pub parameters: Vec<ParameterReading>,
    /// Late in the run: L2 of all updates over that of all weights.
    pub updates: UpdateReading,
    /// Late in the run: share of signs that flip, over all elements, in [0, 1].
    pub sign_flip_ratio: Option<f64>,
    /// Of the elements that crossed an extreme, those that crossed a minimum.
    pub minimum_share: Option<f64>,
    /// The last.
    pub lr: Option<f64>,
    /// By name, as the scope was told.
    pub optimizer: Option<String>,
}

/// What is known of the updates late in a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UpdateReading {
    /// L2 of all updates over L2 of all weights.
    Ratio(f64),
    /// Every update was zero.
    Zero,
    /// Updates, or weights, were not finite.
    NotFinite,
    /// The run has none: they were not asked for, or it is too short.
    Unknown,
}

impl UpdateReading {
    /// The ratio, where there is one.
    pub fn ratio(self) -> Option<f64> {
        match self {
            Self::Ratio(ratio) => Some(ratio),
            _ => None,
        }
    }
}

/// One parameter's gradient: root mean squares early and late, and the share near zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ParameterReading {
    /// Module path.
    pub path: String,
    /// Whether it has two dimensions or more.
    pub is_weight: bool,
    /// Root mean square of an element over the first eighth of the run; 0 where all of them were zero.
    pub early_rms: f64,
    /// The same over the last eighth; 0 where it had no gradient then, or all of them were zero.
    pub late_rms: f64,
    /// Whether every element was zero at every observed step.
    pub is_always_zero: bool,
    /// The first step of the last stretch of steps, up to the last one, that all have NaNs or infinities among the
    /// gradient's elements.
    pub nonfinite_since: Option<u64>,
    /// Share of elements near zero at the smaller epsilon, late in the run, in [0, 1].
    pub near_zero_ratio: f64,
    /// Move over weight of a step, late in the run, where the run has moves.
    pub update_to_weight: Option<f64>,
}

impl Reading {
    /// Reads the run, from its overview where it is long. One that was recorded without diagnoses is examined first, which
    /// reads all of it.
    ///
    /// # Errors
    /// Where a file of it is damaged.
    pub fn of(run: &Run) -> Result<Self, Error> {
        let examined = run.manifest().settings["diagnose"].as_bool() == Some(true);
        let findings = if examined { run.findings()? } else { Self::examine(run, &Rules::default())? };
        Self::with(run, findings, &Rules::default(), examined)
    }

    /// As [`Reading::of`], examined anew by these rules.
    ///
    /// # Errors
    /// As [`Reading::of`].
    pub fn examined(run: &Run, rules: &Rules) -> Result<Self, Error> {
        Self::with(run, Self::examine(run, rules)?, rules, false)
    }

    fn examine(run: &Run, rules: &Rules) -> Result<Vec<Finding>, Error> {
        let fact = |name: &str| run.manifest().facts.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let resumed = run.manifest().settings["pretrained"].as_bool() == Some(true);
        let context = Context { optimizer: fact("optimizer"), activation: fact("activation"), resumed };
        let mut diagnosis = Diagnosis::with(run.params().into(), rules, context);
        let mut findings: Vec<Finding> = Vec::new();
        let mut take = |told: Vec<Finding>| told.into_iter().for_each(|finding| finding.put_into(&mut findings));
        run.each_record(|record| take(diagnosis.examine(&record)))?;
        take(diagnosis.finish());
        Ok(findings)
    }

    /// `is_live` says whether the findings are those that were made while training went on.
    fn with(run: &Run, findings: Vec<Finding>, rules: &Rules, is_live: bool) -> Result<Self, Error> {
        let curves = run.curves(SPAN_COUNT)?;
        let params = run.params();
        // The row of the last update is no step.
        let span_count = step_span_count(&curves, params.len());
        let part = (span_count / PART).max(1);
        let (early, late) = (0..part, span_count.saturating_sub(part)..span_count);
        let series = run.series(|name| ["loss", "lr", "validation/loss"].contains(&name.name.as_str()))?;
        let points = |name: &str| series.iter().find(|series| series.name.name == name).map(|series| &series.points);
        let weighed = |figure: &str| -> Option<f64> {
            let of = |tensor: usize| Some((params[tensor].numel as f64, mean(&curves, figure, tensor, &late)?));
            let (elements, sum) =
                (0..params.len()).filter_map(of).fold((0.0, 0.0), |(n, s), (m, x)| (n + m, s + m * x));
            (elements > 0.0).then(|| sum / elements)
        };
        let crossed = weighed("minimum_ratio").zip(weighed("maximum_ratio"));
        let step_count = run.step_count(u64::MAX)?;
        let material = Material {
            groups: run.manifest().groups(),
            step_count,
            has_loss: Some(points("loss").is_some()),
            has_taps: Some(run.has_taps()?),
            has_histograms: !run.manifest().settings["survey"]["histograms"].is_null(),
            is_live,
        };
        Ok(Self {
            name: run.folder().display().to_string(),
            step_count,
            coverage: Coverage::of(&material, rules),
            findings,
            notices: run.notices()?,
            loss: points("loss").and_then(|points| LossReading::of(points)),
            headline: Headline::of(&series),
            parameters: (0..params.len())
                .filter_map(|tensor| {
                    ParameterReading::of(&curves, tensor, &params[tensor], [&early, &late], span_count)
                })
                .collect(),
            updates: updates(&curves, params, &late, run.manifest().groups().contains(Stats::UPDATES)),
            sign_flip_ratio: weighed("sign_flip_ratio"),
            minimum_share: crossed.filter(|(low, high)| low + high > 0.0).map(|(low, high)| low / (low + high)),
            lr: points("lr").and_then(|points| points.last()).map(|(_, lr)| *lr),
            optimizer: run.manifest().facts.get("optimizer").and_then(|name| name.as_str()).map(str::to_owned),
        })
    }

    /// Whether nothing is wrong, as far as the rules see.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Warn)
    }

    /// Gradient of the first weight over that of the last, late in the run.
    pub fn first_to_last(&self) -> Option<f64> {
        let weights: Vec<_> = self.parameters.iter().filter(|parameter| parameter.is_weight).collect();
        let (first, last) = (weights.first()?, weights.last()?);
        (weights.len() > 1 && last.late_rms > 0.0).then(|| first.late_rms / last.late_rms)
    }

    /// Geometric mean of biases' gradients over that of weights', by element, late in the run.
    pub fn biases_to_weights(&self) -> Option<f64> {
        let mean = |weights: bool| {
            let own = self.parameters.iter().filter(|p| p.is_weight == weights && p.late_rms > 0.0);
            let logs: Vec<f64> = own.map(|parameter| parameter.late_rms.ln()).collect();
            (!logs.is_empty()).then(|| logs.iter().sum::<f64>() / logs.len() as f64)
        };
        Some((mean(false)? - mean(true)?).exp())
    }
}

impl ParameterReading {
    /// `None` of a parameter that never had a gradient.
    fn of(
        curves: &Curves,
        tensor: usize,
        param: &Param,
        [early, late]: [&Range<usize>; 2],
        span_count: usize,
    ) -> Option<Self> {
        let all = 0..span_count;
        let nonfinite: Vec<f32> = curves.of("nonfinite_count", tensor)?.take(span_count).map(|e| e.max).collect();
        if nonfinite.iter().all(|count| count.is_nan()) {
            return None;
        }
        let norms: Vec<f64> = values(curves, "l2_norm", tensor, &all)?.collect();
        let size = (param.numel.max(1) as f64).sqrt();
        let rms = |spans: &Range<usize>| level(curves, "l2_norm", tensor, spans).unwrap_or(0.0) / size;
        // Spans without this parameter's gradient neither begin nor end the stretch.
        let is_finite = |count: &f32| *count == 0.0;
        let from = nonfinite.iter().rposition(is_finite).map_or(0, |last| last + 1);
        let from = (from..nonfinite.len()).find(|&span| nonfinite[span] > 0.0);
        Some(Self {
            path: param.path.clone(),
            is_weight: param.shape.len() >= 2,
            early_rms: rms(early),
            late_rms: rms(late),
            is_always_zero: !norms.is_empty() && norms.iter().all(|norm| *norm == 0.0),
            nonfinite_since: from.and_then(|span| curves.spans()[span]).map(|[first, _]| first),
            near_zero_ratio: mean(curves, "near_zero_ratio_1", tensor, late).unwrap_or(0.0),
            update_to_weight: level(curves, "update_to_weight", tensor, late),
        })
    }
}

/// Spans up to the last one with a gradient.
fn step_span_count(curves: &Curves, tensor_count: usize) -> usize {
    let last = |tensor: usize| {
        let counts: Vec<f32> = curves.of("nonfinite_count", tensor)?.map(|envelope| envelope.max).collect();
        counts.iter().rposition(|count| !count.is_nan())
    };
    (0..tensor_count).filter_map(last).max().map_or(0, |last| last + 1)
}

fn updates(curves: &Curves, params: &[Param], late: &Range<usize>, were_asked: bool) -> UpdateReading {
    let trained = || (0..params.len()).filter(|&tensor| params[tensor].trainable);
    let total = |figure: &str| -> Option<f64> {
        let sum: f64 = trained().filter_map(|tensor| level(curves, figure, tensor, late)).map(|norm| norm * norm).sum();
        (sum > 0.0).then_some(sum.sqrt())
    };
    let of_updates = |tensor: usize| values(curves, "update_l2_norm", tensor, late).into_iter().flatten();
    let are_zero = trained().flat_map(of_updates).all(|norm| norm == 0.0);
    let has_any = trained().any(|tensor| of_updates(tensor).next().is_some());
    let has_nonfinite = trained().any(|tensor| {
        values(curves, "param_nonfinite_count", tensor, late).into_iter().flatten().any(|count| count > 0.0)
    });
    match (total("update_l2_norm"), total("param_l2_norm")) {
        (Some(updates), Some(weights)) => UpdateReading::Ratio(updates / weights),
        _ if has_nonfinite && were_asked => UpdateReading::NotFinite,
        _ if has_any && are_zero => UpdateReading::Zero,
        _ => UpdateReading::Unknown,
    }
}

fn values<'a>(
    curves: &'a Curves,
    figure: &'a str,
    tensor: usize,
    spans: &Range<usize>,
) -> Option<impl Iterator<Item = f64> + 'a> {
    let (skip, take) = (spans.start, spans.len());
    let found = curves.of(figure, tensor)?.skip(skip).take(take).map(|envelope| f64::from(envelope.last));
    Some(found.filter(|value| value.is_finite()))
}

/// Geometric mean over the spans, of what is positive.
fn level(curves: &Curves, figure: &str, tensor: usize, spans: &Range<usize>) -> Option<f64> {
    let logs: Vec<f64> = values(curves, figure, tensor, spans)?.filter(|value| *value > 0.0).map(f64::ln).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

fn mean(curves: &Curves, figure: &str, tensor: usize, spans: &Range<usize>) -> Option<f64> {
    let all: Vec<f64> = values(curves, figure, tensor, spans)?.collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

//! A run in words: how large its gradients are layer by layer, where they go, and what the moves say of the learning rate.

use super::curves::Curves;
use super::run::Run;
use crate::diagnosis::{Context, Diagnosis, Rules};
use crate::error::Error;
use crate::record::{Finding, Param, Severity, short};
use serde::Serialize;
use std::fmt;

/// Spans of steps that a run is read in.
const SPAN_COUNT: usize = 64;
/// The first and the last part of a run are an eighth of it each.
const PART: usize = 8;
/// Ratios of first to last layer that are no fall and no rise.
const EVEN: std::ops::RangeInclusive<f64> = 1e-2..=1e2;
/// L2 of all moves over L2 of all weights that is healthy; around 1e-3 by long custom.
const HEALTHY_MOVES: std::ops::RangeInclusive<f64> = 1e-4..=1e-2;

/// A short plain reading of a run. `Display` has it in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The run's folder.
    pub name: String,
    /// Steps that the run has a record of.
    pub step_count: u64,
    /// What was diagnosed, an episode each, in the order they were found.
    pub findings: Vec<Finding>,
    /// Where the loop gave a figure called `loss`.
    pub loss: Option<LossReading>,
    /// In the order of the module; parameters without a gradient are left out.
    pub parameters: Vec<ParameterReading>,
    /// Late in the run: L2 of all moves over that of all weights, where the run has them.
    pub update_to_weight: Option<f64>,
    /// Late in the run: share of signs that flip, over all elements, in [0, 1].
    pub sign_flip_ratio: Option<f64>,
    /// Of the elements that crossed an extreme, those that crossed a minimum.
    pub minimum_share: Option<f64>,
    /// The last.
    pub lr: Option<f64>,
    /// By name, as the scope was told.
    pub optimizer: Option<String>,
}

/// Losses: the first, and means over the last eighth of the run and over the one before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossReading {
    /// At the first step.
    pub first: f64,
    /// Mean over the last eighth of the run.
    pub last: f64,
    /// Mean over the eighth before that.
    pub before_last: f64,
}

/// One parameter's gradient: root mean squares early and late, and the share near zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParameterReading {
    /// Module path.
    pub path: String,
    /// Whether it has two dimensions or more.
    pub is_weight: bool,
    /// Root mean square of an element over the first eighth of the run.
    pub early_rms: f64,
    /// The same over the last eighth; 0 where it had no gradient then.
    pub late_rms: f64,
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
        Self::with(run, if examined { run.findings()? } else { Self::examine(run, &Rules::default())? })
    }

    /// As [`Reading::of`], examined anew by these rules.
    ///
    /// # Errors
    /// As [`Reading::of`].
    pub fn examined(run: &Run, rules: &Rules) -> Result<Self, Error> {
        Self::with(run, Self::examine(run, rules)?)
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

    fn with(run: &Run, findings: Vec<Finding>) -> Result<Self, Error> {
        let curves = run.curves(SPAN_COUNT)?;
        let params = run.params();
        let span_count = curves.spans().len();
        let part = (span_count / PART).max(1);
        let (early, late) = (0..part, span_count.saturating_sub(part)..span_count);
        let level = |figure: &str, tensor: usize, spans: &std::ops::Range<usize>| level(&curves, figure, tensor, spans);
        let parameter = |(tensor, param): (usize, &Param)| {
            let size = (param.numel.max(1) as f64).sqrt();
            Some(ParameterReading {
                path: param.path.clone(),
                is_weight: param.shape.len() >= 2,
                early_rms: level("l2_norm", tensor, &early)? / size,
                late_rms: level("l2_norm", tensor, &late).unwrap_or(0.0) / size,
                near_zero_ratio: mean(&curves, "near_zero_ratio_1", tensor, &late).unwrap_or(0.0),
                update_to_weight: level("update_to_weight", tensor, &late),
            })
        };
        let total = |figure: &str| -> Option<f64> {
            let values = (0..params.len()).filter(|&tensor| params[tensor].trainable);
            let sum: f64 = values.filter_map(|tensor| level(figure, tensor, &late)).map(|norm| norm * norm).sum();
            (sum > 0.0).then_some(sum.sqrt())
        };
        let weighed = |figure: &str| -> Option<f64> {
            let of = |tensor: usize| Some((params[tensor].numel as f64, mean(&curves, figure, tensor, &late)?));
            let (elements, sum) =
                (0..params.len()).filter_map(of).fold((0.0, 0.0), |(n, s), (m, x)| (n + m, s + m * x));
            (elements > 0.0).then(|| sum / elements)
        };
        let crossed = weighed("minimum_ratio").zip(weighed("maximum_ratio"));
        let series = run.series(|name| ["loss", "lr"].contains(&name.name.as_str()))?;
        let points = |name: &str| series.iter().find(|series| series.name.name == name).map(|series| &series.points);
        Ok(Self {
            name: run.folder().display().to_string(),
            step_count: run.step_count(u64::MAX)?,
            findings,
            loss: points("loss").and_then(|points| loss(points)),
            parameters: params.iter().enumerate().filter_map(parameter).collect(),
            update_to_weight: total("update_l2_norm")
                .zip(total("param_l2_norm"))
                .map(|(moves, weights)| moves / weights),
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

fn values<'a>(
    curves: &'a Curves,
    figure: &'a str,
    tensor: usize,
    spans: &std::ops::Range<usize>,
) -> Option<impl Iterator<Item = f64> + 'a> {
    let (skip, take) = (spans.start, spans.len());
    let found = curves.of(figure, tensor)?.skip(skip).take(take).map(|envelope| f64::from(envelope.last));
    Some(found.filter(|value| value.is_finite()))
}

/// Geometric mean over the spans, of what is positive.
fn level(curves: &Curves, figure: &str, tensor: usize, spans: &std::ops::Range<usize>) -> Option<f64> {
    let logs: Vec<f64> = values(curves, figure, tensor, spans)?.filter(|value| *value > 0.0).map(f64::ln).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

fn mean(curves: &Curves, figure: &str, tensor: usize, spans: &std::ops::Range<usize>) -> Option<f64> {
    let all: Vec<f64> = values(curves, figure, tensor, spans)?.collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

fn loss(points: &[(u64, f64)]) -> Option<LossReading> {
    let part = (points.len() / PART).max(1);
    let mean = |points: &[(u64, f64)]| points.iter().map(|(_, loss)| loss).sum::<f64>() / points.len().max(1) as f64;
    let before = points.len().saturating_sub(2 * part)..points.len() - part.min(points.len());
    (!points.is_empty()).then(|| LossReading {
        first: points[0].1,
        last: mean(&points[points.len() - part..]),
        before_last: if before.is_empty() { points[0].1 } else { mean(&points[before]) },
    })
}

impl fmt::Display for LossReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, before_last } = *self;
        write!(f, "{} at the first step, {} over the last eighth of the run; ", short(first), short(last))?;
        let gain = (before_last - last) / before_last.abs().max(f64::MIN_POSITIVE);
        match gain {
            gain if !gain.is_finite() => write!(f, "it is not finite"),
            gain if gain > 0.02 && last > first => write!(
                f,
                "it comes down by {:.0}% against the eighth before, but is {} times what it was at first",
                100.0 * gain,
                short(last / first)
            ),
            gain if gain > 0.02 => write!(f, "it still comes down, by {:.0}% against the eighth before", 100.0 * gain),
            gain if gain < -0.02 => write!(f, "it goes up, by {:.0}% against the eighth before", -100.0 * gain),
            _ => write!(f, "it stands where it was the eighth before"),
        }
    }
}

/// A ratio as a change.
fn change(ratio: f64) -> String {
    match ratio {
        ratio if (0.8..=1.25).contains(&ratio) => "as at first".into(),
        ratio if ratio < 1.0 => format!("down to {} of its start", short(ratio)),
        ratio => format!("up to {} times its start", short(ratio)),
    }
}

impl Reading {
    fn depth(&self) -> Option<String> {
        let ratio = self.first_to_last()?;
        Some(match ratio {
            ratio if EVEN.contains(&ratio) => {
                format!("gradients reach the first layer: it has {} times the gradient of the last", short(ratio))
            }
            ratio if ratio < 1.0 => format!(
                "gradients shrink on their way back: the first layer has {} of the gradient of the last: put norm layers or residual connections in between",
                short(ratio)
            ),
            ratio => format!(
                "gradients grow on their way back: the first layer has {} times the gradient of the last; clip by norm, or normalise the inputs",
                short(ratio)
            ),
        })
    }

    fn rate(&self) -> Vec<String> {
        let Some(ratio) = self.update_to_weight else {
            // Of weights that are no numbers any more, there is no ratio either.
            if !self.is_healthy() {
                return vec![];
            }
            return vec!["no moves were recorded, so nothing is known of the learning rate: `updates` and `params`, or `full`, have them".into()];
        };
        let healthy = format!("{:e} to {:e}", HEALTHY_MOVES.start(), HEALTHY_MOVES.end());
        let lr = self.lr.map_or(String::new(), |lr| format!(" of {}", short(lr)));
        let mut lines = vec![match ratio {
            ratio if !self.is_healthy() => format!(
                "a step moves the weights by {} of their size by now; what is wrong is to be mended before that means anything",
                short(ratio)
            ),
            ratio if HEALTHY_MOVES.contains(&ratio) => format!(
                "a step moves the weights by {} of their size, where {healthy} is healthy: the learning rate{lr} fits",
                short(ratio)
            ),
            ratio if ratio < *HEALTHY_MOVES.start() => format!(
                "a step moves the weights by {} of their size, where {healthy} is healthy: the learning rate{lr} could be higher, unless the run is at its end",
                short(ratio)
            ),
            ratio => format!(
                "a step moves the weights by {} of their size, where {healthy} is healthy: a learning rate below{} would settle closer to a minimum",
                short(ratio),
                self.lr.map_or(" this one".into(), |lr| format!(" {}", short(lr)))
            ),
        }];
        if let (Some(flips), Some(minima), true) = (self.sign_flip_ratio, self.minimum_share, self.is_healthy()) {
            // Plain descent moves against the gradient before: every flip of it is a minimum crossed.
            let plain = self.optimizer.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("sgd"));
            let why = match minima {
                _ if plain && flips < 0.6 => "about what the noise of batches makes",
                _ if plain => "more than noise makes: moves overshoot, and a lower rate would not",
                minima if minima < 0.75 => "so it is the noise of batches that flips them, not overshooting",
                minima if minima < 0.9 => "so moves overshoot somewhat",
                _ => "so moves overshoot: a lower rate would not",
            };
            lines.push(format!(
                "{:.0}% of the gradient's signs flip from step to step; of what crosses an extreme, {:.0}% crosses a minimum: {why}",
                100.0 * flips,
                100.0 * minima
            ));
        }
        lines
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} steps", self.name, self.step_count)?;
        let warnings = self.findings.iter().filter(|finding| finding.severity >= Severity::Warn).count();
        match warnings {
            0 => writeln!(f, "\nNothing is wrong, as far as the rules see.")?,
            1 => writeln!(f, "\nOne thing is wrong:")?,
            n => writeln!(f, "\n{n} things are wrong; the first is the one to mend first:")?,
        }
        let notes = self.findings.iter().filter(|finding| finding.severity < Severity::Warn);
        let loud = self.findings.iter().filter(|finding| finding.severity >= Severity::Warn);
        loud.chain(notes).try_for_each(|finding| writeln!(f, "- {finding}"))?;
        if let Some(loss) = &self.loss {
            writeln!(f, "\nLoss: {loss}.")?;
        }
        if !self.parameters.is_empty() {
            writeln!(f, "\nGradients by layer, root mean square of an element over the last eighth of the run:")?;
            let width = self.parameters.iter().map(|parameter| parameter.path.len()).max().unwrap_or(0);
            for parameter in &self.parameters {
                let ParameterReading { path, early_rms, late_rms, near_zero_ratio, update_to_weight, .. } = parameter;
                write!(f, "  {path:width$}  {late_rms:9.2e}  {}", change(late_rms / early_rms))?;
                if *near_zero_ratio >= 0.01 {
                    write!(f, ", {:.0}% near zero", 100.0 * near_zero_ratio)?;
                }
                if let Some(ratio) = update_to_weight.filter(|_| parameter.is_weight) {
                    write!(f, ", moves {ratio:.1e} of it a step")?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f)?;
        self.lines().iter().try_for_each(|line| writeln!(f, "- {line}"))
    }
}

impl Reading {
    /// What the figures say beyond the findings, a sentence each: from layer to layer, biases against weights, the learning rate.
    pub fn lines(&self) -> Vec<String> {
        let biases = self.biases_to_weights().map(|ratio| match ratio {
            ratio if EVEN.contains(&ratio) => {
                format!("element by element, biases have {} times the gradient of weights: within the usual range", short(ratio))
            }
            ratio if ratio > 1.0 => format!(
                "element by element, biases have {} times the gradient of weights: what comes into the layers is small, or mostly zero",
                short(ratio)
            ),
            ratio => format!(
                "element by element, biases have {} of the gradient of weights: what comes into the layers is large; normalise it",
                short(ratio)
            ),
        });
        self.depth().into_iter().chain(biases).chain(self.rate()).collect()
    }
}

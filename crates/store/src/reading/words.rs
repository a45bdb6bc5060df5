//! A reading in words.

use super::{EVEN, HEALTHY_MOVES, ParameterReading, Reading, UpdateReading};
use gradscope_record::record::{Severity, short};
use std::fmt;

/// A ratio as a change.
fn change(ratio: f64) -> String {
    match ratio {
        ratio if (0.8..=1.25).contains(&ratio) => "as at first".into(),
        ratio if ratio.is_nan() || ratio.is_infinite() => "zero at first".into(),
        0.0 => "zero by now".into(),
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
        let ratio = match self.updates {
            UpdateReading::Ratio(ratio) => ratio,
            UpdateReading::Zero => {
                let lr = self
                    .lr
                    .map_or("the learning rate may be 0".into(), |lr| format!("the learning rate is {}", short(lr)));
                return vec![format!(
                    "no weight is updated any more: {lr}, or the optimizer does not have the parameters"
                )];
            }
            UpdateReading::NotFinite => {
                return vec!["weights are not finite, so no update of theirs has a size".into()];
            }
            UpdateReading::Unknown => {
                return vec!["no updates were recorded, so nothing is known of the learning rate: `updates` and `params`, or `full`, have them".into()];
            }
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
            0 if self.step_count == 0 => writeln!(f, "\nNo step is recorded, so nothing is known of the run.")?,
            0 if self.coverage.judged.is_empty() => {
                writeln!(f, "\nNothing is known of the run: no rule could judge it.")?
            }
            0 => writeln!(f, "\nNothing is wrong, as far as the rules see that could judge the run.")?,
            1 => writeln!(f, "\nOne thing is wrong:")?,
            n => writeln!(f, "\n{n} things are wrong; the first is the one to mend first:")?,
        }
        let notes = self.findings.iter().filter(|finding| finding.severity < Severity::Warn);
        let loud = self.findings.iter().filter(|finding| finding.severity >= Severity::Warn);
        loud.chain(notes).try_for_each(|finding| writeln!(f, "- {finding}"))?;
        writeln!(f, "\nRules: {}.", self.coverage)?;
        if !self.notices.is_empty() {
            writeln!(f, "\nNotices:")?;
            self.notices.iter().try_for_each(|notice| writeln!(f, "- {notice}"))?;
        }
        if let Some(loss) = &self.loss {
            writeln!(f, "\nLoss: {loss}.")?;
        }
        if let Some(headline) = self.headline.as_ref().filter(|headline| headline.name != "loss") {
            writeln!(f, "Validation loss: {} at last.", short(headline.value))?;
        }
        if !self.parameters.is_empty() {
            writeln!(f, "\nGradients by layer, root mean square of an element over the last eighth of the run:")?;
            let width = self.parameters.iter().map(|parameter| parameter.path.len()).max().unwrap_or(0);
            for parameter in &self.parameters {
                let ParameterReading { path, early_rms, late_rms, near_zero_ratio, update_to_weight, .. } = parameter;
                if let Some(step) = parameter.nonfinite_since {
                    writeln!(f, "  {path:width$}        NaN  since step {step}")?;
                    continue;
                }
                if parameter.is_always_zero {
                    writeln!(f, "  {path:width$}          0  always: no gradient reaches it")?;
                    continue;
                }
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

//! Findings in words.

use super::{Finding, Rule, Severity};
use std::fmt;

impl Finding {
    fn evidence_of(&self, name: &str) -> f64 {
        self.figure(name).unwrap_or(f64::NAN)
    }

    /// Says what was found, as a sentence without its full stop. It is a long function because each rule has an arm of it.
    fn sentence(&self) -> String {
        let figure = |name: &str| self.evidence_of(name);
        let limit =
            |name: &str| self.threshold.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, value)| *value);
        let percent = |name: &str| format!("{:.0}%", 100.0 * figure(name));
        let path = self.path.as_deref();
        let subject = path.unwrap_or("the model");
        match self.rule {
            Rule::NonFinite if figure("tensor_count") == 0.0 && figure("param_nonfinite_count") == 0.0 => {
                "the loss is not finite, although the gradients are".into()
            }
            Rule::NonFinite if figure("tensor_count") == 0.0 => {
                format!("{subject} has NaNs or infinities in its weights: a move took them there")
            }
            Rule::NonFinite => match path {
                None => {
                    "every gradient at once has NaNs or infinities: they come from the loss, or from before it".into()
                }
                Some(path) => format!(
                    "{path} has NaNs or infinities in its gradient (elements: {}, tensors: {}), and nothing nearer to the loss has",
                    figure("nonfinite_count"),
                    figure("tensor_count")
                ),
            },
            Rule::MissingGradient if figure("trainable") == 0.0 => {
                format!("{subject} is frozen: no gradient is asked for it")
            }
            Rule::MissingGradient => {
                format!("{subject} gets no gradient at all: the graph is cut between it and the loss")
            }
            Rule::Unchanged => format!("{subject} does not move, although its gradient is not zero"),
            Rule::PoorInitialisation => format!(
                "{subject} begins with weights {} times as large as keep a signal's size",
                short(figure("gain"))
            ),
            Rule::ExplodingGradient => match (path, self.figure("depth_ratio")) {
                (Some(path), Some(ratio)) if ratio > limit("depth_ratio") => {
                    format!("the gradient of {path} is {} times that of the last layer", short(ratio))
                }
                (Some(path), _) => {
                    format!("the gradient of {path} explodes: mean |g| is {}", short(figure("abs_mean")))
                }
                (None, _) => match self.figure("growth") {
                    Some(growth) if growth > limit("growth") => {
                        format!("gradients explode: their norm is {} times that of the first steps", short(growth))
                    }
                    _ => format!(
                        "gradients explode: their norm has doubled {} steps in a row, to {}",
                        figure("doublings"),
                        short(figure("norm"))
                    ),
                },
            },
            Rule::DivergingWeights if figure("factor") < 1.0 && limit("early_growth") > 0.0 => {
                format!("{subject} has shrunk to {} of what it was", short(figure("factor")))
            }
            Rule::DivergingWeights if figure("factor") < 1.0 => {
                format!("{subject} shrinks at a pace that does not slow: to {} of what it was", short(figure("factor")))
            }
            Rule::DivergingWeights if figure("abs_mean") > limit("abs_mean") => {
                format!("{subject} has grown without bound: mean |w| is {}", short(figure("abs_mean")))
            }
            Rule::DivergingWeights if limit("early_growth") > 0.0 => {
                format!("{subject} has grown to {} times what it was", short(figure("factor")))
            }
            Rule::DivergingWeights => {
                format!("{subject} grows at a pace that does not slow: {} times what it was", short(figure("factor")))
            }
            Rule::UnstableLearning if limit("growths") > 0.0 => format!(
                "the learning rate grows at a pace that does not slow, and moves with it: {} of the weights a step by now",
                short(figure("update_to_weight"))
            ),
            Rule::UpdateRatioExtreme | Rule::UnstableLearning => {
                let ratio = figure("update_to_weight");
                let how = if self.threshold.iter().any(|(name, _)| name == "low") {
                    "far too small"
                } else {
                    "far too large"
                };
                let whose = path.map_or("moves".to_owned(), |path| format!("moves of {path}"));
                format!("{whose} are {how}: {} of the weights a step", short(ratio))
            }
            Rule::Oscillation => format!(
                "{subject} swings about its minimum: {} of its gradient flips each step, and {} of what crosses an extreme crosses a minimum",
                percent("sign_flip_ratio"),
                percent("minimum_share")
            ),
            Rule::GradNormSpike => format!(
                "the gradient norm leaps to {}, from {} on average",
                short(figure("norm")),
                short(figure("mean"))
            ),
            Rule::AllZero => match path {
                None => "no gradient reaches any parameter: all are zero".into(),
                Some(path) => format!("{path} gets no gradient: all of it is zero"),
            },
            Rule::SaturatedActivation => {
                let where_ =
                    if self.threshold.iter().any(|(name, _)| name == "zeros") { "zero" } else { "at the rails" };
                format!("{} of the activation {subject} is {where_}", percent("share"))
            }
            Rule::DeadGradient => format!(
                "units of {subject} are dead: {} have no gradient, {} had none at first",
                percent("zero_ratio"),
                percent("early_zero_ratio")
            ),
            Rule::VanishingDepth => format!(
                "gradients vanish on their way back: {subject} has a norm of {}, the last layer {}",
                short(figure("first_l2_norm")),
                short(figure("last_l2_norm"))
            ),
            Rule::VanishingGradient => match self.figure("change") {
                Some(change) => format!(
                    "the gradient of {subject} vanishes: {} on average, {} of what it was beside the others",
                    short(figure("rms")),
                    short(change)
                ),
                None => format!("the gradient of {subject} is next to nothing: {} on average", short(figure("rms"))),
            },
            Rule::DeadWeights => {
                format!("{} of the weights of {subject} are zero, or as good as", percent("near_zero_ratio"))
            }
            Rule::StuckZeros => format!(
                "{} of the gradient of {subject} is near zero, and {} of that was before",
                percent("near_zero_ratio"),
                percent("retained")
            ),
            Rule::LossRising if self.threshold.is_empty() => {
                format!("the loss falls without bound: {} now", short(figure("now")))
            }
            Rule::LossRising => {
                format!("the loss rises: {} now, {} at its best", short(figure("now")), short(figure("best")))
            }
            Rule::LossNotDecreasing => format!(
                "the loss does not get better: {} at first, {} at best",
                short(figure("first")),
                short(figure("best"))
            ),
            Rule::LossFluctuating => format!(
                "the loss swings: half of its last values spread over {}, about {}",
                short(figure("spread")),
                short(figure("now"))
            ),
            Rule::UnderflowRisk => {
                format!("f16 would flush {} of the gradient of {subject} to zero", percent("flushed"))
            }
            Rule::OverflowRisk => {
                format!("the gradient of {subject} comes near the largest number of f16: {}", short(figure("abs_max")))
            }
            Rule::Stalled => format!("no step for {} minutes", short(figure("secs") / 60.0)),
        }
    }
}

/// Three digits, of a size that people read.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-3..1e4).contains(&size) => {
            let digits = (2 - size.max(1e-3).log10().floor() as i32).clamp(0, 5) as usize;
            let text = format!("{value:.digits$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
        _ => format!("{value:.1e}"),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warn => "warning",
            Severity::Critical => "CRITICAL",
        };
        match (self.open, self.first_step == self.last_step) {
            (true, _) => write!(f, "{severity}, since step {}: ", self.first_step)?,
            (false, true) => write!(f, "{severity}, at step {}: ", self.first_step)?,
            (false, false) => write!(f, "{severity}, steps {} to {}: ", self.first_step, self.last_step)?,
        }
        f.write_str(&self.sentence())?;
        match self.place_count {
            0 | 1 => {}
            2 => f.write_str(" (and one other)")?,
            n => write!(f, " (and {} others)", n - 1)?,
        }
        if !self.followed_by.is_empty() {
            let rules: Vec<_> = self.followed_by.iter().map(|rule| rule.id()).collect();
            write!(f, "; it led to {}", rules.join(", "))?;
        }
        if !self.advice.is_empty() {
            write!(f, ". Try: {}", self.advice)?;
        }
        write!(f, " [{}]", self.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.5, 12.345, 1234.5, 123_456.0, 0.012_345, 1.0, 3.2e-8, -2.5, f64::NAN].map(short);
        assert_eq!(texts, ["0", "0.5", "12.3", "1234", "1.2e5", "0.0123", "1", "3.2e-8", "-2.5", "NaN"]);
    }
}

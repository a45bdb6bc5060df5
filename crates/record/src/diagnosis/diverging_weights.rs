//! Weights that grow, or shrink, at a pace that does not slow. Healthy weights grow, too: fast at first, then ever slower. Needs
//! `Stats::PARAMS`.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::DivergingWeights,
    severity: Severity::Warn,
    action: Action::Snapshot,
    source: "TheDeepChecker (mean |w| > 1e8, or five doublings); early growth, and growth at a pace that does not slow: gradscope",
    needs: &[Need::Params],
    numbers: &[
        Number { name: "open_after", default: 1.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "abs_mean", default: 1e8, meaning: "mean |w| of a tensor" },
        Number { name: "doublings", default: 5.0, meaning: "times that the L2 norm has doubled since the first step" },
        Number {
            name: "early_growth",
            default: 2.75,
            meaning: "L2 norm over that of the first step, or its inverse, early in a run",
        },
        Number { name: "early", default: 128.0, meaning: "steps from the first that are early" },
        Number { name: "gain", default: 1.0, meaning: "std * sqrt(inputs) below which weights may grow" },
        Number { name: "growths", default: 6.0, meaning: "factors of 2^(1/4) in a row, none much slower than another" },
    ],
};

struct DivergingWeights {
    abs_mean: f64,
    doublings: f64,
    early_growth: f64,
    early: u32,
    gain: f64,
    growths: u32,
}

/// The L2 norm over that of the first step. Weights that are too small to make what goes through them larger may grow.
fn growth(place: usize, gain: f64, look: &Look<'_>) -> f64 {
    let history = &look.history.tensors[place];
    if !look.history.from_start || history.first_weight == 0.0 {
        return 1.0;
    }
    let numel = (look.params[place].numel.max(1) as f64).sqrt();
    let amplifies = look.layers.fan_in_sqrt(place).is_some_and(|inputs| inputs * history.last_weight / numel >= gain);
    let growth = history.last_weight / history.first_weight;
    if amplifies { growth } else { growth.min(1.0) }
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(DivergingWeights {
        abs_mean: numbers.get("abs_mean"),
        doublings: numbers.get("doublings"),
        early_growth: numbers.get("early_growth"),
        early: numbers.count("early"),
        gain: numbers.get("gain"),
        growths: numbers.count("growths"),
    })
}

impl Judge for DivergingWeights {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for (place, tensor) in look.record.tensors.iter().enumerate() {
            let Some(parameter) = tensor.parameter.filter(|_| look.params[place].trainable) else { continue };
            let huge = parameter.abs_mean().is_some_and(|mean| mean > self.abs_mean);
            // Biases begin at zero and grow as far as they like.
            if look.params[place].shape.len() < 2 {
                verdicts.say(place, huge, 0.0);
                continue;
            }
            let history = &look.history.tensors[place];
            let steps = history.weight.grown_count.max(history.weight.shrunk_count);
            let growth = growth(place, self.gain, look);
            let grown = growth > self.doublings.exp2()
                || growth.max(1.0 / growth) > self.early_growth
                    && look.history.first_step.is_some_and(|first| look.record.step - first < u64::from(self.early));
            verdicts.say(place, huge || grown || steps >= self.growths, growth.max(1.0 / growth).max(f64::from(steps)));
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let history = &look.history.tensors[place];
        let pace = &history.weight;
        let parameter = look.record.tensors[place].parameter;
        let norm = parameter.map_or(f64::NAN, |parameter| parameter.l2_norm);
        let abs_mean = parameter.and_then(|parameter| parameter.abs_mean()).unwrap_or(f64::NAN);
        let steady = pace.grown_count.max(pace.shrunk_count) >= self.growths;
        let factor = match steady {
            true => super::history::PACE_FACTOR.powi(pace.grown_count as i32 - pace.shrunk_count as i32),
            false => growth(place, self.gain, look),
        };
        let advice = if factor < 1.0 {
            "lower the weight decay: it takes away more than learning puts in".into()
        } else {
            format!("{}; check the sign of the weight decay", look.context.lower_rate(look.history.lr))
        };
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("param_l2_norm", norm), ("factor", factor), ("abs_mean", abs_mean)],
            threshold: if steady { &["growths"] } else { &["doublings", "early_growth", "early", "abs_mean"] },
            advice,
        }
    }
}

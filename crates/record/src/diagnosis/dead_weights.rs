//! Weights that are nearly all zero. Vectors may be: biases begin so. Needs `Stats::PARAMS`.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::DeadWeights,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "TheDeepChecker (|w| < 1e-5 for more than 95%)",
    needs: &[Need::Params],
    numbers: &[
        Number { name: "open_after", default: 50.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "near_zero_ratio", default: 0.95, meaning: "share of |w| < 1e-5" },
    ],
};

struct DeadWeights {
    near_zero_ratio: f64,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(DeadWeights { near_zero_ratio: numbers.get("near_zero_ratio") })
}

fn ratio(place: usize, look: &Look<'_>) -> Option<f64> {
    let parameter = look.record.tensors[place].parameter.filter(|parameter| parameter.numel > 0)?;
    Some(parameter.near_zero_count as f64 / parameter.numel as f64)
}

impl Judge for DeadWeights {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for &place in look.layers.weights() {
            if let Some(ratio) = ratio(place, look) {
                verdicts.say(place, ratio > self.near_zero_ratio, ratio);
            }
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("near_zero_ratio", ratio(place, look).unwrap_or(f64::NAN))],
            threshold: &["near_zero_ratio"],
            advice: "lower the weight decay, and look for weights that begin at zero and get no gradient".into(),
        }
    }
}

//! Initial weights whose spread, times the square root of their inputs, is far from 1: signals grow or shrink by that factor in each
//! layer. Needs `Stats::PARAMS`.
//!
//! SageMaker's rule compares variances of layers, which differ by design where widths do; the gain of He (2015) and Glorot (2010) does
//! not. Vectors, embeddings and weights that begin at zero on purpose have none.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::PoorInitialisation,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "SageMaker Debugger, PoorWeightInitialization, by the gain of He and Glorot instead of variance ratios",
    needs: &[Need::Params],
    numbers: &[
        Number { name: "open_after", default: 1.0, meaning: "observed steps" },
        Number { name: "close_after", default: 1.0, meaning: "observed steps" },
        Number { name: "large", default: 5.0, meaning: "std * sqrt(inputs) above which signals explode" },
        Number { name: "small", default: 0.05, meaning: "std * sqrt(inputs) below which they vanish" },
    ],
};

struct PoorInitialisation {
    large: f64,
    small: f64,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(PoorInitialisation { large: numbers.get("large"), small: numbers.get("small") })
}

fn gain(place: usize, look: &Look<'_>) -> Option<f64> {
    let std = look.record.tensors[place].parameter.filter(|parameter| parameter.nonfinite_count == 0)?.std?;
    (std > 0.0).then(|| Some(std * look.layers.fan_in_sqrt(place)?)).flatten()
}

impl Judge for PoorInitialisation {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        // Before the first move: what comes after is not the initialisation's.
        let first = look.history.from_start && look.history.observed_count <= 1;
        let last = look.layers.weights().last();
        for &place in look.layers.weights() {
            let distance = gain(place, look).filter(|_| first).map_or(-1.0, |gain| {
                // Heads begin small on purpose.
                let small = if last == Some(&place) { f64::NEG_INFINITY } else { (self.small / gain).ln() };
                (gain / self.large).ln().max(small)
            });
            verdicts.say(place, distance > 0.0, distance);
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let gain = gain(place, look).unwrap_or(f64::NAN);
        let wanted = if look.context.rectifies() {
            "He's (std = sqrt(2 / inputs))"
        } else {
            "Glorot's (std = sqrt(1 / inputs))"
        };
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("gain", gain)],
            threshold: if gain > 1.0 { &["large"] } else { &["small"] },
            advice: format!("initialise it by {wanted}; look for weights that are scaled or loaded twice"),
        }
    }
}

//! A weight that moves by more than its own size, or by nothing that counts. Needs `Stats::UPDATES`.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::UpdateRatioExtreme,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "SageMaker Debugger, WeightUpdateRatio (10 and 1e-8)",
    needs: &[Need::Updates],
    numbers: &[
        Number { name: "open_after", default: 3.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "high", default: 1.0, meaning: "L2 of the move over L2 of the weight" },
        Number { name: "low", default: 1e-8, meaning: "the same, below which nothing is learned" },
        Number { name: "warm_up", default: 8.0, meaning: "moves before a high ratio counts" },
        // Vanishing gradients, which make small moves, are told first.
        Number { name: "warm_up_low", default: 64.0, meaning: "moves before a low one does" },
    ],
};

struct UpdateRatioExtreme {
    high: f64,
    low: f64,
    warm_up: u32,
    warm_up_low: u32,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(UpdateRatioExtreme {
        high: numbers.get("high"),
        low: numbers.get("low"),
        warm_up: numbers.count("warm_up"),
        warm_up_low: numbers.count("warm_up_low"),
    })
}

impl Judge for UpdateRatioExtreme {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for &place in look.layers.weights() {
            let ratio = &look.history.tensors[place].update_to_weight;
            if look.record.tensors[place].update.is_some() && ratio.count() >= self.warm_up {
                let now = ratio.now();
                let low = ratio.count() >= self.warm_up_low
                    && look.history.from_start
                    && look.history.is_warm()
                    && ratio.peak() < self.low;
                verdicts.say(place, now > self.high || low, now);
            }
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let ratio = look.history.tensors[place].update_to_weight.now();
        let high = ratio > self.high;
        let rate = look.history.lr;
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("update_to_weight", ratio)],
            threshold: if high { &["high"] } else { &["low"] },
            advice: if high { look.context.lower_rate(rate) } else { look.context.higher_rate(rate) }
                + "; healthy ratios are around 1e-3",
        }
    }
}

//! Moves of the whole model that are too large for its weights, or too small to get anywhere. Needs `Stats::UPDATES`.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::UnstableLearning,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "TheDeepChecker (log10 of moves to weights outside [-4, -1])",
    needs: &[Need::Updates],
    numbers: &[
        Number { name: "open_after", default: 1.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "high", default: 0.1, meaning: "L2 of all moves over L2 of all weights" },
        Number { name: "overturn", default: 0.5, meaning: "the same for a single move, at any time" },
        Number {
            name: "growths",
            default: 6.0,
            meaning: "factors of 2^(1/4) in a row by which the learning rate has grown, none much slower than another",
        },
        Number { name: "growing", default: 0.01, meaning: "L2 of all moves over L2 of all weights, where it grows so" },
        Number { name: "low", default: 1e-4, meaning: "the same, never exceeded since the start" },
        Number { name: "warm_up_high", default: 16.0, meaning: "moves before a high ratio counts" },
        Number { name: "warm_up_low", default: 64.0, meaning: "moves before a low one does" },
    ],
};

struct UnstableLearning {
    high: f64,
    overturn: f64,
    growths: u32,
    growing: f64,
    low: f64,
    warm_up_high: u32,
    warm_up_low: u32,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(UnstableLearning {
        high: numbers.get("high"),
        overturn: numbers.get("overturn"),
        growths: numbers.count("growths"),
        growing: numbers.get("growing"),
        low: numbers.get("low"),
        warm_up_high: numbers.count("warm_up_high"),
        warm_up_low: numbers.count("warm_up_low"),
    })
}

impl UnstableLearning {
    fn grows(&self, look: &Look<'_>) -> bool {
        look.history.lr_pace.grown_count >= self.growths && look.history.update_to_weight.now() > self.growing
    }
}

impl Judge for UnstableLearning {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let ratio = &look.history.update_to_weight;
        let Some(last) = look.history.last_update_to_weight else { return };
        let high = ratio.count() >= self.warm_up_high && ratio.now() > self.high;
        // The end of a schedule, or of learning, is no fault: only a run that never moved is.
        let low = ratio.count() >= self.warm_up_low
            && look.history.from_start
            && look.history.is_warm()
            && ratio.peak() < self.low;
        verdicts.say(0, high || self.grows(look) || low || last > self.overturn, 0.0);
    }

    fn tell(&self, _: usize, look: &Look<'_>) -> Told {
        let (level, last) = (look.history.update_to_weight.now(), look.history.last_update_to_weight.unwrap_or(0.0));
        let overturns = last > self.overturn;
        let (ratio, high) = (if overturns { last } else { level }, overturns || level > self.high || self.grows(look));
        let rate = look.history.lr;
        Told {
            path: None,
            severity: None,
            evidence: vec![("update_to_weight", ratio)],
            threshold: if overturns {
                &["overturn"]
            } else if level > self.high {
                &["high"]
            } else if high {
                &["growths", "growing"]
            } else {
                &["low"]
            },
            advice: if high { look.context.lower_rate(rate) } else { look.context.higher_rate(rate) }
                + "; healthy ratios are around 1e-3",
        }
    }
}

//! Gradients that flip because moves overshoot.
//!
//! Where the noise of batches makes a gradient flip, as many moves cross a maximum as a minimum; where curvature does, they cross
//! minima. Needs `Stats::UPDATES`.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::Oscillation,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "gradscope, from sign flips and crossed minima",
    needs: &[Need::Updates],
    numbers: &[
        Number { name: "open_after", default: 16.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "sign_flip_ratio", default: 0.85, meaning: "elements whose gradient changes sign" },
        Number { name: "minimum_share", default: 0.8, meaning: "crossings that are of a minimum" },
        Number { name: "warm_up", default: 32.0, meaning: "observed steps before it counts" },
    ],
};

struct Oscillation {
    sign_flip_ratio: f64,
    minimum_share: f64,
    warm_up: u32,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(Oscillation {
        sign_flip_ratio: numbers.get("sign_flip_ratio"),
        minimum_share: numbers.get("minimum_share"),
        warm_up: numbers.count("warm_up"),
    })
}

impl Judge for Oscillation {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for &place in look.layers.weights() {
            let history = &look.history.tensors[place];
            if look.finite(place).is_some() && history.minimum_share.count >= self.warm_up {
                let holds =
                    history.sign_flip.now >= self.sign_flip_ratio && history.minimum_share.now >= self.minimum_share;
                verdicts.say(place, holds, history.sign_flip.now);
            }
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let history = &look.history.tensors[place];
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("sign_flip_ratio", history.sign_flip.now), ("minimum_share", history.minimum_share.now)],
            threshold: &["sign_flip_ratio", "minimum_share"],
            advice: look.context.lower_rate(look.history.lr),
        }
    }
}

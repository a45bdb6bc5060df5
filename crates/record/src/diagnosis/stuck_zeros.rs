//! Elements whose gradient stays near zero, step after step. Dead pixels of the input do that to a first layer: worth a note. Needs
//! `Stats::DYNAMICS`.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::StuckZeros,
    severity: Severity::Note,
    action: Action::Tell,
    source: "gradscope, from the dynamics of near zeros",
    needs: &[Need::Dynamics],
    numbers: &[
        Number { name: "open_after", default: 100.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "near_zero_ratio", default: 0.5, meaning: "elements near zero at the smaller epsilon" },
        Number { name: "retained", default: 0.99, meaning: "of them, those that were so the step before" },
    ],
};

struct StuckZeros {
    near_zero_ratio: f64,
    retained: f64,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(StuckZeros { near_zero_ratio: numbers.get("near_zero_ratio"), retained: numbers.get("retained") })
}

impl Judge for StuckZeros {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for place in 0..look.params.len() {
            let history = &look.history.tensors[place];
            let Some(summary) = look.finite(place).filter(|_| history.retained.count > 0) else { continue };
            let near_zero = summary.near_zero_ratio()[0];
            verdicts.say(place, near_zero > self.near_zero_ratio && history.retained.now > self.retained, near_zero);
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let near_zero = look.finite(place).map_or(f64::NAN, |summary| summary.near_zero_ratio()[0]);
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("near_zero_ratio", near_zero), ("retained", look.history.tensors[place].retained.now)],
            threshold: &["near_zero_ratio", "retained"],
            advice:
                "look for inputs that are constant and for units that are dead; the layer may be larger than it need be"
                    .into(),
        }
    }
}

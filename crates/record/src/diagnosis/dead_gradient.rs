//! Units whose gradient has died: a bias, of which each element is a unit, with zeros nearly everywhere that stay.
//!
//! Healthy ReLU networks carry 25 to 88% silent units, and rows of an embedding are silent until their word comes: zeros alone say
//! nothing. What counts is a vector that was alive, or is nearly all dead, and whose zeros are the same from step to step.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::DeadGradient,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "AUTOTRAINER (zeros >= 0.7); by units of a layer, and those that stay dead: gradscope",
    needs: &[],
    numbers: &[
        Number { name: "open_after", default: 32.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "zero_ratio", default: 0.9, meaning: "units without a gradient" },
        Number { name: "rise", default: 0.3, meaning: "how much more that is than in the first 32 steps" },
        Number { name: "always", default: 0.97, meaning: "units without a gradient that need no rise" },
        Number { name: "retained", default: 0.99, meaning: "of them, those that had none the step before" },
        Number { name: "most_units", default: 4096.0, meaning: "units of a layer that needs no rise" },
        Number { name: "least_units", default: 8.0, meaning: "units of a layer that is looked at" },
    ],
};

struct DeadGradient {
    zero_ratio: f64,
    rise: f64,
    always: f64,
    retained: f64,
    least_units: u64,
    most_units: u64,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(DeadGradient {
        zero_ratio: numbers.get("zero_ratio"),
        rise: numbers.get("rise"),
        always: numbers.get("always"),
        retained: numbers.get("retained"),
        least_units: numbers.get("least_units") as u64,
        most_units: numbers.get("most_units") as u64,
    })
}

impl Judge for DeadGradient {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for (place, param) in look.params.iter().enumerate() {
            if param.shape.len() != 1 || param.numel < self.least_units || look.finite(place).is_none() {
                continue;
            }
            let history = &look.history.tensors[place];
            let zero = history.zero.now;
            let risen = zero >= self.zero_ratio && zero - history.early_zero.now >= self.rise;
            let stays = history.retained.now >= self.retained;
            // Without `dynamics` nothing is known of which they are: what is looked up row by row is silent always.
            let always = zero >= self.always && history.retained.count > 0 && stays && param.numel <= self.most_units;
            verdicts.say(place, always || risen && (history.retained.count == 0 || stays), zero);
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let history = &look.history.tensors[place];
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("zero_ratio", history.zero.now), ("early_zero_ratio", history.early_zero.now)],
            threshold: &["zero_ratio", "rise", "always"],
            advice: format!(
                "{}; begin with less negative biases, or use a leaky ReLU",
                look.context.lower_rate(look.history.lr)
            ),
        }
    }
}

//! Tapped activations that sit at the rails of their function, where it passes nothing back.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity, TapRecord};

pub const SPEC: Spec = Spec {
    rule: Rule::SaturatedActivation,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "SageMaker Debugger, Saturation and DeadRelu",
    numbers: &[
        Number { name: "open_after", default: 16.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "rails", default: 0.5, meaning: "share at the rails, for taps with two" },
        Number { name: "zeros", default: 0.98, meaning: "share of zeros, for taps of a ReLU" },
    ],
};

struct SaturatedActivation {
    rails: f64,
    zeros: f64,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(SaturatedActivation { rails: numbers.get("rails"), zeros: numbers.get("zeros") })
}

impl SaturatedActivation {
    /// Share at the rails and what is too much of it. A ReLU has its zeros at the lower rail and nothing at the other.
    fn share(&self, tap: &TapRecord) -> Option<(f64, f64)> {
        let finite = tap.summary.finite_count();
        if finite == 0 {
            return None;
        }
        let share = |count: u64| count as f64 / finite as f64;
        let zeros = share(tap.summary.zero_count);
        Some(match tap.tail_count {
            Some([low, high]) if low > tap.summary.zero_count || high > 0 => (share(low + high), self.rails),
            _ => (zeros, self.zeros),
        })
    }
}

impl Judge for SaturatedActivation {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for (n, tap) in look.record.taps.iter().enumerate() {
            if let Some((share, limit)) = self.share(tap) {
                verdicts.say(n, share >= limit, share);
            }
        }
    }

    fn tell(&self, n: usize, look: &Look<'_>) -> Told {
        let tap = &look.record.taps[n];
        let (share, limit) = self.share(tap).unwrap_or_default();
        let rectifies =
            limit == self.zeros && share == tap.summary.zero_count as f64 / tap.summary.finite_count() as f64;
        let rate = look.context.lower_rate(look.history.lr);
        Told {
            path: Some(tap.name.clone()),
            severity: None,
            evidence: vec![("share", share)],
            threshold: if rectifies { &["zeros"] } else { &["rails"] },
            advice: format!("{rate}; initialise the layer before it smaller, or normalise what comes in"),
        }
    }
}

//! Tapped activations that sit at the rails of their function, where it passes nothing back.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity, TapRecord};

pub const SPEC: Spec = Spec {
    rule: Rule::SaturatedActivation,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "SageMaker Debugger, Saturation and DeadRelu",
    needs: &[Need::Taps],
    numbers: &[
        Number { name: "open_after", default: 16.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "rails", default: 0.5, meaning: "share at the rails, for taps with two" },
        Number { name: "zeros", default: 0.98, meaning: "share of zeros, for taps whose lower rail is 0" },
    ],
};

struct SaturatedActivation {
    rails: f64,
    zeros: f64,
    /// By which episodes go on where a tap is not given at every step.
    names: Vec<String>,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(SaturatedActivation { rails: numbers.get("rails"), zeros: numbers.get("zeros"), names: vec![] })
}

impl SaturatedActivation {
    /// Of a tap with rails, the share that is at them, and whether they are a ReLU's: its zeros lie at the lower one.
    fn share(&self, tap: &TapRecord) -> Option<(f64, bool)> {
        let ([low, high], finite) = (tap.tail_count?, tap.summary.finite_count());
        let share = |count: u64| count as f64 / finite as f64;
        if finite == 0 {
            return None;
        }
        if low > tap.summary.zero_count {
            return Some((share(low + high), false));
        }
        Some(if share(high) >= self.rails { (share(high), false) } else { (share(tap.summary.zero_count), true) })
    }

    fn subject(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

impl Judge for SaturatedActivation {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for tap in &look.record.taps {
            if let Some((share, rectifies)) = self.share(tap) {
                let limit = if rectifies { self.zeros } else { self.rails };
                verdicts.say(self.subject(&tap.name), share >= limit, share);
            }
        }
    }

    fn tell(&self, subject: usize, look: &Look<'_>) -> Told {
        let tap = look.record.taps.iter().find(|tap| tap.name == self.names[subject]);
        let (share, rectifies) = tap.and_then(|tap| self.share(tap)).unwrap_or_default();
        let rate = look.context.lower_rate(look.history.lr);
        Told {
            path: Some(self.names[subject].clone()),
            severity: None,
            evidence: vec![("share", share)],
            threshold: if rectifies { &["zeros"] } else { &["rails"] },
            advice: format!("{rate}; initialise the layer before it smaller, or normalise what comes in"),
        }
    }
}

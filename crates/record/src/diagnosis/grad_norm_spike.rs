//! A gradient norm far above those of the last steps. One is a bad batch; several are the start of something.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::GradNormSpike,
    severity: Severity::Note,
    action: Action::Tell,
    source: "OLMo-core (mean + 6 sigma of the last 128 norms)",
    needs: &[],
    numbers: &[
        Number { name: "open_after", default: 1.0, meaning: "observed steps" },
        Number { name: "close_after", default: 64.0, meaning: "observed steps" },
        Number { name: "sigmas", default: 6.0, meaning: "standard deviations above the mean" },
        Number { name: "least_sigma", default: 1e-10, meaning: "a standard deviation that is ignored" },
    ],
};

struct GradNormSpike {
    sigmas: f64,
    least_sigma: f64,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(GradNormSpike { sigmas: numbers.get("sigmas"), least_sigma: numbers.get("least_sigma") })
}

impl Judge for GradNormSpike {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let global = &look.record.global;
        let Some((mean, sigma)) = look.history.norm_before.filter(|_| global.numel > 0) else { return };
        verdicts.say(0, sigma >= self.least_sigma && global.l2_norm > mean + self.sigmas * sigma, 0.0);
    }

    fn tell(&self, _: usize, look: &Look<'_>) -> Told {
        let (mean, sigma) = look.history.norm_before.unwrap_or_default();
        Told {
            path: None,
            severity: None,
            evidence: vec![("norm", look.record.global.l2_norm), ("mean", mean), ("sigma", sigma)],
            threshold: &["sigmas"],
            advice: "look at the batch of that step; clip gradients by norm".into(),
        }
    }
}

//! Gradients that are gone, or going, while there is still a loss.
//!
//! At the end of a run gradients are small because the loss is, in all layers alike. What vanishes is told apart by its own layer's
//! past and by the other layers: absolute smallness counts only where the loss is still what it was.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::VanishingGradient,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "SageMaker Debugger, VanishingGradient (mean |g| < 1e-7); against the layer's own past: gradscope",
    needs: &[Need::Loss],
    numbers: &[
        Number { name: "open_after", default: 16.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "rms", default: 1e-7, meaning: "root mean square of a gradient" },
        Number {
            name: "change",
            default: 1e-3,
            meaning: "of a layer's gradient since the first 32 steps, over that of the whole model",
        },
        Number {
            name: "loss_left",
            default: 0.5,
            meaning: "loss, as a share of that of the first 32 steps, below which small gradients are no fault",
        },
    ],
};

struct VanishingGradient {
    rms: f64,
    change: f64,
    loss_left: f64,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(VanishingGradient {
        rms: numbers.get("rms"),
        change: numbers.get("change"),
        loss_left: numbers.get("loss_left"),
    })
}

impl VanishingGradient {
    fn has_loss_left(&self, look: &Look<'_>) -> bool {
        look.history.from_start
            && look.history.loss.as_ref().is_some_and(|loss| loss.is_known() && loss.now > self.loss_left * loss.early)
    }
}

impl Judge for VanishingGradient {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        if look.record.global.numel == 0 {
            return;
        }
        let history = look.history;
        let loss_left = self.has_loss_left(look);
        let whole = history.norm.change().is_some_and(|change| change < self.change) && loss_left;
        verdicts.say(look.params.len(), whole, f64::INFINITY);
        for &place in look.layers.weights() {
            let Some(summary) = look.finite(place) else { continue };
            let gradient = &history.tensors[place].gradient;
            let gone = loss_left && gradient.count() > 0 && gradient.now() < self.rms;
            let going = history.relative_change(place).is_some_and(|relative| relative < self.change);
            if summary.zero_count < summary.numel {
                verdicts.say(place, (gone || going) && !whole, 1.0 / gradient.now().max(1e-300));
            }
        }
    }

    fn tell(&self, subject: usize, look: &Look<'_>) -> Told {
        let place = (subject < look.params.len()).then_some(subject);
        let (rms, change) = match place {
            Some(place) => {
                let relative = look.history.relative_change(place).filter(|relative| *relative < self.change);
                (look.history.tensors[place].gradient.now(), relative)
            }
            None => (look.record.global.l2_norm / (look.record.global.numel as f64).sqrt(), look.history.norm.change()),
        };
        let mut evidence = vec![("rms", rms)];
        evidence.extend(change.map(|change| ("change", change)));
        let advice = if look.context.saturates() {
            "its activation saturates, or what comes in is too small: normalise it, or use ReLU or GELU"
        } else {
            "what comes in, or the weights after it, are too small: look for a decay that is too strong, and initialise by He or Glorot"
        };
        Told {
            path: place.and_then(|place| look.path(place)),
            severity: None,
            evidence,
            threshold: &["rms", "change", "loss_left"],
            advice: advice.into(),
        }
    }
}

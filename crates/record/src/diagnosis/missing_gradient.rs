//! Parameters that want a gradient and have none. Frozen ones do not want one: they are worth a note.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Gradient, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::MissingGradient,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "gradscope",
    needs: &[],
    numbers: &[
        Number { name: "open_after", default: 3.0, meaning: "steps without a gradient" },
        Number { name: "close_after", default: 64.0, meaning: "steps with one" },
        // Experts without tokens, skipped blocks and turns of two networks come back.
        Number { name: "absent", default: 128.0, meaning: "steps without, of one that had a gradient before" },
    ],
};

struct MissingGradient {
    absent: u32,
    /// For each parameter, the observed step at which it last had a gradient.
    had_at: Vec<Option<u32>>,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(MissingGradient { absent: numbers.count("absent"), had_at: vec![] })
}

/// Statistics that a layer keeps, and no optimizer moves.
fn is_state(path: &str) -> bool {
    path.rsplit('.').next().is_some_and(|name| name.starts_with("running_"))
}

impl Judge for MissingGradient {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        if look.record.global.numel == 0 {
            return;
        }
        let now = look.history.observed_count;
        self.had_at.resize(look.params.len(), None);
        for (place, (tensor, param)) in look.record.tensors.iter().zip(look.params).enumerate() {
            let missing = match tensor.gradient {
                Gradient::NotDue | Gradient::Unreadable => continue,
                Gradient::Missing => self.had_at[place].is_none_or(|had_at| now - had_at >= self.absent),
                Gradient::Observed { .. } => {
                    self.had_at[place] = Some(now);
                    false
                }
            };
            // Nearest to the loss is where the graph is cut; one that is cut matters more than one that is frozen.
            if missing || param.trainable {
                let weight = place as f64 + if param.trainable { look.params.len() as f64 } else { 0.0 };
                verdicts.say(place, missing && !is_state(&param.path), weight);
            }
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let trainable = look.params[place].trainable;
        let advice = if trainable {
            "look for detach(), inner() or a no_grad region between it and the loss, for a branch that the loss does not use, and for an output that is computed from data again"
        } else {
            "nothing, if it is frozen on purpose; otherwise set_require_grad(true) before training"
        };
        Told {
            path: look.path(place),
            severity: (!trainable).then_some(Severity::Note),
            evidence: vec![("trainable", f64::from(u8::from(trainable)))],
            threshold: &[],
            advice: advice.into(),
        }
    }
}

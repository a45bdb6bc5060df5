//! Parameters that do not move although their gradient is not zero. Needs `Stats::UPDATES`.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Gradient, Rule, Severity};
use crate::stats::TensorSummary;

pub const SPEC: Spec = Spec {
    rule: Rule::Unchanged,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "SageMaker Debugger, UnchangedTensor",
    needs: &[Need::Updates],
    numbers: &[
        Number { name: "open_after", default: 3.0, meaning: "moves in which no element changes" },
        Number { name: "close_after", default: 64.0, meaning: "moves in which one does" },
        // A bias before a normalisation has a gradient of rounding errors.
        Number { name: "gradient", default: 1e-3, meaning: "its gradient's size over that of all gradients" },
        Number {
            name: "least_move",
            default: 1e-5,
            meaning: "move over weight: where the parameter's own last ratio and the model's are both below it, f32 may not resolve the move",
        },
    ],
};

struct Unchanged {
    gradient: f64,
    least_move: f64,
    /// Whether each tensor's last gradient asked for a move. Where not every step is observed, that is some steps ago.
    asked: Vec<bool>,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(Unchanged { gradient: numbers.get("gradient"), least_move: numbers.get("least_move"), asked: vec![] })
}

impl Judge for Unchanged {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let tensors = &look.record.tensors;
        self.asked.resize(tensors.len(), false);
        let moves = || {
            tensors.iter().enumerate().filter_map(|(place, tensor)| {
                let (update, parameter) = (tensor.update?, tensor.parameter?);
                (parameter.numel > 0).then_some((place, update.unchanged_count == parameter.numel))
            })
        };
        // Where nothing moves the learning rate is 0, as at the start of a warm-up and at the end of a schedule: no
        // parameter's own trouble.
        if look.history.last_update_to_weight.is_some_and(|ratio| ratio > self.least_move) {
            for (place, unchanged) in moves() {
                if self.asked[place] {
                    let before = &look.history.tensors[place].update_to_weight;
                    let faded = before.count() > 0 && before.now() < self.least_move;
                    verdicts.say(place, unchanged && !faded, 0.0);
                }
            }
        }
        let size = |l2_norm: f64, numel: u64| l2_norm / (numel.max(1) as f64).sqrt();
        let least = self.gradient * size(look.record.global.l2_norm, look.record.global.numel);
        for (asked, tensor) in self.asked.iter_mut().zip(tensors) {
            let wants =
                |summary: &TensorSummary| summary.l2_norm > 0.0 && size(summary.l2_norm, summary.numel) >= least;
            *asked = match &tensor.gradient {
                Gradient::Observed { summary, .. } => wants(summary),
                Gradient::Missing => false,
                Gradient::NotDue | Gradient::Unreadable => *asked,
            };
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("gradient_rms", look.history.tensors[place].gradient.now())],
            threshold: &["open_after"],
            advice: "give it to the optimizer; raise its own learning rate from 0; or its moves are below what its element type resolves".into(),
        }
    }

    fn is_separate(&self) -> bool {
        true
    }
}

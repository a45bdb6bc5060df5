//! Gradients that shrink on their way from the last layer to the first.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::VanishingDepth,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "AUTOTRAINER (l2 of the first layer over the last < 1e-3, and < 1e-4)",
    needs: &[],
    numbers: &[
        Number { name: "open_after", default: 8.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number {
            name: "depth_ratio",
            default: 1e-3,
            meaning: "L2 of the first weight's gradient over that of the last",
        },
        Number { name: "first", default: 1e-4, meaning: "L2 of the first weight's gradient" },
        Number { name: "warm_up", default: 8.0, meaning: "observed steps before it counts" },
    ],
};

struct VanishingDepth {
    depth_ratio: f64,
    first: f64,
    warm_up: u32,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(VanishingDepth {
        depth_ratio: numbers.get("depth_ratio"),
        first: numbers.get("first"),
        warm_up: numbers.count("warm_up").max(1),
    })
}

impl VanishingDepth {
    /// Norms of the first and the last weight's gradients.
    fn ends(&self, look: &Look<'_>) -> Option<(usize, f64, f64)> {
        let (first, last) = (*look.layers.weights().first()?, *look.layers.weights().last()?);
        let norm = |place: usize| {
            look.finite(place)?;
            look.history.tensors[place].l2_norm(look.params[place].numel, self.warm_up)
        };
        (first != last).then(|| Some((first, norm(first)?, norm(last)?))).flatten()
    }
}

impl Judge for VanishingDepth {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        if let Some((place, first, last)) = self.ends(look) {
            verdicts.say(place, first < self.depth_ratio * last && first < self.first, 0.0);
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let (_, first, last) = self.ends(look).unwrap_or((place, f64::NAN, f64::NAN));
        let advice = if look.context.saturates() {
            "use ReLU or GELU instead of an activation that saturates; put norm layers or residual connections in between"
        } else {
            "put norm layers or residual connections in between; initialise by He or Glorot"
        };
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("first_l2_norm", first), ("last_l2_norm", last)],
            threshold: &["depth_ratio", "first"],
            advice: advice.into(),
        }
    }
}

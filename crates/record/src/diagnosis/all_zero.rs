//! Layers whose gradient is zero in every element. *Missing* ones, of frozen or unused parameters, are none.
//!
//! A layer that passes nothing back silences all before it, and the weights, but not the bias, of the one after it: the layer to name
//! is the last of those that are all zero.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::AllZero,
    severity: Severity::Warn,
    action: Action::Snapshot,
    source: "SageMaker Debugger, AllZero",
    needs: &[],
    numbers: &[
        // Layers before one that begins at zero (a residual branch's last scale) have no gradient at first.
        Number { name: "open_after", default: 10.0, meaning: "steps in which all of it is zero" },
        Number { name: "close_after", default: 3.0, meaning: "steps in which it is not" },
    ],
};

struct AllZero;

pub(super) fn make(_: &Numbers) -> Box<dyn Judge> {
    Box::new(AllZero)
}

/// Whether all of the layer's gradients are zero; `None` where it has none.
fn zero(layer: usize, look: &Look<'_>) -> Option<bool> {
    let mut summaries = look
        .layers
        .places(layer)
        .filter_map(|place| look.record.tensors[place].summary())
        .filter(|summary| summary.numel > 0)
        .peekable();
    summaries.peek()?;
    Some(summaries.all(|summary| summary.zero_count == summary.numel))
}

impl Judge for AllZero {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let whole = look.layers.len();
        let observed = || (0..whole).filter_map(|layer| Some((layer, zero(layer, look)?)));
        if observed().next().is_none() {
            return;
        }
        // Where nothing has a gradient, that is one finding, and not one a layer.
        let all = observed().all(|(_, zero)| zero);
        verdicts.say(whole, all, f64::INFINITY);
        observed().for_each(|(layer, zero)| verdicts.say(layer, zero && !all, layer as f64));
    }

    fn tell(&self, layer: usize, look: &Look<'_>) -> Told {
        let whole = layer == look.layers.len();
        let advice = match whole {
            true => "the loss does not depend on the parameters any more: look for a saturated output, a clamp, or a loss that is constant".into(),
            false if look.context.saturates() => format!(
                "what follows passes nothing back: {}, or initialise it smaller",
                look.context.lower_rate(look.history.lr)
            ),
            false => format!(
                "what follows passes nothing back. Where those are dead ReLUs: {}, begin with less negative biases, or use a leaky one; else look for a part that the loss does not depend on",
                look.context.lower_rate(look.history.lr)
            ),
        };
        Told {
            path: (!whole).then(|| look.layers.name(layer).to_owned()),
            severity: whole.then_some(Severity::Critical),
            evidence: vec![],
            threshold: &["open_after"],
            advice,
        }
    }

    fn is_separate(&self) -> bool {
        true
    }
}

//! NaNs or infinities among gradients or parameters.
//!
//! Backpropagation runs from the loss to the first layer: of gradients with NaNs, the last in the order of the module is the nearest
//! to their source. Where every gradient has them at once, they were there before it began.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::NonFinite,
    severity: Severity::Critical,
    action: Action::Snapshot,
    source: "SageMaker Debugger, ExplodingTensor",
    needs: &[],
    numbers: &[
        Number { name: "open_after", default: 1.0, meaning: "steps with a NaN or an infinity" },
        Number { name: "close_after", default: 10.0, meaning: "steps without" },
    ],
};

struct NonFinite;

pub(super) fn make(_: &Numbers) -> Box<dyn Judge> {
    Box::new(NonFinite)
}

impl Judge for NonFinite {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let global = &look.record.global;
        let weights = global.parameters.map_or(0, |parameters| parameters.nonfinite_count);
        let loss = look.record.scalar("loss").is_some_and(|loss| !loss.is_finite());
        if global.numel > 0 || weights > 0 || loss {
            verdicts.say(0, global.nonfinite_count() > 0 || weights > 0 || loss, 0.0);
        }
    }

    fn tell(&self, _: usize, look: &Look<'_>) -> Told {
        let summaries =
            || look.record.tensors.iter().enumerate().filter_map(|(n, tensor)| Some((n, tensor.summary()?)));
        let observed = || summaries().filter(|(_, summary)| summary.numel > 0);
        let bad = || observed().filter(|(_, summary)| summary.has_nonfinite());
        let everywhere = bad().count() == observed().count() && observed().nth(1).is_some();
        // With no NaN among gradients the loss had it, or a move made it.
        let nearest = bad().next_back().filter(|_| !everywhere);
        let weights = look.record.global.parameters.map_or(0, |parameters| parameters.nonfinite_count);
        let mut evidence = vec![
            ("tensor_count", bad().count() as f64),
            ("nonfinite_count", look.record.global.nonfinite_count() as f64),
            ("param_nonfinite_count", weights as f64),
        ];
        let first = nearest.and_then(|(_, summary)| summary.dynamics?.first_nonfinite);
        evidence.extend(look.record.scalar("loss").map(|loss| ("loss", loss)));
        evidence.extend(first.map(|first| ("first_nonfinite_index", first.index as f64)));
        let lost = |tensor: &crate::record::TensorRecord| {
            tensor.parameter.is_some_and(|parameter| parameter.nonfinite_count > 0)
        };
        // Weights that are lost without a NaN among gradients were lost by a move.
        let lost = look.record.tensors.iter().position(lost).filter(|_| bad().next().is_none());
        Told {
            path: nearest.map(|(place, _)| place).or(lost).and_then(|place| look.path(place)),
            severity: None,
            evidence,
            threshold: &[],
            advice: format!(
                "{} or clip gradients by norm; look for log(0), 0/0 and sqrt(0) in the loss; with f16, scale the loss",
                look.context.lower_rate(look.history.lr)
            ),
        }
    }
}

//! Gradients that are huge, that double step after step, that have outgrown their own beginnings, or those of the last layer.

use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::ExplodingGradient,
    severity: Severity::Critical,
    action: Action::Snapshot,
    source: "TheDeepChecker (mean |g|, doublings); AUTOTRAINER (first to last layer); growth since the start: gradscope",
    needs: &[],
    numbers: &[
        Number { name: "open_after", default: 1.0, meaning: "observed steps" },
        Number { name: "close_after", default: 64.0, meaning: "observed steps" },
        Number { name: "abs_mean", default: 1e6, meaning: "mean |g| of a tensor" },
        Number {
            name: "doublings",
            default: 5.0,
            meaning: "steps in a row in which the norm of all gradients at least doubles",
        },
        Number {
            name: "depth_ratio",
            default: 70.0,
            meaning: "L2 of a weight's gradient over that of the last weight's",
        },
        Number { name: "growth", default: 100.0, meaning: "norm of all gradients over that of the first 32 steps" },
        Number { name: "warm_up", default: 8.0, meaning: "observed steps before depth_ratio counts" },
    ],
};

struct ExplodingGradient {
    abs_mean: f64,
    doublings: u32,
    depth_ratio: f64,
    growth: f64,
    warm_up: u32,
}

pub(super) fn make(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(ExplodingGradient {
        abs_mean: numbers.get("abs_mean"),
        doublings: numbers.count("doublings"),
        depth_ratio: numbers.get("depth_ratio"),
        growth: numbers.get("growth"),
        warm_up: numbers.count("warm_up").max(1),
    })
}

impl ExplodingGradient {
    /// The level of the gradient's L2 norm over that of the last weight.
    fn depth(&self, place: usize, look: &Look<'_>) -> Option<f64> {
        let last = *look.layers.weights().last()?;
        let norm = |place: usize| look.history.tensors[place].l2_norm(look.params[place].numel, self.warm_up);
        (place != last).then(|| Some(norm(place)? / norm(last)?)).flatten()
    }
}

impl Judge for ExplodingGradient {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let history = look.history;
        let whole = look.params.len();
        if look.record.global.numel == 0 {
            return;
        }
        let doubled = history.norm_ratios.doubled_count >= self.doublings;
        let grown = history.norm.change().is_some_and(|change| change > self.growth);
        verdicts.say(whole, doubled || grown, 0.0);
        for place in 0..look.params.len() {
            let Some(summary) = look.finite(place) else { continue };
            let abs_mean = summary.abs_mean().unwrap_or(0.0);
            let depth = (look.params[place].shape.len() >= 2).then(|| self.depth(place, look)).flatten().unwrap_or(0.0);
            let weight = (abs_mean / self.abs_mean).max(depth / self.depth_ratio);
            verdicts.say(place, weight > 1.0, weight);
        }
    }

    fn tell(&self, subject: usize, look: &Look<'_>) -> Told {
        let history = look.history;
        let mut evidence = vec![("norm", look.record.global.l2_norm)];
        let place = (subject < look.params.len()).then_some(subject);
        let mut severity = None;
        let threshold: &[&str] = match place {
            None => {
                evidence.push(("doublings", f64::from(history.norm_ratios.doubled_count)));
                evidence.extend(history.norm.change().map(|change| ("growth", change)));
                &["doublings", "growth"]
            }
            Some(place) => {
                let abs_mean = look.finite(place).and_then(|summary| summary.abs_mean());
                // Heads of one model may differ by that much: it is not lost.
                severity = abs_mean.filter(|mean| *mean <= self.abs_mean).map(|_| Severity::Warn);
                evidence.extend(abs_mean.map(|mean| ("abs_mean", mean)));
                evidence.extend(self.depth(place, look).map(|ratio| ("depth_ratio", ratio)));
                &["abs_mean", "depth_ratio"]
            }
        };
        let advice = format!(
            "clip gradients by norm; {}; normalise the inputs, or put a norm layer before it",
            look.context.lower_rate(history.lr)
        );
        Told { path: place.and_then(|place| look.path(place)), severity, evidence, threshold, advice }
    }
}

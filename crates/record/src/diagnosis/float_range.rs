//! What smaller float formats would do to the gradients, from their exponents. Needs histograms.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, HistogramOf, HistogramRecord, Rule, Severity};
use crate::stats::Format;

pub const UNDERFLOW: Spec = Spec {
    rule: Rule::UnderflowRisk,
    severity: Severity::Note,
    action: Action::Tell,
    source: "gradscope, from the exponent histogram",
    needs: &[Need::Histograms],
    numbers: &[
        Number { name: "open_after", default: 3.0, meaning: "histograms" },
        Number { name: "close_after", default: 3.0, meaning: "histograms" },
        Number { name: "flushed", default: 0.01, meaning: "share of a gradient that f16 would flush to zero" },
    ],
};

pub const OVERFLOW: Spec = Spec {
    rule: Rule::OverflowRisk,
    severity: Severity::Note,
    action: Action::Tell,
    source: "gradscope",
    needs: &[],
    numbers: &[
        Number { name: "open_after", default: 3.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "abs_max", default: 4094.0, meaning: "|g|: a sixteenth of f16's largest number" },
    ],
};

struct Underflow {
    flushed: f64,
}

pub(super) fn make_underflow(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(Underflow { flushed: numbers.get("flushed") })
}

/// Of the gradients' histograms, the place of the parameter and the share of non-zero elements that f16 would lose.
fn flushed<'a>(look: &'a Look<'_>) -> impl Iterator<Item = (usize, f64)> + 'a {
    let histograms = look.record.shapes.iter().flat_map(|shapes| &shapes.histograms);
    histograms.filter_map(|HistogramRecord { param, of, histogram }| {
        let [flushed, _] = histogram.loss_in(Format::F16).filter(|_| *of == HistogramOf::Gradient)?;
        Some((*param, flushed))
    })
}

impl Judge for Underflow {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        flushed(look).for_each(|(place, share)| verdicts.say(place, share > self.flushed, share));
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let share = flushed(look).find(|(known, _)| *known == place).map_or(f64::NAN, |(_, share)| share);
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("flushed", share)],
            threshold: &["flushed"],
            advice: "nothing in f32; before training in f16, scale the loss, or take bf16".into(),
        }
    }
}

struct Overflow {
    abs_max: f64,
}

pub(super) fn make_overflow(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(Overflow { abs_max: numbers.get("abs_max") })
}

impl Judge for Overflow {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        for place in 0..look.params.len() {
            if let Some(abs_max) = look.finite(place).and_then(|summary| summary.abs_max()).map(f64::from) {
                verdicts.say(place, abs_max > self.abs_max, abs_max);
            }
        }
    }

    fn tell(&self, place: usize, look: &Look<'_>) -> Told {
        let abs_max = look.finite(place).and_then(|summary| summary.abs_max()).map_or(f64::NAN, f64::from);
        Told {
            path: look.path(place),
            severity: None,
            evidence: vec![("abs_max", abs_max)],
            threshold: &["abs_max"],
            advice: "nothing in f32; before training in f16, clip gradients, or take bf16".into(),
        }
    }
}

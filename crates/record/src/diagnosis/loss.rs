//! What the loss itself shows: the scalar `loss` of each step. It names no layer.

use super::coverage::Need;
use super::settings::{Number, Numbers, Spec};
use super::watch::{Judge, Look, Told, Verdicts};
use crate::record::{Action, Rule, Severity};

pub const RISING: Spec = Spec {
    rule: Rule::LossRising,
    severity: Severity::Warn,
    action: Action::Snapshot,
    source: "gradscope",
    needs: &[Need::Loss],
    numbers: &[
        Number { name: "open_after", default: 16.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number {
            name: "given_back",
            default: 0.5,
            meaning: "share of the gain that is lost again; or how far above the first 32 losses, as a share of them",
        },
    ],
};

pub const NOT_DECREASING: Spec = Spec {
    rule: Rule::LossNotDecreasing,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "SageMaker Debugger, LossNotDecreasing (5%); from the start of the run only: gradscope",
    needs: &[Need::Loss],
    numbers: &[
        Number { name: "open_after", default: 1.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "better_by", default: 0.05, meaning: "share of the first losses that should be gone" },
        Number {
            name: "left",
            default: 0.6,
            meaning: "share of the first losses that is left after 64 of them: below it, later losses have to beat the 64th",
        },
        Number { name: "window", default: 300.0, meaning: "losses after which it should" },
    ],
};

pub const FLUCTUATING: Spec = Spec {
    rule: Rule::LossFluctuating,
    severity: Severity::Warn,
    action: Action::Tell,
    source: "TheDeepChecker; by quartiles of 32 losses: gradscope",
    needs: &[Need::Loss],
    numbers: &[
        Number { name: "open_after", default: 32.0, meaning: "observed steps" },
        Number { name: "close_after", default: 16.0, meaning: "observed steps" },
        Number { name: "spread", default: 0.5, meaning: "between quartiles, over the first 32 losses" },
        Number { name: "warm_up", default: 64.0, meaning: "losses before it counts" },
    ],
};

struct Rising {
    given_back: f64,
}

pub(super) fn make_rising(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(Rising { given_back: numbers.get("given_back") })
}

fn known<'a>(look: &Look<'a>) -> Option<&'a super::history::LossHistory> {
    look.history.loss.as_ref().filter(|loss| loss.is_known() && look.record.scalar("loss").is_some())
}

impl Judge for Rising {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let Some(loss) = known(look) else { return };
        // What was gained; where nothing was yet, the first losses stand for it.
        let gained = (loss.early - loss.best).max(self.given_back * loss.size());
        let rises = loss.now - loss.best > self.given_back * gained;
        verdicts.say(0, rises || loss.falls_without_bound(), 0.0);
    }

    fn tell(&self, _: usize, look: &Look<'_>) -> Told {
        let unbounded = look.history.loss.as_ref().is_some_and(super::history::LossHistory::falls_without_bound);
        match unbounded {
            true => told(
                look,
                &[],
                "check its sign; a likelihood of continuous data may need a lower bound on its variance".into(),
            ),
            false => {
                told(look, &["given_back"], look.context.lower_rate(look.history.lr) + "; check the sign of the loss")
            }
        }
    }
}

struct NotDecreasing {
    better_by: f64,
    left: f64,
    window: u32,
}

pub(super) fn make_not_decreasing(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(NotDecreasing {
        better_by: numbers.get("better_by"),
        left: numbers.get("left"),
        window: numbers.count("window"),
    })
}

impl Judge for NotDecreasing {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        // A run that goes on from a checkpoint has its gains behind it.
        let Some(loss) = known(look).filter(|loss| look.history.from_start && loss.count >= self.window) else {
            return;
        };
        let gain = self.better_by * loss.early.abs();
        // From weights that were too confident the loss comes down to chance at first, which is no learning.
        let to_chance = loss.now > loss.settled - gain && loss.best > self.left * loss.early;
        verdicts.say(0, loss.best > loss.early - gain || to_chance, 0.0);
    }

    fn tell(&self, _: usize, look: &Look<'_>) -> Told {
        let advice = "check that labels belong to their inputs, the learning rate, and that the loss depends on the output; gradients that look healthy mean that there is nothing to be learned from this data";
        told(look, &["better_by", "window"], advice.into())
    }
}

struct Fluctuating {
    spread: f64,
    warm_up: u32,
}

pub(super) fn make_fluctuating(numbers: &Numbers) -> Box<dyn Judge> {
    Box::new(Fluctuating { spread: numbers.get("spread"), warm_up: numbers.count("warm_up") })
}

impl Judge for Fluctuating {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let Some(loss) = known(look).filter(|loss| loss.count >= self.warm_up) else { return };
        // The first losses are the scale of what was to be learned; a spread as large as the loss itself is no progress's.
        verdicts.say(0, loss.spread > self.spread * loss.size() && loss.spread > loss.now.abs(), 0.0);
    }

    fn tell(&self, _: usize, look: &Look<'_>) -> Told {
        told(look, &["spread"], look.context.lower_rate(look.history.lr) + "; or take larger batches")
    }
}

fn told(look: &Look<'_>, threshold: &'static [&'static str], advice: String) -> Told {
    let figures = |loss: &super::history::LossHistory| {
        vec![("first", loss.early), ("best", loss.best), ("now", loss.now), ("spread", loss.spread)]
    };
    let evidence = look.history.loss.as_ref().map(figures).unwrap_or_default();
    Told { path: None, severity: None, evidence, threshold, advice }
}

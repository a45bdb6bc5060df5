//! Which steps are observed, and which step each is compared with.

use crate::Error;
use serde::{Deserialize, Serialize};

/// Steps to observe: those that any of its rules names.
///
/// ```
/// use gradscope::Schedule;
///
/// let schedule = Schedule::every(100).and(Schedule::window(1000..1010, 1));
/// assert!(schedule.is_due(1007) && schedule.is_due(1100) && !schedule.is_due(1011));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    /// Every `every`-th of the steps that the scope is given, whatever their numbers.
    Every(u64),
    /// From `from` to `until`, every `every`-th.
    Window { from: u64, until: u64, every: u64 },
    /// 0, 1, and so on in steps that grow: so many a decade.
    Logarithmic { per_decade: u32 },
}

impl Schedule {
    /// Every n-th of the steps that the scope is given, beginning with the first; their numbers do not matter.
    /// `every(1)` is every step. An `n` of 0 names no step; a scope refuses it when it is built.
    pub fn every(n: u64) -> Self {
        Self { rules: vec![Rule::Every(n)] }
    }

    /// No step.
    pub fn never() -> Self {
        Self::default()
    }

    /// Every n-th step of `steps` by its number, beginning with the first: `Schedule::window(1000..1100, 1)`. An `n` of
    /// 0 and an empty range name no step; a scope refuses them when it is built.
    pub fn window(steps: std::ops::Range<u64>, n: u64) -> Self {
        Self { rules: vec![Rule::Window { from: steps.start, until: steps.end, every: n }] }
    }

    /// Of the steps that the scope is given the first, the second, and then `per_decade` of each power of ten, evenly
    /// spaced on a logarithmic scale. A `per_decade` of 0 names no step; a scope refuses it when it is built.
    pub fn logarithmic(per_decade: u32) -> Self {
        Self { rules: vec![Rule::Logarithmic { per_decade }] }
    }

    /// The steps of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self
    }

    /// Whether step `step` is observed, of a loop that numbers its steps 0, 1, 2 and so on.
    pub fn is_due(&self, step: u64) -> bool {
        self.is_due_at(step, step)
    }

    /// Whether the step of that number is observed, before which the scope was given `index` steps.
    pub(super) fn is_due_at(&self, step: u64, index: u64) -> bool {
        self.rules.iter().any(|rule| match *rule {
            Rule::Every(n) => index.is_multiple_of(n),
            Rule::Window { from, until, every } => (from..until).contains(&step) && (step - from).is_multiple_of(every),
            Rule::Logarithmic { per_decade } => {
                let place = f64::from(per_decade) * (index.max(1) as f64).log10();
                let near = [place.floor(), place.ceil()];
                index == 0 || near.iter().any(|k| 10f64.powf(k / f64::from(per_decade)).round() as u64 == index)
            }
        })
    }

    /// # Errors
    /// Where a rule can't be followed.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |rule: &&Rule| match rule {
            Rule::Every(n) => *n == 0,
            Rule::Window { from, until, every } => *every == 0 || from >= until,
            Rule::Logarithmic { per_decade } => *per_decade == 0,
        };
        match self.rules.iter().find(wrong) {
            None => Ok(()),
            Some(Rule::Every(_) | Rule::Window { every: 0, .. }) => {
                Err(Error::BadSchedule { reason: "every 0-th step is none".into() })
            }
            Some(Rule::Window { from, until, .. }) => {
                Err(Error::BadSchedule { reason: format!("no step lies from {from} to before {until}") })
            }
            Some(Rule::Logarithmic { .. }) => Err(Error::BadSchedule { reason: "0 steps a decade are none".into() }),
        }
    }
}

/// Which step dynamics compare with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Span {
    /// The step right before, whatever the schedule: at that step state is captured and nothing else. A flip share
    /// then means the same at every schedule.
    #[default]
    Step,
    /// The last step that was observed.
    Sample,
    /// The first observed step of the epoch before: compared at the first observed step of each epoch, and at no
    /// other. A parameter whose own schedule leaves that step out is not compared. Epochs are those given by [`Step::epoch`](crate::Step::epoch).
    Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(schedule: &Schedule, until: u64) -> Vec<u64> {
        (0..until).filter(|&step| schedule.is_due(step)).collect()
    }

    #[test]
    fn rules_name_their_steps() {
        assert_eq!(due(&Schedule::every(3), 10), [0, 3, 6, 9]);
        assert_eq!(due(&Schedule::never(), 10), [0u64; 0]);
        assert_eq!(due(&Schedule::window(4..9, 2), 20), [4, 6, 8]);
        assert_eq!(due(&Schedule::every(10).and(Schedule::window(4..6, 1)), 20), [0, 4, 5, 10]);
        assert_eq!(due(&Schedule::logarithmic(1), 1001), [0, 1, 10, 100, 1000]);
        assert_eq!(due(&Schedule::logarithmic(4), 101), [0, 1, 2, 3, 6, 10, 18, 32, 56, 100]);
    }

    #[test]
    fn numbers_that_a_stride_never_meets_are_met_all_the_same() {
        let met = |schedule: Schedule| -> Vec<u64> {
            let numbers = (0..30).map(|index| (4 * index + 3, index));
            numbers.filter(|&(step, index)| schedule.is_due_at(step, index)).map(|(step, _)| step).collect()
        };
        assert_eq!(met(Schedule::every(10)), [3, 43, 83]);
        assert_eq!(met(Schedule::logarithmic(1)), [3, 7, 43]);
        assert_eq!(met(Schedule::window(40..50, 1)), [43, 47], "a window is of numbers");
    }

    #[test]
    fn empty_rules_are_refused() {
        let backwards = std::ops::Range { start: 5, end: 5 };
        for bad in [Schedule::every(0), Schedule::window(backwards, 1), Schedule::logarithmic(0)] {
            assert!(matches!(bad.check(), Err(Error::BadSchedule { .. })), "{bad:?}");
        }
    }
}

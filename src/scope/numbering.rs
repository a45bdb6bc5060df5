//! Numbers of steps: they ascend over a run, whatever numbers the loop gives.

use gradscope_record::record::NoticeKind;

/// Observed steps without a neighbour after which that is reported.
const STRANGERS_MAX: u32 = 3;

/// What a step is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// As it was given.
    pub given: u64,
    /// As it is recorded: above every number before.
    pub step: u64,
    /// Steps that the scope was given before, from where a resumed run goes on. Schedules count by it.
    pub index: u64,
}

/// The numbers of a run so far.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    last: Option<Number>,
    next_index: u64,
    /// What is added to numbers, since the last that did not ascend.
    offset: u64,
    /// The number that a resumed run goes on from.
    first: u64,
    neighbour_count: u32,
    stranger_count: u32,
}

impl Numbering {
    /// Of a run that begins at step `first`.
    pub fn from(first: u64) -> Self {
        Self { next_index: first, first, ..Self::default() }
    }

    /// The number after the last one.
    pub fn next(&self) -> u64 {
        self.last.map_or(self.first, |last| last.step.saturating_add(1))
    }

    /// Forgets what is added to given numbers: the next one is given as it is recorded.
    pub fn count_on(&mut self) {
        self.offset = 0;
    }

    /// What a step that is given as `given` is called. Nothing is kept before [`Numbering::take`].
    pub fn of(&self, given: u64) -> Number {
        let shifted = given.saturating_add(self.offset);
        let step = if shifted >= self.next() { shifted } else { self.next() };
        Number { given, step, index: self.next_index }
    }

    /// Keeps the number of a step that was submitted; what is to be reported of it.
    pub fn take(&mut self, number: Number) -> Option<NoticeKind> {
        let Number { given, step, index } = number;
        let last = self.last.replace(number);
        self.next_index = index.saturating_add(1);
        if step != given.saturating_add(self.offset) {
            self.offset = step.saturating_sub(given);
            let last = last.map_or(self.first.saturating_sub(1), |last| last.step);
            return Some(NoticeKind::StepsRenumbered { given, last, recorded: step });
        }
        let last = last?.step;
        if last.saturating_add(1) == step {
            self.neighbour_count += 1;
            return None;
        }
        self.stranger_count += 1;
        let report = self.neighbour_count == 0 && self.stranger_count == STRANGERS_MAX;
        report.then_some(NoticeKind::NoNeighbours { last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorded numbers, and what was reported.
    fn numbered(first: u64, given: impl IntoIterator<Item = u64>) -> (Vec<u64>, Vec<NoticeKind>) {
        let mut numbering = Numbering::from(first);
        let mut reported = vec![];
        let steps = given.into_iter().map(|given| {
            let number = numbering.of(given);
            reported.extend(numbering.take(number));
            number.step
        });
        (steps.collect(), reported)
    }

    #[test]
    fn numbers_that_ascend_stay_as_they_are() {
        assert_eq!(numbered(0, [0, 1, 2, 7, 8]), (vec![0, 1, 2, 7, 8], vec![]));
        assert_eq!(numbered(0, [u64::MAX - 1, u64::MAX]), (vec![u64::MAX - 1, u64::MAX], vec![]));
    }

    #[test]
    fn numbers_that_restart_or_stand_still_are_counted_on() {
        let renumbered = |given, last| NoticeKind::StepsRenumbered { given, last, recorded: last + 1 };
        assert_eq!(
            numbered(0, [0, 1, 2, 0, 1, 2, 0]),
            (vec![0, 1, 2, 3, 4, 5, 6], vec![renumbered(0, 2), renumbered(0, 5)])
        );
        assert_eq!(numbered(0, [0, 0, 0]), (vec![0, 1, 2], vec![renumbered(0, 0), renumbered(0, 1)]));
        assert_eq!(numbered(10, [3, 4]), (vec![10, 11], vec![renumbered(3, 9)]), "below where a run goes on");
    }

    #[test]
    fn a_stride_is_reported_once() {
        let (steps, reported) = numbered(0, (0..8).map(|n| 4 * n + 3));
        assert_eq!(steps[7], 31);
        assert_eq!(reported, [NoticeKind::NoNeighbours { last: 11 }]);
        assert_eq!(numbered(0, [0, 1, 5, 9, 13]).1, [], "some had a neighbour");
    }

    #[test]
    fn indices_count_steps_and_not_numbers() {
        let mut numbering = Numbering::from(0);
        let indices = [3, 7, 11, 11].map(|given| {
            let number = numbering.of(given);
            numbering.take(number);
            number.index
        });
        assert_eq!(indices, [0, 1, 2, 3]);
        assert_eq!(numbering.next(), 13);
    }
}

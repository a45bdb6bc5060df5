//! When a condition that holds becomes a finding, and when that ends.

/// One condition over observed steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Episode {
    held_count: u32,
    quiet_count: u32,
    first_step: u64,
    last_step: u64,
    open: bool,
}

/// An episode that is told of, or that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub first_step: u64,
    pub last_step: u64,
    pub open: bool,
}

/// Observed steps, not numbers of steps: rules hold at every schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Steps that a condition holds before it is told.
    pub open_after: u32,
    /// Steps that it does not hold before it is over.
    pub close_after: u32,
}

impl Episode {
    /// Takes one observed step. A step that says nothing of the condition is not to be given.
    pub fn observe(&mut self, step: u64, holds: bool, patience: Patience) -> Option<Change> {
        if holds {
            if self.held_count == 0 && !self.open {
                self.first_step = step;
            }
            self.held_count += 1;
            self.quiet_count = 0;
            self.last_step = step;
            if !self.open && self.held_count >= patience.open_after {
                self.open = true;
                return Some(Change { first_step: self.first_step, last_step: step, open: true });
            }
            return None;
        }
        self.held_count = 0;
        self.quiet_count += 1;
        if self.open && self.quiet_count >= patience.close_after { self.close() } else { None }
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The last step at which it held.
    pub fn last_step(&self) -> u64 {
        self.last_step
    }

    /// Ends an episode that is open.
    fn close(&mut self) -> Option<Change> {
        let Self { first_step, last_step, open, .. } = std::mem::take(self);
        open.then_some(Change { first_step, last_step, open: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { open_after: 3, close_after: 2 };

    fn changes(holds: &[bool]) -> Vec<Option<Change>> {
        let mut episode = Episode::default();
        (0..).zip(holds).map(|(step, holds)| episode.observe(10 * step, *holds, PATIENCE)).collect()
    }

    #[test]
    fn patience_is_kept_on_both_ends() {
        let (yes, no) = (true, false);
        assert_eq!(changes(&[yes, yes, no, yes, yes, no]), [None; 6], "never three in a row");
        let opened = Some(Change { first_step: 10, last_step: 30, open: true });
        let closed = Some(Change { first_step: 10, last_step: 50, open: false });
        assert_eq!(
            changes(&[no, yes, yes, yes, no, yes, no, no, no]),
            [None, None, None, opened, None, None, None, closed, None],
            "one finding an episode, whose gap of one step does not end it"
        );
    }
}

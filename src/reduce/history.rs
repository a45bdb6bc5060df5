//! What a step is compared with. One answer serves gradients, moving averages and parameters, on either engine.
//!
//! ```text
//! at each step:   begin(step, visited)      at a step that is kept, what was visited has no history until it is compared
//!                 compare(tensor, layout)   -> the earlier step, where there is one that counts; this step is kept
//! what is kept:   a step and a layout for each tensor; the state itself lies with the engine
//! lost by:        forget (another parameter, a step that failed), a change of layout, and a visit without a gradient
//!                 (a moving average is not visited: without a gradient it stays what it was)
//! ```

/// A step among those that are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ComparedStep {
    pub step: u64,
    /// The step is one that later steps are compared with, and is compared itself.
    pub keeps: bool,
    /// Only the step right before counts; otherwise the last one that was kept.
    pub neighbours: bool,
}

impl ComparedStep {
    /// Whether this step may be compared with what step `at` has left.
    pub fn reaches(self, at: u64) -> bool {
        at < self.step && (!self.neighbours || at + 1 == self.step)
    }
}

/// What a tensor is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// `None` where there is nothing to compare with.
    pub previous_step: Option<u64>,
    /// There was, in another layout: the history starts anew.
    pub is_reset: bool,
}

#[derive(Clone, Copy)]
struct Kept {
    step: u64,
    layout: u64,
}

/// The steps that the state of a list of tensors is of.
pub(crate) struct History {
    kept: Vec<Option<Kept>>,
    /// As it was when the step began.
    before: Vec<Option<Kept>>,
}

impl History {
    pub fn new(count: usize) -> Self {
        Self { kept: vec![None; count], before: vec![None; count] }
    }

    /// Begins a step. Where it is kept, the visited tensors lose their history unless they are compared at it.
    pub fn begin(&mut self, step: ComparedStep, visited: impl IntoIterator<Item = usize>) {
        self.before.clone_from(&self.kept);
        if step.keeps {
            visited.into_iter().for_each(|tensor| self.kept[tensor] = None);
        }
    }

    /// Finds what a tensor is compared with, and keeps the step for it. `layout` names the order of its elements in memory:
    /// states of two layouts are not compared.
    pub fn compare(&mut self, tensor: usize, step: ComparedStep, layout: u64) -> Compared {
        let previous = self.before[tensor].filter(|kept| step.reaches(kept.step));
        let alike = previous.filter(|kept| kept.layout == layout);
        if step.keeps {
            self.kept[tensor] = Some(Kept { step: step.step, layout });
        }
        Compared {
            previous_step: alike.filter(|_| step.keeps).map(|kept| kept.step),
            is_reset: step.keeps && previous.is_some() && alike.is_none(),
        }
    }

    /// Leaves these tensors nothing to be compared with.
    pub fn forget<'a>(&mut self, tensors: impl IntoIterator<Item = &'a usize>) {
        tensors.into_iter().for_each(|&tensor| (self.kept[tensor], self.before[tensor]) = (None, None));
    }

    pub fn forget_all(&mut self) {
        self.kept.fill(None);
        self.before.fill(None);
    }
}

/// Parameters that a later step's are compared with, each with the step it is of.
pub(crate) struct KeptParams<T> {
    kept: Vec<Option<(u64, T)>>,
}

impl<T> KeptParams<T> {
    pub fn new(count: usize) -> Self {
        Self { kept: (0..count).map(|_| None).collect() }
    }

    /// Takes the parameter that was kept, where the step is compared with it, and keeps `param` in its place.
    pub fn replace(&mut self, tensor: usize, step: ComparedStep, param: Option<T>) -> Option<(u64, T)> {
        if !step.keeps {
            return None;
        }
        let previous = std::mem::replace(&mut self.kept[tensor], param.map(|param| (step.step, param)));
        previous.filter(|(at, _)| step.reaches(*at))
    }

    pub fn forget(&mut self, tensor: usize) {
        self.kept[tensor] = None;
    }

    /// Whether a parameter is kept whose update is still to be computed.
    pub fn is_any(&self) -> bool {
        self.kept.iter().any(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(step: u64) -> ComparedStep {
        ComparedStep { step, keeps: true, neighbours: true }
    }

    fn any(step: u64) -> ComparedStep {
        ComparedStep { neighbours: false, ..neighbours(step) }
    }

    fn unkept(step: u64) -> ComparedStep {
        ComparedStep { keeps: false, ..any(step) }
    }

    /// What one tensor is compared with at each step, in layout 0.
    fn previous_steps(steps: &[ComparedStep]) -> Vec<Option<u64>> {
        let mut history = History::new(1);
        let compared = steps.iter().map(|step| {
            history.begin(*step, [0]);
            history.compare(0, *step, 0).previous_step
        });
        compared.collect()
    }

    #[test]
    fn the_step_right_before_counts_or_the_last_one_kept() {
        assert_eq!(previous_steps(&[4, 5, 7, 8].map(neighbours)), [None, Some(4), None, Some(7)]);
        assert_eq!(previous_steps(&[4, 5, 7, 8].map(any)), [None, Some(4), Some(5), Some(7)]);
    }

    #[test]
    fn a_step_that_is_not_kept_is_neither_compared_nor_compared_with() {
        assert_eq!(previous_steps(&[any(1), unkept(2), any(3)]), [None, None, Some(1)]);
    }

    #[test]
    fn a_step_is_never_compared_with_a_later_one_or_itself() {
        assert_eq!(previous_steps(&[any(5), any(5), any(2)]), [None, None, None]);
        assert_eq!(previous_steps(&[neighbours(u64::MAX - 1), neighbours(u64::MAX)]), [None, Some(u64::MAX - 1)]);
    }

    #[test]
    fn a_visit_without_a_gradient_ends_the_history_of_that_tensor_alone() {
        let mut history = History::new(2);
        for step in [1, 2, 3].map(any) {
            history.begin(step, [0, 1]);
            let compared = history.compare(0, step, 0).previous_step;
            assert_eq!(compared, (step.step > 1).then(|| step.step - 1));
            if step.step != 2 {
                assert_eq!(history.compare(1, step, 0).previous_step, None, "step {}", step.step);
            }
        }
    }

    #[test]
    fn a_tensor_that_is_not_visited_keeps_its_history() {
        let mut history = History::new(1);
        for (step, visited) in [(any(1), true), (any(2), false), (any(3), true)] {
            history.begin(step, visited.then_some(0));
            if visited {
                assert_eq!(history.compare(0, step, 0).previous_step, (step.step == 3).then_some(1));
            }
        }
    }

    #[test]
    fn a_change_of_layout_is_reported_once_and_compared_with_nothing() {
        let mut history = History::new(1);
        let compared = [(1, 7), (2, 7), (3, 8), (4, 8)].map(|(step, layout)| {
            history.begin(any(step), [0]);
            history.compare(0, any(step), layout)
        });
        let expected = [(None, false), (Some(1), false), (None, true), (Some(3), false)];
        assert_eq!(compared.map(|found| (found.previous_step, found.is_reset)), expected);
    }

    #[test]
    fn a_step_that_is_not_kept_resets_nothing() {
        let mut history = History::new(1);
        for (step, layout) in [(any(1), 7), (unkept(2), 8), (any(3), 7)] {
            history.begin(step, [0]);
            let compared = history.compare(0, step, layout);
            assert_eq!((compared.previous_step, compared.is_reset), ((step.step == 3).then_some(1), false));
        }
    }

    #[test]
    fn what_is_forgotten_is_compared_with_nothing() {
        let mut history = History::new(2);
        for tensor in 0..2 {
            history.begin(any(1), []);
            history.compare(tensor, any(1), 0);
        }
        history.forget(&[0]);
        history.begin(any(2), [0, 1]);
        assert_eq!([0, 1].map(|tensor| history.compare(tensor, any(2), 0).previous_step), [None, Some(1)]);
        history.forget_all();
        history.begin(any(3), [1]);
        assert_eq!(history.compare(1, any(3), 0), Compared::default());
    }

    #[test]
    fn params_are_compared_as_gradients_are() {
        let mut params = KeptParams::new(1);
        assert_eq!(params.replace(0, neighbours(1), Some('a')), None);
        assert_eq!(params.replace(0, neighbours(2), Some('b')), Some((1, 'a')));
        assert_eq!(params.replace(0, unkept(3), None), None);
        assert!(params.is_any(), "a step that is not kept takes nothing");
        assert_eq!(params.replace(0, neighbours(4), None), None, "step 2 is no neighbour of step 4");
        assert!(!params.is_any());
        params.replace(0, any(5), Some('c'));
        params.forget(0);
        assert_eq!(params.replace(0, any(6), None), None);
    }
}

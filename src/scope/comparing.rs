//! When tensors are looked at, and what of a step is kept to compare the next with.

use super::numbering::Number;
use super::schedule::{Schedule, Span};
use crate::reduce::history::ComparedStep;

/// What the schedule of a tensor has in mind for it at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    Observe,
    /// The next step is observed, and compares with this one.
    Prime,
    None,
}

/// What of a step is kept for the next comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keeping {
    pub compared: ComparedStep,
    /// For each tensor, whether its parameter will be compared with.
    pub params: Vec<bool>,
}

/// The schedules of a scope's tensors, and which step each compares with.
pub(super) struct Comparing {
    span: Span,
    schedules: Vec<Schedule>,
    /// For each tensor, which of the schedules is its own.
    schedule_of: Vec<usize>,
    /// Epoch of the last step that was kept; `None` before the first.
    last_epoch: Option<Option<u64>>,
}

impl Comparing {
    pub fn new(span: Span, schedules: Vec<Schedule>, schedule_of: Vec<usize>) -> Self {
        Self { span, schedules, schedule_of, last_epoch: None }
    }

    /// Whether steps are compared with the ones right before them.
    pub fn is_with_neighbours(&self) -> bool {
        self.span == Span::Step
    }

    /// For each tensor, what becomes of it at a step.
    pub fn attention(&self, Number { step, index, .. }: Number) -> Vec<Attention> {
        let of_schedule = |schedule: &Schedule| match schedule.is_due_at(step, index) {
            true => Attention::Observe,
            false if self.is_with_neighbours() && is_due_next(schedule, step, index) => Attention::Prime,
            false => Attention::None,
        };
        let of_schedules: Vec<Attention> = self.schedules.iter().map(of_schedule).collect();
        self.schedule_of.iter().map(|&schedule| of_schedules[schedule]).collect()
    }

    /// What is kept of a step. `keeps_params`: whether updates are computed.
    pub fn keeping(&self, number: Number, epoch: Option<u64>, attention: &[Attention], keeps_params: bool) -> Keeping {
        let keeps = match self.span {
            Span::Step | Span::Sample => true,
            Span::Epoch => self.last_epoch != Some(epoch) && attention.contains(&Attention::Observe),
        };
        let is_compared_next = |(attention, &schedule): (&Attention, &usize)| match self.span {
            Span::Step => is_due_next(&self.schedules[schedule], number.step, number.index),
            Span::Sample | Span::Epoch => *attention == Attention::Observe,
        };
        let params = attention.iter().zip(&self.schedule_of).map(is_compared_next);
        Keeping {
            compared: ComparedStep { step: number.step, keeps, neighbours: self.is_with_neighbours() },
            params: params.map(|compared| compared && keeps && keeps_params).collect(),
        }
    }

    /// What is kept of the parameters after the last update, which no step follows.
    pub fn keeping_last(&self, step: u64) -> Keeping {
        let compared = ComparedStep { step, keeps: true, neighbours: self.is_with_neighbours() };
        Keeping { compared, params: vec![false; self.schedule_of.len()] }
    }

    /// Notes that a step was submitted.
    pub fn submitted(&mut self, keeping: &Keeping, epoch: Option<u64>) {
        if keeping.compared.keeps {
            self.last_epoch = Some(epoch);
        }
    }
}

fn is_due_next(schedule: &Schedule, step: u64, index: u64) -> bool {
    schedule.is_due_at(step.saturating_add(1), index.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(step: u64) -> Number {
        Number { given: step, step, index: step }
    }

    /// Two tensors: one observed at every third step, one never.
    fn comparing(span: Span) -> Comparing {
        Comparing::new(span, vec![Schedule::every(3), Schedule::never()], vec![0, 1])
    }

    /// What is kept of the first tensor at steps 0 to 6: the step, and the parameter.
    fn kept(comparing: &mut Comparing, epochs: [u64; 7]) -> Vec<(bool, bool)> {
        let mut kept = vec![];
        for (step, epoch) in (0..).zip(epochs.map(Some)) {
            let attention = comparing.attention(number(step));
            assert_eq!(attention[1], Attention::None);
            let keeping = comparing.keeping(number(step), epoch, &attention, true);
            assert!(!keeping.params[1]);
            if attention.contains(&Attention::Observe) {
                comparing.submitted(&keeping, epoch);
            }
            kept.push((keeping.compared.keeps, keeping.params[0]));
        }
        kept
    }

    #[test]
    fn the_step_before_an_observed_one_is_primed() {
        let attention = |span| (0..7).map(|step| comparing(span).attention(number(step))[0]).collect::<Vec<_>>();
        let (observe, prime, none) = (Attention::Observe, Attention::Prime, Attention::None);
        assert_eq!(attention(Span::Step), [observe, none, prime, observe, none, prime, observe]);
        assert_eq!(attention(Span::Sample), [observe, none, none, observe, none, none, observe]);
    }

    #[test]
    fn parameters_are_kept_where_the_next_observed_step_compares_with_them() {
        let of_params = |span| kept(&mut comparing(span), [1; 7]).into_iter().map(|(_, params)| params).collect();
        let primed: Vec<bool> = of_params(Span::Step);
        assert_eq!(primed, [false, false, true, false, false, true, false]);
        let observed: Vec<bool> = of_params(Span::Sample);
        assert_eq!(observed, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn the_first_observed_step_of_an_epoch_is_kept() {
        // Steps 0, 3 and 6 are observed; epochs change at steps 1 and 6.
        let kept = kept(&mut comparing(Span::Epoch), [1, 2, 2, 2, 2, 2, 3]);
        let keeps: Vec<bool> = kept.into_iter().map(|(keeps, _)| keeps).collect();
        assert_eq!(keeps, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn without_epochs_the_first_observed_step_alone_is_kept() {
        let mut comparing = comparing(Span::Epoch);
        // Step 0 finds the ring full, and is not submitted.
        let keeps = [0, 1, 3, 6].map(|step| {
            let attention = comparing.attention(number(step));
            let keeping = comparing.keeping(number(step), None, &attention, false);
            if step > 0 {
                comparing.submitted(&keeping, None);
            }
            keeping.compared.keeps
        });
        assert_eq!(keeps, [true, false, true, false]);
    }

    #[test]
    fn a_schedule_that_is_no_parameters_own_makes_no_step_due() {
        let comparing = Comparing::new(Span::Step, vec![Schedule::every(1), Schedule::every(3)], vec![1, 1]);
        let due = (0..7).filter(|step| comparing.attention(number(*step)).contains(&Attention::Observe));
        assert_eq!(due.collect::<Vec<_>>(), [0, 3, 6]);
    }
}

//! Twin of `grad_reduce/updates.wgsl`: the parameter's last update, held against the gradients at its two ends.

use super::State;
use super::state::{ZERO, flips, is_near};
use gradscope_record::stats::{UpdatePartial, order_key, term};
use std::cmp::Ordering;

/// Reduces the move from `before` to `parameter`, and holds it against the gradients that `state` was left by, if any.
/// The two have one length.
pub fn moved(parameter: &[f32], before: &[f32], state: Option<&State>) -> UpdatePartial {
    let mut total = UpdatePartial::IDENTITY;
    let state = state.filter(|state| state.compares() && state.now.len() == parameter.len());
    for (index, (w, b)) in parameter.iter().zip(before).enumerate() {
        let ends = term(w.to_bits()).zip(term(b.to_bits()));
        let step = ends.map(|(w, b)| w as f32 - b as f32).filter(|step| step.is_finite());
        total.nonfinite_count += u64::from(step.is_none());
        let step = step.map_or(0.0, |step| if step.is_subnormal() { 0.0 } else { step.abs() });
        total.l1_norm += f64::from(step);
        total.l2_norm_sq += f64::from(step) * f64::from(step);
        total.abs_max = total.abs_max.max(step);
        total.unchanged_count += u64::from(w.to_bits() == b.to_bits());
        let before_value = term(b.to_bits()).unwrap_or(0.0);
        total.param_l2_norm_sq += before_value * before_value;
        // By keys, where both ends are finite: rounding has no say in which way an element went.
        let direction = ends.map(|_| order_key(w.to_bits()).cmp(&order_key(b.to_bits())));
        if let Some(state) = state {
            add_turn(&mut total, state, index, direction, step);
        }
    }
    total
}

fn add_turn(total: &mut UpdatePartial, state: &State, index: usize, direction: Option<Ordering>, step: f32) {
    let (before, now) = (state.before[index], state.now[index]);
    let rises = direction.is_some_and(Ordering::is_gt);
    let moves = direction.is_some_and(Ordering::is_ne);
    if flips(before, now) {
        let minimum = rises != (now < ZERO);
        let crossings = &mut total.crossings;
        crossings.minimum_count += u64::from(moves && minimum);
        crossings.maximum_count += u64::from(moves && !minimum);
        crossings.flip_unmoved_count += u64::from(direction.is_some() && !moves);
        crossings.flip_at_nonfinite_count += u64::from(direction.is_none());
    }
    let retained = &mut total.retained;
    for k in (0..2).filter(|k| is_near(before, *k) && is_near(now, *k)) {
        retained.moved_count[k] += u64::from(moves);
        retained.sum[k] += f64::from(step);
        retained.max[k] = retained.max[k].max(step);
    }
}

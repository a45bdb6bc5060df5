//! Twin of `grad_reduce.wgsl` and `tensor_reduce.wgsl`: a gradient, a parameter or its move in host memory, reduced.

use crate::stats::{
    FirstNonfinite, INFINITY_BITS, MAGNITUDE_MASK, MIN_NORMAL_BITS, Moments, NonfiniteKind, Partial, UpdatePartial,
    WeightPartial, order_key, term, weight_threshold_bits,
};

/// What a step leaves of an element for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Nonfinite,
    Zero,
    Signed {
        negative: bool,
        /// Whether it is near zero, for each epsilon.
        near: [bool; 2],
    },
}

impl Class {
    fn of(bits: u32, thresholds: [u32; 2]) -> Self {
        match bits & MAGNITUDE_MASK {
            0 => Self::Zero,
            INFINITY_BITS.. => Self::Nonfinite,
            magnitude => Self::Signed { negative: bits >> 31 == 1, near: thresholds.map(|t| magnitude <= t) },
        }
    }

    fn is_near_zero(self, k: usize) -> bool {
        self == Self::Zero || matches!(self, Self::Signed { near, .. } if near[k])
    }

    fn negative(self) -> Option<bool> {
        match self {
            Self::Signed { negative, .. } => Some(negative),
            Self::Nonfinite | Self::Zero => None,
        }
    }
}

fn flips(before: Class, now: Class) -> bool {
    before.negative().zip(now.negative()).is_some_and(|(before, now)| before != now)
}

/// The classes of a gradient's elements at the last steps that were reduced.
#[derive(Clone, Debug, Default)]
pub struct State {
    now: Vec<Class>,
    before: Vec<Class>,
    /// The step before that.
    earlier: Vec<Class>,
    /// The gradient itself.
    gradient: Vec<f32>,
}

/// Reduces `gradient` and leaves its classes in `state` for the next step.
///
/// It is compared with `state` where that holds a gradient of the same length, and not at all
/// (`previous_numel` = 0) otherwise. `threshold_bits` are those of [`Epsilons`](crate::stats::Epsilons).
pub fn reduce(gradient: &[f32], threshold_bits: [u32; 2], state: &mut State) -> Partial {
    let now: Vec<Class> = gradient.iter().map(|g| Class::of(g.to_bits(), threshold_bits)).collect();
    let before = std::mem::replace(&mut state.now, now);
    state.earlier = std::mem::replace(&mut state.before, before);
    let mut total = Partial::IDENTITY;
    for (index, (g, class)) in gradient.iter().zip(&state.now).enumerate() {
        add(&mut total, index as u64, g.to_bits(), *class);
    }
    total.moments = moments(gradient, total.sum, total.finite_count());
    if state.compares() {
        total.previous_numel = total.numel;
        state.before.iter().zip(&state.now).for_each(|(before, now)| add_pair(&mut total, *before, *now));
        for (g, p) in gradient.iter().zip(&state.gradient) {
            let p = term(p.to_bits());
            total.previous_l2_norm_sq += p.map_or(0.0, |p| p * p);
            total.dot_previous += term(g.to_bits()).zip(p).map_or(0.0, |(g, p)| g * p);
        }
    }
    state.gradient = gradient.to_vec();
    total
}

impl State {
    fn compares(&self) -> bool {
        self.before.len() == self.now.len()
    }
}

/// By two passes, the first of which has left `sum` and `count` of the finite values.
fn moments(values: &[f32], sum: f64, count: u64) -> Moments {
    let mean = if count > 0 { sum / count as f64 } else { 0.0 };
    let m2 = values.iter().filter_map(|x| term(x.to_bits())).map(|x| (x - mean) * (x - mean)).sum();
    Moments { count, mean, m2 }
}

fn add(total: &mut Partial, index: u64, bits: u32, class: Class) {
    let magnitude = bits & MAGNITUDE_MASK;
    total.numel += 1;
    let Some(value) = term(bits) else {
        let kind = match bits {
            INFINITY_BITS => NonfiniteKind::PosInf,
            _ if magnitude == INFINITY_BITS => NonfiniteKind::NegInf,
            _ => NonfiniteKind::Nan,
        };
        total.nan_count += u64::from(kind == NonfiniteKind::Nan);
        total.pos_inf_count += u64::from(kind == NonfiniteKind::PosInf);
        total.neg_inf_count += u64::from(kind == NonfiniteKind::NegInf);
        total.first_nonfinite = total.first_nonfinite.or(Some(FirstNonfinite { index, kind }));
        return;
    };
    total.min_key = total.min_key.min(order_key(bits));
    total.max_key = total.max_key.max(order_key(bits));
    total.l1_norm += value.abs();
    total.l2_norm_sq += value * value;
    total.sum += value;
    for (k, count) in total.near_zero_count.iter_mut().enumerate() {
        *count += u64::from(class.is_near_zero(k));
    }
    if let Some(negative) = class.negative() {
        total.abs_min_bits = total.abs_min_bits.min(magnitude);
        total.subnormal_count += u64::from(magnitude < MIN_NORMAL_BITS);
        total.positive_count += u64::from(!negative);
        total.negative_count += u64::from(negative);
    }
}

fn add_pair(total: &mut Partial, before: Class, now: Class) {
    let (was_lost, is_lost) = (before == Class::Nonfinite, now == Class::Nonfinite);
    let flip = flips(before, now);
    total.signed_pair_count += u64::from(before.negative().is_some() && now.negative().is_some());
    total.sign_flip_count += u64::from(flip);
    let t = &mut total.transitions;
    t.became_nonfinite_count += u64::from(!was_lost && is_lost);
    t.recovered_count += u64::from(was_lost && !is_lost);
    for k in 0..2 {
        let (was_near, is_near) = (before.is_near_zero(k), now.is_near_zero(k));
        t.retained_count[k] += u64::from(was_near && is_near);
        t.released_count[k] += u64::from(was_near && !is_near && !is_lost);
        t.captured_count[k] += u64::from(!was_near && !was_lost && is_near);
        t.near_zero_to_nonfinite_count[k] += u64::from(was_near && is_lost);
        t.nonfinite_to_near_zero_count[k] += u64::from(was_lost && is_near);
        t.flip_in_retained_count[k] += u64::from(flip && was_near && is_near);
    }
}

/// Reduces a parameter.
pub fn weigh(parameter: &[f32]) -> WeightPartial {
    let threshold_bits = weight_threshold_bits();
    let mut total = WeightPartial { numel: parameter.len() as u64, ..WeightPartial::IDENTITY };
    for bits in parameter.iter().map(|w| w.to_bits()) {
        let Some(value) = term(bits) else {
            total.nonfinite_count += 1;
            continue;
        };
        total.min_key = total.min_key.min(order_key(bits));
        total.max_key = total.max_key.max(order_key(bits));
        total.l1_norm += value.abs();
        total.l2_norm_sq += value * value;
        total.sum += value;
            total.near_zero_count += u64::from(bits & MAGNITUDE_MASK <= threshold_bits);
    }
    total.moments = moments(parameter, total.sum, total.numel - total.nonfinite_count);
    total
}

/// Reduces the move from `before` to `parameter`, and holds it against the gradients that `state` was left by, if any.
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
        total.weight_l2_norm_sq += before_value * before_value;
        // By keys, where both ends are finite: rounding has no say in which way an element went.
        let direction = ends.map(|_| order_key(w.to_bits()).cmp(&order_key(b.to_bits())));
        if let Some(state) = state {
            add_turn(&mut total, state, index, direction, step);
        }
    }
    total
}

fn add_turn(total: &mut UpdatePartial, state: &State, index: usize, direction: Option<std::cmp::Ordering>, step: f32) {
    let (before, now) = (state.before[index], state.now[index]);
    let rises = direction.is_some_and(std::cmp::Ordering::is_gt);
    let moves = direction.is_some_and(std::cmp::Ordering::is_ne);
    if flips(before, now) {
        let minimum = rises != (now.negative() == Some(true));
        let crossings = &mut total.crossings;
        crossings.minimum_count += u64::from(moves && minimum);
        crossings.maximum_count += u64::from(moves && !minimum);
        crossings.flip_unmoved_count += u64::from(direction.is_some() && !moves);
        crossings.flip_at_nonfinite_count += u64::from(direction.is_none());
    }
    for (k, retained) in total.retained.iter_mut().enumerate() {
        if before.is_near_zero(k) && now.is_near_zero(k) {
            retained.moved_count += u64::from(moves);
            retained.sum += f64::from(step);
            retained.max = retained.max.max(step);
        }
    }
    let seed_flip = |earlier: &Class| flips(*earlier, before) && earlier.is_near_zero(1) && before.is_near_zero(1);
    if state.earlier.len() == state.now.len() && seed_flip(&state.earlier[index]) {
        let minimum = rises != (before.negative() == Some(true));
        total.seed.minimum_count += u64::from(moves && minimum);
        total.seed.maximum_count += u64::from(moves && !minimum);
    }
}

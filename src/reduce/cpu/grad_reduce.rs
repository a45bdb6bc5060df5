//! Twin of `grad_reduce.wgsl` and `tensor_reduce.wgsl`: a gradient, a parameter or its move in host memory, reduced.

use gradscope_record::stats::{
    FirstNonfinite, INFINITY_BITS, MAGNITUDE_MASK, MIN_NORMAL_BITS, Moments, NonfiniteKind, Partial, UpdatePartial,
    WeightPartial, order_key, term, weight_threshold_bits,
};

/// One of eight: negative and large, small or tiny, zero, positive and tiny, small or large, non-finite. What becomes of
/// elements from step to step is a sum over the cells of an 8 x 8 matrix of these.
type Class = u8;
const CLASS_COUNT: usize = 8;
const ZERO: Class = 3;
const NONFINITE: Class = 7;

/// By the magnitudes at or under which an element is tiny, and small.
fn class_of(bits: u32, thresholds: [u32; 2]) -> Class {
    let magnitude = bits & MAGNITUDE_MASK;
    let size =
        Class::from(magnitude > 0) + Class::from(magnitude > thresholds[0]) + Class::from(magnitude > thresholds[1]);
    let signed = if bits >> 31 == 1 { ZERO - size } else { ZERO + size };
    if magnitude < INFINITY_BITS { signed } else { NONFINITE }
}

/// Whether it is near zero at the `k`-th epsilon.
fn is_near(class: Class, k: usize) -> bool {
    class != NONFINITE && class.abs_diff(ZERO) <= 1 + k as Class
}

fn is_signed(class: Class) -> bool {
    class != ZERO && class != NONFINITE
}

fn flips(before: Class, now: Class) -> bool {
    is_signed(before) && is_signed(now) && (before < ZERO) != (now < ZERO)
}

/// The classes of a gradient's elements at the last two steps that were reduced.
#[derive(Clone, Debug, Default)]
pub struct State {
    now: Vec<Class>,
    before: Vec<Class>,
    /// The gradient itself.
    gradient: Vec<f32>,
}

/// Reduces `gradient` and leaves its classes in `state` for the next step.
///
/// It is compared with `state` where that holds a gradient of the same length, and not at all (`previous_numel` = 0)
/// otherwise. `threshold_bits` are those of [`Epsilons`](gradscope_record::stats::Epsilons). `state` also keeps a copy of the
/// gradient, 4 bytes an element.
pub fn reduce(gradient: &[f32], threshold_bits: [u32; 2], state: &mut State) -> Partial {
    let now: Vec<Class> = gradient.iter().map(|g| class_of(g.to_bits(), threshold_bits)).collect();
    state.before = std::mem::replace(&mut state.now, now);
    let mut total = values(gradient);
    let mut counts = [0; CLASS_COUNT];
    state.now.iter().for_each(|class| counts[usize::from(*class)] += 1);
    let count = |yes: &dyn Fn(Class) -> bool| (0..8).filter(|c| yes(*c)).map(|c| counts[usize::from(c)]).sum::<u64>();
    total.near_zero_count = [0, 1].map(|k| count(&|class| is_near(class, k)));
    total.negative_count = count(&|class| class < ZERO);
    total.positive_count = count(&|class| is_signed(class) && class > ZERO);
    if state.compares() {
        total.previous_numel = total.numel;
        add_transitions(&mut total, &state.transitions());
        for (g, p) in gradient.iter().zip(&state.gradient) {
            let p = term(p.to_bits());
            total.previous_l2_norm_sq += p.map_or(0.0, |p| p * p);
            total.dot_previous += term(g.to_bits()).zip(p).map_or(0.0, |(g, p)| g * p);
        }
    }
    state.gradient.clear();
    state.gradient.extend_from_slice(gradient);
    total
}

impl State {
    fn compares(&self) -> bool {
        self.before.len() == self.now.len()
    }

    /// Elements by their class before and their class now.
    fn transitions(&self) -> [[u64; CLASS_COUNT]; CLASS_COUNT] {
        let mut matrix = [[0; CLASS_COUNT]; CLASS_COUNT];
        self.before.iter().zip(&self.now).for_each(|(p, g)| matrix[usize::from(*p)][usize::from(*g)] += 1);
        matrix
    }
}

/// Sums, extremes and what is not finite.
fn values(gradient: &[f32]) -> Partial {
    let mut total = Partial { numel: gradient.len() as u64, ..Partial::IDENTITY };
    for (index, bits) in gradient.iter().map(|g| g.to_bits()).enumerate() {
        let magnitude = bits & MAGNITUDE_MASK;
        let Some(value) = term(bits) else {
            let kind = NonfiniteKind::of(f32::from_bits(bits));
            total.nan_count += u64::from(kind == NonfiniteKind::Nan);
            total.pos_inf_count += u64::from(kind == NonfiniteKind::PosInf);
            total.neg_inf_count += u64::from(kind == NonfiniteKind::NegInf);
            total.dynamics.first_nonfinite.get_or_insert(FirstNonfinite { index: index as u64, kind });
            continue;
        };
        total.min_key = total.min_key.min(order_key(bits));
        total.max_key = total.max_key.max(order_key(bits));
        total.l1_norm += value.abs();
        total.l2_norm_sq += value * value;
        total.dynamics.sum += value;
        if magnitude > 0 {
            total.dynamics.abs_min_rank = total.dynamics.abs_min_rank.min(magnitude - 1);
            total.dynamics.subnormal_count += u64::from(magnitude < MIN_NORMAL_BITS);
        }
    }
    total.dynamics.moments = moments(gradient, total.dynamics.sum, total.finite_count());
    total
}

fn add_transitions(total: &mut Partial, matrix: &[[u64; CLASS_COUNT]; CLASS_COUNT]) {
    for (before, now) in (0..8).flat_map(|before| (0..8).map(move |now| (before, now))) {
        let count = matrix[usize::from(before)][usize::from(now)];
        let add = |total: &mut u64, yes: bool| *total += if yes { count } else { 0 };
        let (was_lost, is_lost) = (before == NONFINITE, now == NONFINITE);
        let flip = flips(before, now);
        add(&mut total.signed_pair_count, is_signed(before) && is_signed(now));
        add(&mut total.sign_flip_count, flip);
        let t = &mut total.dynamics.transitions;
        add(&mut t.became_nonfinite_count, !was_lost && is_lost);
        add(&mut t.recovered_count, was_lost && !is_lost);
        for k in 0..2 {
            let (was_near, near) = (is_near(before, k), is_near(now, k));
            add(&mut t.retained_count[k], was_near && near);
            add(&mut t.released_count[k], was_near && !near && !is_lost);
            add(&mut t.captured_count[k], !was_near && !was_lost && near);
            add(&mut t.near_zero_to_nonfinite_count[k], was_near && is_lost);
            add(&mut t.nonfinite_to_near_zero_count[k], was_lost && near);
            add(&mut t.flip_in_retained_count[k], flip && was_near && near);
        }
    }
}

/// By two passes, the first of which has left `sum` and `count` of the finite values.
fn moments(values: &[f32], sum: f64, count: u64) -> Moments {
    let mean = if count > 0 { sum / count as f64 } else { 0.0 };
    let mut moments = Moments { count, mean, ..Moments::IDENTITY };
    for distance in values.iter().filter_map(|x| term(x.to_bits())).map(|x| x - mean) {
        let square = distance * distance;
        moments.m2 += square;
        moments.m3 += square * distance;
        moments.m4 += square * square;
    }
    moments
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_have_the_classes_as_their_margins() {
        let thresholds = [1e-7f32.to_bits(), 1e-5f32.to_bits()];
        let corpus =
            [-1.0, -1e-6, -1e-8, -0.0, 0.0, 1e-45, 1e-8, 1e-6, 1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let pairs: Vec<(f32, f32)> = corpus.iter().flat_map(|p| corpus.iter().map(|g| (*p, *g))).collect();
        let (before, now): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let mut state = State::default();
        reduce(&before, thresholds, &mut state);
        reduce(&now, thresholds, &mut state);
        let matrix = state.transitions();
        let classes = |values: &[f32]| {
            let mut counts = [0; CLASS_COUNT];
            values.iter().for_each(|x| counts[usize::from(class_of(x.to_bits(), thresholds))] += 1);
            counts
        };
        assert_eq!(matrix.map(|row| row.iter().sum::<u64>()), classes(&before), "rows");
        let columns = [0, 1, 2, 3, 4, 5, 6, 7].map(|now: usize| matrix.iter().map(|row| row[now]).sum::<u64>());
        assert_eq!(columns, classes(&now), "columns");
        assert_eq!(classes(&corpus), [1, 1, 1, 2, 2, 1, 1, 3]);
    }
}

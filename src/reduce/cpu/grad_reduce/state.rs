//! Twin of `grad_reduce/state.wgsl`: what a gradient leaves for the next step, and what has become of it since.

use gradscope_record::stats::{INFINITY_BITS, MAGNITUDE_MASK, Partial};

/// One of eight: negative and large, small or tiny, zero, positive and tiny, small or large, non-finite. What becomes of
/// elements from step to step is a sum over the cells of an 8 x 8 matrix of these.
pub(super) type Class = u8;
const CLASS_COUNT: usize = 8;
pub(super) const ZERO: Class = 3;
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
pub(super) fn is_near(class: Class, k: usize) -> bool {
    class != NONFINITE && class.abs_diff(ZERO) <= 1 + k as Class
}

fn is_signed(class: Class) -> bool {
    class != ZERO && class != NONFINITE
}

pub(super) fn flips(before: Class, now: Class) -> bool {
    is_signed(before) && is_signed(now) && (before < ZERO) != (now < ZERO)
}

/// The classes of a gradient's elements at the last two steps that were reduced.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) now: Vec<Class>,
    pub(super) before: Vec<Class>,
    /// The gradient itself.
    pub(super) gradient: Vec<f32>,
}

impl State {
    /// Whether the two last gradients have one length.
    pub(super) fn compares(&self) -> bool {
        self.before.len() == self.now.len()
    }

    /// Elements by their class before and their class now.
    fn transitions(&self) -> [[u64; CLASS_COUNT]; CLASS_COUNT] {
        let mut matrix = [[0; CLASS_COUNT]; CLASS_COUNT];
        self.before.iter().zip(&self.now).for_each(|(p, g)| matrix[usize::from(*p)][usize::from(*g)] += 1);
        matrix
    }

    /// Takes the classes of the next gradient.
    pub(super) fn classify(&mut self, gradient: &[f32], threshold_bits: [u32; 2]) {
        let now = gradient.iter().map(|g| class_of(g.to_bits(), threshold_bits)).collect();
        self.before = std::mem::replace(&mut self.now, now);
    }

    /// Adds what the classes of the last gradient count.
    pub(super) fn add_classes(&self, total: &mut Partial) {
        let mut counts = [0; CLASS_COUNT];
        self.now.iter().for_each(|class| counts[usize::from(*class)] += 1);
        let count =
            |yes: &dyn Fn(Class) -> bool| (0..8).filter(|c| yes(*c)).map(|c| counts[usize::from(c)]).sum::<u64>();
        total.near_zero_count = [0, 1].map(|k| count(&|class| is_near(class, k)));
        total.negative_count = count(&|class| class < ZERO);
        total.positive_count = count(&|class| is_signed(class) && class > ZERO);
    }

    /// Adds what became of elements since the gradient before.
    pub(super) fn add_transitions(&self, total: &mut Partial) {
        let matrix = self.transitions();
        for (before, now) in (0..8).flat_map(|before| (0..8).map(move |now| (before, now))) {
            let count = matrix[usize::from(before)][usize::from(now)];
            let add = |total: &mut u64, yes: bool| *total += if yes { count } else { 0 };
            let (was_lost, is_lost) = (before == NONFINITE, now == NONFINITE);
            let flip = flips(before, now);
            add(&mut total.signed_pair_count, is_signed(before) && is_signed(now));
            add(&mut total.sign_flip_count, flip);
            add(&mut total.dynamics.became_zero_count, is_signed(before) && now == ZERO);
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
        state.classify(&before, thresholds);
        state.classify(&now, thresholds);
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

//! What must hold whatever the input: shader = twin = oracle, and the laws of the monoid.

use crate::fixture::{Random, check, device, observe};
use crate::oracle;
use gradscope::cpu::grad_reduce::{State, moved, reduce, weigh};
use gradscope::stats::{Epsilons, Partial, UpdatePartial, WeightPartial};
use gradscope::{Schedule, Scope};
use proptest::prelude::*;

/// A seed, lengths of a few tensors, and which are missing at which step.
fn cases() -> impl Strategy<Value = (u64, Vec<usize>, u64)> {
    let len = prop_oneof![1..20usize, 240..270usize, 8180..8200usize, 1..40_000usize];
    (any::<u64>(), prop::collection::vec(len, 1..5), any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shader_is_twin_is_oracle((seed, lens, missing) in cases()) {
        let mut random = Random::new(seed);
        let steps: Vec<Vec<_>> = (0..4)
            .map(|step| {
                let mut values = |tensor: usize, len: usize| {
                    let absent = missing >> (step * 8 + tensor) & 7 == 7;
                    let poisoned = random.below(2) == 0;
                    let values = if poisoned { random.poisons(len) } else { random.gradients(len) };
                    (!absent).then_some(values)
                };
                lens.iter().enumerate().map(|(tensor, len)| values(tensor, *len)).collect()
            })
            .collect();
        let device = device();
        check(&device, |builder| builder, &lens, &steps);
    }

    #[test]
    fn signs_survive_scaling_by_a_power_of_two(seed in any::<u64>(), power in -20..20i32) {
        let values = Random::new(seed).gradients(3000);
        let scaled: Vec<f32> = values.iter().map(|x| x * 2f32.powi(power)).collect();
        let device = device();
        let records = observe(&device, Scope::builder(&device), &[3000], &[vec![Some(values)], vec![Some(scaled)]]);
        let [a, b] = [0, 1].map(|step| *records[step].tensors[0].summary().unwrap());
        prop_assert_eq!((a.positive_count, a.negative_count, a.zero_count), (b.positive_count, b.negative_count, b.zero_count));
        prop_assert_eq!(b.sign_flip_count, Some(0));
        prop_assert_eq!(b.signed_pair_count, Some(a.positive_count + a.negative_count));
    }

    #[test]
    fn scaling_by_a_power_of_two_shifts_the_exponents(seed in any::<u64>(), power in -20..20i32) {
        // From 1e-9 to 1, so that nothing becomes subnormal.
        let values = Random::new(seed).gradients(3000);
        let scaled: Vec<f32> = values.iter().map(|x| x * 2f32.powi(power)).collect();
        let device = device();
        let builder = Scope::builder(&device).histograms(Schedule::every(1));
        let records = observe(&device, builder, &[3000], &[vec![Some(values)], vec![Some(scaled)]]);
        let [a, b] = [0, 1].map(|step| &records[step].shapes.as_ref().unwrap().histograms[0].histogram.exponent_count);
        prop_assert_eq!(a[0], b[0], "zeros stay where they are");
        for bin in 60..190usize {
            prop_assert_eq!(a[bin], b[(bin as i32 + power) as usize], "bin {}", bin);
        }
    }

    #[test]
    fn parts_of_weights_and_moves_combine_to_the_whole(seed in any::<u64>(), cut in 0..5000usize) {
        let mut random = Random::new(seed);
        let [p, g, before, now] = [0; 4].map(|_| random.poisons(5000));
        let lift = |range: std::ops::Range<usize>| {
            let mut state = State::default();
            let thresholds = Epsilons::default().threshold_bits();
            reduce(&p[range.clone()], thresholds, &mut state);
            let gradient = reduce(&g[range.clone()], thresholds, &mut state);
            (gradient, weigh(&now[range.clone()]), moved(&now[range.clone()], &before[range], Some(&state)))
        };
        let (whole, a, b) = (lift(0..5000), lift(0..cut), lift(cut..5000));
        oracle::assert_summary(&a.0.combine(b.0).finish(), &whole.0.finish(), "gradients");
        oracle::assert_weight(&a.1.combine(b.1).finish(), &whole.1.finish(), "weights");
        let finish = |partial: UpdatePartial| partial.finish(0, true);
        oracle::assert_move(&finish(a.2.combine(b.2)), &finish(whole.2), 5000, "moves");
        prop_assert_eq!(UpdatePartial::IDENTITY.combine(a.2), a.2);
        prop_assert_eq!(WeightPartial::IDENTITY.combine(a.1), a.1);
    }

    #[test]
    fn any_split_combines_to_the_whole(seed in any::<u64>(), cuts in prop::collection::vec(0..5000usize, 2)) {
        let values = Random::new(seed).poisons(5000);
        let lift = |part: &[f32]| reduce(part, Epsilons::default().threshold_bits(), &mut State::default());
        let (a, b) = (cuts[0].min(cuts[1]), cuts[0].max(cuts[1]));
        let [x, y, z] = [&values[..a], &values[a..b], &values[b..]].map(lift);
        let left = x.combine(y).combine(z);
        let right = x.combine(y.combine(z));
        let whole = lift(&values);
        for combined in [left, right] {
            oracle::assert_summary(&combined.finish(), &whole.finish(), "combined");
        }
        prop_assert_eq!(left.combine(Partial::IDENTITY), left);
        prop_assert_eq!(Partial::IDENTITY.combine(left), left);
    }
}

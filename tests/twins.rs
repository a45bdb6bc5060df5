//! The CPU twins against the oracle, without a device: what `make miri` interprets.

#[path = "support/filled.rs"]
mod filled;
#[path = "suite/oracle.rs"]
mod oracle;

use fastrand::Rng;
use filled::filled;
use gradscope::TensorSummary;
use gradscope::cpu::grad_reduce::{State, moved, reduce, weigh};
use gradscope::stats::Epsilons;
use proptest::prelude::*;

/// Any bits, and what reductions stumble over.
fn values(random: &mut Rng, len: usize) -> Vec<f32> {
    const ODD: [f32; 8] = [0.0, -0.0, 1e-45, 1e-7, f32::MAX, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let mut value = || match random.u8(..4) {
        0 => f32::from_bits(random.u32(..)),
        1 => ODD[random.usize(..ODD.len())],
        _ => random.f32() - 0.5,
    };
    (0..len).map(|_| value()).collect()
}

#[test]
fn twins_are_the_oracle_and_their_parts_are_the_whole() {
    let epsilons = Epsilons::default();
    let (thresholds, bounds) = (epsilons.threshold_bits(), epsilons.values());
    let mut random = Rng::with_seed(1);
    for len in [1, 2, 31, 32, 33, 64, 65, 257] {
        let [p, g, before, now] = [0; 4].map(|_| values(&mut random, len));
        let lift = |range: std::ops::Range<usize>| {
            let mut state = State::default();
            reduce(&p[range.clone()], thresholds, &mut state);
            let gradient = reduce(&g[range.clone()], thresholds, &mut state);
            (gradient, weigh(&now[range.clone()]), moved(&now[range.clone()], &before[range], Some(&state)))
        };
        let (gradient, weight, update) = lift(0..len);
        let what = format!("{len} elements");
        oracle::assert_summary(&gradient.finish(), &oracle::summarise(&g, Some(&p), bounds), &what);
        oracle::assert_weight(&weight.finish(), &oracle::weigh(&now), &what);
        let expected = oracle::moved(&now, &before, Some((&p, &g)), bounds, 0);
        oracle::assert_move(&update.finish(0, true), &expected, len as u64, &what);
        let cut = random.usize(..=len);
        let (a, b) = (lift(0..cut), lift(cut..len));
        oracle::assert_summary(&a.0.combine(b.0).finish(), &gradient.finish(), &what);
        oracle::assert_weight(&a.1.combine(b.1).finish(), &weight.finish(), &what);
        oracle::assert_move(&a.2.combine(b.2).finish(0, true), &update.finish(0, true), len as u64, &what);
    }
}

/// Ordinary numbers, and now and then one that is not.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -1e3f32..1e3,
        2 => -1e-6f32..1e-6,
        1 => prop::sample::select(vec![0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MAX]),
    ]
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-12 * scale.max(f64::MIN_POSITIVE)
}

proptest! {
    #[test]
    fn parts_summed_up_on_their_own_make_the_whole(
        steps in prop::collection::vec(prop::collection::vec(value(), 40), 2..4),
        cut in 0usize..=40,
    ) {
        let thresholds = Epsilons::default().threshold_bits();
        let [mut whole, mut left, mut right] = [State::default(), State::default(), State::default()];
        for values in &steps {
            let whole = reduce(values, thresholds, &mut whole).finish();
            let left = reduce(&values[..cut], thresholds, &mut left).finish();
            let right = reduce(&values[cut..], thresholds, &mut right).finish();
            let union = left.combine(&right);
            let (ours, theirs) = (union.dynamics.unwrap(), whole.dynamics.unwrap());
            prop_assert!(close(union.l1_norm, whole.l1_norm, whole.l1_norm));
            prop_assert!(close(union.l2_norm, whole.l2_norm, whole.l2_norm));
            prop_assert!(close(ours.sum, theirs.sum, whole.l1_norm));
            prop_assert!(close(ours.std.unwrap_or(0.0), theirs.std.unwrap_or(0.0), 1e3 * whole.l2_norm));
            if let (Some(ours), Some(theirs)) = (ours.kurtosis, theirs.kurtosis) {
                prop_assert!(close(ours, theirs, 1e4 * theirs), "{ours} {theirs}");
            }
            if let (Some(ours), Some(theirs), Some(kurtosis)) = (ours.skewness, theirs.skewness, theirs.kurtosis) {
                prop_assert!(close(ours, theirs, 1e4 * kurtosis), "{ours} {theirs}");
            }
            let same = |summary: &TensorSummary| filled!(*summary => {
                l1_norm: 0.0,
                l2_norm: 0.0,
                cosine_previous: None,
                dynamics: summary.dynamics.map(|dynamics| filled!(dynamics => {
                    sum: 0.0,
                    std: None,
                    skewness: None,
                    kurtosis: None,
                })),
            });
            // An empty part was never compared with anything.
            if cut > 0 && cut < 40 {
                prop_assert_eq!(same(&union), same(&whole));
            }
        }
    }
}

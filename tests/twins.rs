//! The CPU twins against the oracle, without a device: what `make miri` interprets.

#[path = "suite/oracle.rs"]
mod oracle;

use fastrand::Rng;
use gradscope::cpu::grad_reduce::{State, moved, reduce, weigh};
use gradscope::stats::Epsilons;

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

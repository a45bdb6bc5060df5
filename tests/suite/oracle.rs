//! The naive oracle: too plain to be wrong, in f64, one loop a statistic. And how near is near enough.

use crate::filled::filled;
use gradscope::TensorSummary;
use gradscope::stats::{
    Crossings, Dynamics, FirstNonfinite, NonfiniteKind, ParameterSummary, RetainedMoves, Transitions, UpdateSummary,
};

/// What an element adds to a sum: subnormals nothing.
fn term(x: f32) -> f64 {
    if x.is_subnormal() { 0.0 } else { f64::from(x) }
}

fn finite(values: &[f32]) -> Vec<f32> {
    values.iter().copied().filter(|x| x.is_finite()).collect()
}

fn positive_zero(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x }
}

/// By two passes.
fn std(values: &[f32]) -> Option<f64> {
    let terms: Vec<f64> = finite(values).into_iter().map(term).collect();
    let mean = terms.iter().sum::<f64>() / terms.len() as f64;
    let squares: f64 = terms.iter().map(|x| (x - mean) * (x - mean)).sum();
    (!terms.is_empty()).then(|| (squares / terms.len() as f64).sqrt())
}

/// Skewness and kurtosis.
fn shape(values: &[f32]) -> [Option<f64>; 2] {
    let terms: Vec<f64> = finite(values).into_iter().map(term).collect();
    let mean = terms.iter().sum::<f64>() / terms.len() as f64;
    let std = std(values).filter(|std| *std > 1e-5 * mean.abs());
    let moment =
        |std: f64, power: i32| terms.iter().map(|x| ((x - mean) / std).powi(power)).sum::<f64>() / terms.len() as f64;
    [3, 4].map(|power| std.map(|std| moment(std, power)))
}

fn near(x: f32, eps: f64) -> bool {
    x.is_finite() && f64::from(x.abs()) < eps
}

fn flips(a: f32, b: f32) -> bool {
    let signed = |x: f32| x.is_finite() && x != 0.0;
    signed(a) && signed(b) && a.is_sign_negative() != b.is_sign_negative()
}

fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let norm = |x: &[f32]| finite(x).into_iter().map(|x| term(x) * term(x)).sum::<f64>().sqrt();
    let pairs = a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite());
    let dot: f64 = pairs.map(|(a, b)| term(*a) * term(*b)).sum();
    let norms = norm(a) * norm(b);
    (norms > 0.0).then(|| (dot / norms).clamp(-1.0, 1.0))
}

/// What `previous -> now` must be summarised as.
pub fn summarise(now: &[f32], previous: Option<&[f32]>, eps: [f64; 2]) -> TensorSummary {
    let count = |yes: &dyn Fn(f32) -> bool| now.iter().filter(|x| yes(**x)).count() as u64;
    let pairs: Option<Vec<(f32, f32)>> =
        previous.map(|previous| previous.iter().copied().zip(now.iter().copied()).collect());
    let count_pairs = |yes: &dyn Fn(f32, f32) -> bool| {
        pairs.as_ref().map(|pairs| pairs.iter().filter(|(before, now)| yes(*before, *now)).count() as u64)
    };
    let per_eps = |yes: &dyn Fn(f32, f32, f64) -> bool| {
        eps.map(|eps| count_pairs(&|before, now| yes(before, now, eps)).unwrap_or(0))
    };
    let kind = |x: f32| match x {
        f32::INFINITY => NonfiniteKind::PosInf,
        f32::NEG_INFINITY => NonfiniteKind::NegInf,
        _ => NonfiniteKind::Nan,
    };
    filled!(TensorSummary {
        numel: now.len() as u64,
        min: finite(now).into_iter().reduce(f32::min).map(positive_zero),
        max: finite(now).into_iter().reduce(f32::max).map(positive_zero),
        l1_norm: finite(now).into_iter().map(|x| term(x).abs()).sum(),
        l2_norm: finite(now).into_iter().map(|x| term(x) * term(x)).sum::<f64>().sqrt(),
        near_zero_count: eps.map(|eps| count(&|x| near(x, eps))),
        zero_count: count(&|x| x == 0.0),
        positive_count: count(&|x| x.is_finite() && x > 0.0),
        negative_count: count(&|x| x.is_finite() && x < 0.0),
        nan_count: count(&|x| x.is_nan()),
        pos_inf_count: count(&|x| x == f32::INFINITY),
        neg_inf_count: count(&|x| x == f32::NEG_INFINITY),
        signed_pair_count: count_pairs(&|a, b| a.is_finite() && a != 0.0 && b.is_finite() && b != 0.0),
        sign_flip_count: count_pairs(&flips),
        cosine_previous: previous.and_then(|previous| cosine(now, previous)),
        dynamics: Some(filled!(Dynamics {
            abs_min_nonzero: finite(now).into_iter().map(f32::abs).filter(|x| *x > 0.0).reduce(f32::min),
            subnormal_count: count(&f32::is_subnormal),
            sum: finite(now).into_iter().map(term).sum(),
            std: std(now),
            skewness: shape(now)[0],
            kurtosis: shape(now)[1],
            first_nonfinite: now
                .iter()
                .position(|x| !x.is_finite())
                .map(|index| FirstNonfinite { index: index as u64, kind: kind(now[index]) }),
            became_zero_count: count_pairs(&|a, b| a.is_finite() && a != 0.0 && b == 0.0),
            transitions: previous.map(|_| filled!(Transitions {
                became_nonfinite_count: count_pairs(&|a, b| a.is_finite() && !b.is_finite()).unwrap_or(0),
                recovered_count: count_pairs(&|a, b| !a.is_finite() && b.is_finite()).unwrap_or(0),
                retained_count: per_eps(&|a, b, eps| near(a, eps) && near(b, eps)),
                released_count: per_eps(&|a, b, eps| near(a, eps) && b.is_finite() && !near(b, eps)),
                captured_count: per_eps(&|a, b, eps| a.is_finite() && !near(a, eps) && near(b, eps)),
                near_zero_to_nonfinite_count: per_eps(&|a, b, eps| near(a, eps) && !b.is_finite()),
                nonfinite_to_near_zero_count: per_eps(&|a, b, eps| !a.is_finite() && near(b, eps)),
                flip_in_retained_count: per_eps(&|a, b, eps| flips(a, b) && near(a, eps) && near(b, eps)),
            })),
        })),
    })
}

/// What a parameter must be summarised as.
pub fn weigh(values: &[f32]) -> ParameterSummary {
    filled!(ParameterSummary {
        numel: values.len() as u64,
        nonfinite_count: values.iter().filter(|x| !x.is_finite()).count() as u64,
        min: finite(values).into_iter().reduce(f32::min).map(positive_zero),
        max: finite(values).into_iter().reduce(f32::max).map(positive_zero),
        sum: finite(values).into_iter().map(term).sum(),
        std: std(values),
        skewness: shape(values)[0],
        kurtosis: shape(values)[1],
        l1_norm: finite(values).into_iter().map(|x| term(x).abs()).sum(),
        l2_norm: finite(values).into_iter().map(|x| term(x) * term(x)).sum::<f64>().sqrt(),
        near_zero_count: values.iter().filter(|x| near(**x, 1e-5)).count() as u64,
    })
}

/// What the move `before -> now` must be summarised as, with the gradients taken at its two ends.
pub fn moved(
    now: &[f32],
    before: &[f32],
    gradients: Option<(&[f32], &[f32])>,
    eps: [f64; 2],
    previous_step: u64,
) -> UpdateSummary {
    let step = |i: usize| {
        let step = term(now[i]) as f32 - term(before[i]) as f32;
        (now[i].is_finite() && before[i].is_finite() && step.is_finite()).then_some(term(step).abs())
    };
    let all = 0..now.len();
    let steps: Vec<f64> = all.clone().filter_map(step).collect();
    let l2_norm = steps.iter().map(|x| x * x).sum::<f64>().sqrt();
    let before_l2: f64 = finite(before).into_iter().map(|x| term(x) * term(x)).sum::<f64>().sqrt();
    let both_finite = |i: usize| now[i].is_finite() && before[i].is_finite();
    let moves = |i: usize| both_finite(i) && now[i] != before[i];
    let crossings = |(p, g): (&[f32], &[f32])| {
        let flipped = |i: &usize| flips(p[*i], g[*i]);
        let sign = |i: usize| (if now[i] > before[i] { 1.0 } else { -1.0 }) * g[i].signum();
        filled!(Crossings {
            minimum_count: all.clone().filter(flipped).filter(|i| moves(*i) && sign(*i) > 0.0).count() as u64,
            maximum_count: all.clone().filter(flipped).filter(|i| moves(*i) && sign(*i) < 0.0).count() as u64,
            flip_unmoved_count: all.clone().filter(flipped).filter(|i| both_finite(*i) && !moves(*i)).count() as u64,
            flip_at_nonfinite_count: all.clone().filter(flipped).filter(|i| !both_finite(*i)).count() as u64,
        })
    };
    let retained = |(p, g): (&[f32], &[f32])| {
        let kept = |eps| all.clone().filter(move |i| near(p[*i], eps) && near(g[*i], eps));
        let steps = |eps| kept(eps).map(|i| step(i).unwrap_or(0.0));
        filled!(RetainedMoves {
            moved_count: eps.map(|eps| kept(eps).filter(|i| moves(*i)).count() as u64),
            sum: eps.map(|eps| steps(eps).sum()),
            max: eps.map(|eps| steps(eps).fold(0.0, f64::max) as f32),
        })
    };
    filled!(UpdateSummary {
        previous_step,
        l1_norm: steps.iter().sum(),
        l2_norm,
        abs_max: steps.iter().copied().fold(0.0, f64::max) as f32,
        update_to_weight: l2_norm / before_l2.max(1e-9),
        unchanged_count: all.clone().filter(|i| now[*i].to_bits() == before[*i].to_bits()).count() as u64,
        nonfinite_count: (now.len() - steps.len()) as u64,
        crossings: gradients.map(crossings),
        retained: gradients.map(retained),
    })
}

/// The relative error that f32 sums in short runs may have: what tree and runs leave of one half ulp an addition.
fn sum_tolerance(numel: u64) -> f64 {
    4e-7 * (1.0 + (numel.max(2) as f64).log2().sqrt())
}

#[track_caller]
fn assert_near(what: &str, name: &str, found: f64, expected: f64, allowed: f64) {
    assert!((found - expected).abs() <= allowed, "{what}: {name} is {found:e}, not {expected:e} (within {allowed:e})");
}

/// Within 1e-5 of itself, or 1e-6 of the largest magnitude.
#[track_caller]
fn assert_std(what: &str, found: Option<f64>, expected: Option<f64>, abs_max: Option<f32>) {
    assert_eq!(found.is_some(), expected.is_some(), "{what}: std");
    if let (Some(found), Some(expected)) = (found, expected) {
        let allowed = (1e-5 * expected).max(1e-6 * f64::from(abs_max.unwrap_or(0.0)));
        assert_near(what, "std", found, expected, allowed);
    }
}

/// Within 2e-5, and eight times what the standard deviation may be off by, of the kurtosis: an upper bound on what a
/// skewness is made of, however much of that cancels out.
#[track_caller]
fn assert_shape(
    what: &str,
    found: [Option<f64>; 2],
    expected: [Option<f64>; 2],
    std: Option<f64>,
    [mean, abs_max]: [f64; 2],
) {
    let std = std.unwrap_or(0.0);
    let at_the_border = (0.5e-5..2e-5).contains(&(std / mean.abs()));
    assert!(
        at_the_border || found.map(|x| x.is_some()) == expected.map(|x| x.is_some()),
        "{what}: {found:?} for {expected:?}"
    );
    if let ([Some(skewness), Some(kurtosis)], [Some(expected_skewness), Some(expected_kurtosis)]) = (found, expected) {
        let allowed = (2e-5 + 8e-6 * abs_max / std) * expected_kurtosis;
        assert_near(what, "skewness", skewness, expected_skewness, allowed);
        assert_near(what, "kurtosis", kurtosis, expected_kurtosis, allowed);
    }
}

/// Exact for counts, indices and extremes, within tolerance for sums. Dynamics are compared where they were found.
#[track_caller]
pub fn assert_summary(found: &TensorSummary, expected: &TensorSummary, what: &str) {
    let allowed = sum_tolerance(expected.numel);
    assert_near(what, "l1_norm", found.l1_norm, expected.l1_norm, allowed * expected.l1_norm);
    assert_near(what, "l2_norm", found.l2_norm, expected.l2_norm, allowed * expected.l2_norm);
    if let (Some(found), Some(dynamics)) = (found.dynamics, expected.dynamics) {
        assert_near(what, "sum", found.sum, dynamics.sum, allowed * expected.l1_norm);
        assert_std(what, found.std, dynamics.std, expected.abs_max());
        let of = |d: Dynamics| [d.skewness, d.kurtosis];
        let scale = [expected.mean().unwrap_or(0.0), f64::from(expected.abs_max().unwrap_or(0.0))];
        assert_shape(what, of(found), of(dynamics), dynamics.std, scale);
    }
    // Asked for by itself.
    if let Some(found) = found.cosine_previous {
        assert_near(what, "cosine", found, expected.cosine_previous.expect("norms are not zero"), 1e-6);
    }
    let exact = |summary: &TensorSummary| {
        filled!(*summary => {
            l1_norm: 0.0,
            l2_norm: 0.0,
            cosine_previous: None,
            dynamics: found.dynamics.and(summary.dynamics).map(|dynamics| filled!(dynamics => {
                sum: 0.0,
                std: None,
                skewness: None,
                kurtosis: None,
            })),
        })
    };
    assert_eq!(exact(found), exact(expected), "{what}");
    let bits = |summary: &TensorSummary| [summary.min, summary.max].map(|x| x.map(f32::to_bits));
    assert_eq!(bits(found), bits(expected), "{what}: extremes, to the bit");
}

/// As [`assert_summary`], of a parameter.
#[track_caller]
pub fn assert_weight(found: &ParameterSummary, expected: &ParameterSummary, what: &str) {
    let allowed = sum_tolerance(expected.numel);
    assert_near(what, "l1_norm", found.l1_norm, expected.l1_norm, allowed * expected.l1_norm);
    assert_near(what, "l2_norm", found.l2_norm, expected.l2_norm, allowed * expected.l2_norm);
    assert_near(what, "sum", found.sum, expected.sum, allowed * expected.l1_norm);
    assert_std(what, found.std, expected.std, expected.abs_max());
    let of = |s: &ParameterSummary| [s.skewness, s.kurtosis];
    let scale = [expected.mean().unwrap_or(0.0), f64::from(expected.abs_max().unwrap_or(0.0))];
    assert_shape(what, of(found), of(expected), expected.std, scale);
    let exact = |s: &ParameterSummary| {
        filled!(*s => {
            l1_norm: 0.0,
            l2_norm: 0.0,
            sum: 0.0,
            std: None,
            skewness: None,
            kurtosis: None,
        })
    };
    assert_eq!(exact(found), exact(expected), "{what}");
}

/// As [`assert_summary`], of a move.
#[track_caller]
pub fn assert_move(found: &UpdateSummary, expected: &UpdateSummary, numel: u64, what: &str) {
    let allowed = sum_tolerance(numel);
    assert_near(what, "l1_norm", found.l1_norm, expected.l1_norm, allowed * expected.l1_norm);
    assert_near(what, "l2_norm", found.l2_norm, expected.l2_norm, allowed * expected.l2_norm);
    let ratio = expected.update_to_weight;
    assert_near(what, "update_to_weight", found.update_to_weight, ratio, 2.0 * allowed * ratio);
    if let (Some(found), Some(expected)) = (found.retained, expected.retained) {
        for (found, expected) in found.sum.into_iter().zip(expected.sum) {
            assert_near(what, "the sum of the retained's moves", found, expected, allowed * expected);
        }
    }
    let exact = |s: &UpdateSummary| {
        filled!(*s => {
            l1_norm: 0.0,
            l2_norm: 0.0,
            update_to_weight: 0.0,
            retained: s.retained.map(|retained| filled!(retained => { sum: [0.0; 2] })),
        })
    };
    assert_eq!(exact(found), exact(expected), "{what}");
}

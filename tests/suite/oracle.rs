//! The naive oracle: too plain to be wrong, in f64, one loop a statistic. And how near is near enough.

use gradscope::TensorSummary;

/// What `previous -> now` must be summarised as.
pub fn summarise(now: &[f32], previous: Option<&[f32]>, eps: [f64; 2]) -> TensorSummary {
    let finite = || now.iter().copied().filter(|x| x.is_finite());
    let count = |yes: &dyn Fn(f32) -> bool| now.iter().filter(|x| yes(**x)).count() as u64;
    let positive_zero = |x: f32| if x == 0.0 { 0.0 } else { x };
    let term = |x: f32| if x.is_subnormal() { 0.0 } else { f64::from(x.abs()) };
    let pairs = previous.map(|previous| {
        let signed = |x: f32| x.is_finite() && x != 0.0;
        now.iter().zip(previous).filter(|(a, b)| signed(**a) && signed(**b)).collect::<Vec<_>>()
    });
    TensorSummary {
        numel: now.len() as u64,
        min: finite().reduce(f32::min).map(positive_zero),
        max: finite().reduce(f32::max).map(positive_zero),
        l1_norm: finite().map(term).sum(),
        l2_norm: finite().map(|x| term(x) * term(x)).sum::<f64>().sqrt(),
        near_zero_count: eps.map(|eps| count(&|x| x.is_finite() && f64::from(x.abs()) < eps)),
        zero_count: count(&|x| x == 0.0),
        positive_count: count(&|x| x.is_finite() && x > 0.0),
        negative_count: count(&|x| x.is_finite() && x < 0.0),
        nan_count: count(&|x| x.is_nan()),
        pos_inf_count: count(&|x| x == f32::INFINITY),
        neg_inf_count: count(&|x| x == f32::NEG_INFINITY),
        signed_pair_count: pairs.as_ref().map(|pairs| pairs.len() as u64),
        sign_flip_count: pairs
            .map(|pairs| pairs.iter().filter(|(a, b)| a.is_sign_negative() != b.is_sign_negative()).count() as u64),
    }
}

/// The relative error that f32 sums in short runs may have: what tree and runs leave of one half ulp an addition.
fn sum_tolerance(numel: u64) -> f64 {
    4e-7 * (1.0 + (numel.max(2) as f64).log2().sqrt())
}

/// Exact for counts and extremes, within tolerance for the norms.
#[track_caller]
pub fn assert_summary(found: &TensorSummary, expected: &TensorSummary, what: &str) {
    let allowed = sum_tolerance(expected.numel);
    for (name, found, expected) in
        [("l1_norm", found.l1_norm, expected.l1_norm), ("l2_norm", found.l2_norm, expected.l2_norm)]
    {
        assert!((found - expected).abs() <= allowed * expected, "{what}: {name} is {found:e}, not {expected:e}");
    }
    let exact = |summary: &TensorSummary| TensorSummary { l1_norm: 0.0, l2_norm: 0.0, ..*summary };
    assert_eq!(exact(found), exact(expected), "{what}");
    let bits = |summary: &TensorSummary| [summary.min, summary.max].map(|x| x.map(f32::to_bits));
    assert_eq!(bits(found), bits(expected), "{what}: extremes, to the bit");
}

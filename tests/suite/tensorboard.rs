//! TensorBoard's histograms of what the twin counts.

use gradscope::StepRecord;
use gradscope::cpu::grad_reduce::{State, reduce};
use gradscope::cpu::histogram::histogram;
use gradscope::record::{Gradient, HistogramOf, HistogramRecord, TensorRecord};
use gradscope::stats::{Epsilons, linear_edges};
use gradscope::store::Buckets;

/// The buckets of a gradient, with edges between these bounds or by exponent.
fn buckets(values: &[f32], bounds: Option<[f32; 2]>) -> Buckets {
    let edges = bounds.map(|[min, max]| linear_edges(min, max));
    let mut counted = histogram(values, edges.as_deref());
    if let (Some(linear), Some(edges)) = (&mut counted.linear, edges) {
        linear.edges = edges;
    }
    let summary = reduce(values, Epsilons::default().threshold_bits(), &mut State::default()).finish();
    let gradient = Gradient::Observed { summary, previous_step: None };
    let record = StepRecord { tensors: vec![TensorRecord::of(gradient)], ..StepRecord::default() };
    let histogram = HistogramRecord { param: 0, of: HistogramOf::Gradient, histogram: counted };
    Buckets::of(&record, &histogram).expect("an element is finite")
}

fn check(values: &[f32], bounds: Option<[f32; 2]>) {
    let found = buckets(values, bounds);
    let what = format!("{values:?} within {bounds:?}: {found:?}");
    let finite: Vec<f64> = values.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
    let (min, max) = finite.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
    assert_eq!((found.min, found.max), (min, max), "{what}");
    assert_eq!(found.limits.last(), Some(&max), "{what}");
    assert_eq!(found.counts.iter().sum::<f64>(), finite.len() as f64, "{what}");
    // Subnormals add nothing to sums.
    let rounding = 1e-6 * max.abs().max(min.abs()) + f64::from(f32::MIN_POSITIVE);
    assert!((found.sum - finite.iter().sum::<f64>()).abs() <= rounding, "{what}");
    let squares: f64 = finite.iter().map(|x| x * x).sum();
    assert!((found.sum_of_squares - squares).abs() <= 1e-5 * squares + f64::from(f32::MIN_POSITIVE), "{what}");
    let edges: Vec<f64> = std::iter::once(found.min).chain(found.limits.iter().copied()).collect();
    assert!(edges.windows(2).all(|two| two[0] <= two[1]), "edges ascend: {what}");
    for sign in [-1.0, 1.0] {
        let own = finite.iter().filter(|x| **x * sign > 0.0).count() as f64;
        let cells = edges.windows(2).zip(&found.counts);
        let of_sign = cells.filter(|(edge, _)| (edge[0] + edge[1]) * sign > 0.0).map(|(_, count)| count).sum::<f64>();
        if bounds.is_none() {
            assert_eq!(of_sign, own, "signs are kept: {what}");
        }
    }
}

#[test]
fn outer_edges_and_sums_are_the_tensors_own() {
    let mixed = [-3.0, -0.5, -0.25, 0.0, 0.1, 0.7, 1.5, 100.0];
    // Bounds that hold all of it, that leave elements out on both sides, and none.
    for bounds in [Some([-3.0, 100.0]), Some([-0.3, 0.3]), Some([-200.0, 200.0]), None] {
        check(&mixed, bounds);
    }
    check(&[1e30, -1e30, f32::NAN, f32::INFINITY], Some([-1.0, 1.0]));
}

#[test]
fn signs_are_kept_where_only_exponents_are_known() {
    for values in [
        vec![-4.0, -2.0, -1.0, -0.5],
        vec![4.0, 2.0, 1.0],
        vec![-8.0, -8.0, 0.25, 0.5, 0.0, 0.0],
        vec![1e-40, -1e-40, 1e-38, 0.0],
        vec![0.0, 0.0],
        vec![2.5],
    ] {
        check(&values, None);
    }
}

#[test]
fn without_a_finite_element_there_is_no_histogram() {
    let histogram =
        HistogramRecord { param: 0, of: HistogramOf::Gradient, histogram: histogram(&[f32::NAN, f32::INFINITY], None) };
    assert_eq!(Buckets::of(&StepRecord::default(), &histogram), None);
}

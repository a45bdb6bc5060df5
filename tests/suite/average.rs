//! Moving averages: of the summaries, and of every element.
//!
//! | step | element | average, of factor 0.75 |
//! |---|---|---|
//! | 0 | 1 | 1 |
//! | 1 | 5 | 0.75 · 1 + 0.25 · 5 = 2 |
//! | 2 | NaN | 2 |
//! | 3 | 1 | 0.75 · 2 + 0.25 · 1 = 1.75 |

use crate::fixture::{Random, Values, device, devices, observe, observe_weights};
use crate::oracle;
use gradscope::{Scope, Stats};

#[test]
fn worked_values() {
    let steps = [1.0, 5.0, f32::NAN, 1.0].map(|g| vec![Some(vec![g])]);
    for device in devices() {
        let builder = Scope::builder(&device).stats(Stats::EMA).average_factor(0.75);
        let records = observe(&device, builder, &[1], &steps);
        let average = |step: usize| records[step].tensors[0].ema.as_ref().unwrap().gradient.unwrap();
        assert_eq!([0, 1, 2, 3].map(|step| average(step).l1_norm), [1.0, 2.0, 2.0, 1.75]);
        assert_eq!(average(2).nan_count, 0);
    }
}

#[test]
fn averages_of_the_summaries_start_at_the_first() {
    let device = device();
    let steps: Vec<Values> =
        [Some(1.0), None, Some(3.0), Some(3.0)].into_iter().map(|g| vec![g.map(|g| vec![g; 4])]).collect();
    let records = observe(&device, Scope::builder(&device), &[4], &steps);
    let averages: Vec<_> = records.iter().map(|record| record.tensors[0].averages.map(|a| a.l2_norm)).collect();
    let expected = [2.0, 2.0, 0.9 * 2.0 + 0.1 * 6.0, 0.9 * 2.4 + 0.1 * 6.0];
    assert_eq!((averages[0], averages[1]), (Some(2.0), None), "a step without the gradient has no average");
    for step in [2, 3] {
        assert!((averages[step].unwrap() - expected[step]).abs() < 1e-6, "{averages:?}");
    }
}

/// Averages by the definition, in f64.
fn averaged(steps: &[Option<Vec<f32>>], factor: f64) -> Vec<f32> {
    let mut averages: Vec<Option<f64>> = vec![None; steps.iter().flatten().next().map_or(0, Vec::len)];
    for values in steps.iter().flatten() {
        for (average, x) in averages.iter_mut().zip(values).filter(|(_, x)| x.is_finite()) {
            *average = Some(average.map_or(f64::from(*x), |a| factor * a + (1.0 - factor) * f64::from(*x)));
        }
    }
    averages.into_iter().map(|average| average.map_or(f32::NAN, |a| a as f32)).collect()
}

#[test]
fn element_wise_averages_and_their_dynamics() {
    let lens = [3, 8191, 40_000];
    let mut random = Random::new(61);
    let mut draw = |len: &usize| {
        // No product of these is subnormal, and few averages are within rounding of an epsilon.
        let mut values: Vec<f32> = (0..*len).map(|_| random.gradient()).collect();
        values[random.below(*len)] = f32::NAN;
        values
    };
    let mut steps: Vec<Values> = (0..5).map(|_| lens.iter().map(&mut draw).map(Some).collect()).collect();
    steps[2][1] = None;
    let weights: Vec<Vec<Vec<f32>>> = (0..5).map(|_| lens.iter().map(&mut draw).collect()).collect();
    for device in devices() {
        let builder = Scope::builder(&device).stats(Stats::EMA).average_factor(0.75);
        let records = observe_weights(&device, builder, &lens, &steps, &weights);
        for (step, record) in records.iter().enumerate() {
            for tensor in 0..lens.len() {
                let what = format!("tensor {tensor} at step {step}");
                let gradients: Vec<_> = steps[..=step].iter().map(|values| values[tensor].clone()).collect();
                let parameters: Vec<_> = weights[..=step].iter().map(|values| Some(values[tensor].clone())).collect();
                let ema = record.tensors[tensor].ema.as_deref().copied().unwrap();
                assert_eq!(ema.gradient.is_some(), gradients[step].is_some(), "{what}");
                for (found, series) in [(ema.gradient, gradients), (ema.parameter, parameters)] {
                    let Some(found) = found else { continue };
                    let expected = oracle::summarise(&averaged(&series, 0.75), None, [1e-7, 1e-5]);
                    let near = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b.abs();
                    assert!(near(found.l1_norm, expected.l1_norm), "{what}: {found:?} {expected:?}");
                    assert!(near(found.l2_norm, expected.l2_norm), "{what}: {found:?} {expected:?}");
                    assert_eq!((found.nan_count, found.numel), (expected.nan_count, expected.numel), "{what}");
                    for k in 0..2 {
                        let [a, b] = [found, expected].map(|s| s.near_zero_count[k]);
                        assert!(a.abs_diff(b) <= lens[tensor] as u64 / 5000, "{what}: {a} near zero, not {b}");
                    }
                    let compared = found.dynamics.unwrap().transitions.is_some();
                    // A gradient that was missing at the step before has an average, and nothing to compare it with.
                    let neighbour = series[step.saturating_sub(1)].is_some();
                    assert_eq!(compared, step > 0 && neighbour, "{what}");
                }
            }
        }
    }
}

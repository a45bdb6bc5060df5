//! Mean, standard deviation, skewness and kurtosis.
//!
//! | elements | mean | distances | std | skewness | kurtosis |
//! |---|---|---|---|---|---|
//! | 1, 2, 3, 4, 10 | 4 | -3, -2, -1, 0, 6 | √(50 / 5) = √10 | (180 / 5) / 10√10 | (1394 / 5) / 10² |
//! | -1, -1, 1, 1 | 0 | -1, -1, 1, 1 | 1 | 0 | 1 |
//! | 7, 7, 7 | 7 | 0, 0, 0 | 0 | none | none |

use crate::fixture::{Random, Values, check_weights, device, observe, summary};
use gradscope::{Scope, Stats};

#[test]
fn worked_values() {
    let device = device();
    let values = [vec![1.0, 2.0, 3.0, 4.0, 10.0], vec![-1.0, -1.0, 1.0, 1.0], vec![7.0; 3]];
    let builder = Scope::builder(&device).stats(Stats::DYNAMICS);
    let records = observe(&device, builder, &[5, 4, 3], &[values.map(Some).to_vec()]);
    let expected = [
        (4.0, 10f64.sqrt(), Some(36.0 / 10f64.powf(1.5)), Some(2.788)),
        (0.0, 1.0, Some(0.0), Some(1.0)),
        (7.0, 0.0, None, None),
    ];
    let near = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(a == b, |(a, b)| (a - b).abs() < 1e-6);
    for (tensor, (mean, std, skewness, kurtosis)) in expected.into_iter().enumerate() {
        let found = summary(&records[0], tensor);
        let dynamics = found.dynamics.unwrap();
        assert!(near(found.mean(), Some(mean)) && near(dynamics.std, Some(std)), "{tensor}: {found:?}");
        assert!(near(dynamics.skewness, skewness) && near(dynamics.kurtosis, kurtosis), "{tensor}: {found:?}");
    }
}

/// Parameters as batch norm has them: near 1, where the naive formula for the spread fails.
#[test]
fn the_spread_of_weights_near_one() {
    let device = device();
    let mut random = Random::new(21);
    for spread in [0.0, 1e-6, 1e-4, 1e-2] {
        let lens = [64, 1000, 100_000];
        let mut draw = || 1.0 + spread * (random.bits() as i32 as f32 / i32::MAX as f32);
        let weights: Vec<Vec<f32>> = lens.iter().map(|len| (0..*len).map(|_| draw()).collect()).collect();
        let steps: [Values; 1] = [lens.map(|len| Some(vec![1e-3; len])).to_vec()];
        check_weights(&device, |b| b, &lens, &steps, &[weights.clone(), weights]);
    }
}

/// An outlier first, and values that are all the same: what a pivot fails at.
#[test]
fn the_spread_beside_an_outlier() {
    let mut values = vec![1.0f32; 50_000];
    values.iter_mut().step_by(2).for_each(|x| *x = 1.0 + 1e-3);
    values[0] = 30.0;
    let weights = vec![vec![0.1; 50_000]];
    check_weights(&device(), |b| b, &[50_000], &[vec![Some(values)]], &[weights.clone(), weights]);
}

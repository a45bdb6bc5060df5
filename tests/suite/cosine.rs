//! The cosine of each gradient with the one before.
//!
//! | step | gradient | product with the one before | norms | cosine |
//! |---|---|---|---|---|
//! | 0 | (3, 4) | | | none |
//! | 1 | (4, 3) | 12 + 12 | 5 · 5 | 0.96 |
//! | 2 | (-4, -3) | -16 - 9 | 5 · 5 | -1 |
//! | 3 | (3, -4) | -12 + 12 | 5 · 5 | 0 |
//! | 4 | (0, 0) | 0 | 5 · 0 | none |

use crate::fixture::{device, devices, observe, summary};
use gradscope::{Scope, Stats};

#[test]
fn worked_values() {
    let steps = [[3.0, 4.0], [4.0, 3.0], [-4.0, -3.0], [3.0, -4.0], [0.0, 0.0]].map(|g| vec![Some(g.to_vec())]);
    for device in devices() {
        let records = observe(&device, Scope::builder(&device).stats(Stats::COSINE), &[2], &steps);
        let found: Vec<Option<f64>> = records.iter().map(|record| summary(record, 0).cosine_previous).collect();
        let expected = [None, Some(0.96), Some(-1.0), Some(0.0), None];
        for (found, expected) in found.iter().zip(expected) {
            let near =
                found.zip(expected).map_or(*found == expected, |(found, expected)| (found - expected).abs() < 1e-6);
            assert!(near, "{found:?} for {expected:?}");
        }
    }
}

/// Products of these lie beyond the range of f32, at both ends.
#[test]
fn factors_of_any_magnitude_have_room() {
    let device = device();
    let steps = [[3e-30, 4e-30], [4e30, 3e30], [-4e30, -3e30]].map(|g| vec![Some(g.to_vec())]);
    let records = observe(&device, Scope::builder(&device).stats(Stats::COSINE), &[2], &steps);
    for (record, expected) in records.iter().skip(1).zip([0.96, -1.0]) {
        let found = summary(record, 0).cosine_previous.unwrap();
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }
}

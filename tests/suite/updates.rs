//! The optimizer's updates, held against the gradients at their two ends.
//!
//! | w' | w | p | g | |
//! |---|---|---|---|---|
//! | 0 | 0.5 | -1 | 1 | the slope turned from down to up on the way up: a minimum was crossed |
//! | 0 | 0.5 | 1 | -1 | it turned from up to down: a maximum was crossed |
//! | 0 | 0 | 1 | -1 | a flip, unmoved |
//! | 0 | NaN | 1 | -1 | a flip at a non-finite element |
//! | 0 | 0.5 | 1 | 1 | no flip |
//!
//! L1 = 0.5 + 0.5 + 0.5 = 1.5, L2 = √0.75, the largest is 0.5; one is unchanged, one is not finite.

use crate::fixture::{Random, Values, device, devices, observe_weights};
use gradscope::{Device, DeviceChoice, Scope, Stats, StepRecord};

#[test]
fn worked_values() {
    let steps = [vec![-1.0, 1.0, 1.0, 1.0, 1.0], vec![1.0, -1.0, -1.0, -1.0, 1.0]].map(|g| vec![Some(g)]);
    let weights = [vec![0.0; 5], vec![0.5, 0.5, 0.0, f32::NAN, 0.5]].map(|w| vec![w]);
    for device in devices() {
        let builder = Scope::builder(&device).stats(Stats::UPDATES);
        let records = observe_weights(&device, builder, &[5], &steps, &weights);
        let found = records[1].tensors[0].update.unwrap();
        let crossings = found.crossings.unwrap();
        assert_eq!((crossings.minimum_count, crossings.maximum_count), (1, 1));
        assert_eq!((crossings.flip_unmoved_count, crossings.flip_at_nonfinite_count), (1, 1));
        assert_eq!((found.unchanged_count, found.nonfinite_count, found.abs_max), (1, 1, 0.5));
        assert!((found.l1_norm - 1.5).abs() < 1e-6 && (found.l2_norm - 0.75f64.sqrt()).abs() < 1e-6, "{found:?}");
    }
}

fn run_of_one_element(device: &Device, gradients: [f32; 4], weights: [f32; 5]) -> Vec<StepRecord> {
    let steps = gradients.map(|g| vec![Some(vec![g])]);
    let weights = weights.map(|w| vec![vec![w]]);
    observe_weights(device, Scope::builder(device).stats(Stats::FULL), &[1], &steps, &weights)
}

#[test]
fn a_flip_on_the_way_up_crosses_a_minimum() {
    let device = device();
    // One coordinate whose gradient turns from - to + within the retained, at step 1.
    let gradients = [-1e-6, 1e-6, 1e-6, 1e-6];
    // It rose on the way there, so it crossed a minimum.
    let records = run_of_one_element(&device, gradients, [0.0, 0.5, 0.25, 0.25, 0.25]);
    let crossings = |step: usize| records[step].tensors[0].update.unwrap().crossings;
    assert_eq!(records[0].tensors[0].update, None);
    assert_eq!(crossings(1).map(|c| (c.minimum_count, c.maximum_count)), Some((1, 0)));
    assert_eq!(crossings(2).map(|c| (c.minimum_count, c.maximum_count)), Some((0, 0)), "no flip there");
    // A flip outside of the retained.
    let records = run_of_one_element(&device, [-1.0, 1.0, 1.0, 1.0], [0.0, 0.5, 0.25, 0.25, 0.25]);
    assert_eq!(records[1].tensors[0].update.unwrap().crossings.map(|c| c.minimum_count), Some(1));
    let twins = Device::open(DeviceChoice::Cpu).unwrap();
    let (ours, theirs) =
        (run_of_one_element(&device, gradients, [1.0; 5]), run_of_one_element(&twins, gradients, [1.0; 5]));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.tensors[0].update, theirs.tensors[0].update);
    }
}

/// Nothing of the last step's weights survives in the record of the next.
#[test]
fn moves_are_those_between_neighbours() {
    let device = device();
    let lens = [10_000];
    let mut random = Random::new(31);
    let steps: Vec<Values> = (0..6).map(|_| vec![Some(random.gradients(10_000))]).collect();
    let weights: Vec<_> = (0..7).map(|step| vec![vec![(step * step) as f32; 10_000]]).collect();
    let records = observe_weights(&device, Scope::builder(&device).stats(Stats::UPDATES), &lens, &steps, &weights);
    for (step, record) in records.iter().enumerate().skip(1) {
        let update = record.tensors[0].update.unwrap();
        assert_eq!(update.abs_max, (2 * step - 1) as f32);
        assert_eq!(update.previous_step, step as u64 - 1);
    }
}

#[test]
fn the_smallest_normal_move_counts_and_a_subnormal_one_does_not() {
    let device = device();
    let steps: Vec<Values> = vec![vec![Some(vec![1.0])]; 3];
    let weights = [0.0, f32::MIN_POSITIVE, 1.5 * f32::MIN_POSITIVE, f32::MIN_POSITIVE].map(|w| vec![vec![w]]);
    let records = observe_weights(&device, Scope::builder(&device).stats(Stats::UPDATES), &[1], &steps, &weights);
    let moved = |step: usize| records[step].tensors[0].update.unwrap();
    assert_eq!(moved(1).abs_max, f32::MIN_POSITIVE);
    assert_eq!(
        (moved(2).abs_max, moved(2).l1_norm, moved(2).unchanged_count),
        (0.0, 0.0, 0),
        "half of it is subnormal"
    );
}

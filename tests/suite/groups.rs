//! What is asked for is what is paid for, and what it says at values chosen by hand.

use crate::fixture::{Random, Values, bag, check_weights, device, observe, observe_weights};
use crate::oracle;
use gradscope::{Device, Event, Scope, Stats, StepRecord, TensorSummary};

#[test]
fn state_and_read_back_stay_in_each_groups_budget() {
    let device = device();
    let lens = [1 << 20, 100_000];
    let values: Values = lens.map(|len| Some(vec![1.0; len])).to_vec();
    let measure = |groups: Stats| {
        let model = bag(&device, &lens);
        let mut scope = Scope::builder(&device).stats(groups).build(&model).unwrap();
        scope.step(0).gradients(&model, &model.gradients(&device, &values)).submit();
        let bits = 8.0 * scope.state_bytes() as f64 / lens.iter().sum::<usize>() as f64;
        (bits, scope.read(0).unwrap().cost.readback_bytes / lens.len() as u32)
    };
    let (card_bits, card_bytes) = measure(Stats::BASIC);
    let (dynamics_bits, dynamics_bytes) = measure(Stats::DYNAMICS);
    let (full_bits, full_bytes) = measure(Stats::FULL);
    assert!(card_bits < 2.1 && card_bytes <= 96, "card: {card_bits} bits, {card_bytes} bytes");
    assert!(dynamics_bits < 3.1, "dynamics: {dynamics_bits} bits, {dynamics_bytes} bytes");
    assert!(full_bits < 3.1 && full_bytes <= 384, "full: {full_bits} bits, {full_bytes} bytes");
    // What README.md and the documentation of `Stats` say, in round numbers.
    let about = |bytes: u32, documented: u32| {
        assert!(bytes.abs_diff(documented) * 10 <= documented, "{bytes} bytes, and about {documented} are documented");
    };
    let params_bytes = measure(Stats::PARAMS).1 - card_bytes;
    about(card_bytes, 70);
    about(dynamics_bytes - card_bytes, 110);
    about(params_bytes, 70);
    about(full_bytes - dynamics_bytes - params_bytes, 90);
    about(full_bytes, 340);
    about(measure(Stats::COSINE).1 - card_bytes, 25);
    about(measure(Stats::EMA).1 - card_bytes, 360);
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
    let twins = Device::open(gradscope::DeviceChoice::Cpu).unwrap();
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
    for device in [device(), Device::open(gradscope::DeviceChoice::Cpu).unwrap()] {
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

#[test]
fn global_figures_and_groups_of_layers() {
    let device = device();
    let model = bag(&device, &[3, 2]).with_weights(&device, &[vec![-7.0, 0.0, 1.0], vec![9.0, 0.5]]);
    let builder = Scope::builder(&device).stats(Stats::FULL).group("first", "tensors.0").group("all", ".*");
    let mut scope = builder.build(&model).unwrap();
    let values = [Some(vec![3.0, -4.0, 0.0]), Some(vec![12.0, f32::NAN])];
    scope.step(0).gradients(&model, &model.gradients(&device, &values)).submit();
    let record = scope.read(0).unwrap();
    let global = &record.global;
    assert_eq!((global.min, global.max), (Some(-4.0), Some(12.0)));
    assert_eq!((global.l2_norm, global.zero_count, global.nan_count), (13.0, 1, 1));
    let parameters = global.parameters.unwrap();
    assert_eq!((parameters.min, parameters.max, parameters.numel), (Some(-7.0), Some(9.0), 5));
    let names: Vec<_> = record.groups.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["first", "all"]);
    assert_eq!(record.groups[0].1.l2_norm, 5.0);
    assert_eq!(record.groups[0].1.parameters.unwrap().max, Some(1.0));
    assert_eq!(record.groups[1].1, record.global);
    let nothing = Scope::builder(&device).group("none", "conv").build(&model);
    assert!(nothing.err().unwrap().to_string().contains("`conv` matches none"));
}

#[test]
fn a_scope_that_observes_nothing_else_reports_no_last_move() {
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope =
        Scope::builder(&device).diagnose(false).stats(Stats::DYNAMICS | Stats::PARAMS).build(&model).unwrap();
    scope.step(0).gradients(&model, &model.gradients(&device, &[Some(vec![1.0; 4])])).submit();
    let events = scope.finish(&model).events;
    assert!(matches!(&events[..], [Event::Record(record)] if !record.last_move), "{events:?}");
}

#[test]
fn what_cannot_be_said_is_null() {
    let device = device();
    let values = [vec![f32::NAN; 3], vec![0.0; 3], vec![-2.0], vec![1e-40, 0.0, 8.0]];
    let lens = [3, 3, 1, 3];
    let step: Values = values.into_iter().map(Some).collect();
    let builder = Scope::builder(&device).stats(Stats::FULL | Stats::COSINE);
    let records = observe(&device, builder, &lens, &[step.clone(), step]);
    let summary = |step: usize, tensor: usize| *records[step].tensors[tensor].summary().unwrap();
    let figures = |s: TensorSummary| (s.abs_max(), s.mean(), s.dynamics.unwrap().std, s.dynamic_range());
    assert_eq!(figures(summary(0, 0)), (None, None, None, None), "nothing is finite");
    assert_eq!(figures(summary(0, 1)), (Some(0.0), Some(0.0), Some(0.0), None), "zeros have no range");
    assert_eq!(figures(summary(0, 2)), (Some(2.0), Some(-2.0), Some(0.0), Some(0.0)), "one element has no spread");
    let range = (8.0f64 / f64::from(1e-40f32)).log2();
    assert_eq!(summary(0, 3).dynamic_range(), Some(range), "a subnormal is a magnitude");
    for tensor in 0..4 {
        assert_eq!(summary(0, tensor).sign_flip_ratio(), None, "there is no step before");
        assert_eq!(summary(0, tensor).dynamics.unwrap().transitions, None);
        assert_eq!(records[0].tensors[tensor].update, None);
    }
    let cosines = [0, 1, 2, 3].map(|tensor| summary(1, tensor).cosine_previous);
    assert_eq!(cosines, [None, None, Some(1.0), Some(1.0)], "a zero gradient has no direction");
    assert_eq!(summary(1, 0).sign_flip_ratio(), None, "nothing could flip");
    let released = summary(1, 2).dynamics.unwrap().transitions.unwrap().released_ratio();
    assert_eq!(released, [None, None], "nothing was near zero");
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

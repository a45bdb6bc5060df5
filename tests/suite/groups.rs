//! What is asked for is what is paid for, and what it says at values chosen by hand.

use crate::fixture::{Values, bag, device, observe};
use gradscope::{Event, Scope, Stats, TensorSummary};

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

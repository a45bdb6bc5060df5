//! Which steps are observed and compared, by what scale, and what is given beside gradients.

use crate::fixture::{Random, Values, bag, device, summary};
use crate::oracle;
use gradscope::record::Gradient;
use gradscope::{Device, Event, NoticeKind, Schedule, Scope, ScopeBuilder, Span, Stats, StepRecord};

const EPS: [f64; 2] = [1e-7, 1e-5];

fn devices() -> [Device; 2] {
    [device(), Device::open(gradscope::DeviceChoice::Cpu).unwrap()]
}

/// Runs the steps, each in its epoch, with weights that grow by one a step.
fn run(device: &Device, builder: ScopeBuilder, steps: &[Values], epoch: impl Fn(u64) -> u64) -> Vec<StepRecord> {
    let lens: Vec<usize> = steps[0].iter().map(|values| values.as_ref().map_or(1, Vec::len)).collect();
    let mut model = bag(device, &lens);
    let mut scope = builder.build(&model).unwrap();
    for (step, values) in steps.iter().enumerate() {
        let weights: Vec<_> = lens.iter().map(|len| vec![step as f32; *len]).collect();
        model = model.with_weights(device, &weights);
        let step = step as u64;
        scope.step(step).epoch(epoch(step)).gradients(&model, &model.gradients(device, values)).submit();
    }
    let events = scope.finish(&model).events.into_iter();
    let records = events.filter_map(|event| match event {
        Event::Record(record) => Some(record),
        Event::Notice(notice) if notice.kind.is_fault() => panic!("{notice}"),
        _ => None,
    });
    records.filter(|record| !record.last_move).collect()
}

fn random_steps(count: usize, lens: &[usize]) -> Vec<Values> {
    let mut random = Random::new(41);
    (0..count).map(|_| lens.iter().map(|len| Some(random.gradients(*len))).collect()).collect()
}

/// The step that each record was compared with, of its gradient and of its weights, once the figures are right.
fn compared(records: &[StepRecord], steps: &[Values]) -> Vec<(u64, Option<u64>)> {
    let check = |record: &StepRecord| {
        let step = record.step;
        let Gradient::Observed { summary, previous_step } = record.tensors[0].gradient else {
            panic!("step {step} is {:?}", record.tensors[0].gradient)
        };
        let values = |step: u64| steps[step as usize][0].as_deref().unwrap();
        let expected = oracle::summarise(values(step), previous_step.map(values), EPS);
        oracle::assert_summary(&summary, &expected, &format!("step {step} after {previous_step:?}"));
        let update = record.tensors[0].update;
        assert_eq!(update.map(|update| update.previous_step), previous_step, "p and w' share one schedule");
        if let Some(update) = update {
            assert_eq!(f64::from(update.abs_max), (step - update.previous_step) as f64, "the move since then");
        }
        (step, previous_step)
    };
    records.iter().map(check).collect()
}

#[test]
fn every_nth_step_compares_with_its_neighbour() {
    let steps = random_steps(11, &[5000]);
    for device in devices() {
        let builder = Scope::builder(&device).stats(Stats::FULL).every(4);
        let found = compared(&run(&device, builder, &steps, |_| 0), &steps);
        assert_eq!(found, [(0, None), (4, Some(3)), (8, Some(7))]);
    }
}

#[test]
fn a_sample_compares_with_the_last() {
    let steps = random_steps(11, &[5000]);
    for device in devices() {
        let builder = Scope::builder(&device).stats(Stats::FULL).every(4).span(Span::Sample);
        let found = compared(&run(&device, builder, &steps, |_| 0), &steps);
        assert_eq!(found, [(0, None), (4, Some(0)), (8, Some(4))]);
    }
}

#[test]
fn an_epoch_compares_with_the_one_before() {
    let steps = random_steps(9, &[5000]);
    for device in devices() {
        let builder = Scope::builder(&device).stats(Stats::FULL).span(Span::Epoch);
        let found = compared(&run(&device, builder, &steps, |step| step / 4), &steps);
        let firsts = [(0, None), (4, Some(0)), (8, Some(4))];
        let expected: Vec<_> =
            (0..9).map(|step| firsts.into_iter().find(|(first, _)| *first == step).unwrap_or((step, None))).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn patterns_have_schedules_of_their_own() {
    let steps = random_steps(7, &[300, 300]);
    for device in devices() {
        for span in [Span::Step, Span::Sample] {
            let builder = Scope::builder(&device).span(span).schedule_for("tensors.1", Schedule::every(3));
            let records = run(&device, builder, &steps, |_| 0);
            assert_eq!(records.len(), 7, "the first is observed at every step");
            for record in &records {
                let before = |every: u64| match span {
                    Span::Step => record.step.checked_sub(1),
                    _ => record.step.checked_sub(every),
                };
                for (tensor, every) in [(0, 1), (1, 3)] {
                    let what = format!("{span:?}: tensor {tensor} at step {}", record.step);
                    if !record.step.is_multiple_of(every) {
                        assert_eq!(record.tensors[tensor].gradient, Gradient::NotDue, "{what}");
                        continue;
                    }
                    let values = |step: u64| steps[step as usize][tensor].as_deref().unwrap();
                    let expected = oracle::summarise(values(record.step), before(every).map(values), EPS);
                    oracle::assert_summary(summary(record, tensor), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn schedules_that_name_no_step_are_refused() {
    let device = device();
    let model = bag(&device, &[4]);
    for schedule in [Schedule::every(0), Schedule::never(), Schedule::window(5..5, 1)] {
        let error = Scope::builder(&device).schedule(schedule).build(&model).err().unwrap().to_string();
        assert!(error.contains("names no step") && error.contains("every(1)"), "{error}");
    }
}

#[test]
fn statistics_are_of_unscaled_gradients() {
    let mut random = Random::new(43);
    let plain: Vec<Vec<f32>> = (0..3).map(|_| random.gradients(9000)).collect();
    let scales = [1.0, 1024.0, 65536.0];
    for device in devices() {
        let model = bag(&device, &[9000]);
        let mut scope = Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap();
        for (step, (values, scale)) in plain.iter().zip(scales).enumerate() {
            let scaled = values.iter().map(|g| g * scale as f32).collect();
            let gradients = model.gradients(&device, &[Some(scaled)]);
            scope.step(step as u64).gradient_scale(scale).gradients(&model, &gradients).submit();
        }
        for (step, values) in plain.iter().enumerate() {
            let before = step.checked_sub(1).map(|before| plain[before].as_slice());
            let expected = oracle::summarise(values, before, EPS);
            let record = scope.read(step as u64).unwrap();
            oracle::assert_summary(summary(&record, 0), &expected, &format!("step {step}"));
        }
        scope.poll();
        scope.step(3).gradient_scale(0.0).gradients(&model, &model.gradients(&device, &[None])).submit();
        scope.read(3).unwrap();
        let events = scope.poll();
        let told = |event: &Event| matches!(event, Event::Notice(n) if matches!(n.kind, NoticeKind::BadScale { .. }));
        assert_eq!(events.iter().filter(|event| told(event)).count(), 1);
    }
}

#[test]
fn taps_are_reduced_beside_the_gradients() {
    let mut random = Random::new(44);
    let values = random.poisons(10_000);
    let sigmoid = [0.0, 0.005, 0.01, 0.5, 0.99, 1.0, f32::NAN, f32::INFINITY];
    for device in devices() {
        let model = bag(&device, &[10]);
        let mut scope = Scope::builder(&device).build(&model).unwrap();
        for step in 0..3u64 {
            // Batches differ in length.
            let len = 10_000 - 10 * step as usize;
            let activation = crate::fixture::tensor(&device, &values[..len]).reshape([len / 10, 10]);
            let gradients = model.gradients(&device, &[Some(random.gradients(10))]);
            scope
                .step(step)
                .tap("relu1", &activation)
                .tap_tails("gate", &crate::fixture::tensor(&device, &sigmoid), [0.01, 0.99])
                .tap("transposed", &activation.transpose())
                .gradients(&model, &gradients)
                .submit();
            let record = scope.read(step).unwrap();
            let names: Vec<_> = record.taps.iter().map(|tap| tap.name.as_str()).collect();
            assert_eq!(names, ["relu1", "gate", "transposed"]);
            oracle::assert_summary(&record.taps[0].summary, &oracle::summarise(&values[..len], None, EPS), "relu1");
            assert_eq!(record.taps[0].tail_count, None);
            assert_eq!(record.taps[1].tail_count, Some([3, 2]), "NaN and infinities are at no rail");
            let transposed: Vec<f32> = (0..len).map(|i| values[(i % (len / 10)) * 10 + i / (len / 10)]).collect();
            let expected = oracle::summarise(&transposed, None, EPS);
            oracle::assert_summary(&record.taps[2].summary, &expected, "transposed");
        }
        let gradients = model.gradients(&device, &[None]);
        let tap = crate::fixture::tensor(&device, &sigmoid);
        scope.poll();
        scope.step(3).tap_tails("gate", &tap, [f32::NAN, 1.0]).gradients(&model, &gradients).submit();
        scope.read(3).unwrap();
        let told = scope.poll().iter().any(|event| event.to_string().contains("tap `gate` was skipped: a rail is NaN"));
        assert!(told);
    }
}

#[test]
fn a_sample_without_gradients_breaks_the_chain() {
    for device in devices() {
        let model = bag(&device, &[100]);
        let mut scope = Scope::builder(&device).span(Span::Sample).build(&model).unwrap();
        let mut random = Random::new(45);
        for there in [true, false, true, true] {
            let step = scope.summary().step_count;
            let values = there.then(|| random.gradients(100));
            scope.step(step).gradients(&model, &model.gradients(&device, &[values])).submit();
            let record = scope.read(step).unwrap();
            let previous = match record.tensors[0].gradient {
                Gradient::Observed { previous_step, .. } => previous_step,
                _ => None,
            };
            assert_eq!(previous, (step == 3).then_some(2), "at step {step}");
        }
    }
}

#[test]
fn averages_by_epoch_compare_with_the_epoch_before() {
    let steps = random_steps(9, &[5000]);
    let [ours, twins] = devices().map(|device| {
        let builder = Scope::builder(&device).stats(Stats::EMA).span(Span::Epoch);
        run(&device, builder, &steps, |step| step / 4)
    });
    for (ours, twins) in ours.iter().zip(&twins) {
        let transitions = |record: &StepRecord| {
            let summary = record.tensors[0].ema.as_ref().unwrap().gradient.unwrap();
            summary.dynamics.unwrap().transitions
        };
        assert_eq!(transitions(ours).is_some(), [4, 8].contains(&ours.step), "step {}", ours.step);
        let [a, b] = [ours, twins].map(|record| transitions(record).map(|t| t.retained_count[1]));
        assert!(a.zip(b).is_none_or(|(a, b)| a.abs_diff(b) <= 2), "step {}: {a:?}, {b:?}", ours.step);
        assert_eq!(a.is_some(), b.is_some());
    }
}

#[test]
fn a_changed_model_is_told_of_at_every_schedule() {
    let device = device();
    let model = bag(&device, &[4]);
    for span in [Span::Step, Span::Sample] {
        let mut scope = Scope::builder(&device).every(3).span(span).build(&model).unwrap();
        for step in 0..10 {
            let grown = bag(&device, if step < 2 { &[4] } else { &[4, 4] });
            scope.step(step).gradients(&grown, &grown.gradients(&device, &[None, None])).submit();
        }
        let events = scope.finish(&model).events;
        let told =
            |event: &&Event| matches!(event, Event::Notice(n) if matches!(n.kind, NoticeKind::ModelChanged { .. }));
        assert_eq!(events.iter().filter(told).count(), 1, "{span:?}: {events:?}");
    }
}

#[test]
fn the_last_move_carries_nothing_else() {
    let device = device();
    let model = bag(&device, &[4]);
    let builder = Scope::builder(&device)
        .stats(Stats::UPDATES | Stats::COSINE)
        .histograms(Schedule::every(1))
        .when_full(gradscope::WhenFull::Drop)
        .ring_len(1);
    let mut scope = builder.build(&model).unwrap();
    assert_eq!(scope.groups(), Stats::FULL | Stats::COSINE, "what is implied is added");
    scope.step(0).gradients(&model, &model.gradients(&device, &[Some(vec![1.0; 4])])).submit();
    let finished = scope.finish(&model);
    let [Event::Record(first), Event::Record(last)] = &finished.events[..] else { panic!("{:?}", finished.events) };
    assert!(first.shapes.is_some() && !first.last_move);
    assert!(last.last_move && last.shapes.is_none() && last.tensors[0].update.is_some());
    assert_eq!(finished.summary.dropped_count, 0, "the ring had room");
}

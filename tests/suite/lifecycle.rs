//! A scope over time: order behind burn's work, rings, threads, bad input, and ends of all kinds.

use crate::fixture::{Random, bag, device, summary, tensor};
use burn::module::{Module, Param};
use burn::tensor::{Device as BurnDevice, Tensor};
use gradscope::record::Gradient;
use gradscope::{Device, Error, Event, NoticeKind, Scope, Span, WhenFull};

#[derive(Module, Debug)]
struct Single {
    weight: Param<Tensor<2>>,
}

fn single(training: &BurnDevice) -> Single {
    Single { weight: Param::from_tensor(Tensor::ones([70, 50], training)).set_require_grad(true) }
}

/// The loss whose gradient is `value` in every element.
fn loss(model: &Single, value: f32) -> Tensor<1> {
    (model.weight.val() * value).sum()
}

fn watch_constant_gradients(device: &Device, steps: u64) {
    let training = device.burn().clone().autodiff();
    let model = single(&training);
    // Steps as tiny as these run ahead by the hundred on a slow driver.
    let mut scope = Scope::builder(device).ring_len(512).build(&model).unwrap();
    let mut records = Vec::new();
    let mut keep = |events: Vec<Event>| {
        records.extend(events.into_iter().filter_map(|event| match event {
            Event::Record(record) => Some(record),
            Event::Notice(notice) if notice.kind.is_fault() => panic!("{notice}"),
            _ => None,
        }));
    };
    for step in 0..steps {
        // Allocations come and go beside the gradients, so that pages are reused and pools cleaned.
        let clutter = Tensor::<1>::ones([1000 + 37 * (step as usize % 50)], device.burn()) * step as f32;
        let sign = if step % 3 == 0 { -1.0 } else { 1.0 };
        let loss = loss(&model, sign * (step + 1) as f32);
        let gradients = loss.backward();
        scope.step(step).scalar("loss", &loss).gradients(&model, &gradients).submit();
        drop(clutter);
        if step % 200 == 199 {
            device.burn().memory_cleanup();
        }
        keep(scope.poll());
    }
    assert_eq!(scope.wait_count(), 0, "the training thread waited for the scope's own copies");
    keep(scope.finish(&model).events);
    assert_eq!(records.len() as u64, steps);
    for (step, record) in records.iter().enumerate() {
        assert_eq!(record.step, step as u64, "records come in order");
        let expected = if step % 3 == 0 { -1.0 } else { 1.0 } * (step + 1) as f32;
        let found = summary(record, 0);
        assert_eq!((found.min, found.max), (Some(expected), Some(expected)), "the gradient of step {step}");
        assert_eq!(record.scalar("loss").map(|x| (x / 3500.0).round() as f32), Some(expected));
        let flips = if step == 0 {
            None
        } else if step % 3 == 2 {
            Some(0)
        } else {
            Some(3500)
        };
        assert_eq!(found.sign_flip_count, flips, "step {step}");
    }
}

#[test]
fn a_thousand_steps_in_order_without_a_wait() {
    watch_constant_gradients(&device(), 1000);
}

#[test]
fn training_on_another_thread() {
    let device = device();
    std::thread::spawn(move || watch_constant_gradients(&device, 60)).join().unwrap();
}

#[test]
fn the_cost_of_a_step_is_in_its_record() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let model = single(&training);
    let mut costs = Vec::new();
    for timed in [true, false] {
        let mut scope = Scope::builder(&device).gpu_timer(timed).build(&model).unwrap();
        let started = std::time::Instant::now();
        // A scalar and a tap stand between the summaries and the clock readings.
        let total = loss(&model, 1.0);
        let gradients = total.backward();
        scope.step(0).scalar("loss", &total).tap("loss", &total).gradients(&model, &gradients).submit();
        let record = scope.read(0).unwrap();
        let wall_secs = started.elapsed().as_secs_f64();
        let cost = record.cost;
        assert!(record.scalar("loss").is_some_and(f64::is_finite) && record.taps.len() == 1, "{record:?}");
        for secs in [cost.submit_secs, cost.encode_secs, cost.read_secs] {
            assert!(0.0 < secs && secs < wall_secs, "{cost:?} in {wall_secs} s");
        }
        match cost.gpu_secs {
            // A clock that is off by its unit would show hours, or nothing.
            Some(secs) => assert!(timed && 1e-7 < secs && secs < wall_secs, "{secs} s on the GPU in {wall_secs} s"),
            None => assert!(!timed || !device.is_software(), "llvmpipe and SwiftShader have timestamps among commands"),
        }
        costs.push(cost);
    }
    let clock_bytes = if costs[0].gpu_secs.is_some() { 16 } else { 0 };
    assert_eq!(costs[0].readback_bytes, costs[1].readback_bytes + clock_bytes, "two readings of 64 bits");
}

#[test]
fn two_scopes_on_one_device() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let model = single(&training);
    let mut scopes = [1e-7, 1e-6].map(|eps| Scope::builder(&device).epsilons([eps, 0.5]).build(&model).unwrap());
    for step in 0..10 {
        let gradients = loss(&model, 0.25 * (step + 1) as f32).backward();
        for scope in &mut scopes {
            scope.step(step).gradients(&model, &gradients).submit();
        }
    }
    let [a, b] =
        scopes.map(|mut scope| (0..10).map(|step| *summary(&scope.read(step).unwrap(), 0)).collect::<Vec<_>>());
    assert_eq!(a, b);
    assert_eq!(a[0].near_zero_count, [0, 3500]);
    assert_eq!(a[1].near_zero_count, [0, 0], "0.5 is not below 0.5");
}

#[test]
fn a_full_ring_waits_or_drops_and_counts() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let model = single(&training);
    for when_full in [WhenFull::Wait, WhenFull::Drop] {
        let mut scope = Scope::builder(&device).ring_len(1).when_full(when_full).build(&model).unwrap();
        for step in 0..30 {
            let gradients = loss(&model, 1.0).backward();
            scope.step(step).gradients(&model, &gradients).submit();
        }
        let waits = scope.wait_count();
        let finished = scope.finish(&model);
        let events = finished.events;
        let records = events.iter().filter(|event| matches!(event, Event::Record(_))).count();
        let dropped = events.iter().filter(
            |event| matches!(event, Event::Notice(notice) if matches!(notice.kind, NoticeKind::StepDropped { .. })),
        );
        match when_full {
            WhenFull::Wait => assert!(records == 30 && waits > 0, "{records} records, {waits} waits"),
            _ => {
                let dropped = dropped.count();
                assert!(records + dropped == 30 && dropped > 0, "{records} records, {dropped} dropped");
                assert_eq!((waits, finished.summary.dropped_count), (0, dropped as u64));
            }
        }
    }
}

#[test]
fn a_parameter_that_was_replaced_at_a_dropped_step_is_compared_with_nothing() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let models = [single(&training), single(&training)];
    let builder = Scope::builder(&device).span(Span::Sample).ring_len(1).when_full(WhenFull::Drop);
    let mut scope = builder.build(&models[0]).unwrap();
    let submit = |scope: &mut Scope, step: u64, model: usize| {
        let gradients = loss(&models[model], 1.0).backward();
        scope.step(step).gradients(&models[model], &gradients).try_submit()
    };
    let previous = |scope: &mut Scope, step: u64| match scope.read(step).unwrap().tensors[0].gradient {
        Gradient::Observed { previous_step, .. } => previous_step,
        other => panic!("{other:?}"),
    };
    // Until a step that brings the other parameter finds the ring full.
    for step in (0..100).step_by(3) {
        submit(&mut scope, step, 0).unwrap();
        let is_dropped = submit(&mut scope, step + 1, 1).is_err();
        scope.read(if is_dropped { step } else { step + 1 }).unwrap();
        submit(&mut scope, step + 2, 1).unwrap();
        if is_dropped {
            assert_eq!(previous(&mut scope, step + 2), None, "the step before was the other parameter's");
            return;
        }
        assert_eq!(previous(&mut scope, step + 2), Some(step + 1));
    }
    panic!("no step was dropped");
}

#[test]
fn missing_then_back_then_a_gap_in_the_steps() {
    let device = device();
    let model = bag(&device, &[100, 100]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let mut random = Random::new(5);
    // Step numbers, and whether the first tensor has a gradient.
    for (step, there) in [(0, true), (1, false), (2, true), (3, true), (7, true), (8, true)] {
        let values = [there.then(|| random.gradients(100)), Some(random.gradients(100))];
        scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
    }
    let compared = |scope: &mut Scope, step, tensor: usize| match scope.read(step).unwrap().tensors[tensor].gradient {
        Gradient::Observed { summary, previous_step } => {
            assert_eq!(summary.sign_flip_count.is_some(), previous_step.is_some());
            previous_step
        }
        _ => Some(u64::MAX),
    };
    let first: Vec<_> = [0, 1, 2, 3, 7, 8].map(|step| compared(&mut scope, step, 0)).to_vec();
    assert_eq!(first, [None, Some(u64::MAX), None, Some(2), None, Some(7)]);
    let second: Vec<_> = [0, 1, 2, 3, 7, 8].map(|step| compared(&mut scope, step, 1)).to_vec();
    assert_eq!(second, [None, Some(0), Some(1), Some(2), None, Some(7)]);
}

#[test]
fn dropped_without_finish_and_steps_without_gradients() {
    let device = device();
    let model = bag(&device, &[10]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    scope.step(0).scalar("lr", 0.1).submit();
    let record = scope.read(0).unwrap();
    assert_eq!(record.tensors[0].gradient, Gradient::Missing);
    assert_eq!(record.scalar("lr"), Some(0.1));
    let values = [Some(vec![1.0; 10])];
    scope.step(1).gradients(&model, &model.gradients(&device, &values)).submit();
    drop(scope);
}

#[test]
fn reading_what_never_was_is_an_error() {
    let device = device();
    let model = bag(&device, &[10]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    assert!(matches!(scope.read(3), Err(Error::UnknownStep(3))));
}

#[test]
fn a_scalar_of_many_elements_is_skipped_with_a_notice() {
    let device = device();
    let model = bag(&device, &[10]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    scope.step(0).scalar("loss", &Tensor::<1>::ones([3], device.burn())).submit();
    assert_eq!(scope.read(0).unwrap().scalar("loss"), None);
    let notices: Vec<_> =
        scope.poll().iter().map(ToString::to_string).filter(|line| line.contains("skipped")).collect();
    assert_eq!(notices, ["step 0: scalar `loss` was skipped: it has 3 elements, not one"]);
}

#[test]
fn another_model_than_at_the_start_gets_one_notice() {
    let device = device();
    let model = bag(&device, &[10, 20]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let other = bag(&device, &[10, 20, 30]);
    for step in 0..3 {
        let values = [Some(vec![1.0; 10]), Some(vec![1.0; 20]), Some(vec![1.0; 30])];
        scope.step(step).gradients(&other, &other.gradients(&device, &values)).submit();
        let record = scope.read(step).unwrap();
        assert_eq!(record.tensors.len(), 2);
        assert_eq!(summary(&record, 1).numel, 20, "found by its path");
    }
    let changed =
        |event: &&Event| matches!(event, Event::Notice(n) if n.kind == NoticeKind::ModelChanged { unknown_count: 1 });
    assert_eq!(scope.poll().iter().filter(changed).count(), 1);
}

#[test]
fn a_gradient_that_lives_elsewhere_is_unreadable_not_missing() {
    let (device, cpu) = (device(), Device::open(gradscope::DeviceChoice::Cpu).unwrap());
    let model = bag(&device, &[10]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    scope.step(0).gradients(&model, &model.gradients(&cpu, &[Some(vec![1.0; 10])])).submit();
    assert_eq!(scope.read(0).unwrap().tensors[0].gradient, Gradient::Unreadable);
    let notice = scope.poll()[0].to_string();
    assert!(notice.contains("tensors.0: not observed: it lives on"), "{notice}");
}

#[test]
fn finishing_on_another_thread_than_training() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let model = single(&training);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    for step in 0..5 {
        let gradients = loss(&model, 1.0).backward();
        scope.step(step).gradients(&model, &gradients).submit();
    }
    let finished = std::thread::spawn(move || scope.finish(&model)).join().unwrap();
    assert_eq!((finished.summary.step_count, finished.summary.lost_count), (5, 0));
}

/// The tensor's new owner adds to it in place as soon as nobody else holds it, while the step is handed to burn.
#[test]
fn a_tensor_that_another_thread_changes_is_recorded_as_the_step_saw_it() {
    const STEP_COUNT: u64 = 300;
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).diagnose(false).build(&model).unwrap();
    let (give, given) = std::sync::mpsc::channel::<Tensor<1>>();
    let owner = std::thread::spawn(move || {
        for (number, tensor) in given.into_iter().enumerate() {
            // At one moment of handing over after the other.
            std::thread::sleep(std::time::Duration::from_micros(number as u64 % 100 * 4));
            drop(tensor.add_scalar(1e6).into_data());
        }
    });
    let mut records = vec![];
    for number in 0..STEP_COUNT {
        let shared = tensor(&device, &vec![number as f32; 5000]);
        let step = scope.step(number).tap("shared", &shared);
        give.send(shared).unwrap();
        step.submit();
        records.extend(scope.poll());
    }
    drop(give);
    owner.join().unwrap();
    records.extend(scope.finish(&model).events);
    let records = records.into_iter().filter_map(|event| match event {
        Event::Record(record) => Some(record),
        _ => None,
    });
    let extremes: Vec<_> = records.map(|r| (r.step, r.taps[0].summary.min, r.taps[0].summary.max)).collect();
    let expected: Vec<_> = (0..STEP_COUNT).map(|n| (n, Some(n as f32), Some(n as f32))).collect();
    assert_eq!(extremes, expected);
}

#[test]
fn events_of_a_caller_who_never_polls_are_bounded_and_counted() {
    let device = device();
    let model = bag(&device, &[10]);
    let mut scope = Scope::builder(&device).diagnose(false).build(&model).unwrap();
    for step in 0..700 {
        scope.step(step).scalar("lr", 0.1).submit();
    }
    let finished = scope.finish(&model);
    assert_eq!(finished.summary.step_count, 700);
    assert_eq!(finished.events.len() as u64 + finished.summary.unpolled_count, 700);
    assert_eq!(finished.events.len(), 512);
}

#[test]
fn bad_settings_name_the_object_and_the_remedy() {
    let device = device();
    let model = bag(&device, &[10]);
    let error = |builder: gradscope::ScopeBuilder| builder.build(&model).expect_err("it is refused").to_string();
    for (found, expected) in [
        (error(Scope::builder(&device).epsilons([f64::NAN, 1.0])), "epsilon NaN is not a finite, positive number"),
        (error(Scope::builder(&device).epsilons([1.0, 0.5])), "1 is not below 0.5"),
        (
            error(Scope::builder(&device).select("conv")),
            "`conv` matches none of the model's 1 parameters; the first ones are: tensors.0",
        ),
        (error(Scope::builder(&device).exclude("tensors")), "`all but tensors` matches none"),
        (error(Scope::builder(&device).select("(")), "`(` is no regular expression"),
        (error(Scope::builder(&device).ring_len(0)), "ring_len is 0"),
    ] {
        assert!(found.contains(expected), "{found}");
    }
    let cpu = Device::open(gradscope::DeviceChoice::Cpu).unwrap();
    let found = Scope::builder(&cpu).build(&model).err().unwrap();
    assert!(matches!(found, Error::WrongDevice { .. }), "{found}");
    assert!(matches!("tpu".parse::<gradscope::DeviceChoice>(), Err(Error::UnknownDevice(_))));
}

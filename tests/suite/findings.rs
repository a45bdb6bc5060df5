//! Findings of scopes: who is told, what stands on disk, and a run in words.

use crate::fixture::{bag, device};
use crate::sheets::{Sheet, params, sheets};
use gradscope::diagnosis::{Rules, spec};
use gradscope::record::{Action, Finding, HistogramOf, Rule, Severity};
use gradscope::store::{Missed, Reading, RunPlace, RunStart, RunWriter};
use gradscope::{Event, Run, RunStatus, Schedule, Scope, StepRecord};
use serde_json::json;

#[test]
fn a_scope_tells_the_caller_the_disk_and_the_loop() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8, 8]);
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hearing = std::sync::Arc::clone(&heard);
    let mut scope = Scope::builder(&device)
        .run(parent.path())
        .rules(Rules::default().setting("non_finite=stop").unwrap())
        .flight_recorder(3)
        .capture("tensors.0", Schedule::never())
        .on_finding(move |finding| hearing.lock().unwrap().push((finding.rule, finding.open)))
        .build(&model)
        .unwrap();
    let mut steps = 0;
    for step in 0..100 {
        let values = [Some(vec![if step == 7 { f32::INFINITY } else { 1.0 }; 8]), Some(vec![1.0; 8])];
        scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
        steps = step;
        if step == 20 {
            scope.read(20).unwrap();
        }
        if scope.should_stop().is_some() {
            break;
        }
    }
    let values = [Some(vec![1.0; 8]), Some(vec![1.0; 8])];
    scope.step(steps + 1).gradients(&model, &model.gradients(&device, &values)).submit();
    assert!((7..=20).contains(&steps), "the loop was told at step {steps}");
    assert_eq!(scope.should_stop().map(|finding| finding.rule), Some(Rule::NonFinite));
    let folder = scope.finish(&model).folder.unwrap();
    assert_eq!(*heard.lock().unwrap(), [(Rule::NonFinite, true), (Rule::NonFinite, false)]);
    let captured = format!("captures/step-{:08}.safetensors", steps + 1);
    assert!(folder.join(&captured).exists(), "the step after a snapshot is captured: {captured}");
    let path = folder.join("snapshots/step-000000007-non_finite.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let records: Vec<StepRecord> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<u64> = records.iter().map(|record| record.step).collect();
    assert_eq!(steps.len(), 3, "as many as the recorder holds: {steps:?}");
    assert!(steps.contains(&7), "{steps:?}");
    assert_eq!(Run::open(&folder).unwrap().findings().unwrap()[0].action, Action::Stop);
}

#[test]
fn a_callback_that_panics_is_told_of_and_training_goes_on() {
    let device = device();
    let model = bag(&device, &[8]);
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&calls);
    let on_finding = move |finding: &Finding| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        panic!("no room for {}", finding.rule);
    };
    let mut scope = Scope::builder(&device).on_finding(on_finding).build(&model).unwrap();
    for step in 0..20 {
        let values = [Some(vec![if step == 3 { f32::NAN } else { 1.0 }; 8])];
        scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
    }
    let finished = scope.finish(&model);
    let notices: Vec<String> = finished
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Notice(notice) if notice.kind.is_fault() => Some(notice.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("`on_finding` panicked (no room for non_finite)"), "{notices:?}");
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 1);
    let count = |wanted: fn(&Event) -> bool| finished.events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Record(_))), 20);
    assert_eq!(count(|event| matches!(event, Event::Finding(_))), 2, "as it began and as it ended");
}

/// The run that these sheets make, in a folder.
fn recorded(parent: &std::path::Path, sheets: &[Sheet]) -> Run {
    recorded_with(parent, sheets, json!({ "stats": "full" }))
}

fn recorded_with(parent: &std::path::Path, sheets: &[Sheet], settings: serde_json::Value) -> Run {
    let start = RunStart {
        burn_version: "0".into(),
        adapter: "none".into(),
        engine: "none".into(),
        fusion: false,
        autotune: false,
        groups: gradscope::Stats::FULL,
        tensorboard: false,
        settings,
        params: params(),
        facts: vec![("optimizer".into(), "adam".into())],
        flight_recorder_len: 0,
        ..RunStart::default()
    };
    let mut writer = RunWriter::open(&RunPlace::New(parent.to_owned()), start).unwrap();
    for (n, sheet) in (0..).zip(sheets) {
        let mut record = sheet.record(n, n);
        record.scalars.push(("lr".into(), 1e-3));
        record.shapes = None;
        writer.write(&record);
        if n % 100 == 0 {
            assert!(writer.sync());
        }
    }
    Run::open(writer.finish(RunStatus::Finished, Missed::default()).0.unwrap()).unwrap()
}

#[test]
fn a_run_is_read_in_words() {
    let parent = tempfile::tempdir().unwrap();
    let healthy = Reading::of(&recorded(parent.path(), &sheets(400, |_, _| {}))).unwrap();
    let text = healthy.to_string();
    assert!(healthy.is_healthy() && text.contains("Nothing is wrong"), "{text}");
    assert!((healthy.updates.ratio().unwrap() - 1e-3).abs() < 1e-6, "{healthy:?}");
    assert!(
        (healthy.first_to_last().unwrap() - 1.0).abs() < 1e-6
            && (healthy.biases_to_weights().unwrap() - 1.0).abs() < 1e-6
    );
    for said in [
        "first.weight",
        "as at first",
        "learning rate of 0.001 fits",
        "50% of the gradient's signs flip",
        "crosses a minimum: so it is the noise",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.contains("Loss: 2.2 at the first step"), "{text}");
    // Gradients that fade from layer to layer, moves that are too small, and a first layer that faded over the run.
    let fading = sheets(400, |n, sheet| {
        for (place, tensor) in sheet.tensors.iter_mut().enumerate() {
            tensor.rms =
                1e-3 * 1e-2f64.powi(2 - place as i32 / 2) * if place < 2 { 0.99f64.powi(n as i32) } else { 1.0 };
            tensor.update_to_weight = 2e-5;
        }
    });
    let run = recorded(parent.path(), &fading);
    let text = Reading::examined(&run, &Rules::default().setting("vanishing_depth=off").unwrap()).unwrap().to_string();
    assert!(text.contains("shrink on their way back") && text.contains("down to 0.0"), "{text}");
    let reading = Reading::of(&run).unwrap();
    assert!(
        !reading.is_healthy() && reading.to_string().contains("vanishing_depth"),
        "it was recorded undiagnosed: {reading}"
    );
    let slow = sheets(400, |_, sheet| sheet.tensors.iter_mut().for_each(|tensor| tensor.update_to_weight = 5e-5));
    let slow =
        Reading::examined(&recorded(parent.path(), &slow), &Rules::default().off(Rule::UnstableLearning)).unwrap();
    assert!(slow.to_string().contains("could be higher"), "{slow}");
}

#[test]
fn a_run_folder_knows_that_its_model_was_pretrained() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8]);
    let mut scope = Scope::builder(&device).run(parent.path()).pretrained(true).build(&model).unwrap();
    scope.step(0).gradients(&model, &model.gradients(&device, &[Some(vec![1.0; 8])])).submit();
    let folder = scope.finish(&model).folder.unwrap();
    let mut settings = Run::open(folder).unwrap().manifest().settings.clone();
    settings["diagnose"] = false.into();
    let large = sheets(100, |_, sheet| sheet.tensors[2].weight_rms = 3.0);
    let complains = |settings: &serde_json::Value| {
        let reading = Reading::of(&recorded_with(parent.path(), &large, settings.clone())).unwrap();
        reading.findings.iter().any(|finding| finding.rule == Rule::PoorInitialisation)
    };
    settings["stats"] = "full".into();
    assert!(!complains(&settings), "{settings}");
    settings["pretrained"] = false.into();
    assert!(complains(&settings), "{settings}");
}

#[test]
fn files_and_options_have_the_same_words() {
    let written = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    Rule::ALL.iter().for_each(|rule| assert_eq!(written(json!(rule)), rule.id()));
    [Severity::Note, Severity::Warn, Severity::Critical].iter().for_each(|s| assert_eq!(written(json!(s)), s.id()));
    [Action::Tell, Action::Snapshot, Action::Stop].iter().for_each(|a| assert_eq!(written(json!(a)), a.id()));
    [HistogramOf::Gradient, HistogramOf::Parameter].iter().for_each(|of| assert_eq!(written(json!(of)), of.id()));
    [RunStatus::Running, RunStatus::Finished, RunStatus::Interrupted, RunStatus::Unfinished]
        .iter()
        .for_each(|status| assert_eq!(written(json!(status)), status.id()));
}

#[test]
fn the_documentation_has_every_rule_and_its_numbers() {
    let docs = include_str!("../../docs/diagnoses.md");
    for rule in Rule::ALL {
        let spec = spec(*rule);
        let section = docs.split("\n### ").find(|section| section.starts_with(&format!("`{rule}`")));
        let section: String = section
            .map(|section| section.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_else(|| panic!("docs/diagnoses.md has no section on {rule}"));
        for number in spec.numbers {
            let said = format!("`{}` {}", number.name, number.default);
            assert!(section.contains(&said), "docs/diagnoses.md, {rule}: `{said}` is missing");
        }
    }
}

#[test]
fn findings_stand_in_the_folder_and_end_with_the_run() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8, 8]);
    let train = |scope: &mut Scope, steps: std::ops::Range<u64>, from: u64| {
        for step in steps {
            let first = if step >= from { f32::NAN } else { 1.0 };
            let values = [Some(vec![first; 8]), Some(vec![1.0; 8])];
            scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
        }
    };
    let mut scope = Scope::builder(&device).run(parent.path()).build(&model).unwrap();
    train(&mut scope, 0..6, 3);
    let finished = scope.finish(&model);
    let told: Vec<&Finding> =
        finished.events.iter().filter_map(|e| if let Event::Finding(f) = e { Some(f) } else { None }).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((told[0].path.as_deref(), told[0].first_step, told[0].open), (Some("tensors.0"), 3, true));
    let folder = finished.folder.unwrap();
    assert_eq!(Run::open(&folder).unwrap().findings().unwrap(), [told[1].clone()]);
    // A run that goes on from before it has not found it.
    let mut scope = Scope::builder(&device).resume(&folder, 2).build(&model).unwrap();
    train(&mut scope, 2..6, 100);
    scope.finish(&model);
    assert_eq!(Run::open(&folder).unwrap().findings().unwrap(), []);
    let mut quiet = Scope::builder(&device).diagnose(false).build(&model).unwrap();
    train(&mut quiet, 0..3, 0);
    assert!(quiet.finish(&model).events.iter().all(|event| matches!(event, Event::Record(_))));
}

/// The words of a run of these sheets.
fn words(sheets: &[Sheet], settings: serde_json::Value) -> String {
    let parent = tempfile::tempdir().unwrap();
    Reading::of(&recorded_with(parent.path(), sheets, settings)).unwrap().to_string()
}

#[test]
fn the_row_of_the_last_update_is_no_step() {
    for count in [1, 2, 14] {
        let parent = tempfile::tempdir().unwrap();
        let run = recorded(parent.path(), &sheets(count, |_, _| {}));
        let mut writer =
            RunWriter::open(&RunPlace::Resumed { folder: run.folder().to_owned(), first_step: count }, start_of(&run))
                .unwrap();
        let mut last = sheets(1, |_, _| {})[0].record(count, count);
        last.last_move = true;
        last.tensors.iter_mut().for_each(|tensor| tensor.gradient = gradscope::record::Gradient::Missing);
        writer.write(&last);
        let run = Run::open(writer.finish(RunStatus::Finished, Missed::default()).0.unwrap()).unwrap();
        let reading = Reading::of(&run).unwrap();
        assert!(reading.parameters.iter().all(|parameter| parameter.late_rms > 0.0), "{count} steps: {reading}");
        assert_eq!(reading.step_count, count);
        assert_eq!(run.curves(64).unwrap().spans().iter().flatten().next_back().map(|span| span[1]), Some(count - 1));
        assert_eq!(run.step_count(u64::MAX).unwrap(), count);
        let series = run.series(|_| true).unwrap();
        assert!(series.len() > 5 && series.iter().all(|series| series.points.iter().all(|(step, _)| *step < count)));
        let mut follower = gradscope::store::Follower::open(run.folder(), 64).unwrap();
        while follower.poll().unwrap() {}
        let ends = follower.traces().iter().flat_map(|trace| trace.points().last().map(|point| point.steps[1]));
        assert!(ends.clone().count() > 5 && ends.clone().all(|step| step < count), "{:?}", ends.collect::<Vec<_>>());
    }
}

fn start_of(run: &Run) -> RunStart {
    RunStart {
        groups: run.manifest().groups(),
        settings: run.manifest().settings.clone(),
        params: run.params().to_vec(),
        ..RunStart::default()
    }
}

#[test]
fn what_could_not_be_judged_is_said() {
    let short = words(&sheets(2, |_, _| {}), json!({ "stats": "full" }));
    assert!(short.contains("Nothing is wrong, as far as the rules see that could judge the run"), "{short}");
    assert!(short.contains("needs more steps"), "{short}");
    let card = words(&sheets(300, |_, _| {}), json!({ "stats": "card", "diagnose": true }));
    assert!(card.contains("dead_weights (needs the statistics `params`)"), "{card}");
}

#[test]
fn a_rate_of_zero_is_not_called_unrecorded() {
    let text = words(
        &sheets(60, |_, sheet| sheet.tensors.iter_mut().for_each(|tensor| tensor.update_to_weight = 0.0)),
        json!({ "stats": "full" }),
    );
    assert!(text.contains("no weight is updated any more"), "{text}");
    assert!(!text.contains("no updates were recorded"), "{text}");
}

#[test]
fn tensors_that_are_always_zero_or_not_finite_are_named() {
    let ill = sheets(60, |n, sheet| {
        sheet.tensors[0].rms = 0.0;
        if n >= 40 {
            // All of its elements.
            sheet.tensors[2].nan_count = 100 * 100;
        }
    });
    let text = words(&ill, json!({ "stats": "full" }));
    let line =
        |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default().to_owned();
    let paths: Vec<String> = params().iter().map(|param| param.path.clone()).collect();
    assert!(line(&paths[0]).contains("always: no gradient reaches it"), "{text}");
    assert!(line(&paths[2]).contains("NaN  since step 40"), "{text}");
}

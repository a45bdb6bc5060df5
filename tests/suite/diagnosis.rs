//! Rules on records made by hand, and in a scope.

use crate::fixture::{bag, device};
use gradscope::diagnosis::Diagnosis;
use gradscope::record::{Finding, Gradient, Param, Rule, Severity, TensorRecord};
use gradscope::stats::{ParameterSummary, Partial, UpdateSummary};
use gradscope::{Event, Run, Scope, StepRecord};

const NUMEL: u64 = 4;

/// What a tensor is at a step.
#[derive(Clone, Copy)]
enum Is {
    Fine,
    Zero,
    Nan,
    Missing,
}

fn tensor(is: Is, update: Option<UpdateSummary>) -> TensorRecord {
    let mut partial = Partial { numel: NUMEL, previous_numel: NUMEL, ..Partial::IDENTITY };
    let gradient = match is {
        Is::Missing => Gradient::Missing,
        Is::Fine | Is::Zero | Is::Nan => {
            partial.positive_count = if matches!(is, Is::Zero) { 0 } else { 2 };
            partial.nan_count = if matches!(is, Is::Nan) { 1 } else { 0 };
            Gradient::Observed { summary: partial.finish(), previous_step: None }
        }
    };
    let parameter = ParameterSummary {
        numel: NUMEL,
        nonfinite_count: 0,
        min: None,
        max: None,
        sum: 0.0,
        std: None,
        l1_norm: 1.0,
        l2_norm: 1.0,
        near_zero_count: 0,
    };
    TensorRecord { parameter: Some(parameter), update, ..TensorRecord::of(gradient) }
}

fn record(step: u64, tensors: Vec<TensorRecord>) -> StepRecord {
    StepRecord { step, tensors, ..StepRecord::default() }
}

/// Every finding over the steps, `every` apart, with the place of the step that told it; the end's at the last place.
fn found(every: u64, steps: &[&[Is]]) -> Vec<(usize, Finding)> {
    let param = |n: usize| Param { path: format!("layer{n}"), shape: vec![4], numel: NUMEL, dtype: "f32".into() };
    let params: Vec<Param> = (0..steps[0].len()).map(param).collect();
    let mut diagnosis = Diagnosis::new(params.into());
    let mut found = Vec::new();
    for (place, tensors) in steps.iter().enumerate() {
        let tensors = tensors.iter().map(|is| tensor(*is, None)).collect();
        found.extend(diagnosis.examine(&record(every * place as u64, tensors)).into_iter().map(|f| (place, f)));
    }
    found.extend(diagnosis.finish().into_iter().map(|finding| (steps.len(), finding)));
    found
}

#[test]
fn healthy_records_stay_quiet() {
    assert_eq!(found(1, &[&[Is::Fine, Is::Fine, Is::Missing] as &[Is]; 300]), []);
    assert_eq!(found(1, &[&[Is::Missing, Is::Missing] as &[Is]; 300]), [], "nothing is known of what is missing");
}

#[test]
fn nans_name_the_tensor_that_is_nearest_to_their_source() {
    let (fine, nan): (&[Is], &[Is]) = (&[Is::Fine; 3], &[Is::Nan, Is::Nan, Is::Fine]);
    let mut steps = vec![fine; 5];
    steps.extend([nan, nan, fine, nan]);
    steps.extend([fine; 10]);
    steps.push(nan);
    let found = found(10, &steps);
    let told: Vec<_> = found.iter().map(|(place, f)| (*place, f.open, f.first_step, f.last_step)).collect();
    assert_eq!(
        told,
        [(5, true, 50, 50), (18, false, 50, 80), (19, true, 190, 190), (20, false, 190, 190)],
        "one finding an episode, told when it begins and when it ends"
    );
    assert!(found.iter().all(|(_, f)| f.rule == Rule::NonFinite && f.severity == Severity::Critical));
    assert_eq!(found[0].1.path.as_deref(), Some("layer1"), "backpropagation came to it first");
    assert_eq!(found[0].1.evidence[..2], [("tensor_count".into(), 2.0), ("nonfinite_count".into(), 2.0)]);
}

#[test]
fn nans_everywhere_come_from_before() {
    let found = found(1, &[&[Is::Fine, Is::Missing, Is::Fine], &[Is::Nan, Is::Missing, Is::Nan]]);
    assert_eq!((found.len(), found[0].1.path.as_deref()), (2, None));
    assert!(found[0].1.to_string().contains("from the loss"), "{}", found[0].1);
}

#[test]
fn zeros_are_told_after_ten_steps_and_missing_gradients_are_none() {
    let (fine, zero): (&[Is], &[Is]) = (&[Is::Fine; 2], &[Is::Zero, Is::Fine]);
    let missing: &[Is] = &[Is::Missing, Is::Fine];
    assert_eq!(found(1, &[[zero; 9].as_slice(), &[fine]].concat()), [], "just below");
    let at = found(100, &[[zero; 9].as_slice(), &[missing, zero], &[fine; 3]].concat());
    let told: Vec<_> = at.iter().map(|(place, f)| (*place, f.open, f.first_step, f.last_step)).collect();
    assert_eq!(told, [(10, true, 0, 1000), (13, false, 0, 1000)], "a step without a gradient says nothing");
    assert_eq!((at[0].1.path.as_deref(), at[0].1.severity), (Some("layer0"), Severity::Warn));
    let all = found(1, &[&[Is::Zero, Is::Zero] as &[Is]; 12]);
    assert_eq!(all.len(), 2, "one finding, and not one a tensor: {all:?}");
    assert_eq!((all[0].1.path.as_deref(), all[0].1.severity), (None, Severity::Critical));
}

#[test]
fn what_does_not_move_is_told_where_its_gradient_asks_for_it() {
    let update = |previous_step, unchanged_count| UpdateSummary {
        previous_step,
        l1_norm: 0.0,
        l2_norm: 0.0,
        abs_max: 0.0,
        update_to_weight: 0.0,
        unchanged_count,
        nonfinite_count: 0,
        crossings: None,
        retained: None,
        seed: None,
    };
    // Each step: what the first tensor's gradient is, and unchanged elements of the first and of the second.
    let found = |steps: &[(Is, u64, u64)]| {
        let param = |path: &str| Param { path: path.into(), shape: vec![4], numel: NUMEL, dtype: "f32".into() };
        let mut diagnosis = Diagnosis::new(vec![param("head"), param("body")].into());
        let mut found = Vec::new();
        for (step, (is, head, body)) in (0..).zip(steps) {
            let moved = |unchanged: u64| (step > 0).then(|| update(step - 1, unchanged));
            let tensors = vec![tensor(*is, moved(*head)), tensor(Is::Fine, moved(*body))];
            found.extend(diagnosis.examine(&record(step, tensors)));
        }
        found
    };
    assert_eq!(found(&[(Is::Fine, NUMEL, 0); 3]), [], "two moves: just below");
    let at = found(&[(Is::Fine, NUMEL, 0); 4]);
    assert_eq!((at.len(), at[0].rule, at[0].path.as_deref(), at[0].first_step), (1, Rule::Unchanged, Some("head"), 1));
    assert_eq!(found(&[(Is::Fine, NUMEL - 1, 0); 50]), [], "one element moves");
    assert_eq!(found(&[(Is::Zero, NUMEL, 0); 8]), [], "its gradient asks for no move");
    assert_eq!(found(&[(Is::Missing, NUMEL, 0); 50]), [], "it is frozen");
    assert_eq!(found(&[(Is::Fine, NUMEL, NUMEL); 50]), [], "nothing moves: the learning rate is 0");
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
    let finished = scope.finish(&model).unwrap();
    let told: Vec<&Finding> =
        finished.events.iter().filter_map(|e| if let Event::Finding(f) = e { Some(f) } else { None }).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((told[0].path.as_deref(), told[0].first_step, told[0].open), (Some("tensors.0"), 3, true));
    let folder = finished.folder.unwrap();
    assert_eq!(Run::open(&folder).unwrap().findings().unwrap(), [told[1].clone()]);
    // A run that goes on from before it has not found it.
    let mut scope = Scope::builder(&device).resume(&folder, 2).build(&model).unwrap();
    train(&mut scope, 2..6, 100);
    scope.finish(&model).unwrap();
    assert_eq!(Run::open(&folder).unwrap().findings().unwrap(), []);
    let mut quiet = Scope::builder(&device).diagnose(false).build(&model).unwrap();
    train(&mut quiet, 0..3, 0);
    assert!(quiet.finish(&model).unwrap().events.iter().all(|event| matches!(event, Event::Record(_))));
}

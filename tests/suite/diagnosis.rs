//! Each rule on records made by hand: its threshold, its patience, and what it stays quiet about.

use crate::sheets::{Sheet, Tensor, found, found_by, params, sheets};
use gradscope::diagnosis::{Context, Diagnosis, Rules, spec};
use gradscope::record::{Action, Finding, Global, Gradient, Rule, Severity, TensorRecord};

/// A rule at its threshold: `plant` puts a figure into sheet `n`.
struct Trial {
    rule: Rule,
    plant: fn(u64, &mut Sheet, f64),
    /// A figure that is well inside, and one that is well outside, of what the rule lets pass; both next to its threshold.
    quiet: f64,
    told: f64,
    /// Sheets after which it is told, and not before: warm-up, window and patience.
    after: u64,
    path: Option<&'static str>,
}

const EARLY: u64 = 64;

#[rustfmt::skip]
const TRIALS: &[Trial] = &[
    Trial { rule: Rule::NonFinite, quiet: 0.0, told: 1.0, after: 1, path: Some("middle.weight"), plant: |_, s, x| s.tensors[2].nan_count = x as u64 },
    Trial { rule: Rule::MissingGradient, quiet: 0.0, told: 1.0, after: 3, path: Some("middle.bias"), plant: |_, s, x| { s.tensors[2].present = x == 0.0; s.tensors[3].present = x == 0.0 } },
    Trial { rule: Rule::Unchanged, quiet: 0.0, told: 1.0, after: 4, path: Some("middle.weight"), plant: |_, s, x| s.tensors[2].unchanged = x > 0.0 },
    Trial { rule: Rule::PoorInitialisation, quiet: 0.499, told: 0.501, after: 1, path: Some("middle.weight"), plant: |_, s, x| s.tensors[2].weight_rms = x },
    Trial { rule: Rule::PoorInitialisation, quiet: 0.00501, told: 0.00499, after: 1, path: Some("middle.weight"), plant: |_, s, x| s.tensors[2].weight_rms = x },
    Trial { rule: Rule::ExplodingGradient, quiet: 0.99e6, told: 1.01e6, after: 1, path: Some("last.bias"), plant: |_, s, x| s.tensors[5].rms = x },
    Trial { rule: Rule::ExplodingGradient, quiet: 69.9e-3, told: 70.1e-3, after: 8, path: Some("first.weight"), plant: |_, s, x| s.tensors[0].rms = x },
    Trial { rule: Rule::ExplodingGradient, quiet: 1.99, told: 2.01, after: 6, path: None, plant: |n, s, x| for t in &mut s.tensors { t.rms = 1e-3 * x.powi(n.min(6) as i32) } },
    Trial { rule: Rule::DivergingWeights, quiet: 0.99e8, told: 1.01e8, after: 141, path: Some("last.bias"), plant: |n, s, x| if n >= 140 { s.tensors[5].weight_rms = x } },
    Trial { rule: Rule::DivergingWeights, quiet: 2.74, told: 2.76, after: 21, path: Some("middle.weight"), plant: |n, s, x| if n >= 20 { s.tensors[2].weight_rms = 0.1 * x } },
    Trial { rule: Rule::DivergingWeights, quiet: 31.9, told: 32.1, after: 201, path: Some("middle.weight"), plant: |n, s, x| if n >= 200 { s.tensors[2].weight_rms = 0.1 * x } },
    Trial { rule: Rule::UpdateRatioExtreme, quiet: 0.99, told: 1.01, after: 11, path: Some("middle.weight"), plant: |_, s, x| { s.tensors[2].update_to_weight = x; s.tensors[2].weight_rms = 0.01; } },
    Trial { rule: Rule::UpdateRatioExtreme, quiet: 1.01e-8, told: 0.99e-8, after: 67, path: Some("middle.weight"), plant: |_, s, x| s.tensors[2].update_to_weight = x },
    Trial { rule: Rule::UnstableLearning, quiet: 0.099, told: 0.101, after: 17, path: None, plant: |_, s, x| for t in &mut s.tensors { t.update_to_weight = x } },
    Trial { rule: Rule::UnstableLearning, quiet: 1.01e-4, told: 0.99e-4, after: 65, path: None, plant: |_, s, x| for t in &mut s.tensors { t.update_to_weight = x } },
    Trial { rule: Rule::UnstableLearning, quiet: 0.49, told: 0.51, after: 51, path: None, plant: |n, s, x| if n == 50 { for t in &mut s.tensors { t.update_to_weight = x } } },
    Trial { rule: Rule::Oscillation, quiet: 0.849, told: 0.851, after: 48, path: Some("middle.weight"), plant: |_, s, x| { s.tensors[2].flip_ratio = x; s.tensors[2].minimum_share = 0.9 } },
    Trial { rule: Rule::Oscillation, quiet: 0.799, told: 0.801, after: 48, path: Some("middle.weight"), plant: |_, s, x| { s.tensors[2].flip_ratio = 0.9; s.tensors[2].minimum_share = x } },
    Trial { rule: Rule::GradNormSpike, quiet: 5.9, told: 6.1, after: 151, path: None, plant: |n, s, x| { let sigmas = if n == 150 { x } else if n % 2 == 0 { 1.0 } else { -1.0 }; for t in &mut s.tensors { t.rms = 1e-3 * (1.0 + 0.1 * sigmas) } } },
    Trial { rule: Rule::AllZero, quiet: 0.99, told: 1.0, after: 10, path: Some("middle"), plant: |_, s, x| for t in &mut s.tensors[..4] { t.zero_ratio = x; t.rms = 1e-3 * (1.0 - x) } },
    Trial { rule: Rule::SaturatedActivation, quiet: 0.498, told: 0.502, after: 16, path: Some("act"), plant: |_, s, x| s.rails = x },
    Trial { rule: Rule::DeadGradient, quiet: 0.96, told: 0.98, after: 33, path: Some("middle.bias"), plant: |_, s, x| { s.tensors[3].zero_ratio = x; s.tensors[3].retained = 1.0 } },
    Trial { rule: Rule::VanishingDepth, quiet: 1.01e-6, told: 0.99e-6, after: 15, path: Some("first.weight"), plant: |_, s, x| { s.tensors[0].rms = x } },
    Trial { rule: Rule::VanishingGradient, quiet: 1.01e-7, told: 0.99e-7, after: 47, path: Some("middle.weight"), plant: |_, s, x| { s.tensors[2].rms = x } },
    Trial { rule: Rule::DeadWeights, quiet: 0.949, told: 0.952, after: 50, path: Some("middle.weight"), plant: |_, s, x| s.tensors[2].weight_zero_ratio = x },
    Trial { rule: Rule::StuckZeros, quiet: 0.5, told: 0.51, after: 101, path: Some("middle.weight"), plant: |_, s, x| { s.tensors[2].zero_ratio = x; s.tensors[2].retained = 1.0 } },
    Trial { rule: Rule::LossRising, quiet: 1.24, told: 1.26, after: 131, path: None, plant: |n, s, x| s.loss = Some(if n < 100 { 1.0 } else { x }) },
    Trial { rule: Rule::LossRising, quiet: -9.9, told: -10.1, after: 132, path: None, plant: |n, s, x| s.loss = Some(if n < 100 { 1.0 } else { x }) },
    Trial { rule: Rule::LossFluctuating, quiet: 0.39, told: 0.41, after: 95, path: None, plant: |n, s, x| s.loss = Some(if n < 32 { 1.0 } else if n % 2 == 0 { -0.1 } else { x }) },
    Trial { rule: Rule::LossNotDecreasing, quiet: 0.94, told: 0.96, after: 300, path: None, plant: |n, s, x| s.loss = Some(if n < EARLY { 1.0 } else { x }) },
    Trial { rule: Rule::UnderflowRisk, quiet: 0.01, told: 0.012, after: 3, path: Some("middle.weight"), plant: |_, s, x| s.flushed = x },
    Trial { rule: Rule::OverflowRisk, quiet: 4093.0, told: 4095.0, after: 3, path: Some("last.bias"), plant: |_, s, x| s.tensors[5].rms = x },
];

impl Trial {
    fn sheets(&self, len: u64, figure: f64) -> Vec<Sheet> {
        sheets(len, |n, sheet| (self.plant)(n, sheet, figure))
    }

    /// The places at which the rule opens a finding.
    fn opened(&self, found: &[(u64, Finding)]) -> Vec<(u64, Option<String>)> {
        let own = found.iter().filter(|(_, finding)| finding.rule == self.rule && finding.open);
        own.map(|(n, finding)| (*n, finding.path.clone())).collect()
    }

    fn expected(&self, at: u64) -> Vec<(u64, Option<String>)> {
        vec![(at, self.path.map(str::to_owned))]
    }
}

#[test]
fn healthy_records_stay_quiet() {
    assert_eq!(found(1, &sheets(700, |_, _| {})), []);
    let frozen = sheets(300, |_, sheet| sheet.tensors.iter_mut().for_each(|tensor| tensor.present = false));
    assert_eq!(found(1, &frozen), [], "nothing is known of what is missing");
}

#[test]
fn each_rule_keeps_its_threshold_and_its_patience() {
    for trial in TRIALS {
        let name = format!("{} at {}", trial.rule, trial.told);
        let quiet = found(1, &trial.sheets(400, trial.quiet));
        assert_eq!(trial.opened(&quiet), [], "{name}: just inside");
        let told = found(1, &trial.sheets(400, trial.told));
        assert_eq!(trial.opened(&told), trial.expected(trial.after - 1), "{name}: just outside, once");
        let short = found(1, &trial.sheets(trial.after - 1, trial.told));
        assert_eq!(trial.opened(&short), [], "{name}: a history that is too short");
        let seldom = found(100, &trial.sheets(400, trial.told));
        // What is early is counted in steps: every hundredth has only two of those.
        let is_late = trial.rule == Rule::DivergingWeights && trial.told < 3.0;
        let expected = if is_late { vec![] } else { trial.expected(trial.after - 1) };
        assert_eq!(trial.opened(&seldom), expected, "{name}: every hundredth step");
        let finding = &told.iter().find(|(_, finding)| finding.rule == trial.rule).unwrap().1;
        assert!(!finding.advice.is_empty() && finding.source == spec(trial.rule).source, "{name}: {finding:?}");
        let sentence = finding.to_string();
        assert!(sentence.contains(&format!("[{}]", trial.rule)), "{sentence}");
        let words = sentence.split(|c: char| !c.is_alphanumeric());
        assert!(!words.into_iter().any(|word| word == "NaN"), "a figure that the evidence lacks: {sentence}");
        let closed = told.last().map(|(_, finding)| finding.open);
        assert_eq!(closed, Some(false), "{name}: closed at the end");
    }
}

#[test]
fn each_rule_can_be_turned_off_and_told_otherwise() {
    for trial in TRIALS {
        let sheets = trial.sheets(400, trial.told);
        let with = |rules: Rules| {
            trial.opened(&found_by(Diagnosis::with(params().into(), &rules, Context::default()), 1, &sheets))
        };
        assert_eq!(with(Rules::default().off(trial.rule)), [], "{} is off", trial.rule);
        let critical = Rules::default().severity(trial.rule, Severity::Critical).action(trial.rule, Action::Stop);
        let found = found_by(Diagnosis::with(params().into(), &critical, Context::default()), 1, &sheets);
        let finding = &found.iter().find(|(_, finding)| finding.rule == trial.rule).unwrap().1;
        assert_eq!((finding.severity, finding.action), (Severity::Critical, Action::Stop));
    }
}

#[test]
fn a_nan_in_the_history_and_a_tensor_that_vanishes_change_nothing() {
    for trial in TRIALS.iter().filter(|trial| !matches!(trial.rule, Rule::NonFinite | Rule::MissingGradient)) {
        // Neither is the cause of what is planted.
        let rules = Rules::default().off(Rule::NonFinite).off(Rule::MissingGradient);
        let found =
            |sheets: &[Sheet]| found_by(Diagnosis::with(params().into(), &rules, Context::default()), 1, sheets);
        // The fifth step is lost to a NaN somewhere else: it is no observation of what is weighed there.
        let holed = sheets(420, |n, sheet| {
            (trial.plant)(n, sheet, trial.told);
            if n == 5 {
                sheet.tensors[1].nan_count = 3;
            }
        });
        let opened = trial.opened(&found(&holed));
        assert!(opened.len() == 1 && opened[0].0 <= trial.after + 1, "{}: {opened:?}", trial.rule);
        assert!(opened[0].1.as_deref() == trial.path, "{}: {opened:?}", trial.rule);
        // The first bias gets no gradient from step 2 on.
        let gone = sheets(420, |n, sheet| {
            (trial.plant)(n, sheet, trial.told);
            sheet.tensors[1].present = n < 2;
        });
        let opened = trial.opened(&found(&gone));
        assert_eq!(opened.first().map(|(n, _)| *n), Some(trial.after - 1), "{}: {opened:?}", trial.rule);
    }
}

#[test]
fn a_resumed_run_has_its_beginnings_behind_it() {
    let resumed = || {
        let context = Context { resumed: true, ..Context::default() };
        Diagnosis::with(params().into(), &Rules::default(), context)
    };
    let large = sheets(400, |_, sheet| sheet.tensors[2].weight_rms = 3.0);
    assert!(found(1, &large).iter().any(|(_, finding)| finding.rule == Rule::PoorInitialisation));
    assert_eq!(found_by(resumed(), 1, &large), [], "trained weights may be of any size");
    let flat = sheets(400, |_, sheet| sheet.loss = Some(0.1));
    assert!(found(1, &flat).iter().any(|(_, finding)| finding.rule == Rule::LossNotDecreasing));
    assert_eq!(found_by(resumed(), 1, &flat), [], "its gains came before");
}

#[test]
fn nans_name_the_tensor_that_is_nearest_to_their_source() {
    let nan = |n: u64| (5..7).contains(&n) || n == 8 || n == 19;
    let sheets = sheets(20, |n, sheet| {
        if nan(n) {
            sheet.tensors[0].nan_count = 1;
            sheet.tensors[2].nan_count = 1;
        }
    });
    let found = found(10, &sheets);
    let told: Vec<_> = found.iter().map(|(n, f)| (*n, f.open, f.first_step, f.last_step)).collect();
    assert_eq!(
        told,
        [(5, true, 50, 50), (18, false, 50, 80), (19, true, 190, 190), (20, false, 190, 190)],
        "one finding an episode, told when it begins and when it ends"
    );
    assert!(found.iter().all(|(_, f)| f.rule == Rule::NonFinite && f.severity == Severity::Critical));
    assert_eq!(found[0].1.path.as_deref(), Some("middle.weight"), "backpropagation came to it first");
    assert_eq!(found[0].1.evidence[..2], [("tensor_count".into(), 2.0), ("nonfinite_count".into(), 2.0)]);
}

#[test]
fn nans_everywhere_come_from_before() {
    let everywhere = sheets(2, |n, sheet| sheet.tensors.iter_mut().for_each(|tensor| tensor.nan_count = n));
    let told = found(1, &everywhere);
    assert_eq!((told.len(), told[0].1.path.as_deref()), (2, None));
    assert!(told[0].1.to_string().contains("from the loss"), "{}", told[0].1);
    let loss = found(1, &sheets(2, |n, sheet| sheet.loss = Some(if n == 1 { f64::NAN } else { 1.0 })));
    assert!(loss[0].1.to_string().contains("the loss is not finite"), "{}", loss[0].1);
}

#[test]
fn zeros_everywhere_are_one_finding_and_missing_gradients_are_none() {
    let zero = |tensor: &mut Tensor| (tensor.zero_ratio, tensor.rms) = (1.0, 0.0);
    let all = found(1, &sheets(12, |_, sheet| sheet.tensors.iter_mut().for_each(zero)));
    let zeros: Vec<_> = all.iter().filter(|(_, finding)| finding.rule == Rule::AllZero).collect();
    assert_eq!(zeros.len(), 2, "one finding, and not one a layer: {all:?}");
    assert_eq!((zeros[0].1.path.as_deref(), zeros[0].1.severity), (None, Severity::Critical));
    // A step without a gradient says nothing of the condition.
    let holed = sheets(14, |n, sheet| {
        sheet.tensors[..2].iter_mut().for_each(zero);
        if n == 9 {
            sheet.tensors[..2].iter_mut().for_each(|tensor| tensor.present = false);
        }
    });
    let told: Vec<_> =
        found(1, &holed).into_iter().filter(|(_, f)| f.rule == Rule::AllZero).map(|(n, f)| (n, f.path)).collect();
    assert_eq!(told[0], (10, Some("first".into())));
}

#[test]
fn nothing_is_said_of_a_learning_rate_of_zero_nor_of_a_gradient_of_rounding_errors() {
    let still = sheets(50, |_, sheet| {
        sheet.tensors.iter_mut().for_each(|tensor| (tensor.unchanged, tensor.update_to_weight) = (true, 0.0));
    });
    assert_eq!(found(1, &still).iter().filter(|(_, f)| f.rule == Rule::Unchanged).count(), 0);
    let rounding = sheets(50, |_, sheet| (sheet.tensors[3].unchanged, sheet.tensors[3].rms) = (true, 1e-9));
    assert_eq!(found(1, &rounding).iter().filter(|(_, f)| f.rule == Rule::Unchanged).count(), 0);
    let missing = sheets(50, |_, sheet| (sheet.tensors[3].unchanged, sheet.tensors[3].present) = (true, false));
    assert_eq!(found(1, &missing).iter().filter(|(_, f)| f.rule == Rule::Unchanged).count(), 0, "it is frozen");
}

#[test]
fn a_chain_is_one_finding() {
    // Moves that are too large from step 30 on; units die of it, and gradients with them.
    let chain = sheets(300, |n, sheet| {
        if n >= 30 {
            sheet.tensors.iter_mut().for_each(|tensor| tensor.update_to_weight = 0.7);
        }
        if n >= 60 {
            for tensor in &mut sheet.tensors[..4] {
                (tensor.zero_ratio, tensor.rms, tensor.retained) = (1.0, 0.0, 1.0);
            }
            sheet.loss = Some(2.2);
        }
    });
    let told = found(1, &chain);
    let loud: Vec<_> = told.iter().filter(|(_, finding)| finding.severity >= Severity::Warn).collect();
    assert_eq!(loud.iter().filter(|(_, finding)| finding.open).count(), 1, "{loud:?}");
    assert_eq!((loud[0].0, loud[0].1.rule), (30, Rule::UnstableLearning));
    let closed = &loud.last().unwrap().1;
    assert!(closed.followed_by.contains(&Rule::AllZero), "{closed:?}");
    assert!(closed.to_string().contains("it led to all_zero"), "{closed}");
}

/// Places and rules of what is opened, warnings and above.
fn loud(found: &[(u64, Finding)]) -> Vec<(u64, Rule)> {
    let loud = found.iter().filter(|(_, finding)| finding.open && finding.severity >= Severity::Warn);
    loud.map(|(n, finding)| (*n, finding.rule)).collect()
}

#[test]
fn what_outlives_its_cause_is_told() {
    // One move that overturns the weights; units that die of it; and no other sign of life for a thousand steps.
    let lasting = sheets(1000, |n, sheet| {
        if n == 50 {
            sheet.tensors.iter_mut().for_each(|tensor| tensor.update_to_weight = 0.7);
        }
        if n >= 60 {
            sheet.tensors[..4].iter_mut().for_each(|tensor| (tensor.zero_ratio, tensor.rms) = (1.0, 0.0));
        }
    });
    let told = found(1, &lasting);
    let all_zero: Vec<_> = loud(&told).into_iter().filter(|(_, rule)| *rule == Rule::AllZero).collect();
    assert_eq!(loud(&told)[0], (50, Rule::UnstableLearning));
    assert!(all_zero.len() == 1 && (200..400).contains(&all_zero[0].0), "{all_zero:?}");
    let zero = told.iter().find(|(_, finding)| finding.rule == Rule::AllZero).unwrap();
    assert_eq!(zero.1.first_step, 60, "since it began, and not since it was told");
    // What began before is no consequence, however short the NaN.
    let before = sheets(40, |n, sheet| {
        sheet.tensors[..2].iter_mut().for_each(|tensor| (tensor.zero_ratio, tensor.rms) = (1.0, 0.0));
        sheet.tensors[5].nan_count = u64::from((1..4).contains(&n));
    });
    assert_eq!(loud(&found(1, &before)), [(1, Rule::NonFinite), (9, Rule::AllZero)]);
}

#[test]
fn a_poor_beginning_does_not_silence_the_run() {
    let sheets = sheets(900, |n, sheet| {
        if n == 0 {
            sheet.tensors[2].weight_rms = 0.51;
        }
        if n >= 700 {
            sheet.tensors[..4].iter_mut().for_each(|tensor| (tensor.zero_ratio, tensor.rms) = (1.0, 0.0));
        }
    });
    let told = found(1, &sheets);
    assert_eq!((told[0].1.rule, told[0].1.open), (Rule::PoorInitialisation, true));
    assert_eq!((told[1].0, told[1].1.rule, told[1].1.open), (1, Rule::PoorInitialisation, false), "it is of one step");
    assert!(loud(&told).contains(&(709, Rule::AllZero)), "{:?}", loud(&told));
}

#[test]
fn a_frozen_layer_does_not_hide_a_cut_graph() {
    let mut params = params();
    params[0].trainable = false;
    let sheets = sheets(700, |n, sheet| {
        sheet.tensors[0].present = false;
        sheet.tensors[2].present = n < 300;
    });
    let told = found_by(Diagnosis::new(params.into()), 1, &sheets);
    let opened: Vec<_> = told.iter().filter(|(_, f)| f.open).map(|(n, f)| (*n, f.severity, f.path.clone())).collect();
    let expected =
        [(2, Severity::Note, Some("first.weight".to_owned())), (429, Severity::Warn, Some("middle.weight".to_owned()))];
    assert_eq!(opened, expected, "the second had a gradient before: it may come back");
}

#[test]
fn subjects_that_come_and_go_are_one_finding_and_take_no_memory() {
    // A network whose turn comes every sixth step.
    let turns = sheets(3000, |n, sheet| sheet.tensors[2].present = n % 6 == 0);
    assert_eq!(found(1, &turns), []);
    // Dead and alive every other twenty steps.
    let flapping = sheets(3000, |n, sheet| {
        if n / 20 % 2 == 0 {
            sheet.tensors[..2].iter_mut().for_each(|tensor| (tensor.zero_ratio, tensor.rms) = (1.0, 0.0));
        }
    });
    let told = found(1, &flapping);
    let opened = told.iter().filter(|(_, finding)| finding.open).count();
    assert_eq!(told.len(), 2 * opened, "each is closed");
}

#[test]
fn weights_that_begin_at_zero_are_no_finding() {
    // The second factor of a low-rank adapter: its first moves are all of it.
    let adapter = sheets(600, |n, sheet| {
        let size = 1e-4 * n as f64;
        sheet.tensors[2].weight_rms = size;
        sheet.tensors[2].update_to_weight = if n <= 1 { 1e6 } else { 1.0 / (n - 1) as f64 };
    });
    assert_eq!(found(1, &adapter), []);
}

#[test]
fn moves_over_many_steps_are_not_read_as_one() {
    let mut diagnosis = Diagnosis::new(params().into());
    for (n, sheet) in (0..).zip(sheets(300, |_, sheet| sheet.tensors.iter_mut().for_each(|t| t.update_to_weight = 0.6)))
    {
        let mut record = sheet.record(n, 100 * n);
        for tensor in &mut record.tensors {
            tensor.update.iter_mut().for_each(|update| update.previous_step = 100 * n.saturating_sub(1));
        }
        assert_eq!(diagnosis.examine(&record), [], "the move of a hundred steps");
    }
}

#[test]
fn norms_of_different_tensors_are_no_history() {
    let mut diagnosis = Diagnosis::new(params().into());
    for (n, sheet) in (0..).zip(sheets(2000, |n, sheet| {
        let noise = 1.0 + 0.01 * (n as f64).sin();
        sheet.tensors.iter_mut().for_each(|tensor| tensor.rms *= noise);
    })) {
        let mut record = sheet.record(n, n);
        if n % 100 != 0 {
            // Only the first bias is due at every step.
            for place in [0, 2, 3, 4, 5] {
                record.tensors[place] = TensorRecord::of(Gradient::NotDue);
            }
            record.global = Global::of(&record.tensors);
        }
        assert_eq!(diagnosis.examine(&record), [], "step {n}");
    }
}

#[test]
fn weight_decay_of_an_ordinary_rate_is_no_finding() {
    let decayed = sheets(5000, |n, sheet| {
        sheet.tensors[2].weight_rms = 0.1 * (0.2 + 0.8 * 0.9995f64.powi(n as i32));
    });
    assert_eq!(found(1, &decayed), []);
}

#[test]
fn a_resumed_run_may_move_as_little_as_it_likes() {
    let small = sheets(300, |_, sheet| sheet.tensors.iter_mut().for_each(|tensor| tensor.update_to_weight = 1e-6));
    assert!(!loud(&found(1, &small)).is_empty());
    let context = Context { resumed: true, ..Context::default() };
    assert_eq!(found_by(Diagnosis::with(params().into(), &Rules::default(), context), 1, &small), []);
}

#[test]
fn weights_that_grow_at_a_steady_pace_are_told_and_those_that_come_to_rest_are_not() {
    let growing = sheets(400, |n, sheet| sheet.tensors[2].weight_rms = 0.01 * 1.01f64.powi(n as i32));
    let told = found(1, &growing);
    assert_eq!((told[0].1.rule, told[0].1.path.as_deref()), (Rule::DivergingWeights, Some("middle.weight")));
    // Six factors of 2^(1/4), of 18 steps each, after the first 8.
    assert_eq!(told[0].0, 7 + 6 * 18);
    // As far, but ever slower.
    let resting = sheets(4000, |n, sheet| sheet.tensors[2].weight_rms = 0.001 * (1.0 + n as f64).powf(0.4));
    assert!(found(1, &resting).iter().all(|(_, finding)| finding.rule != Rule::DivergingWeights));
    let shrinking = sheets(400, |n, sheet| sheet.tensors[2].weight_rms = 0.1 * 0.99f64.powi(n as i32));
    let told = found(1, &shrinking);
    assert!(told[0].1.to_string().contains("shr") && told[0].1.advice.contains("weight decay"), "{}", told[0].1);
}

#[test]
fn small_gradients_of_a_run_that_has_converged_are_no_finding() {
    let converged = sheets(600, |n, sheet| {
        sheet.tensors.iter_mut().for_each(|tensor| tensor.rms = 1e-3 * 0.97f64.powi(n as i32));
        sheet.loss = Some(2.3 * 0.97f64.powi(n as i32));
    });
    assert_eq!(found(1, &converged), []);
}

#[test]
fn advice_fits_the_settings() {
    let trial = TRIALS.iter().find(|trial| trial.rule == Rule::VanishingDepth).unwrap();
    let advice = |activation: &str| {
        let context = Context { activation: Some(activation.into()), ..Context::default() };
        let found =
            found_by(Diagnosis::with(params().into(), &Rules::default(), context), 1, &trial.sheets(60, trial.told));
        found[0].1.advice.clone()
    };
    assert!(advice("sigmoid").contains("ReLU"), "{}", advice("sigmoid"));
    assert!(!advice("relu").contains("ReLU"), "{}", advice("relu"));
}

#[test]
fn settings_that_a_rule_does_not_have_are_refused_by_name() {
    let refused = |text: &str| Rules::default().setting(text).unwrap_err().to_string();
    assert!(refused("oscilation=off").contains("oscillation"), "{}", refused("oscilation=off"));
    assert!(refused("oscillation.hight=1").contains("sign_flip_ratio"), "{}", refused("oscillation.hight=1"));
    assert!(refused("oscillation=loud").contains("snapshot or stop"));
    assert!(refused("oscillation.minimum_share=-1").contains("not negative"));
    assert!(refused("oscillation").contains("RULE.NUMBER=VALUE"));
    let set = Rules::default().setting("oscillation.minimum_share=0.5").unwrap();
    assert_eq!(set, Rules::default().number(Rule::Oscillation, "minimum_share", 0.5).unwrap());
}

#[test]
fn a_step_that_was_long_in_coming_is_told_by_the_clock() {
    let diagnosis = |setting: &str| {
        let rules = Rules::default().setting(setting).unwrap();
        Diagnosis::with(params().into(), &rules, Context::default())
    };
    let hour = diagnosis("stalled.secs=3600");
    assert_eq!(hour.waited(9, 3600.0), []);
    let told = hour.waited(9, 3601.0);
    assert_eq!(
        told.iter().map(|told| (told.rule, told.first_step, told.open)).collect::<Vec<_>>(),
        [(Rule::Stalled, 9, true), (Rule::Stalled, 9, false)]
    );
    assert!(told[0].to_string().contains("60 minutes"), "{}", told[0]);
    assert_eq!(diagnosis("stalled=off").waited(9, 1e9), []);
    assert_eq!(diagnosis("stalled=stop").waited(9, 1e9)[0].action, Action::Stop);
}

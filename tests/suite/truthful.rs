//! Observing real programs: it changes nothing, sees what the optimizer sees, and says what it could not.

use crate::fixture::{Random, bag, device, summary};
use burn::module::{Module, Param, ParamId};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::quantization::{QuantScheme, QuantValue};
use burn::tensor::{DType, Device as BurnDevice, Distribution, Tensor, TensorData};
use gradscope::record::{Gradient, Rule};
use gradscope::{Device, DeviceChoice, Event, Finding, Notice, NoticeKind, Schedule, Scope, Stats, StepRecord};

fn devices() -> [Device; 2] {
    [device(), Device::open(DeviceChoice::Cpu).unwrap()]
}

/// Two layers that the forward pass uses in the other order than they are declared in.
#[derive(Module, Debug)]
struct Reversed {
    last: Linear,
    first: Linear,
}

impl Reversed {
    fn new(device: &BurnDevice) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { last: linear(5, 2), first: linear(3, 5) }
    }

    fn loss(&self, device: &BurnDevice) -> Tensor<1> {
        let input = Tensor::<2>::from_data(TensorData::new(vec![0.5f32; 12], [4, 3]), device);
        self.last.forward(self.first.forward(input)).powf_scalar(2.0).mean()
    }

    fn weights(&self) -> Vec<Vec<f32>> {
        let values = |linear: &Linear| linear.weight.val().inner().into_data().try_to_vec::<f32>().unwrap();
        vec![values(&self.first), values(&self.last)]
    }
}

fn notices(events: &[Event]) -> Vec<&Notice> {
    fn fault(event: &Event) -> Option<&Notice> {
        match event {
            Event::Notice(notice) if notice.kind.is_fault() => Some(notice),
            _ => None,
        }
    }
    events.iter().filter_map(fault).collect()
}

#[test]
fn a_scope_changes_no_seeded_initial_weights() {
    for device in devices() {
        let training = device.burn().clone().autodiff();
        let weights = |observe: bool| {
            training.seed(7);
            let model = Reversed::new(&training);
            let mut scope = observe.then(|| Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap());
            let loss = model.loss(&training);
            if let Some(scope) = &mut scope {
                let shapes: Vec<_> = scope.params().iter().map(|param| param.shape.clone()).collect();
                assert_eq!(shapes, [vec![5, 2], vec![2], vec![3, 5], vec![5]], "of parameters that are not there yet");
                scope.step(0).gradients(&model, &loss.backward()).submit();
            }
            model.weights()
        };
        assert_eq!(weights(true), weights(false), "{}", device.describe());
    }
}

#[derive(Module, Debug)]
struct Normed {
    linear: Linear,
    norm: BatchNorm,
}

#[test]
fn running_statistics_are_buffers_and_no_parameters() {
    let device = device();
    let model = Normed {
        linear: LinearConfig::new(3, 4).init(device.burn()),
        norm: BatchNormConfig::new(4).init(device.burn()),
    };
    let parent = tempfile::tempdir().unwrap();
    let scope = Scope::builder(&device).stats(Stats::FULL).run(parent.path()).build(&model).unwrap();
    let paths: Vec<&str> = scope.params().iter().map(|param| param.path.as_str()).collect();
    assert_eq!(paths, ["linear.weight", "linear.bias", "norm.gamma", "norm.beta"]);
    let folder = scope.finish(&model).folder.unwrap();
    let run = gradscope::Run::open(folder).unwrap();
    assert_eq!(run.manifest().buffers, ["norm.running_mean", "norm.running_var"]);
    assert_eq!(run.manifest().facts["model"], "Normed", "the builder knows the model's type");
}

#[derive(Module, Debug)]
struct Tied {
    encoder: Param<Tensor<1>>,
    decoder: Param<Tensor<1>>,
}

#[test]
fn a_parameter_in_two_places_counts_once_and_both_paths_are_named() {
    for device in devices() {
        let encoder = Param::from_tensor(Tensor::ones([9], device.burn()));
        let model = Tied { decoder: encoder.clone(), encoder };
        let mut scope = Scope::builder(&device).build(&model).unwrap();
        let mut gradients = GradientsParams::new();
        gradients.register(model.encoder.id, Tensor::<1>::ones([9], device.burn()));
        scope.step(0).gradients(&model, &gradients).submit();
        assert_eq!(scope.read(0).unwrap().global.l2_norm, 3.0);
        assert_eq!(scope.params()[0].tied, ["decoder"]);
        let events = scope.poll();
        let text = notices(&events)[0].to_string();
        assert!(text.contains("encoder") && text.contains("decoder") && text.contains("alone"), "{text}");
    }
}

#[test]
fn a_bare_parameter_is_a_module_too() {
    for device in devices() {
        let param = Param::from_tensor(Tensor::<1>::ones([4], device.burn()));
        let mut scope = Scope::builder(&device).build(&param).unwrap();
        let mut gradients = GradientsParams::new();
        gradients.register(param.id, Tensor::<1>::ones([4], device.burn()));
        scope.step(0).gradients(&param, &gradients).submit();
        let record = scope.read(0).unwrap();
        assert_eq!((summary(&record, 0).l2_norm, scope.params()[0].path.as_str()), (2.0, "param"));
    }
}

#[test]
fn gradients_of_several_backward_passes_are_added() {
    for device in devices() {
        let model = bag(&device, &[4, 4, 4]);
        let mut scope = Scope::builder(&device).build(&model).unwrap();
        let ones = |value: f32| Some(vec![value; 4]);
        let first = model.gradients(&device, &[ones(1.0), ones(1.0), None]);
        let second = model.gradients(&device, &[ones(2.0), None, ones(5.0)]);
        scope.step(0).gradients(&model, &first).gradients(&model, &second).submit();
        let record = scope.read(0).unwrap();
        let maxima: Vec<_> = (0..3).map(|tensor| summary(&record, tensor).max).collect();
        assert_eq!(maxima, [Some(3.0), Some(1.0), Some(5.0)], "{}", device.describe());
    }
}

#[test]
fn a_layer_that_is_replaced_under_its_path_begins_anew() {
    for device in devices() {
        let mut model = bag(&device, &[8, 8]);
        let mut scope = Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap();
        let mut random = Random::new(3);
        for step in 0..4 {
            if step == 2 {
                model = bag(&device, &[8, 8]);
            }
            let values = [Some(random.gradients(8)), Some(random.gradients(8))];
            scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
        }
        let previous = |scope: &mut Scope, step| match scope.read(step).unwrap().tensors[0].gradient {
            Gradient::Observed { previous_step, .. } => previous_step,
            _ => panic!("step {step} was observed"),
        };
        assert_eq!([0, 1, 2, 3].map(|step| previous(&mut scope, step)), [None, Some(0), None, Some(2)]);
        assert!(scope.read(2).unwrap().tensors[0].update.is_none(), "the two are not of one parameter");
        let events = scope.poll();
        let texts: Vec<String> = notices(&events).iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "one for each layer: {texts:?}");
        assert!(texts[0].contains("tensors.0") && texts[0].contains("another one"), "{texts:?}");
    }
}

#[test]
fn freezing_on_the_way_is_followed_by_findings_and_by_the_manifest() {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let training = device.burn().clone().autodiff();
    let parent = tempfile::tempdir().unwrap();
    let mut model = Reversed::new(&training);
    model.last = model.last.no_grad();
    let mut scope = Scope::builder(&device).run(parent.path()).build(&model).unwrap();
    let mut found: Vec<Finding> = vec![];
    let mut frozen_until = 10;
    for step in 0..120 {
        if step == frozen_until {
            model.last.weight = model.last.weight.set_require_grad(true);
            model.last.bias = model.last.bias.map(|bias| bias.set_require_grad(true));
            frozen_until = u64::MAX;
        }
        let gradients = model.loss(&training).backward();
        scope.step(step).gradients(&model, &gradients).submit();
        for event in scope.poll() {
            if let Event::Finding(finding) = event {
                finding.put_into(&mut found);
            }
        }
    }
    let frozen: Vec<&Finding> = found.iter().filter(|finding| finding.rule == Rule::MissingGradient).collect();
    assert_eq!(frozen.len(), 1, "{found:?}");
    assert!(!frozen[0].open && frozen[0].last_step == 9, "it closes 64 steps after: {:?}", frozen[0]);
    let folder = scope.finish(&model).folder.unwrap();
    let run = gradscope::Run::open(folder).unwrap();
    assert!(run.params().iter().all(|param| param.trainable), "{:?}", run.params());
}

/// Runs steps that are given these numbers, and returns what was recorded and reported.
fn numbered(scope: &mut Scope, numbers: impl IntoIterator<Item = u64>) -> (Vec<u64>, Vec<String>) {
    for number in numbers {
        scope.step(number).scalar("lr", 0.1).submit();
    }
    let events = scope.poll();
    let texts = notices(&events).iter().map(ToString::to_string).collect();
    let steps = events.iter().filter_map(|event| match event {
        Event::Record(StepRecord { step, .. }) => Some(*step),
        _ => None,
    });
    (steps.collect(), texts)
}

#[test]
fn numbers_that_restart_are_counted_on_with_one_notice() {
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let (steps, texts) = numbered(&mut scope, (0..3).flat_map(|_| 0..5));
    assert_eq!(steps, (0..15).collect::<Vec<_>>());
    assert_eq!(texts.len(), 1, "once, then counted: {texts:?}");
    assert!(texts[0].contains("scope.next_step()"), "{texts:?}");
    let summary = scope.finish(&model).summary;
    assert_eq!(summary.step_count, 15);
    assert!(summary.notices.iter().any(|notice| notice.count == 2), "{:?}", summary.notices);
}

#[test]
fn a_number_that_never_advances_is_counted_on() {
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let (steps, texts) = numbered(&mut scope, [0; 20]);
    assert_eq!((steps.len(), steps[19], texts.len()), (20, 19, 1));
    scope.next_step().submit();
    assert!(scope.read(20).is_ok(), "the next one counts by itself");
}

#[test]
fn every_nth_step_counts_steps_and_not_numbers() {
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).every(10).build(&model).unwrap();
    let (steps, texts) = numbered(&mut scope, (0..40).map(|n| 4 * n + 3));
    assert_eq!(steps, [3, 43, 83, 123]);
    assert!(texts.len() == 1 && texts[0].contains("only neighbours are compared"), "{texts:?}");
}

#[test]
fn what_comes_at_every_step_is_reported_once_and_pushes_no_record_out() {
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).diagnose(false).build(&model).unwrap();
    let many = Tensor::<1>::ones([3], device.burn());
    for step in 0..400 {
        scope.step(step).scalar("wrong", &many).gradient_scale(0.0).tap_tails("act", &many, [f32::NAN, 1.0]).submit();
    }
    let finished = scope.finish(&model);
    let records = finished.events.iter().filter(|event| matches!(event, Event::Record(_))).count();
    assert_eq!((records, notices(&finished.events).len()), (400, 3), "a scalar, a scale and a tap");
    assert_eq!(finished.summary.notices.iter().map(|notice| notice.count).collect::<Vec<_>>(), [400; 3]);
    assert!(finished.summary.to_string().contains("step 0 and 399 later ones"), "{}", finished.summary);
}

#[test]
fn a_skipped_scalar_is_not_in_the_record() {
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let wide = Tensor::<1>::from_data(TensorData::new(vec![1.0f64], [1]), (device.burn(), DType::F64));
    scope.step(0).scalar("loss", &wide).submit();
    assert_eq!(scope.read(0).unwrap().scalar("loss"), None, "and no NaN");
    let events = scope.poll();
    assert!(notices(&events)[0].to_string().contains("element type is f64"), "{events:?}");
}

#[test]
fn f64_is_read_on_the_cpu_or_says_why_not() {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let tensor =
        |values: [f64; 4]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [4]), (device.burn(), DType::F64));
    for (step, values) in
        [[0.25, -0.5, 1e-60, 0.0], [1e60, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]].into_iter().enumerate()
    {
        let mut gradients = GradientsParams::new();
        gradients.register(model.id(0), tensor(values));
        let loss = Tensor::<1>::from_data(TensorData::new(vec![1e60f64], [1]), (device.burn(), DType::F64));
        scope.step(step as u64).scalar("loss", &loss).gradients(&model, &gradients).submit();
    }
    let first = scope.read(0).unwrap();
    assert_eq!(first.scalar("loss"), Some(1e60), "a loss is kept in f64");
    assert_eq!((summary(&first, 0).zero_count, summary(&first, 0).positive_count), (1, 2), "1e-60 is not zero");
    assert_eq!(scope.read(1).unwrap().tensors[0].gradient, Gradient::Unreadable);
    assert_eq!(summary(&scope.read(2).unwrap(), 0).l2_norm, 0.5, "the next step is read again");
    let events = scope.poll();
    assert!(notices(&events)[0].to_string().contains("1e60 in f64, beyond the range of f32"), "{events:?}");
}

#[test]
fn f16_and_bf16_are_read_right_or_said_to_be_unreadable() {
    let device = device();
    for dtype in [DType::F16, DType::BF16] {
        // What an earlier scope left in memory must not show.
        let model = bag(&device, &[512]);
        let mut scope = Scope::builder(&device).build(&model).unwrap();
        let mut gradients = GradientsParams::new();
        let values = TensorData::new(vec![0.5f32; 512], [512]).convert_dtype(dtype);
        gradients.register(model.id(0), Tensor::<1>::from_data(values, (device.burn(), dtype)));
        scope.step(0).gradients(&model, &gradients).submit();
        let record = scope.read(0).unwrap();
        match record.tensors[0].gradient {
            Gradient::Observed { summary, .. } => {
                assert_eq!((summary.min, summary.max), (Some(0.5), Some(0.5)), "{dtype:?}")
            }
            _ => assert!(notices(&scope.poll())[0].to_string().contains(dtype.name()), "{dtype:?}"),
        }
    }
}

#[test]
fn a_quantised_frozen_base_is_unreadable_and_the_step_goes_on() {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let base = Tensor::<2>::random([32, 32], Distribution::Default, device.burn());
    let scheme = QuantScheme::default().with_value(QuantValue::Q8S);
    let model = Quantised {
        base: Param::initialized(ParamId::new(), base.quantize_dynamic(&scheme)),
        adapter: Param::from_tensor(Tensor::ones([32, 2], device.burn())),
    };
    let mut scope = Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap();
    for step in 0..3 {
        let mut gradients = GradientsParams::new();
        gradients.register(model.adapter.id, Tensor::<2>::ones([32, 2], device.burn()));
        scope.step(step).gradients(&model, &gradients).submit();
    }
    let record = scope.read(2).unwrap();
    assert_eq!((summary(&record, 1).l2_norm, record.tensors[0].parameter), (8.0, None));
    let events = scope.poll();
    assert!(notices(&events)[0].to_string().contains("base: not observed: it is quantised"), "{events:?}");
    assert_eq!(notices(&events).len(), 1);
}

#[derive(Module, Debug)]
struct Quantised {
    base: Param<Tensor<2>>,
    adapter: Param<Tensor<2>>,
}

#[test]
fn taps_of_varying_length_compile_nothing_anew() {
    let device = device();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    for step in 0..30 {
        let tap = Tensor::<1>::ones([100 + 977 * step as usize], device.burn());
        scope.step(step).tap("act", &tap).submit();
        assert_eq!(scope.read(step).unwrap().taps[0].summary.numel, 100 + 977 * step);
    }
    assert!((2..=4).contains(&scope.tap_pipeline_count()), "{}", scope.tap_pipeline_count());
}

#[test]
fn the_summary_has_findings_that_nobody_polled() {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let model = bag(&device, &[4]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    for step in 0..5 {
        let values = [Some(vec![if step < 2 { 1.0 } else { f32::NAN }; 4])];
        scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
    }
    let summary = scope.finish(&model).summary;
    let text = summary.to_string();
    assert!(text.contains("findings:\n- CRITICAL"), "{text}");
    assert!(text.contains("L1 NaN, L2 NaN"), "norms of nothing are not zero: {text}");
    let row = text.lines().find(|line| line.starts_with("tensors.0")).unwrap();
    assert!(row.contains("NaN"), "{row}");
    for line in
        format!("{summary:80}").lines().take_while(|line| !line.is_empty() && !line.contains("findings")).skip(1)
    {
        assert!(line.chars().count() <= 80, "a table of 80 columns: {line}");
    }
}

#[test]
fn the_scopes_device_is_burns_default_one() {
    let device = device();
    assert_eq!(burn::tensor::Device::default(), *device.burn());
}

#[test]
fn rules_that_have_nothing_to_judge_by_are_named_when_a_scope_begins() {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let model = bag(&device, &[4]);
    let unjudged = |builder: gradscope::ScopeBuilder| {
        let mut scope = builder.build(&model).unwrap();
        scope.step(0).submit();
        let told = |event: &Event| match event {
            Event::Notice(Notice { kind: NoticeKind::RulesUnjudged { coverage }, .. }) => Some(coverage.clone()),
            _ => None,
        };
        scope.poll().iter().find_map(told)
    };
    let text = unjudged(Scope::builder(&device)).unwrap();
    assert!(text.contains("unchanged") && text.contains("needs the statistics `updates`"), "{text}");
    let all = Scope::builder(&device).stats(Stats::FULL).histograms(Schedule::every(10));
    assert_eq!(unjudged(all), None);
    assert_eq!(unjudged(Scope::builder(&device).diagnose(false)), None);
}

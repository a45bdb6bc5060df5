//! Real training: what the scope says of burn's own gradients, and that training does not notice.

use crate::fixture::{Random, device};
use crate::oracle;
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, Relu};
use burn::optim::{GradientsParams, MultiGradientsParams, SgdConfig};
use burn::tensor::{Device as BurnDevice, Gradients, Tensor, TensorData};
use gradscope::record::Gradient;
use gradscope::{Device, Event, Scope, Stats, StepRecord};

#[derive(Module, Debug)]
struct Block {
    linear: Linear,
    norm: BatchNorm,
}

#[derive(Module, Debug)]
struct Net {
    blocks: Vec<Block>,
    head: Linear,
    spare: Option<Linear>,
}

fn net(device: &BurnDevice) -> Net {
    let linear = |from, to| LinearConfig::new(from, to).init(device);
    let block = |from, to| Block { linear: linear(from, to), norm: BatchNormConfig::new(to).init(device) };
    Net { blocks: vec![block(20, 48), block(48, 32)], head: linear(32, 4), spare: Some(linear(3, 3)) }
}

impl Net {
    fn loss(&self, random: &mut Random, device: &BurnDevice) -> Tensor<1> {
        let input = random.gradients(16 * 20).iter().map(|x| x * 10.0).collect::<Vec<_>>();
        let mut x = Tensor::<2>::from_data(TensorData::new(input, [16, 20]), device);
        for block in &self.blocks {
            x = Relu::new().forward(block.norm.forward(block.linear.forward(x)));
        }
        self.head.forward(x).powf_scalar(2.0).mean()
    }
}

const LR: f64 = 0.05;

/// Trains with momentum-free SGD and returns losses and model; `watch` sees every step before the optimizer.
fn train(device: &Device, steps: u64, mut watch: impl FnMut(u64, &Net, &Tensor<1>, &Gradients)) -> (Vec<f32>, Net) {
    let training = device.burn().clone().autodiff();
    training.seed(11);
    let mut model = net(&training);
    let mut optimizer = SgdConfig::new().init();
    let mut random = Random::new(12);
    let mut losses = Vec::new();
    for step in 0..steps {
        let loss = model.loss(&mut random, &training);
        let gradients = loss.backward();
        watch(step, &model, &loss, &gradients);
        losses.push(loss.inner());
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(LR, model, gradients);
    }
    (losses.into_iter().map(|loss| loss.into_scalar::<f32>()).collect(), model)
}

/// The gradients of a model's parameters by the walk's order, read back in full; not of its buffers.
fn read_all(model: &Net, gradients: &Gradients) -> Vec<Option<Vec<f32>>> {
    struct Walk<'a>(&'a Gradients, Vec<Option<Vec<f32>>>, bool);
    impl burn::module::ModuleVisitor for Walk<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.2 = name.starts_with("running_");
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.2 {
                return;
            }
            let values = param.val().grad(self.0).map(|g| g.into_data().try_to_vec::<f32>().unwrap());
            self.1.push(values);
        }
    }
    let mut walk = Walk(gradients, vec![], false);
    model.visit(&mut walk);
    walk.1
}

/// The parameters by the walk's order, read back in full; not the buffers.
fn read_weights(model: &Net) -> Vec<Vec<f32>> {
    struct Walk(Vec<Vec<f32>>, bool);
    impl burn::module::ModuleVisitor for Walk {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.1 = name.starts_with("running_");
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.1 {
                return;
            }
            self.0.push(param.val().inner().into_data().try_to_vec::<f32>().unwrap());
        }
    }
    let mut walk = Walk(vec![], false);
    model.visit(&mut walk);
    walk.0
}

/// Records a small run with every statistic, and holds each against what the captured tensors say.
fn check_a_run(device: &Device) {
    const STEPS: usize = 12;
    const EPS: [f64; 2] = [1e-7, 1e-5];
    let model = net(&device.burn().clone().autodiff());
    let mut scope = Scope::builder(device).stats(Stats::FULL).build(&model).unwrap();
    let (mut gradients, mut weights) = (Vec::new(), Vec::new());
    let (losses, model) = train(device, STEPS as u64, |step, model, loss, grads| {
        // Read first: a parameter that the loss does not use has no value before.
        gradients.push(read_all(model, grads));
        weights.push(read_weights(model));
        scope.step(step).scalar("loss", loss).scalar("lr", LR).gradients(model, grads).submit();
    });
    weights.push(read_weights(&model));
    let params = scope.params().to_vec();
    let records: Vec<StepRecord> = scope
        .finish(&model)
        .events
        .into_iter()
        .filter_map(|event| match event {
            Event::Record(record) => Some(record),
            Event::Notice(notice) if notice.kind.is_fault() => panic!("{notice}"),
            _ => None,
        })
        .collect();
    assert_eq!(records.len(), STEPS + 1, "every step, and the last move");
    assert!(records[STEPS].last_move && !records[0].last_move);
    let mut losses_read = Vec::new();
    for (step, record) in records.iter().enumerate() {
        losses_read.extend(record.scalar("loss").map(|loss| loss as f32));
        for (tensor, param) in params.iter().enumerate() {
            let what = format!("{} at step {step}", param.path);
            let record = &record.tensors[tensor];
            let now = gradients.get(step).and_then(|gradients| gradients[tensor].as_deref());
            let before = step.checked_sub(1).and_then(|before| gradients[before][tensor].as_deref());
            match now {
                None => assert_eq!(record.gradient, Gradient::Missing, "{what}"),
                Some(now) => {
                    let expected = oracle::summarise(now, before, EPS);
                    oracle::assert_summary(record.summary().unwrap(), &expected, &what);
                }
            }
            let weight = &weights[step][tensor];
            oracle::assert_weight(&record.parameter.unwrap(), &oracle::weigh(weight), &what);
            assert_eq!(record.update.is_some(), step > 0, "{what}");
            let Some(update) = record.update else { continue };
            let expected = oracle::moved(weight, &weights[step - 1][tensor], before.zip(now), EPS, step as u64 - 1);
            oracle::assert_move(&update, &expected, param.numel, &what);
            // Plain SGD moves by the learning rate times the gradient, to the rounding of a weight.
            if let Some(before) = before {
                let norm = oracle::summarise(before, None, EPS).l2_norm;
                let rounding = 6e-8 * oracle::weigh(weight).l2_norm;
                assert!(
                    (update.l2_norm - LR * norm).abs() <= 1e-5 * LR * norm + rounding,
                    "{what}: {update:?}, {norm}"
                );
            }
        }
    }
    assert_eq!(losses_read, losses, "scalars ride along unchanged");
}

#[test]
fn every_statistic_of_a_training_run_is_right() {
    check_a_run(&device());
}

#[test]
fn every_statistic_of_the_twins_is_right() {
    check_a_run(&Device::open(gradscope::DeviceChoice::Cpu).unwrap());
}

#[test]
fn paths_are_module_paths() {
    let device = device();
    let model = net(device.burn());
    let scope = Scope::builder(&device).build(&model).unwrap();
    let paths: Vec<_> = scope.params().iter().map(|param| param.path.as_str()).collect();
    for expected in ["blocks.0.linear.weight", "blocks.1.norm.gamma", "head.bias", "spare.weight"] {
        assert!(paths.contains(&expected), "{expected} is not among {paths:?}");
    }
    let selected = Scope::builder(&device).select(r"linear\.weight$").exclude("^blocks.0").build(&model).unwrap();
    let paths: Vec<_> = selected.params().iter().map(|param| param.path.as_str()).collect();
    assert_eq!(paths, ["blocks.1.linear.weight"]);
}

#[test]
fn unused_and_frozen_parameters_are_missing_not_zero() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let mut model = net(&training);
    model.head = model.head.no_grad();
    let loss = model.loss(&mut Random::new(3), &training);
    let snapshot = gradscope::snapshot(&device, &model, &loss.backward()).unwrap();
    let of = |path: &str| snapshot.iter().find(|(p, _)| p == path).unwrap().1;
    assert_eq!(of("head.weight"), None, "frozen");
    assert_eq!(of("spare.weight"), None, "unused");
    assert!(of("blocks.0.linear.weight").is_some());
}

#[test]
fn frozen_parameters_are_weighed_all_the_same() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let mut model = net(&training);
    model.head = model.head.no_grad();
    let mut scope = Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap();
    for step in 0..2 {
        let gradients = model.loss(&mut Random::new(3), &training).backward();
        scope.step(step).gradients(&model, &gradients).submit();
    }
    let place = scope.params().iter().position(|param| param.path == "head.weight").unwrap();
    let record = scope.read(1).unwrap().tensors.swap_remove(place);
    assert_eq!(record.gradient, Gradient::Missing);
    assert_eq!(record.parameter.unwrap().numel, 128);
    let update = record.update.unwrap();
    assert_eq!((update.unchanged_count, update.l2_norm, update.crossings), (128, 0.0, None));
}

#[test]
fn gradients_of_several_devices_are_added_up() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let model = net(&training);
    let part = |seed| GradientsParams::from_grads(model.loss(&mut Random::new(seed), &training).backward(), &model);
    let both = MultiGradientsParams { grads: vec![(part(5), device.burn().clone()), (part(6), device.burn().clone())] };
    let found = gradscope::snapshot(&device, &model, &both).unwrap();
    let [a, b] = [5, 6].map(|seed| read_all(&model, &model.loss(&mut Random::new(seed), &training).backward()));
    for (((path, found), a), b) in found.iter().zip(a).zip(b) {
        let sum = a.zip(b).map(|(a, b)| a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<_>>());
        assert_eq!(found.is_some(), sum.is_some(), "{path}");
        if let (Some(found), Some(sum)) = (found, sum) {
            oracle::assert_summary(found, &oracle::summarise(&sum, None, [1e-7, 1e-5]), path);
        }
    }
}

#[test]
fn training_does_not_notice() {
    let device = device();
    let (bare, _) = train(&device, 20, |_, _, _, _| {});
    let model = net(device.burn());
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let (watched, _) = train(&device, 20, |step, model, loss, grads| {
        scope.step(step).scalar("loss", loss).gradients(model, grads).submit();
    });
    scope.finish(&model);
    if !gradscope::internals::BURN_FUSION {
        assert_eq!(watched, bare, "without fusion every kernel is the same, to the bit");
    }
    // With fusion a gradient that is observed is written to memory rather than consumed inside a fused
    // kernel, where a multiplication and an addition may be contracted: the last bits may differ.
    let differing = watched.iter().zip(&bare).filter(|(a, b)| a != b).count();
    eprintln!("losses that differ with and without the scope: {differing} of {}", bare.len());
    for (step, (a, b)) in watched.iter().zip(&bare).enumerate() {
        assert!((a - b).abs() <= 1e-5 * b.abs(), "loss at step {step}: {a} with the scope, {b} without");
    }
}

#[test]
fn gradients_params_are_a_source_too() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let model = net(&training);
    let gradients = model.loss(&mut Random::new(4), &training).backward();
    let by_gradients = gradscope::snapshot(&device, &model, &gradients).unwrap();
    let params = GradientsParams::from_grads(gradients, &model);
    assert_eq!(gradscope::snapshot(&device, &model, &params).unwrap(), by_gradients);
}

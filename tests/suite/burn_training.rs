//! Real training: what the scope says of burn's own gradients, and that training does not notice.

use crate::fixture::{Random, device, summary};
use crate::oracle;
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, Relu};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device as BurnDevice, Gradients, Tensor, TensorData};
use gradscope::record::Gradient;
use gradscope::{Device, Scope};

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

/// Trains with momentum-free SGD and returns the losses; `watch` sees every step before the optimizer.
fn train(device: &Device, steps: u64, mut watch: impl FnMut(u64, &Net, &Tensor<1>, &Gradients)) -> Vec<f32> {
    let training = device.burn().clone().autodiff();
    training.seed(11);
    let mut model = net(&training);
    let mut optimizer = SgdConfig::new().init();
    let mut random = Random(12);
    let mut losses = Vec::new();
    for step in 0..steps {
        let loss = model.loss(&mut random, &training);
        let gradients = loss.backward();
        watch(step, &model, &loss, &gradients);
        losses.push(loss.inner());
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(0.05, model, gradients);
    }
    losses.into_iter().map(|loss| loss.into_scalar::<f32>()).collect()
}

/// The gradients of a model by the walk's order, read back in full.
fn read_all(model: &Net, gradients: &Gradients) -> Vec<Option<Vec<f32>>> {
    struct Walk<'a>(&'a Gradients, Vec<Option<Vec<f32>>>);
    impl burn::module::ModuleVisitor for Walk<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().grad(self.0).map(|g| g.into_data().try_to_vec::<f32>().unwrap());
            self.1.push(values);
        }
    }
    let mut walk = Walk(gradients, vec![]);
    model.visit(&mut walk);
    walk.1
}

#[test]
fn every_statistic_of_a_training_run_is_right() {
    let device = device();
    let model = net(&device.burn().clone().autodiff());
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let mut gradients = Vec::new();
    let mut losses_read = Vec::new();
    let losses = train(&device, 12, |step, model, loss, grads| {
        scope.step(step).scalar("loss", loss).value("lr", 0.05).gradients(model, grads).submit();
        gradients.push(read_all(model, grads));
    });
    for step in 0..12 {
        let record = scope.read(step as u64).unwrap();
        losses_read.push(record.scalar("loss").unwrap() as f32);
        assert_eq!(record.scalar("lr"), Some(0.05));
        for (tensor, values) in gradients[step].iter().enumerate() {
            let what = format!("{} at step {step}", scope.params()[tensor].path);
            let Some(now) = values else {
                assert_eq!(record.tensors[tensor].gradient, Gradient::Missing, "{what}");
                continue;
            };
            let before = step.checked_sub(1).and_then(|before| gradients[before][tensor].as_deref());
            let expected = oracle::summarise(now, before, [1e-7, 1e-5]);
            oracle::assert_summary(summary(&record, tensor), &expected, &what);
        }
    }
    assert_eq!(losses_read, losses, "scalars ride along unchanged");
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
    let loss = model.loss(&mut Random(3), &training);
    let snapshot = gradscope::snapshot(&device, &model, &loss.backward()).unwrap();
    let of = |path: &str| snapshot.iter().find(|(p, _)| p == path).unwrap().1;
    assert_eq!(of("head.weight"), None, "frozen");
    assert_eq!(of("spare.weight"), None, "unused");
    assert!(of("blocks.0.linear.weight").is_some());
}

#[test]
fn training_does_not_notice() {
    let device = device();
    let bare = train(&device, 20, |_, _, _, _| {});
    let model = net(device.burn());
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let watched = train(&device, 20, |step, model, loss, grads| {
        scope.step(step).scalar("loss", loss).gradients(model, grads).submit();
    });
    scope.finish(&model).unwrap();
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
    let gradients = model.loss(&mut Random(4), &training).backward();
    let by_gradients = gradscope::snapshot(&device, &model, &gradients).unwrap();
    let params = GradientsParams::from_grads(gradients, &model);
    assert_eq!(gradscope::snapshot(&device, &model, &params).unwrap(), by_gradients);
}

#[test]
fn cpu_twin_as_the_engine() {
    let device = Device::open(gradscope::DeviceChoice::Cpu).unwrap();
    let model = net(device.burn());
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let mut gradients = Vec::new();
    train(&device, 4, |step, model, loss, grads| {
        scope.step(step).scalar("loss", loss).gradients(model, grads).submit();
        gradients.push(read_all(model, grads));
    });
    for step in 0..4 {
        let record = scope.read(step as u64).unwrap();
        assert!(record.scalar("loss").unwrap() > 0.0);
        for (tensor, values) in gradients[step].iter().enumerate() {
            let Some(now) = values else { continue };
            let before = step.checked_sub(1).and_then(|before| gradients[before][tensor].as_deref());
            let expected = oracle::summarise(now, before, [1e-7, 1e-5]);
            oracle::assert_summary(summary(&record, tensor), &expected, &scope.params()[tensor].path);
        }
    }
}

//! Trains with burn's defaults and holds every record against gradients read back in full.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig, Relu};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Distribution, Gradients, Tensor};
use gradscope::Scope;

#[derive(Module, Debug)]
struct Net {
    fc1: Linear,
    fc2: Linear,
}

/// Smallest and largest element and the L2 norm of every gradient, in the order of the walk.
struct ReadBack<'a>(&'a Gradients, Vec<(f32, f32, f64)>);

impl burn::module::ModuleVisitor for ReadBack<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.0).expect("every parameter is used");
        let values = gradient.into_data().try_to_vec::<f32>().expect("gradients are f32");
        let min = values.iter().copied().fold(f32::INFINITY, f32::min);
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.1.push((min, max, values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()));
    }
}

fn main() {
    let device = gradscope::device().expect("a wgpu adapter");
    let training = device.burn().clone().autodiff();
    let linear = |from, to| LinearConfig::new(from, to).init(&training);
    let mut model = Net { fc1: linear(30, 50), fc2: linear(50, 5) };
    let mut optimizer = SgdConfig::new().init();
    let mut scope = Scope::builder(&device).build(&model).expect("the model is observable");
    for step in 0..5 {
        let input = Tensor::<2>::random([16, 30], Distribution::Default, &training);
        let loss = model.fc2.forward(Relu::new().forward(model.fc1.forward(input))).powf_scalar(2.0).mean();
        let gradients = loss.backward();
        scope.step(step).scalar("loss", &loss).gradients(&model, &gradients).submit();
        let record = scope.read(step).expect("the step comes back");
        let mut expected = ReadBack(&gradients, vec![]);
        model.visit(&mut expected);
        for ((param, tensor), (min, max, l2_norm)) in scope.params().iter().zip(&record.tensors).zip(&expected.1) {
            let found = tensor.summary().expect("every gradient is observed");
            assert_eq!((found.min, found.max), (Some(*min), Some(*max)), "{} at step {step}", param.path);
            assert!((found.l2_norm - l2_norm).abs() <= 2e-6 * l2_norm, "{} at step {step}", param.path);
            assert_eq!(found.sign_flip_count.is_some(), step > 0);
        }
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(0.1, model, gradients);
    }
    println!("burn with its default features: 5 steps, 4 tensors, all statistics as read back");
    println!("{}", scope.finish(&model).summary);
}

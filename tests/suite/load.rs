//! More than most models have: tensors, and elements in one.

use crate::fixture::{Random, bag, check_groups, device, random_weights, summary};
use crate::oracle;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use gradscope::{Scope, Stats};

#[test]
fn five_thousand_tensors() {
    let mut random = Random::new(21);
    let lens: Vec<usize> = (0..5000).map(|_| random.len(6)).collect();
    let steps: Vec<Vec<_>> = (0..2).map(|_| lens.iter().map(|len| Some(random.gradients(*len))).collect()).collect();
    let weights = random_weights(&lens, steps.len());
    check_groups(&device(), |b| b, &[Stats::FULL], &lens, &steps, &weights);
}

/// Ignored by default because llvmpipe allocates no 400 MB in one piece; `make test-drivers` runs it elsewhere.
#[test]
#[ignore = "needs an adapter that binds 400 MB"]
fn a_hundred_million_elements() {
    const LEN: usize = 100_000_000;
    let device = device();
    let model = bag(&device, &[LEN]);
    let mut scope = Scope::builder(&device).build(&model).expect("the model is observable");
    let values = Random::new(22).gradients(LEN);
    let gradient = Tensor::<1>::from_data(TensorData::new(values.clone(), [LEN]), device.burn());
    for (step, gradient) in [gradient.clone(), gradient.neg()].into_iter().enumerate() {
        let mut gradients = GradientsParams::new();
        gradients.register(model.id(0), gradient);
        scope.step(step as u64).gradients(&model, &gradients).submit();
    }
    let negated: Vec<f32> = values.iter().map(|x| -x).collect();
    for (step, now, before) in [(0, &values, None), (1, &negated, Some(&values[..]))] {
        let expected = oracle::summarise(now, before, scope.epsilons());
        let record = scope.read(step).expect("the step came back");
        oracle::assert_summary(summary(&record, 0), &expected, &format!("step {step}"));
    }
}

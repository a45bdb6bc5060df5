//! Where and how a gradient lies must not matter.

use crate::fixture::{Random, device, summary};
use crate::oracle;
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor, TensorData};
use gradscope::record::Gradient;
use gradscope::{Device, NoticeKind, Scope, Stats, StepRecord};

#[derive(Module, Debug)]
struct Matrix {
    weight: Param<Tensor<2>>,
}

fn matrix(device: &Device, shape: [usize; 2]) -> Matrix {
    Matrix { weight: Param::from_tensor(Tensor::zeros(shape, device.burn())) }
}

fn source(device: &Device, values: &[f32], shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device.burn())
}

/// Observes the same expression of a source at two steps.
fn observe(
    shape: [usize; 2],
    source_shape: [usize; 2],
    view: impl Fn(Tensor<2>) -> Tensor<2>,
) -> (Vec<StepRecord>, Vec<Vec<f32>>) {
    let device = device();
    let model = matrix(&device, shape);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let mut random = Random::new(7);
    let mut expected = Vec::new();
    for step in 0..2 {
        let values = random.gradients(source_shape[0] * source_shape[1]);
        let gradient = view(source(&device, &values, source_shape));
        assert_eq!(gradient.dims(), shape);
        expected.push(gradient.clone().into_data().try_to_vec::<f32>().unwrap());
        let mut gradients = GradientsParams::new();
        gradients.register(model.weight.id, gradient);
        scope.step(step).gradients(&model, &gradients).submit();
    }
    ((0..2).map(|step| scope.read(step).unwrap()).collect(), expected)
}

fn check(what: &str, shape: [usize; 2], source_shape: [usize; 2], view: impl Fn(Tensor<2>) -> Tensor<2>) -> u32 {
    let (records, expected) = observe(shape, source_shape, view);
    let now = oracle::summarise(&expected[0], None, [1e-7, 1e-5]);
    oracle::assert_summary(summary(&records[0], 0), &now, what);
    let next = oracle::summarise(&expected[1], Some(&expected[0]), [1e-7, 1e-5]);
    oracle::assert_summary(summary(&records[1], 0), &next, what);
    records[1].cost.copied_count
}

#[test]
fn permuted() {
    assert_eq!(check("transposed", [300, 70], [70, 300], Tensor::transpose), 0, "a permutation is dense");
}

#[derive(Module, Debug)]
struct Kernel {
    weight: Param<Tensor<4>>,
}

/// As convolutions leave their gradients: one dimension has gone behind those it stood before.
#[test]
fn indices_are_logical_whatever_the_strides() {
    let device = device();
    for (order, copied) in [([0, 1, 2, 3], 0), ([0, 2, 3, 1], 0), ([1, 0, 2, 3], 1), ([3, 2, 1, 0], 1)] {
        // In memory as `order` has it, logically 6 x 5 x 4 x 3.
        let shape = order.map(|dim| [6, 5, 4, 3][dim]);
        let mut back = [0; 4];
        order.iter().enumerate().for_each(|(place, &dim)| back[dim] = place as isize);
        let zeros = Tensor::<4>::zeros([6, 5, 4, 3], device.burn());
        let model = Kernel { weight: Param::from_tensor(zeros) };
        for groups in [Stats::DYNAMICS, Stats::FULL] {
            let mut scope = Scope::builder(&device).stats(groups).build(&model).unwrap();
            let mut random = Random::new(10);
            let mut before: Option<Vec<f32>> = None;
            for step in 0..3 {
                let mut values = random.gradients(360);
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[100 + random.below(260)] = bad;
                }
                let laid = Tensor::<4>::from_data(TensorData::new(values, shape), device.burn());
                let gradient = laid.permute(back);
                let now = gradient.clone().into_data().try_to_vec::<f32>().unwrap();
                let mut gradients = GradientsParams::new();
                gradients.register(model.weight.id, gradient);
                scope.step(step).gradients(&model, &gradients).submit();
                let record = scope.read(step).unwrap();
                let what = format!("{order:?}, {groups}, step {step}");
                let expected = oracle::summarise(&now, before.as_deref(), [1e-7, 1e-5]);
                oracle::assert_summary(summary(&record, 0), &expected, &what);
                let unlike = order != [0, 1, 2, 3] && groups == Stats::FULL;
                assert_eq!(record.cost.copied_count, if unlike { 1 } else { copied }, "{what}");
                before = Some(now);
            }
        }
    }
}

/// Gradient, parameter and the parameter before may lie alike, in an order that indices can't be told of.
#[test]
fn moves_are_paired_whatever_the_strides() {
    let device = device();
    for order in [[0, 1, 2, 3], [0, 2, 3, 1], [1, 0, 2, 3], [3, 2, 1, 0]] {
        let shape = order.map(|dim| [6, 5, 4, 3][dim]);
        let mut back = [0; 4];
        order.iter().enumerate().for_each(|(place, &dim)| back[dim] = place as isize);
        let lay =
            |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, shape), device.burn()).permute(back);
        let read = |tensor: &Tensor<4>| tensor.clone().into_data().try_to_vec::<f32>().unwrap();
        let mut random = Random::new(11);
        let mut model = Kernel { weight: Param::from_tensor(lay(random.gradients(360))) };
        let mut scope = Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap();
        let mut seen: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
        for step in 0..3 {
            let gradient = lay(random.gradients(360));
            seen.push((read(&gradient), read(&model.weight.val())));
            let mut gradients = GradientsParams::new();
            gradients.register(model.weight.id, gradient);
            scope.step(step).gradients(&model, &gradients).submit();
            let record = scope.read(step).unwrap();
            let what = format!("{order:?}, step {step}");
            if let [.., (p, before), (g, now)] = &seen[..] {
                let expected = oracle::moved(now, before, Some((p, g)), [1e-7, 1e-5], step - 1);
                oracle::assert_move(&record.tensors[0].update.unwrap(), &expected, 360, &what);
            }
            model = Kernel { weight: Param::initialized(model.weight.id, lay(random.gradients(360))) };
        }
    }
}

#[test]
fn sliced() {
    // burn makes a view of a slice only where its ends are aligned to a binding's offset.
    let copied = check("aligned rows", [16, 64], [64, 64], |t| t.slice([16..32, 0..64]));
    assert_eq!(copied, 0, "an aligned slice is read where it lies, at its offset");
    check("rows off the alignment", [5, 33], [64, 33], |t| t.slice([3..8, 0..33]));
    check("columns", [64, 7], [64, 40], |t| t.slice([0..64, 5..12]));
    check("one element", [1, 1], [64, 33], |t| t.slice([7..8, 13..14]));
}

#[test]
fn broadcast_and_overlapping() {
    check("expanded", [50, 64], [1, 64], |t| t.expand([50, 64]));
    check("a column, expanded", [64, 50], [64, 1], |t| t.expand([64, 50]));
    check("a row sliced, then expanded", [8, 40], [8, 40], |t| t.slice([2..3, 0..40]).expand([8, 40]));
    check("all from one element", [30, 30], [8, 40], |t| t.slice([2..3, 4..5]).expand([30, 30]));
}

#[test]
fn gradient_of_a_plain_sum() {
    let device = device();
    let training = device.burn().clone().autodiff();
    let model = Matrix { weight: Param::from_tensor(Tensor::ones([37, 11], &training)) };
    let gradients = model.weight.val().sum().backward();
    let snapshot = gradscope::snapshot(&device, &model, &gradients).unwrap();
    let expected = oracle::summarise(&[1.0; 37 * 11], None, [1e-7, 1e-5]);
    let (path, found) = &snapshot[0];
    assert_eq!(path, "weight");
    oracle::assert_summary(found.as_ref().unwrap(), &expected, "ones");
}

#[test]
fn half_precision_is_widened_and_counted() {
    let device = device();
    let model = matrix(&device, [20, 30]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let values = Random::new(9).gradients(600);
    let half = source(&device, &values, [20, 30]).cast(DType::F16);
    let Ok(widened) = half.clone().cast(DType::F32).try_into_data() else {
        // The driver has no f16, so burn has no such gradients on it.
        return assert!(!device.has_f16(), "the adapter has f16, and burn can't read it");
    };
    let widened = widened.try_to_vec::<f32>().unwrap();
    let mut gradients = GradientsParams::new();
    gradients.register(model.weight.id, half);
    scope.step(0).gradients(&model, &gradients).submit();
    let record = scope.read(0).unwrap();
    // A driver may flush what is subnormal in f16 or not: compare with its own widening.
    oracle::assert_summary(summary(&record, 0), &oracle::summarise(&widened, None, [1e-7, 1e-5]), "f16");
    assert_eq!(record.cost.copied_count, 1);
}

#[test]
fn a_change_of_layout_starts_history_anew() {
    let device = device();
    let model = matrix(&device, [40, 40]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let values = Random::new(8).gradients(1600);
    for (step, transposed) in [(0, false), (1, true), (2, true)] {
        let gradient = source(&device, &values, [40, 40]);
        let mut gradients = GradientsParams::new();
        gradients.register(model.weight.id, if transposed { gradient.transpose() } else { gradient });
        scope.step(step).gradients(&model, &gradients).submit();
    }
    assert_eq!(summary(&scope.read(1).unwrap(), 0).sign_flip_count, None);
    assert_eq!(summary(&scope.read(2).unwrap(), 0).sign_flip_count, Some(0));
    let resets = scope.poll().into_iter().filter(
        |event| matches!(event, gradscope::Event::Notice(notice) if matches!(notice.kind, NoticeKind::HistoryReset { .. })),
    );
    assert_eq!(resets.count(), 1);
}

#[test]
fn another_number_of_elements_is_unreadable_not_wrong() {
    let device = device();
    let model = matrix(&device, [10, 10]);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let mut gradients = GradientsParams::new();
    gradients.register(model.weight.id, source(&device, &[1.0; 12], [3, 4]));
    scope.step(0).gradients(&model, &gradients).submit();
    assert_eq!(scope.read(0).unwrap().tensors[0].gradient, Gradient::Unreadable);
}

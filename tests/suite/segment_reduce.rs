//! Channels and sign maps: shader and twin against plain counting.

use crate::fixture::{Random, bag, device, devices, shapes};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use gradscope::internals::PretendLimits;
use gradscope::stats::Segment;
use gradscope::{Schedule, Scope, SignMap};

#[test]
fn long_columns_are_within_tolerance() {
    let values = vec![0.1f32; 3_000_000];
    let device = device();
    let builder = Scope::builder(&device).sign_map(SignMap::default().columns(1), Schedule::every(1));
    let row = shapes(&device, builder, &[values.len()], std::slice::from_ref(&values)).sign_map.unwrap();
    check_segment(&row.columns[0], &values, "one column");
    let backwards = std::ops::Range { start: 10, end: 5 };
    let map = SignMap::default().zoom(backwards);
    let error = Scope::builder(&device).sign_map(map, Schedule::every(1)).build(&bag(&device, &[100])).err().unwrap();
    assert!(error.to_string().contains("10..5"), "{error}");
}

/// What a stretch holds, counted plainly.
fn segment(values: &[f32]) -> Segment {
    let near = |x: f32| x != 0.0 && f64::from(x.abs()) < 1e-5;
    let count = |yes: &dyn Fn(f32) -> bool| values.iter().filter(|x| yes(**x)).count() as u64;
    Segment {
        numel: values.len() as u64,
        near_zero_negative_count: count(&|x| near(x) && x < 0.0),
        near_zero_positive_count: count(&|x| near(x) && x > 0.0),
        zero_count: count(&|x| x == 0.0),
        nonfinite_count: count(&|x| !x.is_finite()),
        l2_norm_sq: values.iter().filter(|x| x.is_normal()).map(|x| f64::from(*x) * f64::from(*x)).sum(),
    }
}

pub fn check_segment(found: &Segment, values: &[f32], what: &str) {
    let expected = segment(values);
    assert!((found.l2_norm() - expected.l2_norm()).abs() <= 1e-6 * expected.l2_norm(), "{what}: {found:?}");
    let counts = |s: &Segment| Segment { l2_norm_sq: 0.0, ..*s };
    assert_eq!(counts(found), counts(&expected), "{what}");
    assert_eq!(found.near_zero_count() + found.other_count() + found.nonfinite_count, found.numel);
}

#[test]
fn sign_maps_lay_tensors_end_to_end() {
    let lens = [3000, 1, 500, 20_000];
    let mut random = Random::new(52);
    let values: Vec<Vec<f32>> = lens.iter().map(|len| random.poisons(*len)).collect();
    let whole = values.concat();
    for device in devices() {
        for (columns, zoom) in [(1024, None), (100, None), (1, None), (64, Some(2990..3100)), (20, Some(3490..3510))] {
            let mut map = SignMap::default().columns(columns);
            map = if let Some(zoom) = zoom.clone() { map.zoom(zoom) } else { map };
            let builder = Scope::builder(&device).sign_map(map, Schedule::every(1));
            let row = shapes(&device, builder, &lens, &values).sign_map.unwrap();
            let shown = zoom.unwrap_or(0..whole.len() as u64);
            assert_eq!((row.first_element, row.element_count), (shown.start, shown.end - shown.start));
            assert_eq!(row.columns.len(), columns);
            let border = |column: usize| shown.start as usize + column * row.element_count as usize / columns;
            for (column, found) in row.columns.iter().enumerate() {
                check_segment(
                    found,
                    &whole[border(column)..border(column + 1)],
                    &format!("column {column} of {columns}"),
                );
            }
        }
        let map = SignMap::default().select("tensors.[13]").columns(5);
        let builder = Scope::builder(&device).sign_map(map, Schedule::every(1));
        let row = shapes(&device, builder, &lens, &values).sign_map.unwrap();
        assert_eq!(row.element_count, 20_001);
        let error = Scope::builder(&device).sign_map(SignMap::default().zoom(90_000..90_001), Schedule::every(1));
        let error = error.build(&bag(&device, &lens)).err().unwrap().to_string();
        assert!(error.contains("shows nothing of 23501 elements"), "{error}");
    }
}

#[test]
fn sign_maps_past_one_binding() {
    let mut random = Random::new(53);
    let values = vec![random.poisons(60_000)];
    let device = device();
    // Spans of 8192 elements, and columns across their borders.
    let limits = PretendLimits { binding_bytes: Some(40_000), ..PretendLimits::default() };
    let map = SignMap::default().columns(7);
    let builder = Scope::builder(&device).pretend_limits(limits).sign_map(map, Schedule::every(1));
    let row = shapes(&device, builder, &[60_000], &values).sign_map.unwrap();
    for (column, found) in row.columns.iter().enumerate() {
        let border = |column: usize| column * 60_000 / 7;
        check_segment(found, &values[0][border(column)..border(column + 1)], &format!("column {column}"));
    }
}

#[derive(Module, Debug)]
struct Layers {
    linear: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    conv: Param<Tensor<4>>,
}

#[test]
fn channels_are_summed_up_whatever_the_strides() {
    for device in devices() {
        let zeros = |shape: [usize; 4]| Param::from_tensor(Tensor::zeros(shape, device.burn()));
        let model = Layers {
            linear: Param::from_tensor(Tensor::zeros([30, 20], device.burn())),
            bias: Param::from_tensor(Tensor::zeros([20], device.burn())),
            conv: zeros([6, 5, 3, 3]),
        };
        let builder = Scope::builder(&device).channels(Schedule::every(1));
        let mut scope = builder.build(&model).unwrap();
        let mut random = Random::new(54);
        let mut linear = random.poisons(600);
        // The fourth unit is dead.
        (0..30).for_each(|row| linear[row * 20 + 3] = 0.0);
        let conv = random.poisons(270);
        let mut gradients = GradientsParams::new();
        let laid: Vec<f32> = (0..600).map(|i| linear[(i % 30) * 20 + i / 30]).collect();
        let transposed = Tensor::<2>::from_data(TensorData::new(laid, [20, 30]), device.burn()).transpose();
        gradients.register(model.linear.id, transposed);
        let whole = Tensor::<4>::from_data(TensorData::new(conv.clone(), [6, 5, 3, 3]), device.burn());
        gradients.register(model.conv.id, whole);
        scope.step(0).gradients(&model, &gradients).submit();
        let shapes = scope.read(0).unwrap().shapes.unwrap();
        let [first, second] = &shapes.channels[..] else { panic!("a bias has no channels: {:?}", shapes.channels) };
        assert_eq!((first.param, first.channels.len(), first.dead_count()), (0, 20, 1));
        for (channel, found) in first.channels.iter().enumerate() {
            let column: Vec<f32> = (0..30).map(|row| linear[row * 20 + channel]).collect();
            check_segment(found, &column, &format!("linear, channel {channel}"));
        }
        assert_eq!((second.param, second.channels.len()), (2, 6));
        for (channel, found) in second.channels.iter().enumerate() {
            check_segment(found, &conv[channel * 45..(channel + 1) * 45], &format!("conv, channel {channel}"));
        }
    }
}

//! Histograms, channels and sign maps: shaders and twins against plain counting.

use crate::fixture::{Random, bag, device, observe};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use gradscope::internals::PretendLimits;
use gradscope::record::{HistogramOf, Shapes};
use gradscope::stats::{Format, Histogram, Segment};
use gradscope::{Device, Schedule, Scope, ScopeBuilder, SignMap};

fn devices() -> [Device; 2] {
    [device(), Device::open(gradscope::DeviceChoice::Cpu).unwrap()]
}

fn check_histogram(histogram: &Histogram, values: &[f32], what: &str) {
    let count = |yes: &dyn Fn(f32) -> bool| values.iter().filter(|x| yes(**x)).count() as u64;
    let exponent = |x: f32| (x.to_bits() >> 23 & 0xff) as usize;
    for (bin, found) in histogram.exponent_count.iter().enumerate() {
        assert_eq!(*found, count(&|x| exponent(x) == bin), "{what}: exponent {bin}");
    }
    assert_eq!(histogram.zero_count, count(&|x| x == 0.0), "{what}");
    // Halves of the smallest subnormals, and what lies half an ulp past the largest values.
    let flush = [2f64.powi(-25), 2f64.powi(-134), 2f64.powi(-10), 2f64.powi(-17)];
    let overflow = [65520.0, 2f64.powi(128) - 2f64.powi(119), 464.0, 61440.0];
    for (place, format) in Format::ALL.into_iter().enumerate() {
        let flushes = |x: f32| x != 0.0 && f64::from(x.abs()) <= flush[place];
        // 464 is a tie that goes to the even 448.
        let past = |x: f64| if format == Format::Fp8E4m3 { x > overflow[place] } else { x >= overflow[place] };
        assert_eq!(histogram.flush_count[place], count(&flushes), "{what}: {format:?} flushes");
        let overflows = |x: f32| x.is_finite() && past(f64::from(x.abs()));
        assert_eq!(histogram.overflow_count[place], count(&overflows), "{what}: {format:?} overflows");
    }
    let Some(linear) = &histogram.linear else { return };
    let (edges, last) = (&linear.edges, linear.count.len());
    assert_eq!(linear.underflow_count, count(&|x| x.is_finite() && x < edges[0]), "{what}");
    assert_eq!(linear.overflow_count, count(&|x| x.is_finite() && x > edges[last]), "{what}");
    for (bin, found) in linear.count.iter().enumerate() {
        let within = |x: f32| edges[bin] <= x && (x < edges[bin + 1] || (bin + 1 == last && x == edges[last]));
        assert_eq!(*found, count(&within), "{what}: bin {bin}");
    }
}

#[test]
fn histograms_count_every_element() {
    let lens = [1, 1000, 70_001];
    let mut random = Random::new(51);
    let steps: Vec<Vec<Option<Vec<f32>>>> = (0..4)
        .map(|step| {
            let draw = |len: &usize| if step % 2 == 0 { random.gradients(*len) } else { random.poisons(*len) };
            lens.iter().map(draw).map(Some).collect()
        })
        .collect();
    for device in devices() {
        let mut model = bag(&device, &lens);
        let builder = Scope::builder(&device).histograms(Schedule::every(2).and(Schedule::window(3..4, 1)));
        let mut scope = builder.build(&model).unwrap();
        for (step, values) in steps.iter().enumerate() {
            let weights: Vec<Vec<f32>> = values.iter().flatten().map(|v| v.iter().map(|x| x * 2.0).collect()).collect();
            model = model.with_weights(&device, &weights);
            scope.step(step as u64).gradients(&model, &model.gradients(&device, values)).submit();
            // The bounds are those that have come back by then.
            let shapes = scope.read(step as u64).unwrap().shapes;
            if step == 1 {
                assert_eq!(shapes, None, "not due");
                continue;
            }
            let shapes = shapes.unwrap();
            assert_eq!(shapes.histograms.len(), 2 * lens.len());
            for record in &shapes.histograms {
                let values = match record.of {
                    HistogramOf::Gradient => values[record.param].as_ref().unwrap(),
                    _ => &weights[record.param],
                };
                let what = format!("{:?} {} at step {step}", record.of, record.param);
                check_histogram(&record.histogram, values, &what);
                assert!(
                    step == 0 || record.histogram.linear.is_some() || lens[record.param] == 1,
                    "{what}: bounds are known"
                );
            }
        }
    }
}

#[test]
fn bounds_of_formats_are_counted_to_the_bit() {
    let limits = [65504.0f32, 65520.0, 448.0, 464.0, 57344.0, 61440.0, 3.3895e38, f32::from_bits(0x7f7f_8000)];
    let flushes = [-25, -10, -17].map(|power| 2f32.powi(power));
    let around = |x: f32| [x.next_down(), x, x.next_up(), -x];
    let values: Vec<f32> = limits.into_iter().chain(flushes).chain([f32::from_bits(0x8000)]).flat_map(around).collect();
    for device in devices() {
        let builder = Scope::builder(&device).histograms(Schedule::every(1));
        let shapes = shapes(&device, builder, &[values.len()], std::slice::from_ref(&values));
        check_histogram(&shapes.histograms[0].histogram, &values, "limits");
    }
}

#[test]
fn a_loss_scale_is_taken_out() {
    let mut random = Random::new(55);
    let values = random.gradients(4000);
    for device in devices() {
        let model = bag(&device, &[4000]);
        let every = Schedule::every(1);
        let builder = Scope::builder(&device).histograms(every.clone()).sign_map(SignMap::default().columns(8), every);
        let mut scope = builder.build(&model).unwrap();
        for (step, scale) in [(0, 1.0), (1, 4096.0)] {
            let scaled = values.iter().map(|g| g * scale).collect();
            let gradients = model.gradients(&device, &[Some(scaled)]);
            scope.step(step).gradient_scale(f64::from(scale)).gradients(&model, &gradients).submit();
            let shapes = scope.read(step).unwrap().shapes.unwrap();
            for (column, found) in shapes.sign_map.unwrap().columns.iter().enumerate() {
                check_segment(found, &values[column * 500..(column + 1) * 500], &format!("column {column} at {scale}"));
            }
            let Some(linear) = &shapes.histograms[0].histogram.linear else { continue };
            assert_eq!(
                (linear.underflow_count, linear.overflow_count),
                (0, 0),
                "bounds and gradients are of one scale"
            );
            assert_eq!(linear.count.iter().sum::<u64>(), 4000);
        }
    }
}

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

fn check_segment(found: &Segment, values: &[f32], what: &str) {
    let expected = segment(values);
    assert!((found.l2_norm() - expected.l2_norm()).abs() <= 1e-6 * expected.l2_norm(), "{what}: {found:?}");
    let counts = |s: &Segment| Segment { l2_norm_sq: 0.0, ..*s };
    assert_eq!(counts(found), counts(&expected), "{what}");
    assert_eq!(found.near_zero_count() + found.other_count() + found.nonfinite_count, found.numel);
}

fn shapes(device: &Device, builder: ScopeBuilder, lens: &[usize], values: &[Vec<f32>]) -> Shapes {
    let step = values.iter().cloned().map(Some).collect();
    observe(device, builder, lens, &[step]).remove(0).shapes.unwrap()
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

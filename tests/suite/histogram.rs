//! Histograms by exponent and between bounds: shader and twin against plain counting.
//!
//! | element | biased exponent | |
//! |---|---|---|
//! | 0.5, 0.75 | 126 | |
//! | 1, -1.5 | 127 | |
//! | 0 | 0 | a zero |
//! | 1e-8 = 1.34 · 2^-27 | 100 | f16 rounds it to 0: it is below half of its smallest number, 2^-25 |

use crate::fixture::{Random, bag, devices, shapes};
use crate::segment_reduce::check_segment;
use gradscope::record::HistogramOf;
use gradscope::stats::{Format, Histogram};
use gradscope::{Schedule, Scope, SignMap};

#[test]
fn worked_values() {
    let values = vec![0.5, 0.75, 1.0, -1.5, 0.0, 1e-8];
    for device in devices() {
        let builder = Scope::builder(&device).histograms(Schedule::every(1));
        let shapes = shapes(&device, builder, &[values.len()], std::slice::from_ref(&values));
        let found = &shapes.histograms[0].histogram;
        let filled = found.exponent_count.iter().enumerate().filter(|(_, count)| **count > 0);
        let filled: Vec<(usize, u64)> = filled.map(|(bin, count)| (bin, *count)).collect();
        assert_eq!(filled, [(0, 1), (100, 1), (126, 2), (127, 2)]);
        assert_eq!((found.zero_count, found.flush_count[0], found.overflow_count), (1, 1, [0; 4]));
    }
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

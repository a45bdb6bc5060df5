//! Values at given lengths: random ones, poison, ranges that f32 squares have no room for, counts that overflow u16 and f32.

use crate::fixture::{Random, check, device, observe, summary};
use crate::oracle;
use gradscope::Scope;

/// Around everything that has a border: a vector, a state word, a workgroup's vectors, a tile, a chunk.
const LENS: [usize; 17] =
    [1, 2, 3, 5, 31, 63, 64, 65, 255, 256, 257, 1023, 8191, 8192, 8193, 3 * 8192 + 1, (1 << 20) + 1];

#[test]
fn random_gradients_at_border_lengths() {
    let mut random = Random(1);
    let steps: Vec<_> = (0..3).map(|_| LENS.map(|len| Some(random.gradients(len))).to_vec()).collect();
    check(&device(), |b| b, &LENS, &steps);
}

#[test]
fn poison_at_border_lengths() {
    let mut random = Random(2);
    let steps: Vec<_> = (0..3).map(|_| LENS.map(|len| Some(random.poisons(len))).to_vec()).collect();
    check(&device(), |b| b, &LENS, &steps);
    check(&device(), |b| b.checked_shaders(true), &LENS, &steps);
}

#[test]
fn uniform_poison() {
    // One bit pattern alone, at a whole tile and past it.
    let patterns: [f32; 12] = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        1e-7,
        -1e-5,
    ];
    let lens = [8192, 100];
    let steps: Vec<_> = patterns.iter().map(|x| lens.map(|len| Some(vec![*x; len])).to_vec()).collect();
    check(&device(), |b| b, &lens, &steps);
}

#[test]
fn norms_beyond_the_range_of_f32_squares() {
    let mut random = Random(3);
    for scale in [1e-37f32, 1e-25, 1e-14, 3e-14, 1e13, 4e13, 1e25, 1e38] {
        let values: Vec<f32> = random.gradients(20_000).iter().map(|x| x * scale).collect();
        let mixed: Vec<f32> =
            values.iter().map(|x| if random.below(2) == 0 { *x } else { random.gradient() }).collect();
        check(&device(), |b| b, &[20_000, 20_000], &[vec![Some(values), Some(mixed)]]);
    }
}

#[test]
fn more_equal_elements_than_f32_can_count() {
    let values = vec![0.1f32; (1 << 24) + 1];
    let expected = oracle::summarise(&values, None, [1e-7, 1e-5]);
    let device = device();
    let record = &observe(&device, Scope::builder(&device), &[values.len()], &[vec![Some(values)]])[0];
    oracle::assert_summary(summary(record, 0), &expected, "2^24 + 1 times 0.1");
    assert_eq!(summary(record, 0).positive_count, (1 << 24) + 1);
}

#[test]
fn twice_the_same_is_bitwise_the_same() {
    let mut random = Random(4);
    let lens = [100_000, 17];
    let steps: Vec<_> = (0..2).map(|_| lens.map(|len| Some(random.gradients(len))).to_vec()).collect();
    let device = device();
    let run = || observe(&device, Scope::builder(&device), &lens, &steps);
    for (a, b) in run().iter().zip(run()) {
        assert_eq!(a.tensors, b.tensors);
        assert_eq!(a.global, b.global);
    }
}

#[test]
fn few_bindings_and_many_tensors() {
    let mut random = Random(5);
    // Large enough that burn gives each its own page: more pages than one dispatch binds.
    let lens: Vec<usize> = (0..30).map(|n| if n % 3 == 0 { 300_000 } else { 10 + n }).collect();
    let steps: Vec<Vec<_>> = (0..2).map(|_| lens.iter().map(|len| Some(random.gradients(*len))).collect()).collect();
    for pages in [1, 4, 24] {
        check(&device(), |b| b.page_count_max(pages), &lens, &steps);
    }
}

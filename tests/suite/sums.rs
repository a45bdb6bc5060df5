//! Values at given lengths: random ones, poison, ranges that f32 squares have no room for, counts that overflow u16 and f32.

use crate::fixture::{Random, bag, check, check_groups, device, observe, random_weights, summary};
use crate::oracle;
use gradscope::internals::PretendLimits;
use gradscope::{Scope, ScopeBuilder, Stats};

/// Around everything that has a border: a vector, a state word, a workgroup's vectors, a tile, a chunk.
const LENS: [usize; 17] =
    [1, 2, 3, 5, 31, 63, 64, 65, 255, 256, 257, 1023, 8191, 8192, 8193, 3 * 8192 + 1, (1 << 20) + 1];

#[test]
fn random_gradients_at_border_lengths() {
    let mut random = Random::new(1);
    let steps: Vec<_> = (0..3).map(|_| LENS.map(|len| Some(random.gradients(len))).to_vec()).collect();
    check(&device(), |b| b, &LENS, &steps);
}

#[test]
fn poison_at_border_lengths() {
    let mut random = Random::new(2);
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
    let mut random = Random::new(3);
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
    let mut random = Random::new(4);
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
    let mut random = Random::new(5);
    // Large enough that burn gives each its own page: more pages than one dispatch binds.
    let lens: Vec<usize> = (0..30).map(|n| if n % 3 == 0 { 300_000 } else { 10 + n }).collect();
    let steps: Vec<Vec<_>> = (0..2).map(|_| lens.iter().map(|len| Some(random.gradients(*len))).collect()).collect();
    for pages in [1, 4, 24] {
        let limits = PretendLimits { page_count: Some(pages), ..PretendLimits::default() };
        check(&device(), |b| b.pretend_limits(limits), &lens, &steps);
    }
}

#[test]
fn planned_as_for_a_discrete_gpu() {
    // A chunk a tile, and more of them than a narrow workgroup folds at once.
    let mut random = Random::new(16);
    let lens = [800_000, 64, 8193, 1];
    let steps: Vec<_> = (0..2).map(|_| lens.map(|len| Some(random.poisons(len))).to_vec()).collect();
    let weights = random_weights(&lens, steps.len());
    let limits = PretendLimits { discrete: true, ..PretendLimits::default() };
    check_groups(&device(), |b| b.pretend_limits(limits), &[Stats::BASIC, Stats::FULL], &lens, &steps, &weights);
}

#[test]
fn tensors_past_one_binding_and_one_dimension() {
    let mut random = Random::new(6);
    // Windows of 128 KiB within burn's pages of megabytes, and rows of 7 workgroups: as a tensor of gigabytes
    // meets a real adapter's limits.
    let limits = PretendLimits { binding_bytes: Some(128 << 10), grid_len: Some(8), ..PretendLimits::default() };
    let lens = [200_000, 5, 16_384, 70_001, 1];
    let steps: Vec<_> = (0..2).map(|_| lens.map(|len| Some(random.poisons(len))).to_vec()).collect();
    for shaders_checked in [false, true] {
        // Averages and kept gradients are one binding each: they do not go past it.
        let weights = random_weights(&lens, steps.len());
        let builder = |b: ScopeBuilder| b.pretend_limits(limits).checked_shaders(shaders_checked);
        check_groups(&device(), builder, &[Stats::BASIC, Stats::FULL], &lens, &steps, &weights);
    }
    let error = Scope::builder(&device()).pretend_limits(limits).stats(Stats::EMA).build(&bag(&device(), &lens));
    let error = error.err().unwrap().to_string();
    assert!(error.contains("moving averages would need") && error.contains("select fewer"), "{error}");
}

#[test]
fn more_tensors_than_one_dispatch_dimension() {
    let mut random = Random::new(10);
    let limits = PretendLimits { grid_len: Some(8), ..PretendLimits::default() };
    let lens: Vec<usize> = (1..32).collect();
    let steps: Vec<Vec<_>> = (0..2).map(|_| lens.iter().map(|len| Some(random.gradients(*len))).collect()).collect();
    check(&device(), |b| b.pretend_limits(limits), &lens, &steps);
}

#[test]
fn read_back_and_state_stay_in_the_budget_of_card() {
    let device = device();
    let lens = [1, 1000, 1 << 22];
    let model = bag(&device, &lens);
    let mut scope = Scope::builder(&device).build(&model).unwrap();
    let values = lens.map(|len| Some(vec![1.0; len]));
    scope.step(0).gradients(&model, &model.gradients(&device, &values)).submit();
    let bytes = u64::from(scope.read(0).unwrap().cost.readback_bytes);
    assert!(bytes <= 96 * lens.len() as u64, "{bytes} bytes for {} tensors", lens.len());
    let numel: usize = lens.iter().sum();
    let padding_bits = 8 * 2048 * lens.len() as u64;
    assert!(scope.state_bytes() * 8 <= 2 * numel as u64 + padding_bits, "2 bits an element, and padding");
}

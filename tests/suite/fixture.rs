//! A device, models of any shapes, gradients of any values, and the comparison of all three implementations.

use crate::oracle;
use burn::module::{Module, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use gradscope::cpu::grad_reduce::{State, moved, reduce, weigh};
use gradscope::internals::PretendLimits;
use gradscope::record::{Gradient, Shapes};
use gradscope::stats::Epsilons;
use gradscope::{Device, DeviceChoice, Scope, ScopeBuilder, Stats, StepRecord, TensorSummary};

/// The GPU device of this process. There is no skipping: without an adapter every test fails.
pub fn device() -> Device {
    gradscope::device().expect("these tests need a wgpu adapter; software Vulkan will do")
}

/// Any number of vectors.
#[derive(Module, Debug)]
pub struct Bag {
    tensors: Vec<Param<Tensor<1>>>,
}

/// A model of vectors of these lengths.
pub fn bag(device: &Device, lens: &[usize]) -> Bag {
    let zeros = |len: &usize| Param::from_tensor(Tensor::zeros([*len], device.burn()));
    Bag { tensors: lens.iter().map(zeros).collect() }
}

impl Bag {
    pub fn id(&self, tensor: usize) -> ParamId {
        self.tensors[tensor].id
    }

    /// Gradients for the first tensors, where there are values.
    pub fn gradients(&self, device: &Device, values: &[Option<Vec<f32>>]) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        for (param, values) in self.tensors.iter().zip(values) {
            if let Some(values) = values {
                gradients.register(param.id, tensor(device, values));
            }
        }
        gradients
    }
}

/// The GPU, and the CPU twins.
pub fn devices() -> [Device; 2] {
    [device(), Device::open(DeviceChoice::Cpu).expect("the twins need nothing")]
}

/// The distributions of one step with these gradients.
pub fn shapes(device: &Device, builder: ScopeBuilder, lens: &[usize], values: &[Vec<f32>]) -> Shapes {
    let step = values.iter().cloned().map(Some).collect();
    observe(device, builder, lens, &[step]).remove(0).shapes.expect("some are due")
}

/// A tensor of exactly these bits.
pub fn tensor(device: &Device, values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device.burn())
}

/// Numbers that look random, and are the same for the same seed.
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub fn bits(&mut self) -> u32 {
        self.0.u32(..)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// A length of at most `log2` bits, the short ones as likely as the long ones.
    pub fn len(&mut self, log2: usize) -> usize {
        let bits = 1 + self.below(log2);
        1 + self.below(1 << bits)
    }

    /// A gradient such as training makes: signs mixed, magnitudes from 1e-9 to 1, some zeros.
    pub fn gradient(&mut self) -> f32 {
        match self.below(10) {
            0 => 0.0,
            n => (self.bits() as i32 as f32 / i32::MAX as f32) * 10f32.powi(-(n as i32)),
        }
    }

    pub fn gradients(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.gradient()).collect()
    }

    /// What breaks reductions: NaNs, infinities, zeros of both signs, subnormals, extremes, epsilons, any bits.
    pub fn poison(&mut self) -> f32 {
        const CORPUS: [u32; 24] = [
            0x7fc0_0000,
            0xffc0_0000,
            0x7f80_0001,
            0xffff_ffff,
            0x7f80_0000,
            0xff80_0000,
            0,
            0x8000_0000,
            1,
            0x8000_0001,
            0x007f_ffff,
            0x807f_ffff,
            0x0080_0000,
            0x8080_0000,
            0x7f7f_ffff,
            0xff7f_ffff,
            0x33d6_bf94,
            0x33d6_bf95,
            0xb3d6_bf95,
            0x3727_c5ac,
            0x3727_c5ad,
            0x3f80_0000,
            0x1000_0000,
            0x6f80_0000,
        ];
        match self.below(4) {
            0 => f32::from_bits(self.bits()),
            1 => self.gradient(),
            _ => f32::from_bits(CORPUS[self.below(CORPUS.len())]),
        }
    }

    pub fn poisons(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.poison()).collect()
    }
}

/// The values of every tensor's gradient at one step.
pub type Values = Vec<Option<Vec<f32>>>;

impl Bag {
    /// The same model with other weights.
    pub fn with_weights(&self, device: &Device, weights: &[Vec<f32>]) -> Self {
        let param =
            |(param, values): (&Param<Tensor<1>>, &Vec<f32>)| Param::initialized(param.id, tensor(device, values));
        Self { tensors: self.tensors.iter().zip(weights).map(param).collect() }
    }
}

/// Runs the steps, each a value for every tensor, through the GPU and returns the records.
pub fn observe(device: &Device, builder: ScopeBuilder, lens: &[usize], steps: &[Values]) -> Vec<StepRecord> {
    let zeros: Vec<Vec<f32>> = lens.iter().map(|len| vec![0.0; *len]).collect();
    observe_weights(device, builder, lens, steps, &vec![zeros; steps.len()])
}

/// As [`observe`], with weights for every step and those after the last. Records of the last move are returned too.
pub fn observe_weights(
    device: &Device,
    builder: ScopeBuilder,
    lens: &[usize],
    steps: &[Values],
    weights: &[Vec<Vec<f32>>],
) -> Vec<StepRecord> {
    let mut model = bag(device, lens);
    let mut scope = builder.build(&model).expect("the model is observable");
    for (step, values) in steps.iter().enumerate() {
        model = model.with_weights(device, &weights[step]);
        scope.step(step as u64).gradients(&model, &model.gradients(device, values)).submit();
    }
    if let Some(last) = weights.get(steps.len()) {
        model = model.with_weights(device, last);
    }
    let events = scope.finish(&model).events;
    let records = events.into_iter().filter_map(|event| match event {
        gradscope::Event::Record(record) => Some(record),
        gradscope::Event::Notice(notice) if notice.kind.is_fault() => panic!("{notice}"),
        _ => None,
    });
    records.collect()
}

/// Poison for every weight, at every step and after the last.
pub fn random_weights(lens: &[usize], step_count: usize) -> Vec<Vec<Vec<f32>>> {
    let mut random = Random::new(lens.len() as u64 + 17);
    (0..=step_count).map(|_| lens.iter().map(|len| random.poisons(*len)).collect()).collect()
}

/// Runs the steps through shader, twin and oracle, with every statistic, and holds them against each other.
pub fn check(device: &Device, builder: impl Fn(ScopeBuilder) -> ScopeBuilder, lens: &[usize], steps: &[Values]) {
    check_weights(device, builder, lens, steps, &random_weights(lens, steps.len()));
}

/// As [`check`], with weights for every step and those after the last.
pub fn check_weights(
    device: &Device,
    builder: impl Fn(ScopeBuilder) -> ScopeBuilder,
    lens: &[usize],
    steps: &[Values],
    weights: &[Vec<Vec<f32>>],
) {
    let all = Stats::FULL | Stats::COSINE | Stats::EMA;
    check_groups(device, builder, &[Stats::BASIC, all], lens, steps, weights);
}

/// The shaders that this run of the tests is of: `GRADSCOPE_TEST_SHADERS=checked` has bounds checks in all of them,
/// `GRADSCOPE_TEST_PAGES` so many buffers a role, as adapters bind that are none of software (`make test-drivers`).
pub fn variant(builder: ScopeBuilder) -> ScopeBuilder {
    let checked = std::env::var("GRADSCOPE_TEST_SHADERS").is_ok_and(|form| form == "checked");
    let pages = std::env::var("GRADSCOPE_TEST_PAGES").ok().map(|count| count.parse().expect("a number of pages"));
    let limits = PretendLimits { page_count: pages, ..PretendLimits::default() };
    builder.checked_shaders(checked).pretend_limits(limits)
}

/// As [`check_weights`], with these groups, one after the other.
pub fn check_groups(
    device: &Device,
    builder: impl Fn(ScopeBuilder) -> ScopeBuilder,
    groups: &[Stats],
    lens: &[usize],
    steps: &[Values],
    weights: &[Vec<Vec<f32>>],
) {
    for &groups in groups {
        let builder = builder(variant(Scope::builder(device).stats(groups)));
        let groups = groups.with_needs();
        let records = observe_weights(device, builder, lens, steps, weights);
        assert_eq!(
            records.len(),
            steps.len() + usize::from(groups.contains(Stats::UPDATES)),
            "a record a step, and the last move"
        );
        check_records(&records, groups, lens, steps, weights);
    }
}

/// Holds records against twin and oracle.
pub fn check_records(
    records: &[StepRecord],
    groups: Stats,
    lens: &[usize],
    steps: &[Values],
    weights: &[Vec<Vec<f32>>],
) {
    let epsilons = Epsilons::default();
    for tensor in 0..lens.len() {
        let mut state = State::default();
        let mut before: Option<&Vec<f32>> = None;
        for (step, record) in records.iter().enumerate() {
            let what = format!("{groups}: tensor {tensor} of {} elements at step {step}", lens[tensor]);
            let now = steps.get(step).and_then(|values| values[tensor].as_ref());
            if now.is_none() {
                assert_eq!(record.tensors[tensor].gradient, Gradient::Missing, "{what}");
                state = State::default();
            }
            if let Some(now) = now {
                let expected = oracle::summarise(now, before.map(Vec::as_slice), epsilons.values());
                let twin = reduce(now, epsilons.threshold_bits(), &mut state).finish();
                oracle::assert_summary(&twin, &expected, &format!("twin: {what}"));
                let found = summary(record, tensor);
                assert_eq!(found.dynamics.is_some(), groups.contains(Stats::DYNAMICS), "{what}");
                oracle::assert_summary(found, &expected, &format!("shader: {what}"));
                let cosine = groups.contains(Stats::COSINE) && expected.cosine_previous.is_some();
                assert_eq!(found.cosine_previous.is_some(), cosine, "{what}: cosine");
                check_transitions(found, before.map(Vec::as_slice), &epsilons, &what);
            }
            let weight = &weights[step][tensor];
            assert_eq!(record.tensors[tensor].parameter.is_some(), groups.contains(Stats::PARAMS), "{what}");
            if let Some(found) = &record.tensors[tensor].parameter {
                let expected = oracle::weigh(weight);
                oracle::assert_weight(&weigh(weight).finish(), &expected, &format!("twin: {what}: weight"));
                oracle::assert_weight(found, &expected, &format!("shader: {what}: weight"));
            }
            assert_eq!(record.tensors[tensor].update.is_some(), groups.contains(Stats::UPDATES) && step > 0, "{what}");
            if let Some(found) = &record.tensors[tensor].update {
                let (was, numel) = (&weights[step - 1][tensor], lens[tensor] as u64);
                let gradients = before.zip(now).map(|(before, now)| (before.as_slice(), now.as_slice()));
                let expected = oracle::moved(weight, was, gradients, epsilons.values(), step as u64 - 1);
                let twin = moved(weight, was, gradients.map(|_| &state));
                let twin = twin.finish(step as u64 - 1, gradients.is_some());
                oracle::assert_move(&twin, &expected, numel, &format!("twin: {what}: move"));
                oracle::assert_move(found, &expected, numel, &format!("shader: {what}: move"));
                check_crossings(found, summary_of(record, tensor), &what);
            }
            before = now;
        }
    }
}

/// What must hold among the figures of one gradient, whatever they are.
fn check_transitions(found: &TensorSummary, before: Option<&[f32]>, epsilons: &Epsilons, what: &str) {
    let Some(t) = found.dynamics.and_then(|dynamics| dynamics.transitions) else { return };
    let before = oracle::summarise(before.expect("there is one to compare with"), None, epsilons.values());
    let lost = before.nonfinite_count() + t.became_nonfinite_count - t.recovered_count;
    assert_eq!(lost, found.nonfinite_count(), "{what}: what is non-finite now was so, or became so");
    let classes = found.zero_count + found.positive_count + found.negative_count + found.nonfinite_count();
    assert_eq!(classes, found.numel, "{what}: every element is in one class");
    assert_eq!(t.near_zero_before_count(), before.near_zero_count, "{what}: what was near zero is somewhere now");
    for k in 0..2 {
        let now = t.retained_count[k] + t.captured_count[k] + t.nonfinite_to_near_zero_count[k];
        assert_eq!(now, found.near_zero_count[k], "{what}: what is near zero now came from somewhere");
    }
}

/// Flips are crossings, or unmoved, or at a non-finite weight.
fn check_crossings(found: &gradscope::stats::UpdateSummary, gradient: Option<&TensorSummary>, what: &str) {
    let Some(c) = found.crossings else { return };
    let all = c.minimum_count + c.maximum_count + c.flip_unmoved_count + c.flip_at_nonfinite_count;
    assert_eq!(
        Some(all),
        gradient.and_then(|gradient| gradient.sign_flip_count),
        "{what}: every flip is accounted for"
    );
}

fn summary_of(record: &StepRecord, tensor: usize) -> Option<&TensorSummary> {
    record.tensors[tensor].summary()
}

#[track_caller]
pub fn summary(record: &StepRecord, tensor: usize) -> &TensorSummary {
    record.tensors[tensor].summary().unwrap_or_else(|| panic!("tensor {tensor} is {:?}", record.tensors[tensor]))
}

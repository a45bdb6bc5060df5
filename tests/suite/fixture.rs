//! A device, models of any shapes, gradients of any values, and the comparison of all three implementations.

use crate::oracle;
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use gradscope::cpu::grad_reduce::{SignState, reduce};
use gradscope::record::TensorRecord;
use gradscope::stats::Epsilons;
use gradscope::{Device, Scope, ScopeBuilder, StepRecord, TensorSummary};

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

/// A tensor of exactly these bits.
pub fn tensor(device: &Device, values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device.burn())
}

/// Numbers that look random and are the same everywhere (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.bits()) * end as u64) >> 32) as usize
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

/// Runs the steps, each a value for every tensor, through the GPU and returns the records.
pub fn observe(
    device: &Device,
    builder: ScopeBuilder,
    lens: &[usize],
    steps: &[Vec<Option<Vec<f32>>>],
) -> Vec<StepRecord> {
    let model = bag(device, lens);
    let mut scope = builder.build(&model).expect("the model is observable");
    for (step, values) in steps.iter().enumerate() {
        scope.step(step as u64).gradients(&model, &model.gradients(device, values)).submit();
    }
    let records = (0..steps.len()).map(|step| scope.read(step as u64).expect("the step comes back")).collect();
    for event in scope.poll() {
        assert!(matches!(event, gradscope::Event::Record(_)), "{event}");
    }
    records
}

/// Runs the steps through shader, twin and oracle, and holds them against each other.
pub fn check(
    device: &Device,
    builder: impl Fn(ScopeBuilder) -> ScopeBuilder,
    lens: &[usize],
    steps: &[Vec<Option<Vec<f32>>>],
) {
    let records = observe(device, builder(Scope::builder(device)), lens, steps);
    check_records(&records, lens, steps);
}

/// Holds records against twin and oracle.
pub fn check_records(records: &[StepRecord], lens: &[usize], steps: &[Vec<Option<Vec<f32>>>]) {
    let epsilons = Epsilons::default();
    for tensor in 0..lens.len() {
        let mut state = SignState::default();
        let mut before: Option<&Vec<f32>> = None;
        for (step, (record, values)) in records.iter().zip(steps).enumerate() {
            let what = format!("tensor {tensor} of {} elements at step {step}", lens[tensor]);
            let Some(now) = &values[tensor] else {
                assert_eq!(record.tensors[tensor], TensorRecord::Missing, "{what}");
                (state, before) = (SignState::default(), None);
                continue;
            };
            let expected = oracle::summarise(now, before.map(Vec::as_slice), epsilons.values());
            let twin = reduce(now, &epsilons, &mut state).finish();
            oracle::assert_summary(&twin, &expected, &format!("twin: {what}"));
            oracle::assert_summary(summary(record, tensor), &expected, &format!("shader: {what}"));
            before = Some(now);
        }
    }
}

#[track_caller]
pub fn summary(record: &StepRecord, tensor: usize) -> &TensorSummary {
    record.tensors[tensor].summary().unwrap_or_else(|| panic!("tensor {tensor} is {:?}", record.tensors[tensor]))
}

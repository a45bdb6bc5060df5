//! The corpus: networks done right, and the same with one thing wrong.

use super::nets::{Activation, Arch, Edit};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optim {
    Sgd,
    Momentum(f64),
    Adam,
}

impl Optim {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Momentum(_) => "momentum",
            Self::Adam => "adam",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LrSchedule {
    Constant,
    WarmUp(u64),
    Cosine,
}

/// Which runs thresholds are set on, and which they are scored on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Calibration,
    Scoring,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    LargeInit,
    SmallInit,
    LrHigh,
    LrLow,
    DeadRelu,
    NotInOptimizer,
    Frozen,
    Detached,
    LogOfZero,
    ZeroByZero,
    HalfOverflow,
    ExplodingRecurrence,
    RawInputs,
    WrongSign,
    SaturatedTanh,
    SoftmaxTwice,
    ShuffledLabels,
    Accumulated,
    BatchOfOne,
    DeepSigmoid,
    HighMomentum,
    DuplicateStep,
    LrGrowth,
    WeightGrowth,
    StrongDecay,
    InputDrift,
}

/// One training run.
#[derive(Clone, Debug)]
pub struct Case {
    pub arch: Arch,
    pub optim: Optim,
    pub lr: f64,
    pub schedule: LrSchedule,
    pub decay: f32,
    pub batch_len: usize,
    pub step_count: u64,
    pub seed: u64,
    pub fault: Option<Fault>,
}

/// Seeds that thresholds are set on; all others are scored.
const CALIBRATION_SEEDS: [u64; 2] = [1, 2];
const SCORING_SEEDS: [u64; 3] = [21, 22, 23];
const STEP_COUNT: u64 = 600;

impl Fault {
    pub const ALL: [Self; 26] = [
        Self::LargeInit,
        Self::SmallInit,
        Self::LrHigh,
        Self::LrLow,
        Self::DeadRelu,
        Self::NotInOptimizer,
        Self::Frozen,
        Self::Detached,
        Self::LogOfZero,
        Self::ZeroByZero,
        Self::HalfOverflow,
        Self::ExplodingRecurrence,
        Self::RawInputs,
        Self::WrongSign,
        Self::SaturatedTanh,
        Self::SoftmaxTwice,
        Self::ShuffledLabels,
        Self::Accumulated,
        Self::BatchOfOne,
        Self::DeepSigmoid,
        Self::HighMomentum,
        Self::DuplicateStep,
        Self::LrGrowth,
        Self::WeightGrowth,
        Self::StrongDecay,
        Self::InputDrift,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::LargeInit => "initial weights x 20",
            Self::SmallInit => "initial weights x 0.01",
            Self::LrHigh => "learning rate x 1000",
            Self::LrLow => "learning rate / 1000",
            Self::DeadRelu => "a layer's ReLUs dead by negative bias",
            Self::NotInOptimizer => "a layer left out of the optimizer",
            Self::Frozen => "a layer left frozen",
            Self::Detached => "a layer detached from the graph",
            Self::LogOfZero => "NaN by log(0)",
            Self::ZeroByZero => "NaN by 0/0",
            Self::HalfOverflow => "f16 overflow",
            Self::ExplodingRecurrence => "exploding recurrence",
            Self::RawInputs => "inputs from 0 to 255",
            Self::WrongSign => "wrong sign of the loss",
            Self::SaturatedTanh => "saturated tanh",
            Self::SoftmaxTwice => "softmax applied twice",
            Self::ShuffledLabels => "labels shuffled",
            Self::Accumulated => "gradients never zeroed",
            Self::BatchOfOne => "batch norm with batches of one",
            Self::DeepSigmoid => "deep sigmoid network",
            Self::HighMomentum => "momentum 0.99 at a high rate",
            Self::DuplicateStep => "optimizer step made twice",
            Self::LrGrowth => "learning rate that grows 1% a step",
            Self::WeightGrowth => "weights that grow 1% a step (decay of the wrong sign)",
            Self::StrongDecay => "weights that shrink 5% a step (decay too strong)",
            Self::InputDrift => "inputs that grow 1% a step",
        }
    }

    pub fn lr_factor(self, step: u64) -> f64 {
        match self {
            Self::LrHigh => 1000.0,
            Self::LrLow => 1e-3,
            Self::LrGrowth => 1.01f64.powi(step as i32),
            Self::HighMomentum => 3.0,
            _ => 1.0,
        }
    }

    /// What every weight is multiplied by after each step.
    pub fn weight_growth(self) -> Option<f32> {
        match self {
            Self::WeightGrowth => Some(1.01),
            Self::StrongDecay => Some(0.95),
            _ => None,
        }
    }

    /// Whether it builds up over many steps, so that a lead can be asked for.
    pub fn is_gradual(self) -> bool {
        matches!(self, Self::HighMomentum | Self::LrGrowth | Self::WeightGrowth | Self::StrongDecay | Self::InputDrift)
    }
}

impl Case {
    pub fn name(&self) -> String {
        let fault = self.fault.map_or("healthy".to_owned(), |fault| format!("{fault:?}"));
        let schedule = match self.schedule {
            LrSchedule::Constant => "",
            LrSchedule::WarmUp(_) => ", warm-up",
            LrSchedule::Cosine => ", cosine",
        };
        let decay = if self.decay == 0.0 { "" } else { ", weight decay" };
        format!("{}, {}{schedule}{decay}, {fault}, seed {}", self.arch.name(), self.optim.name(), self.seed)
    }

    /// The layer that the fault is in, where it is in one.
    pub fn layer(&self) -> &'static str {
        match self.arch {
            Arch::DeepMlp(_) => "layers.5",
            Arch::Mlp(_) | Arch::MlpDropout | Arch::Autoencoder => "layers.1",
            Arch::Regressor => "layers.0",
            Arch::Cnn if self.fault == Some(Fault::DeadRelu) => "bn2",
            Arch::Cnn => "conv2",
            Arch::Rnn(_) => "input",
            Arch::ResNet => "stem",
            Arch::Transformer | Arch::TransformerDropout => "embed",
            Arch::Lstm => "lstm",
            Arch::Bag => "hidden",
        }
    }

    /// What is done to which layer before training; "" is every layer.
    pub fn edits(&self) -> Vec<(&'static str, Edit)> {
        match self.fault {
            Some(Fault::LargeInit) => vec![("", Edit::ScaleWeights(20.0))],
            Some(Fault::SmallInit) => vec![("", Edit::ScaleWeights(0.01))],
            Some(Fault::DeadRelu) => vec![(self.layer(), Edit::SetBias(-20.0))],
            Some(Fault::Frozen) => vec![(self.layer(), Edit::Freeze)],
            Some(Fault::SaturatedTanh) => vec![(self.layer(), Edit::ScaleWeights(60.0))],
            Some(Fault::ExplodingRecurrence) => vec![("hidden", Edit::ScaleWeights(10.0))],
            _ => vec![],
        }
    }

    pub fn split(&self) -> Split {
        if self.is_calibration_arch() && CALIBRATION_SEEDS.contains(&self.seed) {
            Split::Calibration
        } else {
            Split::Scoring
        }
    }

    /// Architectures that thresholds may be set on. Residual nets, transformers, gated recurrence, embeddings and an
    /// autoencoder are only scored.
    pub fn is_calibration_arch(&self) -> bool {
        matches!(
            self.arch,
            Arch::Mlp(_) | Arch::MlpDropout | Arch::DeepMlp(_) | Arch::Cnn | Arch::Rnn(_) | Arch::Regressor
        )
    }

    /// The same network done right.
    pub fn healthy_twin(&self) -> Self {
        let batch_len = if self.fault == Some(Fault::BatchOfOne) { 32 } else { self.batch_len };
        Self { fault: None, batch_len, ..self.clone() }
    }

    fn healthy(arch: Arch, optim: Optim) -> Self {
        let lr = match (optim, arch) {
            (Optim::Adam, Arch::Bag | Arch::Regressor) => 5e-3,
            (Optim::Adam, Arch::DeepMlp(_)) => 5e-4,
            (Optim::Adam, _) => 2e-3,
            (Optim::Sgd, Arch::Autoencoder) => 0.5,
            (Optim::Sgd, Arch::ResNet | Arch::Rnn(_)) => 0.05,
            (Optim::Sgd, _) => 0.1,
            (Optim::Momentum(_), Arch::Autoencoder) => 0.1,
            (Optim::Momentum(_), Arch::ResNet | Arch::Rnn(_)) => 5e-3,
            (Optim::Momentum(_), _) => 0.02,
        };
        Self {
            arch,
            optim,
            lr,
            schedule: LrSchedule::Constant,
            decay: 0.0,
            batch_len: 32,
            step_count: STEP_COUNT,
            seed: 0,
            fault: None,
        }
    }
}

const MOMENTUM: Optim = Optim::Momentum(0.9);

/// Every architecture with the optimizers it is trained with; faults are planted with the first.
const TRAINED: [(Arch, &[Optim]); 13] = [
    (Arch::Mlp(Activation::Relu), &[Optim::Sgd, MOMENTUM, Optim::Adam]),
    (Arch::Mlp(Activation::Tanh), &[MOMENTUM, Optim::Sgd, Optim::Adam]),
    (Arch::MlpDropout, &[Optim::Adam, Optim::Sgd]),
    (Arch::DeepMlp(Activation::Relu), &[Optim::Adam]),
    (Arch::Cnn, &[Optim::Adam, Optim::Sgd, MOMENTUM]),
    (Arch::Rnn(Activation::Tanh), &[Optim::Adam, Optim::Sgd]),
    (Arch::ResNet, &[MOMENTUM, Optim::Sgd, Optim::Adam]),
    (Arch::Transformer, &[Optim::Adam]),
    (Arch::TransformerDropout, &[Optim::Adam]),
    (Arch::Lstm, &[Optim::Adam]),
    (Arch::Bag, &[Optim::Adam, MOMENTUM]),
    (Arch::Autoencoder, &[Optim::Adam, MOMENTUM]),
    (Arch::Regressor, &[Optim::Sgd, Optim::Adam]),
];

/// Architectures that exist for one fault: they have no healthy run of their own.
fn made_for(fault: Fault) -> Option<(Arch, Optim)> {
    match fault {
        Fault::DeepSigmoid => Some((Arch::DeepMlp(Activation::Sigmoid), Optim::Sgd)),
        Fault::ExplodingRecurrence => Some((Arch::Rnn(Activation::Relu), Optim::Adam)),
        _ => None,
    }
}

/// Whether the fault can be planted in the architecture.
fn fits(fault: Fault, arch: Arch) -> bool {
    match fault {
        Fault::DeepSigmoid | Fault::ExplodingRecurrence => false,
        Fault::DeadRelu => matches!(arch, Arch::Mlp(Activation::Relu) | Arch::Cnn | Arch::Bag),
        Fault::SaturatedTanh => {
            matches!(
                arch,
                Arch::Mlp(Activation::Tanh) | Arch::Rnn(Activation::Tanh) | Arch::Autoencoder | Arch::Regressor
            )
        }
        Fault::BatchOfOne => matches!(arch, Arch::Cnn | Arch::ResNet),
        Fault::SoftmaxTwice => !matches!(arch, Arch::Autoencoder | Arch::Regressor),
        // It is a mean over classes.
        Fault::ZeroByZero => !matches!(arch, Arch::Autoencoder | Arch::Regressor),
        // Words are no magnitudes.
        Fault::RawInputs | Fault::InputDrift => arch != Arch::Bag,
        // Dropout and depth are variants: a fault is planted once in each kind of network.
        _ => true,
    }
}

/// Every run of the zoo. `fast`: one seed, a few architectures.
pub fn corpus(fast: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |case: Case| {
        let calibrates = case.is_calibration_arch();
        let mut seeds: Vec<u64> = if calibrates { CALIBRATION_SEEDS.to_vec() } else { vec![] };
        seeds.extend(SCORING_SEEDS);
        if fast {
            seeds = vec![SCORING_SEEDS[0]];
        }
        cases.extend(seeds.into_iter().map(|seed| Case { seed, ..case.clone() }));
    };
    for (arch, optims) in TRAINED {
        if fast && !matches!(arch, Arch::Mlp(_) | Arch::Bag | Arch::Regressor) {
            continue;
        }
        for &optim in optims {
            add(Case::healthy(arch, optim));
        }
        let first = Case::healthy(arch, optims[0]);
        add(Case { schedule: LrSchedule::WarmUp(100), ..first.clone() });
        add(Case { schedule: LrSchedule::Cosine, ..first.clone() });
        add(Case { decay: 1e-3, ..first.clone() });
    }
    for fault in Fault::ALL {
        let own = made_for(fault).map(|(arch, optim)| Case::healthy(arch, optim));
        let common = TRAINED
            .iter()
            .filter(|(arch, _)| !matches!(arch, Arch::MlpDropout | Arch::TransformerDropout | Arch::DeepMlp(_)))
            .filter(|(arch, _)| fits(fault, *arch))
            .filter(|(arch, _)| !fast || matches!(arch, Arch::Mlp(_) | Arch::Bag | Arch::Regressor))
            .map(|(arch, optims)| Case::healthy(*arch, optims[0]));
        for case in own.into_iter().chain(common) {
            let optim = if fault == Fault::HighMomentum { Optim::Momentum(0.99) } else { case.optim };
            let lr = if fault == Fault::HighMomentum { Case::healthy(case.arch, MOMENTUM).lr } else { case.lr };
            let batch_len = if fault == Fault::BatchOfOne { 1 } else { case.batch_len };
            add(Case { fault: Some(fault), optim, lr, batch_len, ..case });
        }
    }
    cases
}

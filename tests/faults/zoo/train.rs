//! Trains one case and leaves its run folder.

use super::case::{Case, Fault, LrSchedule, Optim};
use super::data::{Batch, Data, Task};
use super::nets::{Edit, Net, Watch, WithNet, edited};
use burn::module::{ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device as BurnDevice, Tensor};
use gradscope::{Device, Scope, Stats};
use std::path::{Path, PathBuf};

/// Fact of a run: how well the network does on examples held back. Accuracy, or minus the squared error.
pub const QUALITY: &str = "zoo/quality";
pub const CASE: &str = "zoo/case";

/// Trains the case, its run written below `folder`.
pub fn train(case: &Case, device: &Device, folder: &Path) -> PathBuf {
    let training = device.burn().clone().autodiff();
    training.seed(case.seed);
    case.arch.build(&training, Training { case, device, training: &training, folder })
}

struct Training<'a> {
    case: &'a Case,
    device: &'a Device,
    training: &'a BurnDevice,
    folder: &'a Path,
}

fn optimizer(case: &Case) -> ModuleOptimizer {
    let decay = |penalty: f32| Some(WeightDecayConfig::new(penalty));
    let sgd = SgdConfig::new().with_weight_decay((case.decay != 0.0).then(|| WeightDecayConfig::new(case.decay)));
    match case.optim {
        Optim::Sgd => sgd.init(),
        Optim::Momentum(factor) => {
            sgd.with_momentum(Some(MomentumConfig::new().with_momentum(factor).with_dampening(0.0))).init()
        }
        Optim::Adam if case.decay != 0.0 => AdamConfig::new().with_weight_decay(decay(case.decay)).init(),
        Optim::Adam => AdamConfig::new().init(),
    }
}

impl WithNet for Training<'_> {
    type Out = PathBuf;

    fn call<M: Net>(self, mut net: M) -> PathBuf {
        let Self { case, device, training, folder } = self;
        let fault = case.fault;
        for (layer, edit) in case.edits() {
            net = edited(net, layer, edit);
        }
        let task = case.arch.task();
        let data = Data::new(task, fault == Some(Fault::RawInputs));
        let mut optimizer = optimizer(case);
        let mut scope = Scope::builder(device)
            .stats(Stats::FULL)
            .run(folder)
            .optimizer(case.optim.name())
            .activation(case.arch.activation().name())
            .fact(CASE, case.name())
            .build(&net)
            .expect("the network can be observed");
        let mut random = fastrand::Rng::with_seed(case.seed);
        let mut order: Vec<usize> = (0..data.train_len()).collect();
        let mut at = order.len();
        let mut gathered: Option<GradientsParams> = None;
        let batch_len = case.batch_len;
        let drifted = |input: Tensor<2>, step: u64| match fault {
            Some(Fault::InputDrift) => input.mul_scalar(1.01f32.powi(step as i32)),
            _ => input,
        };
        for step in 0..case.step_count {
            if at + batch_len > order.len() {
                random.shuffle(&mut order);
                at = 0;
            }
            let mut batch = data.batch(&order[at..at + batch_len], training);
            at += batch_len;
            if fault == Some(Fault::ShuffledLabels) {
                let shuffled: Vec<usize> = (0..batch_len).map(|_| random.usize(0..data.train_len())).collect();
                let other = data.batch(&shuffled, training);
                batch = Batch { input: batch.input, ..other };
            }
            batch.input = drifted(batch.input, step);
            let mut watch = Watch { cut: case.cut(), ..Watch::default() };
            let output = net.forward(batch.input.clone(), &mut watch);
            let loss = loss(task, fault, output, &batch);
            let grads = loss.backward();
            let lr = case.lr_at(step);
            let mut grads = GradientsParams::from_grads(grads, &net);
            if fault == Some(Fault::Accumulated) {
                if let Some(before) = gathered.take() {
                    net.visit(&mut Add { to: &mut grads, from: before });
                }
                let mut copy = GradientsParams::new();
                net.visit(&mut Copy { from: &grads, to: &mut copy });
                gathered = Some(copy);
            }
            let mut observed = scope.step(step).scalar("lr", lr).scalar("loss", &loss);
            for (name, tensor, rails) in &watch.taps {
                observed = observed.tap_tails(name, tensor, *rails);
            }
            observed.gradients(&net, &grads).submit();
            if let Some(Fault::NotInOptimizer) = fault {
                net.visit(&mut Remove { layer: case.layer(), path: vec![], from: &mut grads });
            }
            let repeats = if fault == Some(Fault::DuplicateStep) { 2 } else { 1 };
            for _ in 0..repeats {
                let mut copy = GradientsParams::new();
                net.visit(&mut Copy { from: &grads, to: &mut copy });
                net = optimizer.step(lr, net, copy);
            }
            if let Some(factor) = fault.and_then(Fault::weight_growth) {
                net = edited(net, "", Edit::ScaleWeights(factor));
            }
            scope.poll();
        }
        let valid = net.clone().valid();
        let test = data.test(device.burn());
        let test = Batch { input: drifted(test.input, case.step_count), ..test };
        let output = valid.forward(test.input.clone(), &mut Watch::default());
        let quality = match task {
            Task::Images | Task::Sentences => output.argmax(1).flatten::<1>(0, 1).equal(test.classes).float().mean(),
            Task::Reconstruction | Task::Regression => -(output - test.target).powf_scalar(2.0).mean(),
        };
        let quality: f32 = quality.into_scalar();
        scope.scalar(case.step_count - 1, None, QUALITY, f64::from(quality));
        scope.finish(&net).folder.expect("there is a run folder")
    }
}

fn loss(task: Task, fault: Option<Fault>, output: Tensor<2>, batch: &Batch) -> Tensor<1> {
    let classes = || batch.classes.clone().one_hot::<2>(super::data::CLASS_COUNT).float();
    let classifies = matches!(task, Task::Images | Task::Sentences);
    let loss = match fault {
        Some(Fault::LogOfZero) if classifies => {
            // No log_softmax, no epsilon: a probability that underflows is log(0) * 0.
            -(classes() * softmax(output.mul_scalar(100.0), 1).log()).sum_dim(1).mean()
        }
        Some(Fault::LogOfZero) => {
            // A log-error without an epsilon: an output that hits its target, or a negative radius.
            (output - batch.target.clone()).powf_scalar(2.0).add_scalar(-1e-4).log().mean()
        }
        Some(Fault::ZeroByZero) => {
            // Class-balanced: the mean over classes of the mean over their examples, and a batch lacks one at times.
            let of_class = classes();
            let each = -(of_class.clone() * burn::tensor::activation::log_softmax(output, 1));
            (each.sum_dim(0) / of_class.sum_dim(0)).mean()
        }
        Some(Fault::HalfOverflow) if classifies => {
            // exp() in f16 without the maximum taken off: logits above 11 overflow.
            let exp = output.mul_scalar(12.0).exp().cast(DType::F16).cast(DType::F32);
            let p = exp.clone() / exp.sum_dim(1);
            -(classes() * p.clamp_min(1e-9).log()).sum_dim(1).mean()
        }
        Some(Fault::HalfOverflow) => {
            let error = (output - batch.target.clone()).mul_scalar(64.0).powf_scalar(2.0);
            // The sum of squares in f16.
            error.sum().cast(DType::F16).cast(DType::F32) / 1e4
        }
        Some(Fault::SoftmaxTwice) => cross_entropy(softmax(output, 1), batch),
        _ if classifies => cross_entropy(output, batch),
        _ => (output - batch.target.clone()).powf_scalar(2.0).mean(),
    };
    if fault == Some(Fault::WrongSign) { -loss } else { loss }
}

fn cross_entropy(scores: Tensor<2>, batch: &Batch) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&scores.device()).forward(scores, batch.classes.clone())
}

struct Copy<'a> {
    from: &'a GradientsParams,
    to: &'a mut GradientsParams,
}

impl ModuleVisitor for Copy<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.from.get::<D>(param.id) {
            self.to.register(param.id, grad);
        }
    }
}

struct Add<'a> {
    to: &'a mut GradientsParams,
    from: GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let (Some(a), Some(b)) = (self.to.remove::<D>(param.id), self.from.remove::<D>(param.id)) {
            self.to.register(param.id, a + b);
        }
    }
}

struct Remove<'a> {
    layer: &'static str,
    path: Vec<String>,
    from: &'a mut GradientsParams,
}

impl ModuleVisitor for Remove<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.join(".").starts_with(&format!("{}.", self.layer)) {
            self.from.remove::<D>(param.id);
        }
    }
}

impl Case {
    fn cut(&self) -> Option<&'static str> {
        (self.fault == Some(Fault::Detached)).then(|| self.layer())
    }

    fn lr_at(&self, step: u64) -> f64 {
        let factor = match self.schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::WarmUp(steps) => ((step + 1) as f64 / steps as f64).min(1.0),
            LrSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / self.step_count as f64).cos()),
        };
        self.lr * factor * self.fault.map_or(1.0, |fault| fault.lr_factor(step))
    }
}

//! What observing every step costs a training loop: the same network trained with and without a scope, in one process.
//!
//! `cargo bench --workspace --bench step_overhead [-- NETWORK... --secs SECS]`: mlp, cnn, resnet18, transformer. Two ways to take
//! the time, because burn runs ahead of the GPU:
//! - *free running*: blocks of steps as a real loop runs them, drained at the end of a block; blocks take turns.
//! - *step by step*: after each step the queue is drained; a step with and a step without take turns.

#[path = "support/results.rs"]
mod results;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device as BurnDevice, Distribution, Int, Tensor};
use clap::Parser;
use gradscope::record::Cost;
use gradscope::{Device, Event, Scope, Stats};
use gradscope_models::data::ImageShape;
use gradscope_models::{CharTransformerConfig, Classifier, Cnn, Mlp, ResNetConfig};
use results::{Results, quantile};
use std::time::{Duration, Instant};

/// Steps of a block: enough that burn runs ahead inside of it.
const BLOCK_LEN: usize = 10;
/// Pairs of a row at least, however long they take.
const PAIR_COUNT_MIN: usize = 8;
const CLASS_COUNT: usize = 10;

/// Times a network's training steps with and without a scope.
#[derive(Parser)]
struct Options {
    /// mlp, cnn, resnet18 or transformer; all of them where none is named.
    networks: Vec<String>,
    /// Seconds a row takes.
    #[arg(long, default_value_t = 30)]
    secs: u64,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let device = gradscope::device().expect("a wgpu adapter");
    let name = if gradscope::internals::BURN_FUSION { "step_overhead" } else { "step_overhead_unfused" };
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let mut bench = Bench { results: Results::of(name, &device.describe()), device, options };
    let software = bench.device.is_software();

    let grey = ImageShape { channel_count: 1, side_len: 28 };
    bench.classifier("mlp", 64, grey, Mlp::init(grey, CLASS_COUNT, &training));
    bench.classifier("cnn", 16, grey, Cnn::init(grey, CLASS_COUNT, &training));
    // As published where there is a GPU; what takes a fraction of a second a step where there is none.
    let (batch, width, side_len) = if software { (8, 16, 32) } else { (32, 64, 64) };
    let resnet = ResNetConfig::resnet18(CLASS_COUNT).with_width(width).init(&training);
    let rgb = ImageShape { channel_count: 3, side_len };
    let (images, labels) = batch_of(batch, rgb, &training);
    let what = format!("ResNet-18 of width {width}, batch {batch} of {side_len} x {side_len}");
    bench.rows("resnet18", &what, resnet, |model| loss_of(model.forward(images.clone()), &labels));

    let (batch, context_len) = (if software { 4 } else { 32 }, 64);
    let transformer = CharTransformerConfig::new(64, context_len).init(&training);
    let letters = Tensor::<1, Int>::arange(0..(batch * context_len) as i64, &training).remainder_scalar(61);
    let next = letters.clone().add_scalar(1);
    let letters = letters.reshape([batch, context_len]);
    let what = format!("transformer, 2 blocks of width 64, batch {batch} x {context_len}");
    bench.rows("transformer", &what, transformer, |model| {
        loss_of(model.forward(letters.clone()).flatten::<2>(0, 1), &next)
    });
}

fn batch_of(batch: usize, shape: ImageShape, device: &BurnDevice) -> (Tensor<4>, Tensor<1, Int>) {
    let dims = [batch, shape.channel_count, shape.side_len, shape.side_len];
    let labels = Tensor::<1, Int>::arange(0..batch as i64, device).remainder_scalar(CLASS_COUNT as i64);
    (Tensor::random(dims, Distribution::Normal(0.0, 1.0), device), labels)
}

fn loss_of(scores: Tensor<2>, labels: &Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&scores.device()).forward(scores, labels.clone())
}

struct Bench {
    device: Device,
    options: Options,
    results: Results,
}

impl Bench {
    fn classifier<M: Classifier>(&mut self, name: &str, batch: usize, shape: ImageShape, model: M) {
        let (images, labels) = batch_of(batch, shape, &self.device.burn().clone().autodiff());
        let what = format!("{}, batch {batch} of {} x {}", name.to_uppercase(), shape.side_len, shape.side_len);
        self.rows(name, &what, model, |model| loss_of(model.forward(images.clone()), &labels));
    }

    fn rows<M: Module>(&mut self, name: &str, what: &str, model: M, loss: impl Fn(&M) -> Tensor<1>) {
        let asked = &self.options.networks;
        if !asked.is_empty() && !asked.iter().any(|network| network == name) {
            return;
        }
        println!("{what}, Adam");
        for (set, groups, way, block_len) in [
            ("card", Stats::BASIC, "free running", BLOCK_LEN),
            ("full", Stats::FULL, "free running", BLOCK_LEN),
            ("card", Stats::BASIC, "step by step", 1),
        ] {
            let scope = Scope::builder(&self.device).stats(groups).build(&model).expect("the model is observable");
            let mut pair = Pair::new(model.clone(), scope);
            pair.run(&self.device, &loss, block_len, 2, Duration::ZERO);
            pair.forget();
            pair.run(&self.device, &loss, block_len, PAIR_COUNT_MIN, Duration::from_secs(self.options.secs));
            let figures = pair.figures();
            let figure =
                |name: &str| figures.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, value)| *value);
            println!(
                "  {set}, {way}: {:.2} ms without, {:.2} ms with; ratio of a pair, median {:.3}, p99 {:.3} of {}; submit {:.4} ms (p99 {:.4}), of it the hand-off {:.4} (p99 {:.4}), {} waits",
                1e3 * figure("without_secs"),
                1e3 * figure("with_secs"),
                figure("ratio"),
                figure("ratio_p99"),
                figure("pairs"),
                1e3 * figure("submit_secs"),
                1e3 * figure("submit_p99_secs"),
                1e3 * figure("handoff_secs"),
                1e3 * figure("handoff_p99_secs"),
                figure("waits"),
            );
            self.results.put(&format!("{what} | {set} | {way}"), &figures);
        }
    }
}

/// One of two trainings.
struct Training<M> {
    /// burn's step takes the model and gives it back.
    model: Option<M>,
    optimizer: ModuleOptimizer,
    /// Seconds a step, of each block.
    step_secs: Vec<f64>,
}

impl<M: Module> Training<M> {
    fn new(model: M) -> Self {
        Self { model: Some(model), optimizer: AdamConfig::new().init(), step_secs: vec![] }
    }

    fn step(&mut self, loss: impl Fn(&M) -> Tensor<1>, scope: Option<(&mut Scope, u64)>) {
        let model = self.model.take().expect("the last step gave it back");
        let batch_loss = loss(&model);
        let grads = batch_loss.backward();
        if let Some((scope, step)) = scope {
            scope.step(step).scalar("loss", &batch_loss).gradients(&model, &grads).submit();
        }
        let grads = GradientsParams::from_grads(grads, &model);
        self.model = Some(self.optimizer.step(1e-3, model, grads));
    }
}

struct Pair<M> {
    bare: Training<M>,
    watched: Training<M>,
    scope: Scope,
    step: u64,
    costs: Vec<Cost>,
}

impl<M: Module> Pair<M> {
    fn new(model: M, scope: Scope) -> Self {
        Self { bare: Training::new(model.clone()), watched: Training::new(model), scope, step: 0, costs: vec![] }
    }

    /// Leaves what was warming up.
    fn forget(&mut self) {
        self.bare.step_secs.clear();
        self.watched.step_secs.clear();
        self.costs.clear();
    }

    fn run(
        &mut self,
        device: &Device,
        loss: impl Fn(&M) -> Tensor<1>,
        block_len: usize,
        pair_count_min: usize,
        duration: Duration,
    ) {
        let begun = Instant::now();
        let mut pair = 0;
        while pair < pair_count_min || begun.elapsed() < duration {
            // Who goes first takes turns too.
            for watched in [pair % 2 == 0, pair % 2 != 0] {
                let started = Instant::now();
                for _ in 0..block_len {
                    if watched {
                        self.watched.step(&loss, Some((&mut self.scope, self.step)));
                        self.step += 1;
                    } else {
                        self.bare.step(&loss, None);
                    }
                }
                let events = self.scope.poll();
                device.burn().sync().expect("the device is there");
                let step_secs = started.elapsed().as_secs_f64() / block_len as f64;
                let training = if watched { &mut self.watched } else { &mut self.bare };
                training.step_secs.push(step_secs);
                self.costs.extend(events.into_iter().filter_map(|event| match event {
                    Event::Record(record) => Some(record.cost),
                    _ => None,
                }));
            }
            pair += 1;
        }
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let (bare, watched) = (&self.bare.step_secs, &self.watched.step_secs);
        let ratios: Vec<f64> = bare.iter().zip(watched).map(|(bare, watched)| watched / bare).collect();
        let cost = |of: fn(&Cost) -> f64, q| quantile(&self.costs.iter().map(of).collect::<Vec<_>>(), q);
        vec![
            ("without_secs", quantile(bare, 0.5)),
            ("with_secs", quantile(watched, 0.5)),
            ("ratio", quantile(&ratios, 0.5)),
            ("ratio_p99", quantile(&ratios, 0.99)),
            ("pairs", ratios.len() as f64),
            ("submit_secs", cost(|cost| cost.submit_secs, 0.5)),
            ("submit_p99_secs", cost(|cost| cost.submit_secs, 0.99)),
            ("handoff_secs", cost(|cost| cost.handoff_secs, 0.5)),
            ("handoff_p99_secs", cost(|cost| cost.handoff_secs, 0.99)),
            ("encode_secs", cost(|cost| cost.encode_secs, 0.5)),
            ("read_secs", cost(|cost| cost.read_secs, 0.5)),
            ("waits", self.scope.wait_count() as f64),
        ]
    }
}

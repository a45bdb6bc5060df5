//! What observing every step costs a training loop: the same MLP trained with and without a scope, in one process.
//!
//! `cargo bench --bench step_overhead [-- STEPS]`. Two measures, because burn runs ahead of the GPU:
//! - *step by step*: after each step the queue is drained; a step with and a step without take turns.
//! - *free running*: blocks of 25 steps as a real loop runs them, drained at the end of a block; blocks take turns.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device as BurnDevice, Distribution, Int, Tensor};
use gradscope::{Device, Event, Scope};
use std::time::Instant;

const BLOCK_LEN: usize = 25;

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Mlp {
    fn new(device: &BurnDevice) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { fc1: linear(784, 512), fc2: linear(512, 512), fc3: linear(512, 10) }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let relu = Relu::new();
        self.fc3.forward(relu.forward(self.fc2.forward(relu.forward(self.fc1.forward(x)))))
    }
}

fn main() {
    // cargo passes --bench; the first number is the number of steps.
    let steps = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1000usize);
    let device = gradscope::device().expect("a wgpu adapter");
    println!("adapter: {}", device.describe());
    println!("MLP 784-512-512-10, batch 64, Adam; {steps} steps each way");

    let mut pair = Pair::new(&device);
    pair.run(&device, 20, 1);
    pair.clear();
    pair.run(&device, steps, 1);
    pair.print("step by step", 1);
    pair.clear();
    pair.run(&device, steps, BLOCK_LEN);
    pair.print("free running", BLOCK_LEN);
}

/// The two trainings and their times, in seconds a block.
struct Pair {
    bare: Mlp,
    watched: Mlp,
    scope: Scope,
    step: u64,
    times: [Vec<f64>; 2],
    submit_secs: Vec<f64>,
    handoff_secs: Vec<f64>,
}

impl Pair {
    fn new(device: &Device) -> Self {
        let training = device.burn().clone().autodiff();
        training.seed(1);
        let bare = Mlp::new(&training);
        let scope = Scope::builder(device).build(&bare).expect("the model is observable");
        Self {
            watched: bare.clone(),
            bare,
            scope,
            step: 0,
            times: [vec![], vec![]],
            submit_secs: vec![],
            handoff_secs: vec![],
        }
    }

    fn clear(&mut self) {
        self.times.iter_mut().for_each(Vec::clear);
        self.submit_secs.clear();
        self.handoff_secs.clear();
    }

    fn run(&mut self, device: &Device, steps: usize, block_len: usize) {
        let training = device.burn().clone().autodiff();
        let input = Tensor::<2>::random([64, 784], Distribution::Normal(0.0, 1.0), &training);
        let labels = Tensor::<1, Int>::arange(0..64, &training).remainder_scalar(10);
        let loss = CrossEntropyLossConfig::new().init(&training);
        let (mut bare_optimizer, mut watched_optimizer) = (AdamConfig::new().init(), AdamConfig::new().init());
        for block in 0..steps / block_len {
            // Who goes first takes turns too.
            for turn in [block % 2, 1 - block % 2] {
                let started = Instant::now();
                for _ in 0..block_len {
                    let model = if turn == 0 { &self.bare } else { &self.watched };
                    let batch_loss = loss.forward(model.forward(input.clone()), labels.clone());
                    let grads = batch_loss.backward();
                    if turn == 1 {
                        let step = self.scope.step(self.step).scalar("loss", &batch_loss);
                        step.gradients(&self.watched, &grads).submit();
                        self.step += 1;
                        self.watched = watched_optimizer.step(
                            1e-3,
                            self.watched.clone(),
                            GradientsParams::from_grads(grads, &self.watched),
                        );
                    } else {
                        self.bare = bare_optimizer.step(
                            1e-3,
                            self.bare.clone(),
                            GradientsParams::from_grads(grads, &self.bare),
                        );
                    }
                }
                let events = self.scope.poll();
                device.burn().sync().expect("the device is there");
                self.times[turn].push(started.elapsed().as_secs_f64() / block_len as f64);
                for event in events {
                    if let Event::Record(record) = event {
                        self.submit_secs.push(record.cost.submit_secs);
                        self.handoff_secs.push(record.cost.handoff_secs);
                    }
                }
            }
        }
    }

    fn print(&self, what: &str, block_len: usize) {
        let [bare, watched] = &self.times;
        let ratios: Vec<f64> = bare.iter().zip(watched).map(|(bare, watched)| watched / bare).collect();
        let ms = |secs: &[f64], q| 1e3 * quantile(secs, q);
        println!(
            "{what} ({} pairs of {block_len}): without {:.2} ms (p99 {:.2}), with {:.2} ms (p99 {:.2}); paired ratio: median {:.3}, p99 {:.3}",
            bare.len(),
            ms(bare, 0.5),
            ms(bare, 0.99),
            ms(watched, 0.5),
            ms(watched, 0.99),
            quantile(&ratios, 0.5),
            quantile(&ratios, 0.99)
        );
        println!(
            "  submit {:.4} ms (p99 {:.4}), hand-off {:.4} ms (p99 {:.4}), waits {}",
            ms(&self.submit_secs, 0.5),
            ms(&self.submit_secs, 0.99),
            ms(&self.handoff_secs, 0.5),
            ms(&self.handoff_secs, 0.99),
            self.scope.wait_count()
        );
    }
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1]
}

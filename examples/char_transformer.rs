//! A small causal transformer learns to write like this project's own documentation, letter by letter, while every gradient of it is watched.
//!
//! `cargo run --release --example char_transformer`, with `--warmup 0 --lr 0.05` for what warm-up is there against.
//!
//! Adam, with a learning rate that rises over the first steps and falls from there. Prints loss, learning rate and the gradient norms of the embedding,
//! of each block and of the head; then the run in words, and some of what the model has learnt to write:
//! ```text
//!   120   2.4007   1.72e-3  embeddings 8.89e-1  block 0 4.55e-1  block 1 2.54e-1  head 8.26e-1
//!   260   1.9493   1.17e-3  embeddings 1.90e0  block 0 7.32e-1  block 1 2.91e-1  head 8.34e-1
//! note, steps 1 to 299: 100% of the gradient of blocks.layers.0.mha.key.bias is near zero, and 100% of that was before (and one other). [...]
//! Nothing is wrong, as far as the rules see.
//! It writes: The gradient so hatp ale chay doned, fareds Sogee: Dein, higrsed on the ound:
//! ```
//! The note is right: a key's bias adds the same to every score of a query, and softmax takes it out again, so it has no gradient but rounding errors.
//! 300 steps take a minute and a half on software Vulkan and two cores.
//!
//! The run is kept in `runs`: `gradscope watch runs`, while it goes on, shows it as it grows.

mod support;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;
use fastrand::Rng;
use gradscope::{Scope, Stats, StepRecord};
use gradscope_models::{CharTransformer, CharTransformerConfig};
use std::path::PathBuf;

/// What there is to learn: 25,000 letters.
const TEXT: &str = include_str!("../docs/diagnoses.md");
/// Letters that the model sees at a time.
const CONTEXT_LEN: usize = 32;
const BLOCK_COUNT: usize = 2;

#[derive(Parser)]
#[command(about = "Trains a small causal transformer on text that ships, and watches every gradient of it")]
struct Options {
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Stretches of text in a batch.
    #[arg(long, default_value_t = 16, value_parser = support::one_or_more())]
    batch: usize,
    /// The largest learning rate.
    #[arg(long, default_value_t = 3e-3)]
    lr: f64,
    /// Steps until the learning rate is at its largest.
    #[arg(long, default_value_t = 40)]
    warmup: u64,
    /// Steps from one printed line to the next.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Where the run folder goes.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

impl Options {
    /// Up in a line, and down by the square root of the step, as in "Attention Is All You Need" (2017), 5.3.
    fn lr_at(&self, step: u64) -> f64 {
        let (now, warmup) = ((step + 1) as f64, self.warmup.max(1) as f64);
        self.lr * (now / warmup).min((warmup / now).sqrt())
    }
}

/// Text as numbers of letters.
struct Corpus {
    alphabet: Vec<char>,
    text: Vec<i32>,
}

impl Corpus {
    fn new(text: &str) -> Self {
        let mut alphabet: Vec<char> = text.chars().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let place = |letter| alphabet.binary_search(&letter).expect("a letter of the text") as i32;
        Self { text: text.chars().map(place).collect(), alphabet }
    }

    /// Stretches from anywhere, and the same one letter later.
    fn batch(&self, count: usize, random: &mut Rng, device: &Device) -> (Tensor<2, Int>, Tensor<1, Int>) {
        let starts: Vec<usize> = (0..count).map(|_| random.usize(..self.text.len() - CONTEXT_LEN)).collect();
        let stretch = |shift: usize| -> Vec<i32> {
            starts.iter().flat_map(|start| &self.text[start + shift..start + shift + CONTEXT_LEN]).copied().collect()
        };
        let letters = Tensor::from_data(TensorData::new(stretch(0), [count, CONTEXT_LEN]), device);
        (letters, Tensor::from_data(TensorData::new(stretch(1), [count * CONTEXT_LEN]), device))
    }

    /// What the model writes behind `start`, letter by letter, the likelier the more often.
    fn written(&self, model: &CharTransformer, start: &str, len: usize, random: &mut Rng, device: &Device) -> String {
        let mut text = self.text_of(start);
        for _ in 0..len {
            let seen = text[text.len().saturating_sub(CONTEXT_LEN)..].to_vec();
            let count = seen.len();
            let letters = Tensor::<2, Int>::from_data(TensorData::new(seen, [1, count]), device);
            let next = model.forward(letters).slice([0..1, count - 1..count]).reshape([self.alphabet.len()]);
            let likely = burn::tensor::activation::softmax(next, 0).into_data();
            let mut at = random.f32();
            let chosen = likely.iter::<f32>().position(|share| {
                at -= share;
                at <= 0.0
            });
            text.push(chosen.unwrap_or(0) as i32);
        }
        text.iter().map(|&place| self.alphabet[place as usize]).collect()
    }

    fn text_of(&self, text: &str) -> Vec<i32> {
        text.chars().filter_map(|letter| self.alphabet.binary_search(&letter).ok()).map(|place| place as i32).collect()
    }
}

fn main() -> support::Outcome {
    let options = Options::parse();
    let device = gradscope::device()?;
    let training = device.burn().clone().autodiff();
    training.seed(1);
    let mut random = Rng::with_seed(1);
    let corpus = Corpus::new(TEXT);
    let mut model =
        CharTransformerConfig::new(corpus.alphabet.len(), CONTEXT_LEN).with_block_count(BLOCK_COUNT).init(&training);
    let mut optimizer = AdamConfig::new().init();
    let loss_of = CrossEntropyLossConfig::new().init(&training);
    let mut scope = Scope::builder(&device).stats(Stats::FULL).run(&options.runs).optimizer("adam").activation("gelu");
    scope = scope.group("embeddings", "^(letters|places)");
    for block in 0..BLOCK_COUNT {
        scope = scope.group(format!("block {block}"), format!(r"^blocks\.layers\.{block}\."));
    }
    let mut scope = scope.group("head", "^head").build(&model)?;

    let count = scope.params().len();
    println!("{} letters, {count} tensors; {}", corpus.alphabet.len(), device.describe());
    println!("{:>5} {:>8} {:>9}  L2 norms of the gradients", "step", "loss", "lr");
    for step in 0..options.steps {
        let (letters, next) = corpus.batch(options.batch, &mut random, &training);
        let likely = model.forward(letters).reshape([options.batch * CONTEXT_LEN, corpus.alphabet.len()]);
        let loss = loss_of.forward(likely, next);
        let gradients = loss.backward();
        let lr = options.lr_at(step);
        scope.step(step).scalar("loss", &loss).scalar("lr", lr).gradients(&model, &gradients).submit();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(lr, model, gradients);
        support::tell(scope.poll(), options.every, line);
    }
    let mut finished = scope.finish(&model);
    support::tell(std::mem::take(&mut finished.events), options.every, line);
    support::read(&finished)?;
    println!("It writes: {}", corpus.written(&model, "The gradient", 160, &mut random, &training));
    Ok(())
}

/// Step, loss, learning rate, and the norm of each group of layers.
fn line(record: &StepRecord) -> String {
    let figure = |name| record.scalar(name).unwrap_or(f64::NAN);
    let norms = record.groups.iter().map(|(name, group)| format!("  {name} {:.2e}", group.l2_norm));
    format!("{:>5} {:>8.4} {:>9.2e}{}", record.step, figure("loss"), figure("lr"), norms.collect::<String>())
}

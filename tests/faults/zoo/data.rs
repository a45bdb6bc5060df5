//! What the networks of the zoo learn from: the images that ship, small, and two data sets made here.

use burn::tensor::{Device, Int, Tensor, TensorData};
use flate2::read::GzDecoder;
use std::io::Read;

/// Side of an image: 2 x 2 pixels of the shipped ones are one here.
pub const SIDE: usize = 14;
pub const CLASS_COUNT: usize = 10;
/// Tokens of a sentence, and how many there are.
pub const SENTENCE_LEN: usize = 12;
pub const WORD_COUNT: usize = 64;
/// Figures that the regression is over.
pub const FIGURE_COUNT: usize = 8;

/// Examples held back for the test at the end of a run.
const TEST_LEN: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Images to classes.
    Images,
    /// Images to themselves.
    Reconstruction,
    /// Sentences, of which each word votes for a class, to the class that wins.
    Sentences,
    /// `sin(a x) + 0.3 (b x)^2` of eight figures.
    Regression,
}

/// Examples of one task: a row of `input`, and a class or a row of `target`.
pub struct Data {
    input_len: usize,
    inputs: Vec<f32>,
    classes: Vec<i32>,
    target_len: usize,
    targets: Vec<f32>,
}

pub struct Batch {
    pub input: Tensor<2>,
    pub classes: Tensor<1, Int>,
    pub target: Tensor<2>,
}

macro_rules! shipped {
    ($name:literal) => {
        include_bytes!(concat!("../../../crates/models/data/fashion-mnist/train-", $name, "-ubyte.gz")).as_slice()
    };
}

fn unpacked(bytes: &[u8], header_len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut all).expect("the shipped images are whole");
    all.split_off(header_len)
}

impl Data {
    /// `raw`: pixels as they come, from 0 to 255.
    pub fn new(task: Task, raw: bool) -> Self {
        match task {
            Task::Images => Self::images(raw),
            Task::Reconstruction => {
                let images = Self::images(raw);
                Self { target_len: images.input_len, targets: images.inputs.clone(), ..images }
            }
            Task::Sentences => Self::sentences(),
            Task::Regression => Self::regression(if raw { 255.0 } else { 1.0 }),
        }
    }

    fn images(raw: bool) -> Self {
        let pixels = unpacked(shipped!("images-idx3"), 16);
        let classes = unpacked(shipped!("labels-idx1"), 8).into_iter().map(i32::from).collect();
        let side = 2 * SIDE;
        let small = |image: &[u8]| -> Vec<f32> {
            let mean = |at: usize| {
                let (row, column) = (2 * (at / SIDE), 2 * (at % SIDE));
                let pixel = |r: usize, c: usize| f32::from(image[(row + r) * side + column + c]);
                (pixel(0, 0) + pixel(0, 1) + pixel(1, 0) + pixel(1, 1)) / 4.0
            };
            let scale = |mean: f32| if raw { mean } else { (mean / 255.0 - 0.286) / 0.34 };
            (0..SIDE * SIDE).map(|at| scale(mean(at))).collect()
        };
        let inputs = pixels.chunks(side * side).flat_map(small).collect();
        Self { input_len: SIDE * SIDE, inputs, classes, target_len: 0, targets: vec![] }
    }

    fn sentences() -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut inputs, mut classes) = (vec![], vec![]);
        for _ in 0..3000 {
            let mut votes = [0; CLASS_COUNT];
            for _ in 0..SENTENCE_LEN {
                // Words of natural language: few are frequent.
                let word = (WORD_COUNT as f32 * random.f32().powi(2)) as usize;
                votes[word % CLASS_COUNT] += 1;
                inputs.push(word as f32);
            }
            let most = votes.iter().max().copied().unwrap_or(0);
            classes.push(votes.iter().position(|&count| count == most).unwrap_or(0) as i32);
        }
        Self { input_len: SENTENCE_LEN, inputs, classes, target_len: 0, targets: vec![] }
    }

    fn regression(scale: f32) -> Self {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut inputs, mut targets) = (vec![], vec![]);
        for _ in 0..3000 {
            let x: Vec<f32> = (0..FIGURE_COUNT).map(|_| 2.0 * random.f32() - 1.0).collect();
            let dot =
                |phase: usize| (0..FIGURE_COUNT).map(|i| x[i] * [0.9, -0.5, 0.3, 0.7][(i + phase) % 4]).sum::<f32>();
            targets.push(dot(0).sin() + 0.3 * dot(1).powi(2));
            inputs.extend(x.iter().map(|x| scale * x));
        }
        Self { input_len: FIGURE_COUNT, inputs, classes: vec![0; 3000], target_len: 1, targets }
    }

    fn len(&self) -> usize {
        self.classes.len()
    }

    pub fn train_len(&self) -> usize {
        self.len() - TEST_LEN
    }

    /// The examples held back.
    pub fn test(&self, device: &Device) -> Batch {
        let chosen: Vec<usize> = (self.train_len()..self.len()).collect();
        self.batch(&chosen, device)
    }

    pub fn batch(&self, chosen: &[usize], device: &Device) -> Batch {
        let rows = |values: &[f32], len: usize| {
            let picked: Vec<f32> = chosen.iter().flat_map(|&i| &values[i * len..(i + 1) * len]).copied().collect();
            Tensor::from_data(TensorData::new(picked, [chosen.len(), len.max(1)]), device)
        };
        let classes: Vec<i32> = chosen.iter().map(|&i| self.classes[i]).collect();
        let input = rows(&self.inputs, self.input_len);
        Batch {
            target: if self.target_len > 0 { rows(&self.targets, self.target_len) } else { input.clone() },
            input,
            classes: Tensor::from_data(TensorData::new(classes, [chosen.len()]), device),
        }
    }
}

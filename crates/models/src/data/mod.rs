//! Labelled images for the command, the examples and the tests: (Fashion-)MNIST and CIFAR-10 in the files they are published in.
//!
//! Files are not believed: what their headers claim is checked against what they hold before memory is taken for it.

mod cifar10;
#[cfg(test)]
#[path = "../../../../tests/support/damage.rs"]
mod damage;
mod idx;

use burn::tensor::{Device, Int, Tensor, TensorData};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Classes of each of these sets.
pub const CLASS_COUNT: usize = 10;

/// A set that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct DataError {
    /// The file, or the folder where files are missing.
    pub file: PathBuf,
    /// What is wrong with it, in words.
    pub reason: String,
}

/// What an image is made of; they are square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 for grey, 3 for red, green and blue.
    pub channel_count: usize,
    /// Pixels along a side.
    pub side_len: usize,
}

impl ImageShape {
    /// Values of an image, all channels together.
    pub const fn pixel_count(self) -> usize {
        self.channel_count * self.side_len * self.side_len
    }
}

/// Images of one shape in [0, 255], channel by channel and row by row, and their classes.
pub struct Images {
    shape: ImageShape,
    /// Of each channel, mean and standard deviation that pixels are normalised by, in [0, 1].
    normal: &'static [[f32; 2]],
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// What there is to train on, and to test on.
#[derive(Debug)]
pub struct Data {
    /// What to train on.
    pub train: Images,
    /// What to test on; no image of it is in `train`.
    pub test: Images,
}

impl Data {
    /// 3,000 training and 1,000 test images of Fashion-MNIST.
    ///
    /// # Errors
    /// None, unless the library was built from other files.
    pub fn shipped() -> Result<Self, DataError> {
        idx::shipped()
    }

    /// A full set in a folder: MNIST or Fashion-MNIST as four IDX files, gzipped or not, or CIFAR-10 as six `.bin` files, there or in
    /// the `cifar-10-batches-bin` that its archive unpacks to.
    ///
    /// # Errors
    /// Where a file is missing, or is not what it should be.
    pub fn from_dir(dir: &Path) -> Result<Self, DataError> {
        if !dir.is_dir() {
            return Err(DataError { file: dir.to_owned(), reason: "there is no such folder".into() });
        }
        match cifar10::folder(dir) {
            Some(folder) => cifar10::read(&folder),
            None => idx::read(dir),
        }
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("shape", &self.shape).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Images {
    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels and side of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The chosen images, `[chosen, channels, height, width]`, normalised by the mean and the standard deviation of CIFAR-10, or of
    /// Fashion-MNIST (MNIST's too), and their classes, on the device.
    ///
    /// # Panics
    /// Where a chosen one is not there.
    pub fn batch(&self, chosen: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        let ImageShape { channel_count, side_len } = self.shape;
        let (image_len, channel_len) = (self.shape.pixel_count(), side_len * side_len);
        let normal = |(at, &pixel): (usize, &u8)| {
            let [mean, std] = self.normal[at / channel_len];
            (f32::from(pixel) / 255.0 - mean) / std
        };
        let image = |&i: &usize| self.pixels[i * image_len..(i + 1) * image_len].iter().enumerate().map(normal);
        let pixels: Vec<f32> = chosen.iter().flat_map(image).collect();
        let labels: Vec<i32> = chosen.iter().map(|&i| i32::from(self.labels[i])).collect();
        (
            Tensor::from_data(TensorData::new(pixels, [chosen.len(), channel_count, side_len, side_len]), device),
            Tensor::from_data(TensorData::new(labels, [chosen.len()]), device),
        )
    }
}

/// The first label that is none, in words.
fn bad_label(labels: &[u8]) -> Option<String> {
    let bad = labels.iter().find(|&&label| usize::from(label) >= CLASS_COUNT)?;
    Some(format!("there is a label {bad}, and classes go from 0 to {}", CLASS_COUNT - 1))
}

/// All that is left of a file, unless it is more than `len_max` bytes; then it ends there, a byte too long.
fn rest(file: impl Read, len_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(len_max as u64 + 1).read_to_end(&mut bytes).map_err(|error| format!("it can't be read: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use damage::{damaged, each_case, gzipped};

    /// What is promised of images that were read.
    fn check(images: &Images) {
        assert_eq!(images.pixels.len(), images.len() * images.shape.pixel_count());
        assert_eq!(images.normal.len(), images.shape.channel_count);
        assert!((1..=1_000_000).contains(&images.len()));
        assert!(bad_label(&images.labels).is_none());
    }

    #[test]
    fn damaged_idx_files_are_refused_or_whole() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let images = [words(&[0x803, 6, 28, 28]), vec![7; 6 * 28 * 28]].concat();
        let labels = [words(&[0x801, 6]), vec![3; 6]].concat();
        assert_eq!(idx::parse(&images[..], &labels[..]).unwrap().len(), 6);
        each_case(3000, |random| {
            let gzips = random.below(2) == 0;
            let damage = random.below(3);
            let mut file = |bytes: &[u8], hit: bool| match (gzips, hit) {
                (false, false) => bytes.to_vec(),
                (false, true) => damaged(bytes, random),
                (true, false) => gzipped(bytes),
                (true, true) if random.below(2) == 0 => gzipped(&damaged(bytes, random)),
                (true, true) => damaged(&gzipped(bytes), random),
            };
            let (images, labels) = (file(&images, damage != 1), file(&labels, damage != 0));
            match idx::parse(idx::unzipped(&images[..]), idx::unzipped(&labels[..])) {
                Ok(set) => check(&set),
                Err((_, reason)) => assert!(reason.len() > 10),
            }
        });
    }

    #[test]
    fn damaged_cifar_files_are_refused_or_whole() {
        let whole: Vec<u8> = (0..4u8).flat_map(|label| std::iter::once(label).chain(vec![label * 9; 3072])).collect();
        let parse = |bytes: &[u8]| {
            let mut images = cifar10::none();
            cifar10::add(bytes, &mut images).map(|()| images)
        };
        let set = parse(&whole).unwrap();
        assert_eq!((set.labels.as_slice(), set.pixels[3072]), ([0, 1, 2, 3].as_slice(), 9));
        each_case(3000, |random| match parse(&damaged(&whole, random)) {
            Ok(set) => check(&set),
            Err(reason) => assert!(reason.len() > 10),
        });
    }

    #[test]
    fn a_channel_is_normalised_by_its_own() {
        let shape = ImageShape { channel_count: 2, side_len: 1 };
        let images =
            Images { shape, normal: &[[0.5, 0.5], [0.0, 2.0]], pixels: vec![255, 255, 0, 51], labels: vec![4, 9] };
        let (pixels, labels) = images.batch(&[1, 0], &Device::flex());
        pixels.into_data().assert_eq(&TensorData::from([[[[-1.0f32]], [[0.1]]], [[[1.0]], [[0.5]]]]), true);
        labels.into_data().assert_eq(&TensorData::from([9, 4]), false);
    }
}

//! Fashion-MNIST in IDX files: the subset that ships inside the binary, or a folder of the reader's own.

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Pixels of an image.
pub const IMAGE_LEN: usize = IMAGE_SIDE * IMAGE_SIDE;
const IMAGE_SIDE: usize = 28;
pub const CLASS_COUNT: usize = 10;

/// Mean and standard deviation of the training set's pixels, in [0, 1].
const PIXEL_MEAN: f32 = 0.2860;
const PIXEL_STD: f32 = 0.3530;

/// More than any MNIST-like set has: a header that claims more is not believed.
const IMAGE_COUNT_MAX: usize = 1_000_000;

/// Images in [0, 255], row by row, and their classes.
pub struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

pub struct Data {
    pub train: Images,
    pub test: Images,
}

macro_rules! shipped {
    ($name:literal) => {
        include_bytes!(concat!("../../../data/fashion-mnist/", $name, "-ubyte.gz")).as_slice()
    };
}

impl Data {
    /// 3,000 training and 1,000 test images.
    pub fn shipped() -> Result<Self> {
        let set = |images: &[u8], labels: &[u8]| Images::parse(GzDecoder::new(images), GzDecoder::new(labels));
        Ok(Self {
            train: set(shipped!("train-images-idx3"), shipped!("train-labels-idx1"))?,
            test: set(shipped!("t10k-images-idx3"), shipped!("t10k-labels-idx1"))?,
        })
    }

    /// The four files of MNIST's naming, gzipped or not.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        ensure!(dir.is_dir(), "--data-dir {}: there is no such folder", dir.display());
        let set = |kind: &str| {
            let (images, labels) = (open(dir, kind, "images-idx3")?, open(dir, kind, "labels-idx1")?);
            Images::parse(images, labels).with_context(|| {
                format!("--data-dir {} (leave it out for the images that ship): the `{kind}` files", dir.display())
            })
        };
        Ok(Self { train: set("train")?, test: set("t10k")? })
    }
}

impl Images {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The chosen images, normalised, and their classes, on the device.
    pub fn batch(&self, chosen: &[usize], device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let pixels = chosen.iter().flat_map(|&i| &self.pixels[i * IMAGE_LEN..(i + 1) * IMAGE_LEN]);
        let pixels: Vec<f32> = pixels.map(|&p| (f32::from(p) / 255.0 - PIXEL_MEAN) / PIXEL_STD).collect();
        let labels: Vec<i32> = chosen.iter().map(|&i| i32::from(self.labels[i])).collect();
        (
            Tensor::from_data(TensorData::new(pixels, [chosen.len(), IMAGE_LEN]), device),
            Tensor::from_data(TensorData::new(labels, [chosen.len()]), device),
        )
    }

    fn parse(mut images: impl Read, mut labels: impl Read) -> Result<Self> {
        let [magic, image_count, rows, columns] = header(&mut images).context("images")?;
        ensure!(magic == 0x803, "images: the file starts with {magic:#x}, not 0x803: it is no IDX file of images");
        ensure!(rows == IMAGE_SIDE && columns == IMAGE_SIDE, "images: they are {rows} x {columns}, not 28 x 28");
        ensure!(
            (1..=IMAGE_COUNT_MAX).contains(&image_count),
            "images: the header claims {image_count} of them; 1 to {IMAGE_COUNT_MAX} are taken"
        );
        let [magic, label_count] = header(&mut labels).context("labels")?;
        ensure!(magic == 0x801, "labels: the file starts with {magic:#x}, not 0x801: it is no IDX file of labels");
        ensure!(label_count == image_count, "{image_count} images, but {label_count} labels");
        let pixels = body(images, image_count * IMAGE_LEN).context("images")?;
        let labels = body(labels, label_count).context("labels")?;
        if let Some(bad) = labels.iter().find(|&&label| usize::from(label) >= CLASS_COUNT) {
            bail!("labels: there is a {bad}, and classes go from 0 to {}", CLASS_COUNT - 1);
        }
        Ok(Self { pixels, labels })
    }
}

fn open(dir: &Path, kind: &str, what: &str) -> Result<Box<dyn Read>> {
    let plain = dir.join(format!("{kind}-{what}-ubyte"));
    let gzipped = dir.join(format!("{kind}-{what}-ubyte.gz"));
    if !plain.exists() && gzipped.exists() {
        let file = File::open(&gzipped).with_context(|| format!("--data-dir: {}", gzipped.display()))?;
        return Ok(Box::new(GzDecoder::new(file)));
    }
    let file = File::open(&plain).with_context(|| format!("--data-dir: {} (or .gz)", plain.display()))?;
    Ok(Box::new(std::io::BufReader::new(file)))
}

fn header<const N: usize>(file: &mut impl Read) -> Result<[usize; N]> {
    let mut words = [0; N];
    for word in &mut words {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => anyhow!("the file is too short for its header"),
            _ => anyhow!("the file can't be read: {error}"),
        })?;
        *word = u32::from_be_bytes(bytes) as usize;
    }
    Ok(words)
}

/// Exactly `len` bytes, and nothing after them.
fn body(file: impl Read, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(len as u64 + 1).read_to_end(&mut bytes).context("the file can't be read")?;
    match bytes.len() {
        found if found < len => bail!("the file is truncated: {found} of {len} bytes"),
        found if found > len => bail!("the file goes on after the {len} bytes its header announces"),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::damage::{damaged, each_case};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn damaged_idx_files_are_refused_or_whole() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let images = [words(&[0x803, 6, 28, 28]), vec![7; 6 * IMAGE_LEN]].concat();
        let labels = [words(&[0x801, 6]), vec![3; 6]].concat();
        assert_eq!(Images::parse(&images[..], &labels[..]).unwrap().len(), 6);
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
            let parsed = if gzips {
                Images::parse(GzDecoder::new(&images[..]), GzDecoder::new(&labels[..]))
            } else {
                Images::parse(&images[..], &labels[..])
            };
            match parsed {
                Ok(set) => {
                    assert_eq!(set.pixels.len(), set.len() * IMAGE_LEN);
                    assert!((1..=IMAGE_COUNT_MAX).contains(&set.len()));
                    assert!(set.labels.iter().all(|label| usize::from(*label) < CLASS_COUNT));
                }
                Err(error) => assert!(format!("{error:#}").len() > 10),
            }
        });
    }
}

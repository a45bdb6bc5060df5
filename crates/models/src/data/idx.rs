//! The IDX format of [MNIST](http://yann.lecun.com/exdb/mnist/): big-endian words that say what follows, then bytes.

use super::{Data, DataError, ImageShape, Images, bad_label, rest};
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// First words of files of images and of labels.
const IMAGES_MAGIC: usize = 0x803;
const LABELS_MAGIC: usize = 0x801;

/// More than any MNIST-like set has: a header that claims more is not believed.
const IMAGE_COUNT_MAX: usize = 1_000_000;

const SHAPE: ImageShape = ImageShape { channel_count: 1, side_len: 28 };
/// Of Fashion-MNIST.
const NORMAL: [[f32; 2]; 1] = [[0.2860, 0.3530]];

macro_rules! shipped {
    ($kind:literal) => {
        parse(
            unzipped(include_bytes!(concat!("../../data/fashion-mnist/", $kind, "-images-idx3-ubyte.gz")).as_slice()),
            unzipped(include_bytes!(concat!("../../data/fashion-mnist/", $kind, "-labels-idx1-ubyte.gz")).as_slice()),
        )
        .map_err(|(_, reason)| DataError { file: concat!("the ", $kind, " images that ship").into(), reason })
    };
}

pub(super) fn shipped() -> Result<Data, DataError> {
    Ok(Data { train: shipped!("train")?, test: shipped!("t10k")? })
}

/// The four files of MNIST's naming.
pub(super) fn read(dir: &Path) -> Result<Data, DataError> {
    let set = |kind: &str| {
        let (images_file, images) = open(dir, kind, "images-idx3")?;
        let (labels_file, labels) = open(dir, kind, "labels-idx1")?;
        parse(images, labels).map_err(|(part, reason)| {
            let file = match part {
                Part::Images => images_file,
                Part::Labels => labels_file,
            };
            DataError { file, reason }
        })
    };
    Ok(Data { train: set("train")?, test: set("t10k")? })
}

fn open(dir: &Path, kind: &str, what: &str) -> Result<(PathBuf, Box<dyn Read>), DataError> {
    let plain = dir.join(format!("{kind}-{what}-ubyte"));
    let gzipped = dir.join(format!("{kind}-{what}-ubyte.gz"));
    let path = if !plain.exists() && gzipped.exists() { gzipped } else { plain };
    match File::open(&path) {
        Ok(file) => Ok((path, unzipped(BufReader::new(file)))),
        Err(error) => Err(DataError {
            file: path,
            reason: format!("{error}; the folder needs MNIST's four files, gzipped or not, or those of CIFAR-10"),
        }),
    }
}

/// As it is, or as what was gzipped: the first two bytes tell.
pub(super) fn unzipped<'a>(mut file: impl BufRead + 'a) -> Box<dyn Read + 'a> {
    match file.fill_buf() {
        Ok([0x1f, 0x8b, ..]) => Box::new(GzDecoder::new(file)),
        _ => Box::new(file),
    }
}

/// Which of the two files is not what it should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Images,
    Labels,
}

pub(super) fn parse(mut images: impl Read, mut labels: impl Read) -> Result<Images, (Part, String)> {
    let in_images = |reason| (Part::Images, reason);
    let in_labels = |reason| (Part::Labels, reason);
    let [magic, image_count, rows, columns] = header(&mut images).map_err(in_images)?;
    if magic != IMAGES_MAGIC {
        return Err(in_images(format!(
            "it starts with {magic:#x}, not {IMAGES_MAGIC:#x}: it is no IDX file of images"
        )));
    }
    let side_len = SHAPE.side_len;
    if (rows, columns) != (side_len, side_len) {
        return Err(in_images(format!("its images are {rows} x {columns}, not {side_len} x {side_len}")));
    }
    if !(1..=IMAGE_COUNT_MAX).contains(&image_count) {
        let reason = format!("its header claims {image_count} images; 1 to {IMAGE_COUNT_MAX} are taken");
        return Err(in_images(reason));
    }
    let [magic, label_count] = header(&mut labels).map_err(in_labels)?;
    if magic != LABELS_MAGIC {
        return Err(in_labels(format!(
            "it starts with {magic:#x}, not {LABELS_MAGIC:#x}: it is no IDX file of labels"
        )));
    }
    if label_count != image_count {
        return Err(in_labels(format!("it has {label_count} labels, for {image_count} images")));
    }
    let pixels = body(images, image_count * SHAPE.pixel_count()).map_err(in_images)?;
    let labels = body(labels, label_count).map_err(in_labels)?;
    match bad_label(&labels) {
        Some(reason) => Err(in_labels(reason)),
        None => Ok(Images { shape: SHAPE, normal: &NORMAL, pixels, labels }),
    }
}

fn header<const N: usize>(file: &mut impl Read) -> Result<[usize; N], String> {
    let mut words = [0; N];
    for word in &mut words {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => "it is too short for its header".to_owned(),
            _ => format!("it can't be read: {error}"),
        })?;
        *word = u32::from_be_bytes(bytes) as usize;
    }
    Ok(words)
}

/// Exactly `len` bytes, and nothing after them.
fn body(file: impl Read, len: usize) -> Result<Vec<u8>, String> {
    let bytes = rest(file, len)?;
    match bytes.len() {
        found if found < len => Err(format!("it is truncated: {found} of {len} bytes")),
        found if found > len => Err(format!("it goes on after the {len} bytes its header announces")),
        _ => Ok(bytes),
    }
}

//! The binary version of [CIFAR-10](https://www.cs.toronto.edu/~kriz/cifar.html): records of a label and 3,072 pixels, red, green and
//! blue, one after another.

use super::{Data, DataError, ImageShape, Images, bad_label, rest};
use std::fs::File;
use std::path::{Path, PathBuf};

const SHAPE: ImageShape = ImageShape { channel_count: 3, side_len: 32 };
const NORMAL: [[f32; 2]; 3] = [[0.4914, 0.2470], [0.4822, 0.2435], [0.4465, 0.2616]];
const RECORD_LEN: usize = 1 + SHAPE.pixel_count();

/// Twice what the set has: a longer one is refused.
const IMAGE_COUNT_MAX: usize = 100_000;

const TEST_FILE: &str = "test_batch.bin";

/// Where the files lie, if anything of them does.
pub(super) fn folder(dir: &Path) -> Option<PathBuf> {
    let candidates = [dir.to_owned(), dir.join("cifar-10-batches-bin")];
    candidates.into_iter().find(|folder| train_files(folder).chain([folder.join(TEST_FILE)]).any(|file| file.exists()))
}

fn train_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=5).map(|batch| folder.join(format!("data_batch_{batch}.bin")))
}

pub(super) fn read(folder: &Path) -> Result<Data, DataError> {
    let set = |files: Vec<PathBuf>| {
        let mut whole = none();
        for file in files {
            let opened = File::open(&file).map_err(|error| error.to_string());
            let read = opened.and_then(|opened| add(opened, &mut whole));
            read.map_err(|reason| DataError { file, reason })?;
        }
        Ok(whole)
    };
    Ok(Data { train: set(train_files(folder).collect())?, test: set(vec![folder.join(TEST_FILE)])? })
}

pub(super) fn none() -> Images {
    Images { shape: SHAPE, normal: &NORMAL, pixels: Vec::new(), labels: Vec::new() }
}

/// Puts the images of a file behind those that are there.
pub(super) fn add(file: impl std::io::Read, images: &mut Images) -> Result<(), String> {
    let room = (IMAGE_COUNT_MAX - images.len()) * RECORD_LEN;
    let bytes = rest(file, room)?;
    if bytes.len() > room {
        return Err(format!("it is too long: {IMAGE_COUNT_MAX} images are taken"));
    }
    if bytes.is_empty() || bytes.len() % RECORD_LEN != 0 {
        return Err(format!("its {} bytes are no whole number of records of {RECORD_LEN} bytes", bytes.len()));
    }
    for record in bytes.chunks_exact(RECORD_LEN) {
        images.labels.push(record[0]);
        images.pixels.extend_from_slice(&record[1..]);
    }
    bad_label(&images.labels).map_or(Ok(()), Err)
}

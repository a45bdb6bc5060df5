//! What the network is shown.

use crate::support::Outcome;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Of ImageNet's pixels, by channel.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

const SIDE_LEN: usize = 224;
/// The shorter side is scaled to this, and the middle is cut out.
const SCALED_LEN: usize = 256;

/// Sides of an image or an array that are taken.
const SIDE_LEN_MAX: usize = 1 << 13;

pub fn random(device: &Device) -> Tensor<4> {
    Tensor::random([1, 3, SIDE_LEN, SIDE_LEN], Distribution::Normal(0.0, 1.0), device)
}

/// The middle of a PNG, as ImageNet's networks are shown it: by bilinear sampling, without the blur that Pillow puts before it.
pub fn image(file: &Path, device: &Device) -> Outcome<Tensor<4>> {
    let pixels = rgb(file).map_err(|reason| format!("{}: {reason}", file.display()))?;
    let scale = pixels.width.min(pixels.height) as f32 / SCALED_LEN as f32;
    let place = |at: usize, len: usize| {
        let from_middle = at as f32 + 0.5 - SIDE_LEN as f32 / 2.0;
        (from_middle * scale + len as f32 / 2.0 - 0.5).clamp(0.0, len as f32 - 1.0)
    };
    let mut values = Vec::with_capacity(3 * SIDE_LEN * SIDE_LEN);
    for channel in 0..3 {
        for y in 0..SIDE_LEN {
            for x in 0..SIDE_LEN {
                let value = pixels.sample(place(x, pixels.width), place(y, pixels.height), channel);
                values.push((value / 255.0 - MEAN[channel]) / STD[channel]);
            }
        }
    }
    Ok(Tensor::from_data(TensorData::new(values, [1, 3, SIDE_LEN, SIDE_LEN]), device))
}

struct Pixels {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Pixels {
    fn sample(&self, x: f32, y: f32, channel: usize) -> f32 {
        let at = |x: usize, y: usize| {
            let (x, y) = (x.min(self.width - 1), y.min(self.height - 1));
            f32::from(self.bytes[(y * self.width + x) * 3 + channel])
        };
        let (left, top) = (x as usize, y as usize);
        let (right, below) = (x - left as f32, y - top as f32);
        let row = |y| at(left, y) * (1.0 - right) + at(left + 1, y) * right;
        row(top) * (1.0 - below) + row(top + 1) * below
    }
}

fn rgb(file: &Path) -> Outcome<Pixels> {
    let mut decoder = png::Decoder::new(BufReader::new(File::open(file)?));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    if width > SIDE_LEN_MAX || height > SIDE_LEN_MAX {
        return Err(format!("{width} x {height} pixels; {SIDE_LEN_MAX} along a side are taken").into());
    }
    let mut bytes = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let info = reader.next_frame(&mut bytes)?;
    bytes.truncate(info.buffer_size());
    let bytes = match info.color_type {
        png::ColorType::Rgb => bytes,
        png::ColorType::Rgba => bytes.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        png::ColorType::Grayscale => bytes.iter().flat_map(|&grey| [grey; 3]).collect(),
        png::ColorType::GrayscaleAlpha => bytes.chunks_exact(2).flat_map(|pixel| [pixel[0]; 3]).collect(),
        png::ColorType::Indexed => return Err("its palette could not be resolved".into()),
    };
    Ok(Pixels { width, height, bytes })
}

/// An array that NumPy has saved, of `(1, 3, height, width)` little-endian f32 in C order.
pub fn npy(file: &Path, device: &Device) -> Outcome<Tensor<4>> {
    let read = || -> Outcome<Tensor<4>> {
        let mut reader = BufReader::new(File::open(file)?);
        let shape = npy_shape(&mut reader)?;
        let count = shape.iter().product::<usize>();
        let mut bytes = Vec::new();
        reader.take(4 * count as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() != 4 * count {
            return Err(format!("it has not the {count} values that its header announces").into());
        }
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    };
    read().map_err(|reason| format!("{}: {reason}", file.display()).into())
}

/// See <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn npy_shape(reader: &mut impl Read) -> Outcome<[usize; 4]> {
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if start[..6] != *b"\x93NUMPY" {
        return Err("it is no .npy file".into());
    }
    let header_len = match start[6] {
        1 => {
            let mut len = [0; 2];
            reader.read_exact(&mut len)?;
            usize::from(u16::from_le_bytes(len))
        }
        _ => {
            let mut len = [0; 4];
            reader.read_exact(&mut len)?;
            u32::from_le_bytes(len) as usize
        }
    };
    let mut header = String::new();
    reader.take(header_len.min(1 << 16) as u64).read_to_string(&mut header)?;
    let holds = |wanted: &str| header.replace(' ', "").contains(wanted);
    if !holds("'descr':'<f4'") || !holds("'fortran_order':False") {
        return Err(
            "f32 in C order is needed: `numpy.save(file, numpy.ascontiguousarray(x, \"<f4\"))` writes it".into()
        );
    }
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let lens = shape.map(|(lens, _)| lens.split(',').filter_map(|len| len.trim().parse().ok()).collect::<Vec<usize>>());
    match lens.as_deref() {
        Some(&[1, 3, height, width]) if (1..=SIDE_LEN_MAX).contains(&height) && (1..=SIDE_LEN_MAX).contains(&width) => {
            Ok([1, 3, height, width])
        }
        _ => Err("its shape is not (1, 3, height, width)".into()),
    }
}

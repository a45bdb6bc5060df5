//! TensorBoard event files.
//!
//! Written by hand: five message kinds of protobuf and a framing. Of the crates that exist, one declares itself
//! inactive, one needs a protobuf compiler to build, one brings some 200 crates with it.

use super::manifest::Manifest;
use crate::error::Error;
use crate::record::{Figure, Finding, HistogramRecord, StepRecord};
use crate::stats::Histogram;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Figures of single tensors that have curves in TensorBoard; the rest stand in the run folder.
const FIGURES: [&str; 10] = [
    "min",
    "max",
    "l1_norm",
    "l2_norm",
    "near_zero_ratio_1",
    "near_zero_ratio_2",
    "sign_flip_ratio",
    "nonfinite_count",
    "param_l2_norm",
    "update_to_weight",
];
/// TensorBoard shows a thousand points of a curve: steps are thinned as they become many.
const SHOWN_COUNT: u64 = 1000;
/// Bytes that are kept for a disk that has no room.
const PENDING_BYTES_MAX: usize = 8 << 20;

/// Writes one event file.
pub struct EventWriter {
    file: File,
    pending: Vec<u8>,
}

impl std::fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventWriter").field("file", &self.file).finish_non_exhaustive()
    }
}

impl EventWriter {
    /// Makes an event file in `folder`, and the folder.
    ///
    /// # Errors
    /// As the file system's.
    pub fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads a folder's files in the order of their names.
        let name =
            |n: u32| format!("events.out.tfevents.{:010}.{:09}.{n}.gradscope", now.as_secs(), now.subsec_nanos());
        let made = |n: u32| OpenOptions::new().create_new(true).append(true).open(folder.join(name(n)));
        let mut writer = Self { file: made(std::process::id())?, pending: Vec::new() };
        let mut event = Message::default();
        event.bytes(3, b"brain.Event:2");
        writer.event(0, event);
        Ok(writer)
    }

    /// Values of a step, by their tags.
    pub fn scalars<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) {
        let mut summary = Message::default();
        for (tag, value) in values {
            let mut message = Message::default();
            message.bytes(1, tag.as_bytes());
            message.float(2, value as f32);
            summary.bytes(1, &message.0);
        }
        if !summary.0.is_empty() {
            self.summary(step, &summary);
        }
    }

    /// A distribution: `counts[i]` values up to `limits[i]`, which ascend; there are as many as counts.
    ///
    /// # Panics
    /// Where there are fewer limits than counts.
    pub fn histogram(&mut self, step: u64, tag: &str, limits: &[f64], counts: &[u64]) {
        let total: u64 = counts.iter().sum();
        let filled = |i: &usize| counts[*i] > 0;
        let (first, last) = ((0..counts.len()).find(filled), (0..counts.len()).rev().find(filled));
        let low = |i: usize| if i == 0 { limits[0] } else { limits[i - 1] };
        let middle = |i: usize| 0.5 * (low(i) + limits[i]);
        let sum = |power: i32| (0..counts.len()).map(|i| counts[i] as f64 * middle(i).powi(power)).sum::<f64>();
        let mut histogram = Message::default();
        histogram.double(1, first.map_or(0.0, low));
        histogram.double(2, last.map_or(0.0, |i| limits[i]));
        histogram.double(3, total as f64);
        histogram.double(4, sum(1));
        histogram.double(5, sum(2));
        histogram.doubles(6, limits.iter().copied());
        histogram.doubles(7, counts.iter().map(|count| *count as f64));
        self.value(step, tag, 5, &histogram);
    }

    /// A picture: a PNG with an alpha channel, of `width` x `height` pixels.
    pub fn image(&mut self, step: u64, tag: &str, [width, height]: [u32; 2], png: &[u8]) {
        let mut image = Message::default();
        image.integer(1, u64::from(height));
        image.integer(2, u64::from(width));
        // Red, green, blue and alpha.
        image.integer(3, 4);
        image.bytes(4, png);
        self.value(step, tag, 4, &image);
    }

    /// Markdown.
    pub fn text(&mut self, step: u64, tag: &str, text: &str) {
        /// TensorFlow's number for strings.
        const DT_STRING: u64 = 7;
        let [mut plugin, mut metadata, mut size, mut shape, mut tensor, mut value, mut summary]: [Message; 7] =
            Default::default();
        plugin.bytes(1, b"text");
        metadata.bytes(1, &plugin.0);
        size.integer(1, 1);
        shape.bytes(2, &size.0);
        tensor.integer(1, DT_STRING);
        tensor.bytes(2, &shape.0);
        tensor.bytes(8, text.as_bytes());
        value.bytes(1, tag.as_bytes());
        value.bytes(8, &tensor.0);
        value.bytes(9, &metadata.0);
        summary.bytes(1, &value.0);
        self.summary(step, &summary);
    }

    /// What earlier files have of `step` and later ones counts no more.
    pub fn restart(&mut self, step: u64) {
        /// TensorFlow's number for a session's start.
        const START: u64 = 1;
        let [mut session, mut event]: [Message; 2] = Default::default();
        session.integer(1, START);
        event.bytes(7, &session.0);
        self.event(step, event);
    }

    fn value(&mut self, step: u64, tag: &str, field: u32, content: &Message) {
        let [mut value, mut summary]: [Message; 2] = Default::default();
        value.bytes(1, tag.as_bytes());
        value.bytes(field, &content.0);
        summary.bytes(1, &value.0);
        self.summary(step, &summary);
    }

    fn summary(&mut self, step: u64, summary: &Message) {
        let mut event = Message::default();
        event.bytes(5, &summary.0);
        self.event(step, event);
    }

    fn event(&mut self, step: u64, content: Message) {
        let wall_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut event = Message::default();
        event.double(1, wall_secs);
        event.integer(2, step);
        event.0.extend(content.0);
        let len = (event.0.len() as u64).to_le_bytes();
        self.pending.extend(len);
        self.pending.extend(masked_crc32c(&len).to_le_bytes());
        self.pending.extend(&event.0);
        self.pending.extend(masked_crc32c(&event.0).to_le_bytes());
    }

    /// Writes the events so far. Those that the disk has no room for are kept for another try, up to some megabytes.
    ///
    /// # Errors
    /// As the file system's.
    pub fn flush(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let written = self.file.write_all(&self.pending);
        if written.is_err() {
            // No half of an event stays behind: TensorBoard would stop there.
            let _ = self.file.set_len(len);
        }
        if written.is_ok() || self.pending.len() > PENDING_BYTES_MAX {
            self.pending.clear();
        }
        written
    }
}

/// Writes the records of a run as events.
pub struct Tensorboard {
    writer: EventWriter,
    /// Figures with the tag of each tensor.
    figures: Vec<(&'static Figure, Vec<String>)>,
    paths: Vec<String>,
    step_count: u64,
}

impl std::fmt::Debug for Tensorboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tensorboard").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Tensorboard {
    /// Makes an event file in `folder`, with the run's settings and facts as text.
    ///
    /// # Errors
    /// Where the folder or the file can't be made.
    pub fn create(folder: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::RunFolder { path: folder.to_owned(), reason: error.to_string() };
        let mut writer = EventWriter::create(folder).map_err(failed)?;
        let first_step = manifest.segments.last().map_or(0, |segment| segment.first_step);
        if manifest.segments.len() > 1 {
            writer.restart(first_step);
        }
        writer.text(first_step, "run/hyperparameters", &hyperparameters(manifest));
        writer.flush().map_err(failed)?;
        let paths: Vec<String> = manifest.params.iter().map(|param| param.path.clone()).collect();
        let shown = Figure::of_groups(manifest.groups()).filter(|figure| FIGURES.contains(&figure.name));
        let tags = |figure: &Figure| paths.iter().map(|path| format!("{}/{path}", figure.name)).collect();
        let figures = shown.map(|figure| (figure, tags(figure))).collect();
        Ok(Self { writer, figures, paths, step_count: 0 })
    }

    /// Writes what is none of a record's: pictures, texts.
    pub fn events(&mut self) -> &mut EventWriter {
        &mut self.writer
    }

    /// A figure of its own.
    pub fn scalar(&mut self, step: u64, name: &str, value: f64) {
        self.writer.scalars(step, [(name, value)]);
    }

    /// A finding, in words.
    pub fn finding(&mut self, finding: &Finding) {
        self.writer.text(finding.first_step, "run/findings", &finding.to_string().replace('<', "&lt;"));
    }

    /// Writes what a record holds: its figures, those over all tensors, those of every tensor, histograms.
    ///
    /// # Panics
    /// Where a histogram is of a parameter that the manifest does not have.
    pub fn record(&mut self, record: &StepRecord) {
        let step = record.step;
        if !record.last_move {
            let global = &record.global;
            let over_all = [
                ("global/l1_norm", Some(global.l1_norm)),
                ("global/l2_norm", Some(global.l2_norm)),
                ("global/min", global.min.map(f64::from)),
                ("global/max", global.max.map(f64::from)),
                ("global/near_zero_ratio_1", global.near_zero_ratio().map(|ratios| ratios[0])),
                ("global/near_zero_ratio_2", global.near_zero_ratio().map(|ratios| ratios[1])),
                ("global/sign_flip_ratio", global.sign_flip_ratio()),
                ("global/nonfinite_count", Some(global.nonfinite_count() as f64)),
                ("global/param_min", global.parameters.and_then(|p| p.min).map(f64::from)),
                ("global/param_max", global.parameters.and_then(|p| p.max).map(f64::from)),
                ("cost/submit_secs", Some(record.cost.submit_secs)),
            ];
            let given = record.scalars.iter().map(|(name, value)| (name.as_str(), *value));
            let over_all = over_all.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
            self.writer.scalars(step, given.chain(over_all));
            let stride = (self.step_count / SHOWN_COUNT).max(1).next_power_of_two();
            if self.step_count.is_multiple_of(stride) {
                let values = self.figures.iter().flat_map(|(figure, tags)| {
                    let found = record.tensors.iter().zip(tags);
                    found.filter_map(|(tensor, tag)| Some((tag.as_str(), (figure.of)(tensor)?)))
                });
                self.writer.scalars(step, values.collect::<Vec<_>>());
            }
            self.step_count += 1;
        }
        for HistogramRecord { param, of, histogram } in record.shapes.iter().flat_map(|shapes| &shapes.histograms) {
            let (limits, counts) = buckets(histogram);
            self.writer.histogram(step, &format!("{}/{}", of.id(), self.paths[*param]), &limits, &counts);
        }
    }

    /// Writes the events so far.
    ///
    /// # Errors
    /// As the file system's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Upper limits and counts: between bounds where there were any, else magnitudes by exponent.
fn buckets(histogram: &Histogram) -> (Vec<f64>, Vec<u64>) {
    match &histogram.linear {
        Some(linear) => {
            let mut limits: Vec<f64> = linear.edges.iter().map(|edge| f64::from(*edge)).collect();
            limits.push(f64::from(f32::MAX));
            let mut counts = vec![linear.underflow_count];
            counts.extend(&linear.count);
            counts.push(linear.overflow_count);
            (limits, counts)
        }
        None => {
            let finite = &histogram.exponent_count[..255.min(histogram.exponent_count.len())];
            let limits = (0..finite.len()).map(|bin| 2f64.powi(bin as i32 - 126)).collect();
            (limits, finite.to_vec())
        }
    }
}

/// A table of facts and settings, in Markdown.
fn hyperparameters(manifest: &Manifest) -> String {
    let mut table = String::from("| | |\n|---|---|\n");
    let settings = manifest.settings.as_object().into_iter().flatten();
    let settings =
        settings.map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    for (name, value) in manifest.fact_lines().into_iter().chain(settings) {
        let cell = |text: &str| text.replace('|', "\\|").replace(['\r', '\n'], " ").replace('<', "&lt;");
        table += &format!("| {} | {} |\n", cell(&name), cell(&value));
    }
    table += &format!("| adapter | {} |\n| engine | {} |\n", manifest.adapter, manifest.engine);
    table
}

/// A protobuf message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn integer(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn double(&mut self, field: u32, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u32, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn doubles(&mut self, field: u32, values: impl Iterator<Item = f64>) {
        let packed: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
        self.bytes(field, &packed);
    }
}

/// CRC-32C, as record files mask it (TensorFlow, `lib/hash/crc32c.h`).
fn masked_crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32c_table();
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    let crc = !bytes.iter().fold(!0, step);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

const fn crc32c_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        // CRC-32C of "123456789" is e3069283 (RFC 3720, B.4 uses the same polynomial).
        let masked = 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc32c(b"123456789"), masked);
    }

    #[test]
    fn long_integers_take_more_bytes() {
        let mut message = Message::default();
        message.integer(2, 300);
        assert_eq!(message.0, [0x10, 0xac, 0x02]);
    }
}

//! Event files: their framing, and the few message kinds of protobuf that are needed.

use super::histogram::Buckets;
use crate::{files, time};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes that are kept for a disk that has no room.
const PENDING_BYTES_MAX: usize = 8 << 20;

/// Writes one event file.
pub struct EventWriter {
    file: File,
    pending: Vec<u8>,
    /// Unix time of the events that follow; `None` for the present.
    wall_secs: Option<f64>,
    /// Tags whose values were too large, each reported once.
    clamped: Vec<String>,
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
        files::create_folder(folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads a folder's files in the order of their names.
        let name =
            |n: u32| format!("events.out.tfevents.{:010}.{:09}.{n}.gradscope", now.as_secs(), now.subsec_nanos());
        let made = |n: u32| OpenOptions::new().create_new(true).append(true).open(folder.join(name(n)));
        let mut writer =
            Self { file: made(std::process::id())?, pending: Vec::new(), wall_secs: None, clamped: Vec::new() };
        let mut event = Message::default();
        event.bytes(3, b"brain.Event:2");
        writer.event(0, event);
        Ok(writer)
    }

    /// The Unix time, in seconds, that the events that follow carry; `None` for the time at which they are written.
    pub fn set_wall_secs(&mut self, wall_secs: Option<f64>) {
        self.wall_secs = wall_secs;
    }

    /// Values of a step, by their tags. TensorBoard keeps f32: a finite value beyond that is written as the largest f32,
    /// and named in the text `run/clamped`.
    pub fn scalars<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) {
        let mut summary = Message::default();
        let mut clamped = Vec::new();
        for (tag, value) in values {
            let bounded = value.clamp(f64::from(f32::MIN), f64::from(f32::MAX));
            let narrow = if value.is_finite() { bounded as f32 } else { value as f32 };
            if value.is_finite() && bounded != value && !self.clamped.iter().any(|known| known == tag) {
                self.clamped.push(tag.to_owned());
                clamped
                    .push(format!("- `{tag}` is {value:e} at step {step}, beyond the f32 that curves are kept in\n"));
            }
            let mut message = Message::default();
            message.bytes(1, tag.as_bytes());
            message.float(2, narrow);
            summary.bytes(1, &message.0);
        }
        if !summary.0.is_empty() {
            self.summary(step, &summary);
        }
        if !clamped.is_empty() {
            self.text(step, "run/clamped", &clamped.concat());
        }
    }

    /// A distribution.
    pub fn histogram(&mut self, step: u64, tag: &str, buckets: &Buckets) {
        let Buckets { min, max, sum, sum_of_squares, limits, counts } = buckets;
        let mut histogram = Message::default();
        histogram.double(1, *min);
        histogram.double(2, *max);
        histogram.double(3, counts.iter().sum::<f64>());
        histogram.double(4, *sum);
        histogram.double(5, *sum_of_squares);
        histogram.doubles(6, limits.iter().copied());
        histogram.doubles(7, counts.iter().copied());
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
        let [mut size, mut shape, mut tensor]: [Message; 3] = Default::default();
        size.integer(1, 1);
        shape.bytes(2, &size.0);
        tensor.integer(1, DT_STRING);
        tensor.bytes(2, &shape.0);
        tensor.bytes(8, text.as_bytes());
        self.of_plugin(step, tag, "text", b"", Some(&tensor));
    }

    /// What a plugin of TensorBoard's reads of a tag.
    pub(super) fn of_plugin(&mut self, step: u64, tag: &str, plugin: &str, content: &[u8], tensor: Option<&Message>) {
        let [mut data, mut metadata, mut value, mut summary]: [Message; 4] = Default::default();
        data.bytes(1, plugin.as_bytes());
        if !content.is_empty() {
            data.bytes(2, content);
        }
        metadata.bytes(1, &data.0);
        value.bytes(1, tag.as_bytes());
        if let Some(tensor) = tensor {
            value.bytes(8, &tensor.0);
        }
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
        let wall_secs = self.wall_secs.unwrap_or_else(time::now_secs);
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

/// A protobuf message that is being written.
#[derive(Default)]
pub(super) struct Message(pub Vec<u8>);

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

    pub fn integer(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    pub fn double(&mut self, field: u32, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    pub fn float(&mut self, field: u32, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    pub fn doubles(&mut self, field: u32, values: impl Iterator<Item = f64>) {
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

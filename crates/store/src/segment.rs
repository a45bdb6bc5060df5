//! One table's file of one segment: appended batch by batch, and never left with half of one.

use super::source::arrow_path;
use super::tables::Table;
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Batches are kept for a disk that has no room, up to this many bytes.
const PENDING_BYTES_MAX: usize = 8 << 20;

/// A stream of batches: made with the first of them.
pub(super) struct Stream {
    path: PathBuf,
    file: Option<File>,
    encoder: Option<StreamWriter<Vec<u8>>>,
    /// Encoded and not on disk; the schema comes first.
    pending: VecDeque<Message>,
    written_len: u64,
    /// Steps, and batches, that could not be kept.
    pub lost_step_count: u64,
    pub lost_batch_count: u64,
}

struct Message {
    bytes: Vec<u8>,
    step_count: u64,
    /// Without the schema later batches can't be read.
    is_schema: bool,
}

impl Stream {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            encoder: None,
            pending: VecDeque::new(),
            written_len: 0,
            lost_step_count: 0,
            lost_batch_count: 0,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Encodes a batch of so many steps; it is written by the next [`Stream::flush`].
    pub fn put(&mut self, batch: &RecordBatch, step_count: u64) -> io::Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            None => {
                let mut encoder = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(io::Error::other)?;
                let bytes = std::mem::take(encoder.get_mut());
                self.pending.push_back(Message { bytes, step_count: 0, is_schema: true });
                self.encoder.insert(encoder)
            }
        };
        encoder.write(batch).map_err(io::Error::other)?;
        let bytes = std::mem::take(encoder.get_mut());
        self.pending.push_back(Message { bytes, step_count, is_schema: false });
        Ok(())
    }

    /// Writes what is pending, batch by batch. Where that fails the file ends with its last whole batch, and what is
    /// pending is kept for another try while it is not too much.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(message) = self.pending.front() {
            if let Err(error) = write(&mut self.file, &self.path, self.written_len, &message.bytes) {
                if let Some(file) = &self.file {
                    let _ = file.set_len(self.written_len);
                }
                if self.pending.iter().map(|message| message.bytes.len()).sum::<usize>() > PENDING_BYTES_MAX {
                    self.give_up();
                }
                return Err(error);
            }
            self.written_len += message.bytes.len() as u64;
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Rows that are pending are lost.
    pub fn give_up(&mut self) {
        let lost = self.pending.iter().filter(|message| !message.is_schema);
        self.lost_batch_count += lost.clone().count() as u64;
        self.lost_step_count += lost.map(|message| message.step_count).sum::<u64>();
        self.pending.retain(|message| message.is_schema);
    }

    /// Writes what is pending and the stream's end.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(mut encoder) = self.encoder.take() {
            encoder.finish().map_err(io::Error::other)?;
            let bytes = std::mem::take(encoder.get_mut());
            self.pending.push_back(Message { bytes, step_count: 0, is_schema: false });
        }
        self.flush()
    }
}

fn write(file: &mut Option<File>, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => {
            if let Some(folder) = path.parent() {
                // Of a run folder that is there; somebody may have removed the overview's.
                let _ = std::fs::create_dir(folder);
            }
            file.insert(OpenOptions::new().write(true).create_new(true).open(path)?)
        }
    };
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

/// A table and the stream it goes to.
pub(super) struct SegmentFile<T> {
    pub table: T,
    pub stream: Stream,
}

impl<T: Table> SegmentFile<T> {
    pub fn new(folder: &Path, index: u32, table: T) -> Self {
        Self { table, stream: Stream::new(arrow_path(folder, T::NAME, index)) }
    }

    /// Writes the rows so far.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.table.row_count() > 0 {
            let step_count = self.table.step_count();
            let batch = self.table.take();
            self.stream.put(&batch, step_count)?;
        }
        self.stream.flush()
    }

    pub fn finish(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        flushed.and_then(|()| self.stream.finish())
    }
}

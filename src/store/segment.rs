//! One table's file of one segment: appended batch by batch, and never left with half of one.

use super::tables::Table;
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
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
    /// Encoded and not on disk.
    pending: Vec<u8>,
    pending_row_count: u64,
    /// Of the schema's message at the start of `pending`; 0 once it is on disk.
    header_len: usize,
    written_len: u64,
    /// Rows that could not be kept.
    pub lost_row_count: u64,
}

impl Stream {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            encoder: None,
            pending: Vec::new(),
            pending_row_count: 0,
            header_len: 0,
            written_len: 0,
            lost_row_count: 0,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Encodes a batch; it is written by the next [`Stream::flush`].
    pub fn put(&mut self, batch: &RecordBatch) -> io::Result<()> {
        if self.encoder.is_none() {
            let encoder = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(io::Error::other)?;
            self.header_len = encoder.get_ref().len();
            self.encoder = Some(encoder);
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.write(batch).map_err(io::Error::other)?;
            self.pending.append(encoder.get_mut());
            self.pending_row_count += batch.num_rows() as u64;
        }
        Ok(())
    }

    /// Writes what is pending. Where that fails the file ends with its last whole batch, and what is pending is kept for
    /// another try while it is not too much.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.write();
        match &written {
            Ok(()) => {
                self.written_len += self.pending.len() as u64;
                self.pending.clear();
                self.header_len = 0;
                self.pending_row_count = 0;
            }
            Err(_) => {
                if let Some(file) = &self.file {
                    let _ = file.set_len(self.written_len);
                }
                if self.pending.len() > PENDING_BYTES_MAX {
                    self.give_up();
                }
            }
        }
        written
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().write(true).create_new(true).open(&self.path)?),
        };
        file.seek(SeekFrom::Start(self.written_len))?;
        file.write_all(&self.pending)
    }

    /// Rows that are pending are lost, but for the schema, without which later ones could not be read.
    pub fn give_up(&mut self) {
        self.pending.truncate(self.header_len);
        self.lost_row_count += std::mem::take(&mut self.pending_row_count);
    }

    /// Writes what is pending and the stream's end.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(mut encoder) = self.encoder.take() {
            encoder.finish().map_err(io::Error::other)?;
            self.pending.append(encoder.get_mut());
        }
        self.flush()
    }
}

/// A table and the stream it goes to.
pub(super) struct SegmentFile<T> {
    pub table: T,
    pub stream: Stream,
}

impl<T: Table> SegmentFile<T> {
    pub fn new(folder: &Path, index: u32, table: T) -> Self {
        let path = folder.join(format!("{}-{index:04}.arrows", table.name()));
        Self { table, stream: Stream::new(path) }
    }

    /// Writes the rows so far.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.table.row_count() > 0 {
            let batch = self.table.take();
            self.stream.put(&batch)?;
        }
        self.stream.flush()
    }

    pub fn finish(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        flushed.and_then(|()| self.stream.finish())
    }
}

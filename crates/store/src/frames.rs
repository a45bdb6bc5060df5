//! The messages of an Arrow IPC stream that may end in the middle of one.

use super::files;
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::{MessageHeader, root_as_message};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// What precedes every message.
const CONTINUATION: [u8; 4] = [0xff; 4];
const PREFIX_LEN: u64 = 8;
/// No message's metadata is as large: a length beyond is damage, not a reason to allocate.
const METADATA_LEN_MAX: u64 = 64 << 20;

/// Batches of rows, as they are decoded.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, String>> + Send>;

/// A message that is whole.
#[derive(Clone, Copy, Debug)]
struct Frame {
    start: u64,
    end: u64,
    /// Rows of a batch; `None` for a schema.
    row_count: Option<u64>,
}

/// A stream's whole messages. The file stays open: that it is compacted away meanwhile does not matter.
pub(super) struct Frames {
    file: Arc<File>,
    frames: Vec<Frame>,
}

/// A part of a file that others read too.
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, &mut into[..len], self.at)?;
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(&*self.file, &mut into[..len], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Frames {
    /// Walks the headers. What follows the last whole message is a torn tail, and is left out.
    ///
    /// # Errors
    /// In words, where the file can't be read or what stands between messages is no header.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = files::open(path).map_err(|error| error.to_string())?;
        let mut frames = Self { file: Arc::new(file), frames: Vec::new() };
        frames.grow()?;
        Ok(frames)
    }

    /// Walks on, over what was appended meanwhile.
    ///
    /// # Errors
    /// As [`Frames::read`].
    pub fn grow(&mut self) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let len = self.file.metadata().map_err(text)?.len();
        let mut start = self.frames.last().map_or(0, |frame| frame.end);
        if start + PREFIX_LEN > len {
            return Ok(());
        }
        let mut file = BufReader::new(&*self.file);
        file.seek(SeekFrom::Start(start)).map_err(text)?;
        while start + PREFIX_LEN <= len {
            let mut prefix = [0; PREFIX_LEN as usize];
            file.read_exact(&mut prefix).map_err(text)?;
            let metadata_len = u64::from(u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]));
            let torn = prefix == [0; PREFIX_LEN as usize];
            if torn || (prefix[..4] == CONTINUATION && metadata_len == 0) {
                break;
            }
            if prefix[..4] != CONTINUATION || metadata_len > METADATA_LEN_MAX {
                return Err(format!("byte {start}: no Arrow message begins here"));
            }
            if start + PREFIX_LEN + metadata_len > len {
                break;
            }
            let mut metadata = vec![0; metadata_len as usize];
            file.read_exact(&mut metadata).map_err(text)?;
            let message = root_as_message(&metadata).map_err(|error| format!("byte {start}: {error}"))?;
            let body_len = message.bodyLength();
            let end = u64::try_from(body_len).ok().and_then(|len| len.checked_add(start + PREFIX_LEN + metadata_len));
            let Some(end) = end else { return Err(format!("byte {start}: a length below 0, or past all bounds")) };
            if end > len {
                break;
            }
            let batch = (message.header_type() == MessageHeader::RecordBatch).then(|| message.header_as_record_batch());
            let row_count = batch.flatten().map(|batch| batch.length().max(0) as u64);
            self.frames.push(Frame { start, end, row_count });
            file.seek_relative(body_len).map_err(text)?;
            start = end;
        }
        Ok(())
    }

    pub fn row_count(&self) -> u64 {
        self.frames.iter().filter_map(|frame| frame.row_count).sum()
    }

    pub fn batch_count(&self) -> usize {
        self.frames.len().saturating_sub(1)
    }

    /// The batches from the `first` on, with the named columns, or all.
    ///
    /// # Errors
    /// In words, where the file can't be read or decoded.
    pub fn batches(&self, first: usize, columns: Option<&[&str]>) -> Result<Batches, String> {
        let (Some(schema), Some(from)) = (self.frames.first(), self.frames.get(first + 1)) else {
            return Ok(Box::new(std::iter::empty()));
        };
        let end = self.frames.last().map_or(0, |frame| frame.end);
        let part = |at: u64, end: u64| Part { file: Arc::clone(&self.file), at, end };
        let bytes = || BufReader::with_capacity(1 << 20, part(0, schema.end).chain(part(from.start, end)));
        let text = |error: arrow_schema::ArrowError| error.to_string();
        let reader = StreamReader::try_new(bytes(), None).map_err(text)?;
        let Some(columns) = columns else { return Ok(Box::new(reader.map(move |batch| batch.map_err(text)))) };
        let fields = reader.schema();
        let places = columns.iter().filter_map(|name| fields.index_of(name).ok()).collect();
        let reader = StreamReader::try_new(bytes(), Some(places)).map_err(text)?;
        Ok(Box::new(reader.map(move |batch| batch.map_err(text))))
    }
}

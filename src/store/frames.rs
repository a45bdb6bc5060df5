//! The messages of an Arrow IPC stream that may end in the middle of one.

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::{MessageHeader, root_as_message};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What precedes every message.
const CONTINUATION: [u8; 4] = [0xff; 4];
const PREFIX_LEN: u64 = 8;
/// No message's metadata is as large: a length beyond is damage, not a reason to allocate.
const METADATA_LEN_MAX: u64 = 64 << 20;

/// A message that is whole.
#[derive(Clone, Copy, Debug)]
struct Frame {
    start: u64,
    end: u64,
    /// Rows of a batch; `None` for a schema.
    row_count: Option<u64>,
}

/// A stream's whole messages.
pub(super) struct Frames {
    path: PathBuf,
    frames: Vec<Frame>,
}

impl Frames {
    /// Walks the headers. What follows the last whole message is a torn tail, and is left out.
    ///
    /// # Errors
    /// In words, where the file can't be read or what stands between messages is no header.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut file = BufReader::new(File::open(path).map_err(|error| error.to_string())?);
        let len = file.get_ref().metadata().map_err(|error| error.to_string())?.len();
        let mut frames = Vec::new();
        let mut start = 0;
        while start + PREFIX_LEN <= len {
            let mut prefix = [0; PREFIX_LEN as usize];
            file.read_exact(&mut prefix).map_err(|error| error.to_string())?;
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
            file.read_exact(&mut metadata).map_err(|error| error.to_string())?;
            let message = root_as_message(&metadata).map_err(|error| format!("byte {start}: {error}"))?;
            let body_len =
                u64::try_from(message.bodyLength()).map_err(|_| format!("byte {start}: a length below 0"))?;
            let end = start + PREFIX_LEN + metadata_len + body_len;
            if end > len {
                break;
            }
            let batch = (message.header_type() == MessageHeader::RecordBatch).then(|| message.header_as_record_batch());
            let row_count = batch.flatten().map(|batch| batch.length().max(0) as u64);
            frames.push(Frame { start, end, row_count });
            file.seek_relative(body_len as i64).map_err(|error| error.to_string())?;
            start = end;
        }
        Ok(Self { path: path.to_owned(), frames })
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
    pub fn batches(
        &self,
        first: usize,
        columns: Option<&[&str]>,
    ) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, String>>>, String> {
        let (Some(schema), Some(from)) = (self.frames.first(), self.frames.get(first + 1)) else {
            return Ok(Box::new(std::iter::empty()));
        };
        let end = self.frames.last().map_or(0, |frame| frame.end);
        let open = || -> io::Result<_> {
            let head = File::open(&self.path)?.take(schema.end);
            let mut body = File::open(&self.path)?;
            body.seek(SeekFrom::Start(from.start))?;
            Ok(BufReader::with_capacity(1 << 20, head.chain(body.take(end - from.start))))
        };
        let bytes = open().map_err(|error| error.to_string())?;
        let text = |error: arrow_schema::ArrowError| error.to_string();
        let reader = StreamReader::try_new(bytes, None).map_err(text)?;
        let Some(columns) = columns else { return Ok(Box::new(reader.map(move |batch| batch.map_err(text)))) };
        let fields = reader.schema();
        let places = columns.iter().filter_map(|name| fields.index_of(name).ok()).collect();
        let bytes = open().map_err(|error| error.to_string())?;
        let reader = StreamReader::try_new(bytes, Some(places)).map_err(text)?;
        Ok(Box::new(reader.map(move |batch| batch.map_err(text))))
    }
}

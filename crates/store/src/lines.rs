//! Files of a JSON object a line, that grow by whole lines.

use super::files;
use std::io::{self, Write};
use std::path::PathBuf;

/// Lines that are kept for a disk that has no room.
const PENDING_BYTES_MAX: usize = 1 << 20;

pub(super) struct Lines {
    path: PathBuf,
    pending: Vec<u8>,
    begun: bool,
}

impl Lines {
    /// The file is made with its first line.
    pub fn new(path: PathBuf) -> Self {
        Self { path, pending: Vec::new(), begun: false }
    }

    /// Takes a line; it is written by the next [`Lines::flush`].
    pub fn put(&mut self, line: &impl serde::Serialize) {
        if serde_json::to_writer(&mut self.pending, line).is_ok() {
            self.pending.push(b'\n');
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut file = files::append(&self.path)?;
        let len = file.metadata()?.len();
        // Whatever a killed process left of its last line ends here.
        let end: &[u8] = if len > 0 && !self.begun { b"\n" } else { b"" };
        let written = file.write_all(end).and_then(|()| file.write_all(&self.pending));
        self.begun |= written.is_ok();
        if written.is_err() {
            let _ = file.set_len(len);
        }
        if written.is_ok() || self.pending.len() > PENDING_BYTES_MAX {
            self.pending.clear();
        }
        written
    }
}

//! Files of a folder that somebody else may have made: regular ones alone, of bounded size, and no links on writing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file for reading. A pipe or a device would block, or never end.
///
/// # Errors
/// As the file system's, and where the path is no regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe blocks: it is looked at first.
    require_file(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    require_file(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open`], and where it is longer.
pub(super) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Makes a file, or empties it. What a link stands for is left alone.
///
/// # Errors
/// As the file system's, and where the path is a link or no regular file.
pub fn create(path: &Path) -> io::Result<File> {
    refuse_irregular(path)?;
    OpenOptions::new().create(true).truncate(true).write(true).open(path)
}

/// Opens a file to append to it, and makes it where it is not there. A pipe is waited for: a thread of its own appends.
///
/// # Errors
/// As the file system's, and where the path is a link.
pub(super) fn append(path: &Path) -> io::Result<File> {
    refuse_link(path)?;
    OpenOptions::new().create(true).append(true).open(path)
}

/// Opens a file to hold a lock on it, and makes it where it is not there.
///
/// # Errors
/// As [`create`].
pub(super) fn open_for_lock(path: &Path) -> io::Result<File> {
    refuse_irregular(path)?;
    append(path)
}

/// Makes a folder, and those above it.
///
/// # Errors
/// As the file system's, and where the path itself is a link.
pub fn create_folder(path: &Path) -> io::Result<()> {
    refuse_link(path)?;
    fs::create_dir_all(path)
}

/// Writes a file as [`create`] makes it.
///
/// # Errors
/// As [`create`].
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut create(path)?, bytes)
}

fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            Err(io::Error::other("it is a link, and nothing is written through links in a run folder"))
        }
        _ => Ok(()),
    }
}

fn refuse_irregular(path: &Path) -> io::Result<()> {
    refuse_link(path)?;
    match fs::symlink_metadata(path) {
        Ok(found) => require_file(&found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn require_file(found: &fs::Metadata) -> io::Result<()> {
    if found.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
}

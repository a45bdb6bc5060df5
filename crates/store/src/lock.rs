//! Two processes never write one run.

use super::files;
use crate::Error;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

const FILE: &str = "lock";
const TRY_COUNT: u32 = 5;

/// Held while a process writes the run; without a file where the file system has no locks.
pub(super) struct Lock(
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "it is there to be held"))] Option<File>,
);

impl Lock {
    /// # Errors
    /// Where another process holds it, or the folder can't be written.
    pub fn take(folder: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::RunFolder { path: folder.to_owned(), reason };
        let file = files::open_for_lock(&folder.join(FILE)).map_err(|error| failed(error.to_string()))?;
        for _ in 0..TRY_COUNT {
            match file.try_lock() {
                Ok(()) => return Ok(Self(Some(file))),
                // It may be a reader who asks whether it is held.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
                // Better a record without a lock than none.
                Err(TryLockError::Error(_)) => return Ok(Self(None)),
            }
        }
        Err(Error::RunTaken { path: folder.to_owned() })
    }

    /// Whether the file system can tell that no other process has it.
    #[cfg(feature = "parquet")]
    pub fn is_certain(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a process holds it at this moment.
    pub fn is_held(folder: &Path) -> bool {
        let Ok(file) = files::open(&folder.join(FILE)) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

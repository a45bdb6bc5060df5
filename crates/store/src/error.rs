//! What can go wrong with a run folder.

use std::path::PathBuf;

/// Errors name the object and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run folder, or a file in it, that can't be made or written.
    #[error("run folder {}: {reason}; name a place that can be written, or leave the run folder out", path.display())]
    RunFolder {
        /// The folder or file.
        path: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// A run folder that another process holds the lock of.
    #[error("run folder {}: another process is writing it; stop that one, or wait for its end", path.display())]
    RunTaken {
        /// The run folder.
        path: PathBuf,
    },
    /// A run folder to go on with that is of other parameters, by path or shape.
    #[error(
        "run folder {}: it is of another model, or of another selection: {expected} parameters were observed, and these are {found}; resume with the same model and `select`",
        path.display()
    )]
    OtherModel {
        /// The run folder.
        path: PathBuf,
        /// Parameters that the run has.
        expected: usize,
        /// Parameters that the scope would observe.
        found: usize,
    },
    /// A run folder, or a file of it, that is missing, damaged, or of a newer form.
    #[error("{}: {reason}", path.display())]
    UnreadableRun {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
}

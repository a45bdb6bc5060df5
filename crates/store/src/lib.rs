//! Run folders: written as training goes, and read back.
//!
//! `docs/run-format.md` has the form. A [`Run`] reads one; [`RunWriter`] is what a scope writes with. Reading needs
//! neither a GPU nor burn.
//!
//! `writer` is the thread that writes: records become rows (`tables`, `rows`, `columns`), rows batches of a stream
//! (`segment`), and the `overview`. `run` reads them back through `source` (a stream's `frames`, or Parquet) into
//! records, `curves` into a few spans of steps, `cells` as they lie. `compact` turns closed streams into Parquet;
//! `tensorboard` writes event files; `flight` keeps the last records for snapshots; `reading` is a run in words;
//! `follower` is what a live view holds of a run, whatever its length (`trace` of a figure over all tensors);
//! `manifest` is `run.json`.

#![warn(missing_docs)]

mod cells;
mod columns;
#[cfg(feature = "parquet")]
mod compact;
mod curves;
mod error;
mod figures;
#[doc(hidden)]
pub mod files;
mod flight;
mod follower;
mod frames;
mod lines;
mod lock;
mod manifest;
mod overview;
#[cfg(feature = "parquet")]
mod parquet;
mod reading;
mod records;
mod run;
mod segment;
mod source;
mod tables;
mod tensorboard;
mod time;
mod trace;
mod worker;
mod writer;

pub use cells::Value;
pub use curves::Curves;
pub use error::Error;
pub use flight::SNAPSHOT_COUNT_MAX;
pub use follower::Follower;
pub use manifest::{FINDINGS, Manifest, SCHEMA_VERSION, Segment};
#[doc(hidden)]
pub use manifest::{Missed, RunStart};
pub use overview::{Envelope, FOLDER as OVERVIEW};
pub use reading::{Headline, LossReading, ParameterReading, Reading, UpdateReading};
pub use run::{Run, Series, SeriesName, TensorRow};
pub use tensorboard::{Buckets, EventWriter, Tensorboard};
pub use trace::{Trace, TracePoint};
pub use writer::TENSORBOARD;
#[doc(hidden)]
pub use writer::{RunPlace, RunWriter};

//! Run folders: written as training goes, and read back.
//!
//! `docs/run-format.md` has the form. A [`Run`] reads one; [`RunWriter`] is what a scope writes with.

mod cells;
mod columns;
#[cfg(feature = "parquet")]
mod compact;
mod curves;
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
mod rows;
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
#[cfg(feature = "engine")]
pub(crate) use flight::SNAPSHOT_COUNT_MAX;
pub use follower::Follower;
pub use manifest::{FINDINGS, Manifest, Missed, RunStart, SCHEMA_VERSION, Segment};
pub use overview::{Envelope, FOLDER as OVERVIEW};
pub use reading::{Headline, LossReading, ParameterReading, Reading, UpdateReading};
pub use run::{Run, Series, SeriesName, TensorRow};
pub use tensorboard::{Buckets, EventWriter, Tensorboard};
pub use trace::{Trace, TracePoint};
pub use writer::{RunPlace, RunWriter, TENSORBOARD};

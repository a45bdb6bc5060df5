//! A stethoscope for training. Every gradient tensor of a network that trains with [burn](https://burn.dev) on wgpu is
//! reduced to a few figures, at every step, where it lies on the GPU, by hand-written WGSL. 68 bytes a tensor (336 of
//! the full set) come back a step or two later, and the training thread does not wait for them.
//!
//! Hold one [`Scope`], and after each backward pass give it the gradients: its documentation has the loop. [`snapshot`]
//! is the same for a single look.
//!
//! # Features
//! - `engine` (default): scopes, on wgpu.
//! - `store` (default): run folders, written and read, and TensorBoard.
//! - `parquet`: closed segments of run folders become Parquet, and are read as such.
//! - `cpu`: [`DeviceChoice::Cpu`], burn's pure-Rust backend observed by the CPU twins.
//! - `models`: the networks and the data sets that the command and the examples train on.
//! - `fusion`, `autotune`: turn burn's own features of that name on. gradscope works with either state.
//!
//! # Internals
//! Arrows point down: a module uses what stands below it, never above.
//! - [`learner`]: scopes behind a handle that a model carries through burn's `Learner`.
//! - `scope`: [`Scope`]; `builder` checks settings, `rules` those of the diagnoses, `selection` says which parameters
//!   a pattern means, `schedule` and `survey` what is due, `step` describes one step, `walk` visits the module,
//!   `observer` holds the engine, `host` is the one without a GPU, `parcel` is what passes between these, `diagnosing`
//!   says who is told of findings, `capture` writes raw tensors, `events` keeps what nobody has polled, `numbering`
//!   gives steps their numbers, `notices` says a thing once and counts it from then on, `recording` hands a step that
//!   has come back to the run folder and the rules, `run_start` fills in the manifest.
//! - `engine`: a step's tensors from the hand-off to the map (`averages`, `survey`), and what comes back (`read`).
//! - `store`: the run folder. `writer` is the thread that writes: records become rows (`tables`, `rows`, `columns`),
//!   rows batches of a stream (`segment`), and the `overview`; `run` reads them back through `source` (a stream's
//!   `frames`, or Parquet) into records, `curves` into a few spans of steps, `cells` as they lie; `compact` turns
//!   closed streams into Parquet; `tensorboard` writes event files; `flight` keeps the last records for snapshots;
//!   `reading` is a run in words; `follower` is what a live view holds of a run, whatever its length (`trace` of a
//!   figure over all tensors); `manifest` is `run.json`.
//! - `summary`: a run as tables. [`diagnosis`]: one rule a file, records in, findings out; `history` is what they weigh
//!   a step against, `watch` makes findings of verdicts, `coverage` says which rules could judge a run.
//! - [`device`](mod@device): the burn device that training runs on, with the wgpu handles behind it.
//! - `bridge`: burn tensors to buffer slices; the only file that names cubecl types.
//! - `kernels`: one launcher a shader of `shaders/`, same stem; `paged` is what those share that read burn's buffers,
//!   `reduction` the two that make summaries. `cpu`: their twins.
//! - `gpu`: device and limits, `numbers` that shaders share, the words of a record, shader composition, dispatch plan,
//!   staging ring, the GPU's clock (`timer`).
//! - `survey`: what histograms, channels and sign maps are over, whichever engine counts.
//! - `models`, `data`: what the command and the examples train; nothing above uses them.
//! - [`record`]: what a step leaves. [`stats`]: the summaries as monoids. `error`.
//!
//! The path of one gradient: `Step::gradients` clones handles; `Step::submit` hands them to burn's device (`bridge`),
//! where `Engine::observe` groups them by buffer (`gpu::Plan`), records `grad_reduce` and `tensor_reduce` in the form
//! that the scope's groups ask for, copies summaries and scalars to a staging buffer and asks for its map
//! (`gpu::Ring`); `Scope::poll` decodes what has come back, in order, and records it.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

#[cfg(feature = "engine")]
mod bridge;
pub mod cpu;
#[cfg(feature = "models")]
pub mod data;
#[cfg(feature = "engine")]
pub mod device;
pub mod diagnosis;
#[cfg(feature = "engine")]
mod engine;
mod error;
#[cfg(feature = "engine")]
mod gpu;
#[cfg(feature = "engine")]
mod kernels;
#[cfg(feature = "engine")]
pub mod learner;
#[cfg(feature = "models")]
pub mod models;
pub mod record;
#[cfg(feature = "engine")]
mod scope;
pub mod stats;
#[cfg(feature = "store")]
pub mod store;
mod summary;
#[cfg(feature = "engine")]
mod survey;

#[cfg(feature = "engine")]
pub use device::{Device, DeviceChoice, device};
pub use error::Error;
#[cfg(feature = "engine")]
pub use error::ModelTooLarge;
pub use record::{Event, Finding, Notice, NoticeKind, RunStatus, StepRecord};
#[cfg(feature = "engine")]
pub use scope::{Finished, GradientSource, Schedule, Scope, ScopeBuilder, Span, Step, WhenFull, snapshot};
pub use stats::{Group, Groups, TensorSummary};
#[cfg(feature = "store")]
pub use store::Run;
pub use summary::{Row as SummaryRow, Summary};
#[cfg(feature = "engine")]
pub use survey::SignMap;

/// What the tests look into and nobody else should.
#[cfg(feature = "engine")]
#[doc(hidden)]
pub mod internals {
    pub use crate::bridge::{BURN_FUSION, BURN_VERSION};
    pub use crate::gpu::{Form, PretendLimits, compose_for_tests};
    pub use crate::kernels::paged::STRUCT_BYTES;
}

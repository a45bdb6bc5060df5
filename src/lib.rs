//! Statistics of every gradient of a network that trains with [burn](https://burn.dev) on wgpu, at every step, for every
//! tensor. Hand-written WGSL reduces the gradient buffers where they lie on the GPU. About 70 bytes a tensor (340 of the full
//! set) come back a step or two later, and the training thread does not wait for them.
//!
//! Hold one [`Scope`], and after each backward pass give it the gradients: its documentation has the loop. [`snapshot`]
//! is the same for a single look.
//!
//! # Features
//! - `burn` (default): scopes on burn's wgpu device, run folders, and TensorBoard. Without it the crate holds
//!   [`Reducer`], which reduces any wgpu buffers, and the CPU twins of the shaders ([`cpu`]).
//! - `parquet`: closed segments of run folders become Parquet, and are read as such.
//! - `cpu`: [`DeviceChoice::Cpu`], burn's pure-Rust backend observed by the CPU twins.
//! - `fusion`, `autotune`: turn burn's own features of that name on. gradscope works with either state.
//!
//! # Internals
//! Packages are layers, and their arrows point down: a module uses what stands below it, never above.
//! - `gradscope-cli` (`cli/`): the command, its dashboard, pictures and reports.
//! - `gradscope-models` (`crates/models/`): networks and data sets for the command, the examples and the tests.
//! - `gradscope`: this package. `scope` holds what knows burn, `reduce` what does not.
//! - `gradscope-store` (`crates/store/`): run folders. Re-exported as [`store`].
//! - `gradscope-record` (`crates/record/`): [`stats`] (the summaries as monoids), [`record`] (what a step leaves),
//!   [`diagnosis`] (records in, findings out), and the summary of a run as tables. No GPU, no burn, no files.
//!
//! In `scope`, `builder` checks settings, `selection` says which parameters a pattern means, `schedule` and `survey` what is
//! due, `comparing` which step each is compared with, `step` describes one step and `scalar` the numbers it takes, `walk`
//! visits the module. `observer` has the trait of both engines: `gpu_engine` is the GPU's half on the training thread and
//! `engine` its half on burn's (a step's tensors from the hand-off to the map; `read` decodes what comes back),
//! `cpu_engine` the one without a GPU; `parcel` is what passes between these. `bridge` turns burn tensors into buffer
//! slices, and is the only file that names cubecl types. `diagnosing` hands findings to whoever asked for them, `capture` writes raw tensors,
//! `events` keeps what nobody has polled, `numbering` gives steps their numbers, `notices` reports a thing once and
//! counts it from then on, `recording` hands a step that has come back to the run folder and the rules, `run_start` fills
//! in the manifest. [`device`](mod@device) opens the burn device with the wgpu handles behind it, and [`learner`] holds
//! scopes behind a handle that a model carries through burn's `Learner`.
//!
//! In `reduce`, `gpu` holds the device and its limits, `numbers` that shaders share, the words of a record, shader
//! composition, the dispatch plan, the staging ring, and the GPU's clock (`timer`). `kernels` has one launcher a shader
//! of `shaders/`, same stem; `paged` is what those share that read buffers of others, `reduction` the two that make
//! summaries. [`cpu`] has their twins. `history` decides what a step is compared with, on either engine. `survey` says what histograms, channels and sign maps are over, whichever engine
//! counts.
//!
//! The path of one gradient: `Step::gradients` clones handles; `Step::submit` hands them to burn's device (`bridge`),
//! where `Engine::observe` groups them by buffer (`gpu::Plan`), records `grad_reduce` and `tensor_reduce` in the form
//! that the scope's groups ask for, copies summaries and scalars to a staging buffer and asks for its map
//! (`gpu::Ring`); `Scope::poll` decodes what has come back, in order, and records it.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

#[cfg_attr(not(feature = "burn"), allow(dead_code, unused_imports, reason = "scopes use more of it"))]
mod reduce;
#[cfg(feature = "burn")]
mod scope;

pub use gradscope_record::diagnosis;
pub use gradscope_record::record::{self, Event, Finding, Notice, NoticeKind, RunStatus, StepRecord};
pub use gradscope_record::stats::{self, Stats, TensorSummary};
pub use gradscope_record::summary::{Row as SummaryRow, Summary};
pub use reduce::{EncodedStep, ModelTooLarge, ReduceError, Reducer, TensorInput, TensorOutput, TensorSlice, cpu};

#[cfg(feature = "burn")]
pub use gradscope_store::{self as store, Run};
#[cfg(feature = "burn")]
pub use reduce::SignMap;
#[cfg(feature = "burn")]
pub use scope::{
    Device, DeviceChoice, Error, Finished, GradientSource, ScalarSource, Schedule, Scope, ScopeBuilder, Span, Step,
    WhenFull, device, learner, snapshot,
};

/// What the tests look into and nobody else should.
#[cfg(feature = "burn")]
#[doc(hidden)]
pub mod internals {
    pub use crate::reduce::gpu::{Form, PretendLimits, compose_for_tests};
    pub use crate::reduce::kernels::paged::STRUCT_BYTES;
    pub use crate::scope::bridge::{BURN_FUSION, BURN_VERSION};
}

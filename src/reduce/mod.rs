//! Reductions over buffers on the GPU, and their twins over host memory. Nothing here knows burn.
//!
//! `gpu`: device and limits, `numbers` that shaders share, the words of a record, shader composition, dispatch plan,
//! staging ring, the GPU's clock (`timer`). `kernels`: one launcher a shader of `shaders/`, same stem; `paged` is what
//! those share that read buffers of others, `reduction` the two that make summaries. [`cpu`]: their twins. `survey`:
//! what histograms, channels and sign maps are over, whichever engine counts. `history`: what a
//! step is compared with. [`Reducer`] runs the main kernel by itself.

pub mod cpu;
mod error;
pub(crate) mod gpu;
pub(crate) mod history;
pub(crate) mod kernels;
mod reducer;
pub(crate) mod survey;

pub use error::{ModelTooLarge, ReduceError};
pub use reducer::{EncodedStep, Reducer, TensorInput, TensorOutput, TensorSlice};
pub use survey::SignMap;

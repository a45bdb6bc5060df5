//! Reductions over buffers on the GPU, and their twins over host memory. Nothing here knows burn.
//!
//! `gpu`: device and limits, `numbers` that shaders share, the words of a record, shader composition, dispatch plan,
//! staging ring, the GPU's clock (`timer`). `kernels`: one launcher a shader of `shaders/`, same stem; `paged` is what
//! those share that read buffers of others, `reduction` the two that make summaries. [`cpu`]: their twins. `survey`:
//! what histograms, channels and sign maps are over, whichever engine counts.

pub mod cpu;
pub(crate) mod gpu;
pub(crate) mod kernels;
#[cfg(feature = "burn")]
pub(crate) mod survey;

#[cfg(feature = "burn")]
pub use survey::SignMap;

/// The selected parameters do not fit the adapter's limits.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{what} would need {needed} {unit}, and this adapter allows {limit}; select fewer tensors")]
pub struct ModelTooLarge {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) needed: u64,
    pub(crate) limit: u64,
}

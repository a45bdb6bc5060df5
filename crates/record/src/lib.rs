//! What gradscope knows of a training run, apart from how it was measured: [`stats`] has the statistics of a tensor as
//! monoids, [`record`] what one step leaves, [`diagnosis`] the rules that read records, and [`summary`] a run as tables.
//!
//! Nothing here needs a GPU, burn or files. [`gradscope`](https://docs.rs/gradscope) measures, and
//! [`gradscope-store`](https://docs.rs/gradscope-store) keeps the records in run folders.

#![warn(missing_docs)]

pub mod diagnosis;
pub mod record;
pub mod stats;
pub mod summary;

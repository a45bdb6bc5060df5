//! What every kernel stands on: the device, shader composition, dispatch maths, the staging ring.

mod context;
mod numbers;
mod plan;
mod readback;
mod shader;
mod text;
mod timer;
mod words;

pub(crate) use context::Gpu;
#[doc(hidden)]
pub use context::PretendLimits;
pub(crate) use numbers::{TABLE_COUNT, TILE_LEN, VECTOR_BYTES};
pub(crate) use plan::{Chunk, Cut, DispatchBatch, Order, Plan, Reads, Slice, Span};
pub(crate) use readback::{Flight, Ring};
#[doc(hidden)]
pub use shader::compose_for_tests;
pub(crate) use shader::{
    Shaders, average_wgsl, fold_workgroup_len, grad_reduce_wgsl, histogram_wgsl, segment_reduce_wgsl,
    tensor_reduce_wgsl,
};
pub(crate) use timer::Timer;
#[doc(hidden)]
pub use words::Form;
pub(crate) use words::{Encoded, RecordLayout, SEGMENT_WORDS, segment};

//! What every kernel stands on: the device, shader composition, dispatch maths, the staging ring.

mod context;
mod plan;
mod readback;
mod shader;

pub(crate) use context::Gpu;
#[doc(hidden)]
pub use context::PretendLimits;
pub use plan::ModelTooLarge;
pub(crate) use plan::{Chunk, GradSlice, Group, Plan, Span};
pub(crate) use readback::{Flight, Ring};
#[doc(hidden)]
pub use shader::compose_for_tests;
pub(crate) use shader::{
    FIRST_PAGE_BINDING, RECORD_LEN, Shaders, TILE_LEN, Word, grad_reduce_wgsl, tensor_reduce_wgsl,
};

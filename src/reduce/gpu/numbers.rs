//! Numbers that shaders, the dispatch and the words of a record share.

/// Invocations of a workgroup, in every kernel but a narrow `tensor_reduce`.
pub(crate) const WORKGROUP_LEN: u32 = 256;
/// Those of a workgroup that folds the few chunks of a small tensor.
pub(super) const NARROW_WORKGROUP_LEN: u32 = 64;
/// Invocations that fold a word of a workgroup's lanes together.
pub(super) const SEGMENT_COUNT: u32 = 8;
/// Bytes of a vector load. cubecl aligns every tensor, slices of tensors included, to more than that.
pub(crate) const VECTOR_BYTES: u64 = 16;
/// Vector loads of an invocation and tile.
pub(super) const LOAD_COUNT: u32 = 8;
const _: () =
    assert!(LOAD_COUNT == 8, "`fast_sums` adds eight vectors, and a plane of state has a bit for each element of them");
/// Elements a workgroup classifies at a time.
pub(crate) const TILE_LEN: u32 = WORKGROUP_LEN * 4 * LOAD_COUNT;
/// Squares of magnitudes from 2^-45 to 2^45 can be added 2^32 times in f32; others are scaled by 2^85.
pub(super) const RANGE_LOG2: u32 = 45;
pub(crate) const SCALE_LOG2: u32 = 85;
/// Words of a `Moments`.
pub(super) const MOMENTS_LEN: usize = 6;

/// Flags of a span at a step: the gradient is there, its state is that of the step to compare with, the parameter is
/// there, so is the parameter before its last move, and the state is to be this step's.
pub(crate) const HAS_GRADIENT: u32 = 1;
pub(crate) const HAS_PREVIOUS: u32 = 2;
pub(crate) const HAS_PARAM: u32 = 4;
pub(crate) const HAS_UPDATE: u32 = 8;
pub(crate) const KEEPS: u32 = 16;

/// Tensors that a kernel reads an element of at a time, each through pages of its own: gradient, parameter, and the
/// parameter before its last move.
pub(crate) const ROLE_COUNT: usize = 3;
/// Bindings of the tables every kernel is given; those of its outputs follow, then pages.
pub(crate) const TABLE_COUNT: u32 = 3;

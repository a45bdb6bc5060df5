//! The CPU twins of the shaders, same stem (`grad_reduce` is that of `tensor_reduce.wgsl` too): the second implementation
//! that shaders are checked against, and the engine where there is no GPU.

pub mod average;
pub mod grad_reduce;
pub mod histogram;
pub mod segment_reduce;

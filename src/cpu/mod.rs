//! One twin a shader, same stem: the second implementation that shaders are checked against, and
//! the engine where there is no GPU.

pub mod average;
pub mod grad_reduce;
pub mod histogram;
pub mod segment_reduce;

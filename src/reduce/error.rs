//! What can go wrong with a reduction.

/// The selected parameters do not fit the adapter's limits.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{what} would need {needed} {unit}, and this adapter allows {limit}; select fewer tensors")]
pub struct ModelTooLarge {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) needed: u64,
    pub(crate) limit: u64,
}

/// Why a step was not reduced. Errors name the object and the remedy.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum ReduceError {
    /// Another number of tensors than the reducer was made for.
    #[error("{found} tensors were given, and the reducer was made for {expected}; give one input for each")]
    WrongCount {
        /// Tensors of the reducer.
        expected: usize,
        /// Tensors that were given.
        found: usize,
    },
    /// A slice that a shader can't read its tensor from.
    #[error(
        "tensor {tensor}: {numel} f32 at byte {offset_bytes} of a buffer of {buffer_bytes} bytes can't be bound; the buffer needs BufferUsages::STORAGE and whole vectors of 16 bytes to the tensor's end, and the offset is a multiple of 16"
    )]
    BadSlice {
        /// Its index.
        tensor: usize,
        /// Its elements.
        numel: u64,
        /// Where it was said to begin.
        offset_bytes: u64,
        /// Bytes of the buffer.
        buffer_bytes: u64,
    },
    /// The summaries did not come back.
    #[error("the summaries can't be read back: {reason}")]
    NotReadBack {
        /// What wgpu said.
        reason: String,
    },
    /// The bytes are not the summaries of the step that was to be read.
    #[error("the summaries are those of another step; read a step before the next one is encoded, or copy them apart")]
    OtherStep,
}

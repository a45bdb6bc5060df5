//! What can go wrong before observing starts, and at the calls that ask to hear of it.

use crate::stats::EpsilonError;
use std::path::PathBuf;

/// How to get an adapter where there is none.
#[cfg(feature = "engine")]
pub const DRIVER_HINT: &str = "Install a Vulkan driver: on Debian and Ubuntu `apt-get install \
     mesa-vulkan-drivers libvulkan1` brings a software one, on Fedora `dnf install mesa-vulkan-drivers`, on \
     Arch `pacman -S vulkan-swrast`; macOS and Windows bring their own";

/// Errors name the object and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[cfg(feature = "engine")]
    #[error("no wgpu adapter: {reason}. {}", DRIVER_HINT)]
    NoAdapter { reason: String },
    #[error("wgpu can't start: {reason}; update the graphics driver, or ask for the device `cpu`")]
    DeviceFailed { reason: String },
    /// [`DeviceChoice::Cpu`](crate::DeviceChoice) without the feature that has it.
    #[error("the CPU was asked for, and gradscope was built without its feature `cpu`; turn it on, or ask for gpu")]
    CpuNotBuilt,
    #[error(
        "wgpu is already running in this process without gradscope ({reason}); call `gradscope::device()` before the first tensor, or attach your own with `gradscope::Device::attach`"
    )]
    DeviceTaken { reason: String },
    #[error("unknown device `{0}`; use auto, gpu or cpu")]
    UnknownDevice(String),
    #[error(
        "parameter `{path}` lives on {found}, and the scope observes {expected}; build the model on the scope's device"
    )]
    WrongDevice { path: String, found: String, expected: String },
    #[error("pattern `{pattern}` is no regular expression: {reason}; `.*weight` is one, for instance")]
    BadPattern { pattern: String, reason: String },
    #[error("pattern `{pattern}` matches none of the model's {count} parameters; the first ones are: {examples}")]
    NothingSelected { pattern: String, count: usize, examples: String },
    #[error("the schedule names no step: {reason}; `Schedule::every(1)` is every step")]
    BadSchedule { reason: String },
    #[error(
        "a sign map of {columns} columns{} shows nothing of {total} elements; columns and elements are needed",
        .zoom.as_ref().map_or(String::new(), |zoom| format!(" over elements {}..{}", zoom.start, zoom.end))
    )]
    EmptySignMap { columns: usize, zoom: Option<std::ops::Range<u64>>, total: u64 },
    #[error("captures are written into a run folder, and there is none; name its place with `run`")]
    CaptureWithoutRun,
    #[error("TensorBoard files are written beside a run folder, and there is none; name its place with `run`")]
    TensorboardWithoutRun,
    #[error("average factor {0} is not in [0, 1); 0.9 is the default")]
    BadAverageFactor(f64),
    #[error("the model has no float parameters, so there is nothing to observe; is it the right module?")]
    NoParameters,
    #[error(
        "parameter `{path}` has {numel} elements; a tensor is observed up to 2^32 - 1: leave it out with `exclude`"
    )]
    TensorTooLarge { path: String, numel: u64 },
    #[error(transparent)]
    Epsilon(#[from] EpsilonError),
    #[error("a staging ring needs at least one step, and ring_len is 0; leave it out for the default")]
    EmptyRing,
    #[cfg(feature = "engine")]
    #[error(transparent)]
    ModelTooLarge(#[from] ModelTooLarge),
    #[error(
        "wgpu refused the buffers that observing needs: {reason}. Where memory is short, observe fewer tensors with `select`, or without `ema`, `cosine` and histograms; where the device is lost, start anew"
    )]
    NoRoomOnGpu { reason: String },
    #[error("run folder {}: {reason}; name a place that can be written, or leave the run folder out", path.display())]
    RunFolder { path: PathBuf, reason: String },
    #[error("run folder {}: another process is writing it; stop that one, or wait for its end", path.display())]
    RunTaken { path: PathBuf },
    #[error(
        "run folder {}: it is of another model, or of another selection: {expected} parameters were observed, and these are {found}; resume with the same model and `select`",
        path.display()
    )]
    OtherModel { path: PathBuf, expected: usize, found: usize },
    #[error("{}: {reason}", path.display())]
    UnreadableRun { path: PathBuf, reason: String },
    #[error("step {0} was not observed, or its record was handed out already; read it after `submit` and before `poll`")]
    UnknownStep(u64),
    #[error("step {step} was not observed: {reason}; later steps are, unless the device is lost")]
    StepLost { step: u64, reason: String },
}

/// The selected parameters do not fit the adapter's limits.
#[cfg(feature = "engine")]
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{what} would need {needed} {unit}, and this adapter allows {limit}; select fewer tensors")]
pub struct ModelTooLarge {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) needed: u64,
    pub(crate) limit: u64,
}

//! What can go wrong before observing starts, and at the calls that ask to hear of it.

use crate::reduce::ModelTooLarge;
use gradscope_record::stats::EpsilonError;

/// How to get an adapter where there is none.
pub const DRIVER_HINT: &str = "Install a Vulkan driver: on Debian and Ubuntu `apt-get install \
     mesa-vulkan-drivers libvulkan1` brings a software one, on Fedora `dnf install mesa-vulkan-drivers`, on \
     Arch `pacman -S vulkan-swrast`; macOS and Windows bring their own";

/// Errors name the object and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// wgpu finds no adapter: [`Device::open`](crate::Device::open).
    #[error("no wgpu adapter: {reason}. {}", DRIVER_HINT)]
    NoAdapter {
        /// What wgpu or burn said.
        reason: String,
    },
    /// An adapter is there, and wgpu can open no device on it.
    #[error("wgpu can't start: {reason}; update the graphics driver, or ask for the device `cpu`")]
    DeviceFailed {
        /// What wgpu said.
        reason: String,
    },
    /// [`DeviceChoice::Cpu`](crate::DeviceChoice) without the feature that has it.
    #[error("the CPU was asked for, and gradscope was built without its feature `cpu`; turn it on, or ask for gpu")]
    CpuNotBuilt,
    /// burn's wgpu device was started before [`device()`](crate::scope::device()) could take its handles.
    #[error(
        "wgpu is already running in this process without gradscope ({reason}); call `gradscope::device()` before the first tensor, or attach your own with `gradscope::Device::attach`"
    )]
    DeviceTaken {
        /// What burn said.
        reason: String,
    },
    /// A text that is no [`DeviceChoice`](crate::DeviceChoice): the text.
    #[error("unknown device `{0}`; use auto, gpu or cpu")]
    UnknownDevice(String),
    /// A parameter lives on another device than the scope's: [`ScopeBuilder::build`](crate::ScopeBuilder::build).
    #[error(
        "parameter `{path}` lives on {found}, and the scope observes {expected}; build the model on the scope's device"
    )]
    WrongDevice {
        /// The parameter.
        path: String,
        /// Where it lives.
        found: String,
        /// Where the scope observes.
        expected: String,
    },
    /// A pattern that is no regular expression.
    #[error("pattern `{pattern}` is no regular expression: {reason}; `.*weight` is one, for instance")]
    BadPattern {
        /// As it was given.
        pattern: String,
        /// Why, in the parser's words.
        reason: String,
    },
    /// A pattern that matches no parameter, or an exclusion that leaves none.
    #[error("pattern `{pattern}` matches none of the model's {count} parameters; the first ones are: {examples}")]
    NothingSelected {
        /// As it was given.
        pattern: String,
        /// Parameters that it was held against.
        count: usize,
        /// Paths of the first five of them.
        examples: String,
    },
    /// A schedule that names no step, such as `Schedule::every(0)`.
    #[error("the schedule names no step: {reason}; `Schedule::every(1)` is every step")]
    BadSchedule {
        /// Which of its rules, and why.
        reason: String,
    },
    /// A sign map without columns, or whose zoom lies past the last element.
    #[error(
        "a sign map of {columns} columns{} shows nothing of {total} elements; columns and elements are needed",
        .zoom.as_ref().map_or(String::new(), |zoom| format!(" over elements {}..{}", zoom.start, zoom.end))
    )]
    EmptySignMap {
        /// Columns that were asked for.
        columns: usize,
        /// Elements that were asked for; `None` for all.
        zoom: Option<std::ops::Range<u64>>,
        /// Elements of the selected parameters.
        total: u64,
    },
    /// `capture` was asked for, and no run folder.
    #[error("captures are written into a run folder, and there is none; name its place with `run`")]
    CaptureWithoutRun,
    /// `tensorboard` was asked for, and no run folder.
    #[error("TensorBoard files are written beside a run folder, and there is none; name its place with `run`")]
    TensorboardWithoutRun,
    /// An average factor outside of [0, 1): the factor.
    #[error("average factor {0} is not in [0, 1); 0.9 is the default")]
    BadAverageFactor(f64),
    /// The module has no float parameter.
    #[error("the model has no float parameters, so there is nothing to observe; is it the right module?")]
    NoParameters,
    /// A parameter of 2^32 elements or more.
    #[error(
        "parameter `{path}` has {numel} elements; a tensor is observed up to 2^32 - 1: leave it out with `exclude`"
    )]
    TensorTooLarge {
        /// The parameter.
        path: String,
        /// Its elements.
        numel: u64,
    },
    /// Epsilons that are not finite, not positive, or do not ascend.
    #[error(transparent)]
    Epsilon(#[from] EpsilonError),
    /// A staging ring of no steps.
    #[error("a staging ring needs at least one step, and ring_len is 0; leave it out for the default")]
    EmptyRing,
    /// The selected parameters outgrow one of the adapter's limits.
    #[error(transparent)]
    ModelTooLarge(#[from] ModelTooLarge),
    /// wgpu refused a buffer when the scope was built: there is no memory for it, or the device is lost.
    #[error(
        "wgpu refused the buffers that observing needs: {reason}. Where memory is short, observe fewer tensors with `select`, or without `ema`, `cosine` and histograms; where the device is lost, start anew"
    )]
    NoRoomOnGpu {
        /// What wgpu said.
        reason: String,
    },
    /// A run folder that can't be made, written, gone on with or read.
    #[error(transparent)]
    Store(#[from] gradscope_store::Error),
    /// [`Scope::read`](crate::Scope::read) of a step that was not submitted or not due, or whose record has been
    /// polled: its number.
    #[error(
        "step {0} was not observed, or its record was handed out already; read it after `submit` and before `poll`"
    )]
    UnknownStep(u64),
    /// [`Hook::over`](crate::scope::learner::Hook::over) scopes whose records can't be merged.
    #[error(
        "scopes that watch together watch one model's parameters, and these part at `{path}`; build them with the same model and `select`"
    )]
    ScopesDiffer {
        /// The first parameter that is not at the same place in all.
        path: String,
    },
    /// A step that was dropped, or whose figures did not come back.
    #[error("step {step} was not observed: {reason}; later steps are, unless the device is lost")]
    StepLost {
        /// Its number.
        step: u64,
        /// Why.
        reason: String,
    },
}

//! The burn device that training runs on, together with the wgpu handles behind it.

pub use super::error::DRIVER_HINT;
use crate::Error;
use crate::reduce::gpu::Gpu;
use burn::tensor::Device as BurnDevice;
use burn_wgpu::{WgpuInitError, WgpuSetup};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Mutex;

/// Which device to train on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The GPU where there is an adapter, else the CPU; [`Device::fallback_reason`] tells which and why.
    #[default]
    Auto,
    /// wgpu or nothing.
    Gpu,
    /// burn's pure-Rust backend, observed by the CPU twins.
    Cpu,
}

impl FromStr for DeviceChoice {
    type Err = Error;
    /// "auto", "gpu" or "cpu".
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] for any other text.
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(Error::UnknownDevice(name.to_owned())),
        }
    }
}

/// An adapter that wgpu finds on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adapter {
    /// Name, graphics API and driver, as [`Device::describe`] has them.
    pub description: String,
    /// Such as `DiscreteGpu`, `IntegratedGpu` or `Cpu`.
    pub kind: String,
    /// Whether shaders may compute in f16.
    pub has_f16: bool,
}

/// What wgpu finds on this machine, whether burn would take it or not. Opens no device. In wgpu's order; empty without
/// a driver.
pub fn adapters() -> Vec<Adapter> {
    let backends = wgpu::Backends::all();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let found = pollster::block_on(instance.enumerate_adapters(backends));
    let facts = |adapter: &wgpu::Adapter| Adapter {
        description: describe(&adapter.get_info()),
        kind: format!("{:?}", adapter.get_info().device_type),
        has_f16: adapter.features().contains(wgpu::Features::SHADER_F16),
    };
    found.iter().map(facts).collect()
}

fn describe(info: &wgpu::AdapterInfo) -> String {
    let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ");
    format!("{} ({}, {})", info.name, info.backend, driver.trim())
}

/// A burn device that a [`Scope`](crate::Scope) can observe. Dereferences to [`burn::tensor::Device`].
///
/// ```no_run
/// # fn main() -> Result<(), gradscope::Error> {
/// use gradscope::{Device, DeviceChoice};
///
/// let device = Device::open(DeviceChoice::Auto)?;
/// if let Some(reason) = device.fallback_reason() {
///     eprintln!("no GPU: {reason}");
/// }
/// println!("training on {}", device.describe());
/// let training = device.burn().clone().autodiff(); // for modules and tensors
/// # let _ = training;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Device {
    burn: BurnDevice,
    pub(crate) gpu: Option<Gpu>,
    fallback_reason: Option<String>,
}

/// The default wgpu device: the first adapter burn prefers.
///
/// Call it before the first tensor is made. Later calls return the same device.
///
/// # Errors
/// [`Error::NoAdapter`] where there is no adapter, [`Error::DeviceTaken`] where wgpu was started by somebody else,
/// [`Error::DeviceFailed`] where it can't start.
pub fn device() -> Result<Device, Error> {
    Device::open(DeviceChoice::Gpu)
}

impl Device {
    /// Opens the device to train on. wgpu's is opened once a process; later calls return it.
    ///
    /// # Errors
    /// Under [`DeviceChoice::Gpu`] as [`device`]: [`Error::NoAdapter`], [`Error::DeviceTaken`],
    /// [`Error::DeviceFailed`]. [`DeviceChoice::Auto`] falls back to the CPU on the first of these alone.
    /// [`DeviceChoice::Cpu`] and the fall-back need the feature `cpu`, and are [`Error::CpuNotBuilt`] and
    /// [`Error::NoAdapter`] without it.
    pub fn open(choice: DeviceChoice) -> Result<Self, Error> {
        match choice {
            DeviceChoice::Gpu => Self::gpu(),
            DeviceChoice::Cpu => Self::cpu(None),
            DeviceChoice::Auto => match Self::gpu() {
                Err(Error::NoAdapter { reason }) => Self::cpu(Some(reason)),
                other => other,
            },
        }
    }

    /// A burn device of your own and the setup it was registered with, as
    /// `burn::tensor::Device::wgpu_options().init_with_setup()` returns them. `setup` has to be the one that `burn` was
    /// made with: gradients of another wgpu device would be unreadable. Never fails; limits are looked at by
    /// [`ScopeBuilder::build`](crate::ScopeBuilder::build).
    pub fn attach(burn: BurnDevice, setup: &WgpuSetup) -> Self {
        Self { burn, gpu: Some(Gpu::new(&setup.adapter, &setup.device, &setup.queue)), fallback_reason: None }
    }

    /// The burn device, for modules and tensors. Training wants `.autodiff()` of it.
    pub fn burn(&self) -> &BurnDevice {
        &self.burn
    }

    /// Why [`DeviceChoice::Auto`] settled for the CPU, if it did.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Name, graphics API and driver of the adapter; the CPU's says so.
    pub fn describe(&self) -> String {
        match &self.gpu {
            Some(gpu) => describe(&gpu.info),
            None => "CPU (burn's pure-Rust backend, no wgpu)".into(),
        }
    }

    /// Whether a driver computes in software what a GPU would, or there is no GPU at all.
    pub fn is_software(&self) -> bool {
        self.gpu.as_ref().is_none_or(Gpu::is_software)
    }

    /// Limits that shape what gradscope dispatches, by name, in bytes and counts. Empty without an adapter.
    pub fn limits(&self) -> Vec<(&'static str, u64)> {
        let Some(gpu) = &self.gpu else { return vec![] };
        vec![
            ("bytes of a storage binding", gpu.binding_bytes_max),
            ("storage buffers of a shader stage", u64::from(gpu.storage_buffer_count_max)),
            ("workgroups along one dimension", u64::from(gpu.grid_len_max)),
            ("alignment of a storage binding, bytes", gpu.offset_alignment),
        ]
    }

    /// Whether the adapter computes in f16.
    #[doc(hidden)]
    pub fn has_f16(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| gpu.device.features().contains(wgpu::Features::SHADER_F16))
    }

    fn gpu() -> Result<Self, Error> {
        // burn registers a wgpu device once a process; the handles behind it are to be had only then.
        static DEFAULT: Mutex<Option<Device>> = Mutex::new(None);
        let mut default = DEFAULT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(device) = &*default {
            return Ok(device.clone());
        }
        let starting = BurnDevice::wgpu_options().init_with_setup_async();
        let (burn, setup) = pollster::block_on(starting).map_err(|error| match error {
            WgpuInitError::Registration { message } => Error::DeviceTaken { reason: message },
            WgpuInitError::AdapterUnavailable { message, .. } => Error::NoAdapter { reason: message },
            other => Error::DeviceFailed { reason: other.to_string() },
        })?;
        Ok(default.insert(Self::attach(burn, &setup)).clone())
    }

    #[cfg(feature = "cpu")]
    fn cpu(fallback_reason: Option<String>) -> Result<Self, Error> {
        Ok(Self { burn: BurnDevice::flex(), gpu: None, fallback_reason })
    }

    #[cfg(not(feature = "cpu"))]
    fn cpu(fallback_reason: Option<String>) -> Result<Self, Error> {
        let reason = fallback_reason.ok_or(Error::CpuNotBuilt)?;
        Err(Error::NoAdapter { reason: format!("{reason}, and gradscope was built without its feature `cpu`") })
    }
}

impl Deref for Device {
    type Target = BurnDevice;
    fn deref(&self) -> &BurnDevice {
        &self.burn
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&self.describe()).finish()
    }
}

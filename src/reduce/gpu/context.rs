//! The wgpu device whose buffers are reduced, and the limits that shape a dispatch.

use crate::reduce::ModelTooLarge;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Vulkan and DX12 address at most 2 GiB - 1 through one binding, whatever an adapter reports.
const BINDING_BYTES_MAX: u64 = (1 << 31) - 16;

/// Handles and limits. Clones share the device.
#[derive(Clone)]
pub(crate) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: Arc<wgpu::AdapterInfo>,
    /// Bytes one storage binding may cover, a multiple of 16.
    pub binding_bytes_max: u64,
    /// Storage buffers one shader stage may bind.
    pub storage_buffer_count_max: u32,
    /// Workgroups along one dimension of a dispatch.
    pub grid_len_max: u32,
    /// Alignment of a storage binding's offset, in bytes.
    pub offset_alignment: u64,
    /// Alignment of a uniform binding's offset, in bytes.
    pub uniform_alignment: u64,
}

/// Limits below the adapter's own, for tests.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PretendLimits {
    /// Buffers that a dispatch binds for each role.
    pub page_count: Option<u32>,
    /// Bytes that one storage binding may cover.
    pub binding_bytes: Option<u64>,
    /// Workgroups along one dimension.
    pub grid_len: Option<u32>,
    /// Not a limit: chunks, pages and the clock as on a discrete GPU, whatever the adapter is.
    pub discrete: bool,
}

impl PretendLimits {
    pub(crate) fn applied_to(&self, gpu: &Gpu) -> Gpu {
        let mut gpu = gpu.clone();
        gpu.binding_bytes_max = gpu.binding_bytes_max.min(self.binding_bytes.unwrap_or(u64::MAX));
        gpu.grid_len_max = gpu.grid_len_max.min(self.grid_len.unwrap_or(u32::MAX));
        if self.discrete {
            Arc::make_mut(&mut gpu.info).device_type = wgpu::DeviceType::DiscreteGpu;
        }
        gpu
    }
}

impl Gpu {
    pub fn new(adapter: &wgpu::Adapter, device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        // cubecl may ask the device for a binding size that no adapter has: the adapter's own limit holds.
        let (asked, has) = (device.limits(), adapter.limits());
        let binding_bytes = asked.max_storage_buffer_binding_size.min(has.max_storage_buffer_binding_size);
        Self {
            device: device.clone(),
            queue: queue.clone(),
            info: Arc::new(adapter.get_info()),
            binding_bytes_max: binding_bytes.min(asked.max_buffer_size).min(BINDING_BYTES_MAX) / 16 * 16,
            storage_buffer_count_max: asked.max_storage_buffers_per_shader_stage,
            grid_len_max: asked.max_compute_workgroups_per_dimension,
            offset_alignment: u64::from(asked.min_storage_buffer_offset_alignment),
            uniform_alignment: u64::from(asked.min_uniform_buffer_offset_alignment),
        }
    }

    /// Whether a driver computes in software.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// A buffer that kernels read or write, of at least 16 bytes.
    pub fn storage_buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(16),
            usage: usage | wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    }

    /// Runs what makes buffers or records commands on this thread, and hands an error of wgpu's back, which would
    /// otherwise panic here.
    ///
    /// # Errors
    /// What wgpu refuses: above all, an allocation.
    pub fn guarded<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [Validation, Internal, OutOfMemory].map(|filter| self.device.push_error_scope(filter));
        let done = work();
        // From the innermost: what uses a buffer that could not be had is invalid too, and that is not the cause.
        let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
        match errors.collect::<Vec<_>>().into_iter().flatten().next() {
            None => Ok(done),
            Some(wgpu::Error::OutOfMemory { .. }) => Err("the GPU has no memory left".into()),
            Some(error) => Err(error.to_string()),
        }
    }

    /// Asks how far the GPU has got: callbacks run in here.
    ///
    /// # Errors
    /// Where the device is lost, of which wgpu panics.
    pub fn poll(&self, poll: wgpu::PollType) -> Result<(), String> {
        match catch_unwind(AssertUnwindSafe(|| self.device.poll(poll))) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the device is lost".into()),
        }
    }

    /// # Errors
    /// Where a binding can't cover `needed` bytes, of `what`.
    pub fn fits_binding(&self, what: &'static str, needed: u64) -> Result<(), ModelTooLarge> {
        match self.binding_bytes_max {
            limit if needed > limit => Err(ModelTooLarge { what, unit: "bytes", needed, limit }),
            _ => Ok(()),
        }
    }

    /// A layout entry for a storage buffer visible to compute shaders.
    pub fn storage_entry(binding: u32, read_only: bool) -> wgpu::BindGroupLayoutEntry {
        Self::buffer_entry(binding, wgpu::BufferBindingType::Storage { read_only }, None)
    }

    /// A layout entry for a uniform of `bytes` bytes whose offset is given with the dispatch.
    pub fn uniform_entry(binding: u32, bytes: u64) -> wgpu::BindGroupLayoutEntry {
        Self::buffer_entry(binding, wgpu::BufferBindingType::Uniform, NonZeroU64::new(bytes))
    }

    fn buffer_entry(
        binding: u32,
        ty: wgpu::BufferBindingType,
        min_binding_size: Option<NonZeroU64>,
    ) -> wgpu::BindGroupLayoutEntry {
        wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: matches!(ty, wgpu::BufferBindingType::Uniform),
                min_binding_size,
            },
            count: None,
        }
    }
}

//! Devices that allow less than the adapter has: every dispatch is checked by wgpu against the device's own limits.

use crate::fixture::{Random, check};
use burn::tensor::Device as BurnDevice;
use burn_wgpu::WgpuSetup;
use gradscope::Device;
use gradscope::internals::PretendLimits;

/// Opens a device of its own, whose limits are these.
fn device_with(limits: wgpu::Limits) -> Device {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
    let adapter = adapter.expect("these tests need a wgpu adapter; software Vulkan will do");
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("no limit is above its own");
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let burn = BurnDevice::wgpu_options().setup(setup.clone()).init().expect("burn takes the device");
    Device::attach(burn, &setup)
}

/// More pages of gradients than a dispatch of either device can bind, since burn gives each large tensor its own.
fn check_on(device: &Device) {
    let mut random = Random::new(23);
    let lens: Vec<usize> = (0..30).map(|n| if n % 3 == 0 { 300_000 } else { 10 + n }).collect();
    let steps: Vec<Vec<_>> = (0..2).map(|_| lens.iter().map(|len| Some(random.gradients(*len))).collect()).collect();
    // Software drivers bind one page a role; a discrete GPU as many as its limits leave.
    let limits = PretendLimits { discrete: true, ..PretendLimits::default() };
    check(device, |builder| builder.pretend_limits(limits), &lens, &steps);
}

#[test]
fn every_set_runs_within_webgpus_default_limits() {
    check_on(&device_with(wgpu::Limits::default()));
}

/// Metal has 31 places for buffers of all kinds in a stage; wgpu keeps two of them.
#[test]
fn every_set_runs_within_metals_limits() {
    let buffers = 29;
    check_on(&device_with(wgpu::Limits {
        max_storage_buffers_per_shader_stage: buffers,
        max_buffers_and_acceleration_structures_per_shader_stage: buffers,
        ..wgpu::Limits::default()
    }));
}

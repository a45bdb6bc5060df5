//! One harness: every module shares the device, because burn registers one a process.

mod burn_training;
mod fixture;
mod layouts;
mod lifecycle;
mod oracle;
mod property;
mod shaders;
mod store;
mod sums;

//! One harness: every module shares the device, because burn registers one a process.

mod burn_training;
mod checked_in;
mod control;
mod diagnosis;
mod docs;
#[path = "../support/filled.rs"]
mod filled;
mod findings;
mod fixture;
mod follower;
mod fuzz;
mod groups;
mod layouts;
mod lifecycle;
mod limits;
mod load;
mod oracle;
mod property;
mod run_folder;
mod shaders;
mod shapes;
mod sheets;
mod store;
mod sums;
mod tensorboard;
mod truthful;

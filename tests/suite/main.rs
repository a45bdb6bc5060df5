//! One harness: every module shares the device, because burn registers one a process.

mod average;
mod burn_training;
mod checked_in;
mod control;
mod cosine;
mod diagnosis;
mod docs;
#[path = "../support/filled.rs"]
mod filled;
mod findings;
mod fixture;
mod follower;
mod fuzz;
mod groups;
mod histogram;
mod layouts;
mod lifecycle;
mod limits;
mod load;
mod moments;
mod oracle;
mod property;
mod run_folder;
mod segment_reduce;
mod shaders;
mod sheets;
mod store;
mod sums;
mod tensorboard;
mod truthful;
mod updates;

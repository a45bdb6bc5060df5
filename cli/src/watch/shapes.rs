//! What is read from a run when somebody looks at one of its tensors: histograms, and its part of the sign map.

use crate::view;
use anyhow::{Context, Result};
use gradscope::Run;
use gradscope::record::HistogramOf;
use gradscope::stats::LinearHistogram;
use serde::Serialize;

/// How a tensor's gradients and values spread, by step.
#[derive(Serialize)]
pub struct Histograms {
    gradient: Vec<Ridge>,
    parameter: Vec<Ridge>,
}

#[derive(Serialize)]
struct Ridge {
    step: u64,
    edges: Vec<f32>,
    count: Vec<u64>,
}

/// # Errors
/// Where the run has no such tensor, or a file of it is damaged.
pub fn histograms(run: &Run, tensor: &str) -> Result<Histograms> {
    let place = place(run, tensor)?;
    let mut kept =
        [HistogramOf::Gradient, HistogramOf::Parameter].map(|of| (of, view::Thinned::new(view::RIDGE_COUNT)));
    run.each_histogram(|step, record| {
        if let (true, Some(linear)) = (record.param == place, record.histogram.linear) {
            kept.iter_mut().filter(|(of, _)| *of == record.of).for_each(|(_, kept)| kept.push((step, linear.clone())));
        }
    })?;
    let ridge = |(step, LinearHistogram { edges, count, .. })| Ridge { step, edges, count };
    let [gradient, parameter] = kept.map(|(_, kept)| kept.into_kept().into_iter().map(ridge).collect());
    Ok(Histograms { gradient, parameter })
}

/// # Errors
/// As [`histograms`].
pub fn sign_map(run: &Run, tensor: &str) -> Result<Option<view::SignMapPart>> {
    view::sign_map_of(run, place(run, tensor)?)
}

fn place(run: &Run, tensor: &str) -> Result<usize> {
    run.params().iter().position(|param| param.path == tensor).context("the run has no such tensor")
}

//! The figures of a tensor that curves are drawn of: overviews have all of them, pictures and TensorBoard choose.

use super::TensorRecord;
use crate::stats::{ParameterSummary, Stats, TensorSummary, UpdateSummary};

/// How the values of a figure spread, and so what axis shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Magnitudes that span decades.
    Log,
    /// Signed values.
    Linear,
    /// Shares in [0, 1].
    Ratio,
    /// Counts from 0.
    Count,
}

/// A figure of one tensor at one step.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// As in tags, columns of overviews and exports.
    pub name: &'static str,
    /// In words.
    pub title: &'static str,
    /// How its values spread, and so what axis shows them.
    pub scale: Scale,
    /// `None` where the step has no such figure.
    pub of: fn(&TensorRecord) -> Option<f64>,
    /// What a scope has to be asked for.
    pub needs: Stats,
}

/// A figure over the finite elements of a gradient. Without one there is none: norms of nothing would be zeros.
fn gradient(record: &TensorRecord, of: impl FnOnce(&TensorSummary) -> Option<f64>) -> Option<f64> {
    record.summary().filter(|summary| summary.finite_count() > 0).and_then(of)
}

/// As [`gradient`], of a parameter.
fn parameter(record: &TensorRecord, of: impl FnOnce(&ParameterSummary) -> Option<f64>) -> Option<f64> {
    record.parameter.as_ref().filter(|parameter| parameter.nonfinite_count < parameter.numel).and_then(of)
}

/// As [`gradient`], of an update, with the elements of its parameter.
fn update(record: &TensorRecord, of: impl FnOnce(&UpdateSummary, u64) -> Option<f64>) -> Option<f64> {
    let numel = record.parameter.as_ref()?.numel;
    record.update.as_ref().filter(|update| update.nonfinite_count < numel).and_then(|update| of(update, numel))
}

fn released(record: &TensorRecord, epsilon: usize) -> Option<f64> {
    gradient(record, |s| s.dynamics?.transitions?.released_ratio()[epsilon])
}

macro_rules! figures {
    ($($name:ident $scale:ident $needs:ident $title:literal = |$r:ident| $of:expr;)*) => {
        &[$(Figure {
            name: stringify!($name),
            title: $title,
            scale: Scale::$scale,
            of: |$r| $of,
            needs: Stats::$needs,
        }),*]
    };
}

impl Figure {
    /// Every figure, in the order of overviews.
    #[rustfmt::skip]
    pub const ALL: &'static [Self] = figures! {
        min Linear BASIC "smallest gradient" = |r| gradient(r, |s| s.min.map(f64::from));
        max Linear BASIC "largest gradient" = |r| gradient(r, |s| s.max.map(f64::from));
        abs_max Log BASIC "largest gradient magnitude" = |r| gradient(r, |s| s.abs_max().map(f64::from));
        abs_mean Log BASIC "mean gradient magnitude" = |r| gradient(r, TensorSummary::abs_mean);
        l1_norm Log BASIC "gradient L1 norm" = |r| gradient(r, |s| Some(s.l1_norm));
        l2_norm Log BASIC "gradient L2 norm" = |r| gradient(r, |s| Some(s.l2_norm));
        near_zero_ratio_1 Ratio BASIC "near-zero gradients, smaller epsilon" = |r| gradient(r, |s| Some(s.near_zero_ratio()[0]));
        near_zero_ratio_2 Ratio BASIC "near-zero gradients, larger epsilon" = |r| gradient(r, |s| Some(s.near_zero_ratio()[1]));
        sign_flip_ratio Ratio BASIC "sign flips" = |r| gradient(r, TensorSummary::sign_flip_ratio);
        nonfinite_count Count BASIC "non-finite gradients" = |r| r.summary().map(|s| s.nonfinite_count() as f64);
        cosine_previous Linear COSINE "cosine with the gradient before" = |r| gradient(r, |s| s.cosine_previous);
        mean Linear DYNAMICS "mean gradient" = |r| gradient(r, TensorSummary::mean);
        std Log DYNAMICS "standard deviation of the gradient" = |r| gradient(r, |s| s.dynamics?.std);
        kurtosis Log DYNAMICS "kurtosis of the gradient" = |r| gradient(r, |s| s.dynamics?.kurtosis);
        released_ratio_1 Ratio DYNAMICS "near zeros released, smaller epsilon" = |r| released(r, 0);
        released_ratio_2 Ratio DYNAMICS "near zeros released, larger epsilon" = |r| released(r, 1);
        param_min Linear PARAMS "smallest weight" = |r| parameter(r, |p| p.min.map(f64::from));
        param_max Linear PARAMS "largest weight" = |r| parameter(r, |p| p.max.map(f64::from));
        param_l2_norm Log PARAMS "weight L2 norm" = |r| parameter(r, |p| Some(p.l2_norm));
        param_kurtosis Log PARAMS "kurtosis of the weights" = |r| parameter(r, |p| p.kurtosis);
        param_nonfinite_count Count PARAMS "non-finite weights" = |r| r.parameter.as_ref().map(|p| p.nonfinite_count as f64);
        update_l2_norm Log UPDATES "L2 norm of the move" = |r| update(r, |u, _| Some(u.l2_norm));
        update_to_weight Log UPDATES "move / weight norm" = |r| update(r, |u, _| Some(u.update_to_weight));
        unchanged_ratio Ratio UPDATES "weights that did not move" =
            |r| update(r, |u, numel| (numel > 0).then(|| u.unchanged_count as f64 / numel as f64));
        minimum_ratio Ratio UPDATES "elements that crossed a minimum" =
            |r| update(r, |u, numel| Some(u.crossings?.minimum_count as f64 / numel.max(1) as f64));
        maximum_ratio Ratio UPDATES "elements that crossed a maximum" =
            |r| update(r, |u, numel| Some(u.crossings?.maximum_count as f64 / numel.max(1) as f64));
    };

    /// Those of a scope that was asked for `groups`.
    pub fn of_groups(groups: Stats) -> impl Iterator<Item = &'static Self> {
        Self::ALL.iter().filter(move |figure| groups.contains(figure.needs))
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|figure| figure.name == name)
    }
}

//! Distributions, at the steps that had them due.

use crate::stats::{Histogram, Segment};
use serde::{Deserialize, Serialize};

/// Distributions of a step at which they were due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    /// Of gradients, then of parameters, where `ScopeBuilder::histograms` has them
    /// due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<HistogramRecord>,
    /// Of weights that have a gradient, where `ScopeBuilder::channels` has them due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ChannelsRecord>,
    /// Where `ScopeBuilder::sign_map` has a row due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_map: Option<SignMapRow>,
}

/// How a gradient or a parameter spreads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramRecord {
    /// Place in the scope's table of parameters.
    pub param: usize,
    /// Of which of the two.
    pub of: HistogramOf,
    /// The counts.
    pub histogram: Histogram,
}

/// What a histogram is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistogramOf {
    /// A gradient.
    Gradient,
    /// A parameter.
    Parameter,
}

impl HistogramOf {
    /// As in a run's `histograms`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Gradient => "gradient",
            Self::Parameter => "parameter",
        }
    }
}

/// A weight's gradient by output channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelsRecord {
    /// Place in the scope's table of parameters.
    pub param: usize,
    /// The last dimension of a matrix, the first of a kernel of three dimensions or more.
    pub channels: Vec<Segment>,
}

impl ChannelsRecord {
    /// Channels all of whose gradients are zero: units that nothing trains.
    pub fn dead_count(&self) -> usize {
        self.channels.iter().filter(|channel| channel.zero_count == channel.numel).count()
    }
}

/// One row of a `SignMap`: what each column's gradients are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignMapRow {
    /// The elements shown, counted through the selected parameters laid end to end.
    pub first_element: u64,
    /// How many elements are shown.
    pub element_count: u64,
    /// A column whose parameters had no gradient has no elements.
    pub columns: Vec<Segment>,
}

impl SignMapRow {
    /// The first element of a column, counted through the selected parameters; of the column after the last, the end.
    pub fn first_element_of(&self, column: usize) -> u64 {
        let share = u128::from(self.element_count) * column as u128 / self.columns.len().max(1) as u128;
        self.first_element + share as u64
    }
}

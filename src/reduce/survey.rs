//! Distributions that have a schedule of their own: what is counted of which tensor, whichever engine counts.

use gradscope_record::record::{ChannelsRecord, HistogramOf, HistogramRecord, Param, Shapes, SignMapRow, StepRecord};
use gradscope_record::stats::{Histogram, Segment};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A picture of near-zero gradients: the selected parameters laid end to end in module order, divided into columns, one
/// row a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignMap {
    pub(crate) pattern: Option<String>,
    pub(crate) columns: usize,
    pub(crate) zoom: Option<Range<u64>>,
}

impl Default for SignMap {
    /// All observed parameters in 1024 columns.
    fn default() -> Self {
        Self { pattern: None, columns: 1024, zoom: None }
    }
}

impl SignMap {
    /// Only parameters whose path matches the regular expression.
    #[must_use]
    pub fn select(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }

    /// How many columns, 1 or more; where there are fewer elements, as many as those.
    #[must_use]
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns;
        self
    }

    /// Only these elements, counted through the selected parameters laid end to end. With as many columns as elements,
    /// each column is one gradient.
    #[must_use]
    pub fn zoom(mut self, elements: Range<u64>) -> Self {
        self.zoom = Some(elements);
        self
    }
}

/// Elements `start + k * stride` of a tensor, `len` of them in logical order, that are summed up under `slot`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub tensor: usize,
    pub start: u64,
    pub len: u64,
    pub stride: u64,
    pub slot: usize,
}

impl Stretch {
    /// The part of it that lies in `elements` of its tensor: the first element there, and how many.
    pub fn within(&self, elements: &Range<u64>) -> Option<(u64, u64)> {
        let places_before = |element: u64| element.saturating_sub(self.start).div_ceil(self.stride).min(self.len);
        let (first, end) = (places_before(elements.start), places_before(elements.end));
        (first < end).then(|| (self.start + first * self.stride, end - first))
    }

    /// The elements themselves.
    pub fn elements<'a>(&self, values: &'a [f32]) -> impl Iterator<Item = f32> + use<'a> {
        let stride = self.stride as usize;
        values[self.start as usize..].iter().step_by(stride).take(self.len as usize).copied()
    }
}

/// Stretches and what they belong to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretches {
    pub list: Vec<Stretch>,
    pub slot_count: usize,
}

impl Stretches {
    /// The columns of a sign map over the tensors `selected`; the elements it shows.
    pub fn of_sign_map(map: &SignMap, params: &[Param], selected: &[usize]) -> (Self, Range<u64>) {
        let total: u64 = selected.iter().map(|&tensor| params[tensor].numel).sum();
        let zoom = map.zoom.clone().unwrap_or(0..total);
        let shown = zoom.start.min(total)..zoom.end.min(total);
        let len = shown.end.saturating_sub(shown.start);
        let slot_count = (map.columns as u64).min(len);
        let mut list = Vec::new();
        let mut first = 0;
        let border = |column: u64| shown.start + (u128::from(column) * u128::from(len) / u128::from(slot_count)) as u64;
        let mut column = 0;
        for &tensor in selected {
            let end = first + params[tensor].numel;
            while column < slot_count && border(column) < end {
                let (from, to) = (border(column).max(first), border(column + 1).min(end));
                if from < to {
                    let slot = column as usize;
                    list.push(Stretch { tensor, start: from - first, len: to - from, stride: 1, slot });
                }
                if border(column + 1) > end {
                    break;
                }
                column += 1;
            }
            first = end;
        }
        (Self { list, slot_count: slot_count as usize }, shown)
    }

    /// The output channels of every weight, and for each weight its first slot: the last dimension of a matrix, which
    /// burn's linear layers keep as `[in, out]`, the first of a kernel of three dimensions or more.
    pub fn of_channels(params: &[Param]) -> (Self, Vec<(usize, Range<usize>)>) {
        let mut stretches = Self::default();
        let mut table = Vec::new();
        for (tensor, param) in params.iter().enumerate() {
            if param.numel == 0 {
                continue;
            }
            let (count, step) = match param.shape[..] {
                [_, columns] => (columns as u64, None),
                [channels, _, _, ..] => (channels as u64, Some(param.numel / (channels as u64).max(1))),
                _ => continue,
            };
            let first = stretches.slot_count;
            for channel in 0..count {
                let (start, len, stride) = match step {
                    None => (channel, param.numel / count, count),
                    Some(len) => (channel * len, len, 1),
                };
                stretches.list.push(Stretch { tensor, start, len, stride, slot: first + channel as usize });
            }
            stretches.slot_count += count as usize;
            table.push((tensor, first..stretches.slot_count));
        }
        (stretches, table)
    }
}

/// What a scope surveys, and how what is counted is put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct SurveyPlan {
    pub histograms: bool,
    pub channels: Option<Stretches>,
    pub channel_table: Vec<(usize, Range<usize>)>,
    pub sign_map: Option<Stretches>,
    pub shown: Range<u64>,
}

/// What of it is due at a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct SurveyDue {
    /// Bounds of the linear histograms, of every gradient and then of every parameter, where they are known.
    pub histograms: Option<Vec<Option<[f32; 2]>>>,
    pub channels: bool,
    pub sign_map: bool,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Of gradients, then of parameters.
    pub histograms: Vec<Option<Histogram>>,
    /// By slot, over the tensors that were there.
    pub channels: Option<Vec<Segment>>,
    pub sign_map: Option<Vec<Segment>>,
}

impl SurveyDue {
    pub fn is_any(&self) -> bool {
        self.histograms.is_some() || self.channels || self.sign_map
    }
}

impl SurveyPlan {
    pub fn shapes(&self, counted: Counted, tensor_count: usize) -> Shapes {
        let histogram = |(place, histogram): (usize, Option<Histogram>)| {
            let of = if place < tensor_count { HistogramOf::Gradient } else { HistogramOf::Parameter };
            Some(HistogramRecord { param: place % tensor_count, of, histogram: histogram? })
        };
        let channels = |slots: Vec<Segment>| {
            let of = |(param, range): &(usize, Range<usize>)| ChannelsRecord {
                param: *param,
                channels: slots[range.clone()].to_vec(),
            };
            // A weight without a gradient has empty channels.
            self.channel_table.iter().map(of).filter(|record| record.channels.iter().any(|c| c.numel > 0)).collect()
        };
        Shapes {
            histograms: counted.histograms.into_iter().enumerate().filter_map(histogram).collect(),
            channels: counted.channels.map(channels).unwrap_or_default(),
            sign_map: counted.sign_map.map(|columns| SignMapRow {
                first_element: self.shown.start,
                element_count: self.shown.end - self.shown.start,
                columns,
            }),
        }
    }
}

/// The bounds that the next linear histograms have: the finite extremes that were known last.
#[derive(Clone, Debug)]
pub(crate) struct Bounds(Vec<Option<[f32; 2]>>);

impl Bounds {
    pub fn new(tensor_count: usize) -> Self {
        Self(vec![None; 2 * tensor_count])
    }

    pub fn learn(&mut self, record: &StepRecord) {
        let tensor_count = self.0.len() / 2;
        let pair = |min: Option<f32>, max: Option<f32>| Some([min?, max?]);
        for (place, tensor) in record.tensors.iter().enumerate() {
            let gradient = tensor.summary().and_then(|s| pair(s.min, s.max));
            let weight = tensor.parameter.and_then(|p| pair(p.min, p.max));
            self.0[place] = gradient.or(self.0[place]);
            self.0[tensor_count + place] = weight.or(self.0[tensor_count + place]);
        }
        // Parameters that are not reduced at every step are known by their last histogram.
        for known in record.shapes.iter().flat_map(|shapes| &shapes.histograms) {
            if let (HistogramOf::Parameter, Some(bound)) = (known.of, known.histogram.abs_bound())
                && record.tensors[known.param].parameter.is_none()
            {
                self.0[tensor_count + known.param] = Some([-bound, bound]);
            }
        }
    }

    pub fn known(&self) -> Vec<Option<[f32; 2]>> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(shapes: &[&[usize]]) -> Vec<Param> {
        let param = |shape: &&[usize]| Param::new(String::new(), shape.to_vec());
        shapes.iter().map(param).collect()
    }

    #[test]
    fn columns_cover_every_shown_element_once() {
        let params = params(&[&[100], &[7], &[1], &[0], &[1000]]);
        let selected = [0, 1, 2, 3, 4];
        for (columns, zoom) in [(1024, None), (10, None), (1, None), (64, Some(90..260)), (5, Some(103..108))] {
            let map = SignMap { zoom: zoom.clone(), ..SignMap::default().columns(columns) };
            let (stretches, shown) = Stretches::of_sign_map(&map, &params, &selected);
            assert_eq!(shown, zoom.unwrap_or(0..1108));
            let firsts = [0, 100, 107, 108, 108];
            let mut next = shown.start;
            let mut lens = vec![0; stretches.slot_count];
            for stretch in &stretches.list {
                assert_eq!(firsts[stretch.tensor] + stretch.start, next, "in order, without gaps");
                next += stretch.len;
                lens[stretch.slot] += stretch.len;
            }
            assert_eq!(next, shown.end);
            let (least, most) = (lens.iter().min().unwrap(), lens.iter().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "columns are alike: {least} to {most}");
        }
    }

    #[test]
    fn channels_are_the_outputs() {
        let params = params(&[&[3, 4], &[4], &[5, 2, 3, 3]]);
        let (stretches, table) = Stretches::of_channels(&params);
        assert_eq!(table, [(0, 0..4), (2, 4..9)]);
        assert_eq!(stretches.list[1], Stretch { tensor: 0, start: 1, len: 3, stride: 4, slot: 1 });
        assert_eq!(stretches.list[5], Stretch { tensor: 2, start: 18, len: 18, stride: 1, slot: 5 });
    }

    #[test]
    fn stretches_are_cut_at_borders() {
        let stretch = Stretch { tensor: 0, start: 3, len: 10, stride: 4, slot: 0 };
        assert_eq!(stretch.within(&(0..100)), Some((3, 10)));
        assert_eq!(stretch.within(&(4..12)), Some((7, 2)));
        assert_eq!(stretch.within(&(12..15)), None);
        let parts: u64 = [0..13, 13..14, 14..40].iter().filter_map(|r| stretch.within(r)).map(|(_, len)| len).sum();
        assert_eq!(parts, 10);
    }
}

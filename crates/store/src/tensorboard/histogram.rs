//! Histograms as TensorBoard has them: buckets between the tensor's own smallest and largest value.

use gradscope_record::record::{HistogramOf, HistogramRecord, StepRecord};
use gradscope_record::stats::{Histogram, LinearHistogram};

/// Bits of an f32 below its exponent.
const MANTISSA_BITS: u32 = 23;

/// A distribution over the finite elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// Smallest element: the lower edge of the first bucket.
    pub min: f64,
    /// Largest element: the upper edge of the last bucket.
    pub max: f64,
    /// `sum x`.
    pub sum: f64,
    /// `sum x^2`.
    pub sum_of_squares: f64,
    /// Upper edge of each bucket, ascending; the last is `max`.
    pub limits: Vec<f64>,
    /// Elements of each bucket.
    pub counts: Vec<f64>,
}

/// What a step's record says of the tensor that a histogram is of.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    min: Option<f64>,
    max: Option<f64>,
    sum: Option<f64>,
    sum_of_squares: Option<f64>,
    /// Elements below and above zero.
    signs: Option<[u64; 2]>,
}

impl Known {
    fn of(record: &StepRecord, histogram: &HistogramRecord) -> Self {
        let Some(tensor) = record.tensors.get(histogram.param) else { return Self::default() };
        match histogram.of {
            HistogramOf::Gradient => tensor.summary().map_or(Self::default(), |summary| Self {
                min: summary.min.map(f64::from),
                max: summary.max.map(f64::from),
                sum: summary.dynamics.map(|dynamics| dynamics.sum),
                sum_of_squares: Some(summary.l2_norm * summary.l2_norm),
                signs: Some([summary.negative_count, summary.positive_count]),
            }),
            HistogramOf::Parameter => tensor.parameter.map_or(Self::default(), |parameter| Self {
                min: parameter.min.map(f64::from),
                max: parameter.max.map(f64::from),
                sum: Some(parameter.sum),
                sum_of_squares: Some(parameter.l2_norm * parameter.l2_norm),
                signs: None,
            }),
        }
    }
}

impl Buckets {
    /// The buckets of a histogram; `None` where no element is finite. Edges, sums and signs are those of the step's
    /// summaries where it has them, and otherwise follow from the counts.
    pub fn of(record: &StepRecord, histogram: &HistogramRecord) -> Option<Self> {
        let known = Known::of(record, histogram);
        let cells = match &histogram.histogram.linear {
            Some(linear) => linear_cells(linear, &known, &histogram.histogram),
            None => exponent_cells(&histogram.histogram, &known),
        };
        Self::from_cells(cells, &known)
    }

    /// From cells of lower edge, upper edge and count, which lie side by side.
    fn from_cells(mut cells: Vec<(f64, f64, f64)>, known: &Known) -> Option<Self> {
        let first = cells.iter().position(|(.., count)| *count > 0.0)?;
        let last = cells.iter().rposition(|(.., count)| *count > 0.0)?;
        let mut cells: Vec<_> = cells.drain(first..=last).collect();
        let min = known.min.unwrap_or(cells[0].0);
        let max = known.max.unwrap_or(cells[cells.len() - 1].1).max(min);
        for (low, high, _) in &mut cells {
            (*low, *high) = (low.clamp(min, max), high.clamp(min, max));
        }
        let end = cells.len() - 1;
        (cells[0].0, cells[end].1) = (min, max);
        let moment = |power: i32| cells.iter().map(|(low, high, count)| count * (0.5 * (low + high)).powi(power)).sum();
        Some(Self {
            min,
            max,
            sum: known.sum.unwrap_or_else(|| moment(1)),
            sum_of_squares: known.sum_of_squares.unwrap_or_else(|| moment(2)),
            // -0 is 0.
            limits: cells.iter().map(|(_, high, _)| *high + 0.0).collect(),
            counts: cells.iter().map(|(.., count)| *count).collect(),
        })
    }
}

/// The bins between bounds, and one on either side of them.
fn linear_cells(linear: &LinearHistogram, known: &Known, histogram: &Histogram) -> Vec<(f64, f64, f64)> {
    let edges: Vec<f64> = linear.edges.iter().map(|edge| f64::from(*edge)).collect();
    let (Some(&first), Some(&last)) = (edges.first(), edges.last()) else { return vec![] };
    // No element reaches this magnitude, where the summary does not say which is the outermost.
    let bound = histogram.abs_bound().map_or(0.0, f64::from);
    let mut cells = vec![(known.min.unwrap_or(-bound).min(first), first, linear.underflow_count as f64)];
    cells.extend(edges.windows(2).zip(&linear.count).map(|(edge, count)| (edge[0], edge[1], *count as f64)));
    cells.push((last, known.max.unwrap_or(bound).max(last), linear.overflow_count as f64));
    cells
}

/// Powers of two on both sides of zero. Counts by exponent have no signs: below the smaller of the two extremes they are
/// shared out as the signs of all elements are, and above it they are of the larger one's sign.
fn exponent_cells(histogram: &Histogram, known: &Known) -> Vec<(f64, f64, f64)> {
    let counts = &histogram.exponent_count[..255.min(histogram.exponent_count.len())];
    let Some(top) = counts.iter().rposition(|count| *count > 0) else { return vec![] };
    // Counts are of elements as they come, and the summary's extremes are divided by the gradient's scale.
    let magnitude = [known.min, known.max].into_iter().flatten().map(f64::abs).fold(0.0, f64::max) as f32;
    let shift = if magnitude > 0.0 { exponent_of(magnitude) - top as i32 } else { 0 };
    let edge = |bin: usize| 2f64.powi(bin as i32 + shift - 127);
    let nonzero = |bin: usize| counts[bin] - if bin == 0 { histogram.zero_count.min(counts[0]) } else { 0 };
    let total: u64 = (0..=top).map(nonzero).sum();
    let [below, above] = known.signs.unwrap_or_else(|| match (known.min, known.max) {
        (Some(min), _) if min >= 0.0 => [0, total],
        (_, Some(max)) if max <= 0.0 => [total, 0],
        _ => [total / 2, total - total / 2],
    });
    let reach = |extreme: Option<f64>| extreme.map_or(i32::MAX, |x| exponent_of(x.abs() as f32) - shift);
    let (reach_below, reach_above) = (reach(known.min), reach(known.max));
    // Elements of either sign that no bin has been given yet.
    let mut left = if below + above == total { [below, above] } else { [below.min(total), total - below.min(total)] };
    let (mut negative, mut positive) = (vec![], vec![]);
    for bin in (0..=top).rev() {
        let count = nonzero(bin);
        let share = match (bin as i32 > reach_below, bin as i32 > reach_above) {
            (true, false) => 0,
            (false, true) => count,
            _ if left[0] + left[1] == 0 => 0,
            _ => (count as f64 * left[0] as f64 / (left[0] + left[1]) as f64).round() as u64,
        };
        let share = share.min(left[0]).max(count.saturating_sub(left[1]));
        left = [left[0].saturating_sub(share), left[1].saturating_sub(count - share)];
        // Subnormals reach down to zero.
        let (low, high) = (if bin == 0 { 0.0 } else { edge(bin) }, edge(bin + 1));
        negative.push((-high, -low, share as f64));
        positive.push((low, high, (count - share) as f64));
    }
    let zero = (0.0, 0.0, histogram.zero_count as f64);
    negative.into_iter().chain([zero]).chain(positive.into_iter().rev()).collect()
}

/// The biased exponent of a magnitude.
fn exponent_of(magnitude: f32) -> i32 {
    (magnitude.to_bits() >> MANTISSA_BITS) as i32
}

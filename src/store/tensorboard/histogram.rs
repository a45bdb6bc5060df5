//! Histograms as TensorBoard has them: buckets between the tensor's own smallest and largest value.

use crate::record::{HistogramOf, HistogramRecord, StepRecord};
use crate::stats::{Histogram, LinearHistogram};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::grad_reduce::{State, reduce};
    use crate::cpu::histogram::histogram;
    use crate::record::{Gradient, TensorRecord};
    use crate::stats::{Epsilons, linear_edges};

    /// The buckets of a gradient, with edges between these bounds or by exponent.
    fn buckets(values: &[f32], bounds: Option<[f32; 2]>) -> Buckets {
        let edges = bounds.map(|[min, max]| linear_edges(min, max));
        let mut counted = histogram(values, edges.as_deref());
        if let (Some(linear), Some(edges)) = (&mut counted.linear, edges) {
            linear.edges = edges;
        }
        let summary = reduce(values, Epsilons::default().threshold_bits(), &mut State::default()).finish();
        let gradient = Gradient::Observed { summary, previous_step: None };
        let record = StepRecord { tensors: vec![TensorRecord::of(gradient)], ..StepRecord::default() };
        let histogram = HistogramRecord { param: 0, of: HistogramOf::Gradient, histogram: counted };
        Buckets::of(&record, &histogram).expect("an element is finite")
    }

    fn check(values: &[f32], bounds: Option<[f32; 2]>) {
        let found = buckets(values, bounds);
        let what = format!("{values:?} within {bounds:?}: {found:?}");
        let finite: Vec<f64> = values.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
        let (min, max) = finite.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
        assert_eq!((found.min, found.max), (min, max), "{what}");
        assert_eq!(found.limits.last(), Some(&max), "{what}");
        assert_eq!(found.counts.iter().sum::<f64>(), finite.len() as f64, "{what}");
        // Subnormals add nothing to sums.
        let rounding = 1e-6 * max.abs().max(min.abs()) + f64::from(f32::MIN_POSITIVE);
        assert!((found.sum - finite.iter().sum::<f64>()).abs() <= rounding, "{what}");
        let squares: f64 = finite.iter().map(|x| x * x).sum();
        assert!((found.sum_of_squares - squares).abs() <= 1e-5 * squares + f64::from(f32::MIN_POSITIVE), "{what}");
        let edges: Vec<f64> = std::iter::once(found.min).chain(found.limits.iter().copied()).collect();
        assert!(edges.windows(2).all(|two| two[0] <= two[1]), "edges ascend: {what}");
        for sign in [-1.0, 1.0] {
            let own = finite.iter().filter(|x| **x * sign > 0.0).count() as f64;
            let cells = edges.windows(2).zip(&found.counts);
            let of_sign =
                cells.filter(|(edge, _)| (edge[0] + edge[1]) * sign > 0.0).map(|(_, count)| count).sum::<f64>();
            if bounds.is_none() {
                assert_eq!(of_sign, own, "signs are kept: {what}");
            }
        }
    }

    #[test]
    fn outer_edges_and_sums_are_the_tensors_own() {
        let mixed = [-3.0, -0.5, -0.25, 0.0, 0.1, 0.7, 1.5, 100.0];
        // Bounds that hold all of it, that leave elements out on both sides, and none.
        for bounds in [Some([-3.0, 100.0]), Some([-0.3, 0.3]), Some([-200.0, 200.0]), None] {
            check(&mixed, bounds);
        }
        check(&[1e30, -1e30, f32::NAN, f32::INFINITY], Some([-1.0, 1.0]));
    }

    #[test]
    fn signs_are_kept_where_only_exponents_are_known() {
        for values in [
            vec![-4.0, -2.0, -1.0, -0.5],
            vec![4.0, 2.0, 1.0],
            vec![-8.0, -8.0, 0.25, 0.5, 0.0, 0.0],
            vec![1e-40, -1e-40, 1e-38, 0.0],
            vec![0.0, 0.0],
            vec![2.5],
        ] {
            check(&values, None);
        }
    }

    #[test]
    fn without_a_finite_element_there_is_no_histogram() {
        let histogram = HistogramRecord {
            param: 0,
            of: HistogramOf::Gradient,
            histogram: histogram(&[f32::NAN, f32::INFINITY], None),
        };
        assert_eq!(Buckets::of(&StepRecord::default(), &histogram), None);
    }
}

//! A figure over all tensors, in a bounded number of spans of steps however long the run.

use super::overview::Envelope;
use super::run::SeriesName;

/// A span of steps of a [`Trace`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TracePoint {
    /// First and last step.
    pub steps: [u64; 2],
    /// Of the finite values.
    pub envelope: Envelope,
    /// Values that were NaN or infinite.
    pub nonfinite_count: u64,
}

/// A figure over the steps: minimum, maximum and last value of spans that are as short as their number allows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// Whose figure it is, and which.
    pub name: SeriesName,
    span_count_max: usize,
    /// log2 of the steps that a span has room for.
    shift: u32,
    points: Vec<TracePoint>,
    /// The step from which on no value is finite.
    nonfinite_since: Option<u64>,
}

impl Trace {
    pub(super) fn new(name: SeriesName, span_count_max: usize) -> Self {
        Self { name, span_count_max, shift: 0, points: Vec::new(), nonfinite_since: None }
    }

    /// Takes the value of a step. One of a step before the last span joins that.
    pub(super) fn put(&mut self, step: u64, value: f64) {
        let value = Some(value).filter(|value| value.is_finite());
        self.nonfinite_since = if value.is_some() { None } else { self.nonfinite_since.or(Some(step)) };
        let point =
            TracePoint { steps: [step; 2], envelope: Envelope::of(value), nonfinite_count: u64::from(value.is_none()) };
        let shift = self.shift;
        match self.points.last_mut() {
            Some(last) if step >> shift <= last.steps[0] >> shift => last.join(&point),
            _ => self.points.push(point),
        }
        while self.points.len() > self.span_count_max {
            self.shift += 1;
            let shift = self.shift;
            self.points.dedup_by(|later, kept| {
                let same = later.steps[0] >> shift == kept.steps[0] >> shift;
                if same {
                    kept.join(later);
                }
                same
            });
        }
    }

    /// The spans, in order of their steps.
    pub fn points(&self) -> &[TracePoint] {
        &self.points
    }

    /// The step from which on no value is finite; `None` where the last one is.
    pub fn nonfinite_since(&self) -> Option<u64> {
        self.nonfinite_since
    }

    /// log2 of the steps that a span has room for: where it has changed, so have all points.
    pub fn shift(&self) -> u32 {
        self.shift
    }
}

impl TracePoint {
    fn join(&mut self, later: &Self) {
        self.steps = [self.steps[0].min(later.steps[0]), self.steps[1].max(later.steps[1])];
        self.envelope = self.envelope.then(later.envelope);
        self.nonfinite_count += later.nonfinite_count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_a_run_a_trace_is_bounded_and_hides_nothing() {
        let mut trace = Trace::new(SeriesName { source: "scalar".into(), name: "loss".into() }, 64);
        for step in 0..100_000 {
            trace.put(
                step,
                match step {
                    31_415 => 1e9,
                    27_182 => -1e9,
                    50_000 => f64::NAN,
                    50_001 => 1e300,
                    step => step as f64,
                },
            );
        }
        assert_eq!(trace.nonfinite_since(), None, "the last one is finite");
        let points = trace.points();
        assert!((32..=64).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().map(|point| point.envelope.max).fold(0.0, f32::max), f32::MAX);
        assert_eq!(points.iter().map(|point| point.envelope.min).fold(0.0, f32::min), -1e9);
        assert_eq!(points.iter().map(|point| point.nonfinite_count).sum::<u64>(), 1);
        assert_eq!(points.last().map(|point| (point.steps[1], point.envelope.last)), Some((99_999, 99_999.0)));
        assert!(points.windows(2).all(|two| two[0].steps[1] + 1 == two[1].steps[0]));
    }

    #[test]
    fn a_trace_tells_since_when_its_values_are_not_finite() {
        let mut trace = Trace::new(SeriesName { source: "scalar".into(), name: "loss".into() }, 8);
        for step in 0..100 {
            trace.put(step, if step == 20 || step >= 41 { f64::NAN } else { 1.0 });
        }
        assert_eq!(trace.nonfinite_since(), Some(41));
        trace.put(100, 2.0);
        assert_eq!(trace.nonfinite_since(), None);
    }
}

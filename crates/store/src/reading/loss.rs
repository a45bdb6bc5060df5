//! The loss of a run in a few figures.

use crate::run::Series;
use gradscope_record::record::short;
use serde::Serialize;
use std::fmt;

/// The first and the last part of a run are an eighth of it each.
pub(super) const PART: usize = 8;

/// Losses: the first, and means over the last eighth of the run and over the one before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LossReading {
    /// At the first step.
    pub first: f64,
    /// Mean over the last eighth of the run.
    pub last: f64,
    /// Mean over the eighth before that.
    pub before_last: f64,
    /// The step from which on no loss is finite any more.
    pub nonfinite_since: Option<u64>,
    /// The last finite loss, where the last one is not.
    pub last_finite: Option<f64>,
}

impl LossReading {
    /// Of losses with their steps; `None` without any.
    pub(super) fn of(points: &[(u64, f64)]) -> Option<Self> {
        let part = (points.len() / PART).max(1);
        let mean =
            |points: &[(u64, f64)]| points.iter().map(|(_, loss)| loss).sum::<f64>() / points.len().max(1) as f64;
        let before = points.len().saturating_sub(2 * part)..points.len() - part.min(points.len());
        let finite = points.iter().rposition(|(_, loss)| loss.is_finite());
        let tail = finite.map_or(0, |at| at + 1);
        (!points.is_empty()).then(|| Self {
            first: points[0].1,
            last: mean(&points[points.len() - part..]),
            before_last: if before.is_empty() { points[0].1 } else { mean(&points[before]) },
            nonfinite_since: points.get(tail).map(|(step, _)| *step),
            last_finite: finite.filter(|_| tail < points.len()).map(|at| points[at].1),
        })
    }
}

/// One figure for how good a run is, by which runs can be compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Headline {
    /// `validation/loss`, or else `loss`.
    pub name: String,
    /// The last validation loss, or the median of the last eighth of the losses: that of a single batch is mostly noise.
    /// NaN where more than half of them are not finite.
    pub value: f64,
}

impl Headline {
    /// Of the series of a run; `None` where there is neither.
    pub(crate) fn of(series: &[Series]) -> Option<Self> {
        let named = |name: &str| series.iter().find(|series| series.name.name == name && !series.points.is_empty());
        if let Some(validation) = named("validation/loss") {
            let (_, value) = *validation.points.last()?;
            return Some(Self { name: validation.name.name.clone(), value });
        }
        let points = &named("loss")?.points;
        let part = (points.len() / PART).max(1);
        let mut last: Vec<f64> = points[points.len() - part..].iter().map(|(_, loss)| *loss).collect();
        // NaN comes after everything else.
        last.sort_by(f64::total_cmp);
        Some(Self { name: "loss".into(), value: last[last.len() / 2] })
    }
}

impl fmt::Display for LossReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, before_last, nonfinite_since, last_finite } = *self;
        if let Some(step) = nonfinite_since {
            write!(f, "{} at the first step, not finite since step {step}", short(first))?;
            return last_finite.map_or(Ok(()), |loss| write!(f, "; {} at the last step before", short(loss)));
        }
        write!(f, "{} at the first step, {} over the last eighth of the run; ", short(first), short(last))?;
        let gain = (before_last - last) / before_last.abs().max(f64::MIN_POSITIVE);
        match gain {
            gain if !gain.is_finite() => write!(f, "it is not finite"),
            gain if gain > 0.02 && last > first => write!(
                f,
                "it comes down by {:.0}% against the eighth before, but is {} times what it was at first",
                100.0 * gain,
                short(last / first)
            ),
            gain if gain > 0.02 => write!(f, "it still comes down, by {:.0}% against the eighth before", 100.0 * gain),
            gain if gain < -0.02 => write!(f, "it goes up, by {:.0}% against the eighth before", -100.0 * gain),
            _ => write!(f, "it stands where it was the eighth before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeriesName;

    #[test]
    fn a_loss_that_is_not_finite_any_more_says_since_when() {
        let points: Vec<(u64, f64)> = (0..20).map(|step| (step, if step < 12 { 2.0 } else { f64::NAN })).collect();
        let reading = LossReading::of(&points).unwrap();
        assert_eq!((reading.nonfinite_since, reading.last_finite), (Some(12), Some(2.0)));
        assert_eq!(reading.to_string(), "2 at the first step, not finite since step 12; 2 at the last step before");
        let passing = [(0, 2.0), (1, f64::NAN), (2, 1.0)];
        assert_eq!(LossReading::of(&passing).unwrap().nonfinite_since, None);
        assert_eq!(LossReading::of(&[(5, f64::NAN)]).unwrap().nonfinite_since, Some(5));
    }

    #[test]
    fn runs_are_compared_by_validation_or_by_a_median() {
        let series = |source: &str, name: &str, values: &[f64]| Series {
            name: SeriesName { source: source.into(), name: name.into() },
            points: values.iter().enumerate().map(|(step, value)| (step as u64, *value)).collect(),
            epochs: vec![None; values.len()],
        };
        let mut noisy = vec![1.0; 23];
        noisy.push(900.0);
        let loss = series("scalar", "loss", &noisy);
        let headline = Headline::of(std::slice::from_ref(&loss)).unwrap();
        assert_eq!((headline.name.as_str(), headline.value), ("loss", 1.0), "not that of the last batch");
        let both = [loss, series("log", "validation/loss", &[3.0, 2.5])];
        let headline = Headline::of(&both).unwrap();
        assert_eq!((headline.name.as_str(), headline.value), ("validation/loss", 2.5));
        assert_eq!(Headline::of(&[]), None);
    }
}

//! Gradients through the layers, a line an epoch.

use super::chart::{Axis, Chart, Line, Point};
use super::palette;
use gradscope::Run;
use gradscope::store::{Curves, Envelope, Series};
use std::collections::BTreeMap;

const EPOCH_COUNT_MAX: usize = 8;

/// The mean and the largest magnitude by layer. `epochs_of` is any figure that every step has.
pub fn charts(run: &Run, curves: &Curves, epochs_of: Option<&Series>) -> [Chart; 2] {
    let epochs = epochs(curves, epochs_of);
    let all: Vec<u64> = epochs.keys().copied().collect();
    let shown: Vec<u64> = match all.len() {
        0..=EPOCH_COUNT_MAX => all,
        len => (0..EPOCH_COUNT_MAX).map(|i| all[i * (len - 1) / (EPOCH_COUNT_MAX - 1)]).collect(),
    };
    // Frozen and unused parameters have no gradient that could flow.
    let has_gradient = |tensor: &usize| {
        curves.of("nonfinite_count", *tensor).is_some_and(|mut curve| curve.any(|envelope| !envelope.max.is_nan()))
    };
    let tensors: Vec<usize> = (0..run.params().len()).filter(has_gradient).collect();
    let chart = |name: &str, figure: &str, title: &str, y_label: &str, sum_up: fn(&[Envelope]) -> f32| {
        let line = |(place, epoch): (usize, &u64)| {
            let point = |(at, &tensor): (usize, &usize)| {
                let envelopes: Vec<_> = curves.of(figure, tensor)?.collect();
                let of_epoch = epochs[epoch].iter().map(|&span| envelopes[span]).filter(|e| e.last.is_finite());
                let value = sum_up(&of_epoch.collect::<Vec<_>>());
                let envelope = Envelope { min: value, max: value, last: value };
                Some(Point { at: at as u64, envelope, is_nonfinite: false })
            };
            Line {
                name: format!("epoch {epoch}"),
                color: palette::sequential(0.9 * place as f64 / (shown.len() - 1).max(1) as f64),
                points: tensors.iter().enumerate().filter_map(point).collect(),
            }
        };
        let lines = shown.iter().enumerate().map(line).collect();
        let [name, title, y_label] = [name, title, y_label].map(str::to_owned);
        let x_names = Some(tensors.iter().map(|&tensor| run.params()[tensor].path.clone()).collect());
        Chart { name, title, x_label: String::new(), y_label, axis: Axis::Log, lines, x_names, mark: None }
    };
    let mean = |envelopes: &[Envelope]| {
        let sum: f64 = envelopes.iter().map(|envelope| f64::from(envelope.last)).sum();
        (sum / envelopes.len() as f64) as f32
    };
    let largest = |envelopes: &[Envelope]| envelopes.iter().map(|envelope| envelope.max).fold(f32::NAN, f32::max);
    let means = chart(
        "gradient-flow-mean",
        "abs_mean",
        "Mean gradient magnitude through the layers",
        "mean |g| over the epoch",
        mean,
    );
    let maxima = chart(
        "gradient-flow-max",
        "abs_max",
        "Largest gradient magnitude through the layers",
        "largest |g| in the epoch",
        largest,
    );
    [means, maxima]
}

/// The spans of each epoch; one epoch where the run has none.
fn epochs(curves: &Curves, of: Option<&Series>) -> BTreeMap<u64, Vec<usize>> {
    let mut of_step = BTreeMap::new();
    if let Some(series) = of {
        let told = series.epochs.iter().any(Option::is_some);
        for ((step, _), epoch) in series.points.iter().zip(&series.epochs) {
            // The last move is in no epoch.
            if epoch.is_some() || !told {
                of_step.insert(*step, epoch.unwrap_or(0));
            }
        }
    }
    let mut epochs: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, span) in curves.spans().iter().enumerate() {
        let Some([first, last]) = *span else { continue };
        if let Some((_, epoch)) = of_step.range(first..=last).next() {
            epochs.entry(*epoch).or_default().push(place);
        }
    }
    epochs
}

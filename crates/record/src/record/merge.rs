//! One record of several devices' records of a step.

use super::{Global, Gradient, StepRecord, TapRecord, TensorRecord};
use crate::stats::TensorSummary;

impl StepRecord {
    /// What several devices' gradients of one step are together, each device having summed up its own: the statistics of all their
    /// elements, one device after another. Counts add up, extremes are those of all, `l2_norm` is the root of the sum of squares. (What an
    /// optimizer applies is the sum of the gradients, which no device has seen.) A gradient that one device could not read is unreadable; a
    /// device that has no record of the step is not in it. Scalars are means over the devices that have them. Each parameter is weighed by
    /// the device it lives on. Angles, moving averages and shapes are left out.
    ///
    /// The records are of one step, of scopes over the same parameters and groups. `None` of none.
    pub fn merge(parts: &[Self]) -> Option<Self> {
        let first = parts.first()?;
        let tensors: Vec<TensorRecord> = (0..first.tensors.len()).map(|place| tensor(parts, place)).collect();
        let groups = first.groups.iter().enumerate().map(|(place, (name, _))| {
            let of_parts = parts.iter().filter_map(|part| Some(part.groups.get(place)?.1));
            (name.clone(), of_parts.reduce(Global::combine).unwrap_or_default())
        });
        let mut cost = first.cost;
        for other in parts[1..].iter().map(|part| part.cost) {
            cost.submit_secs += other.submit_secs;
            cost.handoff_secs += other.handoff_secs;
            cost.wait_secs += other.wait_secs;
            cost.read_secs += other.read_secs;
            cost.encode_secs += other.encode_secs;
            cost.gpu_secs = cost.gpu_secs.zip(other.gpu_secs).map(|(a, b)| a + b);
            cost.copied_count += other.copied_count;
            cost.readback_bytes += other.readback_bytes;
        }
        Some(Self {
            step: first.step,
            epoch: first.epoch,
            unix_secs: first.unix_secs,
            last_move: first.last_move,
            scalars: scalars(parts),
            global: Global::of(&tensors),
            groups: groups.collect(),
            tensors,
            taps: taps(parts),
            shapes: None,
            cost,
        })
    }
}

fn tensor(parts: &[StepRecord], place: usize) -> TensorRecord {
    let of_parts = || parts.iter().filter_map(|part| part.tensors.get(place));
    let summaries = of_parts().filter_map(TensorRecord::summary);
    let is_unreadable = of_parts().any(|tensor| tensor.gradient == Gradient::Unreadable);
    let gradient = match summaries.copied().reduce(|whole, part| whole.combine(&part)) {
        _ if is_unreadable => Gradient::Unreadable,
        Some(summary) => {
            let previous = of_parts().filter_map(|tensor| match tensor.gradient {
                Gradient::Observed { previous_step, .. } => Some(previous_step),
                _ => None,
            });
            // Some were compared with another step than others: then the whole was with none.
            let previous_step = previous.reduce(|one, other| one.filter(|_| one == other)).flatten();
            let summary = if previous_step.is_some() { summary } else { summary.without_comparison() };
            Gradient::Observed { summary, previous_step }
        }
        None => of_parts().next().map_or(Gradient::Missing, |tensor| tensor.gradient),
    };
    TensorRecord {
        gradient,
        parameter: of_parts().find_map(|tensor| tensor.parameter),
        update: of_parts().find_map(|tensor| tensor.update),
        averages: None,
        ema: None,
    }
}

fn scalars(parts: &[StepRecord]) -> Vec<(String, f64)> {
    let mut names: Vec<&str> = vec![];
    for (name, _) in parts.iter().flat_map(|part| &part.scalars) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mean = |name: &str| {
        let values: Vec<f64> = parts.iter().filter_map(|part| part.scalar(name)).collect();
        (name.to_owned(), values.iter().sum::<f64>() / values.len() as f64)
    };
    names.into_iter().map(mean).collect()
}

fn taps(parts: &[StepRecord]) -> Vec<TapRecord> {
    let mut taps: Vec<TapRecord> = vec![];
    for tap in parts.iter().flat_map(|part| &part.taps) {
        match taps.iter_mut().find(|known| known.name == tap.name) {
            Some(known) => {
                known.summary = TensorSummary::combine(&known.summary, &tap.summary);
                known.tail_count = known.tail_count.zip(tap.tail_count).map(|(a, b)| [a[0] + b[0], a[1] + b[1]]);
            }
            None => taps.push(tap.clone()),
        }
    }
    taps
}

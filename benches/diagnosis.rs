//! What examining costs: every rule over records of 300 tensors with every statistic of `full`, and the memory that a long run
//! takes. `GRADSCOPE_STEPS` makes it shorter.
//!
//! The bound is half a millisecond a step on one core, and memory that does not grow with the steps.

#[path = "../tests/support/filled.rs"]
mod filled;
#[path = "support/results.rs"]
mod results;

use filled::filled;
use gradscope::StepRecord;
use gradscope::diagnosis::Diagnosis;
use gradscope::record::{Global, Gradient, Param, TapRecord, TensorRecord};
use gradscope::stats::{Crossings, Dynamics, ParameterSummary, TensorSummary, Transitions, UpdateSummary};
use results::{Results, quantile};
use std::time::Instant;

const TENSOR_COUNT: usize = 300;
const STEP_COUNT: u64 = 100_000;
/// Records that are made beforehand and come again and again.
const RECORD_COUNT: u64 = 64;

fn main() {
    let step_count = std::env::var("GRADSCOPE_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(STEP_COUNT);
    let params: Vec<Param> = (0..TENSOR_COUNT).map(param).collect();
    let mut records: Vec<StepRecord> = (0..RECORD_COUNT).map(|n| record(&params, n)).collect();
    let mut diagnosis = Diagnosis::new(params.into());
    let mut finding_count = 0;
    let mut secs: Vec<f64> = Vec::with_capacity(step_count as usize);
    let mut resident_early = None;
    for step in 0..step_count {
        let record = &mut records[(step % RECORD_COUNT) as usize];
        record.step = step;
        let started = Instant::now();
        finding_count += diagnosis.examine(record).len();
        secs.push(started.elapsed().as_secs_f64());
        if step == step_count / 10 {
            resident_early = resident_bytes();
        }
    }
    let resident = resident_bytes();
    let mut results = Results::of("diagnosis", "none");
    let mut tell = |what: &str, value: f64| {
        println!("{what}: {value:.4}");
        results.put(what, &[("value", value)]);
    };
    println!("{TENSOR_COUNT} tensors, {step_count} steps, {finding_count} findings");
    tell("300 tensors with every figure of `full`, ms a step (bound 0.5)", 1e3 * quantile(&secs, 0.5));
    tell("the same, p99", 1e3 * quantile(&secs, 0.99));
    if let (Some(early), Some(end)) = (resident_early, resident) {
        tell("resident memory after a tenth of the steps, MiB", early as f64 / 1_048_576.0);
        tell("resident memory at the end, MiB, of it the bench's own list 0.8", end as f64 / 1_048_576.0);
    }
}

/// Linux tells it in pages of 4 KiB, mostly.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(4096 * text.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}

fn param(n: usize) -> Param {
    let shape = if n.is_multiple_of(2) { vec![256, 256] } else { vec![256] };
    let name = if n.is_multiple_of(2) { "weight" } else { "bias" };
    Param::new(format!("blocks.{}.linear.{name}", n / 2), shape)
}

/// A value that changes from record to record by a few percent.
fn near(value: f64, n: u64, salt: usize) -> f64 {
    value * (1.0 + 0.05 * ((n * 7 + salt as u64 * 13) as f64).sin())
}

fn summary(n: u64, place: usize, numel: u64) -> TensorSummary {
    let count = |share: f64| (near(share, n, place) * numel as f64) as u64;
    filled!(TensorSummary {
        numel,
        min: Some(-1e-2),
        max: Some(1e-2),
        l1_norm: near(1e-3 * numel as f64, n, place),
        l2_norm: near(1e-3 * (numel as f64).sqrt(), n, place),
        near_zero_count: [count(0.1), count(0.2)],
        zero_count: count(0.05),
        positive_count: count(0.45),
        negative_count: count(0.45),
        sign_flip_count: Some(count(0.4)),
        signed_pair_count: Some(count(0.9)),
        dynamics: Some(filled!(Dynamics {
            abs_min_nonzero: Some(1e-9),
            subnormal_count: 0,
            sum: 0.1,
            std: Some(1e-3),
            skewness: Some(0.1),
            kurtosis: Some(20.0),
            transitions: Some(filled!(Transitions {
                retained_count: [count(0.05), count(0.1)],
                released_count: [count(0.05), count(0.1)],
            })),
        })),
    })
}

fn record(params: &[Param], n: u64) -> StepRecord {
    let tensor = |(place, param): (usize, &Param)| {
        let size = (param.numel as f64).sqrt();
        let parameter = filled!(ParameterSummary {
            numel: param.numel,
            nonfinite_count: 0,
            min: Some(-0.3),
            max: Some(0.3),
            sum: 0.0,
            std: Some(0.05),
            skewness: Some(0.1),
            kurtosis: Some(3.0),
            l1_norm: 0.04 * param.numel as f64,
            l2_norm: near(0.05 * size, n, place) / 20.0 + 0.05 * size,
            near_zero_count: 0,
        });
        let update = filled!(UpdateSummary {
            previous_step: n,
            l1_norm: 1.0,
            l2_norm: near(5e-5 * size, n, place),
            abs_max: 1e-3,
            update_to_weight: near(1e-3, n, place),
            unchanged_count: 0,
            nonfinite_count: 0,
            crossings: Some(filled!(Crossings { minimum_count: 200, maximum_count: 150 })),
            retained: None,
        });
        let gradient = Gradient::Observed { summary: summary(n, place, param.numel), previous_step: Some(n) };
        TensorRecord { parameter: Some(parameter), update: Some(update), ..TensorRecord::of(gradient) }
    };
    let tensors: Vec<_> = params.iter().enumerate().map(tensor).collect();
    let tap =
        |n: usize| TapRecord { name: format!("act{n}"), summary: summary(3, n, 4096), tail_count: Some([100, 100]) };
    StepRecord {
        step: n,
        scalars: vec![("loss".into(), near(1.0, n, 3)), ("lr".into(), 1e-3)],
        global: Global::of(&tensors),
        tensors,
        taps: (0..16).map(tap).collect(),
        ..StepRecord::default()
    }
}

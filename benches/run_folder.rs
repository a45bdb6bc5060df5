//! What a long run's folder costs: 100,000 steps of 62 tensors (ResNet-18's) with every statistic of `full`.
//!
//! Writes it into the folder that `GRADSCOPE_RUN_DIR` names, or a temporary one, and reads it back. Rows are written as
//! fast as the queue takes them. `GRADSCOPE_STEPS` makes it shorter.

#[path = "../tests/support/filled.rs"]
mod filled;
#[path = "support/results.rs"]
mod results;

use filled::filled;
use gradscope::record::{Cost, Global, Gradient, Param, TensorRecord};
use gradscope::stats::{
    Crossings, Dynamics, ParameterSummary, RetainedMoves, TensorSummary, Transitions, UpdateSummary,
};
use gradscope::store::{Missed, RunPlace, RunStart, RunWriter};
use gradscope::{Run, RunStatus, Stats, StepRecord};
use results::Results;
use std::path::Path;
use std::time::Instant;

const TENSOR_COUNT: usize = 62;
const STEP_COUNT: u64 = 100_000;

/// A value that wanders as a statistic of training does: a slow drift, and noise of a few percent.
struct Wander(fastrand::Rng);

impl Wander {
    fn near(&mut self, value: f64) -> f64 {
        value * (0.95 + 0.1 * self.0.f64())
    }

    fn share(&mut self, numel: u64, share: f64) -> u64 {
        (self.near(share) * numel as f64) as u64
    }
}

fn tensor(param: &Param, place: usize, step: u64, w: &mut Wander) -> TensorRecord {
    let (n, size) = (param.numel, 1e-3 * (1.0 + place as f64) * (1.0 + (step as f64 / 9e3).sin() * 0.3));
    let pair = |w: &mut Wander, share: f64| [w.share(n, 0.7 * share), w.share(n, share)];
    let near_zero_count = pair(w, 0.2);
    let summary = filled!(TensorSummary {
        numel: n,
        min: Some(w.near(-9.0 * size) as f32),
        max: Some(w.near(9.0 * size) as f32),
        l1_norm: w.near(size * n as f64),
        l2_norm: w.near(size * (n as f64).sqrt()),
        near_zero_count,
        zero_count: 0,
        positive_count: w.share(n, 0.5),
        negative_count: w.share(n, 0.5),
        sign_flip_count: Some(w.share(n, 0.4)),
        signed_pair_count: Some(w.share(n, 0.95)),
        dynamics: Some(filled!(Dynamics {
            abs_min_nonzero: Some(w.near(1e-9) as f32),
            subnormal_count: 0,
            sum: w.near(size),
            std: Some(w.near(size)),
            skewness: Some(w.near(0.1)),
            kurtosis: Some(w.near(20.0)),
            transitions: Some(filled!(Transitions {
                retained_count: pair(w, 0.15),
                released_count: pair(w, 0.05),
                captured_count: pair(w, 0.05),
                flip_in_retained_count: pair(w, 0.02),
            })),
        })),
    });
    let retained = filled!(RetainedMoves {
        moved_count: [w.share(n, 0.1), w.share(n, 0.1)],
        sum: [w.near(1e-3 * size), w.near(1e-3 * size)],
        max: [w.near(1e-3) as f32, w.near(1e-3) as f32],
    });
    TensorRecord {
        parameter: Some(filled!(ParameterSummary {
            numel: n,
            nonfinite_count: 0,
            min: Some(w.near(-0.3) as f32),
            max: Some(w.near(0.3) as f32),
            sum: w.near(1.0),
            std: Some(w.near(0.05)),
            skewness: Some(w.near(0.1)),
            kurtosis: Some(w.near(3.0)),
            l1_norm: w.near(0.04 * n as f64),
            l2_norm: w.near(0.05 * (n as f64).sqrt()),
            near_zero_count: w.share(n, 0.001),
        })),
        update: step.checked_sub(1).map(|previous_step| {
            filled!(UpdateSummary {
                previous_step,
                l1_norm: w.near(1e-4 * n as f64),
                l2_norm: w.near(1e-4 * (n as f64).sqrt()),
                abs_max: w.near(1e-3) as f32,
                update_to_weight: w.near(1e-3),
                unchanged_count: w.share(n, 0.01),
                nonfinite_count: 0,
                crossings: Some(filled!(Crossings {
                    minimum_count: w.share(n, 0.2),
                    maximum_count: w.share(n, 0.1),
                    flip_unmoved_count: w.share(n, 0.001),
                    flip_at_nonfinite_count: 0,
                })),
                retained: Some(retained),
            })
        }),
        ..TensorRecord::of(Gradient::Observed { summary, previous_step: step.checked_sub(1) })
    }
}

fn record(params: &[Param], step: u64, w: &mut Wander) -> StepRecord {
    let tensors: Vec<_> = params.iter().enumerate().map(|(place, param)| tensor(param, place, step, w)).collect();
    StepRecord {
        step,
        epoch: Some(1 + step / 1000),
        scalars: vec![("loss".into(), w.near(2.3 / (1.0 + step as f64 / 1e4))), ("lr".into(), 1e-3)],
        global: Global::of(&tensors),
        tensors,
        cost: Cost { submit_secs: w.near(1e-4), handoff_secs: w.near(5e-5), ..Cost::default() },
        ..StepRecord::default()
    }
}

fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the folder is there").flatten();
    entries
        .map(|entry| if entry.path().is_dir() { bytes(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) })
        .sum()
}

fn main() {
    let kept = std::env::var_os("GRADSCOPE_RUN_DIR").map(std::path::PathBuf::from);
    let temporary = kept.is_none().then(|| tempfile::tempdir().expect("a temporary folder"));
    let parent = kept.unwrap_or_else(|| temporary.as_ref().expect("made above").path().to_owned());
    let step_count = std::env::var("GRADSCOPE_STEPS").ok().and_then(|count| count.parse().ok()).unwrap_or(STEP_COUNT);
    let params: Vec<Param> = (0..TENSOR_COUNT)
        .map(|place| {
            let numel = [64, 128, 256, 36_864, 147_456, 589_824, 2_359_296][place % 7];
            let path = format!(
                "layer{}.{}.{}",
                place / 12,
                place / 6 % 2,
                ["bn1.gamma", "bn1.beta", "conv1.weight"][place % 3]
            );
            Param::new(format!("{path}.{place}"), vec![numel])
        })
        .collect();
    let start = RunStart {
        burn_version: String::new(),
        adapter: "none".into(),
        engine: "made up".into(),
        fusion: false,
        autotune: false,
        settings: serde_json::json!({ "stats": Stats::FULL.to_string() }),
        groups: Stats::FULL,
        tensorboard: false,
        params: params.clone(),
        facts: vec![],
        flight_recorder_len: 64,
        ..RunStart::default()
    };
    let mut writer = RunWriter::open(&RunPlace::New(parent), start).expect("a run folder");
    let mut wander = Wander(fastrand::Rng::with_seed(1));
    let begun = Instant::now();
    for step in 0..step_count {
        writer.write(&record(&params, step, &mut wander));
        // Never more than the queue holds: what is measured is the folder, not what is left out of it.
        if step % 200 == 199 {
            assert!(writer.sync());
        }
    }
    let folder = writer.folder().to_owned();
    let written_secs = begun.elapsed().as_secs_f64();
    let stream_bytes = bytes(&folder);
    let begun = Instant::now();
    let (_, failures) = writer.finish(RunStatus::Finished, Missed::default());
    assert!(failures.is_empty(), "{failures:?}");
    let finished_secs = begun.elapsed().as_secs_f64();
    let rows = step_count * TENSOR_COUNT as u64;
    let per_row = |bytes: u64| bytes as f64 / rows as f64;
    println!("{step_count} steps x {TENSOR_COUNT} tensors, full: {}", folder.display());
    let mut results = Results::of("run_folder", "none");
    let mut tell = |what: &str, value: f64| {
        println!("{what}: {value:.3}");
        results.put(what, &[("value", value)]);
    };
    tell("100,000 steps x 62 tensors written as a stream, rows/s", rows as f64 / written_secs);
    tell("of the stream, bytes a row", per_row(stream_bytes));
    tell("made Parquet at the end, s", finished_secs);
    tell("with scalars and overview, bytes a row", per_row(bytes(&folder)));
    let begun = Instant::now();
    let run = Run::open(&folder).expect("a run folder");
    let curves = run.curves(1000).expect("its curves");
    assert!(!curves.spans().is_empty());
    tell("opened, every curve of every tensor in spans, s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let series = run.series(|_| true).expect("its series");
    assert!(!series.is_empty());
    tell("every figure over all tensors at every step, s", begun.elapsed().as_secs_f64());
}

//! A long training with everything observed: memory, handles and the time of a step stay what they are.
//!
//! `make soak`, or `cargo bench --workspace --bench soak [-- STEPS]`. Ends with an error where they do not.

#[path = "support/results.rs"]
mod results;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device as BurnDevice, Distribution, Int, Tensor};
use gradscope::{Event, RunStatus, Schedule, Scope, Stats};
use results::{Results, quantile};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const STEP_COUNT: u64 = 100_000;
/// Rows of the table.
const PART_COUNT: u64 = 20;
/// The row that the last one is held against: by then everything has been compiled, allocated and filled once.
const SETTLED_PART: usize = 3;
/// What an allocator may hold more at one moment than at another.
const RESIDENT_SLACK_BYTES: u64 = 24 << 20;
/// A run folder opens a file with the first row of a table, and with each level of its overview.
const HANDLE_SLACK: u64 = 12;
/// A software driver's steps vary by this much from minute to minute.
const DRIFT_MAX: f64 = 1.2;
/// Steps of a part that are enough for its time to be held against another's.
const JUDGED_PART_LEN: u64 = 1000;

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn new(device: &BurnDevice) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { fc1: linear(64, 64), fc2: linear(64, 10) }
    }

    fn hidden(&self, x: Tensor<2>) -> Tensor<2> {
        Relu::new().forward(self.fc1.forward(x))
    }
}

/// The process at the end of a part of the run.
struct Part {
    step_secs: f64,
    resident_bytes: Option<u64>,
    handle_count: Option<usize>,
    thread_count: Option<usize>,
}

fn main() -> ExitCode {
    let step_count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(STEP_COUNT);
    let device = gradscope::device().expect("a wgpu adapter");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut results = Results::of("soak", &device.describe());
    println!(
        "MLP 64-64-10, batch 16, Adam; full,cosine,ema, a tap, histograms every 100 steps, recorded; {step_count} steps"
    );

    let training = device.burn().clone().autodiff();
    training.seed(1);
    let mut model = Mlp::new(&training);
    let mut optimizer = AdamConfig::new().init();
    let loss_of = CrossEntropyLossConfig::new().init(&training);
    let mut scope = Scope::builder(&device)
        .stats(Stats::FULL | Stats::COSINE | Stats::EMA)
        .histograms(Schedule::every(100))
        .run(dir.path())
        .build(&model)
        .expect("the model is observable");

    println!("{:>9} {:>9} {:>10} {:>8} {:>8} {:>10}", "step", "a step", "resident", "handles", "threads", "recorded");
    let mut parts: Vec<Part> = Vec::new();
    let (mut record_count, mut lost_count) = (0u64, 0u64);
    let mut take = |events: Vec<Event>| {
        for event in events {
            match event {
                Event::Record(_) => record_count += 1,
                Event::Notice(notice) => {
                    lost_count += 1;
                    println!("{notice}");
                }
                _ => {}
            }
        }
    };
    let part_len = (step_count / PART_COUNT).max(1);
    let mut begun = Instant::now();
    for step in 0..step_count {
        let input = Tensor::<2>::random([16, 64], Distribution::Default, &training);
        let classes = Tensor::<1, Int>::arange(0..16, &training).remainder_scalar(10);
        let hidden = model.hidden(input);
        let loss = loss_of.forward(model.fc2.forward(hidden.clone()), classes);
        let gradients = loss.backward();
        scope.step(step).scalar("loss", &loss).tap("hidden", &hidden).gradients(&model, &gradients).submit();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(1e-3, model, gradients);
        take(scope.poll());
        if (step + 1) % part_len == 0 {
            // What burn has only queued is part of the steps.
            device.burn().sync().expect("the device is there");
            let part = Part::now(begun.elapsed().as_secs_f64() / part_len as f64);
            println!("{:>9} {part} {:>6} MiB", step + 1, bytes_in(dir.path()) >> 20);
            parts.push(part);
            begun = Instant::now();
        }
    }
    let finished = scope.finish_as(&model, RunStatus::Finished);
    take(finished.events);
    println!("{record_count} records, the last of them of the last move; {lost_count} notices");

    if step_count == STEP_COUNT {
        keep(&parts, &mut results);
    }
    let mut failures = judge(&parts, part_len);
    if lost_count > 0 || record_count != step_count + 1 {
        failures.push("a step is missing, or something was told of".into());
    }
    for failure in &failures {
        eprintln!("soak: {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the report tells.
fn keep(parts: &[Part], results: &mut Results) {
    let mut put = |what: &str, value: Option<f64>| results.put(what, &[("value", value.unwrap_or(f64::NAN))]);
    let part = |place: usize| parts.get(place);
    for (when, part) in [("after 20,000 steps", part(SETTLED_PART)), ("at the end", parts.last())] {
        let mib = part.and_then(|part| part.resident_bytes).map(|bytes| bytes as f64 / 1_048_576.0);
        put(&format!("resident memory {when}, MiB"), mib);
        put(&format!("handles {when}"), part.and_then(|part| part.handle_count).map(|count| count as f64));
    }
    let (early, late) = parts[SETTLED_PART..].split_at((parts.len() - SETTLED_PART) / 2);
    put("a step of the later half against one of the earlier", Some(median(late) / median(early)));
}

/// What has grown that should not.
fn judge(parts: &[Part], part_len: u64) -> Vec<String> {
    let (Some(settled), Some(last)) = (parts.get(SETTLED_PART), parts.last()) else {
        return vec![format!("fewer than {PART_COUNT} steps tell nothing")];
    };
    let mut failures = Vec::new();
    let mut hold = |what: &str, was: Option<u64>, is: Option<u64>, slack: u64| match was.zip(is) {
        Some((was, is)) if is > was + slack => failures.push(format!("{what} grew from {was} to {is}")),
        Some(_) => {}
        None => println!("{what}: this system does not tell"),
    };
    hold("resident bytes", settled.resident_bytes, last.resident_bytes, RESIDENT_SLACK_BYTES);
    hold("handles", settled.handle_count.map(|n| n as u64), last.handle_count.map(|n| n as u64), HANDLE_SLACK);
    hold("threads", settled.thread_count.map(|n| n as u64), last.thread_count.map(|n| n as u64), 0);
    // Halves of what came after: one part alone may have had a busy machine.
    let settled = &parts[SETTLED_PART..];
    let (early, late) = settled.split_at(settled.len() / 2);
    let drift = median(late) / median(early);
    println!("a step of the later half takes {drift:.3} of one of the earlier");
    if drift > DRIFT_MAX && part_len >= JUDGED_PART_LEN {
        failures.push(format!("steps take {drift:.3} of what they did"));
    }
    failures
}

fn median(parts: &[Part]) -> f64 {
    quantile(&parts.iter().map(|part| part.step_secs).collect::<Vec<_>>(), 0.5)
}

impl Part {
    /// As Linux tells; other systems tell nothing here.
    fn now(step_secs: f64) -> Self {
        let entries = |folder: &str| fs::read_dir(folder).ok().map(Iterator::count);
        let statm = fs::read_to_string("/proc/self/statm").ok();
        let pages = statm.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        Self {
            step_secs,
            resident_bytes: pages.map(|pages| pages * 4096),
            handle_count: entries("/proc/self/fd"),
            thread_count: entries("/proc/self/task"),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_dash = |count: Option<usize>| count.map_or("-".into(), |count| count.to_string());
        let resident = self.resident_bytes.map_or("-".into(), |bytes| format!("{} MiB", bytes >> 20));
        let (handles, threads) = (or_dash(self.handle_count), or_dash(self.thread_count));
        write!(f, "{:>6.2} ms {resident:>10} {handles:>8} {threads:>8}", self.step_secs * 1e3)
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(
            |entry| {
                if entry.path().is_dir() { bytes_in(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) }
            },
        )
        .sum()
}

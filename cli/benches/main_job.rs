//! What observing costs the main job, as a user runs it: `gradscope train` with these options, in turn, first steps and tests
//! included. `cargo bench --workspace --bench main_job [-- ROUNDS]`.

#[path = "../../benches/support/results.rs"]
mod results;

use results::{Results, quantile};
use std::process::Command;

const ROUND_COUNT: usize = 3;
const OPTIONS: [&str; 4] =
    ["--no-scope", "--stats card --no-record", "--stats dynamics --no-record", "--stats full --no-record"];

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROUND_COUNT);
    let device = gradscope::device().expect("a wgpu adapter");
    let mut results = Results::of("main_job", &device.describe());
    let mut secs = OPTIONS.map(|_| Vec::new());
    for round in 0..rounds {
        for (options, secs) in OPTIONS.iter().zip(&mut secs) {
            let told = train(options);
            println!("round {round}: {options}: {:.1} ms a step", 1e3 * told);
            secs.push(told);
        }
    }
    for (options, secs) in OPTIONS.iter().zip(&secs) {
        results.put(options, &[("step_secs", quantile(secs, 0.5))]);
    }
}

/// Seconds a step, as the command tells at its end.
fn train(options: &str) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gradscope"));
    let done = command.args(["train", "--steps", "200"]).args(options.split(' ')).output().expect("it starts");
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    let told = text.split(" ms a step").next().and_then(|before| before.rsplit(' ').next());
    told.and_then(|ms| ms.parse::<f64>().ok()).unwrap_or_else(|| panic!("no time in: {text}")) / 1e3
}

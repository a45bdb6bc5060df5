//! Trains every network of the fault zoo and writes how well the rules tell sick from healthy.
//!
//! `cargo run --release --example fault_zoo` takes about half an hour on two cores and regenerates
//! `docs/diagnosis-accuracy.md`; `-- --help` has the rest.

#[path = "../tests/faults/zoo/mod.rs"]
mod zoo;

use clap::Parser;
use gradscope::diagnosis::Rules;
use std::path::PathBuf;
use zoo::case::corpus;
use zoo::score::{Outcome, examine};

/// Trains every network of the fault zoo, sick and healthy, and writes how well the rules tell them apart.
#[derive(Parser)]
struct Options {
    /// Keep the runs here, and train only those that are not here yet.
    #[arg(long, value_name = "DIR", default_value = "target/fault-zoo")]
    runs: PathBuf,
    /// Only runs whose name has this in it: `healthy`, `ResNet`, `LrHigh`, `seed 11`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Only the runs that thresholds are set on.
    #[arg(long)]
    calibration: bool,
    /// A rule's setting, as `unstable_learning.high=0.2` or `stuck_zeros=off`.
    #[arg(long, value_name = "SETTING")]
    rule: Vec<String>,
    /// Do not train: examine what is there.
    #[arg(long)]
    replay: bool,
    /// Print every run with its findings.
    #[arg(long)]
    each: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let rules = options.rule.iter().try_fold(Rules::default(), |rules, setting| rules.setting(setting))?;
    let device = gradscope::Device::open(gradscope::DeviceChoice::Cpu)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let cases: Vec<_> = corpus(false)
        .into_iter()
        .filter(|case| {
            case.name().contains(&options.only)
                && (!options.calibration || case.split() == zoo::case::Split::Calibration)
        })
        .collect();
    for case in &cases {
        let below = options.runs.join(case.name().replace(", ", "-").replace(' ', "_"));
        let kept = std::fs::read_dir(&below).ok().and_then(|mut runs| runs.next()?.ok()).map(|run| run.path());
        let folder = match kept {
            Some(folder) => folder,
            None if options.replay => continue,
            None => zoo::train::train(case, &device, &below),
        };
        let outcome = match examine(case, &folder, &rules) {
            Ok(outcome) => outcome,
            Err(error) => {
                eprintln!("{}: {error}", case.name());
                continue;
            }
        };
        if options.each {
            let split = if outcome.is_scored() { "S" } else { "C" };
            println!(
                "{split} {} | q {:.3} shows {:?} layer {:?} lead {:?}",
                case.name(),
                outcome.quality,
                outcome.loss_shows,
                outcome.names_layer(),
                outcome.lead()
            );
            for finding in outcome.findings.iter().chain(&outcome.notes) {
                println!(
                    "      {} {finding}",
                    if outcome.right().is_some_and(|right| std::ptr::eq(right, finding)) { "*" } else { " " }
                );
            }
        }
        outcomes.push(outcome);
    }
    Ok(())
}

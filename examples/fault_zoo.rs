//! Trains every network of the fault zoo and writes how well the rules tell sick from healthy.
//!
//! `cargo run --release --example fault_zoo` regenerates `docs/diagnosis-accuracy.md`, in half an hour on two cores; runs that were
//! trained before are kept. `-- --help` has the rest.

#[path = "../tests/faults/zoo/mod.rs"]
mod zoo;

use clap::Parser;
use gradscope::diagnosis::Rules;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use zoo::case::{Case, Split, corpus};
use zoo::report::{Scores, lines, page};
use zoo::score::{Shown, examine};

/// Trains every network of the fault zoo, sick and healthy, and writes how well the rules tell them apart.
#[derive(Parser)]
struct Options {
    /// Where the runs are kept. Those that are there are not trained again.
    #[arg(long, value_name = "DIR", default_value = "target/fault-zoo")]
    runs: PathBuf,

    /// Only runs whose name has this in it, such as `healthy`, `ResNet`, `LrHigh` or `seed 21`; the page goes to stdout then.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// Only the runs that thresholds are set on; the page goes to stdout then.
    #[arg(long)]
    calibration: bool,

    /// A rule's setting, such as `unstable_learning.high=0.2` or `stuck_zeros=off`; the page goes to stdout then.
    #[arg(long, value_name = "SETTING")]
    rule: Vec<String>,

    /// Print every run with its findings.
    #[arg(long)]
    each: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let rules = options.rule.iter().try_fold(Rules::default(), |rules, setting| rules.setting(setting))?;
    let device = gradscope::Device::open(gradscope::DeviceChoice::Cpu)?;
    let wanted = |case: &Case| {
        case.name().contains(&options.only) && (!options.calibration || case.split() == Split::Calibration)
    };
    let cases: Vec<Case> = corpus(false).into_iter().filter(wanted).collect();
    if cases.is_empty() {
        return Err(format!(
            "--only {}: no run has that in its name; `MLP relu, sgd, LrHigh, seed 21` is one",
            options.only
        )
        .into());
    }
    let started = Instant::now();
    let (mut all, mut card) = (Vec::new(), Vec::new());
    for (n, case) in cases.iter().enumerate() {
        let folder = match trained(case, &options.runs) {
            Some(folder) => folder,
            None => {
                let secs = started.elapsed().as_secs();
                eprint!("\r\x1b[K{} of {} runs, {} min: {}", n, cases.len(), secs / 60, case.name());
                zoo::train::train(case, &device, &below(case, &options.runs))
            }
        };
        let outcome = examine(case, &folder, &rules, Shown::All)?;
        if options.each {
            print!("{}", lines(&outcome));
        }
        all.push(outcome);
        card.push(examine(case, &folder, &rules, Shown::Card)?);
    }
    eprintln!();
    let page = page(&Scores::new(&all), &Scores::new(&card));
    if !options.only.is_empty() || options.calibration || !options.rule.is_empty() {
        print!("{page}");
        return Ok(());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/diagnosis-accuracy.md");
    fs::write(&path, page)?;
    println!("{}", path.display());
    Ok(())
}

fn below(case: &Case, runs: &Path) -> PathBuf {
    runs.join(case.name().replace(", ", "-").replace(' ', "_"))
}

/// The run's folder, where it was trained before to its end. One that was killed is trained again.
fn trained(case: &Case, runs: &Path) -> Option<PathBuf> {
    let below = below(case, runs);
    let folder = fs::read_dir(&below).ok()?.next()?.ok()?.path();
    let finished = gradscope::Run::open(&folder).is_ok_and(|run| run.status() == gradscope::RunStatus::Finished);
    if !finished {
        let _ = fs::remove_dir_all(&below);
    }
    finished.then_some(folder)
}

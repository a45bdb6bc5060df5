//! What the examples share: how they tell of a run, and how it ends.

#![allow(dead_code, reason = "not every example uses all of it")]

use gradscope::store::Reading;
use gradscope::{Device, DeviceChoice, Event, Finished, Run, StepRecord};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an example that learns images is told of its surroundings.
#[derive(clap::Args)]
pub struct Place {
    /// Folder with a full data set: (Fashion-)MNIST's or CIFAR-10's files [default: images that ship].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to train: auto, gpu or cpu.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Where run folders go.
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
}

/// For options that count something there must be one of.
pub fn one_or_more() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..=1_000_000)
}

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The device that was asked for, and a word where it is none with a GPU.
pub fn open(choice: &str) -> Outcome<Device> {
    let device = Device::open(choice.parse::<DeviceChoice>()?)?;
    if let Some(reason) = device.fallback_reason() {
        eprintln!("no GPU: {reason}; burn's CPU backend trains, the CPU twins observe");
    }
    Ok(device)
}

/// Lines for records whose turn it is, and all that was found or noticed.
pub fn tell(events: Vec<Event>, every: u64, line: impl Fn(&StepRecord) -> String) {
    for event in events {
        match event {
            Event::Record(record) if record.last_move || record.step % every != 0 => {}
            Event::Record(record) => println!("{}", line(&record)),
            other => println!("{other}"),
        }
    }
}

/// What the run says of itself, in words.
pub fn read(finished: &Finished) -> Outcome {
    if let Some(folder) = &finished.folder {
        println!("\n{}", Reading::of(&Run::open(folder)?)?);
    }
    Ok(())
}

/// Runs `gradscope` where it was built, beside the examples; otherwise says how to.
pub fn gradscope(arguments: &[&str]) -> Outcome {
    let itself = std::env::current_exe()?;
    let beside =
        itself.ancestors().nth(2).map(|folder| folder.join(format!("gradscope{}", std::env::consts::EXE_SUFFIX)));
    let Some(program) = beside.filter(|program| program.exists()) else {
        println!("next: cargo run --release -- {}", arguments.join(" "));
        return Ok(());
    };
    match Command::new(&program).args(arguments).status()? {
        status if status.success() => Ok(()),
        status => Err(format!("`gradscope {}`: {status}", arguments.join(" ")).into()),
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| format!("{}: the path is no Unicode", path.display()).into())
}

/// The folder of a run that was asked for one.
pub fn folder(finished: &Finished) -> Outcome<PathBuf> {
    finished.folder.clone().ok_or_else(|| "the run folder could not be completed".into())
}

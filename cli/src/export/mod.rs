//! A run in the forms that other tools read.

mod json;
mod tables;
mod tensorboard;

use crate::runs;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use gradscope::Run;
use gradscope::store::files;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;

pub use tensorboard::write_pictures as write_tensorboard_pictures;

#[derive(Args)]
pub struct Options {
    /// Run folder, or a folder of runs, of which the newest is taken.
    #[arg(value_name = "RUN", default_value = "runs")]
    run: PathBuf,

    /// json: one file, name -> statistics by step, and figures by epoch. csv, parquet: a file a table, with histograms and
    /// maps. tensorboard: event files.
    #[arg(short, long, value_enum)]
    format: Format,

    /// Folder for the files [default: export/ in the run folder].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Only every N-th of the recorded steps, beginning with the first (json and csv).
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,

    /// How parameters are called (json): as burn has them, or as PyTorch does, with the shapes it has them in
    /// (matrices are taken for linear layers' weights).
    #[arg(long, value_enum, default_value_t = Names::Burn)]
    names: Names,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Names {
    Burn,
    Torch,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Csv,
    Parquet,
    Tensorboard,
}

/// `gradscope export`.
pub fn export(options: &Options) -> Result<()> {
    if options.every > 1 && matches!(options.format, Format::Parquet | Format::Tensorboard) {
        bail!("--every {}: Parquet and TensorBoard get every step; leave it out", options.every);
    }
    if options.names == Names::Torch && options.format != Format::Json {
        bail!("--names torch: only JSON has names of another's; leave it out");
    }
    let run = runs::find(&options.run)?;
    let folder = options.output.clone().unwrap_or_else(|| run.folder().join("export"));
    files::create_folder(&folder).with_context(|| format!("-o {}", folder.display()))?;
    let written = match options.format {
        Format::Json => json::write(&run, &folder, options.every, options.names)?,
        Format::Csv => tables::write_csv(&run, &folder, options.every)?,
        Format::Parquet => tables::write_parquet(&run, &folder)?,
        Format::Tensorboard => tensorboard::write(&run, &folder)?,
    };
    if written.is_empty() {
        runs::complain(&format_args!("{}: no step is recorded, so nothing was written", run.folder().display()));
    }
    written.iter().for_each(|path| runs::say(&path.display()));
    Ok(())
}

/// Picks every n-th step of those that come by, row after row, whatever their numbers.
struct EveryNth {
    n: u64,
    /// The last step, and how many different ones came before it.
    last: Option<(u64, u64)>,
}

impl EveryNth {
    fn new(n: u64) -> Self {
        Self { n, last: None }
    }

    /// Whether rows of the step are kept.
    fn keeps(&mut self, step: u64) -> bool {
        let index = match self.last {
            None => 0,
            Some((last, index)) if last == step => index,
            Some((_, index)) => index + 1,
        };
        self.last = Some((step, index));
        index.is_multiple_of(self.n)
    }
}

/// A bar over the steps of a run, on a terminal.
fn progress(run: &Run) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(run.manifest().step_count), ProgressDrawTarget::stderr());
    let template = "{bar:24} step {pos}/{len} {elapsed} (left {eta})";
    bar.with_style(ProgressStyle::with_template(template).expect("the template is valid"))
}

#[cfg(test)]
mod tests {
    use super::EveryNth;

    #[test]
    fn every_nth_step_is_counted_whatever_the_numbers() {
        let mut every = EveryNth::new(3);
        // Two rows a step, of numbers that no stride of 3 meets.
        let kept: Vec<u64> =
            (0..7).map(|n| 4 * n + 3).flat_map(|step| [step, step]).filter(|step| every.keeps(*step)).collect();
        assert_eq!(kept, [3, 3, 15, 15, 27, 27]);
    }
}

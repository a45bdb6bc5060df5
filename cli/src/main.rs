//! The gradscope command. Thin: what it does stands in the modules.

mod doctor;
mod explain;
mod export;
mod list;
mod runs;
mod terminal;
mod train;
mod view;
mod watch;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Trains networks with burn on wgpu and tells, at every step and for every tensor, how their gradients are.
///
/// Without a subcommand it trains a small network on images that come with it, as `gradscope train` does.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Train on images and watch every gradient of every step.
    Train(Box<train::Options>),
    /// Serve a page that shows runs as they grow: layers by steps, curves, findings in words; offline, to this machine alone.
    Watch(watch::Options),
    /// Draw a run: losses, norms, near zeros, flips, moves, histograms, the sign map; each as SVG and PNG.
    Plot(view::PlotOptions),
    /// List runs: status, model, steps, start, duration, rate, loss, what is wrong.
    Ls(list::LsOptions),
    /// Print a run's tables, as at the end of training.
    Show(list::ShowOptions),
    /// Read a run in words: what is wrong, how gradients go from layer to layer, whether the learning rate fits.
    Explain(explain::Options),
    /// Write a run as one self-contained page, findings first; or two runs side by side.
    Report(view::ReportOptions),
    /// Turn what a killed run left into Parquet; a run that ended has done so itself.
    Compact(runs::CompactOptions),
    /// Tell what this machine has, what gradscope will use, and whether the kernels compute what their twins do.
    Doctor(doctor::Options),
    /// Print completions for a shell: `gradscope completions bash > /etc/bash_completion.d/gradscope`.
    Completions {
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Write a run as JSON, CSV, Parquet or TensorBoard event files.
    Export(export::Options),
}

/// Exit code for bad input, as for bad usage: before training nothing was written.
const BAD_INPUT: u8 = 2;
/// Exit code after a finding that was told to stop training.
const STOPPED: u8 = 3;
/// Exit code after Ctrl-C: 128 + SIGINT, as shells count.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    quiet_mesa();
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Train(options)) => return trained(&options),
        None => return trained(&cli.train),
        Some(Command::Watch(options)) => watch::watch(&options),
        Some(Command::Plot(options)) => view::plot(&options),
        Some(Command::Ls(options)) => list::ls(&options),
        Some(Command::Show(options)) => list::show(&options),
        Some(Command::Doctor(options)) => return doctor::doctor(&options),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gradscope", &mut script);
            runs::say(&String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
        Some(Command::Explain(options)) => explain::explain(&options),
        Some(Command::Report(options)) => view::report(&options),
        Some(Command::Compact(options)) => runs::compact(&options),
        Some(Command::Export(options)) => export::export(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            runs::complain(&format_args!("{error:#}"));
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn trained(options: &train::Options) -> ExitCode {
    match train::run(options) {
        Ok(train::Ending::Finished) => ExitCode::SUCCESS,
        Ok(train::Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Ok(train::Ending::Stopped) => ExitCode::from(STOPPED),
        Err(train::Failure { error, started }) => {
            runs::complain(&format_args!("{error:#}"));
            if started { ExitCode::FAILURE } else { ExitCode::from(BAD_INPUT) }
        }
    }
}

/// Mesa's loader complains on stderr where no session has set this; nothing here uses the folder.
#[expect(unsafe_code, reason = "setting an environment variable before the first thread")]
fn quiet_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the process has one thread so far.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

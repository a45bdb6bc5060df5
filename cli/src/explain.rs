//! A run in words, and the rules that read it.

use crate::runs::{self, say};
use anyhow::{Result, bail};
use clap::Args;
use gradscope::diagnosis::spec;
use gradscope::record::{Action, Rule, Severity};
use gradscope::store::Reading;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// Run folder, or a folder of runs, of which the newest is taken. It may still be written.
    #[arg(value_name = "RUN", required_unless_present = "rules")]
    run: Option<PathBuf>,

    /// List the rules: what each looks at, its numbers, and where they come from.
    #[arg(long, conflicts_with = "run")]
    rules: bool,
}

/// `gradscope explain`.
pub fn explain(options: &Options) -> Result<()> {
    if options.rules {
        Rule::ALL.iter().for_each(|rule| list(*rule));
        return Ok(());
    }
    let Some(path) = &options.run else { bail!("RUN is missing") };
    let run = runs::find(path)?;
    say(&Reading::of(&run)?);
    Ok(())
}

fn list(rule: Rule) {
    let spec = spec(rule);
    let severity = match spec.severity {
        Severity::Note => "note",
        Severity::Warn => "warn",
        Severity::Critical => "critical",
    };
    let action = match spec.action {
        Action::Tell => "",
        Action::Snapshot => ", snapshot",
        Action::Stop => ", stop",
    };
    say(&format_args!("{rule} ({severity}{action})"));
    say(&format_args!("  from {}", spec.source));
    for number in spec.numbers {
        say(&format_args!("  {:<16} {:>8}  {}", number.name, number.default, number.meaning));
    }
}

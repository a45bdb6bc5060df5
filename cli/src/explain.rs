//! A run in words, and the rules that read it.

use crate::runs::{self, say};
use crate::terminal::say_report;
use anyhow::{Context, Result};
use clap::Args;
use gradscope::diagnosis::{Rules, spec};
use gradscope::record::{Action, Rule};
use gradscope::store::Reading;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// Run folder, or a folder of runs, of which the newest is taken. It may still be written.
    #[arg(value_name = "RUN", default_value = "runs")]
    run: PathBuf,

    /// Examine the run anew, with a rule's setting: RULE=off, note, warn or critical, or RULE.NUMBER=VALUE.
    #[arg(long, value_name = "SETTING", conflicts_with = "rules")]
    rule: Vec<String>,

    /// One JSON object instead of words.
    #[arg(long, conflicts_with = "rules")]
    json: bool,

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
    let run = runs::find(&options.run)?;
    let rules = options.rule.iter().try_fold(Rules::default(), |rules, setting| rules.setting(setting));
    let rules = rules.context("--rule")?;
    let reading = if options.rule.is_empty() { Reading::of(&run)? } else { Reading::examined(&run, &rules)? };
    if options.json {
        let mut value = json!(reading);
        value["healthy"] = reading.is_healthy().into();
        value["lines"] = reading.lines().into();
        value["coverage_text"] = reading.coverage.to_string().into();
        say(&value);
    } else {
        say_report(&reading.to_string());
    }
    Ok(())
}

fn list(rule: Rule) {
    let spec = spec(rule);
    let action = match spec.action {
        Action::Tell => String::new(),
        action => format!(", {}", action.id()),
    };
    say(&format_args!("{rule} ({}{action})", spec.severity.id()));
    say(&format_args!("  from {}", spec.source));
    let needs: Vec<&str> = spec.needs.iter().map(|need| need.text()).collect();
    if !needs.is_empty() {
        say(&format_args!("  needs {}", needs.join(" and ")));
    }
    for number in spec.numbers {
        say(&format_args!("  {:<16} {:>8}  {}", number.name, number.default, number.meaning));
    }
}

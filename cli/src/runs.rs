//! Finding the run that a path means, and tidying it.

use anyhow::{Context, Result, bail};
use clap::Args;
use gradscope::Run;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct CompactOptions {
    /// Run folder, or a folder of runs, of which the newest is taken.
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

/// `gradscope compact`.
pub fn compact(options: &CompactOptions) -> Result<()> {
    let run = find(&options.run)?;
    if run.is_live() {
        bail!("{}: it is being written; it compacts itself at its end", run.folder().display());
    }
    run.compact()?;
    println!("{}", run.folder().display());
    Ok(())
}

/// The run folder at `path`, or the newest one anywhere below it.
pub fn find(path: &Path) -> Result<Run> {
    if path.join("run.json").exists() {
        return Ok(Run::open(path)?);
    }
    if !path.is_dir() {
        bail!("{}: there is no such folder", path.display());
    }
    let mut found = Vec::new();
    collect(path, 0, &mut found).with_context(|| format!("{}", path.display()))?;
    // Names of runs begin with the time of their start.
    match found.into_iter().max_by_key(|folder| folder.file_name().map(ToOwned::to_owned)) {
        Some(newest) => {
            eprintln!("gradscope: the newest run of {} is {}", path.display(), newest.display());
            Ok(Run::open(newest)?)
        }
        None => bail!(
            "{}: no run folder is there (one has a run.json); `gradscope train` makes runs/MODEL/TIME-ID",
            path.display()
        ),
    }
}

/// Run folders lie two folders below `runs/`; a look further would be a search.
const DEPTH_MAX: usize = 3;

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.join("run.json").exists() {
            found.push(path);
        } else if depth < DEPTH_MAX && path.is_dir() {
            // A folder that can't be read is not the one that was meant.
            let _ = collect(&path, depth + 1, found);
        }
    }
    Ok(())
}

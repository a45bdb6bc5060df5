//! Finding the run that a path means, and tidying it.

pub use crate::terminal::{complain, say};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gradscope::{Finding, Run};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct CompactOptions {
    /// Run folder, or a folder of runs, of which the newest is taken.
    #[arg(value_name = "RUN", default_value = "runs")]
    run: PathBuf,
}

/// `gradscope compact`.
pub fn compact(options: &CompactOptions) -> Result<()> {
    let mut run = find(&options.run)?;
    run.compact()?;
    say(&run.folder().display());
    Ok(())
}

/// Every run in or below the folder, the newest first. One that can't be opened is told of on stderr.
pub fn all(path: &Path) -> Result<Vec<Run>> {
    if Run::is_at(path) {
        return Ok(vec![Run::open(path)?]);
    }
    ensure!(path.exists(), "{}: there is no such folder", path.display());
    let mut found = Vec::new();
    for folder in folders(path).with_context(|| format!("{}", path.display()))? {
        match Run::open(&folder) {
            Ok(run) => found.push(run),
            Err(error) => complain(&format_args!("{error}")),
        }
    }
    found.sort_by_key(|run| std::cmp::Reverse(run.manifest().start.clone()));
    Ok(found)
}

/// A finding in a list of runs.
pub fn brief(finding: &Finding) -> String {
    let of = finding.path.as_deref().map_or(String::new(), |path| format!(" of {path}"));
    format!("{}{of} since step {}", finding.rule, finding.first_step)
}

/// The run folder at `path`, or the one below it that was started last.
pub fn find(path: &Path) -> Result<Run> {
    if Run::is_at(path) {
        return Ok(Run::open(path)?);
    }
    match fs::metadata(path) {
        Err(_) => bail!("{}: there is no such folder", path.display()),
        Ok(found) if !found.is_dir() => bail!("{}: it is a file; a run is a folder with a run.json", path.display()),
        Ok(_) => {}
    }
    let (mut found, mut refused) = (Vec::new(), None);
    for folder in folders(path).with_context(|| format!("{}", path.display()))? {
        match Run::open(folder) {
            Ok(run) => found.push(run),
            Err(error) => refused = Some(error),
        }
    }
    let started = |run: &Run| (run.manifest().start.clone(), run.folder().file_name().map(ToOwned::to_owned));
    match (found.into_iter().max_by_key(started), refused) {
        (Some(newest), _) => {
            complain(&format_args!("the newest run of {} is {}", path.display(), newest.folder().display()));
            Ok(newest)
        }
        (None, Some(error)) => Err(error.into()),
        (None, None) => bail!(
            "{}: no run folder is there (one has a run.json); `gradscope train` makes runs/MODEL/TIME-ID",
            path.display()
        ),
    }
}

/// Run folders lie two folders below `runs/`; a look further would be a search.
const DEPTH_MAX: usize = 3;

/// Every run folder in or below the folder, in no order.
///
/// # Errors
/// Where the folder itself can't be read.
pub fn folders(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if Run::is_at(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    collect(path, 0, &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if Run::is_at(&path) {
            found.push(path);
        } else if depth < DEPTH_MAX && path.is_dir() {
            // A folder that can't be read is not the one that was meant.
            let _ = collect(&path, depth + 1, found);
        }
    }
    Ok(())
}

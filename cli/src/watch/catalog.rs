//! The runs of a folder by their names, and those that somebody looks at.

use crate::runs;
use anyhow::{Context, Result, anyhow, bail};
use gradscope::record::Severity;
use gradscope::store::{FINDINGS, Follower, Manifest, OVERVIEW};
use gradscope::{Run, RunStatus};
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Spans of steps that a run is held in: as many as a screen has columns.
const SPAN_COUNT_MAX: usize = 1024;
/// Runs are looked for again after this long.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// A run that nobody looks at any more is kept this long for a reader who comes back.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// A run that is followed.
pub struct Followed {
    pub id: String,
    pub follower: Mutex<Follower>,
    /// When somebody looked at it.
    looked: Mutex<Instant>,
}

impl Followed {
    /// Keeps it for a while.
    pub fn look(&self) {
        *locked(&self.looked) = Instant::now();
    }
}

/// When the manifest and the findings were changed, and how long they are.
type Stamps = [Option<(SystemTime, u64)>; 2];

/// What the list of runs says of one.
#[derive(Clone, Serialize)]
pub struct Entry {
    pub id: String,
    pub status: RunStatus,
    pub model: String,
    step_count: u64,
    start: String,
    /// Warnings, and the worst of them.
    warning_count: usize,
    worst: Option<Severity>,
    first_warning: Option<String>,
    /// Why it can't be read, where it can't.
    problem: Option<String>,
    #[serde(skip)]
    folder: PathBuf,
    #[serde(skip)]
    stamps: Stamps,
}

/// All runs of a folder.
pub struct Catalog {
    /// Without links: nothing outside is shown.
    root: PathBuf,
    listed: Mutex<(Option<Instant>, Vec<Entry>)>,
    followed: Mutex<HashMap<String, Arc<Followed>>>,
}

impl Catalog {
    pub fn new(root: &Path) -> Result<Self> {
        let root = root.canonicalize().with_context(|| format!("{}", root.display()))?;
        Ok(Self { root, listed: Mutex::default(), followed: Mutex::default() })
    }

    /// The runs, the newest first. Looks at most once a second.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut listed = locked(&self.listed);
        if listed.0.is_none_or(|at| at.elapsed() > LIST_EVERY) {
            let mut known: HashMap<PathBuf, Entry> =
                std::mem::take(&mut listed.1).into_iter().map(|entry| (entry.folder.clone(), entry)).collect();
            let folders = runs::folders(&self.root).with_context(|| format!("{}", self.root.display()))?;
            let entry = |folder: PathBuf| {
                let id = id(&self.root, &folder)?;
                let stamps = [Manifest::FILE, FINDINGS].map(|file| stamp(&folder.join(file)));
                match known.remove(&folder) {
                    // A run that is being written may be killed without a change to its files.
                    Some(entry) if entry.stamps == stamps && entry.status != RunStatus::Running => Some(entry),
                    _ => Some(Entry::of(id, folder, stamps, &self.root)),
                }
            };
            listed.1 = folders.into_iter().filter_map(entry).collect();
            listed.1.sort_by(|a, b| b.start.cmp(&a.start).then_with(|| b.id.cmp(&a.id)));
            // A link from one place of the folder to another names a run twice.
            listed.1.dedup_by(|a, b| a.id == b.id);
            listed.0 = Some(Instant::now());
        }
        Ok(listed.1.clone())
    }

    /// Opens a run that is listed, or shares it with others who look at it.
    pub fn follow(&self, id: &str) -> Result<Arc<Followed>> {
        if let Some(followed) = locked(&self.followed).get(id) {
            return Ok(Arc::clone(followed));
        }
        let find = |entries: Vec<Entry>| entries.into_iter().find(|entry| entry.id == id);
        let mut found = find(self.list()?);
        if found.is_none() {
            locked(&self.listed).0 = None;
            found = find(self.list()?);
        }
        // Of the list, and never a path made from what was asked for.
        let entry = found.ok_or_else(|| anyhow!("there is no run of that name"))?;
        if let Some(problem) = entry.problem {
            bail!("{problem}");
        }
        let follower = Mutex::new(Follower::open(&entry.folder, SPAN_COUNT_MAX)?);
        let mut all = locked(&self.followed);
        let looked = Mutex::new(Instant::now());
        let followed = Followed { id: id.to_owned(), follower, looked };
        Ok(Arc::clone(all.entry(id.to_owned()).or_insert_with(|| Arc::new(followed))))
    }

    /// Takes what has been added to the runs that somebody looks at: whether there was anything.
    pub fn poll(&self) -> bool {
        let mut changed = false;
        let watched: Vec<Arc<Followed>> = {
            let mut all = locked(&self.followed);
            all.retain(|_, run| Arc::strong_count(run) > 1 || locked(&run.looked).elapsed() < IDLE_MAX);
            all.values().filter(|run| Arc::strong_count(run) > 1).map(Arc::clone).collect()
        };
        for run in watched {
            run.look();
            // One that can't be read is told of by whoever looks at it next.
            let polled = locked(&run.follower).poll();
            if polled.is_err() {
                locked(&self.followed).remove(&run.id);
            }
            changed |= polled.unwrap_or(true);
        }
        changed
    }

    /// Whether the run is still followed: one whose folder is gone is not.
    pub fn has(&self, run: &Arc<Followed>) -> bool {
        locked(&self.followed).get(&run.id).is_some_and(|known| Arc::ptr_eq(known, run))
    }
}

impl Entry {
    fn of(id: String, folder: PathBuf, stamps: Stamps, root: &Path) -> Self {
        let none = Self {
            id,
            status: RunStatus::Unfinished,
            model: String::new(),
            step_count: 0,
            start: String::new(),
            warning_count: 0,
            worst: None,
            first_warning: None,
            problem: None,
            folder,
            stamps,
        };
        if let Some(link) = link_out_of(root, &none.folder) {
            let problem =
                format!("{}: it is a link out of the folder of runs, which the page does not follow", link.display());
            return Self { problem: Some(problem), ..none };
        }
        let read = Run::open(&none.folder).and_then(|run| run.findings().map(|findings| (run, findings)));
        let (run, findings) = match read {
            Ok(read) => read,
            Err(error) => return Self { problem: Some(error.to_string()), ..none },
        };
        let warnings: Vec<_> = findings.iter().filter(|finding| finding.severity >= Severity::Warn).collect();
        let manifest = run.manifest();
        Self {
            status: run.status(),
            model: manifest.facts.get("model").and_then(|model| model.as_str()).unwrap_or_default().to_owned(),
            // What a killed process noted last is some seconds old.
            step_count: match run.status() {
                RunStatus::Unfinished => run.step_count(u64::MAX).unwrap_or(manifest.step_count),
                _ => manifest.step_count,
            },
            start: manifest.start.clone(),
            warning_count: warnings.len(),
            worst: warnings.iter().map(|finding| finding.severity).max(),
            first_warning: warnings.first().map(|finding| runs::brief(finding)),
            ..none
        }
    }
}

/// The name of a run folder: its path below the root, which is without links. `None` outside.
pub fn id(root: &Path, folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let below = folder.strip_prefix(root).ok()?;
    let below = if below.as_os_str().is_empty() { Path::new(root.file_name()?) } else { below };
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    Some(parts.join("/"))
}

/// A file of a run that lies elsewhere than below the root.
fn link_out_of(root: &Path, folder: &Path) -> Option<PathBuf> {
    let is_link = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let leaves = |path: &PathBuf| path.canonicalize().map_or(true, |path| !path.starts_with(root));
    let parts = [folder.to_owned(), folder.join(OVERVIEW)];
    let files =
        parts.iter().filter_map(|part| std::fs::read_dir(part).ok()).flatten().flatten().map(|file| file.path());
    parts.iter().cloned().chain(files).find(|path| is_link(path) && leaves(path))
}

/// A lock whose holder panicked guards nothing that would be half done.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

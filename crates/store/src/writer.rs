//! The way to the thread that writes a run folder: a bounded queue, so that training never waits for a disk.

use super::lock::Lock;
use super::manifest::{Manifest, Missed, RunStart, SCHEMA_VERSION};
use super::overview;
use super::run::Run;
use super::tensorboard::Tensorboard;
use super::time;
use super::worker::{Message, Worker};
use crate::Error;
use gradscope_record::record::{Finding, Notice, NoticeKind, Param, RunStatus, StepRecord};
use serde_json::{Map, Value};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records that may wait for the disk. One that finds the queue full is counted and left out.
const QUEUE_LEN: usize = 256;
/// The folder of event files in a run folder.
pub const TENSORBOARD: &str = "tensorboard";
/// A disk that takes longer than this is not waited for.
const SYNC_TIME_MAX: Duration = Duration::from_secs(30);

/// Where a run is written.
#[derive(Clone, Debug)]
pub enum RunPlace {
    /// A folder of its own, `<parent>/<UTC time>-<id>`.
    New(PathBuf),
    /// A run folder, which goes on from a step: rows at or past it are no part of the run any more.
    Resumed {
        /// The run folder itself.
        folder: PathBuf,
        /// The step after the checkpoint's last.
        first_step: u64,
    },
}

/// The way to the writing thread.
pub struct RunWriter {
    folder: PathBuf,
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<Result<(), String>>>,
    failures: Receiver<String>,
    /// Steps, and what comes beside them, that found the queue full.
    unwritten_count: u64,
    told_behind: bool,
    thread_is_gone: bool,
    /// The failure that was told last.
    told: Option<String>,
}

impl std::fmt::Debug for RunWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunWriter").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl RunWriter {
    /// Makes the run's folder, or the next segment of one, and starts the thread.
    ///
    /// # Errors
    /// Where the folder or a file in it can't be made, is being written by another process, or is of another model.
    pub fn open(place: &RunPlace, start: RunStart) -> Result<Self, Error> {
        match place {
            RunPlace::Resumed { folder, first_step } => Self::open_in(folder, Some(*first_step), start),
            RunPlace::New(parent) => {
                let folder = new_folder(parent)?;
                Self::open_in(&folder, None, start).inspect_err(|_| {
                    // Nothing half-made stays behind.
                    let _ = fs::remove_dir_all(&folder);
                })
            }
        }
    }

    fn open_in(folder: &Path, first_step: Option<u64>, start: RunStart) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::RunFolder { path: folder.to_owned(), reason: error.to_string() };
        if first_step.is_some() {
            // A folder that is no run gets no lock file.
            Manifest::read(folder)?;
        }
        let lock = Lock::take(folder)?;
        // What the process before wrote last.
        let earlier = match first_step {
            Some(first_step) => {
                let run = Run::open(folder)?;
                Some(Manifest { step_count: run.step_count(first_step)?, ..run.manifest().clone() })
            }
            None => None,
        };
        let mut manifest = manifest(&start, earlier, folder)?;
        let index = manifest.begin(first_step.unwrap_or(0));
        fs::create_dir_all(folder.join(overview::FOLDER)).map_err(failed)?;
        let tensorboard =
            start.tensorboard.then(|| Tensorboard::create(&folder.join(TENSORBOARD), &manifest)).transpose()?;
        // The last thing that can fail: from here on, rows past the first step are no part of the run.
        manifest.write(folder).map_err(failed)?;
        let (queue, messages) = sync_channel(QUEUE_LEN);
        let (failing, failures) = channel();
        let worker = Worker::new(folder, index, manifest, start, tensorboard, failing, lock);
        let thread = std::thread::Builder::new().name("gradscope record".into());
        let thread = thread.spawn(move || worker.run(&messages)).map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            queue: Some(queue),
            thread: Some(thread),
            failures,
            unwritten_count: 0,
            told_behind: false,
            thread_is_gone: false,
            told: None,
        })
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends a record off; it is on disk half a second later. Never waits: one that finds the queue full is left out,
    /// and counted. Its tensors follow [`RunStart::params`](super::RunStart); with more of them the writing thread
    /// dies, which [`RunWriter::failures`] tells. Steps ascend.
    pub fn write(&mut self, record: &StepRecord) {
        self.send(Message::Record(Box::new(record.clone())));
    }

    /// Sends a notice off.
    pub fn write_notice(&mut self, notice: &Notice) {
        self.send(Message::Notice(notice.clone()));
    }

    /// Sends the findings of a step off; they are on disk at once.
    pub fn write_findings(&mut self, findings: Vec<Finding>) {
        self.send(Message::Findings(findings));
    }

    /// Which parameters have been frozen or unfrozen, by their places: the manifest follows.
    pub fn write_trainable(&mut self, changes: &[(usize, bool)]) {
        self.send(Message::Trainable(changes.to_vec()));
    }

    /// A figure that is known only after its step.
    pub fn log(&mut self, step: u64, epoch: Option<u64>, name: &str, value: f64) {
        self.send(Message::Log { step, epoch, name: name.to_owned(), value });
    }

    fn send(&mut self, message: Message) {
        let Some(queue) = &self.queue else { return };
        if let Err(error) = queue.try_send(message) {
            self.unwritten_count += 1;
            self.thread_is_gone |= matches!(error, TrySendError::Disconnected(_));
        }
    }

    /// Waits until everything sent so far is on disk; half a minute at most. False where it is not.
    pub fn sync(&self) -> bool {
        let Some(queue) = &self.queue else { return false };
        let begun = Instant::now();
        let (written, wait) = channel();
        let mut message = Message::Sync(written);
        loop {
            match queue.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if begun.elapsed() < SYNC_TIME_MAX => message = back,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return false,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        wait.recv_timeout(SYNC_TIME_MAX.saturating_sub(begun.elapsed())).unwrap_or(false)
    }

    /// What went wrong since it was last asked; each failure is told once.
    pub fn failures(&mut self) -> Vec<NoticeKind> {
        let mut reasons: Vec<String> = self.failures.try_iter().collect();
        if self.thread_is_gone {
            reasons.push(PANICKED.into());
        }
        let mut failures: Vec<_> = reasons.into_iter().filter_map(|reason| self.tell(reason)).collect();
        if self.unwritten_count > 0 && !self.told_behind && !self.thread_is_gone {
            self.told_behind = true;
            failures.push(NoticeKind::StoreBehind { queue_len: QUEUE_LEN });
        }
        failures
    }

    fn tell(&mut self, reason: String) -> Option<NoticeKind> {
        let new = self.told.as_ref() != Some(&reason);
        self.told = Some(reason.clone());
        new.then_some(NoticeKind::StoreFailed { reason })
    }

    /// Waits until everything is on disk, notes `status` and the end in the manifest, and returns the folder, or `None` where
    /// that is gone; and what went wrong.
    pub fn finish(mut self, status: RunStatus, missed: Missed) -> (Option<PathBuf>, Vec<NoticeKind>) {
        self.close(status, missed)
    }

    fn close(&mut self, status: RunStatus, missed: Missed) -> (Option<PathBuf>, Vec<NoticeKind>) {
        let mut failures = self.failures();
        if let Some(queue) = self.queue.take() {
            // An error is a thread that is gone, which `join` finds.
            let _ = queue.send(Message::Finish { status, missed, unwritten_count: self.unwritten_count });
        }
        let ended = self.thread.take().map(JoinHandle::join);
        let mut reasons: Vec<String> = self.failures.try_iter().collect();
        match ended {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(reason))) => reasons.push(reason),
            Some(Err(_)) => reasons.push(PANICKED.into()),
        }
        failures.extend(reasons.into_iter().filter_map(|reason| self.tell(reason)));
        (Manifest::is_there(&self.folder).then(|| self.folder.clone()), failures)
    }
}

const PANICKED: &str = "writing panicked; the panic's own message stands in the log";

impl Drop for RunWriter {
    /// A writer that was not finished leaves what it has, and says so.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.close(RunStatus::Unfinished, Missed::default());
        }
    }
}

fn new_folder(parent: &Path) -> Result<PathBuf, Error> {
    let now = std::time::SystemTime::now();
    let id = std::process::id() ^ now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    let folder = parent.join(format!("{}-{:05x}", time::stamp(now), id & 0xf_ffff));
    let made = fs::create_dir_all(parent).and_then(|()| fs::create_dir(&folder));
    made.map_err(|error| Error::RunFolder { path: folder.clone(), reason: error.to_string() })?;
    Ok(folder)
}

fn manifest(start: &RunStart, earlier: Option<Manifest>, folder: &Path) -> Result<Manifest, Error> {
    if let Some(earlier) = &earlier {
        let same = |(a, b): (&Param, &Param)| a.path == b.path && a.shape == b.shape;
        if earlier.params.len() != start.params.len() || !earlier.params.iter().zip(&start.params).all(same) {
            let (expected, found) = (earlier.params.len(), start.params.len());
            return Err(Error::OtherModel { path: folder.to_owned(), expected, found });
        }
    }
    let facts: Map<String, Value> = start.facts.iter().cloned().collect();
    Ok(Manifest {
        schema_version: SCHEMA_VERSION,
        gradscope_version: env!("CARGO_PKG_VERSION").into(),
        burn_version: start.burn_version.clone(),
        status: RunStatus::Running,
        start: earlier.as_ref().map_or_else(time::now, |earlier| earlier.start.clone()),
        end: None,
        step_count: earlier.as_ref().map_or(0, |earlier| earlier.step_count),
        dropped_count: earlier.as_ref().map_or(0, |earlier| earlier.dropped_count),
        lost_count: earlier.as_ref().map_or(0, |earlier| earlier.lost_count),
        unwritten_count: earlier.as_ref().map_or(0, |earlier| earlier.unwritten_count),
        adapter: start.adapter.clone(),
        engine: start.engine.clone(),
        fusion: start.fusion,
        autotune: start.autotune,
        settings: start.settings.clone(),
        facts,
        params: start.params.clone(),
        buffers: start.buffers.clone(),
        segments: earlier.map_or_else(Vec::new, |earlier| earlier.segments),
    })
}

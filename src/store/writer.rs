//! Writing a run folder: a thread of its own behind a bounded queue, so that training never waits for a disk.

use super::manifest::{Manifest, NoticeLine, SCHEMA_VERSION};
use super::overview::{self, Overview};
use super::segment::SegmentFile;
use super::tables::{HistogramTable, MapTable, ScalarTable, Source, StatsTable, TapTable};
use super::tensorboard::Tensorboard;
use super::time;
use crate::error::Error;
use crate::record::{Figure, Notice, NoticeKind, Param, RunStatus, StepRecord};
use crate::stats::Groups;
use crate::summary::Summary;
use serde_json::{Map, Value};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rows reach the disk at least this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Records that may wait for the disk. One that finds the queue full is counted and left out.
const QUEUE_LEN: usize = 256;
/// A disk that takes longer than this is not waited for.
const SYNC_SECS_MAX: Duration = Duration::from_secs(30);
/// Notices that are kept for a disk that has no room.
const NOTICE_BYTES_MAX: usize = 1 << 20;
/// The folder of event files in a run folder.
pub const TENSORBOARD: &str = "tensorboard";
/// Held while a process writes the run.
const LOCK: &str = "lock";

/// What is known of a run when it starts.
#[derive(Clone, Debug)]
pub struct RunStart {
    pub burn_version: String,
    pub adapter: String,
    /// Which engine reduces the gradients.
    pub engine: String,
    /// Whether burn was built with its fusion, and with its autotune.
    pub fusion: bool,
    pub autotune: bool,
    pub settings: Value,
    pub groups: Groups,
    pub seed_crossings: bool,
    /// Whether event files are written too.
    pub tensorboard: bool,
    pub params: Vec<Param>,
    /// The caller's own facts: model, optimizer, seed, data.
    pub facts: Vec<(String, Value)>,
}

/// Where a run is written.
#[derive(Clone, Debug)]
pub enum RunPlace {
    /// A folder of its own, `<parent>/<UTC time>-<id>`.
    New(PathBuf),
    /// A run folder, which goes on from a step: rows at or past it are no part of the run any more.
    Resumed { folder: PathBuf, first_step: u64 },
}

enum Message {
    Record(Box<StepRecord>),
    Notice(Notice),
    Log {
        step: u64,
        epoch: Option<u64>,
        name: String,
        value: f64,
    },
    /// Everything so far is to be on disk; the answer says that it was tried.
    Sync(Sender<()>),
    Finish {
        status: RunStatus,
        dropped_count: u64,
        lost_count: u64,
        unwritten_count: u64,
    },
}

/// The way to the writing thread.
pub struct RunWriter {
    folder: PathBuf,
    queue: Option<SyncSender<Message>>,
    /// Messages that were sent, and that the thread has taken.
    sent_count: AtomicU64,
    taken_count: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<(), String>>>,
    failures: Receiver<NoticeKind>,
    /// Steps and late figures that found the queue full.
    unwritten_count: u64,
    told_behind: bool,
    told_failed: bool,
}

impl RunWriter {
    /// Makes the run's folder, or the next segment of one, and starts the thread.
    ///
    /// # Errors
    /// Where the folder or a file in it can't be made, is being written by another process, or is of another model.
    pub fn open(place: &RunPlace, start: RunStart) -> Result<Self, Error> {
        let (folder, first_step) = match place {
            RunPlace::New(parent) => (new_folder(parent)?, None),
            RunPlace::Resumed { folder, first_step } => (folder.clone(), Some(*first_step)),
        };
        Self::open_in(&folder, first_step, start).inspect_err(|_| {
            if first_step.is_none() {
                // Nothing half-made stays behind.
                let _ = fs::remove_dir_all(&folder);
            }
        })
    }

    fn open_in(folder: &Path, first_step: Option<u64>, start: RunStart) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::RunFolder { path: folder.to_owned(), reason: error.to_string() };
        let earlier = first_step.map(|_| Manifest::read(folder)).transpose()?;
        let lock = lock(folder)?;
        let mut manifest = manifest(&start, earlier.as_ref(), folder)?;
        let index = manifest.begin(first_step.unwrap_or(0));
        manifest.write(folder).map_err(failed)?;
        fs::create_dir_all(folder.join(overview::FOLDER)).map_err(failed)?;
        let tensorboard =
            start.tensorboard.then(|| Tensorboard::create(&folder.join(TENSORBOARD), &manifest)).transpose()?;
        let params: Arc<[Param]> = start.params.into();
        let figures: Vec<_> = Figure::of_groups(start.groups).collect();
        let (queue, messages) = sync_channel(QUEUE_LEN);
        let (failing, failures) = channel();
        let taken_count = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            taken_count: Arc::clone(&taken_count),
            overview: Overview::new(&figures, params.len(), |level| overview::path(folder, index, level)),
            stats: SegmentFile::new(
                folder,
                index,
                StatsTable::new(start.groups, start.seed_crossings, Arc::clone(&params)),
            ),
            scalars: SegmentFile::new(folder, index, ScalarTable::new()),
            taps: SegmentFile::new(folder, index, TapTable::new()),
            histograms: SegmentFile::new(folder, index, HistogramTable::new(Arc::clone(&params))),
            maps: SegmentFile::new(folder, index, MapTable::new(params)),
            notices: Vec::new(),
            folder: folder.to_owned(),
            index,
            manifest,
            tensorboard,
            state: State::Writing,
            failing,
            _lock: lock,
        };
        let thread = std::thread::Builder::new()
            .name("gradscope record".into())
            .spawn(move || worker.run(&messages))
            .map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            queue: Some(queue),
            sent_count: AtomicU64::new(0),
            taken_count,
            thread: Some(thread),
            failures,
            unwritten_count: 0,
            told_behind: false,
            told_failed: false,
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends a record off; it is on disk a second later. Never waits: one that finds the queue full is left out, and counted.
    pub fn write(&mut self, record: &StepRecord) {
        let step = !record.last_move;
        if self.send(Message::Record(Box::new(record.clone()))) || !step {
            return;
        }
        self.unwritten_count += 1;
    }

    /// Sends a notice off.
    pub fn write_notice(&mut self, notice: &Notice) {
        self.send(Message::Notice(notice.clone()));
    }

    /// A figure that is known only after its step.
    pub fn log(&mut self, step: u64, epoch: Option<u64>, name: &str, value: f64) {
        let sent = self.send(Message::Log { step, epoch, name: name.to_owned(), value });
        self.unwritten_count += u64::from(!sent);
    }

    fn send(&self, message: Message) -> bool {
        self.queue.as_ref().is_some_and(|queue| match queue.try_send(message) {
            Ok(()) => {
                self.sent_count.fetch_add(1, Relaxed);
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        })
    }

    /// Waits until everything sent so far is on disk, or was tried to be; not for ever.
    pub fn sync(&self) {
        let Some(queue) = &self.queue else { return };
        let begun = Instant::now();
        let (tried, wait) = channel();
        let mut message = Message::Sync(tried);
        while let Err(TrySendError::Full(back)) = queue.try_send(message) {
            if begun.elapsed() > SYNC_SECS_MAX {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(SYNC_SECS_MAX.saturating_sub(begun.elapsed()));
    }

    /// Messages that wait for the disk.
    pub fn queued_count(&self) -> u64 {
        self.sent_count.load(Relaxed).saturating_sub(self.taken_count.load(Relaxed))
    }

    /// What went wrong since it was last asked; each kind of failure is told once.
    pub fn failures(&mut self) -> Vec<NoticeKind> {
        let mut failures: Vec<_> = self.failures.try_iter().collect();
        self.told_failed |= !failures.is_empty();
        if self.unwritten_count > 0 && !self.told_behind {
            self.told_behind = true;
            failures.push(NoticeKind::StoreBehind { queue_len: QUEUE_LEN });
        }
        failures
    }

    /// Waits until everything is on disk, notes `status` and the end in the manifest, and returns the folder; `None` where
    /// it could not be kept, which a notice has told.
    pub fn finish(mut self, status: RunStatus, summary: &Summary) -> (Option<PathBuf>, Vec<NoticeKind>) {
        self.close(status, summary.dropped_count, summary.lost_count)
    }

    fn close(&mut self, status: RunStatus, dropped_count: u64, lost_count: u64) -> (Option<PathBuf>, Vec<NoticeKind>) {
        if let Some(queue) = self.queue.take() {
            let unwritten_count = self.unwritten_count;
            // An error is a thread that is gone, which `join` finds.
            let _ = queue.send(Message::Finish { status, dropped_count, lost_count, unwritten_count });
        }
        let ended = self.thread.take().map(JoinHandle::join);
        let mut failures = self.failures();
        let kept = match ended {
            None | Some(Ok(Ok(()))) => true,
            Some(Ok(Err(reason))) => {
                if !self.told_failed {
                    failures.push(NoticeKind::StoreFailed { reason });
                }
                false
            }
            Some(Err(_)) => {
                let reason = "writing panicked; the panic's own message stands in the log".into();
                failures.push(NoticeKind::StoreFailed { reason });
                false
            }
        };
        ((kept || Manifest::is_there(&self.folder)).then(|| self.folder.clone()), failures)
    }
}

impl Drop for RunWriter {
    /// A writer that was not finished leaves what it has, and says so.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.close(RunStatus::Unfinished, 0, 0);
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

/// Two processes never write one run.
fn lock(folder: &Path) -> Result<File, Error> {
    let failed = |reason: String| Error::RunFolder { path: folder.to_owned(), reason };
    let path = folder.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| failed(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(failed("another process is writing it; stop that one, or wait for its end".into()))
        }
        // A file system without locks: better a record without one than none.
        Err(fs::TryLockError::Error(_)) => Ok(file),
    }
}

/// Whether a process is writing the run at this moment.
pub(super) fn is_locked(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

fn manifest(start: &RunStart, earlier: Option<&Manifest>, folder: &Path) -> Result<Manifest, Error> {
    if let Some(earlier) = earlier {
        let same = |(a, b): (&Param, &Param)| a.path == b.path && a.shape == b.shape;
        if earlier.params.len() != start.params.len() || !earlier.params.iter().zip(&start.params).all(same) {
            let reason = format!(
                "it is of another model, or of another selection: {} parameters were observed, and these are {}; resume with the same model and `select`",
                earlier.params.len(),
                start.params.len()
            );
            return Err(Error::RunFolder { path: folder.to_owned(), reason });
        }
    }
    let facts: Map<String, Value> = start.facts.iter().cloned().collect();
    Ok(Manifest {
        schema_version: SCHEMA_VERSION,
        gradscope_version: env!("CARGO_PKG_VERSION").into(),
        burn_version: start.burn_version.clone(),
        status: RunStatus::Running,
        start: earlier.map_or_else(time::now, |earlier| earlier.start.clone()),
        end: None,
        step_count: earlier.map_or(0, |earlier| earlier.step_count),
        dropped_count: earlier.map_or(0, |earlier| earlier.dropped_count),
        lost_count: earlier.map_or(0, |earlier| earlier.lost_count),
        unwritten_count: earlier.map_or(0, |earlier| earlier.unwritten_count),
        adapter: start.adapter.clone(),
        engine: start.engine.clone(),
        fusion: start.fusion,
        autotune: start.autotune,
        settings: start.settings.clone(),
        facts,
        params: start.params.clone(),
        segments: earlier.map_or_else(Vec::new, |earlier| earlier.segments.clone()),
    })
}

enum State {
    Writing,
    /// The last flush failed, and the next may not.
    Failing,
    /// The folder is gone.
    Gone,
}

struct Worker {
    folder: PathBuf,
    index: u32,
    manifest: Manifest,
    stats: SegmentFile<StatsTable>,
    scalars: SegmentFile<ScalarTable>,
    taps: SegmentFile<TapTable>,
    histograms: SegmentFile<HistogramTable>,
    maps: SegmentFile<MapTable>,
    overview: Overview,
    /// Lines for `notices.jsonl`.
    notices: Vec<u8>,
    tensorboard: Option<Tensorboard>,
    state: State,
    taken_count: Arc<AtomicU64>,
    failing: Sender<NoticeKind>,
    _lock: File,
}

impl Worker {
    fn run(mut self, messages: &Receiver<Message>) -> Result<(), String> {
        #[cfg(feature = "parquet")]
        let compacting = super::compact::in_background(&self.folder, &self.manifest, self.index);
        let mut flushed = Instant::now();
        loop {
            let message = messages.recv_timeout(FLUSH_EVERY.saturating_sub(flushed.elapsed()));
            self.taken_count.fetch_add(u64::from(message.is_ok()), Relaxed);
            match message {
                Ok(Message::Record(record)) => self.record(&record),
                Ok(Message::Notice(notice)) => self.notice(&notice),
                Ok(Message::Log { step, epoch, name, value }) => {
                    self.scalars.table.put(step, epoch, &Source::Log, &name, value);
                    if let Some(tensorboard) = &mut self.tensorboard {
                        tensorboard.scalar(step, &name, value);
                    }
                }
                Ok(Message::Sync(tried)) => {
                    let written = self.flush();
                    self.judge(written);
                    // Nobody listens where waiting took too long.
                    let _ = tried.send(());
                }
                Ok(Message::Finish { status, dropped_count, lost_count, unwritten_count }) => {
                    self.manifest.dropped_count += dropped_count;
                    self.manifest.lost_count += lost_count;
                    self.manifest.unwritten_count += unwritten_count;
                    #[cfg(feature = "parquet")]
                    if let Some(compacting) = compacting {
                        // What failed is tried again when the run is opened next.
                        let _ = compacting.join();
                    }
                    return self.finish(status);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(RunStatus::Unfinished),
            }
            if flushed.elapsed() >= FLUSH_EVERY {
                let written = self.flush();
                self.judge(written);
                flushed = Instant::now();
            }
        }
    }

    fn record(&mut self, record: &StepRecord) {
        if matches!(self.state, State::Gone) {
            self.manifest.unwritten_count += u64::from(!record.last_move);
            return;
        }
        self.stats.table.push(record);
        self.scalars.table.push(record);
        self.taps.table.push(record);
        self.histograms.table.push(record);
        self.maps.table.push(record);
        for (tensor, found) in record.tensors.iter().enumerate() {
            self.overview.add(record.step, tensor, found);
        }
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.record(record);
        }
        self.manifest.step_count += u64::from(!record.last_move);
    }

    fn notice(&mut self, notice: &Notice) {
        let line = NoticeLine { segment: self.index, notice: notice.clone() };
        if serde_json::to_writer(&mut self.notices, &line).is_ok() {
            self.notices.push(b'\n');
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !Manifest::is_there(&self.folder) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the folder was removed, moved or taken away"));
        }
        // Each is tried, whatever the others.
        let all = [
            self.stats.flush(),
            self.scalars.flush(),
            self.taps.flush(),
            self.histograms.flush(),
            self.maps.flush(),
            self.flush_notices(),
            self.overview.flush(),
            self.tensorboard.as_mut().map_or(Ok(()), Tensorboard::flush),
        ];
        all.into_iter().collect()
    }

    fn flush_notices(&mut self) -> io::Result<()> {
        if self.notices.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).open(self.folder.join("notices.jsonl"))?;
        file.write_all(&self.notices)?;
        self.notices.clear();
        Ok(())
    }

    /// A failure is told once; what failed is tried again every second, unless the folder is gone.
    fn judge(&mut self, written: io::Result<()>) {
        let Err(error) = written else {
            self.state = State::Writing;
            return;
        };
        let gone = error.kind() == io::ErrorKind::NotFound;
        if matches!(self.state, State::Writing) {
            // Nobody listens where the scope is gone.
            let _ = self.failing.send(NoticeKind::StoreFailed { reason: error.to_string() });
        }
        self.state = if gone { State::Gone } else { State::Failing };
        if self.notices.len() > NOTICE_BYTES_MAX {
            self.notices.clear();
        }
    }

    fn finish(mut self, status: RunStatus) -> Result<(), String> {
        if matches!(self.state, State::Gone) {
            return Err("the run folder is gone".into());
        }
        let written = self.flush();
        let ends = [
            written,
            self.stats.finish(),
            self.scalars.finish(),
            self.taps.finish(),
            self.histograms.finish(),
            self.maps.finish(),
            self.overview.finish(),
            self.tensorboard.as_mut().map_or(Ok(()), Tensorboard::flush),
        ];
        let ended: io::Result<()> = ends.into_iter().collect();
        let rows = self.manifest.params.len().max(1) as u64;
        if ended.is_err() {
            self.stats.stream.give_up();
        }
        self.manifest.unwritten_count += self.stats.stream.lost_row_count.div_ceil(rows);
        // The manifest says how the run ended even where its last rows could not be written.
        self.manifest.close(status);
        let noted = self.manifest.write(&self.folder);
        #[cfg(feature = "parquet")]
        let compacted = super::compact::closed(&self.folder, &self.manifest);
        #[cfg(not(feature = "parquet"))]
        let compacted: Result<(), Error> = Ok(());
        ended.and(noted).map_err(|error| error.to_string())?;
        compacted.map_err(|error| error.to_string())
    }
}

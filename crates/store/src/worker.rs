//! The thread that writes a run folder.

use super::flight::FlightRecorder;
use super::lines::Lines;
use super::lock::Lock;
use super::manifest::{FINDINGS, FindingLine, Manifest, Missed, NOTICES, NoticeLine, RunStart};
use super::overview::{self, Overview};
use super::segment::SegmentFile;
use super::tables::{HistogramTable, MapTable, ScalarTable, Source, StatsTable, TapTable};
use super::tensorboard::Tensorboard;
use gradscope_record::record::{FOLDER_GONE, Figure, Finding, Notice, Param, RunStatus, StepRecord};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Rows reach the disk at least this often.
const FLUSH_EVERY: Duration = Duration::from_millis(400);
/// The manifest's counts are brought up to date this often.
const NOTE_EVERY: Duration = Duration::from_secs(5);

pub(super) enum Message {
    Record(Box<StepRecord>),
    Notice(Notice),
    Findings(Vec<Finding>),
    /// Places of parameters that were frozen or unfrozen, and whether they train now.
    Trainable(Vec<(usize, bool)>),
    Log {
        step: u64,
        epoch: Option<u64>,
        name: String,
        value: f64,
    },
    /// Everything so far is to be on disk; the answer says whether it is.
    Sync(Sender<bool>),
    Finish {
        status: RunStatus,
        missed: Missed,
        unwritten_count: u64,
    },
}

#[derive(PartialEq)]
enum State {
    Writing,
    /// The last flush failed, and the next may not.
    Failing,
    /// The folder is gone.
    Gone,
}

pub(super) struct Worker {
    folder: PathBuf,
    index: u32,
    manifest: Manifest,
    stats: SegmentFile<StatsTable>,
    scalars: SegmentFile<ScalarTable>,
    taps: SegmentFile<TapTable>,
    histograms: SegmentFile<HistogramTable>,
    maps: SegmentFile<MapTable>,
    overview: Overview,
    notices: Lines,
    findings: Lines,
    tensorboard: Option<Tensorboard>,
    flight: FlightRecorder,
    state: State,
    failing: Sender<String>,
    _lock: Lock,
}

impl Worker {
    pub fn new(
        folder: &Path,
        index: u32,
        manifest: Manifest,
        start: RunStart,
        tensorboard: Option<Tensorboard>,
        failing: Sender<String>,
        lock: Lock,
    ) -> Self {
        let params: Arc<[Param]> = start.params.into();
        let figures: Vec<_> = Figure::of_groups(start.groups).collect();
        let stats = StatsTable::new(start.groups, Arc::clone(&params));
        Self {
            overview: Overview::new(&figures, params.len(), |level| overview::path(folder, index, level)),
            stats: SegmentFile::new(folder, index, stats),
            scalars: SegmentFile::new(folder, index, ScalarTable::new()),
            taps: SegmentFile::new(folder, index, TapTable::new()),
            histograms: SegmentFile::new(folder, index, HistogramTable::new(Arc::clone(&params))),
            maps: SegmentFile::new(folder, index, MapTable::new(params)),
            notices: Lines::new(folder.join(NOTICES)),
            findings: Lines::new(folder.join(FINDINGS)),
            folder: folder.to_owned(),
            index,
            manifest,
            tensorboard,
            flight: FlightRecorder::new(start.flight_recorder_len),
            state: State::Writing,
            failing,
            _lock: lock,
        }
    }

    /// Works until it is told to finish. An error, in words, where not everything could be written then.
    pub fn run(mut self, messages: &Receiver<Message>) -> Result<(), String> {
        #[cfg(feature = "parquet")]
        let compacting = super::compact::in_background(&self.folder, &self.manifest, self.index);
        let (mut flushed, mut noted) = (Instant::now(), Instant::now());
        let (status, missed, unwritten_count) = loop {
            match messages.recv_timeout(FLUSH_EVERY.saturating_sub(flushed.elapsed())) {
                Ok(Message::Finish { status, missed, unwritten_count }) => break (status, missed, unwritten_count),
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break (RunStatus::Unfinished, Missed::default(), 0),
            }
            if flushed.elapsed() >= FLUSH_EVERY {
                self.flush_and_judge();
                flushed = Instant::now();
            }
            if noted.elapsed() >= NOTE_EVERY && self.state == State::Writing {
                // A failure is met again by the next flush.
                let _ = self.manifest.write(&self.folder);
                noted = Instant::now();
            }
        };
        self.manifest.dropped_count += missed.dropped_count;
        self.manifest.lost_count += missed.lost_count;
        self.manifest.unwritten_count += unwritten_count;
        #[cfg(feature = "parquet")]
        if let Some(compacting) = compacting {
            // What failed is tried again below.
            let _ = compacting.join();
        }
        self.finish(status)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Record(record) => {
                self.record(&record);
                self.flight.push(record);
            }
            Message::Notice(notice) => self.notices.put(&NoticeLine { segment: self.index, notice }),
            Message::Findings(findings) => {
                for finding in findings {
                    if let Some(tensorboard) = &mut self.tensorboard {
                        tensorboard.set_wall_secs(None);
                        tensorboard.finding(&finding);
                    }
                    self.flight.snapshot(&self.folder, &finding);
                    self.findings.put(&FindingLine { segment: self.index, finding });
                }
                self.flush_and_judge();
            }
            Message::Trainable(changes) => {
                for (place, trainable) in changes {
                    if let Some(param) = self.manifest.params.get_mut(place) {
                        param.trainable = trainable;
                    }
                }
            }
            Message::Log { step, epoch, name, value } => {
                self.scalars.table.put(step, epoch, &Source::Log, &name, value);
                if let Some(tensorboard) = &mut self.tensorboard {
                    tensorboard.set_wall_secs(None);
                    tensorboard.scalar(step, &name, value);
                }
            }
            Message::Sync(written) => {
                self.flush_and_judge();
                // Nobody listens where waiting took too long.
                let _ = written.send(self.state == State::Writing);
            }
            // The loop ends with it.
            Message::Finish { .. } => {}
        }
    }

    fn record(&mut self, record: &StepRecord) {
        if self.state == State::Gone {
            return;
        }
        self.stats.table.push(record);
        self.scalars.table.push(record);
        self.taps.table.push(record);
        self.histograms.table.push(record);
        self.maps.table.push(record);
        // The row of the last update is no step.
        let shown = record.tensors.iter().enumerate().filter(|(_, found)| found.was_due() && !record.last_move);
        for (tensor, found) in shown {
            self.overview.add(record.step, tensor, found);
        }
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.record(record);
        }
        self.manifest.step_count += u64::from(!record.last_move);
    }

    fn flush(&mut self) -> io::Result<()> {
        if !Manifest::is_there(&self.folder) {
            self.state = State::Gone;
            return Err(io::Error::other(FOLDER_GONE));
        }
        // Each is tried, whatever the others.
        let all = [
            self.stats.flush(),
            self.scalars.flush(),
            self.taps.flush(),
            self.histograms.flush(),
            self.maps.flush(),
            self.notices.flush(),
            self.findings.flush(),
            self.overview.flush(),
            self.tensorboard.as_mut().map_or(Ok(()), Tensorboard::flush),
        ];
        all.into_iter().collect()
    }

    /// Writes what there is. A failure is told once; what failed is tried again by the next flush, unless the folder is gone.
    fn flush_and_judge(&mut self) {
        if self.state == State::Gone {
            return;
        }
        let before = std::mem::replace(&mut self.state, State::Writing);
        if let Err(error) = self.flush() {
            if self.state == State::Writing {
                self.state = State::Failing;
            }
            if before == State::Writing {
                // Nobody listens where the scope is gone.
                let _ = self.failing.send(error.to_string());
            }
        }
    }

    fn finish(mut self, status: RunStatus) -> Result<(), String> {
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.set_wall_secs(None);
            tensorboard.ended(status, self.manifest.step_count);
        }
        self.flush_and_judge();
        if self.state == State::Gone {
            return Ok(());
        }
        let ends = [
            self.stats.finish(),
            self.scalars.finish(),
            self.taps.finish(),
            self.histograms.finish(),
            self.maps.finish(),
            self.overview.finish(),
            self.tensorboard.as_mut().map_or(Ok(()), Tensorboard::flush),
        ];
        let ended: io::Result<()> = ends.into_iter().collect();
        self.stats.stream.give_up();
        let lost_count = self.stats.stream.lost_step_count.min(self.manifest.step_count);
        self.manifest.step_count -= lost_count;
        self.manifest.unwritten_count += lost_count;
        if self.overview.has_gaps() {
            // Rows tell the same; a view of a long run takes longer over them.
            self.overview.remove();
        }
        // The manifest says how the run ended even where its last rows could not be written.
        self.manifest.close(status);
        let noted = self.manifest.write(&self.folder);
        ended.and(noted).map_err(|error| error.to_string())?;
        #[cfg(feature = "parquet")]
        super::compact::closed(&self.folder, &self.manifest).map_err(|error| error.to_string())?;
        Ok(())
    }
}

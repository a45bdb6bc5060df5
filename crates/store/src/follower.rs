//! A run folder, followed as it grows: what a live view holds of it, whatever its length.

use super::curves::Curves;
use super::frames::Batches;
use super::manifest::{FINDINGS, Manifest};
use super::run::{Run, SeriesName};
use super::source::{Source, damaged, within};
use super::tables::{ScalarRows, ScalarTable, StatsTable, Table};
use super::trace::Trace;
use crate::Error;
use arrow_array::RecordBatch;
use gradscope_record::record::{Figure, Finding, RunStatus};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Cells of a follower, 12 bytes each: of models with many tensors there are fewer spans.
const CELL_COUNT_MAX: usize = 8 << 20;
/// Spans that there are however many tensors a model has.
const SPAN_COUNT_MIN: usize = 64;
/// Above this many rows the first look is at the overview.
const ROW_COUNT_MAX: u64 = 50_000;
/// What one poll takes of a long run, at most: then there is something to show.
const POLL_TIME_MAX: Duration = Duration::from_millis(150);
/// Whether a process still writes is asked this often: asking takes the lock for a moment.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// A run in at most so many spans of steps, and what has been added since the last look.
///
/// Curves come first; what takes long of them, and figures over all tensors, follow over the next polls.
pub struct Follower {
    run: Run,
    span_count_max: usize,
    status: RunStatus,
    asked: Instant,
    curves: Curves,
    traces: Vec<Trace>,
    /// Source, then name.
    places: HashMap<String, HashMap<String, usize>>,
    /// Epochs and the first step of each.
    epochs: Vec<(u64, u64)>,
    findings: Vec<Finding>,
    stats: Feed,
    scalars: Feed,
    scalar_rows: ScalarRows,
    stamps: [Option<(SystemTime, u64)>; 2],
    generation: u64,
    version: u64,
}

/// The batches of a table, in order, as they come to be there.
struct Feed {
    table: &'static str,
    /// The place in the manifest of the segment that is read.
    segment: usize,
    open: Option<OpenFeed>,
}

struct OpenFeed {
    source: Source,
    taken_count: usize,
    batches: Option<Batches>,
}

impl Feed {
    /// From the first row on.
    fn new(table: &'static str) -> Self {
        Self { table, segment: 0, open: None }
    }

    /// Behind what has been read of the run's sources: at the end of the last, where that is the last segment's.
    fn after(table: &'static str, run: &Run, sources: Vec<(u32, Source)>) -> Self {
        let last = run.manifest().segments.last().map(|segment| segment.index);
        let open = sources.into_iter().next_back().filter(|(index, _)| Some(*index) == last);
        let segment = run.manifest().segments.len().saturating_sub(1);
        let open = open.map(|(_, source)| OpenFeed { taken_count: source.batch_count(), source, batches: None });
        Self { table, segment, open }
    }

    /// The next batch that is there, and the step that its segment's rows end before.
    fn next(&mut self, run: &Run) -> Result<Option<(RecordBatch, u64)>, Error> {
        let segments = &run.manifest().segments;
        while let Some(segment) = segments.get(self.segment) {
            let limit = run.manifest().limit(segment.index);
            if self.open.is_none() {
                let source = Source::open(run.folder(), self.table, segment.index, limit)?;
                self.open = source.map(|source| OpenFeed { source, taken_count: 0, batches: None });
            }
            if let Some(open) = &mut self.open
                && let Some(batch) = open.next()?
            {
                return Ok(Some((batch, limit)));
            }
            if self.segment + 1 == segments.len() {
                break;
            }
            (self.segment, self.open) = (self.segment + 1, None);
        }
        Ok(None)
    }
}

impl OpenFeed {
    fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let batches = match &mut self.batches {
            Some(batches) => batches,
            None if self.source.grown_past(self.taken_count)? => {
                self.batches.insert(self.source.batches(self.taken_count, None)?)
            }
            None => return Ok(None),
        };
        let batch = batches.next().transpose().map_err(|reason| damaged(self.source.path(), &reason))?;
        match &batch {
            Some(_) => self.taken_count += 1,
            None => self.batches = None,
        }
        Ok(batch)
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("run", &self.run.folder())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// Opens a run folder, for at most `span_count_max` spans. What that does not read at once, polls do.
    ///
    /// # Errors
    /// Where it is no run folder, or a file of it is damaged.
    pub fn open(folder: &Path, span_count_max: usize) -> Result<Self, Error> {
        let stamp = stamp(folder, Manifest::FILE);
        let run = Run::open(folder)?;
        let cells_a_span = run.params().len() * Figure::of_groups(run.manifest().groups()).count();
        let span_count_max = span_count_max.min((CELL_COUNT_MAX / cells_a_span.max(1)).max(SPAN_COUNT_MIN));
        let (curves, stats) = Self::curves_of(&run, span_count_max)?;
        let mut follower = Self {
            status: run.status(),
            asked: Instant::now(),
            curves,
            span_count_max,
            traces: Vec::new(),
            places: HashMap::new(),
            epochs: Vec::new(),
            findings: Vec::new(),
            stats,
            scalars: Feed::new(ScalarTable::NAME),
            scalar_rows: ScalarRows::default(),
            stamps: [stamp, None],
            generation: 0,
            version: 0,
            run,
        };
        follower.read_findings()?;
        Ok(follower)
    }

    fn curves_of(run: &Run, span_count_max: usize) -> Result<(Curves, Feed), Error> {
        let sources = run.sources(StatsTable::NAME)?;
        let (mut curves, row_count) = Curves::sized(run, &sources, span_count_max)?;
        if row_count > ROW_COUNT_MAX && !curves.has_overview() {
            // Too many rows for one look, and too few steps for an overview.
            return Ok((curves, Feed::new(StatsTable::NAME)));
        }
        curves.fill(run, &sources, row_count > ROW_COUNT_MAX)?;
        Ok((curves, Feed::after(StatsTable::NAME, run, sources)))
    }

    /// Takes what was written since, or a part of it: whether there was anything. Never waits for the writer.
    ///
    /// # Errors
    /// Where the folder is gone, or a file of it is damaged.
    pub fn poll(&mut self) -> Result<bool, Error> {
        let before = self.version;
        self.look_at_manifest()?;
        self.read_findings()?;
        let begun = Instant::now();
        while let Some((batch, limit)) = self.stats.next(&self.run)? {
            let (span_count_max, shift) = (self.span_count_max, self.curves.shift());
            let curves = &mut self.curves;
            within(&batch, limit, |batch| curves.extend(batch, span_count_max))
                .map_err(|reason| damaged(self.run.folder(), &reason))?;
            self.generation += u64::from(curves.shift() != shift);
            self.version += 1;
            if begun.elapsed() > POLL_TIME_MAX {
                return Ok(true);
            }
        }
        while let Some((batch, limit)) = self.scalars.next(&self.run)? {
            self.take_scalars(&batch, limit).map_err(|reason| damaged(self.run.folder(), &reason))?;
            self.version += 1;
            if begun.elapsed() > POLL_TIME_MAX {
                return Ok(true);
            }
        }
        Ok(self.version != before)
    }

    fn look_at_manifest(&mut self) -> Result<(), Error> {
        let stamp = stamp(self.run.folder(), Manifest::FILE);
        if stamp != self.stamps[0] || stamp.is_none() {
            let run = Run::open(self.run.folder())?;
            let segments =
                |run: &Run| run.manifest().segments.iter().map(|s| (s.index, s.first_step)).collect::<Vec<_>>();
            if segments(&run) != segments(&self.run) {
                // A segment that goes on from a checkpoint takes back what came after that.
                let (generation, version) = (self.generation + 1, self.version + 1);
                *self = Self { generation, version, ..Self::open(run.folder(), self.span_count_max)? };
                return Ok(());
            }
            (self.run, self.stamps[0]) = (run, stamp);
            self.ask();
        } else if self.status == RunStatus::Running && self.asked.elapsed() > STATUS_EVERY {
            self.ask();
        }
        Ok(())
    }

    /// Asks how the run stands.
    fn ask(&mut self) {
        let status = self.run.status();
        self.version += u64::from(status != self.status);
        (self.status, self.asked) = (status, Instant::now());
    }

    fn read_findings(&mut self) -> Result<(), Error> {
        let stamp = stamp(self.run.folder(), FINDINGS);
        if stamp != self.stamps[1] {
            self.findings = self.run.findings()?;
            self.stamps[1] = stamp;
            self.version += 1;
        }
        Ok(())
    }

    fn take_scalars(&mut self, batch: &RecordBatch, limit: u64) -> Result<(), String> {
        let Self { traces, places, epochs, span_count_max, scalar_rows, .. } = self;
        within(batch, limit, |batch| {
            scalar_rows.each(batch, |row| {
                if row.is_last_move {
                    return;
                }
                let known = places.get(row.source).and_then(|names| names.get(row.name)).copied();
                let place = known.unwrap_or_else(|| {
                    let name = SeriesName { source: row.source.to_owned(), name: row.name.to_owned() };
                    places.entry(name.source.clone()).or_default().insert(name.name.clone(), traces.len());
                    traces.push(Trace::new(name, *span_count_max));
                    traces.len() - 1
                });
                traces[place].put(row.step, row.value);
                if let Some(epoch) = row.epoch
                    && epochs.last().is_none_or(|(last, from)| epoch > *last && row.step > *from)
                {
                    epochs.push((epoch, row.step));
                }
            })
        })
    }

    /// The run that is followed, as its manifest was at the last poll.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// How the run stands; some seconds old.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// Every figure of every tensor.
    pub fn curves(&self) -> &Curves {
        &self.curves
    }

    /// Every figure that no single tensor owns, in the order they first came.
    pub fn traces(&self) -> &[Trace] {
        &self.traces
    }

    /// Epochs, and the first step that was recorded of each.
    pub fn epochs(&self) -> &[(u64, u64)] {
        &self.epochs
    }

    /// As [`Run::findings`].
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Counts how often spans were made anew: while it stays, spans of [`Follower::curves`] are added, and the last one changes.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Counts changes.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Tells whether a file has changed, without reading it.
fn stamp(folder: &Path, file: &str) -> Option<(SystemTime, u64)> {
    let found = fs::metadata(folder.join(file)).ok()?;
    Some((found.modified().ok()?, found.len()))
}

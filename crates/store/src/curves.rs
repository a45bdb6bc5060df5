//! Every figure of every tensor over a run, in as many spans of steps as a view has room for.

use super::frames::Frames;
use super::overview::{self, Envelope};
use super::run::Run;
use super::source::{Source, caught, damaged};
use super::tables::{StatsArrays, StatsTable, Table, place, steps};
use crate::Error;
use arrow_array::RecordBatch;
use gradscope_record::record::{Figure, TensorRecord};

/// Curves of a run of up to this many rows are read from them.
const ROW_COUNT_MAX: u64 = 200_000;

/// Envelopes of figures over spans of steps that all tensors share.
#[derive(Clone, Debug)]
pub struct Curves {
    figures: Vec<&'static Figure>,
    tensor_count: usize,
    /// log2 of the steps a span has room for.
    shift: u32,
    /// The number of the first span.
    base: u64,
    span_count: u64,
    /// First and last step that each span has; `None` where it has none.
    spans: Vec<Option<[u64; 2]>>,
    /// By span, tensor and figure.
    cells: Vec<Envelope>,
    /// By span and tensor, whether its schedule had a step of the span.
    due: Vec<bool>,
}

impl Run {
    /// Every figure of every tensor in at most `point_count` spans of 2^k steps (0 is taken for 1), from the overview
    /// where the run is long.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn curves(&self, point_count: usize) -> Result<Curves, Error> {
        self.curves_within(point_count, ROW_COUNT_MAX)
    }

    /// As [`Run::curves`], from the overview where there are more rows than that.
    ///
    /// # Errors
    /// As [`Run::curves`].
    #[doc(hidden)]
    pub fn curves_within(&self, point_count: usize, row_count_max: u64) -> Result<Curves, Error> {
        let sources = self.sources(StatsTable::NAME)?;
        let (mut curves, row_count) = Curves::sized(self, &sources, point_count)?;
        curves.fill(self, &sources, row_count > row_count_max)?;
        Ok(curves)
    }
}

impl Curves {
    /// Without values: room for at most `point_count` spans of the rows, whose number comes with it.
    pub(super) fn sized(run: &Run, sources: &[(u32, Source)], point_count: usize) -> Result<(Self, u64), Error> {
        let mut extent: Option<[u64; 2]> = None;
        let mut row_count = 0;
        for (_, source) in sources {
            row_count += source.row_count()?;
            if let Some([first, last]) = source.extent()? {
                let [low, high] = extent.unwrap_or([first, last]);
                extent = Some([low.min(first), high.max(last)]);
            }
        }
        let [first, last] = extent.unwrap_or_default();
        // No more spans than steps with rows: a schedule of every tenth step leaves no empty ones.
        let observed_count = row_count / run.params().len().max(1) as u64;
        let span_count_max = (point_count as u64).min(observed_count).max(1);
        let shift = (0..64).find(|shift| (last >> shift) - (first >> shift) < span_count_max).unwrap_or(63);
        let curves = Self {
            figures: Figure::of_groups(run.manifest().groups()).collect(),
            tensor_count: run.params().len(),
            shift,
            base: first >> shift,
            span_count: (last >> shift) - (first >> shift) + 1,
            spans: Vec::new(),
            cells: Vec::new(),
            due: Vec::new(),
        };
        Ok((curves, row_count))
    }

    /// Whether an overview has spans as short as these.
    pub(super) fn has_overview(&self) -> bool {
        overview::levels_under(self.shift).next().is_some()
    }

    /// Reads the values, from the overview where the run is long.
    pub(super) fn fill(&mut self, run: &Run, sources: &[(u32, Source)], is_long: bool) -> Result<(), Error> {
        for (index, source) in sources {
            let mut paths = overview::levels_under(self.shift).map(|level| overview::path(run.folder(), *index, level));
            let path = paths.find(|path| is_long && path.exists());
            let limit = run.manifest().limit(*index);
            match path {
                Some(path) => self.take_overview(&path, source, limit)?,
                None => source.each(None, |batch| self.take_rows(batch))?,
            }
        }
        Ok(())
    }

    /// The overview's spans, and the rows after the last of them.
    fn take_overview(&mut self, path: &std::path::Path, source: &Source, limit: u64) -> Result<(), Error> {
        let failed = |reason: String| damaged(path, &reason);
        // Of a run that goes on, the overview may be ahead of the rows that were looked at first.
        let end = source.extent()?.map_or(0, |[_, last]| last);
        let frames = Frames::read(path).map_err(failed)?;
        let mut seen = None;
        for batch in caught(frames.batches(0, None).map_err(failed)?) {
            let figures = self.figures.clone();
            let taken = overview::rows(&batch.map_err(failed)?, &figures, |span, tensor, cells| {
                if span[1] >= limit || span[1] > end {
                    return Ok(());
                }
                let tensor = place(tensor as u64, self.tensor_count)?;
                seen = seen.max(Some(span[1]));
                self.merge(span, tensor, cells.iter().copied())
            });
            taken.map_err(failed)?;
        }
        match seen {
            Some(last) => source.each_after(last, |batch| self.take_rows(batch)),
            None => source.each(None, |batch| self.take_rows(batch)),
        }
    }

    /// Takes rows that come after those it has. Where they would need more than `span_count_max` spans, two become one.
    pub(super) fn extend(&mut self, batch: &RecordBatch, span_count_max: usize) -> Result<(), String> {
        let steps = steps(batch)?;
        let (Some(first), Some(last)) = (steps.values().first(), steps.values().last()) else { return Ok(()) };
        if self.spans.is_empty() {
            self.base = first >> self.shift;
        }
        while (last >> self.shift).saturating_sub(self.base) >= span_count_max as u64 {
            self.coarsen();
        }
        self.span_count = self.span_count.max((last >> self.shift).saturating_sub(self.base) + 1);
        self.take_rows(batch)
    }

    /// Makes one span of every two.
    fn coarsen(&mut self) {
        let width = self.tensor_count * self.figures.len();
        let (base, spans) = (self.base, std::mem::take(&mut self.spans));
        let cells = std::mem::take(&mut self.cells);
        let due = std::mem::take(&mut self.due);
        (self.shift, self.base) = (self.shift + 1, base >> 1);
        self.span_count = ((base + self.span_count.max(1) - 1) >> 1) - self.base + 1;
        for (place, span) in spans.iter().enumerate() {
            let into = (((base + place as u64) >> 1) - self.base) as usize;
            if into >= self.spans.len() {
                self.spans.push(None);
                self.cells.resize((into + 1) * width, Envelope::NONE);
                self.due.resize((into + 1) * self.tensor_count, false);
            }
            let of_span = |place: usize| place * self.tensor_count..(place + 1) * self.tensor_count;
            self.due[of_span(into)].iter_mut().zip(&due[of_span(place)]).for_each(|(into, due)| *into |= due);
            let Some([first, last]) = *span else { continue };
            self.spans[into] = Some([self.spans[into].map_or(first, |[from, _]| from), last]);
            let later = &cells[place * width..][..width];
            self.cells[into * width..][..width]
                .iter_mut()
                .zip(later)
                .for_each(|(cell, later)| *cell = cell.then(*later));
        }
    }

    /// log2 of the steps that a span has room for.
    pub fn shift(&self) -> u32 {
        self.shift
    }

    fn take_rows(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let rows = StatsArrays::bind(batch)?;
        let figures = self.figures.clone();
        for row in 0..batch.num_rows() {
            let tensor = place(rows.tensor.value(row), self.tensor_count)?;
            let record: TensorRecord = rows.record(row);
            // The row of the last update is no step.
            if !record.was_due() || rows.is_last_move(row) {
                continue;
            }
            let step = rows.step.value(row);
            self.merge([step; 2], tensor, figures.iter().map(|figure| Envelope::of((figure.of)(&record))))?;
        }
        Ok(())
    }

    fn merge(&mut self, span: [u64; 2], tensor: usize, cells: impl Iterator<Item = Envelope>) -> Result<(), String> {
        let place = (span[0] >> self.shift).checked_sub(self.base).filter(|place| *place < self.span_count);
        // Steps ascend, so the first and the last row tell where all of them are.
        let place = place.ok_or_else(|| format!("step {} is out of order", span[0]))? as usize;
        let width = self.tensor_count * self.figures.len();
        if place >= self.spans.len() {
            self.spans.resize(place + 1, None);
            self.cells.resize((place + 1) * width, Envelope::NONE);
            self.due.resize((place + 1) * self.tensor_count, false);
        }
        self.due[place * self.tensor_count + tensor] = true;
        let [first, last] = self.spans[place].unwrap_or(span);
        self.spans[place] = Some([first.min(span[0]), last.max(span[1])]);
        let into = &mut self.cells[place * width + tensor * self.figures.len()..][..self.figures.len()];
        into.iter_mut().zip(cells).for_each(|(into, cell)| *into = into.then(cell));
        Ok(())
    }

    /// The figures that there are.
    pub fn figures(&self) -> &[&'static Figure] {
        &self.figures
    }

    /// First and last step of each span; `None` where it has none.
    pub fn spans(&self) -> &[Option<[u64; 2]>] {
        &self.spans
    }

    /// Whether the schedule of a tensor had a step of each span: where it had, a figure that is not there is a gap, and
    /// where it had not, nothing is lacking.
    ///
    /// # Panics
    /// Where there is no such tensor.
    pub fn due(&self, tensor: usize) -> impl Iterator<Item = bool> {
        assert!(tensor < self.tensor_count, "there are {} tensors", self.tensor_count);
        (0..self.spans.len()).map(move |span| self.due[span * self.tensor_count + tensor])
    }

    /// The envelopes of a figure of a tensor, one a span. `None` where the run has no such figure, or no such tensor.
    pub fn of(&self, figure: &str, tensor: usize) -> Option<impl Iterator<Item = Envelope>> {
        let place = self.figures.iter().position(|known| known.name == figure)?;
        let (width, offset) = (self.tensor_count * self.figures.len(), tensor * self.figures.len() + place);
        (tensor < self.tensor_count).then(|| (0..self.spans.len()).map(move |span| self.cells[span * width + offset]))
    }
}

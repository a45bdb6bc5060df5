//! Every figure of every tensor over a run, in as many spans of steps as a view has room for.

use super::frames::Frames;
use super::overview::{self, Envelope};
use super::run::{Run, place};
use super::source::{Source, caught, damaged};
use super::tables::StatsArrays;
use crate::error::Error;
use crate::record::{Figure, TensorRecord};
use arrow_array::RecordBatch;

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
}

impl Curves {
    pub(super) fn read(run: &Run, point_count: usize, row_count_max: u64) -> Result<Self, Error> {
        let sources = run.sources("stats")?;
        let mut extent: Option<[u64; 2]> = None;
        let mut row_count = 0;
        for (_, source) in &sources {
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
        let mut curves = Self {
            figures: Figure::of_groups(run.manifest().groups()).collect(),
            tensor_count: run.params().len(),
            shift,
            base: first >> shift,
            span_count: (last >> shift) - (first >> shift) + 1,
            spans: Vec::new(),
            cells: Vec::new(),
        };
        let is_long = row_count > row_count_max;
        for (index, source) in &sources {
            let mut paths = overview::levels_under(shift).map(|level| overview::path(run.folder(), *index, level));
            let path = paths.find(|path| is_long && path.exists());
            let limit = run.manifest().limit(*index);
            match path {
                Some(path) => curves.take_overview(&path, source, limit)?,
                None => source.each(None, |batch| curves.take_rows(batch))?,
            }
        }
        Ok(curves)
    }

    /// The overview's spans, and the rows after the last of them.
    fn take_overview(&mut self, path: &std::path::Path, source: &Source, limit: u64) -> Result<(), Error> {
        let failed = |reason: String| damaged(path, &reason);
        let frames = Frames::read(path).map_err(failed)?;
        let mut seen = None;
        for batch in caught(frames.batches(0, None).map_err(failed)?) {
            let mut misplaced = Ok(());
            let figures = self.figures.clone();
            let taken = overview::rows(&batch.map_err(failed)?, &figures, |span, tensor, cells| {
                if span[1] >= limit {
                    return;
                }
                match place(tensor as u64, self.tensor_count) {
                    Ok(tensor) => {
                        seen = seen.max(Some(span[1]));
                        misplaced = std::mem::replace(&mut misplaced, Ok(())).and(self.merge(
                            span,
                            tensor,
                            cells.iter().copied(),
                        ));
                    }
                    Err(reason) => misplaced = Err(reason),
                }
            });
            taken.and(misplaced).map_err(failed)?;
        }
        match seen {
            Some(last) => source.each_after(last, |batch| self.take_rows(batch)),
            None => source.each(None, |batch| self.take_rows(batch)),
        }
    }

    fn take_rows(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let rows = StatsArrays::bind(batch)?;
        let figures = self.figures.clone();
        for row in 0..batch.num_rows() {
            let tensor = place(rows.tensor.value(row), self.tensor_count)?;
            let record: TensorRecord = rows.record(row);
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
        }
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

    /// The envelopes of a figure of a tensor, one a span. `None` where the run has no such figure, or no such tensor.
    pub fn of(&self, figure: &str, tensor: usize) -> Option<impl Iterator<Item = Envelope>> {
        let place = self.figures.iter().position(|known| known.name == figure)?;
        let (width, offset) = (self.tensor_count * self.figures.len(), tensor * self.figures.len() + place);
        (tensor < self.tensor_count).then(|| (0..self.spans.len()).map(move |span| self.cells[span * width + offset]))
    }
}

//! A table's file of one segment, read: Arrow while it is written, Parquet once it is closed.

use super::frames::{Batches, Frames};
use super::tables::steps;
use crate::Error;
use arrow_array::RecordBatch;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Where a segment's rows of a table lie.
pub(super) struct Source {
    path: PathBuf,
    form: Form,
    /// Rows at or past this step are no part of the run.
    limit: u64,
}

enum Form {
    Arrow(Frames),
    #[cfg(feature = "parquet")]
    Parquet,
}

pub(super) fn arrow_path(folder: &Path, table: &str, index: u32) -> PathBuf {
    folder.join(format!("{table}-{index:04}.arrows"))
}

pub(super) fn parquet_path(folder: &Path, table: &str, index: u32) -> PathBuf {
    folder.join(format!("{table}-{index:04}.parquet"))
}

impl Source {
    /// `None` where the segment has no such table.
    ///
    /// # Errors
    /// Where its file can't be read.
    pub fn open(folder: &Path, table: &str, index: u32, limit: u64) -> Result<Option<Self>, Error> {
        // A segment may become Parquet between the two looks: then the second look at Parquet finds it.
        for _ in 0..2 {
            let path = parquet_path(folder, table, index);
            if path.exists() {
                #[cfg(feature = "parquet")]
                return Ok(Some(Self { path, form: Form::Parquet, limit }));
                #[cfg(not(feature = "parquet"))]
                return Err(Error::UnreadableRun {
                    path,
                    reason: "it is Parquet, which gradscope's feature `parquet` reads; turn that on".into(),
                });
            }
            let path = arrow_path(folder, table, index);
            match Frames::read(&path) {
                Ok(frames) => return Ok(Some(Self { path, form: Form::Arrow(frames), limit })),
                Err(_) if !path.exists() => {}
                Err(reason) => return Err(damaged(&path, &reason)),
            }
        }
        Ok(None)
    }

    /// Rows, those past the limit included.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn row_count(&self) -> Result<u64, Error> {
        match &self.form {
            Form::Arrow(frames) => Ok(frames.row_count()),
            #[cfg(feature = "parquet")]
            Form::Parquet => super::parquet::row_count(&self.path).map_err(|reason| damaged(&self.path, &reason)),
        }
    }

    pub fn batches(&self, first: usize, columns: Option<&[&str]>) -> Result<Batches, Error> {
        let batches = match &self.form {
            Form::Arrow(frames) => frames.batches(first, columns),
            #[cfg(feature = "parquet")]
            Form::Parquet => super::parquet::batches(&self.path, columns),
        };
        batches.map(caught).map_err(|reason| damaged(&self.path, &reason))
    }

    /// Batches of a stream that are there by now. Parquet does not grow, and counts as one.
    pub fn batch_count(&self) -> usize {
        match &self.form {
            Form::Arrow(frames) => frames.batch_count(),
            #[cfg(feature = "parquet")]
            Form::Parquet => 1,
        }
    }

    /// Looks again: whether there are batches beyond the first `taken_count`. Parquet has them all or none.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn grown_past(&mut self, taken_count: usize) -> Result<bool, Error> {
        match &mut self.form {
            Form::Arrow(frames) => {
                frames.grow().map_err(|reason| damaged(&self.path, &reason))?;
                Ok(frames.batch_count() > taken_count)
            }
            #[cfg(feature = "parquet")]
            Form::Parquet => Ok(taken_count == 0),
        }
    }

    /// Hands the rows to `each`, in batches, in order; with the named columns, or all. `step` is always among them.
    ///
    /// # Errors
    /// Where the file can't be read, or `each` says why it can't.
    pub fn each(
        &self,
        columns: Option<&[&str]>,
        mut each: impl FnMut(&RecordBatch) -> Result<(), String>,
    ) -> Result<(), Error> {
        self.batches(0, columns)?
            .try_for_each(|batch| within(&batch?, self.limit, &mut each))
            .map_err(|reason| damaged(&self.path, &reason))
    }

    /// As [`Source::each`], for the rows after `step` of a stream: reads from its end.
    ///
    /// # Errors
    /// As [`Source::each`].
    pub fn each_after(&self, step: u64, mut each: impl FnMut(&RecordBatch) -> Result<(), String>) -> Result<(), Error> {
        #[cfg_attr(not(feature = "parquet"), expect(irrefutable_let_patterns, reason = "the other form is a feature"))]
        let Form::Arrow(frames) = &self.form else { return Ok(()) };
        let failed = |reason: String| damaged(&self.path, &reason);
        let mut first = frames.batch_count();
        while first > 0 {
            let batch = self.batches(first - 1, None)?.next().transpose().map_err(failed)?;
            let reached =
                batch.is_none_or(|batch| steps(&batch).is_ok_and(|steps| steps.values().last() <= Some(&step)));
            if reached {
                break;
            }
            first -= 1;
        }
        let mut later = |batch: &RecordBatch| where_step(batch, |at| at > step, &mut each);
        self.batches(first, None)?.try_for_each(|batch| within(&batch?, self.limit, &mut later)).map_err(failed)
    }

    /// First and last step.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn extent(&self) -> Result<Option<[u64; 2]>, Error> {
        let failed = |reason: String| damaged(&self.path, &reason);
        let extent = match &self.form {
            Form::Arrow(frames) => {
                let mut extent: Option<[u64; 2]> = None;
                for end in [Some(0), frames.batch_count().checked_sub(1)].into_iter().flatten() {
                    let Some(batch) = self.batches(end, Some(&["step"]))?.next() else { continue };
                    for step in batch.and_then(|batch| steps(&batch)).map_err(failed)?.values() {
                        let [first, last] = extent.unwrap_or([*step; 2]);
                        extent = Some([first.min(*step), last.max(*step)]);
                    }
                }
                extent
            }
            #[cfg(feature = "parquet")]
            Form::Parquet => super::parquet::steps_of(&self.path).map_err(failed)?,
        };
        let cut = extent.map(|[first, last]| [first, last.min(self.limit.saturating_sub(1))]);
        Ok(cut.filter(|[first, last]| first <= last))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Decoders trust what they read further than damaged files deserve: a panic of theirs is an error of the file.
pub(super) fn caught(mut batches: Batches) -> Batches {
    let mut over = false;
    Box::new(std::iter::from_fn(move || {
        if over {
            return None;
        }
        let next = catch_unwind(AssertUnwindSafe(|| batches.next()));
        over = next.is_err();
        next.unwrap_or_else(|_| Some(Err("a batch of it can't be decoded".into())))
    }))
}

/// Hands over the rows of a batch that are before the limit, as they lie.
pub(super) fn within(
    batch: &RecordBatch,
    limit: u64,
    mut each: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<(), String> {
    where_step(batch, |step| step < limit, &mut each)
}

/// Hands over the runs of rows whose step is wanted.
fn where_step(
    batch: &RecordBatch,
    wanted: impl Fn(u64) -> bool,
    each: &mut impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<(), String> {
    let steps = steps(batch)?;
    if steps.values().iter().all(|step| wanted(*step)) {
        return each(batch);
    }
    let mut from = 0;
    while from < steps.len() {
        let value = |row: usize| wanted(steps.value(row));
        let to = (from..steps.len()).find(|&row| value(row) != value(from)).unwrap_or(steps.len());
        if value(from) {
            each(&batch.slice(from, to - from))?;
        }
        from = to;
    }
    Ok(())
}

pub(super) fn damaged(path: &Path, reason: &str) -> Error {
    let reason = format!(
        "it is damaged ({reason}); restore it from a copy, or take it out of the folder to open the run without it"
    );
    Error::UnreadableRun { path: path.to_owned(), reason }
}

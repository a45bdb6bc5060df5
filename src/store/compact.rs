//! Closed segments become Parquet.

use super::manifest::Manifest;
use super::overview::{self, Overview};
use super::parquet::{steps_of, write};
use super::source::{Source, TABLES, arrow_path, damaged, parquet_path};
use super::tables::StatsArrays;
use crate::error::Error;
use crate::record::Figure;
use arrow_array::RecordBatch;
use std::fs;
use std::io;
use std::path::Path;
use std::thread::JoinHandle;

/// Compacts the segments before `index`, on a thread of its own: they are closed, and may be cut short by the new one.
pub(super) fn in_background(folder: &Path, manifest: &Manifest, index: u32) -> Option<JoinHandle<Result<(), Error>>> {
    if index <= 1 {
        return None;
    }
    let (folder, manifest) = (folder.to_owned(), manifest.clone());
    let work = move || {
        let earlier = manifest.segments.iter().filter(|segment| segment.index < index);
        earlier.into_iter().try_for_each(|segment| compact(&folder, &manifest, segment.index))
    };
    std::thread::Builder::new().name("gradscope compaction".into()).spawn(work).ok()
}

/// Compacts every segment of a run that is not being written.
///
/// # Errors
/// Where a file can't be read or written; what could not be compacted stays as it was.
pub(super) fn closed(folder: &Path, manifest: &Manifest) -> Result<(), Error> {
    manifest.segments.iter().try_for_each(|segment| compact(folder, manifest, segment.index))
}

fn compact(folder: &Path, manifest: &Manifest, index: u32) -> Result<(), Error> {
    let limit = manifest.limit(index);
    for table in TABLES {
        let (arrow, parquet) = (arrow_path(folder, table, index), parquet_path(folder, table, index));
        if parquet.exists() {
            let extent = steps_of(&parquet).map_err(|reason| damaged(&parquet, &reason))?;
            if extent.is_some_and(|[_, last]| last < limit) {
                // A process that was killed right after writing it left the stream behind.
                let _ = fs::remove_file(&arrow);
                continue;
            }
        }
        let Some(source) = Source::open(folder, table, index, limit)? else { continue };
        let partial = parquet.with_extension("parquet.partial");
        let failed = |error: io::Error| Error::RunFolder { path: parquet.clone(), reason: error.to_string() };
        let mut overview = (table == "stats").then(|| rebuilt_overview(folder, manifest, index));
        let rows = write(std::slice::from_ref(&source), &partial, |batch| match &mut overview {
            Some(overview) => retell(batch, overview),
            None => Ok(()),
        })?;
        if let Some(overview) = &mut overview {
            overview.finish().map_err(failed)?;
            // The rows last: while they are not in place, all of this is done again.
            for path in overview.paths() {
                fs::rename(&path, path.with_extension("arrows")).map_err(failed)?;
            }
        }
        drop(source);
        if rows {
            fs::rename(&partial, &parquet).map_err(failed)?;
        } else {
            // The segment that goes on begins before all of it.
            let _ = fs::remove_file(&parquet);
        }
        let _ = fs::remove_file(&arrow);
    }
    Ok(())
}

/// Spans that a killed process left open, or that the next segment cuts, are made anew with the rows.
fn rebuilt_overview(folder: &Path, manifest: &Manifest, index: u32) -> Overview {
    let figures: Vec<_> = Figure::of_groups(manifest.groups()).collect();
    let _ = fs::create_dir_all(folder.join(overview::FOLDER));
    for level in overview::levels_under(u32::MAX) {
        let path = overview::path(folder, index, level);
        // What an earlier try left, and what the rebuilt levels are not to stand beside.
        let _ = fs::remove_file(path.with_extension("partial"));
        let _ = fs::remove_file(path);
    }
    Overview::new(&figures, manifest.params.len(), |level| {
        overview::path(folder, index, level).with_extension("partial")
    })
}

fn retell(batch: &RecordBatch, overview: &mut Overview) -> Result<(), String> {
    let rows = StatsArrays::bind(batch)?;
    for row in 0..batch.num_rows() {
        let tensor = usize::try_from(rows.tensor.value(row)).unwrap_or(usize::MAX);
        overview.add(rows.step.value(row), tensor, &rows.record(row));
    }
    // A failure is met again when it is finished.
    let _ = overview.flush();
    Ok(())
}

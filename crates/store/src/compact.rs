//! Closed segments become Parquet: smaller, and read by pandas, polars, DuckDB and Spark as they are.

use super::files;
use super::manifest::Manifest;
use super::overview::{self, Overview};
use super::parquet::steps_of;
use super::source::{Source, arrow_path, damaged, parquet_path};
use super::tables::{StatsArrays, StatsTable, TABLES, Table};
use crate::Error;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use gradscope_record::record::Figure;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::fs;
use std::io;
use std::path::Path;
use std::thread::JoinHandle;

/// Rows, and bytes of them, that are encoded together and held in memory meanwhile.
const ROW_GROUP_LEN: usize = 1 << 17;
const ROW_GROUP_BYTES: usize = 64 << 20;

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
        let mut overview = (table == StatsTable::NAME).then(|| rebuilt_overview(folder, manifest, index));
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
        let record = rows.record(row);
        if record.was_due() && !rows.is_last_move(row) {
            overview.add(rows.step.value(row), tensor, &record);
        }
    }
    // A failure is met again when it is finished.
    let _ = overview.flush();
    Ok(())
}

/// Writes the rows of `sources`, which have the same columns, and shows each batch to `seen`. False where there are no rows.
///
/// # Errors
/// Where a source can't be read, or the file can't be written: then nothing of it stays.
pub(super) fn write(
    sources: &[Source],
    path: &Path,
    mut seen: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<bool, Error> {
    let mut writer = None;
    // Of the file that is written: a full disk says nothing about the source.
    let mut failure: Option<String> = None;
    let mut put = |batch: &RecordBatch| -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let writer = match &mut writer {
            Some(writer) => writer,
            None => {
                let file = files::create(path).map_err(|error| text(&error))?;
                let made = ArrowWriter::try_new(file, batch.schema(), Some(properties(&batch.schema())));
                writer.insert(made.map_err(|error| text(&error))?)
            }
        };
        writer.write(batch).map_err(|error| text(&error))
    };
    let read = sources.iter().try_for_each(|source| {
        source.each(None, |batch| {
            if failure.is_none() {
                failure = put(batch).err();
            }
            if failure.is_none() { seen(batch) } else { Ok(()) }
        })
    });
    let rows = writer.is_some();
    let closed = writer.map_or(Ok(()), |writer| {
        let file = writer.into_inner().map_err(|error| error.to_string())?;
        // Its source is removed next.
        file.sync_all().map_err(|error| error.to_string())
    });
    let written = match failure {
        Some(reason) => Err(reason),
        None => closed,
    };
    let failed = |reason| Error::RunFolder { path: path.to_owned(), reason };
    read.and(written.map_err(failed)).map(|()| rows).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Neighbouring rows are of neighbouring tensors: floats share their exponents' bytes, counts their high bits.
fn properties(schema: &SchemaRef) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_LEN))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
    for field in schema.fields() {
        let encoding = match field.data_type() {
            DataType::Float32 | DataType::Float64 => Encoding::BYTE_STREAM_SPLIT,
            DataType::UInt64 => Encoding::DELTA_BINARY_PACKED,
            _ => continue,
        };
        let path = ColumnPath::from(field.name().as_str());
        properties = properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding);
    }
    properties.build()
}

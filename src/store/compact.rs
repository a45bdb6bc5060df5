//! Closed segments as Parquet: smaller, and read by pandas, polars, DuckDB and Spark as they are.

use super::manifest::Manifest;
use super::overview::{self, Overview};
use super::run::Run;
use super::source::{Batches, Source, TABLES, arrow_path, damaged, parquet_path};
use super::tables::StatsArrays;
use crate::error::Error;
use crate::record::Figure;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Rows that are encoded together, and held in memory meanwhile.
const ROW_GROUP_LEN: usize = 1 << 17;
const BATCH_LEN: usize = 1 << 13;

/// Compacts the segments before `index`, on a thread of its own: they are closed, and may be cut short by the new one.
pub(super) fn in_background(folder: &Path, manifest: &Manifest, index: u32) -> Option<JoinHandle<Result<(), Error>>> {
    if index <= 1 {
        return None;
    }
    let (folder, mut manifest) = (folder.to_owned(), manifest.clone());
    let work = move || {
        let limits: Vec<_> = manifest.segments.iter().map(|segment| manifest.limit(segment.index)).collect();
        manifest.segments.retain(|segment| segment.index < index);
        manifest
            .segments
            .iter()
            .zip(limits)
            .try_for_each(|(segment, limit)| compact(&folder, &manifest, segment.index, limit))
    };
    std::thread::Builder::new().name("gradscope compaction".into()).spawn(work).ok()
}

/// Compacts every segment of a run that is not being written.
///
/// # Errors
/// Where a file can't be read or written; what could not be compacted stays as it was.
pub(super) fn closed(folder: &Path, manifest: &Manifest) -> Result<(), Error> {
    manifest
        .segments
        .iter()
        .try_for_each(|segment| compact(folder, manifest, segment.index, manifest.limit(segment.index)))
}

fn compact(folder: &Path, manifest: &Manifest, index: u32, limit: u64) -> Result<(), Error> {
    for table in TABLES {
        let (arrow, parquet) = (arrow_path(folder, table, index), parquet_path(folder, table, index));
        if parquet.exists() {
            let cut = steps_of(&parquet).map_err(|reason| damaged(&parquet, &reason))?;
            if cut.is_none_or(|[_, last]| last < limit) {
                // A process that was killed right after writing it left the stream behind.
                let _ = fs::remove_file(&arrow);
                continue;
            }
        }
        let Some(source) = Source::open(folder, table, index, limit)? else { continue };
        let failed = |error: std::io::Error| Error::RunFolder { path: parquet.clone(), reason: error.to_string() };
        let partial = parquet.with_extension("parquet.partial");
        let overview = (table == "stats").then(|| rebuilt_overview(folder, manifest, index));
        let written = write(std::slice::from_ref(&source), &partial, overview);
        let overviews = written.inspect_err(|_| {
            let _ = fs::remove_file(&partial);
        })?;
        let Some(overviews) = overviews else { continue };
        fs::rename(&partial, &parquet).map_err(failed)?;
        for path in overviews {
            fs::rename(&path, path.with_extension("arrows")).map_err(failed)?;
        }
        let _ = fs::remove_file(&arrow);
    }
    Ok(())
}

/// Spans that a killed process left open, or that the next segment cuts, are made anew with the rows.
fn rebuilt_overview(folder: &Path, manifest: &Manifest, index: u32) -> Overview {
    let figures: Vec<_> = Figure::of_groups(manifest.groups()).collect();
    let _ = fs::create_dir_all(folder.join(overview::FOLDER));
    Overview::new(&figures, manifest.params.len(), |level| {
        overview::path(folder, index, level).with_extension("partial")
    })
}

/// Writes the rows of `sources`, which have the same columns; the overview's files, or `None` where there are no rows.
fn write(sources: &[Source], path: &Path, mut overview: Option<Overview>) -> Result<Option<Vec<PathBuf>>, Error> {
    let mut writer = None;
    for source in sources {
        source.each(None, |batch| {
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let file = File::create(path).map_err(|error| error.to_string())?;
                    let properties = properties(&batch.schema());
                    let made = ArrowWriter::try_new(file, batch.schema(), Some(properties));
                    writer.insert(made.map_err(|error| error.to_string())?)
                }
            };
            if let Some(overview) = &mut overview {
                let rows = StatsArrays::bind(batch)?;
                for row in 0..batch.num_rows() {
                    let tensor = usize::try_from(rows.tensor.value(row)).unwrap_or(usize::MAX);
                    overview.add(rows.step.value(row), tensor, &rows.record(row));
                }
            }
            writer.write(batch).map_err(|error| error.to_string())
        })?;
    }
    let failed = |reason: String| Error::RunFolder { path: path.to_owned(), reason };
    let Some(writer) = writer else { return Ok(None) };
    writer.close().map_err(|error| failed(error.to_string()))?;
    let Some(mut overview) = overview else { return Ok(Some(vec![])) };
    overview.finish().map_err(|error| failed(error.to_string()))?;
    Ok(Some(overview.paths()))
}

impl Run {
    /// Writes a table as one Parquet file; false where the run has no such rows.
    ///
    /// # Errors
    /// Where a file is damaged, the file can't be written, or segments differ in their columns, since a run was resumed
    /// with other statistics.
    pub fn write_parquet(&self, table: &str, path: &Path) -> Result<bool, Error> {
        let sources: Vec<Source> = self.sources(table)?.into_iter().map(|(_, source)| source).collect();
        Ok(write(&sources, path, None)?.is_some())
    }
}

/// Neighbouring rows are of neighbouring tensors: floats share their exponents' bytes, counts their high bits.
fn properties(schema: &SchemaRef) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_LEN));
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

fn opened(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())
}

pub(super) fn row_count(path: &Path) -> Result<u64, String> {
    Ok(opened(path)?.metadata().file_metadata().num_rows().max(0) as u64)
}

/// First and last step, by the file's own statistics.
pub(super) fn steps_of(path: &Path) -> Result<Option<[u64; 2]>, String> {
    let opened = opened(path)?;
    let mut extent: Option<[u64; 2]> = None;
    for group in opened.metadata().row_groups() {
        // `step` is the first column of every table.
        let Some(Statistics::Int64(steps)) = group.columns().first().and_then(|column| column.statistics()) else {
            continue;
        };
        if let (Some(first), Some(last)) = (steps.min_opt(), steps.max_opt()) {
            let [low, high] = extent.unwrap_or([u64::MAX, 0]);
            extent = Some([low.min(*first as u64), high.max(*last as u64)]);
        }
    }
    Ok(extent)
}

pub(super) fn batches(path: &Path, columns: Option<&[&str]>) -> Result<Batches, String> {
    let mut builder = opened(path)?.with_batch_size(BATCH_LEN);
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let reader = builder.build().map_err(|error| error.to_string())?;
    Ok(Box::new(reader.map(|batch: Result<RecordBatch, _>| batch.map_err(|error| error.to_string()))))
}

//! Tables as Parquet: smaller, and read by pandas, polars, DuckDB and Spark as they are.

use super::run::Run;
use super::source::{Batches, Source};
use crate::error::Error;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use std::fs::{self, File};
use std::path::Path;

/// Rows, and bytes of them, that are encoded together and held in memory meanwhile.
const ROW_GROUP_LEN: usize = 1 << 17;
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Rows that are read together: of plain tables, and of those with lists, whose rows are a thousand times as long.
const BATCH_LEN: usize = 1 << 13;
const LIST_BATCH_LEN: usize = 1 << 6;

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
                let file = File::create(path).map_err(|error| text(&error))?;
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

impl Run {
    /// Writes a table as one Parquet file; false where the run has no such rows.
    ///
    /// # Errors
    /// Where a file is damaged, the file can't be written, or segments differ in their columns, since a run was resumed
    /// with other statistics.
    pub fn write_parquet(&self, table: &str, path: &Path) -> Result<bool, Error> {
        let sources: Vec<Source> = self.sources(table)?.into_iter().map(|(_, source)| source).collect();
        write(&sources, path, |_| Ok(()))
    }
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
    let builder = opened(path)?;
    let has_lists = builder.schema().fields().iter().any(|field| matches!(field.data_type(), DataType::List(_)));
    let mut builder = builder.with_batch_size(if has_lists { LIST_BATCH_LEN } else { BATCH_LEN });
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let reader = builder.build().map_err(|error| error.to_string())?;
    Ok(Box::new(reader.map(|batch: Result<RecordBatch, _>| batch.map_err(|error| error.to_string()))))
}

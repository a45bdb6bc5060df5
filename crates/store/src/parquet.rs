//! Tables that are Parquet, read.

use super::frames::Batches;
use arrow_array::RecordBatch;
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::statistics::Statistics;
use std::fs::File;
use std::path::Path;

/// Rows that are read together: of plain tables, and of those with lists, whose rows are a thousand times as long.
const BATCH_LEN: usize = 1 << 13;
const LIST_BATCH_LEN: usize = 1 << 6;

fn opened(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, String> {
    let file = super::files::open(path).map_err(|error| error.to_string())?;
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

//! The rows of a run's tables as they lie, for exports.

use super::run::Run;
use super::source::damaged;
use super::tables::{TABLES, steps};
use crate::Error;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use std::fmt;

/// What stands in a row's column.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// There is none.
    Null,
    /// A count, a step, an index.
    Count(u64),
    /// A figure that is kept in f32: an extreme.
    Single(f32),
    /// A figure that is kept in f64: a norm, a sum, a scalar.
    Double(f64),
    /// A path, a name.
    Text(String),
    /// Counts or edges of a row that has many.
    List(Vec<Self>),
}

impl fmt::Display for Value {
    /// Nothing for null; numbers as short as reads back the same; lists in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Count(count) => write!(f, "{count}"),
            Self::Single(value) => write!(f, "{value:?}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (place, item) in items.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
        }
    }
}

impl Run {
    /// The tables of a run: `stats`, `scalars`, `taps`, `histograms`, `maps`.
    pub const TABLES: [&str; 5] = TABLES;

    /// Names of a table's columns, in order; empty where the run has no such table.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn columns(&self, table: &str) -> Result<Vec<String>, Error> {
        let mut columns: Vec<String> = Vec::new();
        for (_, source) in self.sources(table)? {
            let batch = source.batches(0, None)?.next().transpose();
            let schema = batch.map_err(|reason| damaged(source.path(), &reason))?.map(|batch| batch.schema());
            for field in schema.iter().flat_map(|schema| schema.fields()) {
                if !columns.contains(field.name()) {
                    columns.push(field.name().clone());
                }
            }
        }
        Ok(columns)
    }

    /// Hands over every row of a table: its step, and the values of `columns`. A column that a segment lacks is null
    /// there. A name that is none of [`Run::TABLES`], or a table that the run lacks, has no rows.
    ///
    /// # Errors
    /// Where a file is damaged.
    pub fn each_line(&self, table: &str, columns: &[String], mut line: impl FnMut(u64, &[Value])) -> Result<(), Error> {
        let mut values = vec![Value::Null; columns.len()];
        for (_, source) in self.sources(table)? {
            source.each(None, |batch| {
                let steps = steps(batch)?;
                for row in 0..batch.num_rows() {
                    for (value, column) in values.iter_mut().zip(columns) {
                        *value = cell(batch, column, row);
                    }
                    line(steps.value(row), &values);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Writes a table as one Parquet file; false where the run has no such rows.
    ///
    /// # Errors
    /// Where a file is damaged, the file can't be written, or segments differ in their columns, since a run was resumed
    /// with other statistics.
    #[cfg(feature = "parquet")]
    pub fn write_parquet(&self, table: &str, path: &std::path::Path) -> Result<bool, Error> {
        let sources: Vec<_> = self.sources(table)?.into_iter().map(|(_, source)| source).collect();
        super::compact::write(&sources, path, |_| Ok(()))
    }
}

fn cell(batch: &RecordBatch, column: &str, row: usize) -> Value {
    batch.column_by_name(column).map_or(Value::Null, |column| value(column.as_ref(), row))
}

fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::UInt64 => Value::Count(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => Value::Single(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::List((0..items.len()).map(|item| value(items.as_ref(), item)).collect())
        }
        // No table has other types; a newer one might.
        _ => Value::Null,
    }
}

//! Rows of numbers in Arrow columns. The statistics' table names the columns: see [`Row`].

use arrow_array::builder::PrimitiveBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch};
use arrow_schema::{DataType, Field};
use gradscope_record::stats::{Cells, Name, Row, Stats};
use std::marker::PhantomData;
use std::sync::Arc;

/// A number that a cell holds.
pub(super) trait Cell: Copy + Send + Sync + 'static {
    type Arrow: ArrowPrimitiveType<Native = Self>;
}

macro_rules! cells {
    ($($native:ty => $arrow:ty),*) => {
        $(impl Cell for $native {
            type Arrow = $arrow;
        })*
    };
}
cells!(u64 => UInt64Type, f32 => Float32Type, f64 => Float64Type);

pub(super) type ArrayOf<T> = PrimitiveArray<<T as Cell>::Arrow>;

pub(super) fn bound<T: Cell>(batch: &RecordBatch, name: &str) -> Option<ArrayOf<T>> {
    batch.column_by_name(name)?.as_primitive_opt::<T::Arrow>().cloned()
}

pub(super) fn cell<T: Cell>(array: Option<&ArrayOf<T>>, row: usize) -> Option<T> {
    array.filter(|array| array.is_valid(row)).map(|array| array.value(row))
}

/// A finished column.
pub(super) fn done<T: Array + 'static>(array: T) -> ArrayRef {
    Arc::new(array)
}

/// Something for each type of cell.
enum PerType<U, S, D> {
    U64(U),
    F32(S),
    F64(D),
}

type Builder = PerType<PrimitiveBuilder<UInt64Type>, PrimitiveBuilder<Float32Type>, PrimitiveBuilder<Float64Type>>;
type Column = PerType<ArrayOf<u64>, ArrayOf<f32>, ArrayOf<f64>>;

/// Columns that rows of the type `R` are appended to.
pub(super) struct RowBuilder<R> {
    sets: Stats,
    fields: Vec<Field>,
    builders: Vec<Builder>,
    row: PhantomData<fn(R)>,
}

impl<R: Row> RowBuilder<R> {
    /// The columns of these sets, whose names begin with `prefix`.
    pub fn new(sets: Stats, prefix: &str) -> Self {
        let mut visitor = Naming { sets, prefix, fields: vec![], builders: vec![] };
        R::visit(None, &mut visitor);
        Self { sets, fields: visitor.fields, builders: visitor.builders, row: PhantomData }
    }

    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.fields.iter().cloned()
    }

    /// Appends a row, of empty cells where there is none.
    pub fn append(&mut self, row: Option<&R>) {
        R::visit(row, &mut Writing { sets: self.sets, builders: self.builders.iter_mut() });
    }

    pub fn finish(&mut self) -> impl Iterator<Item = ArrayRef> + '_ {
        self.builders.iter_mut().map(|builder| match builder {
            PerType::U64(builder) => done(builder.finish()),
            PerType::F32(builder) => done(builder.finish()),
            PerType::F64(builder) => done(builder.finish()),
        })
    }
}

/// Columns that rows of the type `R` are read from.
pub(super) struct RowReader<R> {
    columns: Vec<Option<Column>>,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> RowReader<R> {
    /// The columns of a batch whose names begin with `prefix`; those it lacks are empty.
    pub fn bind(batch: &RecordBatch, prefix: &str) -> Self {
        let mut visitor = Binding { batch, prefix, columns: vec![] };
        R::visit(None, &mut visitor);
        Self { columns: visitor.columns, row: PhantomData }
    }

    /// `None` where the batch has no such row.
    pub fn at(&self, row: usize) -> Option<R> {
        R::visit(None, &mut Reading { row, columns: self.columns.iter() })
    }
}

struct Naming<'a> {
    sets: Stats,
    prefix: &'a str,
    fields: Vec<Field>,
    builders: Vec<Builder>,
}

impl Naming<'_> {
    fn column(&mut self, name: Name, cell: DataType, builder: Builder) {
        self.fields.push(Field::new(format!("{}{name}", self.prefix), cell, true));
        self.builders.push(builder);
    }
}

impl Cells for Naming<'_> {
    fn has(&self, set: Stats) -> bool {
        self.sets.contains(set)
    }
    fn u64(&mut self, name: Name, _: Option<u64>) -> Option<u64> {
        self.column(name, DataType::UInt64, PerType::U64(PrimitiveBuilder::new()));
        None
    }
    fn f32(&mut self, name: Name, _: Option<f32>) -> Option<f32> {
        self.column(name, DataType::Float32, PerType::F32(PrimitiveBuilder::new()));
        None
    }
    fn f64(&mut self, name: Name, _: Option<f64>) -> Option<f64> {
        self.column(name, DataType::Float64, PerType::F64(PrimitiveBuilder::new()));
        None
    }
}

struct Writing<'a> {
    sets: Stats,
    builders: std::slice::IterMut<'a, Builder>,
}

impl Cells for Writing<'_> {
    fn has(&self, set: Stats) -> bool {
        self.sets.contains(set)
    }
    fn u64(&mut self, _: Name, value: Option<u64>) -> Option<u64> {
        match self.builders.next() {
            Some(PerType::U64(builder)) => builder.append_option(value),
            _ => unreachable!("columns are visited in one order"),
        }
        value
    }
    fn f32(&mut self, _: Name, value: Option<f32>) -> Option<f32> {
        match self.builders.next() {
            Some(PerType::F32(builder)) => builder.append_option(value),
            _ => unreachable!("columns are visited in one order"),
        }
        value
    }
    fn f64(&mut self, _: Name, value: Option<f64>) -> Option<f64> {
        match self.builders.next() {
            Some(PerType::F64(builder)) => builder.append_option(value),
            _ => unreachable!("columns are visited in one order"),
        }
        value
    }
}

struct Binding<'a> {
    batch: &'a RecordBatch,
    prefix: &'a str,
    columns: Vec<Option<Column>>,
}

impl Binding<'_> {
    fn bind<T: Cell>(&mut self, name: Name, column: impl FnOnce(ArrayOf<T>) -> Column) -> Option<T> {
        self.columns.push(bound::<T>(self.batch, &format!("{}{name}", self.prefix)).map(column));
        None
    }
}

impl Cells for Binding<'_> {
    fn has(&self, _: Stats) -> bool {
        true
    }
    fn u64(&mut self, name: Name, _: Option<u64>) -> Option<u64> {
        self.bind(name, PerType::U64)
    }
    fn f32(&mut self, name: Name, _: Option<f32>) -> Option<f32> {
        self.bind(name, PerType::F32)
    }
    fn f64(&mut self, name: Name, _: Option<f64>) -> Option<f64> {
        self.bind(name, PerType::F64)
    }
}

struct Reading<'a> {
    row: usize,
    columns: std::slice::Iter<'a, Option<Column>>,
}

impl Cells for Reading<'_> {
    fn has(&self, _: Stats) -> bool {
        true
    }
    fn u64(&mut self, _: Name, _: Option<u64>) -> Option<u64> {
        match self.columns.next()? {
            Some(PerType::U64(column)) => cell::<u64>(Some(column), self.row),
            _ => None,
        }
    }
    fn f32(&mut self, _: Name, _: Option<f32>) -> Option<f32> {
        match self.columns.next()? {
            Some(PerType::F32(column)) => cell::<f32>(Some(column), self.row),
            _ => None,
        }
    }
    fn f64(&mut self, _: Name, _: Option<f64>) -> Option<f64> {
        match self.columns.next()? {
            Some(PerType::F64(column)) => cell::<f64>(Some(column), self.row),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::Schema;
    use gradscope_record::stats::{Partial, TensorSummary, order_key};

    /// A batch of one row, without the columns of these names.
    fn batch_without(summary: &TensorSummary, lacking: &[&str]) -> RecordBatch {
        let mut builder = RowBuilder::new(Stats::DYNAMICS | Stats::COSINE, "");
        builder.append(Some(summary));
        let fields: Vec<Field> = builder.fields().collect();
        let columns = fields.into_iter().zip(builder.finish());
        let kept = columns.filter(|(field, _)| !lacking.contains(&field.name().as_str()));
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = kept.unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("one row in every column")
    }

    fn compared() -> TensorSummary {
        let key = order_key(1f32.to_bits());
        let mut part = Partial { numel: 4, previous_numel: 4, min_key: key, max_key: key, ..Partial::IDENTITY };
        part.dynamics.transitions.recovered_count = 3;
        part.dynamics.became_zero_count = 1;
        part.finish()
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let written = compared();
        let batch = batch_without(&written, &[]);
        assert_eq!(RowReader::bind(&batch, "").at(0), Some(written));
    }

    /// Folders that were written before a statistic was declared have no column of it.
    #[test]
    fn a_column_that_is_not_there_takes_no_other_figure_with_it() {
        let written = compared();
        let batch = batch_without(&written, &["became_zero_count", "cosine_previous", "skewness"]);
        let found: TensorSummary = RowReader::bind(&batch, "").at(0).expect("there is a row");
        let (found, written) = (found.dynamics.expect("dynamics"), written.dynamics.expect("dynamics"));
        assert_eq!((found.became_zero_count, written.became_zero_count), (None, Some(1)));
        assert_eq!(found.transitions, written.transitions);
    }

    #[test]
    fn a_row_without_a_tensor_is_none() {
        let batch = batch_without(&compared(), &["numel"]);
        assert_eq!(RowReader::<TensorSummary>::bind(&batch, "").at(0), None);
    }
}

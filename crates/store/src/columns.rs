//! Rows and the Arrow columns they lie in: one list of fields gives the struct, the schema, the builders and the reader.

use arrow_array::builder::PrimitiveBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch};
use arrow_schema::Field;
use std::sync::Arc;

/// A value that a cell holds.
pub(super) trait Cell: Copy + Send + Sync + 'static {
    type Arrow: ArrowPrimitiveType<Native = Self>;
    fn to_f64(self) -> f64;
    fn from_f64(value: f64) -> Self;
}

macro_rules! cells {
    ($($native:ty => $arrow:ty),*) => {
        $(impl Cell for $native {
            type Arrow = $arrow;
            fn to_f64(self) -> f64 { self as f64 }
            fn from_f64(value: f64) -> Self { value as $native }
        })*
    };
}
cells!(u64 => UInt64Type, f32 => Float32Type, f64 => Float64Type);

pub(super) type BuilderOf<T> = PrimitiveBuilder<<T as Cell>::Arrow>;
pub(super) type ArrayOf<T> = PrimitiveArray<<T as Cell>::Arrow>;

/// A row of nullable numbers.
pub(super) trait Columns: Default {
    type Builders: Default;
    type Arrays;
    fn fields(prefix: &str) -> Vec<Field>;
    fn append(&self, builders: &mut Self::Builders);
    fn finish(builders: &mut Self::Builders) -> Vec<ArrayRef>;
    /// The columns of a batch; those it lacks are null.
    fn bind(batch: &RecordBatch, prefix: &str) -> Self::Arrays;
    fn at(arrays: &Self::Arrays, row: usize) -> Self;
    /// The figures that are there, by name.
    fn each(&self, figure: impl FnMut(&'static str, f64));
    /// Takes a figure by name; false where there is none of that name.
    fn set(&mut self, name: &str, value: f64) -> bool;
}

macro_rules! columns {
    ($name:ident $builders:ident $arrays:ident { $($field:ident: $cell:ty),* $(,)? }) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub(super) struct $name { $(pub $field: Option<$cell>),* }
        #[derive(Default)]
        pub(super) struct $builders { $($field: $crate::columns::BuilderOf<$cell>),* }
        pub(super) struct $arrays { $($field: Option<$crate::columns::ArrayOf<$cell>>),* }

        impl $crate::columns::Columns for $name {
            type Builders = $builders;
            type Arrays = $arrays;
            fn fields(prefix: &str) -> Vec<arrow_schema::Field> {
                vec![$($crate::columns::field::<$cell>(prefix, stringify!($field))),*]
            }
            fn append(&self, builders: &mut $builders) {
                $(builders.$field.append_option(self.$field);)*
            }
            fn finish(builders: &mut $builders) -> Vec<arrow_array::ArrayRef> {
                vec![$(std::sync::Arc::new(builders.$field.finish()) as arrow_array::ArrayRef),*]
            }
            fn bind(batch: &arrow_array::RecordBatch, prefix: &str) -> $arrays {
                $arrays { $($field: $crate::columns::bound::<$cell>(batch, prefix, stringify!($field))),* }
            }
            fn at(arrays: &$arrays, row: usize) -> Self {
                Self { $($field: $crate::columns::cell(arrays.$field.as_ref(), row)),* }
            }
            fn each(&self, mut figure: impl FnMut(&'static str, f64)) {
                $(if let Some(value) = self.$field {
                    figure(stringify!($field), $crate::columns::Cell::to_f64(value));
                })*
            }
            fn set(&mut self, name: &str, value: f64) -> bool {
                match name {
                    $(stringify!($field) => self.$field = Some($crate::columns::Cell::from_f64(value)),)*
                    _ => return false,
                }
                true
            }
        }
    };
}
pub(super) use columns;

pub(super) fn field<T: Cell>(prefix: &str, name: &str) -> Field {
    Field::new(format!("{prefix}{name}"), T::Arrow::DATA_TYPE, true)
}

pub(super) fn bound<T: Cell>(batch: &RecordBatch, prefix: &str, name: &str) -> Option<ArrayOf<T>> {
    let column = batch.column_by_name(&format!("{prefix}{name}"))?;
    column.as_primitive_opt::<T::Arrow>().cloned()
}

pub(super) fn cell<T: Cell>(array: Option<&ArrayOf<T>>, row: usize) -> Option<T> {
    array.filter(|array| array.is_valid(row)).map(|array| array.value(row))
}

/// A finished column.
pub(super) fn done<T: Array + 'static>(array: T) -> ArrayRef {
    Arc::new(array)
}

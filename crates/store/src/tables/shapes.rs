//! `histograms`: a row a distribution. `maps`: a row a weight's channels, or a line of the sign map.

use super::{Keys, Table, batch, key_fields, numbers, text};
use crate::columns::{bound, cell, done};
use arrow_array::builder::{
    Float32Builder, Float64Builder, ListBuilder, PrimitiveBuilder, StringBuilder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, UInt64Type};
use arrow_array::{Array, ListArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gradscope_record::record::{ChannelsRecord, HistogramOf, HistogramRecord, Param, SignMapRow, StepRecord};
use gradscope_record::stats::{EXPONENT_COUNT, Histogram, LINEAR_COUNT, LinearHistogram, Segment};
use std::sync::Arc;

const CHANNELS: &str = "channels";
const SIGN_MAP: &str = "sign_map";

fn list_field(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("item", item, true))), true)
}

fn put<T: ArrowPrimitiveType>(
    builder: &mut ListBuilder<PrimitiveBuilder<T>>,
    values: impl IntoIterator<Item = T::Native>,
) {
    builder.append_value(values.into_iter().map(Some));
}

fn list<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ListArray, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("the column `{name}` is not there"))?;
    column.as_list_opt::<i32>().ok_or_else(|| format!("the column `{name}` holds no lists"))
}

/// The list of a row; `None` where it is null.
fn items<T: ArrowPrimitiveType>(lists: &ListArray, row: usize) -> Option<Vec<T::Native>> {
    if lists.is_null(row) {
        return None;
    }
    lists.value(row).as_primitive_opt::<T>().map(|items| items.values().to_vec())
}

pub(crate) struct HistogramTable {
    params: Arc<[Param]>,
    schema: SchemaRef,
    keys: Keys,
    tensor: UInt64Builder,
    path: StringBuilder,
    of: StringBuilder,
    exponent_count: ListBuilder<UInt64Builder>,
    zero_count: UInt64Builder,
    flush_count: ListBuilder<UInt64Builder>,
    overflow_count: ListBuilder<UInt64Builder>,
    edges: ListBuilder<Float32Builder>,
    linear_count: ListBuilder<UInt64Builder>,
    linear_underflow_count: UInt64Builder,
    linear_overflow_count: UInt64Builder,
}

impl HistogramTable {
    pub fn new(params: Arc<[Param]>) -> Self {
        let mut fields = key_fields();
        fields.extend([
            Field::new("tensor", DataType::UInt64, false),
            Field::new("path", DataType::Utf8, false),
            Field::new("of", DataType::Utf8, false),
            list_field("exponent_count", DataType::UInt64),
            Field::new("zero_count", DataType::UInt64, true),
            list_field("flush_count", DataType::UInt64),
            list_field("overflow_count", DataType::UInt64),
            list_field("edges", DataType::Float32),
            list_field("linear_count", DataType::UInt64),
            Field::new("linear_underflow_count", DataType::UInt64, true),
            Field::new("linear_overflow_count", DataType::UInt64, true),
        ]);
        Self {
            params,
            schema: Arc::new(Schema::new(fields)),
            keys: Keys::default(),
            tensor: UInt64Builder::new(),
            path: StringBuilder::new(),
            of: StringBuilder::new(),
            exponent_count: ListBuilder::new(UInt64Builder::new()),
            zero_count: UInt64Builder::new(),
            flush_count: ListBuilder::new(UInt64Builder::new()),
            overflow_count: ListBuilder::new(UInt64Builder::new()),
            edges: ListBuilder::new(Float32Builder::new()),
            linear_count: ListBuilder::new(UInt64Builder::new()),
            linear_underflow_count: UInt64Builder::new(),
            linear_overflow_count: UInt64Builder::new(),
        }
    }

    pub fn push(&mut self, record: &StepRecord) {
        for HistogramRecord { param, of, histogram } in record.shapes.iter().flat_map(|shapes| &shapes.histograms) {
            self.keys.put(record.step, record.epoch);
            self.tensor.append_value(*param as u64);
            self.path.append_value(&self.params[*param].path);
            self.of.append_value(of.id());
            put(&mut self.exponent_count, histogram.exponent_count.iter().copied());
            self.zero_count.append_value(histogram.zero_count);
            put(&mut self.flush_count, histogram.flush_count);
            put(&mut self.overflow_count, histogram.overflow_count);
            match &histogram.linear {
                Some(linear) => {
                    put(&mut self.edges, linear.edges.iter().copied());
                    put(&mut self.linear_count, linear.count.iter().copied());
                }
                None => {
                    self.edges.append_null();
                    self.linear_count.append_null();
                }
            }
            let linear = histogram.linear.as_ref();
            self.linear_underflow_count.append_option(linear.map(|linear| linear.underflow_count));
            self.linear_overflow_count.append_option(linear.map(|linear| linear.overflow_count));
        }
    }
}

impl Table for HistogramTable {
    const NAME: &'static str = "histograms";

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn take(&mut self) -> RecordBatch {
        let mut columns = self.keys.take();
        columns.extend([
            done(self.tensor.finish()),
            done(self.path.finish()),
            done(self.of.finish()),
            done(self.exponent_count.finish()),
            done(self.zero_count.finish()),
            done(self.flush_count.finish()),
            done(self.overflow_count.finish()),
            done(self.edges.finish()),
            done(self.linear_count.finish()),
            done(self.linear_underflow_count.finish()),
            done(self.linear_overflow_count.finish()),
        ]);
        batch(self.schema.clone(), columns)
    }
}

/// The histograms of a batch, with their steps.
pub(crate) fn histogram_rows(
    batch: &RecordBatch,
    mut histogram: impl FnMut(u64, HistogramRecord),
) -> Result<(), String> {
    let (step, tensor, of) = (numbers(batch, "step")?, numbers(batch, "tensor")?, text(batch, "of")?);
    let zero_count = numbers(batch, "zero_count")?;
    let [exponents, flushes, overflows, edges, counts] =
        ["exponent_count", "flush_count", "overflow_count", "edges", "linear_count"].map(|name| list(batch, name));
    let (exponents, flushes, overflows, edges, counts) = (exponents?, flushes?, overflows?, edges?, counts?);
    let [under, over] = ["linear_underflow_count", "linear_overflow_count"].map(|name| bound::<u64>(batch, name));
    let four = |lists: &ListArray, row| -> [u64; 4] {
        items::<UInt64Type>(lists, row).and_then(|items| items.try_into().ok()).unwrap_or_default()
    };
    for row in 0..batch.num_rows() {
        let exponent_count = items::<UInt64Type>(exponents, row).unwrap_or_default();
        if exponent_count.len() != EXPONENT_COUNT {
            return Err(format!(
                "a histogram has {} counts by exponent, where {EXPONENT_COUNT} belong",
                exponent_count.len()
            ));
        }
        let linear = items::<Float32Type>(edges, row).zip(items::<UInt64Type>(counts, row));
        let is_whole =
            |(edges, counts): &(Vec<f32>, Vec<u64>)| counts.len() == LINEAR_COUNT && edges.len() == LINEAR_COUNT + 1;
        if !linear.as_ref().is_none_or(is_whole) {
            return Err(format!("a histogram's counts are not {LINEAR_COUNT} between as many edges and one"));
        }
        let found = Histogram {
            exponent_count,
            zero_count: zero_count.value(row),
            flush_count: four(flushes, row),
            overflow_count: four(overflows, row),
            linear: linear.map(|(edges, count)| LinearHistogram {
                edges,
                count,
                underflow_count: cell(under.as_ref(), row).unwrap_or(0),
                overflow_count: cell(over.as_ref(), row).unwrap_or(0),
            }),
        };
        let is_gradient = of.value(row) == HistogramOf::Gradient.id();
        let of = if is_gradient { HistogramOf::Gradient } else { HistogramOf::Parameter };
        histogram(step.value(row), HistogramRecord { param: tensor.value(row) as usize, of, histogram: found });
    }
    Ok(())
}

pub(crate) struct MapTable {
    params: Arc<[Param]>,
    schema: SchemaRef,
    keys: Keys,
    of: StringBuilder,
    tensor: UInt64Builder,
    path: StringBuilder,
    first_element: UInt64Builder,
    element_count: UInt64Builder,
    /// As [`COUNTS`] names them.
    counts: [ListBuilder<UInt64Builder>; 5],
    l2_norm_sq: ListBuilder<Float64Builder>,
}

const COUNTS: [&str; 5] =
    ["numel", "near_zero_negative_count", "near_zero_positive_count", "zero_count", "nonfinite_count"];

fn counts_of(segment: &Segment) -> [u64; 5] {
    [
        segment.numel,
        segment.near_zero_negative_count,
        segment.near_zero_positive_count,
        segment.zero_count,
        segment.nonfinite_count,
    ]
}

impl MapTable {
    pub fn new(params: Arc<[Param]>) -> Self {
        let mut fields = key_fields();
        fields.extend([
            Field::new("of", DataType::Utf8, false),
            Field::new("tensor", DataType::UInt64, true),
            Field::new("path", DataType::Utf8, true),
            Field::new("first_element", DataType::UInt64, true),
            Field::new("element_count", DataType::UInt64, true),
        ]);
        fields.extend(COUNTS.map(|name| list_field(name, DataType::UInt64)));
        fields.push(list_field("l2_norm_sq", DataType::Float64));
        Self {
            params,
            schema: Arc::new(Schema::new(fields)),
            keys: Keys::default(),
            of: StringBuilder::new(),
            tensor: UInt64Builder::new(),
            path: StringBuilder::new(),
            first_element: UInt64Builder::new(),
            element_count: UInt64Builder::new(),
            counts: std::array::from_fn(|_| ListBuilder::new(UInt64Builder::new())),
            l2_norm_sq: ListBuilder::new(Float64Builder::new()),
        }
    }

    pub fn push(&mut self, record: &StepRecord) {
        let Some(shapes) = &record.shapes else { return };
        for channels in &shapes.channels {
            self.of.append_value(CHANNELS);
            self.tensor.append_value(channels.param as u64);
            self.path.append_value(&self.params[channels.param].path);
            self.first_element.append_null();
            self.element_count.append_null();
            self.segments(record, &channels.channels);
        }
        if let Some(row) = &shapes.sign_map {
            self.of.append_value(SIGN_MAP);
            self.tensor.append_null();
            self.path.append_null();
            self.first_element.append_value(row.first_element);
            self.element_count.append_value(row.element_count);
            self.segments(record, &row.columns);
        }
    }

    fn segments(&mut self, record: &StepRecord, segments: &[Segment]) {
        self.keys.put(record.step, record.epoch);
        for (place, builder) in self.counts.iter_mut().enumerate() {
            put(builder, segments.iter().map(|segment| counts_of(segment)[place]));
        }
        put(&mut self.l2_norm_sq, segments.iter().map(|segment| segment.l2_norm_sq));
    }
}

impl Table for MapTable {
    const NAME: &'static str = "maps";

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn take(&mut self) -> RecordBatch {
        let mut columns = self.keys.take();
        columns.extend([
            done(self.of.finish()),
            done(self.tensor.finish()),
            done(self.path.finish()),
            done(self.first_element.finish()),
            done(self.element_count.finish()),
        ]);
        columns.extend(self.counts.iter_mut().map(|counts| done(counts.finish())));
        columns.push(done(self.l2_norm_sq.finish()));
        batch(self.schema.clone(), columns)
    }
}

/// A row of `maps`.
pub(crate) enum MapRow {
    Channels(ChannelsRecord),
    SignMap(SignMapRow),
}

/// The rows of a batch, with their steps.
pub(crate) fn map_rows(batch: &RecordBatch, mut map: impl FnMut(u64, MapRow)) -> Result<(), String> {
    let (step, of, tensor) = (numbers(batch, "step")?, text(batch, "of")?, numbers(batch, "tensor")?);
    let [first, count] = ["first_element", "element_count"].map(|name| bound::<u64>(batch, name));
    let lists = COUNTS.iter().map(|name| list(batch, name)).collect::<Result<Vec<_>, _>>()?;
    let norms = list(batch, "l2_norm_sq")?;
    for row in 0..batch.num_rows() {
        let counts: Vec<_> = lists.iter().map(|list| items::<UInt64Type>(list, row).unwrap_or_default()).collect();
        let norms = items::<Float64Type>(norms, row).unwrap_or_default();
        let whole = counts.iter().all(|counts| counts.len() == norms.len());
        let segment = |i: usize| Segment {
            numel: counts[0][i],
            near_zero_negative_count: counts[1][i],
            near_zero_positive_count: counts[2][i],
            zero_count: counts[3][i],
            nonfinite_count: counts[4][i],
            l2_norm_sq: norms[i],
        };
        if !whole {
            return Err("lists of one row differ in length".into());
        }
        let segments: Vec<Segment> = (0..norms.len()).map(segment).collect();
        let found = if of.value(row) == SIGN_MAP {
            MapRow::SignMap(SignMapRow {
                first_element: cell(first.as_ref(), row).unwrap_or(0),
                element_count: cell(count.as_ref(), row).unwrap_or(0),
                columns: segments,
            })
        } else {
            MapRow::Channels(ChannelsRecord { param: tensor.value(row) as usize, channels: segments })
        };
        map(step.value(row), found);
    }
    Ok(())
}

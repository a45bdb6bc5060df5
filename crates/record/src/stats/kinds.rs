//! Kinds of statistics: how the parts of one combine, what it is once finished, and how it totals over tensors.

use super::table::Words;
use super::{FirstNonfinite, INFINITY_BITS, Moments, Name, from_order_key, order_key};

/// What a tensor's statistics are finished with, beside their parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    /// Elements that are neither NaN nor infinite.
    pub finite_count: u64,
    /// Every element was compared with an earlier step.
    pub is_compared: bool,
    /// The step that an update follows.
    pub previous_step: u64,
}

/// A kind of statistic, whose parts are of the type `P`.
pub(crate) trait Kind<P> {
    /// The part of no elements.
    const IDENTITY: P;
    /// The part of the elements of `a` followed by those of `b`. Associative.
    fn combine(a: P, b: P) -> P;
    /// Reads the part from the words of a GPU record.
    fn read(words: &mut impl Words, name: Name) -> P;
}

/// How a part of the type `P` becomes a figure of the type `V`.
pub(crate) trait Finish<P, V> {
    fn finish(part: P, whole: Whole) -> V;
    /// The part that `value` was finished from, as far as `value` has it.
    fn unfinish(value: V) -> P;
}

/// How figures of the type `V` add up to a total of the type `T`, over tensors.
pub(crate) trait Total<T, V> {
    fn add(total: &mut T, value: V);
}

/// Elements, which the host knows: no word of a GPU record has them.
pub(crate) struct Numel;
/// Elements that a condition holds for.
pub(crate) struct Count;
/// Elements that a condition holds for which compares with an earlier step: there is no figure where none was compared.
pub(crate) struct ComparedCount;
/// Sum of magnitudes or values.
pub(crate) struct Sum;
/// Sum of squares or products. A figure of it is its root.
pub(crate) struct SumOfSquares;
/// Smallest finite element, kept as its [`order_key`].
pub(crate) struct Min;
/// Largest finite element, kept as its [`order_key`].
pub(crate) struct Max;
/// Smallest magnitude of an element that is not zero, kept as its bits less one: zero wraps round to the largest. Those of
/// infinities and NaNs stand for none.
pub(crate) struct AbsMin;
/// Largest magnitude; 0 of none.
pub(crate) struct AbsMax;
/// Mean and sums of powers of distances from it.
pub(crate) struct Spread;
/// The first element that is not finite.
pub(crate) struct First;
/// Statistics that have a table of their own.
pub(crate) struct Nested;

/// Implements [`Kind`] where parts are plain numbers.
macro_rules! kinds {
    ($($kind:ident $part:ty: $identity:expr, |$a:ident, $b:ident| $combined:expr, |$words:ident, $name:ident| $read:expr;)*) => {
        $(impl Kind<$part> for $kind {
            const IDENTITY: $part = $identity;
            #[inline]
            fn combine($a: $part, $b: $part) -> $part {
                $combined
            }
            fn read($words: &mut impl Words, $name: Name) -> $part {
                $read
            }
        })*
    };
}

kinds! {
    Numel u64: 0, |a, b| a + b, |_words, _name| 0;
    Count u64: 0, |a, b| a + b, |words, name| words.count(name);
    ComparedCount u64: 0, |a, b| a + b, |words, name| words.count(name);
    Sum f64: 0.0, |a, b| a + b, |words, name| words.sum(name);
    SumOfSquares f64: 0.0, |a, b| a + b, |words, name| words.sum_of_squares(name);
    Min u32: u32::MAX, |a, b| a.min(b), |words, name| one_zero(words.min(name));
    Max u32: 0, |a, b| a.max(b), |words, name| one_zero(words.max(name));
    AbsMin u32: u32::MAX, |a, b| a.min(b), |words, name| words.min(name);
    AbsMax f32: 0.0, |a, b| a.max(b), |words, name| f32::from_bits(words.max(name));
    Spread Moments: Moments::IDENTITY, |a, b| a.combine(b), |words, name| words.moments(name);
    First Option<FirstNonfinite>: None, |a, b| a.or(b), |words, name| words.first_nonfinite(name);
}

/// The shaders keep the zeros apart.
fn one_zero(key: u32) -> u32 {
    order_key(from_order_key(key).to_bits())
}

/// A part for each of the two epsilons.
impl<P: Copy, K: Kind<P>> Kind<[P; 2]> for K {
    const IDENTITY: [P; 2] = [K::IDENTITY; 2];
    #[inline]
    fn combine(a: [P; 2], b: [P; 2]) -> [P; 2] {
        [K::combine(a[0], b[0]), K::combine(a[1], b[1])]
    }
    fn read(words: &mut impl Words, name: Name) -> [P; 2] {
        name.of_epsilons().map(|name| K::read(words, name))
    }
}

/// Implements [`Finish`] where the figure is the part.
macro_rules! finished_as_is {
    ($($kind:ident $value:ty;)*) => {
        $(impl Finish<$value, $value> for $kind {
            fn finish(part: $value, _: Whole) -> $value {
                part
            }
            fn unfinish(value: $value) -> $value {
                value
            }
        })*
    };
}

finished_as_is! {
    Numel u64;
    Count u64;
    Count [u64; 2];
    Sum f64;
    AbsMax f32;
    First Option<FirstNonfinite>;
}

/// Implements [`Total`] where a total is a figure of the same type.
macro_rules! totals {
    ($($kind:ident $value:ty: |$total:ident, $of:ident| $sum:expr;)*) => {
        $(impl Total<$value, $value> for $kind {
            fn add($total: &mut $value, $of: $value) {
                *$total = $sum;
            }
        })*
    };
}

totals! {
    Numel u64: |total, value| *total + value;
    Count u64: |total, value| *total + value;
    Count [u64; 2]: |total, value| [total[0] + value[0], total[1] + value[1]];
    ComparedCount Option<u64>: |total, value| value.map_or(*total, |value| Some(total.unwrap_or(0) + value));
    Sum f64: |total, value| *total + value;
    SumOfSquares f64: |total, value| total.hypot(value);
    Min Option<f32>: |total, value| [*total, value].into_iter().flatten().reduce(f32::min);
    Max Option<f32>: |total, value| [*total, value].into_iter().flatten().reduce(f32::max);
}

impl Finish<u64, Option<u64>> for ComparedCount {
    fn finish(part: u64, whole: Whole) -> Option<u64> {
        whole.is_compared.then_some(part)
    }
    fn unfinish(value: Option<u64>) -> u64 {
        value.unwrap_or(0)
    }
}

impl Finish<f64, f64> for SumOfSquares {
    fn finish(part: f64, _: Whole) -> f64 {
        part.sqrt()
    }
    fn unfinish(value: f64) -> f64 {
        value * value
    }
}

impl Finish<u32, Option<f32>> for Min {
    fn finish(part: u32, whole: Whole) -> Option<f32> {
        (whole.finite_count > 0).then(|| from_order_key(part))
    }
    fn unfinish(value: Option<f32>) -> u32 {
        value.map_or(Self::IDENTITY, |value| order_key(value.to_bits()))
    }
}

impl Finish<u32, Option<f32>> for Max {
    fn finish(part: u32, whole: Whole) -> Option<f32> {
        (whole.finite_count > 0).then(|| from_order_key(part))
    }
    fn unfinish(value: Option<f32>) -> u32 {
        value.map_or(Self::IDENTITY, |value| order_key(value.to_bits()))
    }
}

impl Finish<u32, Option<f32>> for AbsMin {
    fn finish(part: u32, _: Whole) -> Option<f32> {
        (part < INFINITY_BITS - 1).then(|| f32::from_bits(part + 1))
    }
    fn unfinish(value: Option<f32>) -> u32 {
        value.map_or(Self::IDENTITY, |value| value.to_bits().wrapping_sub(1))
    }
}

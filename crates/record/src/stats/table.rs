//! The table of statistics: one row declares a statistic for records, GPU words, columns and totals.
//!
//! A row is `name: Type = Kind of part: PartType, total Type, "what the total is";`, in a block of the set that a scope has
//! to be asked for. A figure that is not accumulated itself has `Kind => |part, whole| expression` in place of `of`; its kind
//! says how it totals, and is called `Derived` or `Given` where it does not. What is accumulated for such figures alone
//! stands in the part's own list, and what totals have beside the rows in theirs. `as "name"` gives a column another name
//! than the prefix and the row's. A `compared` table has figures that are their own parts, all of them of a step compared
//! with an earlier one.
//!
//! From the rows come the type that accumulates (its identity, how it combines, how a GPU record is read), the finished
//! type, and the type of totals over tensors (their columns).
//!
//! A row that is added later is an `Option`, its total as well, and stands in no `compared` table: folders that were written
//! before have no column of it, and an empty cell of another type takes the whole table of its row with it.

use super::{FirstNonfinite, Moments, NonfiniteKind, Stats};
use std::fmt;

/// Name of a word, or of a column without the prefix of its tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// With the prefix of its table.
    pub stem: &'static str,
    /// Of an epsilon, or of one of the cells of a figure that has several; empty otherwise.
    pub suffix: &'static str,
}

impl Name {
    /// A name without a suffix.
    pub const fn new(stem: &'static str) -> Self {
        Self { stem, suffix: "" }
    }

    /// The names of a figure that there is one of for each epsilon.
    pub(crate) fn of_epsilons(self) -> [Self; 2] {
        ["_1", "_2"].map(|suffix| Self { suffix, ..self })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.stem, self.suffix)
    }
}

/// Visits the statistics that a GPU record has, in the order of the table: to lay out its words, or to read them.
pub trait Words {
    /// The record has the words of this set.
    fn has(&self, set: Stats) -> bool;
    /// A count.
    fn count(&mut self, name: Name) -> u64;
    /// A sum of values.
    fn sum(&mut self, name: Name) -> f64;
    /// A sum of squares or products.
    fn sum_of_squares(&mut self, name: Name) -> f64;
    /// A word of which the smallest counts.
    fn min(&mut self, name: Name) -> u32;
    /// A word of which the largest counts.
    fn max(&mut self, name: Name) -> u32;
    /// Mean, and sums of powers of distances from it.
    fn moments(&mut self, name: Name) -> Moments;
    /// The first element that is not finite.
    fn first_nonfinite(&mut self, name: Name) -> Option<FirstNonfinite>;
}

/// Visits the cells of a row of a table, in the order of its columns: to name the columns, to write a row or to read
/// one. A method takes the cell's value where a row is written, and returns it where one is read.
pub trait Cells {
    /// The table has the columns of this set.
    fn has(&self, set: Stats) -> bool;
    /// A cell of counts and indices.
    fn u64(&mut self, name: Name, value: Option<u64>) -> Option<u64>;
    /// A cell of elements and magnitudes.
    fn f32(&mut self, name: Name, value: Option<f32>) -> Option<f32>;
    /// A cell of sums, norms and ratios.
    fn f64(&mut self, name: Name, value: Option<f64>) -> Option<f64>;
}

/// What stands in cells of a row.
pub trait Row: Copy {
    /// Visits the cells of `row` and returns the row that was read, `None` where a cell that every such row has is empty.
    fn visit(row: Option<&Self>, cells: &mut impl Cells) -> Option<Self>;
}

/// A figure that stands in one cell or more.
pub(crate) trait Column: Copy {
    fn visit(value: Option<&Self>, name: Name, cells: &mut impl Cells) -> Option<Self>;
}

macro_rules! cells {
    ($($cell:ident),*) => {
        $(impl Column for $cell {
            fn visit(value: Option<&Self>, name: Name, cells: &mut impl Cells) -> Option<Self> {
                cells.$cell(name, value.copied())
            }
        })*
    };
}
cells!(u64, f32, f64);

/// A figure that may not be there: an empty cell is `None`, and not the lack of a row.
impl<T: Column> Column for Option<T> {
    fn visit(value: Option<&Self>, name: Name, cells: &mut impl Cells) -> Option<Self> {
        Some(T::visit(value.and_then(Option::as_ref), name, cells))
    }
}

/// A figure for each epsilon.
impl<T: Column> Column for [T; 2] {
    fn visit(value: Option<&Self>, name: Name, cells: &mut impl Cells) -> Option<Self> {
        let [first, second] = name.of_epsilons();
        let first = T::visit(value.map(|value| &value[0]), first, cells);
        let second = T::visit(value.map(|value| &value[1]), second, cells);
        Some([first?, second?])
    }
}

/// Its index, and its value: NaN or an infinity.
impl Column for FirstNonfinite {
    fn visit(value: Option<&Self>, name: Name, cells: &mut impl Cells) -> Option<Self> {
        let [index, element] = ["_index", "_value"].map(|suffix| Name { suffix, ..name });
        let index = cells.u64(index, value.map(|first| first.index));
        let element = cells.f32(element, value.map(|first| first.kind.value()));
        Some(Self { index: index?, kind: NonfiniteKind::of(element?) })
    }
}

/// Declares statistics. See the head of this file.
macro_rules! statistics {
    // Statistics whose figures are their parts, all of which compare with an earlier step.
    (
        prefix $prefix:literal;
        $(#[$meta:meta])* compared $Summary:ident in $set:ident {
            $( $(#[$row_meta:meta])* $name:ident: $V:ty = $Kind:ident; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $Summary { $( $(#[$row_meta])* pub $name: $V, )* }

        statistics!(@part $prefix $Summary { $( $set $name: $V = $Kind; )* });
        statistics!(@row $prefix $Summary { $( $set $name: $V; )* });

        impl kinds::Finish<$Summary, Option<$Summary>> for kinds::Nested {
            fn finish(part: $Summary, whole: kinds::Whole) -> Option<$Summary> {
                whole.is_compared.then_some(part)
            }
            fn unfinish(value: Option<$Summary>) -> $Summary {
                value.unwrap_or($Summary::IDENTITY)
            }
        }

        impl kinds::Total<Option<$Summary>, Option<$Summary>> for kinds::Nested {
            fn add(total: &mut Option<$Summary>, value: Option<$Summary>) {
                *total = value.map_or(*total, |value| Some(total.unwrap_or($Summary::IDENTITY).combine_rows(value)));
            }
        }
    };

    // Statistics that are accumulated in one form, finished in another, and total over tensors in a third.
    (
        prefix $prefix:literal;
        $(#[$part_meta:meta])* part $Part:ident {
            $( $(#[$own_meta:meta])* $own:ident: $Own:ty = $OwnKind:ident in $own_set:ident; )*
        }
        $(#[$meta:meta])* summary $Summary:ident {
            $( $set:ident { $(
                $(#[$row_meta:meta])*
                $name:ident $(as $column:literal)?: $V:ty = $Kind:ident
                $(of $part:ident: $P:ty)? $(=> |$p:ident, $w:ident| $derived:expr)?
                $(, total $T:ty, $total_doc:literal)?;
            )* } )*
        }
        $(#[$total_meta:meta])* total $Total:ident {
            $( $(#[$extra_meta:meta])* $extra:ident: $Extra:ty = $ExtraKind:ident; )*
        }
    ) => {
        $(#[$part_meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $Part {
            $( $(#[$own_meta])* pub $own: $Own, )*
            $($($(
                #[doc = concat!("Accumulates [`", stringify!($name), "`](", stringify!($Summary), "::", stringify!($name), ").")]
                #[doc = statistics!(@how $Kind)]
                pub $part: $P,
            )?)*)*
        }

        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $Summary { $($( $(#[$row_meta])* pub $name: $V, )*)* }

        $(#[$total_meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        #[serde(default)]
        pub struct $Total {
            $($($( #[doc = $total_doc] pub $name: $T, )?)*)*
            $( $(#[$extra_meta])* pub $extra: $Extra, )*
        }

        statistics!(@part $prefix $Part {
            $( $own_set $own: $Own = $OwnKind; )*
            $($($( $set $part: $P = $Kind; )?)*)*
        });
        statistics!(@row $prefix $Summary { $($( $set $name $(as $column)?: $V; )*)* });
        statistics!(@row $prefix $Total { $($($( $set $name: $T; )?)*)* $( BASIC $extra: $Extra; )* });

        impl $Part {
            fn finish_rows(&self, whole: kinds::Whole) -> $Summary {
                $Summary {
                    $($( $name: {
                        $( <kinds::$Kind as kinds::Finish<$P, $V>>::finish(self.$part, whole) )?
                        $( { let ($p, $w) = (self, whole); $derived } )?
                    }, )*)*
                }
            }

            /// The part that `summary` was finished from, without what the part has for itself.
            fn unfinish_rows(summary: &$Summary) -> Self {
                Self {
                    $($($( $part: <kinds::$Kind as kinds::Finish<$P, $V>>::unfinish(summary.$name), )?)*)*
                    ..Self::IDENTITY
                }
            }
        }

        impl kinds::Finish<$Part, Option<$Summary>> for kinds::Nested {
            fn finish(part: $Part, whole: kinds::Whole) -> Option<$Summary> {
                Some(part.finish_rows(whole))
            }
            fn unfinish(value: Option<$Summary>) -> $Part {
                value.map_or($Part::IDENTITY, |value| $Part::unfinish_rows(&value))
            }
        }

        impl $Total {
            /// Adds the figures of a tensor.
            pub(crate) fn add(&mut self, summary: &$Summary) {
                $($($( <kinds::$Kind as kinds::Total<$T, $V>>::add(&mut self.$name, summary.$name); )?)*)*
            }

            /// Adds the totals over other tensors.
            pub(crate) fn add_totals(&mut self, other: &Self) {
                $($($( <kinds::$Kind as kinds::Total<$T, $T>>::add(&mut self.$name, other.$name); )?)*)*
                $( <kinds::$ExtraKind as kinds::Total<$Extra, $Extra>>::add(&mut self.$extra, other.$extra); )*
            }
        }

        impl kinds::Total<Option<$Total>, Option<$Summary>> for kinds::Nested {
            fn add(total: &mut Option<$Total>, value: Option<$Summary>) {
                if let Some(value) = value {
                    total.get_or_insert_default().add(&value);
                }
            }
        }

        impl kinds::Total<Option<$Total>, Option<$Total>> for kinds::Nested {
            fn add(total: &mut Option<$Total>, value: Option<$Total>) {
                if let Some(value) = value {
                    total.get_or_insert_default().add_totals(&value);
                }
            }
        }
    };

    // What accumulates: its identity, how it combines, and its words in a GPU record.
    (@part $prefix:literal $Part:ident { $( $set:ident $part:ident: $P:ty = $Kind:ident; )* }) => {
        impl $Part {
            /// The part of no elements.
            pub const IDENTITY: Self = Self { $( $part: <kinds::$Kind as kinds::Kind<$P>>::IDENTITY, )* };

            #[inline]
            fn combine_rows(self, other: Self) -> Self {
                Self { $( $part: <kinds::$Kind as kinds::Kind<$P>>::combine(self.$part, other.$part), )* }
            }

            #[doc(hidden)]
            /// Reads the part from a GPU record. What the record does not have is that of no elements.
            pub fn from_words(words: &mut impl $crate::stats::table::Words) -> Self {
                Self { $(
                    $part: if words.has(Stats::$set) {
                        let name = $crate::stats::Name::new(concat!($prefix, stringify!($part)));
                        <kinds::$Kind as kinds::Kind<$P>>::read(words, name)
                    } else {
                        <kinds::$Kind as kinds::Kind<$P>>::IDENTITY
                    },
                )* }
            }
        }

        impl kinds::Kind<$Part> for kinds::Nested {
            const IDENTITY: $Part = $Part::IDENTITY;
            #[inline]
            fn combine(a: $Part, b: $Part) -> $Part {
                a.combine_rows(b)
            }
            fn read(words: &mut impl $crate::stats::table::Words, _: $crate::stats::Name) -> $Part {
                $Part::from_words(words)
            }
        }
    };

    // What stands in tables: its columns.
    (@row $prefix:literal $Summary:ident { $( $set:ident $name:ident $(as $column:literal)?: $V:ty; )* }) => {
        impl $crate::stats::Row for $Summary {
            fn visit(row: Option<&Self>, cells: &mut impl $crate::stats::Cells) -> Option<Self> {
                $(let $name: Option<$V> = if cells.has(Stats::$set) {
                    let name = $crate::stats::Name::new(statistics!(@column $prefix $name $($column)?));
                    $crate::stats::table::Column::visit(row.map(|row| &row.$name), name, cells)
                } else {
                    Some(Default::default())
                };)*
                Some(Self { $( $name: $name?, )* })
            }
        }

        impl $crate::stats::table::Column for $Summary {
            fn visit(value: Option<&Self>, _: $crate::stats::Name, cells: &mut impl $crate::stats::Cells) -> Option<Self> {
                <Self as $crate::stats::Row>::visit(value, cells)
            }
        }
    };
    // How the parts of a kind are kept, where that is not plain.
    (@how Min) => { "[`order_key`](crate::stats::order_key) of the smallest finite element; `u32::MAX` where there is none." };
    (@how Max) => { "[`order_key`](crate::stats::order_key) of the largest finite element; 0 where there is none." };
    (@how AbsMin) => { "The magnitude's bits less one; `u32::MAX` where there is none." };
    (@how SumOfSquares) => { "The sum, without its root." };
    (@how First) => { "By its index in this part." };
    (@how $Kind:ident) => { "" };

    (@column $prefix:literal $name:ident $column:literal) => { $column };
    (@column $prefix:literal $name:ident) => { concat!($prefix, stringify!($name)) };
}
pub(crate) use statistics;

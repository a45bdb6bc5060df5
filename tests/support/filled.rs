//! Values of types that grow, which no other package can write as literals.

/// The default of a type, or a given value of it, with these fields set.
macro_rules! filled {
    ($Type:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {
        filled!($Type::default() => { $($field $(: $value)?),* })
    };
    ($base:expr => { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        let mut filled = $base;
        $(filled.$field = filled!(@value $field $($value)?);)*
        filled
    }};
    (@value $field:ident $value:expr) => { $value };
    (@value $field:ident) => { $field };
}
pub(crate) use filled;

//! Colours.

use serde::Serialize;

pub type Rgb = [u8; 3];

pub const DISTINCT_COUNT: usize = 12;
/// For lines that are few: Okabe and Ito's eight, which colour-blind readers tell apart, and four more.
pub const DISTINCT: [Rgb; DISTINCT_COUNT] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0xe6, 0x9f, 0x00],
    [0x56, 0xb4, 0xe9],
    [0x6a, 0x3d, 0x9a],
    [0xb1, 0x59, 0x28],
    [0x66, 0x66, 0x66],
    [0x1b, 0x7f, 0x3b],
    [0x99, 0x00, 0x4c],
    [0x33, 0x33, 0x33],
];

/// Where there is no value.
pub const NONE: Rgb = [0xc9, 0xd6, 0xea];
/// NaNs and infinities: a colour of no scale.
pub const NONFINITE: Rgb = [0xff, 0x00, 0xc8];
/// Exact zeros of the sign map.
pub const ZERO: Rgb = [0x00, 0x00, 0x00];
/// Near-zero gradients of the sign map, by sign, and the others.
pub const NEGATIVE: Rgb = [0xd9, 0x1e, 0x18];
pub const POSITIVE: Rgb = [0x1a, 0x98, 0x3c];
pub const LARGE: Rgb = [0xff, 0xff, 0xff];

/// Stops of viridis (S. van der Walt and N. Smith), evenly spaced.
const VIRIDIS: [Rgb; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];

/// The colours as the dashboard asks for them.
#[derive(Serialize)]
pub struct Palette {
    distinct: [Rgb; DISTINCT_COUNT],
    sequential: [Rgb; VIRIDIS.len()],
    none: Rgb,
    nonfinite: Rgb,
    zero: Rgb,
    negative: Rgb,
    positive: Rgb,
    large: Rgb,
}

impl Default for Palette {
    fn default() -> Self {
        Self {
            distinct: DISTINCT,
            sequential: VIRIDIS,
            none: NONE,
            nonfinite: NONFINITE,
            zero: ZERO,
            negative: NEGATIVE,
            positive: POSITIVE,
            large: LARGE,
        }
    }
}

/// Dark to bright, for `at` in [0, 1].
pub fn sequential(at: f64) -> Rgb {
    let at = at.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let stop = (at as usize).min(VIRIDIS.len() - 2);
    mixed(VIRIDIS[stop], VIRIDIS[stop + 1], at - stop as f64)
}

/// `share` of `b`, and the rest of `a`.
pub fn mixed(a: Rgb, b: Rgb, share: f64) -> Rgb {
    std::array::from_fn(|i| (f64::from(a[i]) * (1.0 - share) + f64::from(b[i]) * share).round() as u8)
}

//! Twin of `grad_reduce/cosine.wgsl`: the angle between a gradient and that of the previous step.

use gradscope_record::stats::{Partial, term};

/// Adds the inner product with the previous gradient, and its sum of squares.
pub(super) fn add(total: &mut Partial, gradient: &[f32], previous: &[f32]) {
    for (g, p) in gradient.iter().zip(previous) {
        let p = term(p.to_bits());
        total.previous_l2_norm_sq += p.map_or(0.0, |p| p * p);
        total.dot_previous += term(g.to_bits()).zip(p).map_or(0.0, |(g, p)| g * p);
    }
}

//! Twin of `average.wgsl`.

/// Moves `averages` on by `values / scale`: `factor * average + (1 - factor) * value`. A non-finite value leaves its
/// average as it was; the first finite one starts it. Averages that were never started are NaN.
pub fn average(averages: &mut Vec<f32>, values: &[f32], scale: f64, factor: f64) {
    averages.resize(values.len(), f32::NAN);
    let (inverse_scale, factor) = ((1.0 / scale) as f32, factor as f32);
    for (average, value) in averages.iter_mut().zip(values).filter(|(_, value)| value.is_finite()) {
        let value = value * inverse_scale;
        *average = if average.is_finite() { *average * factor + value * (1.0 - factor) } else { value };
    }
}

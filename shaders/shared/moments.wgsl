// Count, mean and the sums of powers of distances from the mean, merged by Chan's and Pébay's formulas. Values and mean
// are in units of 2^85 to the (scale - 1)-th: a part that holds magnitudes out of f32's range for squares is scaled as a
// whole, and what is too small to be seen beside them is flushed. Cubes and fourth powers have no room in f32 at any
// scale that squares need, so their sums are kept as multiples of that of squares: averages of distances, and of their
// squares, that are no larger than the largest of them.
struct Moments {
    count: u32,
    mean: f32,
    m2: f32,
    m3_per_m2: f32,
    m4_per_m2: f32,
    scale: u32,
}

fn merge(a: Moments, b: Moments) -> Moments {
    if a.count == 0u {
        return b;
    }
    if b.count == 0u {
        return a;
    }
    let scale = max(a.scale, b.scale);
    let x = rescale(a, scale);
    let y = rescale(b, scale);
    let count = x.count + y.count;
    let q = f32(y.count) / f32(count);
    let p = f32(x.count) / f32(count);
    let delta = y.mean - x.mean;
    let delta_sq = delta * delta;
    let between = delta_sq * (f32(x.count) * q);
    let m2 = x.m2 + y.m2 + between;
    // Shares of the sum of squares: of the two parts, and of what lies between them.
    let per_m2 = select(0.0, 1.0 / m2, m2 > 0.0);
    let of_x = x.m2 * per_m2;
    let of_y = y.m2 * per_m2;
    let of_both = between * per_m2;
    return Moments(
        count,
        x.mean + delta * q,
        m2,
        of_x * (x.m3_per_m2 - 3.0 * delta * q) + of_y * (y.m3_per_m2 + 3.0 * delta * p) + of_both * delta * (p - q),
        of_x * (x.m4_per_m2 + delta * q * (6.0 * delta * q - 4.0 * x.m3_per_m2))
            + of_y * (y.m4_per_m2 + delta * p * (6.0 * delta * p + 4.0 * y.m3_per_m2))
            + of_both * delta_sq * (p * p - p * q + q * q),
        scale,
    );
}

fn rescale(moments: Moments, scale: u32) -> Moments {
    var m = moments;
    while m.scale < scale {
        m.scale += 1u;
        m.mean = scaled_down(m.mean);
        m.m2 = scaled_down(scaled_down(m.m2));
        m.m3_per_m2 = scaled_down(m.m3_per_m2);
        m.m4_per_m2 = scaled_down(scaled_down(m.m4_per_m2));
    }
    return m;
}

// By the exponent: factors may be pulled out of sums, and then overflow.
fn scaled_down(x: f32) -> f32 {
    let word = bitcast<u32>(x);
    return bitcast<f32>(select(0u, word - SCALE, (word & MAGNITUDE) >= SCALE + MIN_NORMAL));
}

// The words of a record that it stands in, in the order of its fields.
fn packed(m: Moments) -> array<u32, MOMENTS_LEN> {
    return array<u32, MOMENTS_LEN>(
        m.count, bitcast<u32>(m.mean), bitcast<u32>(m.m2), bitcast<u32>(m.m3_per_m2), bitcast<u32>(m.m4_per_m2), m.scale,
    );
}

fn unpacked(w: array<u32, MOMENTS_LEN>) -> Moments {
    return Moments(w[0], bitcast<f32>(w[1]), bitcast<f32>(w[2]), bitcast<f32>(w[3]), bitcast<f32>(w[4]), w[5]);
}

// Merges every invocation's; the result is invocation 0's. Call it in uniform control flow.
fn reduce_moments(lane: Moments, invocation: u32) -> Moments {
    var total = lane;
    for (var len = SHARED_LEN; len > 0u; len /= 2u) {
        if invocation >= len && invocation < 2u * len {
            let words = packed(total);
            //#each_word
            shared_words[invocation - len + EACH * SHARED_LEN] = words[EACH];
            //#end
        }
        workgroupBarrier();
        if invocation < len {
            total = merge(total, unpacked(array<u32, MOMENTS_LEN>(
                //#each_word
                shared_words[invocation + EACH * SHARED_LEN],
                //#end
            )));
        }
        workgroupBarrier();
    }
    return total;
}

fn store_moments(moments: Moments, at: u32, invocation: u32) {
    if invocation == 0u {
        let words = packed(moments);
        //#each_word
        store(at + EACH, words[EACH]);
        //#end
    }
}

// Count, mean and sum of squared distances from the mean, merged by Chan's formula. Values and mean are in units
// of 2^85 to the (scale - 1)-th: a part that holds magnitudes out of f32's range for squares is scaled as a whole,
// and what is too small to be seen beside them is flushed.
struct Moments {
    count: u32,
    mean: f32,
    m2: f32,
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
    let share = f32(y.count) / f32(count);
    let delta = y.mean - x.mean;
    return Moments(count, x.mean + delta * share, x.m2 + y.m2 + (delta * delta) * (f32(x.count) * share), scale);
}

fn rescale(moments: Moments, scale: u32) -> Moments {
    var m = moments;
    while m.scale < scale {
        m.scale += 1u;
        m.mean = scaled_down(m.mean);
        m.m2 = scaled_down(scaled_down(m.m2));
    }
    return m;
}

// By the exponent: factors may be pulled out of sums, and then overflow.
fn scaled_down(x: f32) -> f32 {
    let word = bitcast<u32>(x);
    return bitcast<f32>(select(0u, word - SCALE, (word & 0x7fffffffu) >= SCALE + 0x00800000u));
}

// Merges every invocation's; the result is invocation 0's. Call it in uniform control flow.
fn reduce_moments(lane: Moments, invocation: u32) -> Moments {
    var total = lane;
    for (var len = SHARED_LEN; len > 0u; len /= 2u) {
        if invocation >= len && invocation < 2u * len {
            let at = invocation - len;
            shared_words[at] = total.count;
            shared_words[at + SHARED_LEN] = bitcast<u32>(total.mean);
            shared_words[at + 2u * SHARED_LEN] = bitcast<u32>(total.m2);
            shared_words[at + 3u * SHARED_LEN] = total.scale;
        }
        workgroupBarrier();
        if invocation < len {
            total = merge(total, Moments(
                shared_words[invocation],
                bitcast<f32>(shared_words[invocation + SHARED_LEN]),
                bitcast<f32>(shared_words[invocation + 2u * SHARED_LEN]),
                shared_words[invocation + 3u * SHARED_LEN],
            ));
        }
        workgroupBarrier();
    }
    return total;
}

fn store_moments(moments: Moments, at: u32, invocation: u32) {
    if invocation == 0u {
        store(at, moments.count);
        store(at + 1u, bitcast<u32>(moments.mean));
        store(at + 2u, bitcast<u32>(moments.m2));
        store(at + 3u, moments.scale);
    }
}

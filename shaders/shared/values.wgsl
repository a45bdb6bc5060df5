// Sums, extremes and moments of the vectors an invocation loads of a tile: a fast form where every magnitude is in
// range for squares, and a careful one where a NaN, an infinity or a magnitude out of range was seen.

struct Sums {
    l1: f32,
    l1_big: f32,
    l2: f32,
    l2_small: f32,
    l2_big: f32,
    total: f32,
    total_big: f32,
}

// As a word, the largest is the most negative element if there is a negative one; as an i32, the
// largest is the most positive element if there is a positive one. A NaN or an infinity is larger yet.
fn max_magnitude(max_word: u32, max_signed: i32) -> u32 {
    return max(u32(max(max_signed, 0)), select(0u, max_word & MAGNITUDE, max_word >= SIGN_BIT));
}

fn in_range(max_magnitude: u32) -> bool {
    return max_magnitude <= RANGE_MAX && (max_magnitude >= RANGE_MIN || max_magnitude == 0u);
}

// Sums of elements that all have room; in trees, so that rounding stays small.
fn fast_sums(v: array<vec4<u32>, LOAD_COUNT>) -> Sums {
    // Magnitudes, and values.
    let a = array<vec4<f32>, LOAD_COUNT>(
        //#each
        magnitude(v[EACH]),
        //#end
    );
    let l1 = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
    let l2 = (fma(a[1], a[1], a[0] * a[0]) + fma(a[3], a[3], a[2] * a[2]))
        + (fma(a[5], a[5], a[4] * a[4]) + fma(a[7], a[7], a[6] * a[6]));
    let x = array<vec4<f32>, LOAD_COUNT>(
        //#each
        bitcast<vec4<f32>>(v[EACH]),
        //#end
    );
    let total = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
    var sums = Sums();
    sums.l1 = sum4(l1);
    sums.l2 = sum4(l2);
    sums.total = sum4(total);
    return sums;
}

// Adds elements to the sums that have room for them.
fn careful_sum(words: vec4<u32>, sums: ptr<function, Sums>) {
    let bits = magnitude_bits(words);
    let summed = (bits < vec4<u32>(INFINITY)) & (bits >= vec4<u32>(MIN_NORMAL));
    let is_big = bits > vec4<u32>(RANGE_MAX);
    let is_small = bits < vec4<u32>(RANGE_MIN);
    let nothing = vec4<f32>(0.0);
    let value = bitcast<vec4<f32>>(select(NONE, words, summed));
    let magnitude = bitcast<vec4<f32>>(select(NONE, bits, summed));
    let small = bitcast<vec4<f32>>(select(NONE, bits + vec4<u32>(SCALE), summed & is_small));
    let mid = select(magnitude, nothing, is_big | is_small);
    let big = bitcast<vec4<f32>>(select(NONE, bits - vec4<u32>(SCALE), summed & is_big));
    let big_value = bitcast<vec4<f32>>(select(NONE, words - vec4<u32>(SCALE), summed & is_big));
    (*sums).l1 += sum4(select(magnitude, nothing, is_big));
    (*sums).l1_big += sum4(big);
    (*sums).l2 += dot(mid, mid);
    (*sums).l2_small += dot(small, small);
    (*sums).l2_big += dot(big, big);
    (*sums).total += sum4(select(value, nothing, is_big));
    (*sums).total_big += sum4(big_value);
}

// Smallest and largest key of the finite elements.
fn careful_keys(words: vec4<u32>, keys: ptr<function, vec2<u32>>) {
    let finite = is_finite(words);
    let key = order_keys(words);
    (*keys).x = min((*keys).x, min4(select(vec4<u32>(0xffffffffu), key, finite)));
    (*keys).y = max((*keys).y, max4(select(NONE, key, finite)));
}

// The bits of the magnitudes; 0 of what is not finite.
fn finite_magnitude(words: vec4<u32>) -> vec4<u32> {
    return select(NONE, magnitude_bits(words), is_finite(words));
}

//#if moments
// Distances from the mean of an invocation's vectors, summed in two passes over registers, in units of a power of two
// that is above them all.
struct Distances {
    rest: vec4<f32>,
    m2: vec4<f32>,
    m3: vec4<f32>,
    m4: vec4<f32>,
}

fn add_distances(d: vec4<f32>, sums: ptr<function, Distances>) {
    let square = d * d;
    (*sums).rest += d;
    (*sums).m2 = fma(d, d, (*sums).m2);
    (*sums).m3 = fma(square, d, (*sums).m3);
    (*sums).m4 = fma(square, square, (*sums).m4);
}

// Bits of a power of two that distances from a mean are below where magnitudes are at most `most`.
fn unit_above(most: u32) -> u32 {
    return (most & INFINITY) + 2u * MIN_NORMAL;
}

// Exactly, which a division need not be.
fn inverse_of(power_of_two: u32) -> f32 {
    return bitcast<f32>(254u * MIN_NORMAL - power_of_two);
}

// What rounding left of the mean is taken out.
fn moments_of(sums: Distances, count: u32, mean: f32, unit: f32, scale: u32) -> Moments {
    let n = f32(count);
    let left = sum4(sums.rest) / n;
    let squares = sum4(sums.m2);
    let cubes = sum4(sums.m3);
    let fourths = sum4(sums.m4);
    let m2 = max(squares - n * left * left, 0.0);
    let m3 = cubes - left * (3.0 * squares - 2.0 * n * left * left);
    let m4 = max(fourths - left * (4.0 * cubes - left * (6.0 * squares - 3.0 * n * left * left)), 0.0);
    let per_m2 = select(0.0, 1.0 / m2, m2 > 0.0);
    // Zeros go with any scale.
    let any_scale = mean == 0.0 && squares == 0.0;
    return Moments(
        count, mean, m2 * (unit * unit), m3 * per_m2 * unit, m4 * per_m2 * (unit * unit), select(scale, 0u, any_scale),
    );
}

fn fast_moments(v: array<vec4<u32>, LOAD_COUNT>, total: f32, most: u32) -> Moments {
    let mean = total * (1.0 / f32(4u * LOAD_COUNT));
    let unit = unit_above(most);
    let per_unit = vec4<f32>(inverse_of(unit));
    let center = vec4<f32>(-mean) * per_unit;
    var sums = Distances();
    //#each
    add_distances(fma(bitcast<vec4<f32>>(v[EACH]), per_unit, center), &sums);
    //#end
    return moments_of(sums, 4u * LOAD_COUNT, mean, bitcast<f32>(unit), 1u);
}

fn careful_moments(v: array<vec4<u32>, LOAD_COUNT>) -> Moments {
    var largest = NONE;
    var finite_count = NONE;
    //#each
    largest = max(largest, finite_magnitude(v[EACH]));
    finite_count += select(NONE, ONES, is_finite(v[EACH]));
    //#end
    let most = max4(largest);
    let count = dot(finite_count, ONES);
    if count == 0u {
        return Moments();
    }
    var scale = 1u;
    if most > RANGE_MAX {
        scale = 2u;
    }
    if most < RANGE_MIN {
        scale = 0u;
    }
    var sum = vec4<f32>(0.0);
    //#each
    sum += scaled(v[EACH], scale);
    //#end
    let mean = sum4(sum) / f32(count);
    let unit = unit_above(most + SCALE - scale * SCALE);
    let per_unit = vec4<f32>(inverse_of(unit));
    let center = vec4<f32>(-mean) * per_unit;
    var sums = Distances();
    //#each
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[EACH], scale), per_unit, center), is_finite(v[EACH])), &sums);
    //#end
    return moments_of(sums, count, mean, bitcast<f32>(unit), scale);
}

// The normal elements in units of SCALE steps of the exponent, the others as 0.
fn scaled(words: vec4<u32>, scale: u32) -> vec4<f32> {
    let bits = magnitude_bits(words);
    let least = MIN_NORMAL + select(0u, SCALE, scale == 2u);
    let kept = (bits < vec4<u32>(INFINITY)) & (bits >= vec4<u32>(least));
    return bitcast<vec4<f32>>(select(NONE, words + vec4<u32>(SCALE - scale * SCALE), kept));
}
//#end

// Shifts the four sign bits into the plane.
fn push_signs(plane: u32, v: vec4<u32>) -> u32 {
    let x = (plane << 1u) | (v.x >> 31u);
    let y = (x << 1u) | (v.y >> 31u);
    let z = (y << 1u) | (v.z >> 31u);
    return (z << 1u) | (v.w >> 31u);
}

fn magnitude(words: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(magnitude_bits(words));
}

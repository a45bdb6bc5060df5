// Reduces gradients where they lie: one workgroup folds one chunk into one record and leaves two bits an
// element behind for the next step's sign flips.
//
// Gradients are bound as words and classified as integers: an implementation may assume that NaN and
// infinities do not occur in floats. Floats are formed for the sums alone, of finite elements.

struct Dispatch {
    first_chunk: u32,
    end_chunk: u32,
    // Added to every chunk's sentinel, so that a record of another step does not pass for one of this.
    stamp: u32,
    unused: u32,
    // 0x7fffffff - threshold: adding it to a magnitude carries into the sign bit iff it is above the threshold.
    above_threshold: vec4<u32>,
}

// A run of a span: `len` elements from `start`, whose state lies at `state`.
struct Chunk {
    span: u32,
    start: u32,
    len: u32,
    state: u32,
}

// Where a span lies at this step: it starts with vector `base` of page `page`.
struct Span {
    page: u32,
    base: u32,
    flags: u32,
}

// Per invocation and tile: bit k belongs to the k-th element the invocation classifies, from the top.
struct Signs {
    signed: u32,
    negative: u32,
}

@group(0) @binding(0) var<uniform> dispatch: Dispatch;
@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read> spans: array<Span>;
@group(0) @binding(3) var<storage, read_write> state: array<Signs>;
@group(0) @binding(4) var<storage, read_write> records: array<u32>;

const SIGN_BIT = 0x80000000u;
const MAGNITUDE = 0x7fffffffu;
const INFINITY = 0x7f800000u;
const MIN_NORMAL = 0x00800000u;
// Stands for what lies outside a chunk: it is no part of any sum, and every record subtracts its NaNs.
const FILLER = vec4<u32>(0x7fc00000u);
const RANGE_MAX = (127u + RANGE_LOG2) << 23u;
const RANGE_MIN = (127u - RANGE_LOG2) << 23u;
const SCALE_UP = (127u + SCALE_LOG2) << 23u;
const SCALE_DOWN = (127u - SCALE_LOG2) << 23u;

// What is counted or packed of every element, whatever it is. Planes hold one bit an element: `signed` is finite and
// non-zero. `above_k` counts what is not near zero at epsilon k, NaN included, by component.
struct Classes {
    signed: u32,
    negative: u32,
    above_0: vec4<u32>,
    above_1: vec4<u32>,
}

@compute @workgroup_size(WORKGROUP_LEN)
fn grad_reduce(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let chunk_index = dispatch.first_chunk + workgroup.y * grid.x + workgroup.x;
    if chunk_index >= dispatch.end_chunk {
        return;
    }
    let chunk = chunks[chunk_index];
    let span = spans[chunk.span];
    if (span.flags & PRESENT) == 0u {
        return;
    }
    let first = span.base + chunk.start / 4u;
    let last = first + (chunk.len - 1u) / 4u;

    var lane = lane_identity();
    var classes = Classes();
    for (var tile = 0u; tile * TILE_LEN < chunk.len; tile++) {
        var v = load_tile(span.page, first + tile * (TILE_LEN / 4u) + invocation, last);
        let remaining = chunk.len - tile * TILE_LEN;
        if remaining < TILE_LEN {
            v = mask_tail(v, remaining, invocation);
        }

        classes.signed = 0u;
        classes.negative = 0u;
        var min_word = 0xffffffffu;
        var max_word = 0u;
        var max_signed = i32(SIGN_BIT);
        classify(v[0], &classes, &min_word, &max_word, &max_signed);
        classify(v[1], &classes, &min_word, &max_word, &max_signed);
        classify(v[2], &classes, &min_word, &max_word, &max_signed);
        classify(v[3], &classes, &min_word, &max_word, &max_signed);
        classify(v[4], &classes, &min_word, &max_word, &max_signed);
        classify(v[5], &classes, &min_word, &max_word, &max_signed);
        classify(v[6], &classes, &min_word, &max_word, &max_signed);
        classify(v[7], &classes, &min_word, &max_word, &max_signed);

        // As a word, the largest is the most negative element if there is a negative one; as an i32, the
        // largest is the most positive element if there is a positive one. A NaN or an infinity is larger yet.
        let max_magnitude = max(u32(max(max_signed, 0)), select(0u, max_word & MAGNITUDE, max_word >= SIGN_BIT));
        if max_magnitude <= RANGE_MAX && (max_magnitude >= RANGE_MIN || max_magnitude == 0u) {
            lane.min_key = min(lane.min_key, order_key(select(min_word, max_word, max_word >= SIGN_BIT)));
            lane.max_key = max(lane.max_key, order_key(select(min_word, u32(max_signed), max_signed >= 0)));
            let a = array<vec4<f32>, 8>(
                magnitude(v[0]), magnitude(v[1]), magnitude(v[2]), magnitude(v[3]),
                magnitude(v[4]), magnitude(v[5]), magnitude(v[6]), magnitude(v[7]),
            );
            let l1 = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
            let l2 = (fma(a[1], a[1], a[0] * a[0]) + fma(a[3], a[3], a[2] * a[2]))
                + (fma(a[5], a[5], a[4] * a[4]) + fma(a[7], a[7], a[6] * a[6]));
            lane.l1 += (l1.x + l1.y) + (l1.z + l1.w);
            lane.l2 += (l2.x + l2.y) + (l2.z + l2.w);
        } else {
            classes.signed = 0u;
            careful(v[0], &lane, &classes);
            careful(v[1], &lane, &classes);
            careful(v[2], &lane, &classes);
            careful(v[3], &lane, &classes);
            careful(v[4], &lane, &classes);
            careful(v[5], &lane, &classes);
            careful(v[6], &lane, &classes);
            careful(v[7], &lane, &classes);
        }
        lane.positive += countOneBits(classes.signed & ~classes.negative);
        lane.negative += countOneBits(classes.signed & classes.negative);

        // An invocation past the tail has no state of its own.
        if invocation * 4u < remaining {
            let at = chunk.state + tile * WORKGROUP_LEN + invocation;
            if (span.flags & HAS_PREVIOUS) != 0u {
                let before = state[at];
                let pairs = before.signed & classes.signed;
                lane.pairs += countOneBits(pairs);
                lane.flips += countOneBits(pairs & (before.negative ^ classes.negative));
            }
            state[at] = Signs(classes.signed, classes.negative);
        }
    }

    let tile_count = (chunk.len + TILE_LEN - 1u) / TILE_LEN;
    let seen = tile_count * (TILE_LEN / WORKGROUP_LEN);
    lane.near_zero_0 = seen - dot(classes.above_0, vec4<u32>(1u));
    lane.near_zero_1 = seen - dot(classes.above_1, vec4<u32>(1u));

    let result = reduce_workgroup(lane, invocation);
    let word = invocation / SEGMENTS;
    if invocation % SEGMENTS == 0u && word < RECORD_LEN {
        var value = result;
        if word == SENTINEL {
            value = chunk.len + dispatch.stamp;
        }
        if word == NAN {
            value = result - (tile_count * TILE_LEN - chunk.len);
        }
        records[chunk_index * RECORD_LEN + word] = value;
    }
}

fn classify(
    v: vec4<u32>,
    classes: ptr<function, Classes>,
    min_word: ptr<function, u32>,
    max_word: ptr<function, u32>,
    max_signed: ptr<function, i32>,
) {
    let a = v & vec4<u32>(MAGNITUDE);
    (*classes).negative = push_signs((*classes).negative, v);
    (*classes).signed = push_signs((*classes).signed, a + vec4<u32>(MAGNITUDE));
    (*classes).above_0 += (a + vec4<u32>(dispatch.above_threshold.x)) >> vec4<u32>(31u);
    (*classes).above_1 += (a + vec4<u32>(dispatch.above_threshold.y)) >> vec4<u32>(31u);
    *min_word = min(*min_word, min(min(v.x, v.y), min(v.z, v.w)));
    *max_word = max(*max_word, max(max(v.x, v.y), max(v.z, v.w)));
    let s = vec4<i32>(v);
    *max_signed = max(*max_signed, max(max(s.x, s.y), max(s.z, s.w)));
}

// Sums, extremes and non-finite counts of elements among which a NaN, an infinity or a magnitude out of
// the fast path's range was seen.
fn careful(v: vec4<u32>, lane: ptr<function, Lane>, classes: ptr<function, Classes>) {
    let a = v & vec4<u32>(MAGNITUDE);
    let finite = a < vec4<u32>(INFINITY);
    let signed = finite & (a != vec4<u32>(0u));
    (*classes).signed = push_signs((*classes).signed, select(vec4<u32>(0u), vec4<u32>(SIGN_BIT), signed));

    let key = vec4<u32>(order_key(v.x), order_key(v.y), order_key(v.z), order_key(v.w));
    let low = select(vec4<u32>(0xffffffffu), key, finite);
    let high = select(vec4<u32>(0u), key, finite);
    (*lane).min_key = min((*lane).min_key, min(min(low.x, low.y), min(low.z, low.w)));
    (*lane).max_key = max((*lane).max_key, max(max(high.x, high.y), max(high.z, high.w)));

    let summed = finite & (a >= vec4<u32>(MIN_NORMAL));
    let big = a > vec4<u32>(RANGE_MAX);
    let small = a < vec4<u32>(RANGE_MIN);
    let x = bitcast<vec4<f32>>(select(vec4<u32>(0u), a, summed));
    let x_small = select(vec4<f32>(0.0), x * bitcast<f32>(SCALE_UP), small);
    let x_mid = select(x, vec4<f32>(0.0), big | small);
    let x_big = select(vec4<f32>(0.0), x * bitcast<f32>(SCALE_DOWN), big);
    let l1 = select(x, vec4<f32>(0.0), big);
    (*lane).l1 += (l1.x + l1.y) + (l1.z + l1.w);
    (*lane).l1_big += (x_big.x + x_big.y) + (x_big.z + x_big.w);
    (*lane).l2 += dot(x_mid, x_mid);
    (*lane).l2_small += dot(x_small, x_small);
    (*lane).l2_big += dot(x_big, x_big);

    let one = vec4<u32>(1u);
    let zero = vec4<u32>(0u);
    let nan = select(zero, one, a > vec4<u32>(INFINITY));
    let pos_inf = select(zero, one, v == vec4<u32>(INFINITY));
    let neg_inf = select(zero, one, v == vec4<u32>(INFINITY | SIGN_BIT));
    (*lane).nan += (nan.x + nan.y) + (nan.z + nan.w);
    (*lane).pos_inf += (pos_inf.x + pos_inf.y) + (pos_inf.z + pos_inf.w);
    (*lane).neg_inf += (neg_inf.x + neg_inf.y) + (neg_inf.z + neg_inf.w);
}

// Shifts the four sign bits into the plane.
fn push_signs(plane: u32, v: vec4<u32>) -> u32 {
    let x = (plane << 1u) | (v.x >> 31u);
    let y = (x << 1u) | (v.y >> 31u);
    let z = (y << 1u) | (v.z >> 31u);
    return (z << 1u) | (v.w >> 31u);
}

// Order of the keys is order of the floats, but for the two zeros: the host makes them one.
fn order_key(word: u32) -> u32 {
    return select(word | SIGN_BIT, ~word, word >= SIGN_BIT);
}

fn magnitude(v: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(v & vec4<u32>(MAGNITUDE));
}

fn mask_tail(v: array<vec4<u32>, 8>, remaining: u32, invocation: u32) -> array<vec4<u32>, 8> {
    return array<vec4<u32>, 8>(
        mask_vector(v[0], remaining, invocation), mask_vector(v[1], remaining, invocation + WORKGROUP_LEN),
        mask_vector(v[2], remaining, invocation + 2u * WORKGROUP_LEN), mask_vector(v[3], remaining, invocation + 3u * WORKGROUP_LEN),
        mask_vector(v[4], remaining, invocation + 4u * WORKGROUP_LEN), mask_vector(v[5], remaining, invocation + 5u * WORKGROUP_LEN),
        mask_vector(v[6], remaining, invocation + 6u * WORKGROUP_LEN), mask_vector(v[7], remaining, invocation + 7u * WORKGROUP_LEN),
    );
}

fn mask_vector(v: vec4<u32>, remaining: u32, vector: u32) -> vec4<u32> {
    let element = vec4<u32>(vector * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(FILLER, v, element < vec4<u32>(remaining));
}

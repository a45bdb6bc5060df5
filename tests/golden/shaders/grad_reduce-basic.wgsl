const WORKGROUP_LEN = 256u;
const SEGMENT_COUNT = 8u;
const LOAD_COUNT = 8u;
const TILE_LEN = 8192u;
const RANGE_MAX = 1442840576u;
const RANGE_MIN = 687865856u;
const SCALE = 713031680u;
const SIGN_BIT = 2147483648u;
const MAGNITUDE = 2147483647u;
const INFINITY = 2139095040u;
const MIN_NORMAL = 8388608u;
const HAS_GRADIENT = 1u;
const HAS_PREVIOUS = 2u;
const HAS_PARAM = 4u;
const HAS_UPDATE = 8u;
const KEEPS = 16u;
const BATCH_LEN = 17u;
const SUMS_END = 5u;
const MINS_END = 6u;
const MAXES_END = 7u;
const RECORD_LEN = 17u;
const MOMENTS_LEN = 6u;
@group(0) @binding(5) var<storage, read> gradient_0: array<vec4<u32>>;
// The vectors that an invocation classifies of a tile, none past `last`.
fn load_gradient(page: u32, at: u32, last: u32) -> array<vec4<u32>, LOAD_COUNT> {
    return array<vec4<u32>, LOAD_COUNT>(gradient_0[min(at + 0u, last)], gradient_0[min(at + 256u, last)], gradient_0[min(at + 512u, last)], gradient_0[min(at + 768u, last)], gradient_0[min(at + 1024u, last)], gradient_0[min(at + 1280u, last)], gradient_0[min(at + 1536u, last)], gradient_0[min(at + 1792u, last)]);
}
// One element by itself.
fn element_gradient(page: u32, at: u32) -> u32 {
    switch page {
        case 0u: { return gradient_0[at / 4u][at % 4u]; }
        default: { return 0u; }
    }
}
struct Lane {
    l1_norm: f32,
    l1_norm_big: f32,
    l2_norm_sq: f32,
    l2_norm_sq_small: f32,
    l2_norm_sq_big: f32,
    min_key: u32,
    max_key: u32,
    sentinel: u32,
    near_zero_count_1: u32,
    near_zero_count_2: u32,
    positive_count: u32,
    negative_count: u32,
    nan_count: u32,
    pos_inf_count: u32,
    neg_inf_count: u32,
    sign_flip_count: u32,
    signed_pair_count: u32,
}
fn lane_identity() -> Lane {
    var lane = Lane();
    lane.min_key = 0xffffffffu;
    return lane;
}
fn combine(a: Lane, b: Lane) -> Lane {
    return Lane(
        a.l1_norm + b.l1_norm,
        a.l1_norm_big + b.l1_norm_big,
        a.l2_norm_sq + b.l2_norm_sq,
        a.l2_norm_sq_small + b.l2_norm_sq_small,
        a.l2_norm_sq_big + b.l2_norm_sq_big,
        min(a.min_key, b.min_key),
        max(a.max_key, b.max_key),
        a.sentinel + b.sentinel,
        a.near_zero_count_1 + b.near_zero_count_1,
        a.near_zero_count_2 + b.near_zero_count_2,
        a.positive_count + b.positive_count,
        a.negative_count + b.negative_count,
        a.nan_count + b.nan_count,
        a.pos_inf_count + b.pos_inf_count,
        a.neg_inf_count + b.neg_inf_count,
        a.sign_flip_count + b.sign_flip_count,
        a.signed_pair_count + b.signed_pair_count,
    );
}
// The lane of the record at `at`.
fn lane_of(at: u32) -> Lane {
    return Lane(
        bitcast<f32>(records[at + 0u]),
        bitcast<f32>(records[at + 1u]),
        bitcast<f32>(records[at + 2u]),
        bitcast<f32>(records[at + 3u]),
        bitcast<f32>(records[at + 4u]),
        records[at + 5u],
        records[at + 6u],
        records[at + 7u],
        records[at + 8u],
        records[at + 9u],
        records[at + 10u],
        records[at + 11u],
        records[at + 12u],
        records[at + 13u],
        records[at + 14u],
        records[at + 15u],
        records[at + 16u],
    );
}
// Folds every invocation's lane and stores its words from `record` on. Call it in uniform control flow.
fn reduce_lanes(lane: Lane, record: u32, invocation: u32) {
    let upper = invocation - SHARED_LEN;
    let stores = invocation % SEGMENT_COUNT == 0u;
    let word = invocation / SEGMENT_COUNT;
    var total = 0u;
    if invocation >= SHARED_LEN {
        shared_words[0u * SHARED_LEN + upper] = bitcast<u32>(lane.l1_norm);
        shared_words[1u * SHARED_LEN + upper] = bitcast<u32>(lane.l1_norm_big);
        shared_words[2u * SHARED_LEN + upper] = bitcast<u32>(lane.l2_norm_sq);
        shared_words[3u * SHARED_LEN + upper] = bitcast<u32>(lane.l2_norm_sq_small);
        shared_words[4u * SHARED_LEN + upper] = bitcast<u32>(lane.l2_norm_sq_big);
        shared_words[5u * SHARED_LEN + upper] = lane.min_key;
        shared_words[6u * SHARED_LEN + upper] = lane.max_key;
        shared_words[7u * SHARED_LEN + upper] = lane.sentinel;
        shared_words[8u * SHARED_LEN + upper] = lane.near_zero_count_1;
        shared_words[9u * SHARED_LEN + upper] = lane.near_zero_count_2;
        shared_words[10u * SHARED_LEN + upper] = lane.positive_count;
        shared_words[11u * SHARED_LEN + upper] = lane.negative_count;
        shared_words[12u * SHARED_LEN + upper] = lane.nan_count;
        shared_words[13u * SHARED_LEN + upper] = lane.pos_inf_count;
        shared_words[14u * SHARED_LEN + upper] = lane.neg_inf_count;
        shared_words[15u * SHARED_LEN + upper] = lane.sign_flip_count;
        shared_words[16u * SHARED_LEN + upper] = lane.signed_pair_count;
    }
    workgroupBarrier();
    if invocation < SHARED_LEN {
        shared_words[0u * SHARED_LEN + invocation] = bitcast<u32>(lane.l1_norm + bitcast<f32>(shared_words[0u * SHARED_LEN + invocation]));
        shared_words[1u * SHARED_LEN + invocation] = bitcast<u32>(lane.l1_norm_big + bitcast<f32>(shared_words[1u * SHARED_LEN + invocation]));
        shared_words[2u * SHARED_LEN + invocation] = bitcast<u32>(lane.l2_norm_sq + bitcast<f32>(shared_words[2u * SHARED_LEN + invocation]));
        shared_words[3u * SHARED_LEN + invocation] = bitcast<u32>(lane.l2_norm_sq_small + bitcast<f32>(shared_words[3u * SHARED_LEN + invocation]));
        shared_words[4u * SHARED_LEN + invocation] = bitcast<u32>(lane.l2_norm_sq_big + bitcast<f32>(shared_words[4u * SHARED_LEN + invocation]));
        shared_words[5u * SHARED_LEN + invocation] = min(lane.min_key, shared_words[5u * SHARED_LEN + invocation]);
        shared_words[6u * SHARED_LEN + invocation] = max(lane.max_key, shared_words[6u * SHARED_LEN + invocation]);
        shared_words[7u * SHARED_LEN + invocation] = lane.sentinel + shared_words[7u * SHARED_LEN + invocation];
        shared_words[8u * SHARED_LEN + invocation] = lane.near_zero_count_1 + shared_words[8u * SHARED_LEN + invocation];
        shared_words[9u * SHARED_LEN + invocation] = lane.near_zero_count_2 + shared_words[9u * SHARED_LEN + invocation];
        shared_words[10u * SHARED_LEN + invocation] = lane.positive_count + shared_words[10u * SHARED_LEN + invocation];
        shared_words[11u * SHARED_LEN + invocation] = lane.negative_count + shared_words[11u * SHARED_LEN + invocation];
        shared_words[12u * SHARED_LEN + invocation] = lane.nan_count + shared_words[12u * SHARED_LEN + invocation];
        shared_words[13u * SHARED_LEN + invocation] = lane.pos_inf_count + shared_words[13u * SHARED_LEN + invocation];
        shared_words[14u * SHARED_LEN + invocation] = lane.neg_inf_count + shared_words[14u * SHARED_LEN + invocation];
        shared_words[15u * SHARED_LEN + invocation] = lane.sign_flip_count + shared_words[15u * SHARED_LEN + invocation];
        shared_words[16u * SHARED_LEN + invocation] = lane.signed_pair_count + shared_words[16u * SHARED_LEN + invocation];
    }
    total = fold_batch(0u, 17u, invocation);
    if stores && word < 17u {
        store(record + 0u + word, total);
    }
}
// Folds the lanes of a workgroup. A `Lane`, written by src/reduce/gpu/text.rs from the words of a record, is the
// summary of the elements that one invocation has seen.
//
// f32 has no range for squares, so sums are kept apart by the magnitude of their terms: the exponents of `big` terms,
// above RANGE_MAX, are lowered by SCALE, those of `small` ones, under RANGE_MIN, are raised by it. Up to 2^32 terms
// neither overflow nor flush. The host adds the parts in f64.

// Word-major, half a workgroup wide: the upper half folds into the lower one before anything is shared.
const SHARED_LEN = WORKGROUP_LEN / 2u;
var<workgroup> shared_words: array<u32, BATCH_LEN * SHARED_LEN>;

fn combine_word(word: u32, a: u32, b: u32) -> u32 {
    if word < SUMS_END {
        return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
    }
    if word < MINS_END {
        return min(a, b);
    }
    if word < MAXES_END {
        return max(a, b);
    }
    return a + b;
}

// Folds a published batch of `len` words, of which `first` is the first. The result of the `w`-th is returned to
// invocation `w * SEGMENT_COUNT`; what the others get means nothing. Call it in uniform control flow.
//
// Invocation (word, segment) owns the entries `segment + i * SEGMENT_COUNT` of its word, so that neighbours read
// neighbouring addresses.
fn fold_batch(first: u32, len: u32, invocation: u32) -> u32 {
    workgroupBarrier();
    let place = invocation / SEGMENT_COUNT;
    let segment = invocation % SEGMENT_COUNT;
    let used = place < len;
    let base = place * SHARED_LEN + segment;
    var total = 0u;
    if used {
        total = fold_strided(first + place, base, SEGMENT_COUNT, SHARED_LEN / SEGMENT_COUNT);
    }
    workgroupBarrier();
    if used {
        shared_words[base] = total;
    }
    workgroupBarrier();
    if used && segment == 0u {
        total = fold_strided(first + place, base, 1u, SEGMENT_COUNT);
    }
    workgroupBarrier();
    return total;
}

// Folds `len` (a multiple of 4) entries of a word in four independent runs: short dependency chains, and
// rounding that grows with a quarter of the length.
fn fold_strided(word: u32, base: u32, stride: u32, len: u32) -> u32 {
    var runs = vec4<u32>(
        shared_words[base],
        shared_words[base + stride],
        shared_words[base + 2u * stride],
        shared_words[base + 3u * stride],
    );
    for (var i = 4u; i < len; i += 4u) {
        let at = base + i * stride;
        runs.x = combine_word(word, runs.x, shared_words[at]);
        runs.y = combine_word(word, runs.y, shared_words[at + stride]);
        runs.z = combine_word(word, runs.z, shared_words[at + 2u * stride]);
        runs.w = combine_word(word, runs.w, shared_words[at + 3u * stride]);
    }
    return combine_word(word, combine_word(word, runs.x, runs.y), combine_word(word, runs.z, runs.w));
}
// What every kernel that reads burn's buffers is given: a dispatch, the static chunks, and where spans lie now.

struct Dispatch {
    first_chunk: u32,
    end_chunk: u32,
    // Added to every chunk's sentinel, so that a record of another step does not pass for one of this.
    stamp: u32,
    // 0x7fffffff - threshold: adding it to a magnitude carries into the sign bit iff it is above the threshold.
    param_above: u32,
    above_threshold: vec2<u32>,
    average_factor: f32,
    unused: u32,
}

// A run of a span: `len` elements from `start`.
struct Chunk {
    span: u32,
    start: u32,
    len: u32,
    // First `Planes` of its state, first vector of its averages; the tensor of a histogram; the distance between a
    // segment's elements.
    extra: u32,
}

// Where a span lies at this step: it starts with vector `base` of page `page`, for each of the tensors bound.
struct Span {
    flags: u32,
    // First element, counted from the tensor's.
    start: u32,
    // Element m of memory is element (m % run_len) * (block_len / run_len) + m / run_len of its block in logical order.
    block_len: u32,
    run_len: u32,
    gradient_page: u32,
    gradient_base: u32,
    param_page: u32,
    param_base: u32,
    previous_param_page: u32,
    previous_param_base: u32,
    // Keys of the bounds of a tap.
    low_key: u32,
    high_key: u32,
    // What elements are multiplied by before they join an average.
    inverse_scale: f32,
}

@group(0) @binding(0) var<uniform> dispatch: Dispatch;
@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read> spans: array<Span>;

// Stands for what lies outside a chunk: it is no part of any sum, and what counts it subtracts it once.
const FILLER = vec4<u32>(0x7fc00000u);
const NONE = vec4<u32>(0u);
const ONES = vec4<u32>(1u);

// What a workgroup works on.
struct Work {
    // False where the workgroup has no chunk, or the step nothing of its tensor.
    is_due: bool,
    chunk_index: u32,
    chunk: Chunk,
    span: Span,
}

fn work_of(workgroup: vec3<u32>, grid: vec3<u32>) -> Work {
    let chunk_index = dispatch.first_chunk + workgroup.y * grid.x + workgroup.x;
    if chunk_index >= dispatch.end_chunk {
        return Work();
    }
    let chunk = chunks[chunk_index];
    let span = spans[chunk.span];
    return Work(span.flags != 0u, chunk_index, chunk, span);
}

// The first vector that an invocation loads of a tile, counted from the span's.
fn first_vector(work: Work, tile: u32, invocation: u32) -> u32 {
    return work.chunk.start / 4u + tile * (TILE_LEN / 4u) + invocation;
}

// The last vector of the chunk, counted from the span's.
fn last_vector(work: Work) -> u32 {
    return (work.chunk.start + work.chunk.len - 1u) / 4u;
}

// Puts FILLER in place of elements past the `remaining` ones of a tile.
fn mask_tail(vectors: array<vec4<u32>, LOAD_COUNT>, remaining: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    if remaining >= TILE_LEN {
        return vectors;
    }
    return array<vec4<u32>, LOAD_COUNT>(
        mask_vector(vectors[0u], remaining, invocation + 0u * WORKGROUP_LEN),
        mask_vector(vectors[1u], remaining, invocation + 1u * WORKGROUP_LEN),
        mask_vector(vectors[2u], remaining, invocation + 2u * WORKGROUP_LEN),
        mask_vector(vectors[3u], remaining, invocation + 3u * WORKGROUP_LEN),
        mask_vector(vectors[4u], remaining, invocation + 4u * WORKGROUP_LEN),
        mask_vector(vectors[5u], remaining, invocation + 5u * WORKGROUP_LEN),
        mask_vector(vectors[6u], remaining, invocation + 6u * WORKGROUP_LEN),
        mask_vector(vectors[7u], remaining, invocation + 7u * WORKGROUP_LEN),
    );
}

fn mask_vector(vector: vec4<u32>, remaining: u32, index: u32) -> vec4<u32> {
    let element = vec4<u32>(index * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(FILLER, vector, element < vec4<u32>(remaining));
}

// Order of the keys is order of the floats, but for the two zeros: the host makes them one.
fn order_key(word: u32) -> u32 {
    return select(word | SIGN_BIT, ~word, word >= SIGN_BIT);
}

fn order_keys(words: vec4<u32>) -> vec4<u32> {
    return select(words | vec4<u32>(SIGN_BIT), ~words, words >= vec4<u32>(SIGN_BIT));
}

// The bits of the magnitudes.
fn magnitude_bits(words: vec4<u32>) -> vec4<u32> {
    return words & vec4<u32>(MAGNITUDE);
}

fn is_finite(words: vec4<u32>) -> vec4<bool> {
    return magnitude_bits(words) < vec4<u32>(INFINITY);
}

fn min4(v: vec4<u32>) -> u32 {
    return min(min(v.x, v.y), min(v.z, v.w));
}

fn max4(v: vec4<u32>) -> u32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

fn max4_signed(v: vec4<i32>) -> i32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
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
        magnitude(v[0u]),
        magnitude(v[1u]),
        magnitude(v[2u]),
        magnitude(v[3u]),
        magnitude(v[4u]),
        magnitude(v[5u]),
        magnitude(v[6u]),
        magnitude(v[7u]),
    );
    let l1 = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
    let l2 = (fma(a[1], a[1], a[0] * a[0]) + fma(a[3], a[3], a[2] * a[2]))
        + (fma(a[5], a[5], a[4] * a[4]) + fma(a[7], a[7], a[6] * a[6]));
    let x = array<vec4<f32>, LOAD_COUNT>(
        bitcast<vec4<f32>>(v[0u]),
        bitcast<vec4<f32>>(v[1u]),
        bitcast<vec4<f32>>(v[2u]),
        bitcast<vec4<f32>>(v[3u]),
        bitcast<vec4<f32>>(v[4u]),
        bitcast<vec4<f32>>(v[5u]),
        bitcast<vec4<f32>>(v[6u]),
        bitcast<vec4<f32>>(v[7u]),
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
// Reduces gradients where they lie, and with them the parameters and their updates.
//
//     for each chunk of a tensor, one workgroup:
//         for each tile of the chunk, each invocation loads 8 vectors of 4 elements:
//             classify them by their bits                     -> bit planes, extremes
//             sum them in f32, where every magnitude has room -> norms, moments; else mark the tile
//             compare the bit planes with those kept          -> sign flips, transitions; keep the new ones
//             weigh the parameters; compare them with the previous ones
//         for each marked tile: load it once more, and sum it with care
//         fold the lanes of all invocations in shared memory  -> one record
//
// Why so: the loop reads memory once, and a driver that runs both sides of every branch (software does) pays for the care
// that hardly a tile needs only where it is needed. `tensor_reduce` folds the records of a tensor's chunks.
//
// An element is bound as a word and classified as an integer, since an implementation may assume that floats are neither
// NaN nor infinite. Floats are formed of finite elements alone, for sums.
//
// A bit plane is a word that holds one bit an element: 8 vectors of 4 elements, the first at the top.
//
//     bit      31  30  29  28 | 27  26  25  24 | ... |  3   2   1   0
//     element   x   y   z   w |  x   y   z   w | ... |  x   y   z   w
//     vector         0        |       1        | ... |       7
//
// The last tile of a chunk is padded with FILLER, a NaN: it adds to no sum, but it is classified and counted like any
// other element. What counts NaNs, elements that are not finite, or elements that equal the previous ones subtracts the
// padding once at the end: see "The padding" below. A new count that holds for a NaN needs a line there. FILLER is above
// every threshold, so near zeros need none.
//
// Lines between `//#if NAME` and `//#end` are in the shader where the form has what they name: a set of statistics, `state`
// where it keeps any, `tap` where it reduces taps. Lines after `//#else` are there where it has not. Lines between `//#each`
// and `//#end` are repeated, with a number in place of EACH, for each vector that an invocation loads.
//
// The functions that are called stand in this file, in the folder of its name, and in shared/. The loads of the bound
// buffers, `Lane` with what folds it, and the constants are written by src/reduce/gpu/text.rs and shader.rs from the table
// of statistics: tests/golden/shaders has whole shaders.

@group(0) @binding(3) var<storage, read_write> records: array<u32>;
@group(0) @binding(4) var<storage, read_write> state: array<Planes>;

// What is gathered of a tile while its elements are classified.
struct Classes {
    // Planes. `signed`: finite and not zero.
    signed: u32,
    negative: u32,
    nonfinite: u32,
    // Extremes of the words, as u32 and as i32.
    min_word: u32,
    max_word: u32,
    max_signed: i32,
    // Elements above an epsilon, NaN included, counted by component over all tiles.
    above_1: vec4<u32>,
    above_2: vec4<u32>,
}

// The signs of the gradient at a step and the one before, that the update between them is held against. Planes.
struct SignChanges {
    is_compared: bool,
    flips: u32,
    negative: u32,
    retained_1: u32,
    retained_2: u32,
}

@compute @workgroup_size(WORKGROUP_LEN)
fn grad_reduce(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let work = work_of(workgroup, grid);
    if !work.is_due {
        return;
    }
    let chunk = work.chunk;
    let span = work.span;
    let tile_count = (chunk.len + TILE_LEN - 1u) / TILE_LEN;
    var lane = lane_identity();
    var classes = Classes();
    // Tiles to be summed with care, by bits.
    var careful = 0u;
    for (var tile = 0u; tile < tile_count; tile++) {
        let remaining = chunk.len - tile * TILE_LEN;
        var changes = SignChanges();
        if (span.flags & HAS_GRADIENT) != 0u {
            let gradient = load_gradient_tile(work, tile, invocation);
            classes.signed = 0u;
            classes.negative = 0u;
            classes.min_word = 0xffffffffu;
            classes.max_word = 0u;
            classes.max_signed = i32(SIGN_BIT);
            classify(gradient[0u], &classes);
            classify(gradient[1u], &classes);
            classify(gradient[2u], &classes);
            classify(gradient[3u], &classes);
            classify(gradient[4u], &classes);
            classify(gradient[5u], &classes);
            classify(gradient[6u], &classes);
            classify(gradient[7u], &classes);

            let largest = max_magnitude(classes.max_word, classes.max_signed);
            classes.nonfinite = 0u;
            if largest >= INFINITY {
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[0u]) + vec4<u32>(MIN_NORMAL));
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[1u]) + vec4<u32>(MIN_NORMAL));
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[2u]) + vec4<u32>(MIN_NORMAL));
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[3u]) + vec4<u32>(MIN_NORMAL));
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[4u]) + vec4<u32>(MIN_NORMAL));
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[5u]) + vec4<u32>(MIN_NORMAL));
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[6u]) + vec4<u32>(MIN_NORMAL));
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[7u]) + vec4<u32>(MIN_NORMAL));
            }
            classes.signed &= ~classes.nonfinite;
            if in_range(largest) {
                lane.min_key = min(lane.min_key, order_key(select(classes.min_word, classes.max_word, classes.max_word >= SIGN_BIT)));
                lane.max_key = max(lane.max_key, order_key(select(classes.min_word, u32(classes.max_signed), classes.max_signed >= 0)));
                let sums = fast_sums(gradient);
                lane.l1_norm += sums.l1;
                lane.l2_norm_sq += sums.l2;
            } else {
                careful |= 1u << tile;
            }
            lane.positive_count += countOneBits(classes.signed & ~classes.negative);
            lane.negative_count += countOneBits(classes.signed & classes.negative);


            // An invocation past the tail has no state of its own.
            if invocation * 4u < remaining {
                let at = chunk.extra + tile * WORKGROUP_LEN + invocation;
                let now = planes(classes);
                if (span.flags & HAS_PREVIOUS) != 0u {
                    changes = compare(state[at], now, &lane);
                }
                if (span.flags & KEEPS) != 0u {
                    state[at] = now;
                }
            }
        }

    }

    // The marked tiles.
    for (var rest = careful; rest != 0u; rest &= rest - 1u) {
        let tile = firstTrailingBit(rest);
        let gradient = load_gradient_tile(work, tile, invocation);
        var sums = Sums();
        var keys = vec2<u32>(0xffffffffu, 0u);
        var nonfinite = NonFinite();
        careful_sum(gradient[0u], &sums);
        careful_keys(gradient[0u], &keys);
        count_nonfinite(gradient[0u], &nonfinite);
        careful_sum(gradient[1u], &sums);
        careful_keys(gradient[1u], &keys);
        count_nonfinite(gradient[1u], &nonfinite);
        careful_sum(gradient[2u], &sums);
        careful_keys(gradient[2u], &keys);
        count_nonfinite(gradient[2u], &nonfinite);
        careful_sum(gradient[3u], &sums);
        careful_keys(gradient[3u], &keys);
        count_nonfinite(gradient[3u], &nonfinite);
        careful_sum(gradient[4u], &sums);
        careful_keys(gradient[4u], &keys);
        count_nonfinite(gradient[4u], &nonfinite);
        careful_sum(gradient[5u], &sums);
        careful_keys(gradient[5u], &keys);
        count_nonfinite(gradient[5u], &nonfinite);
        careful_sum(gradient[6u], &sums);
        careful_keys(gradient[6u], &keys);
        count_nonfinite(gradient[6u], &nonfinite);
        careful_sum(gradient[7u], &sums);
        careful_keys(gradient[7u], &keys);
        count_nonfinite(gradient[7u], &nonfinite);
        lane.min_key = min(lane.min_key, keys.x);
        lane.max_key = max(lane.max_key, keys.y);
        lane.l1_norm += sums.l1;
        lane.l1_norm_big += sums.l1_big;
        lane.l2_norm_sq += sums.l2;
        lane.l2_norm_sq_small += sums.l2_small;
        lane.l2_norm_sq_big += sums.l2_big;
        lane.nan_count += dot(nonfinite.nan, ONES);
        lane.pos_inf_count += dot(nonfinite.pos_inf, ONES);
        lane.neg_inf_count += dot(nonfinite.neg_inf, ONES);
    }

    // The padding.
    let padding_len = tile_count * TILE_LEN - chunk.len;
    if (span.flags & HAS_GRADIENT) != 0u {
        let seen_count = tile_count * (TILE_LEN / WORKGROUP_LEN);
        lane.near_zero_count_1 = seen_count - dot(classes.above_1, ONES);
        lane.near_zero_count_2 = seen_count - dot(classes.above_2, ONES);
    }
    if invocation == 0u {
        lane.sentinel = chunk.len + dispatch.stamp;
        if (span.flags & HAS_GRADIENT) != 0u {
            lane.nan_count -= padding_len;
        }
    }
    let record = work.chunk_index * RECORD_LEN;
    reduce_lanes(lane, record, invocation);
}

fn store(at: u32, value: u32) {
    records[at] = value;
}

fn load_gradient_tile(work: Work, tile: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    let base = work.span.gradient_base;
    let loaded = load_gradient(work.span.gradient_page, base + first_vector(work, tile, invocation), base + last_vector(work));
    return mask_tail(loaded, work.chunk.len - tile * TILE_LEN, invocation);
}

fn classify(gradient: vec4<u32>, classes: ptr<function, Classes>) {
    let magnitude = magnitude_bits(gradient);
    (*classes).negative = push_signs((*classes).negative, gradient);
    (*classes).signed = push_signs((*classes).signed, magnitude + vec4<u32>(MAGNITUDE));
    (*classes).above_1 += (magnitude + vec4<u32>(dispatch.above_threshold.x)) >> vec4<u32>(31u);
    (*classes).above_2 += (magnitude + vec4<u32>(dispatch.above_threshold.y)) >> vec4<u32>(31u);
    (*classes).min_word = min((*classes).min_word, min4(gradient));
    (*classes).max_word = max((*classes).max_word, max4(gradient));
    (*classes).max_signed = max((*classes).max_signed, max4_signed(vec4<i32>(gradient)));
}

struct NonFinite {
    nan: vec4<u32>,
    pos_inf: vec4<u32>,
    neg_inf: vec4<u32>,
}

fn count_nonfinite(gradient: vec4<u32>, counts: ptr<function, NonFinite>) {
    (*counts).nan += select(NONE, ONES, magnitude_bits(gradient) > vec4<u32>(INFINITY));
    (*counts).pos_inf += select(NONE, ONES, gradient == vec4<u32>(INFINITY));
    (*counts).neg_inf += select(NONE, ONES, gradient == vec4<u32>(INFINITY | SIGN_BIT));
}
// What a gradient leaves for the next step, and what has become of it since: bit planes, combined and counted.

// What is kept of the 32 elements that an invocation classifies of a tile.
//
//     without dynamics    signed negative             with dynamics   negative high low
//     zero, non-finite       0       0                zero                0      0   0
//     positive               1       0                tiny                s      0   1
//     negative               1       1                small               s      1   0
//                                                     large               s      1   1
//                                                     non-finite          1      0   0
//
// Tiny is below the smaller epsilon, small below the larger one; s is the sign.
struct Planes {
    signed: u32,
    negative: u32,
}

fn planes(classes: Classes) -> Planes {
    return Planes(classes.signed, classes.negative);
}

// Counts what became of the elements since the state was left.
fn compare(previous: Planes, now: Planes, lane: ptr<function, Lane>) -> SignChanges {
    var changes = SignChanges();
    changes.is_compared = true;
    changes.negative = now.negative;
    let pairs = previous.signed & now.signed;
    changes.flips = pairs & (previous.negative ^ now.negative);
    (*lane).signed_pair_count += countOneBits(pairs);
    (*lane).sign_flip_count += countOneBits(changes.flips);
    return changes;
}

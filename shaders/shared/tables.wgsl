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
        //#each
        mask_vector(vectors[EACH], remaining, invocation + EACH * WORKGROUP_LEN),
        //#end
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

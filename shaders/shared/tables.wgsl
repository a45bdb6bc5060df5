// What every kernel that reads burn's buffers is given: a dispatch, the static chunks, and where spans lie now.

struct Dispatch {
    first_chunk: u32,
    end_chunk: u32,
    // Added to every chunk's sentinel, so that a record of another step does not pass for one of this.
    stamp: u32,
    // 0x7fffffff - threshold: adding it to a magnitude carries into the sign bit iff it is above the threshold.
    weight_above: u32,
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
    weight_page: u32,
    weight_base: u32,
    before_page: u32,
    before_base: u32,
    // Keys of the rails.
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

fn mask_tail(v: array<vec4<u32>, LOAD_COUNT>, remaining: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    if remaining >= TILE_LEN {
        return v;
    }
    return array<vec4<u32>, LOAD_COUNT>(
        //#each
        mask_vector(v[#], remaining, invocation + #u * WORKGROUP_LEN),
        //#end
    );
}

fn mask_vector(v: vec4<u32>, remaining: u32, vector: u32) -> vec4<u32> {
    let element = vec4<u32>(vector * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(FILLER, v, element < vec4<u32>(remaining));
}

// Order of the keys is order of the floats, but for the two zeros: the host makes them one.
fn order_key(word: u32) -> u32 {
    return select(word | SIGN_BIT, ~word, word >= SIGN_BIT);
}

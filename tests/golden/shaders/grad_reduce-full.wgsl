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
const BATCH_LEN = 32u;
const SUMS_END = 26u;
const MINS_END = 32u;
const MAXES_END = 37u;
const RECORD_LEN = 85u;
const MOMENTS_LEN = 6u;
const MOMENTS = 73u;
const PARAM_MOMENTS = 79u;
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
@group(0) @binding(6) var<storage, read> param_0: array<vec4<u32>>;
// The vectors that an invocation classifies of a tile, none past `last`.
fn load_param(page: u32, at: u32, last: u32) -> array<vec4<u32>, LOAD_COUNT> {
    return array<vec4<u32>, LOAD_COUNT>(param_0[min(at + 0u, last)], param_0[min(at + 256u, last)], param_0[min(at + 512u, last)], param_0[min(at + 768u, last)], param_0[min(at + 1024u, last)], param_0[min(at + 1280u, last)], param_0[min(at + 1536u, last)], param_0[min(at + 1792u, last)]);
}
// One element by itself.
fn element_param(page: u32, at: u32) -> u32 {
    switch page {
        case 0u: { return param_0[at / 4u][at % 4u]; }
        default: { return 0u; }
    }
}
@group(0) @binding(7) var<storage, read> previous_param_0: array<vec4<u32>>;
// The vectors that an invocation classifies of a tile, none past `last`.
fn load_previous_param(page: u32, at: u32, last: u32) -> array<vec4<u32>, LOAD_COUNT> {
    return array<vec4<u32>, LOAD_COUNT>(previous_param_0[min(at + 0u, last)], previous_param_0[min(at + 256u, last)], previous_param_0[min(at + 512u, last)], previous_param_0[min(at + 768u, last)], previous_param_0[min(at + 1024u, last)], previous_param_0[min(at + 1280u, last)], previous_param_0[min(at + 1536u, last)], previous_param_0[min(at + 1792u, last)]);
}
// One element by itself.
fn element_previous_param(page: u32, at: u32) -> u32 {
    switch page {
        case 0u: { return previous_param_0[at / 4u][at % 4u]; }
        default: { return 0u; }
    }
}
struct Lane {
    l1_norm: f32,
    l1_norm_big: f32,
    l2_norm_sq: f32,
    l2_norm_sq_small: f32,
    l2_norm_sq_big: f32,
    sum: f32,
    sum_big: f32,
    param_sum: f32,
    param_sum_big: f32,
    param_l1_norm: f32,
    param_l1_norm_big: f32,
    param_l2_norm_sq: f32,
    param_l2_norm_sq_small: f32,
    param_l2_norm_sq_big: f32,
    update_param_l2_norm_sq: f32,
    update_param_l2_norm_sq_small: f32,
    update_param_l2_norm_sq_big: f32,
    update_l1_norm: f32,
    update_l1_norm_big: f32,
    update_l2_norm_sq: f32,
    update_l2_norm_sq_small: f32,
    update_l2_norm_sq_big: f32,
    update_retained_sum_1: f32,
    update_retained_sum_1_big: f32,
    update_retained_sum_2: f32,
    update_retained_sum_2_big: f32,
    min_key: u32,
    abs_min_rank: u32,
    first_nonfinite_nan: u32,
    first_nonfinite_pos_inf: u32,
    first_nonfinite_neg_inf: u32,
    param_min_key: u32,
    max_key: u32,
    param_max_key: u32,
    update_abs_max: u32,
    update_retained_max_1: u32,
    update_retained_max_2: u32,
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
    subnormal_count: u32,
    became_zero_count: u32,
    became_nonfinite_count: u32,
    recovered_count: u32,
    retained_count_1: u32,
    retained_count_2: u32,
    released_count_1: u32,
    released_count_2: u32,
    captured_count_1: u32,
    captured_count_2: u32,
    near_zero_to_nonfinite_count_1: u32,
    near_zero_to_nonfinite_count_2: u32,
    nonfinite_to_near_zero_count_1: u32,
    nonfinite_to_near_zero_count_2: u32,
    flip_in_retained_count_1: u32,
    flip_in_retained_count_2: u32,
    param_nonfinite_count: u32,
    param_near_zero_count: u32,
    update_unchanged_count: u32,
    update_nonfinite_count: u32,
    update_minimum_count: u32,
    update_maximum_count: u32,
    update_flip_unmoved_count: u32,
    update_flip_at_nonfinite_count: u32,
    update_retained_moved_count_1: u32,
    update_retained_moved_count_2: u32,
}
fn lane_identity() -> Lane {
    var lane = Lane();
    lane.min_key = 0xffffffffu;
    lane.abs_min_rank = 0xffffffffu;
    lane.first_nonfinite_nan = 0xffffffffu;
    lane.first_nonfinite_pos_inf = 0xffffffffu;
    lane.first_nonfinite_neg_inf = 0xffffffffu;
    lane.param_min_key = 0xffffffffu;
    return lane;
}
fn combine(a: Lane, b: Lane) -> Lane {
    return Lane(
        a.l1_norm + b.l1_norm,
        a.l1_norm_big + b.l1_norm_big,
        a.l2_norm_sq + b.l2_norm_sq,
        a.l2_norm_sq_small + b.l2_norm_sq_small,
        a.l2_norm_sq_big + b.l2_norm_sq_big,
        a.sum + b.sum,
        a.sum_big + b.sum_big,
        a.param_sum + b.param_sum,
        a.param_sum_big + b.param_sum_big,
        a.param_l1_norm + b.param_l1_norm,
        a.param_l1_norm_big + b.param_l1_norm_big,
        a.param_l2_norm_sq + b.param_l2_norm_sq,
        a.param_l2_norm_sq_small + b.param_l2_norm_sq_small,
        a.param_l2_norm_sq_big + b.param_l2_norm_sq_big,
        a.update_param_l2_norm_sq + b.update_param_l2_norm_sq,
        a.update_param_l2_norm_sq_small + b.update_param_l2_norm_sq_small,
        a.update_param_l2_norm_sq_big + b.update_param_l2_norm_sq_big,
        a.update_l1_norm + b.update_l1_norm,
        a.update_l1_norm_big + b.update_l1_norm_big,
        a.update_l2_norm_sq + b.update_l2_norm_sq,
        a.update_l2_norm_sq_small + b.update_l2_norm_sq_small,
        a.update_l2_norm_sq_big + b.update_l2_norm_sq_big,
        a.update_retained_sum_1 + b.update_retained_sum_1,
        a.update_retained_sum_1_big + b.update_retained_sum_1_big,
        a.update_retained_sum_2 + b.update_retained_sum_2,
        a.update_retained_sum_2_big + b.update_retained_sum_2_big,
        min(a.min_key, b.min_key),
        min(a.abs_min_rank, b.abs_min_rank),
        min(a.first_nonfinite_nan, b.first_nonfinite_nan),
        min(a.first_nonfinite_pos_inf, b.first_nonfinite_pos_inf),
        min(a.first_nonfinite_neg_inf, b.first_nonfinite_neg_inf),
        min(a.param_min_key, b.param_min_key),
        max(a.max_key, b.max_key),
        max(a.param_max_key, b.param_max_key),
        max(a.update_abs_max, b.update_abs_max),
        max(a.update_retained_max_1, b.update_retained_max_1),
        max(a.update_retained_max_2, b.update_retained_max_2),
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
        a.subnormal_count + b.subnormal_count,
        a.became_zero_count + b.became_zero_count,
        a.became_nonfinite_count + b.became_nonfinite_count,
        a.recovered_count + b.recovered_count,
        a.retained_count_1 + b.retained_count_1,
        a.retained_count_2 + b.retained_count_2,
        a.released_count_1 + b.released_count_1,
        a.released_count_2 + b.released_count_2,
        a.captured_count_1 + b.captured_count_1,
        a.captured_count_2 + b.captured_count_2,
        a.near_zero_to_nonfinite_count_1 + b.near_zero_to_nonfinite_count_1,
        a.near_zero_to_nonfinite_count_2 + b.near_zero_to_nonfinite_count_2,
        a.nonfinite_to_near_zero_count_1 + b.nonfinite_to_near_zero_count_1,
        a.nonfinite_to_near_zero_count_2 + b.nonfinite_to_near_zero_count_2,
        a.flip_in_retained_count_1 + b.flip_in_retained_count_1,
        a.flip_in_retained_count_2 + b.flip_in_retained_count_2,
        a.param_nonfinite_count + b.param_nonfinite_count,
        a.param_near_zero_count + b.param_near_zero_count,
        a.update_unchanged_count + b.update_unchanged_count,
        a.update_nonfinite_count + b.update_nonfinite_count,
        a.update_minimum_count + b.update_minimum_count,
        a.update_maximum_count + b.update_maximum_count,
        a.update_flip_unmoved_count + b.update_flip_unmoved_count,
        a.update_flip_at_nonfinite_count + b.update_flip_at_nonfinite_count,
        a.update_retained_moved_count_1 + b.update_retained_moved_count_1,
        a.update_retained_moved_count_2 + b.update_retained_moved_count_2,
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
        bitcast<f32>(records[at + 5u]),
        bitcast<f32>(records[at + 6u]),
        bitcast<f32>(records[at + 7u]),
        bitcast<f32>(records[at + 8u]),
        bitcast<f32>(records[at + 9u]),
        bitcast<f32>(records[at + 10u]),
        bitcast<f32>(records[at + 11u]),
        bitcast<f32>(records[at + 12u]),
        bitcast<f32>(records[at + 13u]),
        bitcast<f32>(records[at + 14u]),
        bitcast<f32>(records[at + 15u]),
        bitcast<f32>(records[at + 16u]),
        bitcast<f32>(records[at + 17u]),
        bitcast<f32>(records[at + 18u]),
        bitcast<f32>(records[at + 19u]),
        bitcast<f32>(records[at + 20u]),
        bitcast<f32>(records[at + 21u]),
        bitcast<f32>(records[at + 22u]),
        bitcast<f32>(records[at + 23u]),
        bitcast<f32>(records[at + 24u]),
        bitcast<f32>(records[at + 25u]),
        records[at + 26u],
        records[at + 27u],
        records[at + 28u],
        records[at + 29u],
        records[at + 30u],
        records[at + 31u],
        records[at + 32u],
        records[at + 33u],
        records[at + 34u],
        records[at + 35u],
        records[at + 36u],
        records[at + 37u],
        records[at + 38u],
        records[at + 39u],
        records[at + 40u],
        records[at + 41u],
        records[at + 42u],
        records[at + 43u],
        records[at + 44u],
        records[at + 45u],
        records[at + 46u],
        records[at + 47u],
        records[at + 48u],
        records[at + 49u],
        records[at + 50u],
        records[at + 51u],
        records[at + 52u],
        records[at + 53u],
        records[at + 54u],
        records[at + 55u],
        records[at + 56u],
        records[at + 57u],
        records[at + 58u],
        records[at + 59u],
        records[at + 60u],
        records[at + 61u],
        records[at + 62u],
        records[at + 63u],
        records[at + 64u],
        records[at + 65u],
        records[at + 66u],
        records[at + 67u],
        records[at + 68u],
        records[at + 69u],
        records[at + 70u],
        records[at + 71u],
        records[at + 72u],
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
        shared_words[5u * SHARED_LEN + upper] = bitcast<u32>(lane.sum);
        shared_words[6u * SHARED_LEN + upper] = bitcast<u32>(lane.sum_big);
        shared_words[7u * SHARED_LEN + upper] = bitcast<u32>(lane.param_sum);
        shared_words[8u * SHARED_LEN + upper] = bitcast<u32>(lane.param_sum_big);
        shared_words[9u * SHARED_LEN + upper] = bitcast<u32>(lane.param_l1_norm);
        shared_words[10u * SHARED_LEN + upper] = bitcast<u32>(lane.param_l1_norm_big);
        shared_words[11u * SHARED_LEN + upper] = bitcast<u32>(lane.param_l2_norm_sq);
        shared_words[12u * SHARED_LEN + upper] = bitcast<u32>(lane.param_l2_norm_sq_small);
        shared_words[13u * SHARED_LEN + upper] = bitcast<u32>(lane.param_l2_norm_sq_big);
        shared_words[14u * SHARED_LEN + upper] = bitcast<u32>(lane.update_param_l2_norm_sq);
        shared_words[15u * SHARED_LEN + upper] = bitcast<u32>(lane.update_param_l2_norm_sq_small);
        shared_words[16u * SHARED_LEN + upper] = bitcast<u32>(lane.update_param_l2_norm_sq_big);
        shared_words[17u * SHARED_LEN + upper] = bitcast<u32>(lane.update_l1_norm);
        shared_words[18u * SHARED_LEN + upper] = bitcast<u32>(lane.update_l1_norm_big);
        shared_words[19u * SHARED_LEN + upper] = bitcast<u32>(lane.update_l2_norm_sq);
        shared_words[20u * SHARED_LEN + upper] = bitcast<u32>(lane.update_l2_norm_sq_small);
        shared_words[21u * SHARED_LEN + upper] = bitcast<u32>(lane.update_l2_norm_sq_big);
        shared_words[22u * SHARED_LEN + upper] = bitcast<u32>(lane.update_retained_sum_1);
        shared_words[23u * SHARED_LEN + upper] = bitcast<u32>(lane.update_retained_sum_1_big);
        shared_words[24u * SHARED_LEN + upper] = bitcast<u32>(lane.update_retained_sum_2);
        shared_words[25u * SHARED_LEN + upper] = bitcast<u32>(lane.update_retained_sum_2_big);
        shared_words[26u * SHARED_LEN + upper] = lane.min_key;
        shared_words[27u * SHARED_LEN + upper] = lane.abs_min_rank;
        shared_words[28u * SHARED_LEN + upper] = lane.first_nonfinite_nan;
        shared_words[29u * SHARED_LEN + upper] = lane.first_nonfinite_pos_inf;
        shared_words[30u * SHARED_LEN + upper] = lane.first_nonfinite_neg_inf;
        shared_words[31u * SHARED_LEN + upper] = lane.param_min_key;
    }
    workgroupBarrier();
    if invocation < SHARED_LEN {
        shared_words[0u * SHARED_LEN + invocation] = bitcast<u32>(lane.l1_norm + bitcast<f32>(shared_words[0u * SHARED_LEN + invocation]));
        shared_words[1u * SHARED_LEN + invocation] = bitcast<u32>(lane.l1_norm_big + bitcast<f32>(shared_words[1u * SHARED_LEN + invocation]));
        shared_words[2u * SHARED_LEN + invocation] = bitcast<u32>(lane.l2_norm_sq + bitcast<f32>(shared_words[2u * SHARED_LEN + invocation]));
        shared_words[3u * SHARED_LEN + invocation] = bitcast<u32>(lane.l2_norm_sq_small + bitcast<f32>(shared_words[3u * SHARED_LEN + invocation]));
        shared_words[4u * SHARED_LEN + invocation] = bitcast<u32>(lane.l2_norm_sq_big + bitcast<f32>(shared_words[4u * SHARED_LEN + invocation]));
        shared_words[5u * SHARED_LEN + invocation] = bitcast<u32>(lane.sum + bitcast<f32>(shared_words[5u * SHARED_LEN + invocation]));
        shared_words[6u * SHARED_LEN + invocation] = bitcast<u32>(lane.sum_big + bitcast<f32>(shared_words[6u * SHARED_LEN + invocation]));
        shared_words[7u * SHARED_LEN + invocation] = bitcast<u32>(lane.param_sum + bitcast<f32>(shared_words[7u * SHARED_LEN + invocation]));
        shared_words[8u * SHARED_LEN + invocation] = bitcast<u32>(lane.param_sum_big + bitcast<f32>(shared_words[8u * SHARED_LEN + invocation]));
        shared_words[9u * SHARED_LEN + invocation] = bitcast<u32>(lane.param_l1_norm + bitcast<f32>(shared_words[9u * SHARED_LEN + invocation]));
        shared_words[10u * SHARED_LEN + invocation] = bitcast<u32>(lane.param_l1_norm_big + bitcast<f32>(shared_words[10u * SHARED_LEN + invocation]));
        shared_words[11u * SHARED_LEN + invocation] = bitcast<u32>(lane.param_l2_norm_sq + bitcast<f32>(shared_words[11u * SHARED_LEN + invocation]));
        shared_words[12u * SHARED_LEN + invocation] = bitcast<u32>(lane.param_l2_norm_sq_small + bitcast<f32>(shared_words[12u * SHARED_LEN + invocation]));
        shared_words[13u * SHARED_LEN + invocation] = bitcast<u32>(lane.param_l2_norm_sq_big + bitcast<f32>(shared_words[13u * SHARED_LEN + invocation]));
        shared_words[14u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_param_l2_norm_sq + bitcast<f32>(shared_words[14u * SHARED_LEN + invocation]));
        shared_words[15u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_param_l2_norm_sq_small + bitcast<f32>(shared_words[15u * SHARED_LEN + invocation]));
        shared_words[16u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_param_l2_norm_sq_big + bitcast<f32>(shared_words[16u * SHARED_LEN + invocation]));
        shared_words[17u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_l1_norm + bitcast<f32>(shared_words[17u * SHARED_LEN + invocation]));
        shared_words[18u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_l1_norm_big + bitcast<f32>(shared_words[18u * SHARED_LEN + invocation]));
        shared_words[19u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_l2_norm_sq + bitcast<f32>(shared_words[19u * SHARED_LEN + invocation]));
        shared_words[20u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_l2_norm_sq_small + bitcast<f32>(shared_words[20u * SHARED_LEN + invocation]));
        shared_words[21u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_l2_norm_sq_big + bitcast<f32>(shared_words[21u * SHARED_LEN + invocation]));
        shared_words[22u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_retained_sum_1 + bitcast<f32>(shared_words[22u * SHARED_LEN + invocation]));
        shared_words[23u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_retained_sum_1_big + bitcast<f32>(shared_words[23u * SHARED_LEN + invocation]));
        shared_words[24u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_retained_sum_2 + bitcast<f32>(shared_words[24u * SHARED_LEN + invocation]));
        shared_words[25u * SHARED_LEN + invocation] = bitcast<u32>(lane.update_retained_sum_2_big + bitcast<f32>(shared_words[25u * SHARED_LEN + invocation]));
        shared_words[26u * SHARED_LEN + invocation] = min(lane.min_key, shared_words[26u * SHARED_LEN + invocation]);
        shared_words[27u * SHARED_LEN + invocation] = min(lane.abs_min_rank, shared_words[27u * SHARED_LEN + invocation]);
        shared_words[28u * SHARED_LEN + invocation] = min(lane.first_nonfinite_nan, shared_words[28u * SHARED_LEN + invocation]);
        shared_words[29u * SHARED_LEN + invocation] = min(lane.first_nonfinite_pos_inf, shared_words[29u * SHARED_LEN + invocation]);
        shared_words[30u * SHARED_LEN + invocation] = min(lane.first_nonfinite_neg_inf, shared_words[30u * SHARED_LEN + invocation]);
        shared_words[31u * SHARED_LEN + invocation] = min(lane.param_min_key, shared_words[31u * SHARED_LEN + invocation]);
    }
    total = fold_batch(0u, 32u, invocation);
    if stores && word < 32u {
        store(record + 0u + word, total);
    }
    if invocation >= SHARED_LEN {
        shared_words[0u * SHARED_LEN + upper] = lane.max_key;
        shared_words[1u * SHARED_LEN + upper] = lane.param_max_key;
        shared_words[2u * SHARED_LEN + upper] = lane.update_abs_max;
        shared_words[3u * SHARED_LEN + upper] = lane.update_retained_max_1;
        shared_words[4u * SHARED_LEN + upper] = lane.update_retained_max_2;
        shared_words[5u * SHARED_LEN + upper] = lane.sentinel;
        shared_words[6u * SHARED_LEN + upper] = lane.near_zero_count_1;
        shared_words[7u * SHARED_LEN + upper] = lane.near_zero_count_2;
        shared_words[8u * SHARED_LEN + upper] = lane.positive_count;
        shared_words[9u * SHARED_LEN + upper] = lane.negative_count;
        shared_words[10u * SHARED_LEN + upper] = lane.nan_count;
        shared_words[11u * SHARED_LEN + upper] = lane.pos_inf_count;
        shared_words[12u * SHARED_LEN + upper] = lane.neg_inf_count;
        shared_words[13u * SHARED_LEN + upper] = lane.sign_flip_count;
        shared_words[14u * SHARED_LEN + upper] = lane.signed_pair_count;
        shared_words[15u * SHARED_LEN + upper] = lane.subnormal_count;
        shared_words[16u * SHARED_LEN + upper] = lane.became_zero_count;
        shared_words[17u * SHARED_LEN + upper] = lane.became_nonfinite_count;
        shared_words[18u * SHARED_LEN + upper] = lane.recovered_count;
        shared_words[19u * SHARED_LEN + upper] = lane.retained_count_1;
        shared_words[20u * SHARED_LEN + upper] = lane.retained_count_2;
        shared_words[21u * SHARED_LEN + upper] = lane.released_count_1;
        shared_words[22u * SHARED_LEN + upper] = lane.released_count_2;
        shared_words[23u * SHARED_LEN + upper] = lane.captured_count_1;
        shared_words[24u * SHARED_LEN + upper] = lane.captured_count_2;
        shared_words[25u * SHARED_LEN + upper] = lane.near_zero_to_nonfinite_count_1;
        shared_words[26u * SHARED_LEN + upper] = lane.near_zero_to_nonfinite_count_2;
        shared_words[27u * SHARED_LEN + upper] = lane.nonfinite_to_near_zero_count_1;
        shared_words[28u * SHARED_LEN + upper] = lane.nonfinite_to_near_zero_count_2;
        shared_words[29u * SHARED_LEN + upper] = lane.flip_in_retained_count_1;
        shared_words[30u * SHARED_LEN + upper] = lane.flip_in_retained_count_2;
        shared_words[31u * SHARED_LEN + upper] = lane.param_nonfinite_count;
    }
    workgroupBarrier();
    if invocation < SHARED_LEN {
        shared_words[0u * SHARED_LEN + invocation] = max(lane.max_key, shared_words[0u * SHARED_LEN + invocation]);
        shared_words[1u * SHARED_LEN + invocation] = max(lane.param_max_key, shared_words[1u * SHARED_LEN + invocation]);
        shared_words[2u * SHARED_LEN + invocation] = max(lane.update_abs_max, shared_words[2u * SHARED_LEN + invocation]);
        shared_words[3u * SHARED_LEN + invocation] = max(lane.update_retained_max_1, shared_words[3u * SHARED_LEN + invocation]);
        shared_words[4u * SHARED_LEN + invocation] = max(lane.update_retained_max_2, shared_words[4u * SHARED_LEN + invocation]);
        shared_words[5u * SHARED_LEN + invocation] = lane.sentinel + shared_words[5u * SHARED_LEN + invocation];
        shared_words[6u * SHARED_LEN + invocation] = lane.near_zero_count_1 + shared_words[6u * SHARED_LEN + invocation];
        shared_words[7u * SHARED_LEN + invocation] = lane.near_zero_count_2 + shared_words[7u * SHARED_LEN + invocation];
        shared_words[8u * SHARED_LEN + invocation] = lane.positive_count + shared_words[8u * SHARED_LEN + invocation];
        shared_words[9u * SHARED_LEN + invocation] = lane.negative_count + shared_words[9u * SHARED_LEN + invocation];
        shared_words[10u * SHARED_LEN + invocation] = lane.nan_count + shared_words[10u * SHARED_LEN + invocation];
        shared_words[11u * SHARED_LEN + invocation] = lane.pos_inf_count + shared_words[11u * SHARED_LEN + invocation];
        shared_words[12u * SHARED_LEN + invocation] = lane.neg_inf_count + shared_words[12u * SHARED_LEN + invocation];
        shared_words[13u * SHARED_LEN + invocation] = lane.sign_flip_count + shared_words[13u * SHARED_LEN + invocation];
        shared_words[14u * SHARED_LEN + invocation] = lane.signed_pair_count + shared_words[14u * SHARED_LEN + invocation];
        shared_words[15u * SHARED_LEN + invocation] = lane.subnormal_count + shared_words[15u * SHARED_LEN + invocation];
        shared_words[16u * SHARED_LEN + invocation] = lane.became_zero_count + shared_words[16u * SHARED_LEN + invocation];
        shared_words[17u * SHARED_LEN + invocation] = lane.became_nonfinite_count + shared_words[17u * SHARED_LEN + invocation];
        shared_words[18u * SHARED_LEN + invocation] = lane.recovered_count + shared_words[18u * SHARED_LEN + invocation];
        shared_words[19u * SHARED_LEN + invocation] = lane.retained_count_1 + shared_words[19u * SHARED_LEN + invocation];
        shared_words[20u * SHARED_LEN + invocation] = lane.retained_count_2 + shared_words[20u * SHARED_LEN + invocation];
        shared_words[21u * SHARED_LEN + invocation] = lane.released_count_1 + shared_words[21u * SHARED_LEN + invocation];
        shared_words[22u * SHARED_LEN + invocation] = lane.released_count_2 + shared_words[22u * SHARED_LEN + invocation];
        shared_words[23u * SHARED_LEN + invocation] = lane.captured_count_1 + shared_words[23u * SHARED_LEN + invocation];
        shared_words[24u * SHARED_LEN + invocation] = lane.captured_count_2 + shared_words[24u * SHARED_LEN + invocation];
        shared_words[25u * SHARED_LEN + invocation] = lane.near_zero_to_nonfinite_count_1 + shared_words[25u * SHARED_LEN + invocation];
        shared_words[26u * SHARED_LEN + invocation] = lane.near_zero_to_nonfinite_count_2 + shared_words[26u * SHARED_LEN + invocation];
        shared_words[27u * SHARED_LEN + invocation] = lane.nonfinite_to_near_zero_count_1 + shared_words[27u * SHARED_LEN + invocation];
        shared_words[28u * SHARED_LEN + invocation] = lane.nonfinite_to_near_zero_count_2 + shared_words[28u * SHARED_LEN + invocation];
        shared_words[29u * SHARED_LEN + invocation] = lane.flip_in_retained_count_1 + shared_words[29u * SHARED_LEN + invocation];
        shared_words[30u * SHARED_LEN + invocation] = lane.flip_in_retained_count_2 + shared_words[30u * SHARED_LEN + invocation];
        shared_words[31u * SHARED_LEN + invocation] = lane.param_nonfinite_count + shared_words[31u * SHARED_LEN + invocation];
    }
    total = fold_batch(32u, 32u, invocation);
    if stores && word < 32u {
        store(record + 32u + word, total);
    }
    if invocation >= SHARED_LEN {
        shared_words[0u * SHARED_LEN + upper] = lane.param_near_zero_count;
        shared_words[1u * SHARED_LEN + upper] = lane.update_unchanged_count;
        shared_words[2u * SHARED_LEN + upper] = lane.update_nonfinite_count;
        shared_words[3u * SHARED_LEN + upper] = lane.update_minimum_count;
        shared_words[4u * SHARED_LEN + upper] = lane.update_maximum_count;
        shared_words[5u * SHARED_LEN + upper] = lane.update_flip_unmoved_count;
        shared_words[6u * SHARED_LEN + upper] = lane.update_flip_at_nonfinite_count;
        shared_words[7u * SHARED_LEN + upper] = lane.update_retained_moved_count_1;
        shared_words[8u * SHARED_LEN + upper] = lane.update_retained_moved_count_2;
    }
    workgroupBarrier();
    if invocation < SHARED_LEN {
        shared_words[0u * SHARED_LEN + invocation] = lane.param_near_zero_count + shared_words[0u * SHARED_LEN + invocation];
        shared_words[1u * SHARED_LEN + invocation] = lane.update_unchanged_count + shared_words[1u * SHARED_LEN + invocation];
        shared_words[2u * SHARED_LEN + invocation] = lane.update_nonfinite_count + shared_words[2u * SHARED_LEN + invocation];
        shared_words[3u * SHARED_LEN + invocation] = lane.update_minimum_count + shared_words[3u * SHARED_LEN + invocation];
        shared_words[4u * SHARED_LEN + invocation] = lane.update_maximum_count + shared_words[4u * SHARED_LEN + invocation];
        shared_words[5u * SHARED_LEN + invocation] = lane.update_flip_unmoved_count + shared_words[5u * SHARED_LEN + invocation];
        shared_words[6u * SHARED_LEN + invocation] = lane.update_flip_at_nonfinite_count + shared_words[6u * SHARED_LEN + invocation];
        shared_words[7u * SHARED_LEN + invocation] = lane.update_retained_moved_count_1 + shared_words[7u * SHARED_LEN + invocation];
        shared_words[8u * SHARED_LEN + invocation] = lane.update_retained_moved_count_2 + shared_words[8u * SHARED_LEN + invocation];
    }
    total = fold_batch(64u, 9u, invocation);
    if stores && word < 9u {
        store(record + 64u + word, total);
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
            shared_words[invocation - len + 0u * SHARED_LEN] = words[0u];
            shared_words[invocation - len + 1u * SHARED_LEN] = words[1u];
            shared_words[invocation - len + 2u * SHARED_LEN] = words[2u];
            shared_words[invocation - len + 3u * SHARED_LEN] = words[3u];
            shared_words[invocation - len + 4u * SHARED_LEN] = words[4u];
            shared_words[invocation - len + 5u * SHARED_LEN] = words[5u];
        }
        workgroupBarrier();
        if invocation < len {
            total = merge(total, unpacked(array<u32, MOMENTS_LEN>(
                shared_words[invocation + 0u * SHARED_LEN],
                shared_words[invocation + 1u * SHARED_LEN],
                shared_words[invocation + 2u * SHARED_LEN],
                shared_words[invocation + 3u * SHARED_LEN],
                shared_words[invocation + 4u * SHARED_LEN],
                shared_words[invocation + 5u * SHARED_LEN],
            )));
        }
        workgroupBarrier();
    }
    return total;
}

fn store_moments(moments: Moments, at: u32, invocation: u32) {
    if invocation == 0u {
        let words = packed(moments);
        store(at + 0u, words[0u]);
        store(at + 1u, words[1u]);
        store(at + 2u, words[2u]);
        store(at + 3u, words[3u]);
        store(at + 4u, words[4u]);
        store(at + 5u, words[5u]);
    }
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
    add_distances(fma(bitcast<vec4<f32>>(v[0u]), per_unit, center), &sums);
    add_distances(fma(bitcast<vec4<f32>>(v[1u]), per_unit, center), &sums);
    add_distances(fma(bitcast<vec4<f32>>(v[2u]), per_unit, center), &sums);
    add_distances(fma(bitcast<vec4<f32>>(v[3u]), per_unit, center), &sums);
    add_distances(fma(bitcast<vec4<f32>>(v[4u]), per_unit, center), &sums);
    add_distances(fma(bitcast<vec4<f32>>(v[5u]), per_unit, center), &sums);
    add_distances(fma(bitcast<vec4<f32>>(v[6u]), per_unit, center), &sums);
    add_distances(fma(bitcast<vec4<f32>>(v[7u]), per_unit, center), &sums);
    return moments_of(sums, 4u * LOAD_COUNT, mean, bitcast<f32>(unit), 1u);
}

fn careful_moments(v: array<vec4<u32>, LOAD_COUNT>) -> Moments {
    var largest = NONE;
    var finite_count = NONE;
    largest = max(largest, finite_magnitude(v[0u]));
    finite_count += select(NONE, ONES, is_finite(v[0u]));
    largest = max(largest, finite_magnitude(v[1u]));
    finite_count += select(NONE, ONES, is_finite(v[1u]));
    largest = max(largest, finite_magnitude(v[2u]));
    finite_count += select(NONE, ONES, is_finite(v[2u]));
    largest = max(largest, finite_magnitude(v[3u]));
    finite_count += select(NONE, ONES, is_finite(v[3u]));
    largest = max(largest, finite_magnitude(v[4u]));
    finite_count += select(NONE, ONES, is_finite(v[4u]));
    largest = max(largest, finite_magnitude(v[5u]));
    finite_count += select(NONE, ONES, is_finite(v[5u]));
    largest = max(largest, finite_magnitude(v[6u]));
    finite_count += select(NONE, ONES, is_finite(v[6u]));
    largest = max(largest, finite_magnitude(v[7u]));
    finite_count += select(NONE, ONES, is_finite(v[7u]));
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
    sum += scaled(v[0u], scale);
    sum += scaled(v[1u], scale);
    sum += scaled(v[2u], scale);
    sum += scaled(v[3u], scale);
    sum += scaled(v[4u], scale);
    sum += scaled(v[5u], scale);
    sum += scaled(v[6u], scale);
    sum += scaled(v[7u], scale);
    let mean = sum4(sum) / f32(count);
    let unit = unit_above(most + SCALE - scale * SCALE);
    let per_unit = vec4<f32>(inverse_of(unit));
    let center = vec4<f32>(-mean) * per_unit;
    var sums = Distances();
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[0u], scale), per_unit, center), is_finite(v[0u])), &sums);
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[1u], scale), per_unit, center), is_finite(v[1u])), &sums);
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[2u], scale), per_unit, center), is_finite(v[2u])), &sums);
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[3u], scale), per_unit, center), is_finite(v[3u])), &sums);
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[4u], scale), per_unit, center), is_finite(v[4u])), &sums);
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[5u], scale), per_unit, center), is_finite(v[5u])), &sums);
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[6u], scale), per_unit, center), is_finite(v[6u])), &sums);
    add_distances(select(vec4<f32>(0.0), fma(scaled(v[7u], scale), per_unit, center), is_finite(v[7u])), &sums);
    return moments_of(sums, count, mean, bitcast<f32>(unit), scale);
}

// The normal elements in units of SCALE steps of the exponent, the others as 0.
fn scaled(words: vec4<u32>, scale: u32) -> vec4<f32> {
    let bits = magnitude_bits(words);
    let least = MIN_NORMAL + select(0u, SCALE, scale == 2u);
    let kept = (bits < vec4<u32>(INFINITY)) & (bits >= vec4<u32>(least));
    return bitcast<vec4<f32>>(select(NONE, words + vec4<u32>(SCALE - scale * SCALE), kept));
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
    // Planes: above the smaller and the larger epsilon, NaN included.
    above_1: u32,
    above_2: u32,
    abs_min_rank: u32,
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
    // Tiles that hold subnormals, by bits.
    var subnormal = 0u;
    var moments = Moments();
    var careful_params = 0u;
    var param_moments = Moments();
    var careful_updates = 0u;
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
            classes.abs_min_rank = 0xffffffffu;
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
                lane.sum += sums.total;
                moments = merge(moments, fast_moments(gradient, sums.total, largest));
            } else {
                careful |= 1u << tile;
            }
            lane.positive_count += countOneBits(classes.signed & ~classes.negative);
            lane.negative_count += countOneBits(classes.signed & classes.negative);
            lane.abs_min_rank = min(lane.abs_min_rank, classes.abs_min_rank);
            if classes.abs_min_rank < MIN_NORMAL - 1u {
                subnormal |= 1u << tile;
            }
            lane.near_zero_count_1 += countOneBits(~(classes.above_1 | classes.nonfinite));
            lane.near_zero_count_2 += countOneBits(~(classes.above_2 | classes.nonfinite));


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

        if (span.flags & HAS_PARAM) != 0u {
            let param = load_param_tile(work, tile, invocation);
            if !add_params(param, &lane, &param_moments) {
                careful_params |= 1u << tile;
            }
            if (span.flags & HAS_UPDATE) != 0u {
                let previous = load_previous_param_tile(work, tile, invocation);
                if !add_updates(param, previous, changes, &lane) {
                    careful_updates |= 1u << tile;
                }
            }
        }
    }

    // The marked tiles.
    for (var rest = careful | subnormal; rest != 0u; rest &= rest - 1u) {
        let tile = firstTrailingBit(rest);
        let gradient = load_gradient_tile(work, tile, invocation);
        lane.subnormal_count += subnormals(gradient[0u]);
        lane.subnormal_count += subnormals(gradient[1u]);
        lane.subnormal_count += subnormals(gradient[2u]);
        lane.subnormal_count += subnormals(gradient[3u]);
        lane.subnormal_count += subnormals(gradient[4u]);
        lane.subnormal_count += subnormals(gradient[5u]);
        lane.subnormal_count += subnormals(gradient[6u]);
        lane.subnormal_count += subnormals(gradient[7u]);
        if (careful & (1u << tile)) == 0u {
            continue;
        }
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
        lane.sum += sums.total;
        lane.sum_big += sums.total_big;
        moments = merge(moments, careful_moments(gradient));
        // FILLER is a NaN, and lies past every other element.
        let start = span.start + chunk.start + tile * TILE_LEN;
        first_nonfinite(gradient[0u], start + 4u * (invocation + 0u * WORKGROUP_LEN), span, &lane);
        first_nonfinite(gradient[1u], start + 4u * (invocation + 1u * WORKGROUP_LEN), span, &lane);
        first_nonfinite(gradient[2u], start + 4u * (invocation + 2u * WORKGROUP_LEN), span, &lane);
        first_nonfinite(gradient[3u], start + 4u * (invocation + 3u * WORKGROUP_LEN), span, &lane);
        first_nonfinite(gradient[4u], start + 4u * (invocation + 4u * WORKGROUP_LEN), span, &lane);
        first_nonfinite(gradient[5u], start + 4u * (invocation + 5u * WORKGROUP_LEN), span, &lane);
        first_nonfinite(gradient[6u], start + 4u * (invocation + 6u * WORKGROUP_LEN), span, &lane);
        first_nonfinite(gradient[7u], start + 4u * (invocation + 7u * WORKGROUP_LEN), span, &lane);
    }
    for (; careful_params != 0u; careful_params &= careful_params - 1u) {
        let tile = firstTrailingBit(careful_params);
        add_params_carefully(load_param_tile(work, tile, invocation), &lane, &param_moments);
    }
    for (; careful_updates != 0u; careful_updates &= careful_updates - 1u) {
        let tile = firstTrailingBit(careful_updates);
        let param = load_param_tile(work, tile, invocation);
        add_updates_carefully(param, load_previous_param_tile(work, tile, invocation), &lane);
    }

    // The padding.
    let padding_len = tile_count * TILE_LEN - chunk.len;
    if invocation == 0u {
        lane.sentinel = chunk.len + dispatch.stamp;
        if (span.flags & HAS_GRADIENT) != 0u {
            lane.nan_count -= padding_len;
        }
        if (span.flags & HAS_PARAM) != 0u {
            lane.param_nonfinite_count -= padding_len;
        }
        if (span.flags & HAS_UPDATE) != 0u {
            lane.update_unchanged_count -= padding_len;
            lane.update_nonfinite_count -= padding_len;
        }
    }
    let record = work.chunk_index * RECORD_LEN;
    reduce_lanes(lane, record, invocation);
    store_moments(reduce_moments(moments, invocation), record + MOMENTS, invocation);
    store_moments(reduce_moments(param_moments, invocation), record + PARAM_MOMENTS, invocation);
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
    (*classes).above_1 = push_signs((*classes).above_1, magnitude + vec4<u32>(dispatch.above_threshold.x));
    (*classes).above_2 = push_signs((*classes).above_2, magnitude + vec4<u32>(dispatch.above_threshold.y));
    (*classes).abs_min_rank = min((*classes).abs_min_rank, min4(magnitude - ONES));
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
    negative: u32,
    high: u32,
    low: u32,
}

fn planes(classes: Classes) -> Planes {
    var now = Planes();
    now.negative = (classes.negative & classes.signed) | classes.nonfinite;
    now.high = classes.above_1 & ~classes.nonfinite;
    now.low = classes.signed & (~classes.above_1 | classes.above_2);
    return now;
}

// Counts what became of the elements since the state was left.
fn compare(previous: Planes, now: Planes, lane: ptr<function, Lane>) -> SignChanges {
    var changes = SignChanges();
    changes.is_compared = true;
    changes.negative = now.negative;
    let pairs = (previous.high | previous.low) & (now.high | now.low);
    changes.flips = pairs & (previous.negative ^ now.negative);
    (*lane).signed_pair_count += countOneBits(pairs);
    (*lane).sign_flip_count += countOneBits(changes.flips);
    let was_lost = previous.negative & ~(previous.high | previous.low);
    let lost = now.negative & ~(now.high | now.low);
    (*lane).became_nonfinite_count += countOneBits(lost & ~was_lost);
    (*lane).recovered_count += countOneBits(was_lost & ~lost);
    (*lane).became_zero_count += countOneBits((previous.high | previous.low) & ~(now.high | now.low | lost));
    {
        let was_near = ~(previous.high | was_lost);
        let near = ~(now.high | lost);
        changes.retained_1 = was_near & near;
        (*lane).retained_count_1 += countOneBits(changes.retained_1);
        (*lane).released_count_1 += countOneBits(was_near & ~(near | lost));
        (*lane).captured_count_1 += countOneBits(near & ~(was_near | was_lost));
        (*lane).near_zero_to_nonfinite_count_1 += countOneBits(was_near & lost);
        (*lane).nonfinite_to_near_zero_count_1 += countOneBits(was_lost & near);
        (*lane).flip_in_retained_count_1 += countOneBits(changes.flips & changes.retained_1);
    }
    {
        let was_near = ~((previous.high & previous.low) | was_lost);
        let near = ~((now.high & now.low) | lost);
        changes.retained_2 = was_near & near;
        (*lane).retained_count_2 += countOneBits(changes.retained_2);
        (*lane).released_count_2 += countOneBits(was_near & ~(near | lost));
        (*lane).captured_count_2 += countOneBits(near & ~(was_near | was_lost));
        (*lane).near_zero_to_nonfinite_count_2 += countOneBits(was_near & lost);
        (*lane).nonfinite_to_near_zero_count_2 += countOneBits(was_lost & near);
        (*lane).flip_in_retained_count_2 += countOneBits(changes.flips & changes.retained_2);
    }
    return changes;
}
// Rare elements of a gradient, looked at one by one: the first ones that are not finite, and subnormals.

// Takes the logical (row-major) index of the first NaN and the first infinities among four elements of memory from `at` on.
fn first_nonfinite(gradient: vec4<u32>, at: u32, span: Span, lane: ptr<function, Lane>) {
    let index = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u);
    let in_block = index % vec4<u32>(span.block_len);
    let row = in_block % vec4<u32>(span.run_len);
    let column = in_block / vec4<u32>(span.run_len);
    let logical = (index - in_block) + row * vec4<u32>(span.block_len / span.run_len) + column;
    let none = vec4<u32>(0xffffffffu);
    let nan = select(none, logical, magnitude_bits(gradient) > vec4<u32>(INFINITY));
    let pos_inf = select(none, logical, gradient == vec4<u32>(INFINITY));
    let neg_inf = select(none, logical, gradient == vec4<u32>(INFINITY | SIGN_BIT));
    (*lane).first_nonfinite_nan = min((*lane).first_nonfinite_nan, min4(nan));
    (*lane).first_nonfinite_pos_inf = min((*lane).first_nonfinite_pos_inf, min4(pos_inf));
    (*lane).first_nonfinite_neg_inf = min((*lane).first_nonfinite_neg_inf, min4(neg_inf));
}

// Counts subnormals: magnitudes from 1 up to below the smallest normal one. Zero wraps round.
fn subnormals(gradient: vec4<u32>) -> u32 {
    let rank = magnitude_bits(gradient) - ONES;
    return dot(select(NONE, ONES, rank < vec4<u32>(MIN_NORMAL - 1u)), ONES);
}
// Statistics of the parameter itself.

fn load_param_tile(work: Work, tile: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    let base = work.span.param_base;
    let loaded = load_param(work.span.param_page, base + first_vector(work, tile, invocation), base + last_vector(work));
    return mask_tail(loaded, work.chunk.len - tile * TILE_LEN, invocation);
}

// Adds the parameters of a tile. False where their sums have no room: then `add_params_carefully` is due.
fn add_params(param: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>, moments: ptr<function, Moments>) -> bool {
    var max_word = 0u;
    var max_signed = i32(SIGN_BIT);
    var min_word = 0xffffffffu;
    var above = NONE;
    min_word = min(min_word, min4(param[0u]));
    max_word = max(max_word, max4(param[0u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[0u])));
    above += (magnitude_bits(param[0u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    min_word = min(min_word, min4(param[1u]));
    max_word = max(max_word, max4(param[1u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[1u])));
    above += (magnitude_bits(param[1u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    min_word = min(min_word, min4(param[2u]));
    max_word = max(max_word, max4(param[2u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[2u])));
    above += (magnitude_bits(param[2u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    min_word = min(min_word, min4(param[3u]));
    max_word = max(max_word, max4(param[3u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[3u])));
    above += (magnitude_bits(param[3u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    min_word = min(min_word, min4(param[4u]));
    max_word = max(max_word, max4(param[4u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[4u])));
    above += (magnitude_bits(param[4u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    min_word = min(min_word, min4(param[5u]));
    max_word = max(max_word, max4(param[5u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[5u])));
    above += (magnitude_bits(param[5u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    min_word = min(min_word, min4(param[6u]));
    max_word = max(max_word, max4(param[6u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[6u])));
    above += (magnitude_bits(param[6u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    min_word = min(min_word, min4(param[7u]));
    max_word = max(max_word, max4(param[7u]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[7u])));
    above += (magnitude_bits(param[7u]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    (*lane).param_near_zero_count += TILE_LEN / WORKGROUP_LEN - dot(above, ONES);
    let largest = max_magnitude(max_word, max_signed);
    if !in_range(largest) {
        return false;
    }
    (*lane).param_min_key = min((*lane).param_min_key, order_key(select(min_word, max_word, max_word >= SIGN_BIT)));
    (*lane).param_max_key = max((*lane).param_max_key, order_key(select(min_word, u32(max_signed), max_signed >= 0)));
    let sums = fast_sums(param);
    (*lane).param_l1_norm += sums.l1;
    (*lane).param_l2_norm_sq += sums.l2;
    (*lane).param_sum += sums.total;
    *moments = merge(*moments, fast_moments(param, sums.total, largest));
    return true;
}

fn add_params_carefully(param: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>, moments: ptr<function, Moments>) {
    var sums = Sums();
    var keys = vec2<u32>(0xffffffffu, 0u);
    var nonfinite = NONE;
    careful_sum(param[0u], &sums);
    careful_keys(param[0u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[0u]));
    careful_sum(param[1u], &sums);
    careful_keys(param[1u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[1u]));
    careful_sum(param[2u], &sums);
    careful_keys(param[2u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[2u]));
    careful_sum(param[3u], &sums);
    careful_keys(param[3u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[3u]));
    careful_sum(param[4u], &sums);
    careful_keys(param[4u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[4u]));
    careful_sum(param[5u], &sums);
    careful_keys(param[5u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[5u]));
    careful_sum(param[6u], &sums);
    careful_keys(param[6u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[6u]));
    careful_sum(param[7u], &sums);
    careful_keys(param[7u], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[7u]));
    (*lane).param_min_key = min((*lane).param_min_key, keys.x);
    (*lane).param_max_key = max((*lane).param_max_key, keys.y);
    (*lane).param_l1_norm += sums.l1;
    (*lane).param_l1_norm_big += sums.l1_big;
    (*lane).param_l2_norm_sq += sums.l2;
    (*lane).param_l2_norm_sq_small += sums.l2_small;
    (*lane).param_l2_norm_sq_big += sums.l2_big;
    (*lane).param_sum += sums.total;
    (*lane).param_sum_big += sums.total_big;
    (*lane).param_nonfinite_count += dot(nonfinite, ONES);
    *moments = merge(*moments, careful_moments(param));
}
// The parameter's last update, held against the gradients at its two ends.

struct Update {
    // Planes: the element rose, it fell, it is or was not finite.
    risen: u32,
    fallen: u32,
    lost: u32,
    unchanged: vec4<u32>,
    nonfinite: vec4<u32>,
}

fn load_previous_param_tile(work: Work, tile: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    let base = work.span.previous_param_base;
    let loaded = load_previous_param(
        work.span.previous_param_page, base + first_vector(work, tile, invocation), base + last_vector(work),
    );
    return mask_tail(loaded, work.chunk.len - tile * TILE_LEN, invocation);
}

// Adds the updates of a tile. False where their sums have no room: then `add_updates_carefully` is due.
fn add_updates(
    param: array<vec4<u32>, LOAD_COUNT>,
    previous: array<vec4<u32>, LOAD_COUNT>,
    changes: SignChanges,
    lane: ptr<function, Lane>,
) -> bool {
    var update = Update();
    let length = array<vec4<u32>, LOAD_COUNT>(
        update_length(param[0u], previous[0u], &update),
        update_length(param[1u], previous[1u], &update),
        update_length(param[2u], previous[2u], &update),
        update_length(param[3u], previous[3u], &update),
        update_length(param[4u], previous[4u], &update),
        update_length(param[5u], previous[5u], &update),
        update_length(param[6u], previous[6u], &update),
        update_length(param[7u], previous[7u], &update),
    );
    var largest = NONE;
    largest = max(largest, length[0u]);
    largest = max(largest, length[1u]);
    largest = max(largest, length[2u]);
    largest = max(largest, length[3u]);
    largest = max(largest, length[4u]);
    largest = max(largest, length[5u]);
    largest = max(largest, length[6u]);
    largest = max(largest, length[7u]);
    let max_length = max4(largest);
    (*lane).update_abs_max = max((*lane).update_abs_max, max_length);
    (*lane).update_unchanged_count += dot(update.unchanged, ONES);
    (*lane).update_nonfinite_count += dot(update.nonfinite, ONES);
    if changes.is_compared {
        let minimum = (update.risen & ~changes.negative) | (update.fallen & changes.negative);
        let maximum = (update.risen & changes.negative) | (update.fallen & ~changes.negative);
        let moved = update.risen | update.fallen;
        (*lane).update_minimum_count += countOneBits(changes.flips & minimum);
        (*lane).update_maximum_count += countOneBits(changes.flips & maximum);
        (*lane).update_flip_unmoved_count += countOneBits(changes.flips & ~(moved | update.lost));
        (*lane).update_flip_at_nonfinite_count += countOneBits(changes.flips & update.lost);
        (*lane).update_retained_moved_count_1 += countOneBits(moved & changes.retained_1);
        (*lane).update_retained_moved_count_2 += countOneBits(moved & changes.retained_2);
        var retained = Retained();
        add_retained(length[0u], changes.retained_1, 0u, &retained);
        add_retained(length[1u], changes.retained_1, 1u, &retained);
        add_retained(length[2u], changes.retained_1, 2u, &retained);
        add_retained(length[3u], changes.retained_1, 3u, &retained);
        add_retained(length[4u], changes.retained_1, 4u, &retained);
        add_retained(length[5u], changes.retained_1, 5u, &retained);
        add_retained(length[6u], changes.retained_1, 6u, &retained);
        add_retained(length[7u], changes.retained_1, 7u, &retained);
        (*lane).update_retained_sum_1 += dot(retained.sum, vec4<f32>(1.0));
        (*lane).update_retained_sum_1_big += dot(retained.sum_big, vec4<f32>(1.0));
        (*lane).update_retained_max_1 = max((*lane).update_retained_max_1, max4(retained.max));
        retained = Retained();
        add_retained(length[0u], changes.retained_2, 0u, &retained);
        add_retained(length[1u], changes.retained_2, 1u, &retained);
        add_retained(length[2u], changes.retained_2, 2u, &retained);
        add_retained(length[3u], changes.retained_2, 3u, &retained);
        add_retained(length[4u], changes.retained_2, 4u, &retained);
        add_retained(length[5u], changes.retained_2, 5u, &retained);
        add_retained(length[6u], changes.retained_2, 6u, &retained);
        add_retained(length[7u], changes.retained_2, 7u, &retained);
        (*lane).update_retained_sum_2 += dot(retained.sum, vec4<f32>(1.0));
        (*lane).update_retained_sum_2_big += dot(retained.sum_big, vec4<f32>(1.0));
        (*lane).update_retained_max_2 = max((*lane).update_retained_max_2, max4(retained.max));
    }

    var largest_previous = NONE;
    largest_previous = max(largest_previous, magnitude_bits(previous[0u]));
    largest_previous = max(largest_previous, magnitude_bits(previous[1u]));
    largest_previous = max(largest_previous, magnitude_bits(previous[2u]));
    largest_previous = max(largest_previous, magnitude_bits(previous[3u]));
    largest_previous = max(largest_previous, magnitude_bits(previous[4u]));
    largest_previous = max(largest_previous, magnitude_bits(previous[5u]));
    largest_previous = max(largest_previous, magnitude_bits(previous[6u]));
    largest_previous = max(largest_previous, magnitude_bits(previous[7u]));
    if !in_range(max_length) || !in_range(max4(largest_previous)) {
        return false;
    }
    let sums = fast_sums(length);
    (*lane).update_l1_norm += sums.l1;
    (*lane).update_l2_norm_sq += sums.l2;
    (*lane).update_param_l2_norm_sq += fast_sums(previous).l2;
    return true;
}

fn add_updates_carefully(
    param: array<vec4<u32>, LOAD_COUNT>,
    previous: array<vec4<u32>, LOAD_COUNT>,
    lane: ptr<function, Lane>,
) {
    var unused = Update();
    var sums = Sums();
    var previous_sums = Sums();
    careful_sum(update_length(param[0u], previous[0u], &unused), &sums);
    careful_sum(previous[0u], &previous_sums);
    careful_sum(update_length(param[1u], previous[1u], &unused), &sums);
    careful_sum(previous[1u], &previous_sums);
    careful_sum(update_length(param[2u], previous[2u], &unused), &sums);
    careful_sum(previous[2u], &previous_sums);
    careful_sum(update_length(param[3u], previous[3u], &unused), &sums);
    careful_sum(previous[3u], &previous_sums);
    careful_sum(update_length(param[4u], previous[4u], &unused), &sums);
    careful_sum(previous[4u], &previous_sums);
    careful_sum(update_length(param[5u], previous[5u], &unused), &sums);
    careful_sum(previous[5u], &previous_sums);
    careful_sum(update_length(param[6u], previous[6u], &unused), &sums);
    careful_sum(previous[6u], &previous_sums);
    careful_sum(update_length(param[7u], previous[7u], &unused), &sums);
    careful_sum(previous[7u], &previous_sums);
    (*lane).update_l1_norm += sums.l1;
    (*lane).update_l1_norm_big += sums.l1_big;
    (*lane).update_l2_norm_sq += sums.l2;
    (*lane).update_l2_norm_sq_small += sums.l2_small;
    (*lane).update_l2_norm_sq_big += sums.l2_big;
    (*lane).update_param_l2_norm_sq += previous_sums.l2;
    (*lane).update_param_l2_norm_sq_small += previous_sums.l2_small;
    (*lane).update_param_l2_norm_sq_big += previous_sums.l2_big;
}

// Magnitudes of the updates: 0 where an end is not finite, or the update is not a normal number.
fn update_length(param: vec4<u32>, previous: vec4<u32>, update: ptr<function, Update>) -> vec4<u32> {
    let magnitude = magnitude_bits(param);
    let previous_magnitude = magnitude_bits(previous);
    let finite = max(magnitude, previous_magnitude) < vec4<u32>(INFINITY);
    let normal = select(NONE, param, finite & (magnitude >= vec4<u32>(MIN_NORMAL)));
    let previous_normal = select(NONE, previous, finite & (previous_magnitude >= vec4<u32>(MIN_NORMAL)));
    let length = magnitude_bits(bitcast<vec4<u32>>(bitcast<vec4<f32>>(normal) - bitcast<vec4<f32>>(previous_normal)));
    let counted = finite & (length < vec4<u32>(INFINITY));
    (*update).nonfinite += select(ONES, NONE, counted);
    (*update).unchanged += select(NONE, ONES, param == previous);
    (*update).lost = push_signs((*update).lost, select(vec4<u32>(SIGN_BIT), NONE, finite));
    // Both zeros have one key.
    let key = order_keys(select(param, NONE, magnitude == NONE));
    let previous_key = order_keys(select(previous, NONE, previous_magnitude == NONE));
    (*update).risen = push_signs((*update).risen, select(NONE, vec4<u32>(SIGN_BIT), finite & (key > previous_key)));
    (*update).fallen = push_signs((*update).fallen, select(NONE, vec4<u32>(SIGN_BIT), finite & (key < previous_key)));
    return select(NONE, length, counted & (length >= vec4<u32>(MIN_NORMAL)));
}

// Magnitudes of the updates of retained elements.
struct Retained {
    sum: vec4<f32>,
    sum_big: vec4<f32>,
    max: vec4<u32>,
}

fn add_retained(length: vec4<u32>, plane: u32, vector: u32, retained: ptr<function, Retained>) {
    let bits = (vec4<u32>(plane) >> (vec4<u32>(31u, 30u, 29u, 28u) - vec4<u32>(4u * vector))) & ONES;
    let kept = select(NONE, length, bits != NONE);
    let big = kept > vec4<u32>(RANGE_MAX);
    (*retained).sum += bitcast<vec4<f32>>(select(kept, NONE, big));
    (*retained).sum_big += bitcast<vec4<f32>>(select(NONE, kept - vec4<u32>(SCALE), big));
    (*retained).max = max((*retained).max, kept);
}

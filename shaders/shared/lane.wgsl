// The summary of the elements one invocation has seen: `Partial` of src/stats.rs in registers.
//
// f32 has no range for squares, so sums are kept apart by the magnitude of their terms: `big` terms lie
// above 2^RANGE_LOG2 and are scaled down by 2^SCALE_LOG2, `small` ones lie under 2^-RANGE_LOG2 and are
// scaled up. Up to 2^32 terms neither overflow nor flush. The host adds the parts in f64.
struct Lane {
    sentinel: u32,
    min_key: u32,
    max_key: u32,
    l1: f32,
    l1_big: f32,
    l2: f32,
    l2_small: f32,
    l2_big: f32,
    near_zero_0: u32,
    near_zero_1: u32,
    positive: u32,
    negative: u32,
    flips: u32,
    pairs: u32,
    nan: u32,
    pos_inf: u32,
    neg_inf: u32,
}

fn lane_identity() -> Lane {
    var lane = Lane();
    lane.min_key = 0xffffffffu;
    return lane;
}

fn combine(a: Lane, b: Lane) -> Lane {
    return Lane(
        a.sentinel + b.sentinel,
        min(a.min_key, b.min_key),
        max(a.max_key, b.max_key),
        a.l1 + b.l1,
        a.l1_big + b.l1_big,
        a.l2 + b.l2,
        a.l2_small + b.l2_small,
        a.l2_big + b.l2_big,
        a.near_zero_0 + b.near_zero_0,
        a.near_zero_1 + b.near_zero_1,
        a.positive + b.positive,
        a.negative + b.negative,
        a.flips + b.flips,
        a.pairs + b.pairs,
        a.nan + b.nan,
        a.pos_inf + b.pos_inf,
        a.neg_inf + b.neg_inf,
    );
}

fn combine_word(word: u32, a: u32, b: u32) -> u32 {
    if word == MIN_KEY {
        return min(a, b);
    }
    if word == MAX_KEY {
        return max(a, b);
    }
    if word >= L1 && word <= L2_BIG {
        return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
    }
    return a + b;
}

// Word-major, half a workgroup wide: the upper half folds into the lower one before anything is shared.
const SHARED_LEN = WORKGROUP_LEN / 2u;
var<workgroup> shared_words: array<u32, RECORD_LEN * SHARED_LEN>;

fn publish(lane: Lane, at: u32) {
    shared_words[SENTINEL * SHARED_LEN + at] = lane.sentinel;
    shared_words[MIN_KEY * SHARED_LEN + at] = lane.min_key;
    shared_words[MAX_KEY * SHARED_LEN + at] = lane.max_key;
    shared_words[L1 * SHARED_LEN + at] = bitcast<u32>(lane.l1);
    shared_words[L1_BIG * SHARED_LEN + at] = bitcast<u32>(lane.l1_big);
    shared_words[L2 * SHARED_LEN + at] = bitcast<u32>(lane.l2);
    shared_words[L2_SMALL * SHARED_LEN + at] = bitcast<u32>(lane.l2_small);
    shared_words[L2_BIG * SHARED_LEN + at] = bitcast<u32>(lane.l2_big);
    shared_words[NEAR_ZERO_0 * SHARED_LEN + at] = lane.near_zero_0;
    shared_words[NEAR_ZERO_1 * SHARED_LEN + at] = lane.near_zero_1;
    shared_words[POSITIVE * SHARED_LEN + at] = lane.positive;
    shared_words[NEGATIVE * SHARED_LEN + at] = lane.negative;
    shared_words[FLIPS * SHARED_LEN + at] = lane.flips;
    shared_words[PAIRS * SHARED_LEN + at] = lane.pairs;
    shared_words[NAN * SHARED_LEN + at] = lane.nan;
    shared_words[POS_INF * SHARED_LEN + at] = lane.pos_inf;
    shared_words[NEG_INF * SHARED_LEN + at] = lane.neg_inf;
}

fn published(at: u32) -> Lane {
    return Lane(
        shared_words[SENTINEL * SHARED_LEN + at],
        shared_words[MIN_KEY * SHARED_LEN + at],
        shared_words[MAX_KEY * SHARED_LEN + at],
        bitcast<f32>(shared_words[L1 * SHARED_LEN + at]),
        bitcast<f32>(shared_words[L1_BIG * SHARED_LEN + at]),
        bitcast<f32>(shared_words[L2 * SHARED_LEN + at]),
        bitcast<f32>(shared_words[L2_SMALL * SHARED_LEN + at]),
        bitcast<f32>(shared_words[L2_BIG * SHARED_LEN + at]),
        shared_words[NEAR_ZERO_0 * SHARED_LEN + at],
        shared_words[NEAR_ZERO_1 * SHARED_LEN + at],
        shared_words[POSITIVE * SHARED_LEN + at],
        shared_words[NEGATIVE * SHARED_LEN + at],
        shared_words[FLIPS * SHARED_LEN + at],
        shared_words[PAIRS * SHARED_LEN + at],
        shared_words[NAN * SHARED_LEN + at],
        shared_words[POS_INF * SHARED_LEN + at],
        shared_words[NEG_INF * SHARED_LEN + at],
    );
}

// Folds every invocation's lane. The result of word `w` is returned to invocation `w * SEGMENTS`, for
// `w` below RECORD_LEN; what the others get means nothing. Call it in uniform control flow, once.
//
// After the first fold, invocation (word, segment) owns the entries `segment + i * SEGMENTS` of its word,
// so that neighbours read neighbouring addresses.
const SEGMENTS = 8u;

fn reduce_workgroup(lane: Lane, invocation: u32) -> u32 {
    if invocation >= SHARED_LEN {
        publish(lane, invocation - SHARED_LEN);
    }
    workgroupBarrier();
    if invocation < SHARED_LEN {
        publish(combine(lane, published(invocation)), invocation);
    }
    workgroupBarrier();

    let word = invocation / SEGMENTS;
    let segment = invocation % SEGMENTS;
    let used = word < RECORD_LEN;
    let base = word * SHARED_LEN + segment;
    var total = 0u;
    if used {
        total = fold_strided(word, base, SEGMENTS, SHARED_LEN / SEGMENTS);
    }
    workgroupBarrier();
    if used {
        shared_words[base] = total;
    }
    workgroupBarrier();
    if used && segment == 0u {
        total = fold_strided(word, base, 1u, SEGMENTS);
    }
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

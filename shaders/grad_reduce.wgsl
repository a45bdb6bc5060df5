// Reduces gradients where they lie, and with them the parameters and their moves: one workgroup folds one chunk into
// one record, and leaves two to four bits an element behind for the next step to compare with.
//
// Elements are bound as words and classified as integers: an implementation may assume that NaN and
// infinities do not occur in floats. Floats are formed for the sums alone, of finite elements.
//
// Lines between `//#if` and `//#end` are part of the shader where the scope asked for what they name;
// a line after `//#each` stands for itself with each of the vectors that an invocation loads.

//#if state
// Per invocation and tile: bit k belongs to the k-th element the invocation classifies, from the top.
struct Planes {
    //#if dynamics
    // Sign, and the magnitude's class: 0 zero, 1 tiny, 2 small, 3 large. A negative zero stands for the non-finite.
    negative: u32,
    high: u32,
    low: u32,
    //#end
    //#if seed
    // Flips among the retained at the larger epsilon.
    flipped: u32,
    //#end
    //#if !dynamics
    // Finite and non-zero.
    signed: u32,
    negative: u32,
    //#end
}
//#end

@group(0) @binding(3) var<storage, read_write> records: array<u32>;
//#if state
@group(0) @binding(4) var<storage, read_write> state: array<Planes>;
//#end
//#if cosine
// Eight vectors for each `Planes`: the gradients of the step before.
@group(0) @binding(5) var<storage, read_write> past: array<vec4<u32>>;
//#end

// What is gathered of a tile while its elements are classified. Planes hold one bit an element.
struct Classes {
    // Finite and non-zero.
    signed: u32,
    negative: u32,
    nonfinite: u32,
    min_word: u32,
    max_word: u32,
    max_signed: i32,
    //#if dynamics
    // NaN included.
    above_0: u32,
    above_1: u32,
    abs_min_rank: u32,
    //#end
    //#if !dynamics
    // Not near zero, NaN included, counted by component over all tiles.
    above_0: vec4<u32>,
    above_1: vec4<u32>,
    //#end
}

// What the move of the parameter is held against: flips and the sign of the gradient, and the retained.
struct Turns {
    compared: bool,
    flips: u32,
    negative: u32,
    retained_0: u32,
    retained_1: u32,
    seed_flips: u32,
    seed_negative: u32,
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
    if span.flags == 0u {
        return;
    }
    let first = chunk.start / 4u + invocation;
    let last = (chunk.start + chunk.len - 1u) / 4u;
    let tile_count = (chunk.len + TILE_LEN - 1u) / TILE_LEN;

    var lane = lane_identity();
    var classes = Classes();
    // Tiles, by bits.
    var careful = 0u;
    //#if dynamics
    var subnormal = 0u;
    var moments = Moments();
    //#end
    //#if params
    var careful_weights = 0u;
    var weight_moments = Moments();
    //#end
    //#if updates
    var careful_moves = 0u;
    //#end
    for (var tile = 0u; tile < tile_count; tile++) {
        let remaining = chunk.len - tile * TILE_LEN;
        let vector = first + tile * (TILE_LEN / 4u);
        var turns = Turns();
        if (span.flags & PRESENT) != 0u {
            let v = mask_tail(load_gradient(span.gradient_page, span.gradient_base + vector, span.gradient_base + last), remaining, invocation);
            classes.signed = 0u;
            classes.negative = 0u;
            classes.min_word = 0xffffffffu;
            classes.max_word = 0u;
            classes.max_signed = i32(SIGN_BIT);
            //#if dynamics
            classes.abs_min_rank = 0xffffffffu;
            //#end
            //#each
            classify(v[#], &classes);
            //#end

            let most = max_magnitude(classes.max_word, classes.max_signed);
            classes.nonfinite = 0u;
            if most >= INFINITY {
                //#each
                classes.nonfinite = push_signs(classes.nonfinite, (v[#] & vec4<u32>(MAGNITUDE)) + vec4<u32>(MIN_NORMAL));
                //#end
            }
            classes.signed &= ~classes.nonfinite;
            if in_range(most) {
                lane.min_key = min(lane.min_key, order_key(select(classes.min_word, classes.max_word, classes.max_word >= SIGN_BIT)));
                lane.max_key = max(lane.max_key, order_key(select(classes.min_word, u32(classes.max_signed), classes.max_signed >= 0)));
                let s = fast_sums(v);
                lane.l1 += s.l1;
                lane.l2 += s.l2;
                //#if dynamics
                lane.total += s.total;
                moments = merge(moments, fast_moments(v, s.total));
                //#end
            } else {
                careful |= 1u << tile;
            }
            lane.positive += countOneBits(classes.signed & ~classes.negative);
            lane.negative += countOneBits(classes.signed & classes.negative);
            //#if dynamics
            lane.abs_min_rank = min(lane.abs_min_rank, classes.abs_min_rank);
            if classes.abs_min_rank < MIN_NORMAL - 1u {
                subnormal |= 1u << tile;
            }
            lane.near_zero_0 += countOneBits(~(classes.above_0 | classes.nonfinite));
            lane.near_zero_1 += countOneBits(~(classes.above_1 | classes.nonfinite));
            //#end
            //#if tap
            //#each
            tails(v[#], span, &lane);
            //#end
            //#end

            //#if cosine
            let kept = chunk.extra * LOAD_COUNT + tile * (TILE_LEN / 4u) + invocation;
            if (span.flags & HAS_PREVIOUS) != 0u {
                turn_from(v, mask_tail(load_past(kept, remaining, invocation), remaining, invocation), &lane);
            }
            if (span.flags & KEEPS) != 0u {
                //#each
                if (invocation + #u * WORKGROUP_LEN) * 4u < remaining {
                    past[kept + #u * WORKGROUP_LEN] = v[#];
                }
                //#end
            }
            //#end

            //#if state
            // An invocation past the tail has no state of its own.
            if invocation * 4u < remaining {
                let at = chunk.extra + tile * WORKGROUP_LEN + invocation;
                var now = planes(classes);
                if (span.flags & HAS_PREVIOUS) != 0u {
                    turns = compare(state[at], now, &lane);
                }
                //#if seed
                now.flipped = turns.flips & turns.retained_1;
                //#end
                if (span.flags & KEEPS) != 0u {
                    state[at] = now;
                }
            }
            //#end
        }

        //#if params
        if (span.flags & WEIGHED) != 0u {
            let w = mask_tail(load_weight(span.weight_page, span.weight_base + vector, span.weight_base + last), remaining, invocation);
            if !weigh(w, &lane, &weight_moments) {
                careful_weights |= 1u << tile;
            }
            //#if updates
            if (span.flags & MOVED) != 0u {
                let b = mask_tail(load_before(span.before_page, span.before_base + vector, span.before_base + last), remaining, invocation);
                if !moved(w, b, turns, &lane) {
                    careful_moves |= 1u << tile;
                }
            }
            //#end
        }
        //#end
    }

    // What a fast sum has no range for is loaded once more: hardly anything, and software drivers run every branch of
    // a loop whether it is taken or not.
    //#if dynamics
    for (var rest = careful | subnormal; rest != 0u; rest &= rest - 1u) {
    //#end
    //#if !dynamics
    for (var rest = careful; rest != 0u; rest &= rest - 1u) {
    //#end
        let tile = firstTrailingBit(rest);
        let vector = first + tile * (TILE_LEN / 4u);
        let v = mask_tail(load_gradient(span.gradient_page, span.gradient_base + vector, span.gradient_base + last), chunk.len - tile * TILE_LEN, invocation);
        //#if dynamics
        //#each
        lane.subnormal += subnormals(v[#]);
        //#end
        if (careful & (1u << tile)) == 0u {
            continue;
        }
        //#end
        var s = Sums();
        var keys = vec2<u32>(0xffffffffu, 0u);
        var nonfinite = NonFinite();
        //#each
        careful_sum(v[#], &s);
        careful_keys(v[#], &keys);
        count_nonfinite(v[#], &nonfinite);
        //#end
        lane.min_key = min(lane.min_key, keys.x);
        lane.max_key = max(lane.max_key, keys.y);
        lane.l1 += s.l1;
        lane.l1_big += s.l1_big;
        lane.l2 += s.l2;
        lane.l2_small += s.l2_small;
        lane.l2_big += s.l2_big;
        lane.nan += dot(nonfinite.nan, ONES);
        lane.pos_inf += dot(nonfinite.pos_inf, ONES);
        lane.neg_inf += dot(nonfinite.neg_inf, ONES);
        //#if dynamics
        lane.total += s.total;
        lane.total_big += s.total_big;
        moments = merge(moments, careful_moments(v));
        // FILLER is a NaN, and lies past every other element.
        let start = span.start + (vector - invocation) * 4u;
        //#each
        first_nonfinite(v[#], start + 4u * (invocation + #u * WORKGROUP_LEN), span, &lane);
        //#end
        //#end
    }
    //#if params
    for (; careful_weights != 0u; careful_weights &= careful_weights - 1u) {
        let tile = firstTrailingBit(careful_weights);
        let vector = first + tile * (TILE_LEN / 4u);
        let w = mask_tail(load_weight(span.weight_page, span.weight_base + vector, span.weight_base + last), chunk.len - tile * TILE_LEN, invocation);
        weigh_carefully(w, &lane, &weight_moments);
    }
    //#end
    //#if updates
    for (; careful_moves != 0u; careful_moves &= careful_moves - 1u) {
        let tile = firstTrailingBit(careful_moves);
        let vector = first + tile * (TILE_LEN / 4u);
        let remaining = chunk.len - tile * TILE_LEN;
        let w = mask_tail(load_weight(span.weight_page, span.weight_base + vector, span.weight_base + last), remaining, invocation);
        let b = mask_tail(load_before(span.before_page, span.before_base + vector, span.before_base + last), remaining, invocation);
        sum_moves_carefully(w, b, &lane);
    }
    //#end

    let filler = tile_count * TILE_LEN - chunk.len;
    //#if !dynamics
    if (span.flags & PRESENT) != 0u {
        let seen = tile_count * (TILE_LEN / WORKGROUP_LEN);
        lane.near_zero_0 = seen - dot(classes.above_0, ONES);
        lane.near_zero_1 = seen - dot(classes.above_1, ONES);
    }
    //#end
    if invocation == 0u {
        lane.sentinel = chunk.len + dispatch.stamp;
        if (span.flags & PRESENT) != 0u {
            lane.nan -= filler;
        }
        //#if params
        if (span.flags & WEIGHED) != 0u {
            lane.weight_nonfinite -= filler;
        }
        //#end
        //#if updates
        if (span.flags & MOVED) != 0u {
            lane.unchanged -= filler;
            lane.move_nonfinite -= filler;
        }
        //#end
    }
    let record = chunk_index * RECORD_LEN;
    reduce_lanes(lane, record, invocation);
    //#if dynamics
    store_moments(reduce_moments(moments, invocation), record + MOMENTS, invocation);
    //#end
    //#if params
    store_moments(reduce_moments(weight_moments, invocation), record + WEIGHT_MOMENTS, invocation);
    //#end
}

fn store(at: u32, value: u32) {
    records[at] = value;
}

fn classify(v: vec4<u32>, classes: ptr<function, Classes>) {
    let a = v & vec4<u32>(MAGNITUDE);
    (*classes).negative = push_signs((*classes).negative, v);
    (*classes).signed = push_signs((*classes).signed, a + vec4<u32>(MAGNITUDE));
    //#if dynamics
    (*classes).above_0 = push_signs((*classes).above_0, a + vec4<u32>(dispatch.above_threshold.x));
    (*classes).above_1 = push_signs((*classes).above_1, a + vec4<u32>(dispatch.above_threshold.y));
    let rank = a - ONES;
    (*classes).abs_min_rank = min((*classes).abs_min_rank, min(min(rank.x, rank.y), min(rank.z, rank.w)));
    //#end
    //#if !dynamics
    (*classes).above_0 += (a + vec4<u32>(dispatch.above_threshold.x)) >> vec4<u32>(31u);
    (*classes).above_1 += (a + vec4<u32>(dispatch.above_threshold.y)) >> vec4<u32>(31u);
    //#end
    (*classes).min_word = min((*classes).min_word, min(min(v.x, v.y), min(v.z, v.w)));
    (*classes).max_word = max((*classes).max_word, max(max(v.x, v.y), max(v.z, v.w)));
    let s = vec4<i32>(v);
    (*classes).max_signed = max((*classes).max_signed, max(max(s.x, s.y), max(s.z, s.w)));
}

struct NonFinite {
    nan: vec4<u32>,
    pos_inf: vec4<u32>,
    neg_inf: vec4<u32>,
}

fn count_nonfinite(v: vec4<u32>, counts: ptr<function, NonFinite>) {
    (*counts).nan += select(NONE, ONES, (v & vec4<u32>(MAGNITUDE)) > vec4<u32>(INFINITY));
    (*counts).pos_inf += select(NONE, ONES, v == vec4<u32>(INFINITY));
    (*counts).neg_inf += select(NONE, ONES, v == vec4<u32>(INFINITY | SIGN_BIT));
}

//#if dynamics
fn first_nonfinite(v: vec4<u32>, at: u32, span: Span, lane: ptr<function, Lane>) {
    let a = v & vec4<u32>(MAGNITUDE);
    let index = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u);
    let m = index % vec4<u32>(span.block_len);
    let logical = (index - m) + (m % vec4<u32>(span.run_len)) * vec4<u32>(span.block_len / span.run_len) + m / vec4<u32>(span.run_len);
    let far = vec4<u32>(0xffffffffu);
    let nan = select(far, logical, a > vec4<u32>(INFINITY));
    let pos_inf = select(far, logical, v == vec4<u32>(INFINITY));
    let neg_inf = select(far, logical, v == vec4<u32>(INFINITY | SIGN_BIT));
    (*lane).first_nan = min((*lane).first_nan, min(min(nan.x, nan.y), min(nan.z, nan.w)));
    (*lane).first_pos_inf = min((*lane).first_pos_inf, min(min(pos_inf.x, pos_inf.y), min(pos_inf.z, pos_inf.w)));
    (*lane).first_neg_inf = min((*lane).first_neg_inf, min(min(neg_inf.x, neg_inf.y), min(neg_inf.z, neg_inf.w)));
}

fn subnormals(v: vec4<u32>) -> u32 {
    let rank = (v & vec4<u32>(MAGNITUDE)) - ONES;
    return dot(select(NONE, ONES, rank < vec4<u32>(MIN_NORMAL - 1u)), ONES);
}
//#end

//#if state
fn planes(classes: Classes) -> Planes {
    //#if !dynamics
    return Planes(classes.signed, classes.negative);
    //#end
    //#if dynamics
    var now = Planes();
    now.negative = (classes.negative & classes.signed) | classes.nonfinite;
    now.high = classes.above_0 & ~classes.nonfinite;
    now.low = classes.signed & (~classes.above_0 | classes.above_1);
    return now;
    //#end
}

// Counts what became of the elements since the state was left.
fn compare(before: Planes, now: Planes, lane: ptr<function, Lane>) -> Turns {
    var turns = Turns();
    turns.compared = true;
    turns.negative = now.negative;
    //#if !dynamics
    let pairs = before.signed & now.signed;
    //#end
    //#if dynamics
    let pairs = (before.high | before.low) & (now.high | now.low);
    //#end
    turns.flips = pairs & (before.negative ^ now.negative);
    (*lane).pairs += countOneBits(pairs);
    (*lane).flips += countOneBits(turns.flips);
    //#if dynamics
    let lost_before = before.negative & ~(before.high | before.low);
    let lost = now.negative & ~(now.high | now.low);
    (*lane).became_nonfinite += countOneBits(lost & ~lost_before);
    (*lane).recovered += countOneBits(lost_before & ~lost);
    {
        let near_before = ~(before.high | lost_before);
        let near = ~(now.high | lost);
        turns.retained_0 = near_before & near;
        (*lane).retained_0 += countOneBits(turns.retained_0);
        (*lane).released_0 += countOneBits(near_before & ~(near | lost));
        (*lane).captured_0 += countOneBits(near & ~(near_before | lost_before));
        (*lane).near_zero_to_nonfinite_0 += countOneBits(near_before & lost);
        (*lane).nonfinite_to_near_zero_0 += countOneBits(lost_before & near);
        (*lane).flip_in_retained_0 += countOneBits(turns.flips & turns.retained_0);
    }
    {
        let near_before = ~((before.high & before.low) | lost_before);
        let near = ~((now.high & now.low) | lost);
        turns.retained_1 = near_before & near;
        (*lane).retained_1 += countOneBits(turns.retained_1);
        (*lane).released_1 += countOneBits(near_before & ~(near | lost));
        (*lane).captured_1 += countOneBits(near & ~(near_before | lost_before));
        (*lane).near_zero_to_nonfinite_1 += countOneBits(near_before & lost);
        (*lane).nonfinite_to_near_zero_1 += countOneBits(lost_before & near);
        (*lane).flip_in_retained_1 += countOneBits(turns.flips & turns.retained_1);
    }
    //#end
    //#if seed
    turns.seed_flips = before.flipped;
    turns.seed_negative = before.negative;
    //#end
    return turns;
}
//#end

//#if params
// Tells whether the sums had room.
fn weigh(w: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>, moments: ptr<function, Moments>) -> bool {
    var max_word = 0u;
    var max_signed = i32(SIGN_BIT);
    var min_word = 0xffffffffu;
    var above = NONE;
    //#each
    extremes(w[#], &min_word, &max_word, &max_signed);
    above += ((w[#] & vec4<u32>(MAGNITUDE)) + vec4<u32>(dispatch.weight_above)) >> vec4<u32>(31u);
    //#end
    (*lane).weight_near_zero += TILE_LEN / WORKGROUP_LEN - dot(above, ONES);
    if !in_range(max_magnitude(max_word, max_signed)) {
        return false;
    }
    (*lane).weight_min_key = min((*lane).weight_min_key, order_key(select(min_word, max_word, max_word >= SIGN_BIT)));
    (*lane).weight_max_key = max((*lane).weight_max_key, order_key(select(min_word, u32(max_signed), max_signed >= 0)));
    let s = fast_sums(w);
    (*lane).weight_l1 += s.l1;
    (*lane).weight_l2 += s.l2;
    (*lane).weight_total += s.total;
    *moments = merge(*moments, fast_moments(w, s.total));
    return true;
}

fn weigh_carefully(w: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>, moments: ptr<function, Moments>) {
    var s = Sums();
    var keys = vec2<u32>(0xffffffffu, 0u);
    var nonfinite = NONE;
    //#each
    careful_sum(w[#], &s);
    careful_keys(w[#], &keys);
    nonfinite += select(NONE, ONES, (w[#] & vec4<u32>(MAGNITUDE)) >= vec4<u32>(INFINITY));
    //#end
    (*lane).weight_min_key = min((*lane).weight_min_key, keys.x);
    (*lane).weight_max_key = max((*lane).weight_max_key, keys.y);
    (*lane).weight_l1 += s.l1;
    (*lane).weight_l1_big += s.l1_big;
    (*lane).weight_l2 += s.l2;
    (*lane).weight_l2_small += s.l2_small;
    (*lane).weight_l2_big += s.l2_big;
    (*lane).weight_total += s.total;
    (*lane).weight_total_big += s.total_big;
    (*lane).weight_nonfinite += dot(nonfinite, ONES);
    *moments = merge(*moments, careful_moments(w));
}

fn extremes(v: vec4<u32>, min_word: ptr<function, u32>, max_word: ptr<function, u32>, max_signed: ptr<function, i32>) {
    *min_word = min(*min_word, min(min(v.x, v.y), min(v.z, v.w)));
    *max_word = max(*max_word, max(max(v.x, v.y), max(v.z, v.w)));
    let s = vec4<i32>(v);
    *max_signed = max(*max_signed, max(max(s.x, s.y), max(s.z, s.w)));
}
//#end

//#if updates
struct Move {
    // Planes: up, down, and between a non-finite weight and any other.
    risen: u32,
    fallen: u32,
    lost: u32,
    unchanged: vec4<u32>,
    nonfinite: vec4<u32>,
}

// Tells whether the sums had room.
fn moved(w: array<vec4<u32>, LOAD_COUNT>, b: array<vec4<u32>, LOAD_COUNT>, turns: Turns, lane: ptr<function, Lane>) -> bool {
    var m = Move();
    let u = array<vec4<u32>, LOAD_COUNT>(
        //#each
        step_of(w[#], b[#], &m),
        //#end
    );
    var largest = NONE;
    //#each
    largest = max(largest, u[#]);
    //#end
    let max_move = max(max(largest.x, largest.y), max(largest.z, largest.w));
    (*lane).move_max = max((*lane).move_max, max_move);
    (*lane).unchanged += dot(m.unchanged, ONES);
    (*lane).move_nonfinite += dot(m.nonfinite, ONES);
    if turns.compared {
        let minimum = (m.risen & ~turns.negative) | (m.fallen & turns.negative);
        let maximum = (m.risen & turns.negative) | (m.fallen & ~turns.negative);
        (*lane).crossed_minimum += countOneBits(turns.flips & minimum);
        (*lane).crossed_maximum += countOneBits(turns.flips & maximum);
        (*lane).flip_unmoved += countOneBits(turns.flips & ~(m.risen | m.fallen | m.lost));
        (*lane).flip_at_nonfinite += countOneBits(turns.flips & m.lost);
        let moves = m.risen | m.fallen;
        (*lane).retained_moved_0 += countOneBits(moves & turns.retained_0);
        (*lane).retained_moved_1 += countOneBits(moves & turns.retained_1);
        var kept = Kept();
        //#each
        of_retained(u[#], turns.retained_0, #u, &kept);
        //#end
        (*lane).retained_sum_0 += dot(kept.sum, vec4<f32>(1.0));
        (*lane).retained_sum_big_0 += dot(kept.sum_big, vec4<f32>(1.0));
        (*lane).retained_max_0 = max((*lane).retained_max_0, max(max(kept.most.x, kept.most.y), max(kept.most.z, kept.most.w)));
        kept = Kept();
        //#each
        of_retained(u[#], turns.retained_1, #u, &kept);
        //#end
        (*lane).retained_sum_1 += dot(kept.sum, vec4<f32>(1.0));
        (*lane).retained_sum_big_1 += dot(kept.sum_big, vec4<f32>(1.0));
        (*lane).retained_max_1 = max((*lane).retained_max_1, max(max(kept.most.x, kept.most.y), max(kept.most.z, kept.most.w)));
        //#if seed
        let seed_minimum = (m.risen & ~turns.seed_negative) | (m.fallen & turns.seed_negative);
        let seed_maximum = (m.risen & turns.seed_negative) | (m.fallen & ~turns.seed_negative);
        (*lane).seed_minimum += countOneBits(turns.seed_flips & seed_minimum);
        (*lane).seed_maximum += countOneBits(turns.seed_flips & seed_maximum);
        //#end
    }

    var most_before = NONE;
    //#each
    most_before = max(most_before, b[#] & vec4<u32>(MAGNITUDE));
    //#end
    if !in_range(max_move) || !in_range(max(max(most_before.x, most_before.y), max(most_before.z, most_before.w))) {
        return false;
    }
    let s = fast_sums(u);
    (*lane).move_l1 += s.l1;
    (*lane).move_l2 += s.l2;
    (*lane).before_l2 += fast_sums(b).l2;
    return true;
}

fn sum_moves_carefully(w: array<vec4<u32>, LOAD_COUNT>, b: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>) {
    var unused = Move();
    var s = Sums();
    var before = Sums();
    //#each
    careful_sum(step_of(w[#], b[#], &unused), &s);
    careful_sum(b[#], &before);
    //#end
    (*lane).move_l1 += s.l1;
    (*lane).move_l1_big += s.l1_big;
    (*lane).move_l2 += s.l2;
    (*lane).move_l2_small += s.l2_small;
    (*lane).move_l2_big += s.l2_big;
    (*lane).before_l2 += before.l2;
    (*lane).before_l2_small += before.l2_small;
    (*lane).before_l2_big += before.l2_big;
}

// Magnitudes of the moves: 0 where an end is non-finite, or the move is not a normal number.
fn step_of(w: vec4<u32>, b: vec4<u32>, m: ptr<function, Move>) -> vec4<u32> {
    let magnitude = vec4<u32>(MAGNITUDE);
    let aw = w & magnitude;
    let ab = b & magnitude;
    let finite = max(aw, ab) < vec4<u32>(INFINITY);
    let xw = select(NONE, w, finite & (aw >= vec4<u32>(MIN_NORMAL)));
    let xb = select(NONE, b, finite & (ab >= vec4<u32>(MIN_NORMAL)));
    let u = bitcast<vec4<u32>>(bitcast<vec4<f32>>(xw) - bitcast<vec4<f32>>(xb)) & magnitude;
    let counted = finite & (u < vec4<u32>(INFINITY));
    (*m).nonfinite += select(ONES, NONE, counted);
    (*m).unchanged += select(NONE, ONES, w == b);
    (*m).lost = push_signs((*m).lost, select(vec4<u32>(SIGN_BIT), NONE, finite));
    // Both zeros as the same key.
    let kw = order_keys(select(w, NONE, aw == NONE));
    let kb = order_keys(select(b, NONE, ab == NONE));
    (*m).risen = push_signs((*m).risen, select(NONE, vec4<u32>(SIGN_BIT), finite & (kw > kb)));
    (*m).fallen = push_signs((*m).fallen, select(NONE, vec4<u32>(SIGN_BIT), finite & (kw < kb)));
    return select(NONE, u, counted & (u >= vec4<u32>(MIN_NORMAL)));
}

// Magnitudes of the retained's moves.
struct Kept {
    sum: vec4<f32>,
    sum_big: vec4<f32>,
    most: vec4<u32>,
}

fn of_retained(u: vec4<u32>, plane: u32, place: u32, kept: ptr<function, Kept>) {
    let bits = (vec4<u32>(plane) >> (vec4<u32>(31u, 30u, 29u, 28u) - vec4<u32>(4u * place))) & ONES;
    let length = select(NONE, u, bits != NONE);
    let big = length > vec4<u32>(RANGE_MAX);
    (*kept).sum += bitcast<vec4<f32>>(select(length, NONE, big));
    (*kept).sum_big += bitcast<vec4<f32>>(select(NONE, length - vec4<u32>(SCALE), big));
    (*kept).most = max((*kept).most, length);
}
//#end

//#if cosine
fn load_past(at: u32, remaining: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    // Past the tail there is no memory of this chunk's: the first vector stands for any.
    return array<vec4<u32>, LOAD_COUNT>(
        //#each
        past[select(0u, at + #u * WORKGROUP_LEN, (invocation + #u * WORKGROUP_LEN) * 4u < remaining)],
        //#end
    );
}

// The inner product with the gradients before, and their sum of squares. Both sides are brought to magnitudes below 2 by
// their exponents, so that products have room; the sum is kept by the magnitude it stands for, in units of 2^(2 * 85).
fn turn_from(v: array<vec4<u32>, LOAD_COUNT>, p: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>) {
    var s = Sums();
    var most_v = NONE;
    var most_p = NONE;
    //#each
    careful_sum(p[#], &s);
    most_v = max(most_v, finite_magnitude(v[#]));
    most_p = max(most_p, finite_magnitude(p[#]));
    //#end
    (*lane).past_l2 += s.l2;
    (*lane).past_l2_small += s.l2_small;
    (*lane).past_l2_big += s.l2_big;
    let exponent_v = max(max(most_v.x, most_v.y), max(most_v.z, most_v.w)) >> 23u;
    let exponent_p = max(max(most_p.x, most_p.y), max(most_p.z, most_p.w)) >> 23u;
    var products = vec4<f32>(0.0);
    //#each
    products += brought_to_one(v[#], exponent_v) * brought_to_one(p[#], exponent_p);
    //#end
    let product = (products.x + products.y) + (products.z + products.w);
    let exponent = i32(exponent_v) + i32(exponent_p) - 254;
    if exponent < -SCALE_LOG2 {
        (*lane).dot_small += product * power_of_two(exponent + 2 * SCALE_LOG2);
    } else if exponent > SCALE_LOG2 {
        (*lane).dot_big += product * power_of_two(exponent - 2 * SCALE_LOG2);
    } else {
        (*lane).dot += product * power_of_two(exponent);
    }
}

const SCALE_LOG2 = i32(SCALE >> 23u);

fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(exponent + 127) << 23u);
}

// The normal elements over the power of two that is `exponent`'s, which none of them is above.
fn brought_to_one(v: vec4<u32>, exponent: u32) -> vec4<f32> {
    let a = v & vec4<u32>(MAGNITUDE);
    let kept = (a < vec4<u32>(INFINITY)) & (a >= vec4<u32>(MIN_NORMAL)) & ((a >> vec4<u32>(23u)) + vec4<u32>(127u) > vec4<u32>(exponent));
    return bitcast<vec4<f32>>(select(NONE, v + vec4<u32>((127u - exponent) << 23u), kept));
}
//#end

//#if tap
fn tails(v: vec4<u32>, span: Span, lane: ptr<function, Lane>) {
    let finite = (v & vec4<u32>(MAGNITUDE)) < vec4<u32>(INFINITY);
    let key = order_keys(select(v, NONE, (v & vec4<u32>(MAGNITUDE)) == NONE));
    (*lane).tail_low += dot(select(NONE, ONES, finite & (key <= vec4<u32>(span.low_key))), ONES);
    (*lane).tail_high += dot(select(NONE, ONES, finite & (key >= vec4<u32>(span.high_key))), ONES);
}
//#end

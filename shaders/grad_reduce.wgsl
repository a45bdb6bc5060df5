// Reduces gradients where they lie, and with them the parameters and their moves: one workgroup folds one chunk into
// one record, and leaves two to four bits an element behind for the next step to compare with.
//
// Elements are bound as words and classified as integers: an implementation may assume that NaN and
// infinities do not occur in floats. Floats are formed for the sums alone, of finite elements.
//
// Lines between `//#if` and `//#end` are part of the shader where the scope asked for what they name; those between
// `//#each` and `//#end` stand for themselves with each of the vectors that an invocation loads. What they call stands
// in the folder of this file's name.

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
    above_1: u32,
    above_2: u32,
    abs_min_rank: u32,
    //#end
    //#if !dynamics
    // Not near zero, NaN included, counted by component over all tiles.
    above_1: vec4<u32>,
    above_2: vec4<u32>,
    //#end
}

// What the move of the parameter is held against: flips and the sign of the gradient, and the retained.
struct Turns {
    compared: bool,
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
                lane.l1_norm += s.l1;
                lane.l2_norm_sq += s.l2;
                //#if dynamics
                lane.sum += s.total;
                moments = merge(moments, fast_moments(v, s.total, most));
                //#end
            } else {
                careful |= 1u << tile;
            }
            lane.positive_count += countOneBits(classes.signed & ~classes.negative);
            lane.negative_count += countOneBits(classes.signed & classes.negative);
            //#if dynamics
            lane.abs_min_rank = min(lane.abs_min_rank, classes.abs_min_rank);
            if classes.abs_min_rank < MIN_NORMAL - 1u {
                subnormal |= 1u << tile;
            }
            lane.near_zero_count_1 += countOneBits(~(classes.above_1 | classes.nonfinite));
            lane.near_zero_count_2 += countOneBits(~(classes.above_2 | classes.nonfinite));
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
                let now = planes(classes);
                if (span.flags & HAS_PREVIOUS) != 0u {
                    turns = compare(state[at], now, &lane);
                }
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
        lane.subnormal_count += subnormals(v[#]);
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
        lane.l1_norm += s.l1;
        lane.l1_norm_big += s.l1_big;
        lane.l2_norm_sq += s.l2;
        lane.l2_norm_sq_small += s.l2_small;
        lane.l2_norm_sq_big += s.l2_big;
        lane.nan_count += dot(nonfinite.nan, ONES);
        lane.pos_inf_count += dot(nonfinite.pos_inf, ONES);
        lane.neg_inf_count += dot(nonfinite.neg_inf, ONES);
        //#if dynamics
        lane.sum += s.total;
        lane.sum_big += s.total_big;
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
        lane.near_zero_count_1 = seen - dot(classes.above_1, ONES);
        lane.near_zero_count_2 = seen - dot(classes.above_2, ONES);
    }
    //#end
    if invocation == 0u {
        lane.sentinel = chunk.len + dispatch.stamp;
        if (span.flags & PRESENT) != 0u {
            lane.nan_count -= filler;
        }
        //#if params
        if (span.flags & WEIGHED) != 0u {
            lane.param_nonfinite_count -= filler;
        }
        //#end
        //#if updates
        if (span.flags & MOVED) != 0u {
            lane.update_unchanged_count -= filler;
            lane.update_nonfinite_count -= filler;
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
    (*classes).above_1 = push_signs((*classes).above_1, a + vec4<u32>(dispatch.above_threshold.x));
    (*classes).above_2 = push_signs((*classes).above_2, a + vec4<u32>(dispatch.above_threshold.y));
    let rank = a - ONES;
    (*classes).abs_min_rank = min((*classes).abs_min_rank, min(min(rank.x, rank.y), min(rank.z, rank.w)));
    //#end
    //#if !dynamics
    (*classes).above_1 += (a + vec4<u32>(dispatch.above_threshold.x)) >> vec4<u32>(31u);
    (*classes).above_2 += (a + vec4<u32>(dispatch.above_threshold.y)) >> vec4<u32>(31u);
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

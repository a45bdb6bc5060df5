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
//#if state
@group(0) @binding(4) var<storage, read_write> state: array<Planes>;
//#end
//#if cosine
// Eight vectors for each `Planes`: the gradients of the previous step.
@group(0) @binding(5) var<storage, read_write> kept_gradients: array<vec4<u32>>;
//#end

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
    //#if dynamics
    // Planes: above the smaller and the larger epsilon, NaN included.
    above_1: u32,
    above_2: u32,
    abs_min_rank: u32,
    //#else
    // Elements above an epsilon, NaN included, counted by component over all tiles.
    above_1: vec4<u32>,
    above_2: vec4<u32>,
    //#end
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
    //#if dynamics
    // Tiles that hold subnormals, by bits.
    var subnormal = 0u;
    var moments = Moments();
    //#end
    //#if params
    var careful_params = 0u;
    var param_moments = Moments();
    //#end
    //#if updates
    var careful_updates = 0u;
    //#end
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
            //#if dynamics
            classes.abs_min_rank = 0xffffffffu;
            //#end
            //#each
            classify(gradient[EACH], &classes);
            //#end

            let largest = max_magnitude(classes.max_word, classes.max_signed);
            classes.nonfinite = 0u;
            if largest >= INFINITY {
                //#each
                classes.nonfinite = push_signs(classes.nonfinite, magnitude_bits(gradient[EACH]) + vec4<u32>(MIN_NORMAL));
                //#end
            }
            classes.signed &= ~classes.nonfinite;
            if in_range(largest) {
                lane.min_key = min(lane.min_key, order_key(select(classes.min_word, classes.max_word, classes.max_word >= SIGN_BIT)));
                lane.max_key = max(lane.max_key, order_key(select(classes.min_word, u32(classes.max_signed), classes.max_signed >= 0)));
                let sums = fast_sums(gradient);
                lane.l1_norm += sums.l1;
                lane.l2_norm_sq += sums.l2;
                //#if dynamics
                lane.sum += sums.total;
                moments = merge(moments, fast_moments(gradient, sums.total, largest));
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
            tails(gradient[EACH], span, &lane);
            //#end
            //#end

            //#if cosine
            let kept = chunk.extra * LOAD_COUNT + tile * (TILE_LEN / 4u) + invocation;
            if (span.flags & HAS_PREVIOUS) != 0u {
                cosine(gradient, mask_tail(load_kept(kept, remaining, invocation), remaining, invocation), &lane);
            }
            if (span.flags & KEEPS) != 0u {
                //#each
                if (invocation + EACH * WORKGROUP_LEN) * 4u < remaining {
                    kept_gradients[kept + EACH * WORKGROUP_LEN] = gradient[EACH];
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
                    changes = compare(state[at], now, &lane);
                }
                if (span.flags & KEEPS) != 0u {
                    state[at] = now;
                }
            }
            //#end
        }

        //#if params
        if (span.flags & HAS_PARAM) != 0u {
            let param = load_param_tile(work, tile, invocation);
            if !add_params(param, &lane, &param_moments) {
                careful_params |= 1u << tile;
            }
            //#if updates
            if (span.flags & HAS_UPDATE) != 0u {
                let previous = load_previous_param_tile(work, tile, invocation);
                if !add_updates(param, previous, changes, &lane) {
                    careful_updates |= 1u << tile;
                }
            }
            //#end
        }
        //#end
    }

    // The marked tiles.
    //#if dynamics
    for (var rest = careful | subnormal; rest != 0u; rest &= rest - 1u) {
    //#else
    for (var rest = careful; rest != 0u; rest &= rest - 1u) {
    //#end
        let tile = firstTrailingBit(rest);
        let gradient = load_gradient_tile(work, tile, invocation);
        //#if dynamics
        //#each
        lane.subnormal_count += subnormals(gradient[EACH]);
        //#end
        if (careful & (1u << tile)) == 0u {
            continue;
        }
        //#end
        var sums = Sums();
        var keys = vec2<u32>(0xffffffffu, 0u);
        var nonfinite = NonFinite();
        //#each
        careful_sum(gradient[EACH], &sums);
        careful_keys(gradient[EACH], &keys);
        count_nonfinite(gradient[EACH], &nonfinite);
        //#end
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
        //#if dynamics
        lane.sum += sums.total;
        lane.sum_big += sums.total_big;
        moments = merge(moments, careful_moments(gradient));
        // FILLER is a NaN, and lies past every other element.
        let start = span.start + chunk.start + tile * TILE_LEN;
        //#each
        first_nonfinite(gradient[EACH], start + 4u * (invocation + EACH * WORKGROUP_LEN), span, &lane);
        //#end
        //#end
    }
    //#if params
    for (; careful_params != 0u; careful_params &= careful_params - 1u) {
        let tile = firstTrailingBit(careful_params);
        add_params_carefully(load_param_tile(work, tile, invocation), &lane, &param_moments);
    }
    //#end
    //#if updates
    for (; careful_updates != 0u; careful_updates &= careful_updates - 1u) {
        let tile = firstTrailingBit(careful_updates);
        let param = load_param_tile(work, tile, invocation);
        add_updates_carefully(param, load_previous_param_tile(work, tile, invocation), &lane);
    }
    //#end

    // The padding.
    let padding_len = tile_count * TILE_LEN - chunk.len;
    //#if !dynamics
    if (span.flags & HAS_GRADIENT) != 0u {
        let seen_count = tile_count * (TILE_LEN / WORKGROUP_LEN);
        lane.near_zero_count_1 = seen_count - dot(classes.above_1, ONES);
        lane.near_zero_count_2 = seen_count - dot(classes.above_2, ONES);
    }
    //#end
    if invocation == 0u {
        lane.sentinel = chunk.len + dispatch.stamp;
        if (span.flags & HAS_GRADIENT) != 0u {
            lane.nan_count -= padding_len;
        }
        //#if params
        if (span.flags & HAS_PARAM) != 0u {
            lane.param_nonfinite_count -= padding_len;
        }
        //#end
        //#if updates
        if (span.flags & HAS_UPDATE) != 0u {
            lane.update_unchanged_count -= padding_len;
            lane.update_nonfinite_count -= padding_len;
        }
        //#end
    }
    let record = work.chunk_index * RECORD_LEN;
    reduce_lanes(lane, record, invocation);
    //#if dynamics
    store_moments(reduce_moments(moments, invocation), record + MOMENTS, invocation);
    //#end
    //#if params
    store_moments(reduce_moments(param_moments, invocation), record + PARAM_MOMENTS, invocation);
    //#end
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
    //#if dynamics
    (*classes).above_1 = push_signs((*classes).above_1, magnitude + vec4<u32>(dispatch.above_threshold.x));
    (*classes).above_2 = push_signs((*classes).above_2, magnitude + vec4<u32>(dispatch.above_threshold.y));
    (*classes).abs_min_rank = min((*classes).abs_min_rank, min4(magnitude - ONES));
    //#else
    (*classes).above_1 += (magnitude + vec4<u32>(dispatch.above_threshold.x)) >> vec4<u32>(31u);
    (*classes).above_2 += (magnitude + vec4<u32>(dispatch.above_threshold.y)) >> vec4<u32>(31u);
    //#end
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

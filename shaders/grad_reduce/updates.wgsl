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
        //#each
        update_length(param[EACH], previous[EACH], &update),
        //#end
    );
    var largest = NONE;
    //#each
    largest = max(largest, length[EACH]);
    //#end
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
        //#each
        add_retained(length[EACH], changes.retained_1, EACH, &retained);
        //#end
        (*lane).update_retained_sum_1 += dot(retained.sum, vec4<f32>(1.0));
        (*lane).update_retained_sum_1_big += dot(retained.sum_big, vec4<f32>(1.0));
        (*lane).update_retained_max_1 = max((*lane).update_retained_max_1, max4(retained.max));
        retained = Retained();
        //#each
        add_retained(length[EACH], changes.retained_2, EACH, &retained);
        //#end
        (*lane).update_retained_sum_2 += dot(retained.sum, vec4<f32>(1.0));
        (*lane).update_retained_sum_2_big += dot(retained.sum_big, vec4<f32>(1.0));
        (*lane).update_retained_max_2 = max((*lane).update_retained_max_2, max4(retained.max));
    }

    var largest_previous = NONE;
    //#each
    largest_previous = max(largest_previous, magnitude_bits(previous[EACH]));
    //#end
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
    //#each
    careful_sum(update_length(param[EACH], previous[EACH], &unused), &sums);
    careful_sum(previous[EACH], &previous_sums);
    //#end
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

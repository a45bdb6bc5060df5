// The parameter's last move, held against the gradients at its two ends.

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
    (*lane).update_abs_max = max((*lane).update_abs_max, max_move);
    (*lane).update_unchanged_count += dot(m.unchanged, ONES);
    (*lane).update_nonfinite_count += dot(m.nonfinite, ONES);
    if turns.compared {
        let minimum = (m.risen & ~turns.negative) | (m.fallen & turns.negative);
        let maximum = (m.risen & turns.negative) | (m.fallen & ~turns.negative);
        (*lane).update_minimum_count += countOneBits(turns.flips & minimum);
        (*lane).update_maximum_count += countOneBits(turns.flips & maximum);
        (*lane).update_flip_unmoved_count += countOneBits(turns.flips & ~(m.risen | m.fallen | m.lost));
        (*lane).update_flip_at_nonfinite_count += countOneBits(turns.flips & m.lost);
        let moves = m.risen | m.fallen;
        (*lane).update_retained_moved_count_1 += countOneBits(moves & turns.retained_1);
        (*lane).update_retained_moved_count_2 += countOneBits(moves & turns.retained_2);
        var kept = Kept();
        //#each
        of_retained(u[#], turns.retained_1, #u, &kept);
        //#end
        (*lane).update_retained_sum_1 += dot(kept.sum, vec4<f32>(1.0));
        (*lane).update_retained_sum_1_big += dot(kept.sum_big, vec4<f32>(1.0));
        (*lane).update_retained_max_1 = max((*lane).update_retained_max_1, max(max(kept.most.x, kept.most.y), max(kept.most.z, kept.most.w)));
        kept = Kept();
        //#each
        of_retained(u[#], turns.retained_2, #u, &kept);
        //#end
        (*lane).update_retained_sum_2 += dot(kept.sum, vec4<f32>(1.0));
        (*lane).update_retained_sum_2_big += dot(kept.sum_big, vec4<f32>(1.0));
        (*lane).update_retained_max_2 = max((*lane).update_retained_max_2, max(max(kept.most.x, kept.most.y), max(kept.most.z, kept.most.w)));
    }

    var most_before = NONE;
    //#each
    most_before = max(most_before, b[#] & vec4<u32>(MAGNITUDE));
    //#end
    if !in_range(max_move) || !in_range(max(max(most_before.x, most_before.y), max(most_before.z, most_before.w))) {
        return false;
    }
    let s = fast_sums(u);
    (*lane).update_l1_norm += s.l1;
    (*lane).update_l2_norm_sq += s.l2;
    (*lane).update_weight_l2_norm_sq += fast_sums(b).l2;
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
    (*lane).update_l1_norm += s.l1;
    (*lane).update_l1_norm_big += s.l1_big;
    (*lane).update_l2_norm_sq += s.l2;
    (*lane).update_l2_norm_sq_small += s.l2_small;
    (*lane).update_l2_norm_sq_big += s.l2_big;
    (*lane).update_weight_l2_norm_sq += before.l2;
    (*lane).update_weight_l2_norm_sq_small += before.l2_small;
    (*lane).update_weight_l2_norm_sq_big += before.l2_big;
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

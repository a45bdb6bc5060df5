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
    //#each
    min_word = min(min_word, min4(param[EACH]));
    max_word = max(max_word, max4(param[EACH]));
    max_signed = max(max_signed, max4_signed(vec4<i32>(param[EACH])));
    above += (magnitude_bits(param[EACH]) + vec4<u32>(dispatch.param_above)) >> vec4<u32>(31u);
    //#end
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
    //#each
    careful_sum(param[EACH], &sums);
    careful_keys(param[EACH], &keys);
    nonfinite += select(ONES, NONE, is_finite(param[EACH]));
    //#end
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

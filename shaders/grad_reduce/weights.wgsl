// Statistics of the parameter itself.

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
    (*lane).param_near_zero_count += TILE_LEN / WORKGROUP_LEN - dot(above, ONES);
    let most = max_magnitude(max_word, max_signed);
    if !in_range(most) {
        return false;
    }
    (*lane).param_min_key = min((*lane).param_min_key, order_key(select(min_word, max_word, max_word >= SIGN_BIT)));
    (*lane).param_max_key = max((*lane).param_max_key, order_key(select(min_word, u32(max_signed), max_signed >= 0)));
    let s = fast_sums(w);
    (*lane).param_l1_norm += s.l1;
    (*lane).param_l2_norm_sq += s.l2;
    (*lane).param_sum += s.total;
    *moments = merge(*moments, fast_moments(w, s.total, most));
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
    (*lane).param_min_key = min((*lane).param_min_key, keys.x);
    (*lane).param_max_key = max((*lane).param_max_key, keys.y);
    (*lane).param_l1_norm += s.l1;
    (*lane).param_l1_norm_big += s.l1_big;
    (*lane).param_l2_norm_sq += s.l2;
    (*lane).param_l2_norm_sq_small += s.l2_small;
    (*lane).param_l2_norm_sq_big += s.l2_big;
    (*lane).param_sum += s.total;
    (*lane).param_sum_big += s.total_big;
    (*lane).param_nonfinite_count += dot(nonfinite, ONES);
    *moments = merge(*moments, careful_moments(w));
}

fn extremes(v: vec4<u32>, min_word: ptr<function, u32>, max_word: ptr<function, u32>, max_signed: ptr<function, i32>) {
    *min_word = min(*min_word, min(min(v.x, v.y), min(v.z, v.w)));
    *max_word = max(*max_word, max(max(v.x, v.y), max(v.z, v.w)));
    let s = vec4<i32>(v);
    *max_signed = max(*max_signed, max(max(s.x, s.y), max(s.z, s.w)));
}

// Rare elements of a gradient, looked at one by one: the first non-finite ones, and subnormals.

fn first_nonfinite(v: vec4<u32>, at: u32, span: Span, lane: ptr<function, Lane>) {
    let a = v & vec4<u32>(MAGNITUDE);
    let index = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u);
    let m = index % vec4<u32>(span.block_len);
    let logical = (index - m) + (m % vec4<u32>(span.run_len)) * vec4<u32>(span.block_len / span.run_len) + m / vec4<u32>(span.run_len);
    let far = vec4<u32>(0xffffffffu);
    let nan = select(far, logical, a > vec4<u32>(INFINITY));
    let pos_inf = select(far, logical, v == vec4<u32>(INFINITY));
    let neg_inf = select(far, logical, v == vec4<u32>(INFINITY | SIGN_BIT));
    (*lane).first_nonfinite_nan = min((*lane).first_nonfinite_nan, min(min(nan.x, nan.y), min(nan.z, nan.w)));
    (*lane).first_nonfinite_pos_inf = min((*lane).first_nonfinite_pos_inf, min(min(pos_inf.x, pos_inf.y), min(pos_inf.z, pos_inf.w)));
    (*lane).first_nonfinite_neg_inf = min((*lane).first_nonfinite_neg_inf, min(min(neg_inf.x, neg_inf.y), min(neg_inf.z, neg_inf.w)));
}

fn subnormals(v: vec4<u32>) -> u32 {
    let rank = (v & vec4<u32>(MAGNITUDE)) - ONES;
    return dot(select(NONE, ONES, rank < vec4<u32>(MIN_NORMAL - 1u)), ONES);
}

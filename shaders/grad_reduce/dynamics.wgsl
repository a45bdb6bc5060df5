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

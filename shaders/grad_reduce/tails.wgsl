// Elements of a tap at or past its bounds.

fn tails(tap: vec4<u32>, span: Span, lane: ptr<function, Lane>) {
    let finite = is_finite(tap);
    // Both zeros have one key.
    let key = order_keys(select(tap, NONE, magnitude_bits(tap) == NONE));
    (*lane).tail_low_count += dot(select(NONE, ONES, finite & (key <= vec4<u32>(span.low_key))), ONES);
    (*lane).tail_high_count += dot(select(NONE, ONES, finite & (key >= vec4<u32>(span.high_key))), ONES);
}

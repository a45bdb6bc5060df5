// Elements at the rails of a tap.

fn tails(v: vec4<u32>, span: Span, lane: ptr<function, Lane>) {
    let finite = (v & vec4<u32>(MAGNITUDE)) < vec4<u32>(INFINITY);
    let key = order_keys(select(v, NONE, (v & vec4<u32>(MAGNITUDE)) == NONE));
    (*lane).tail_low_count += dot(select(NONE, ONES, finite & (key <= vec4<u32>(span.low_key))), ONES);
    (*lane).tail_high_count += dot(select(NONE, ONES, finite & (key >= vec4<u32>(span.high_key))), ONES);
}

// Moves exponential averages on, element by element: one workgroup a chunk. Averages are of elements divided by what
// they come multiplied by. A non-finite element leaves its average as it was; the first finite one starts it.

@group(0) @binding(3) var<storage, read_write> averages: array<vec4<u32>>;

@compute @workgroup_size(WORKGROUP_LEN)
fn average(
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
    let last = span.gradient_base + last_vector(work);
    let started = (span.flags & HAS_PREVIOUS) != 0u;
    for (var vector = invocation; vector * 4u < chunk.len; vector += LOAD_COUNT * WORKGROUP_LEN) {
        let loaded = load_gradient(span.gradient_page, span.gradient_base + chunk.start / 4u + vector, last);
        //#each
        if (vector + EACH * WORKGROUP_LEN) * 4u < chunk.len {
            let at = chunk.extra + vector + EACH * WORKGROUP_LEN;
            averages[at] = moved_on(averages[at], loaded[EACH], started, span.inverse_scale);
        }
        //#end
    }
}

// The averages once these elements have joined them.
fn moved_on(average: vec4<u32>, words: vec4<u32>, started: bool, inverse_scale: f32) -> vec4<u32> {
    let finite = is_finite(words);
    let has_average = vec4<bool>(started) & is_finite(average);
    let value = bitcast<vec4<f32>>(select(NONE, words, finite)) * inverse_scale;
    let previous = bitcast<vec4<f32>>(select(NONE, average, has_average));
    let mixed = previous * dispatch.average_factor + value * (1.0 - dispatch.average_factor);
    let next = bitcast<vec4<u32>>(select(value, mixed, has_average));
    return select(select(FILLER, average, has_average), next, finite);
}

// Moves exponential averages on, element by element: one workgroup a chunk. Averages are of elements divided by what
// they come multiplied by. A non-finite element leaves its average as it was; the first finite one starts it.

@group(0) @binding(3) var<storage, read_write> averages: array<vec4<u32>>;

@compute @workgroup_size(WORKGROUP_LEN)
fn average(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let chunk_index = dispatch.first_chunk + workgroup.y * grid.x + workgroup.x;
    if chunk_index >= dispatch.end_chunk {
        return;
    }
    let chunk = chunks[chunk_index];
    let span = spans[chunk.span];
    if span.flags == 0u {
        return;
    }
    let last = span.gradient_base + (chunk.start + chunk.len - 1u) / 4u;
    let started = (span.flags & HAS_PREVIOUS) != 0u;
    for (var vector = invocation; vector * 4u < chunk.len; vector += LOAD_COUNT * WORKGROUP_LEN) {
        let v = load_gradient(span.gradient_page, span.gradient_base + chunk.start / 4u + vector, last);
        //#each
        if (vector + #u * WORKGROUP_LEN) * 4u < chunk.len {
            let at = chunk.extra + vector + #u * WORKGROUP_LEN;
            averages[at] = moved_on(averages[at], v[#], started, span.inverse_scale);
        }
        //#end
    }
}

fn moved_on(average: vec4<u32>, v: vec4<u32>, started: bool, inverse_scale: f32) -> vec4<u32> {
    let finite = (v & vec4<u32>(MAGNITUDE)) < vec4<u32>(INFINITY);
    let has_average = vec4<bool>(started) & ((average & vec4<u32>(MAGNITUDE)) < vec4<u32>(INFINITY));
    let x = bitcast<vec4<f32>>(select(NONE, v, finite)) * inverse_scale;
    let before = bitcast<vec4<f32>>(select(NONE, average, has_average));
    let mixed = before * dispatch.average_factor + x * (1.0 - dispatch.average_factor);
    let next = bitcast<vec4<u32>>(select(x, mixed, has_average));
    return select(select(FILLER, average, has_average), next, finite);
}

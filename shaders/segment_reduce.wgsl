// Sums up stretches of tensors, for sign maps and channels: one workgroup folds the elements of one segment, which lie
// `extra` apart, into one record.

@group(0) @binding(3) var<storage, read_write> records: array<u32>;

const RUN_LEN = 16u;

@compute @workgroup_size(WORKGROUP_LEN)
fn segment_reduce(
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
    var lane = lane_identity();
    // Runs by themselves before they join the total, so that rounding grows with two short sums.
    for (var run = invocation; run < chunk.len; run += RUN_LEN * WORKGROUP_LEN) {
        var sums = Sums();
        for (var k = run; k < min(chunk.len, run + RUN_LEN * WORKGROUP_LEN); k += WORKGROUP_LEN) {
            let at = span.gradient_base * 4u + chunk.start + k * chunk.extra;
            let word = element_gradient(span.gradient_page, at);
            let magnitude = word & MAGNITUDE;
            careful_sum(vec4<u32>(word, 0u, 0u, 0u), &sums);
            let near = magnitude != 0u && magnitude + dispatch.above_threshold.y < SIGN_BIT;
            lane.near_negative += select(0u, 1u, near && word >= SIGN_BIT);
            lane.near_positive += select(0u, 1u, near && word < SIGN_BIT);
            lane.zero += select(0u, 1u, magnitude == 0u);
            lane.nonfinite += select(0u, 1u, magnitude >= INFINITY);
        }
        lane.l2 += sums.l2;
        lane.l2_small += sums.l2_small;
        lane.l2_big += sums.l2_big;
    }
    reduce_lanes(lane, work.chunk_index * RECORD_LEN, invocation);
}

fn store(at: u32, value: u32) {
    records[at] = value;
}

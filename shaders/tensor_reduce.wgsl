// Folds the chunk records of a tensor into one: what is read back for it, however large it is.
// One workgroup a tensor.

struct TensorChunks {
    first: u32,
    count: u32,
}

@group(0) @binding(0) var<storage, read> tensors: array<TensorChunks>;
@group(0) @binding(1) var<storage, read> records: array<u32>;
@group(0) @binding(2) var<storage, read_write> summaries: array<u32>;

// Chunks folded by themselves before they join the total, so that rounding grows with the length of two
// short sums rather than of one long one.
const RUN_LEN = 8u;

@compute @workgroup_size(WORKGROUP_LEN)
fn tensor_reduce(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let tensor = workgroup.y * grid.x + workgroup.x;
    if tensor >= arrayLength(&tensors) {
        return;
    }
    let first = tensors[tensor].first;
    let end = first + tensors[tensor].count;
    var total = lane_identity();
    for (var run = first + invocation; run < end; run += RUN_LEN * WORKGROUP_LEN) {
        var part = lane_identity();
        let run_end = min(end, run + RUN_LEN * WORKGROUP_LEN);
        for (var chunk = run; chunk < run_end; chunk += WORKGROUP_LEN) {
            part = combine(part, record(chunk));
        }
        total = combine(total, part);
    }
    let result = reduce_workgroup(total, invocation);
    if invocation % SEGMENTS == 0u && invocation / SEGMENTS < RECORD_LEN {
        summaries[tensor * RECORD_LEN + invocation / SEGMENTS] = result;
    }
}

fn record(chunk: u32) -> Lane {
    let at = chunk * RECORD_LEN;
    return Lane(
        records[at + SENTINEL],
        records[at + MIN_KEY],
        records[at + MAX_KEY],
        bitcast<f32>(records[at + L1]),
        bitcast<f32>(records[at + L1_BIG]),
        bitcast<f32>(records[at + L2]),
        bitcast<f32>(records[at + L2_SMALL]),
        bitcast<f32>(records[at + L2_BIG]),
        records[at + NEAR_ZERO_0],
        records[at + NEAR_ZERO_1],
        records[at + POSITIVE],
        records[at + NEGATIVE],
        records[at + FLIPS],
        records[at + PAIRS],
        records[at + NAN],
        records[at + POS_INF],
        records[at + NEG_INF],
    );
}

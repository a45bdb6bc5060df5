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
            part = combine(part, lane_of(chunk * RECORD_LEN));
        }
        total = combine(total, part);
    }
    let summary = tensor * RECORD_LEN;
    reduce_lanes(total, summary, invocation);

    //#each_moments
    {
        var moments = Moments();
        for (var chunk = first + invocation; chunk < end; chunk += WORKGROUP_LEN) {
            let at = chunk * RECORD_LEN + EACH;
            moments = merge(moments, unpacked(array<u32, MOMENTS_LEN>(
                //#each_word
                records[at + EACH],
                //#end
            )));
        }
        store_moments(reduce_moments(moments, invocation), summary + EACH, invocation);
    }
    //#end
}

fn store(at: u32, value: u32) {
    summaries[at] = value;
}

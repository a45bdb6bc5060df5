// Counts the elements of tensors by exponent, and between edges: one workgroup counts one chunk in shared memory and
// adds what it has to its tensor's counts. Counts are integers, so their order does not matter.

@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
// Keys of each tensor's edges, ascending.
@group(0) @binding(4) var<storage, read_write> edges: array<u32>;

var<workgroup> bins: array<atomic<u32>, HISTOGRAM_LEN>;
var<workgroup> edge_keys: array<u32, EDGE_COUNT>;

@compute @workgroup_size(WORKGROUP_LEN)
fn histogram(
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
    for (var bin = invocation; bin < HISTOGRAM_LEN; bin += WORKGROUP_LEN) {
        atomicStore(&bins[bin], 0u);
    }
    for (var edge = invocation; edge < EDGE_COUNT; edge += WORKGROUP_LEN) {
        edge_keys[edge] = edges[chunk.extra * EDGE_COUNT + edge];
    }
    workgroupBarrier();
    for (var element = invocation; element < chunk.len; element += WORKGROUP_LEN) {
        count(element_gradient(span.gradient_page, span.gradient_base * 4u + chunk.start + element));
    }
    workgroupBarrier();
    for (var bin = invocation; bin < HISTOGRAM_LEN; bin += WORKGROUP_LEN) {
        let found = atomicLoad(&bins[bin]);
        if found > 0u {
            atomicAdd(&counts[chunk.extra * HISTOGRAM_LEN + bin], found);
        }
    }
}

// Adds one element to the bins that it belongs to.
fn count(word: u32) {
    let magnitude = word & MAGNITUDE;
    atomicAdd(&bins[magnitude >> 23u], 1u);
    if magnitude >= INFINITY {
        return;
    }
    if magnitude == 0u {
        atomicAdd(&bins[ZERO_INDEX], 1u);
    }
    //#each_format
    {
        let bound = FORMATS[EACH];
        if magnitude != 0u && magnitude <= bound.x {
            atomicAdd(&bins[FLUSH_INDEX + EACH], 1u);
        }
        if magnitude >= bound.y {
            atomicAdd(&bins[OVERFLOW_INDEX + EACH], 1u);
        }
    }
    //#end
    // Both zeros as the same key.
    let key = select(order_key(word), SIGN_BIT, magnitude == 0u);
    // The first edge above the element.
    var low = 0u;
    var high = EDGE_COUNT;
    while low < high {
        let middle = (low + high) / 2u;
        if edge_keys[middle] <= key {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    var place = min(low, LINEAR_COUNT) - 1u;
    if low == 0u {
        place = LINEAR_COUNT;
    }
    if low == EDGE_COUNT && key > edge_keys[EDGE_COUNT - 1u] {
        place = LINEAR_COUNT + 1u;
    }
    atomicAdd(&bins[LINEAR_INDEX + place], 1u);
}

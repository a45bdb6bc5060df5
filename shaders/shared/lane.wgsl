// Folds the lanes of a workgroup. A `Lane`, written by src/reduce/gpu/text.rs from the words of a record, is the
// summary of the elements that one invocation has seen.
//
// f32 has no range for squares, so sums are kept apart by the magnitude of their terms: the exponents of `big` terms,
// above RANGE_MAX, are lowered by SCALE, those of `small` ones, under RANGE_MIN, are raised by it. Up to 2^32 terms
// neither overflow nor flush. The host adds the parts in f64.

// Word-major, half a workgroup wide: the upper half folds into the lower one before anything is shared.
const SHARED_LEN = WORKGROUP_LEN / 2u;
var<workgroup> shared_words: array<u32, BATCH_LEN * SHARED_LEN>;

fn combine_word(word: u32, a: u32, b: u32) -> u32 {
    if word < SUMS_END {
        return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
    }
    if word < MINS_END {
        return min(a, b);
    }
    if word < MAXES_END {
        return max(a, b);
    }
    return a + b;
}

// Folds a published batch of `len` words, of which `first` is the first. The result of the `w`-th is returned to
// invocation `w * SEGMENT_COUNT`; what the others get means nothing. Call it in uniform control flow.
//
// Invocation (word, segment) owns the entries `segment + i * SEGMENT_COUNT` of its word, so that neighbours read
// neighbouring addresses.
fn fold_batch(first: u32, len: u32, invocation: u32) -> u32 {
    workgroupBarrier();
    let place = invocation / SEGMENT_COUNT;
    let segment = invocation % SEGMENT_COUNT;
    let used = place < len;
    let base = place * SHARED_LEN + segment;
    var total = 0u;
    if used {
        total = fold_strided(first + place, base, SEGMENT_COUNT, SHARED_LEN / SEGMENT_COUNT);
    }
    workgroupBarrier();
    if used {
        shared_words[base] = total;
    }
    workgroupBarrier();
    if used && segment == 0u {
        total = fold_strided(first + place, base, 1u, SEGMENT_COUNT);
    }
    workgroupBarrier();
    return total;
}

// Folds `len` (a multiple of 4) entries of a word in four independent runs: short dependency chains, and
// rounding that grows with a quarter of the length.
fn fold_strided(word: u32, base: u32, stride: u32, len: u32) -> u32 {
    var runs = vec4<u32>(
        shared_words[base],
        shared_words[base + stride],
        shared_words[base + 2u * stride],
        shared_words[base + 3u * stride],
    );
    for (var i = 4u; i < len; i += 4u) {
        let at = base + i * stride;
        runs.x = combine_word(word, runs.x, shared_words[at]);
        runs.y = combine_word(word, runs.y, shared_words[at + stride]);
        runs.z = combine_word(word, runs.z, shared_words[at + 2u * stride]);
        runs.w = combine_word(word, runs.w, shared_words[at + 3u * stride]);
    }
    return combine_word(word, combine_word(word, runs.x, runs.y), combine_word(word, runs.z, runs.w));
}

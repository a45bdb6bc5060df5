// The angle between a gradient and that of the previous step.

// Loads the vectors of the previous gradient that were kept from `at` on. Past the tail nothing of this chunk was kept: the
// first vector stands for any, and is masked.
fn load_kept(at: u32, remaining: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    return array<vec4<u32>, LOAD_COUNT>(
        //#each
        kept_gradients[select(0u, at + EACH * WORKGROUP_LEN, (invocation + EACH * WORKGROUP_LEN) * 4u < remaining)],
        //#end
    );
}

// Adds the inner product with the previous gradient, and its sum of squares. Both factors are brought to magnitudes below 2
// by their exponents, so that products have room; the sum is kept by the magnitude it stands for, in units of 2^(2 * 85).
fn cosine(gradient: array<vec4<u32>, LOAD_COUNT>, previous: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>) {
    var sums = Sums();
    var largest = NONE;
    var largest_previous = NONE;
    //#each
    careful_sum(previous[EACH], &sums);
    largest = max(largest, finite_magnitude(gradient[EACH]));
    largest_previous = max(largest_previous, finite_magnitude(previous[EACH]));
    //#end
    (*lane).previous_l2_norm_sq += sums.l2;
    (*lane).previous_l2_norm_sq_small += sums.l2_small;
    (*lane).previous_l2_norm_sq_big += sums.l2_big;
    let gradient_exponent = max4(largest) >> 23u;
    let previous_exponent = max4(largest_previous) >> 23u;
    var products = vec4<f32>(0.0);
    //#each
    products += brought_to_one(gradient[EACH], gradient_exponent) * brought_to_one(previous[EACH], previous_exponent);
    //#end
    let product = sum4(products);
    let exponent = i32(gradient_exponent) + i32(previous_exponent) - 254;
    if exponent < -SCALE_LOG2 {
        (*lane).dot_previous_small += product * power_of_two(exponent + 2 * SCALE_LOG2);
    } else if exponent > SCALE_LOG2 {
        (*lane).dot_previous_big += product * power_of_two(exponent - 2 * SCALE_LOG2);
    } else {
        (*lane).dot_previous += product * power_of_two(exponent);
    }
}

const SCALE_LOG2 = i32(SCALE >> 23u);

fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(exponent + 127) << 23u);
}

// The normal elements divided by 2^(exponent - 127). None of them is larger than that power of two.
fn brought_to_one(words: vec4<u32>, exponent: u32) -> vec4<f32> {
    let magnitude = magnitude_bits(words);
    let normal = (magnitude < vec4<u32>(INFINITY)) & (magnitude >= vec4<u32>(MIN_NORMAL));
    let kept = normal & ((magnitude >> vec4<u32>(23u)) + vec4<u32>(127u) > vec4<u32>(exponent));
    return bitcast<vec4<f32>>(select(NONE, words + vec4<u32>((127u - exponent) << 23u), kept));
}

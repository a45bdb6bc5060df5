// The angle between a gradient and the one before.

fn load_past(at: u32, remaining: u32, invocation: u32) -> array<vec4<u32>, LOAD_COUNT> {
    // Past the tail there is no memory of this chunk's: the first vector stands for any.
    return array<vec4<u32>, LOAD_COUNT>(
        //#each
        past[select(0u, at + #u * WORKGROUP_LEN, (invocation + #u * WORKGROUP_LEN) * 4u < remaining)],
        //#end
    );
}

// The inner product with the gradients before, and their sum of squares. Both sides are brought to magnitudes below 2 by
// their exponents, so that products have room; the sum is kept by the magnitude it stands for, in units of 2^(2 * 85).
fn turn_from(v: array<vec4<u32>, LOAD_COUNT>, p: array<vec4<u32>, LOAD_COUNT>, lane: ptr<function, Lane>) {
    var s = Sums();
    var most_v = NONE;
    var most_p = NONE;
    //#each
    careful_sum(p[#], &s);
    most_v = max(most_v, finite_magnitude(v[#]));
    most_p = max(most_p, finite_magnitude(p[#]));
    //#end
    (*lane).previous_l2_norm_sq += s.l2;
    (*lane).previous_l2_norm_sq_small += s.l2_small;
    (*lane).previous_l2_norm_sq_big += s.l2_big;
    let exponent_v = max(max(most_v.x, most_v.y), max(most_v.z, most_v.w)) >> 23u;
    let exponent_p = max(max(most_p.x, most_p.y), max(most_p.z, most_p.w)) >> 23u;
    var products = vec4<f32>(0.0);
    //#each
    products += brought_to_one(v[#], exponent_v) * brought_to_one(p[#], exponent_p);
    //#end
    let product = (products.x + products.y) + (products.z + products.w);
    let exponent = i32(exponent_v) + i32(exponent_p) - 254;
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

// The normal elements over the power of two that is `exponent`'s, which none of them is above.
fn brought_to_one(v: vec4<u32>, exponent: u32) -> vec4<f32> {
    let a = v & vec4<u32>(MAGNITUDE);
    let kept = (a < vec4<u32>(INFINITY)) & (a >= vec4<u32>(MIN_NORMAL)) & ((a >> vec4<u32>(23u)) + vec4<u32>(127u) > vec4<u32>(exponent));
    return bitcast<vec4<f32>>(select(NONE, v + vec4<u32>((127u - exponent) << 23u), kept));
}

// What a gradient leaves for the next step, and what has become of it since: bit planes, combined and counted.

// What is kept of the 32 elements that an invocation classifies of a tile.
//
//     without dynamics    signed negative             with dynamics   negative high low
//     zero, non-finite       0       0                zero                0      0   0
//     positive               1       0                tiny                s      0   1
//     negative               1       1                small               s      1   0
//                                                     large               s      1   1
//                                                     non-finite          1      0   0
//
// Tiny is below the smaller epsilon, small below the larger one; s is the sign.
struct Planes {
    //#if dynamics
    negative: u32,
    high: u32,
    low: u32,
    //#else
    signed: u32,
    negative: u32,
    //#end
}

fn planes(classes: Classes) -> Planes {
    //#if dynamics
    var now = Planes();
    now.negative = (classes.negative & classes.signed) | classes.nonfinite;
    now.high = classes.above_1 & ~classes.nonfinite;
    now.low = classes.signed & (~classes.above_1 | classes.above_2);
    return now;
    //#else
    return Planes(classes.signed, classes.negative);
    //#end
}

// Counts what became of the elements since the state was left.
fn compare(previous: Planes, now: Planes, lane: ptr<function, Lane>) -> SignChanges {
    var changes = SignChanges();
    changes.is_compared = true;
    changes.negative = now.negative;
    //#if dynamics
    let pairs = (previous.high | previous.low) & (now.high | now.low);
    //#else
    let pairs = previous.signed & now.signed;
    //#end
    changes.flips = pairs & (previous.negative ^ now.negative);
    (*lane).signed_pair_count += countOneBits(pairs);
    (*lane).sign_flip_count += countOneBits(changes.flips);
    //#if dynamics
    let was_lost = previous.negative & ~(previous.high | previous.low);
    let lost = now.negative & ~(now.high | now.low);
    (*lane).became_nonfinite_count += countOneBits(lost & ~was_lost);
    (*lane).recovered_count += countOneBits(was_lost & ~lost);
    (*lane).became_zero_count += countOneBits((previous.high | previous.low) & ~(now.high | now.low | lost));
    {
        let was_near = ~(previous.high | was_lost);
        let near = ~(now.high | lost);
        changes.retained_1 = was_near & near;
        (*lane).retained_count_1 += countOneBits(changes.retained_1);
        (*lane).released_count_1 += countOneBits(was_near & ~(near | lost));
        (*lane).captured_count_1 += countOneBits(near & ~(was_near | was_lost));
        (*lane).near_zero_to_nonfinite_count_1 += countOneBits(was_near & lost);
        (*lane).nonfinite_to_near_zero_count_1 += countOneBits(was_lost & near);
        (*lane).flip_in_retained_count_1 += countOneBits(changes.flips & changes.retained_1);
    }
    {
        let was_near = ~((previous.high & previous.low) | was_lost);
        let near = ~((now.high & now.low) | lost);
        changes.retained_2 = was_near & near;
        (*lane).retained_count_2 += countOneBits(changes.retained_2);
        (*lane).released_count_2 += countOneBits(was_near & ~(near | lost));
        (*lane).captured_count_2 += countOneBits(near & ~(was_near | was_lost));
        (*lane).near_zero_to_nonfinite_count_2 += countOneBits(was_near & lost);
        (*lane).nonfinite_to_near_zero_count_2 += countOneBits(was_lost & near);
        (*lane).flip_in_retained_count_2 += countOneBits(changes.flips & changes.retained_2);
    }
    //#end
    return changes;
}

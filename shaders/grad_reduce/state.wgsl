// What a gradient leaves for the next step, and what has become of it since: bit planes, ANDed and counted.

// Per invocation and tile: bit k belongs to the k-th element the invocation classifies, from the top.
struct Planes {
    //#if dynamics
    // Sign, and the magnitude's class: 0 zero, 1 tiny, 2 small, 3 large. A negative zero stands for the non-finite.
    negative: u32,
    high: u32,
    low: u32,
    //#end
    //#if !dynamics
    // Finite and non-zero.
    signed: u32,
    negative: u32,
    //#end
}

fn planes(classes: Classes) -> Planes {
    //#if !dynamics
    return Planes(classes.signed, classes.negative);
    //#end
    //#if dynamics
    var now = Planes();
    now.negative = (classes.negative & classes.signed) | classes.nonfinite;
    now.high = classes.above_1 & ~classes.nonfinite;
    now.low = classes.signed & (~classes.above_1 | classes.above_2);
    return now;
    //#end
}

// Counts what became of the elements since the state was left.
fn compare(before: Planes, now: Planes, lane: ptr<function, Lane>) -> Turns {
    var turns = Turns();
    turns.compared = true;
    turns.negative = now.negative;
    //#if !dynamics
    let pairs = before.signed & now.signed;
    //#end
    //#if dynamics
    let pairs = (before.high | before.low) & (now.high | now.low);
    //#end
    turns.flips = pairs & (before.negative ^ now.negative);
    (*lane).signed_pair_count += countOneBits(pairs);
    (*lane).sign_flip_count += countOneBits(turns.flips);
    //#if dynamics
    let lost_before = before.negative & ~(before.high | before.low);
    let lost = now.negative & ~(now.high | now.low);
    (*lane).became_nonfinite_count += countOneBits(lost & ~lost_before);
    (*lane).recovered_count += countOneBits(lost_before & ~lost);
    {
        let near_before = ~(before.high | lost_before);
        let near = ~(now.high | lost);
        turns.retained_1 = near_before & near;
        (*lane).retained_count_1 += countOneBits(turns.retained_1);
        (*lane).released_count_1 += countOneBits(near_before & ~(near | lost));
        (*lane).captured_count_1 += countOneBits(near & ~(near_before | lost_before));
        (*lane).near_zero_to_nonfinite_count_1 += countOneBits(near_before & lost);
        (*lane).nonfinite_to_near_zero_count_1 += countOneBits(lost_before & near);
        (*lane).flip_in_retained_count_1 += countOneBits(turns.flips & turns.retained_1);
    }
    {
        let near_before = ~((before.high & before.low) | lost_before);
        let near = ~((now.high & now.low) | lost);
        turns.retained_2 = near_before & near;
        (*lane).retained_count_2 += countOneBits(turns.retained_2);
        (*lane).released_count_2 += countOneBits(near_before & ~(near | lost));
        (*lane).captured_count_2 += countOneBits(near & ~(near_before | lost_before));
        (*lane).near_zero_to_nonfinite_count_2 += countOneBits(near_before & lost);
        (*lane).nonfinite_to_near_zero_count_2 += countOneBits(lost_before & near);
        (*lane).flip_in_retained_count_2 += countOneBits(turns.flips & turns.retained_2);
    }
    //#end
    return turns;
}

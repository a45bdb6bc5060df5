//! The words of a record: what a chunk leaves, what a tensor's summary is read back as.

use super::numbers::{MOMENTS_LEN, SCALE_LOG2};
use gradscope_record::stats::{
    Crossings, FirstNonfinite, INFINITY_BITS, Moments, NonfiniteKind, Partial, RetainedMove, Segment, Stats,
    Transitions, UpdatePartial, WeightPartial, from_order_key, order_key,
};

/// How a word combines with that of another part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// f32, added.
    Sum,
    Min,
    Max,
    /// u32, added.
    Count,
    /// Part of a `Moments`, combined as a whole.
    Moments,
}

/// Which scopes have the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Card,
    Dynamics,
    Params,
    Updates,
    Cosine,
    Tap,
}

/// Declares the words once, for Rust and for WGSL.
macro_rules! words {
    ($($variant:ident = $name:literal $kind:ident $of:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Word { $($variant),* }
        const WORDS: &[(Word, &str, Kind, Of)] = &[$((Word::$variant, $name, Kind::$kind, Of::$of)),*];
    };
}

words! {
    Sentinel = "sentinel" Count Card,
    MinKey = "min_key" Min Card,
    MaxKey = "max_key" Max Card,
    L1 = "l1" Sum Card,
    L1Big = "l1_big" Sum Card,
    L2 = "l2" Sum Card,
    L2Small = "l2_small" Sum Card,
    L2Big = "l2_big" Sum Card,
    NearZero0 = "near_zero_0" Count Card,
    NearZero1 = "near_zero_1" Count Card,
    Positive = "positive" Count Card,
    Negative = "negative" Count Card,
    Flips = "flips" Count Card,
    Pairs = "pairs" Count Card,
    Nan = "nan" Count Card,
    PosInf = "pos_inf" Count Card,
    NegInf = "neg_inf" Count Card,

    // Magnitude less one: zero wraps round to the largest.
    AbsMinRank = "abs_min_rank" Min Dynamics,
    Subnormal = "subnormal" Count Dynamics,
    Total = "total" Sum Dynamics,
    TotalBig = "total_big" Sum Dynamics,
    FirstNan = "first_nan" Min Dynamics,
    FirstPosInf = "first_pos_inf" Min Dynamics,
    FirstNegInf = "first_neg_inf" Min Dynamics,
    BecameNonfinite = "became_nonfinite" Count Dynamics,
    Recovered = "recovered" Count Dynamics,
    Retained0 = "retained_0" Count Dynamics,
    Retained1 = "retained_1" Count Dynamics,
    Released0 = "released_0" Count Dynamics,
    Released1 = "released_1" Count Dynamics,
    Captured0 = "captured_0" Count Dynamics,
    Captured1 = "captured_1" Count Dynamics,
    NearZeroToNonfinite0 = "near_zero_to_nonfinite_0" Count Dynamics,
    NearZeroToNonfinite1 = "near_zero_to_nonfinite_1" Count Dynamics,
    NonfiniteToNearZero0 = "nonfinite_to_near_zero_0" Count Dynamics,
    NonfiniteToNearZero1 = "nonfinite_to_near_zero_1" Count Dynamics,
    FlipInRetained0 = "flip_in_retained_0" Count Dynamics,
    FlipInRetained1 = "flip_in_retained_1" Count Dynamics,
    MomentsCount = "moments_count" Moments Dynamics,
    MomentsMean = "moments_mean" Moments Dynamics,
    MomentsM2 = "moments_m2" Moments Dynamics,
    MomentsM3 = "moments_m3_per_m2" Moments Dynamics,
    MomentsM4 = "moments_m4_per_m2" Moments Dynamics,
    MomentsScale = "moments_scale" Moments Dynamics,

    WeightMinKey = "weight_min_key" Min Params,
    WeightMaxKey = "weight_max_key" Max Params,
    WeightL1 = "weight_l1" Sum Params,
    WeightL1Big = "weight_l1_big" Sum Params,
    WeightL2 = "weight_l2" Sum Params,
    WeightL2Small = "weight_l2_small" Sum Params,
    WeightL2Big = "weight_l2_big" Sum Params,
    WeightTotal = "weight_total" Sum Params,
    WeightTotalBig = "weight_total_big" Sum Params,
    WeightNearZero = "weight_near_zero" Count Params,
    WeightNonfinite = "weight_nonfinite" Count Params,
    WeightMomentsCount = "weight_moments_count" Moments Params,
    WeightMomentsMean = "weight_moments_mean" Moments Params,
    WeightMomentsM2 = "weight_moments_m2" Moments Params,
    WeightMomentsM3 = "weight_moments_m3_per_m2" Moments Params,
    WeightMomentsM4 = "weight_moments_m4_per_m2" Moments Params,
    WeightMomentsScale = "weight_moments_scale" Moments Params,

    BeforeL2 = "before_l2" Sum Updates,
    BeforeL2Small = "before_l2_small" Sum Updates,
    BeforeL2Big = "before_l2_big" Sum Updates,
    MoveL1 = "move_l1" Sum Updates,
    MoveL1Big = "move_l1_big" Sum Updates,
    MoveL2 = "move_l2" Sum Updates,
    MoveL2Small = "move_l2_small" Sum Updates,
    MoveL2Big = "move_l2_big" Sum Updates,
    MoveMax = "move_max" Max Updates,
    Unchanged = "unchanged" Count Updates,
    MoveNonfinite = "move_nonfinite" Count Updates,
    CrossedMinimum = "crossed_minimum" Count Updates,
    CrossedMaximum = "crossed_maximum" Count Updates,
    FlipUnmoved = "flip_unmoved" Count Updates,
    FlipAtNonfinite = "flip_at_nonfinite" Count Updates,
    RetainedMoved0 = "retained_moved_0" Count Updates,
    RetainedMoved1 = "retained_moved_1" Count Updates,
    RetainedSum0 = "retained_sum_0" Sum Updates,
    RetainedSum1 = "retained_sum_1" Sum Updates,
    RetainedSumBig0 = "retained_sum_big_0" Sum Updates,
    RetainedSumBig1 = "retained_sum_big_1" Sum Updates,
    RetainedMax0 = "retained_max_0" Max Updates,
    RetainedMax1 = "retained_max_1" Max Updates,

    Dot = "dot" Sum Cosine,
    DotSmall = "dot_small" Sum Cosine,
    DotBig = "dot_big" Sum Cosine,
    PastL2 = "past_l2" Sum Cosine,
    PastL2Small = "past_l2_small" Sum Cosine,
    PastL2Big = "past_l2_big" Sum Cosine,

    TailLow = "tail_low" Count Tap,
    TailHigh = "tail_high" Count Tap,
}

/// Words of a segment's record, by kind.
pub(crate) const SEGMENT_WORDS: [(&str, Kind); 7] = [
    ("l2", Kind::Sum),
    ("l2_small", Kind::Sum),
    ("l2_big", Kind::Sum),
    ("near_negative", Kind::Count),
    ("near_positive", Kind::Count),
    ("zero", Kind::Count),
    ("nonfinite", Kind::Count),
];

/// What a segment's record says; its elements are the host's to know.
pub(crate) fn segment(words: &[u32], numel: u64) -> Segment {
    let float = |place: usize| f64::from(f32::from_bits(words[place]));
    let count = |place: usize| u64::from(words[place]);
    Segment {
        numel,
        l2_norm_sq: float(0) + float(1) / (up() * up()) + float(2) * (up() * up()),
        near_zero_negative_count: count(3),
        near_zero_positive_count: count(4),
        zero_count: count(5),
        nonfinite_count: count(6),
    }
}

/// What the main kernel is built for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// What records have.
    pub groups: Stats,
    /// Any tensor instead of gradients: no state, and counts at the rails.
    pub tap: bool,
}

impl Form {
    fn has(self, of: Of) -> bool {
        match of {
            Of::Card => true,
            Of::Dynamics => self.groups.contains(Stats::DYNAMICS),
            Of::Params => self.groups.contains(Stats::PARAMS),
            Of::Updates => self.groups.contains(Stats::UPDATES),
            Of::Cosine => self.groups.contains(Stats::COSINE),
            Of::Tap => self.tap,
        }
    }

    /// The text conditions of the shader, each with whether it holds.
    pub(crate) fn conditions(self) -> [(&'static str, bool); 6] {
        [
            ("dynamics", self.has(Of::Dynamics)),
            ("params", self.has(Of::Params)),
            ("updates", self.has(Of::Updates)),
            ("cosine", self.has(Of::Cosine)),
            ("tap", self.tap),
            ("state", !self.tap),
        ]
    }

    /// Bytes of state for 32 elements.
    pub fn state_bytes_for_tests(self) -> u64 {
        4 * self.plane_count()
    }

    /// Words of state for 32 elements: planes of a bit each.
    pub(crate) fn plane_count(self) -> u64 {
        match (self.tap, self.groups.contains(Stats::DYNAMICS)) {
            (true, _) => 0,
            (_, true) => 3,
            _ => 2,
        }
    }
}

/// Which words a form's records have, and where.
#[derive(Clone, Debug)]
pub(crate) struct RecordLayout {
    /// In order: by kind, so that a comparison or two tell how a word combines; moments last.
    words: Vec<(Word, &'static str, Kind)>,
    places: Vec<Option<usize>>,
}

impl RecordLayout {
    pub fn new(form: Form) -> Self {
        let mut words: Vec<_> =
            WORDS.iter().filter(|(.., of)| form.has(*of)).map(|(word, name, kind, _)| (*word, *name, *kind)).collect();
        words.sort_by_key(|(.., kind)| *kind);
        let mut places = vec![None; WORDS.len()];
        words.iter().enumerate().for_each(|(place, (word, ..))| places[*word as usize] = Some(place));
        Self { words, places }
    }

    /// Words of a record.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn bytes(&self) -> u64 {
        4 * self.len() as u64
    }

    /// Names and kinds, in order.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, Kind)> + '_ {
        self.words.iter().map(|(_, name, kind)| (*name, *kind))
    }

    /// Words that come before those of `kind`.
    pub fn end_before(&self, kind: Kind) -> usize {
        self.words.iter().take_while(|(.., k)| *k < kind).count()
    }

    /// One record.
    pub fn read<'a>(&'a self, words: &'a [u32]) -> Record<'a> {
        Record { layout: self, words }
    }
}

/// What a tensor's record is checked against: it is of this tensor, and of this step.
pub(crate) struct Encoded {
    pub numel: u64,
    pub chunk_count: u32,
    /// The step's own number, which its dispatches were given.
    pub stamp: u32,
}

/// A tensor's summary as it came back. Words it does not have read as 0.
pub(crate) struct Record<'a> {
    layout: &'a RecordLayout,
    words: &'a [u32],
}

impl Record<'_> {
    /// # Errors
    /// Where the record is that of another step.
    pub fn check(&self, encoded: &Encoded) -> Result<(), String> {
        let expected = (encoded.numel as u32).wrapping_add(encoded.chunk_count.wrapping_mul(encoded.stamp));
        if self.word(Word::Sentinel) == expected {
            Ok(())
        } else {
            Err("the summaries that came back are not those of this step".into())
        }
    }

    fn word(&self, word: Word) -> u32 {
        self.layout.places[word as usize].map_or(0, |place| self.words[place])
    }

    fn count(&self, word: Word) -> u64 {
        u64::from(self.word(word))
    }

    fn float(&self, word: Word) -> f64 {
        f64::from(f32::from_bits(self.word(word)))
    }

    /// A sum kept in two parts.
    fn sum(&self, mid: Word, big: Word) -> f64 {
        self.float(mid) + self.float(big) * up()
    }

    /// A sum of squares kept in three.
    fn sum_sq(&self, [mid, small, big]: [Word; 3]) -> f64 {
        self.float(mid) + self.float(small) / (up() * up()) + self.float(big) * (up() * up())
    }

    /// The shader keeps the zeros apart; their one key is the host's.
    fn keys(&self, min: Word, max: Word) -> [u32; 2] {
        let [min, max] = [self.word(min), self.word(max)];
        if min > max {
            return [Partial::IDENTITY.min_key, Partial::IDENTITY.max_key];
        }
        [min, max].map(|key| order_key(from_order_key(key).to_bits()))
    }

    fn moments(&self, [count, mean, m2, m3_per_m2, m4_per_m2, scale]: [Word; MOMENTS_LEN]) -> Moments {
        let unit = up().powi(self.word(scale) as i32 - 1);
        let m2 = self.float(m2) * unit * unit;
        Moments {
            count: self.count(count),
            mean: self.float(mean) * unit,
            m2,
            m3: m2 * self.float(m3_per_m2) * unit,
            m4: m2 * self.float(m4_per_m2) * unit * unit,
        }
    }

    fn first_nonfinite(&self) -> Option<FirstNonfinite> {
        [
            (Word::FirstNan, Word::Nan, NonfiniteKind::Nan),
            (Word::FirstPosInf, Word::PosInf, NonfiniteKind::PosInf),
            (Word::FirstNegInf, Word::NegInf, NonfiniteKind::NegInf),
        ]
        .into_iter()
        .filter(|(_, count, _)| self.word(*count) > 0)
        .map(|(first, _, kind)| FirstNonfinite { index: self.count(first), kind })
        .min()
    }

    /// Of the gradient. `compared` tells whether the kernel had a previous step to compare with.
    pub fn gradient(&self, numel: u64, compared: bool) -> Partial {
        use Word::*;
        let [min_key, max_key] = self.keys(MinKey, MaxKey);
        let abs_min_bits = self.word(AbsMinRank).wrapping_add(1);
        let pair = |a: Word, b: Word| [self.count(a), self.count(b)];
        Partial {
            numel,
            previous_numel: if compared { numel } else { 0 },
            min_key,
            max_key,
            abs_min_bits: if (1..INFINITY_BITS).contains(&abs_min_bits) { abs_min_bits } else { u32::MAX },
            l1_norm: self.sum(L1, L1Big),
            l2_norm_sq: self.sum_sq([L2, L2Small, L2Big]),
            sum: self.sum(Total, TotalBig),
            moments: self.moments([MomentsCount, MomentsMean, MomentsM2, MomentsM3, MomentsM4, MomentsScale]),
            dot_previous: self.sum_sq([Dot, DotSmall, DotBig]),
            previous_l2_norm_sq: self.sum_sq([PastL2, PastL2Small, PastL2Big]),
            near_zero_count: pair(NearZero0, NearZero1),
            subnormal_count: self.count(Subnormal),
            positive_count: self.count(Positive),
            negative_count: self.count(Negative),
            sign_flip_count: self.count(Flips),
            signed_pair_count: self.count(Pairs),
            nan_count: self.count(Nan),
            pos_inf_count: self.count(PosInf),
            neg_inf_count: self.count(NegInf),
            first_nonfinite: self.first_nonfinite(),
            transitions: Transitions {
                became_nonfinite_count: self.count(BecameNonfinite),
                recovered_count: self.count(Recovered),
                retained_count: pair(Retained0, Retained1),
                released_count: pair(Released0, Released1),
                captured_count: pair(Captured0, Captured1),
                near_zero_to_nonfinite_count: pair(NearZeroToNonfinite0, NearZeroToNonfinite1),
                nonfinite_to_near_zero_count: pair(NonfiniteToNearZero0, NonfiniteToNearZero1),
                flip_in_retained_count: pair(FlipInRetained0, FlipInRetained1),
            },
        }
    }

    /// Of the parameter.
    pub fn weight(&self, numel: u64) -> WeightPartial {
        use Word::*;
        let [min_key, max_key] = self.keys(WeightMinKey, WeightMaxKey);
        WeightPartial {
            numel,
            nonfinite_count: self.count(WeightNonfinite),
            min_key,
            max_key,
            l1_norm: self.sum(WeightL1, WeightL1Big),
            l2_norm_sq: self.sum_sq([WeightL2, WeightL2Small, WeightL2Big]),
            sum: self.sum(WeightTotal, WeightTotalBig),
            moments: self.moments([
                WeightMomentsCount,
                WeightMomentsMean,
                WeightMomentsM2,
                WeightMomentsM3,
                WeightMomentsM4,
                WeightMomentsScale,
            ]),
            near_zero_count: self.count(WeightNearZero),
        }
    }

    /// Of the parameter's last move.
    pub fn update(&self) -> UpdatePartial {
        use Word::*;
        let retained = |moved: Word, sum: [Word; 2], max: Word| RetainedMove {
            moved_count: self.count(moved),
            sum: self.sum(sum[0], sum[1]),
            max: f32::from_bits(self.word(max)),
        };
        UpdatePartial {
            l1_norm: self.sum(MoveL1, MoveL1Big),
            l2_norm_sq: self.sum_sq([MoveL2, MoveL2Small, MoveL2Big]),
            weight_l2_norm_sq: self.sum_sq([BeforeL2, BeforeL2Small, BeforeL2Big]),
            abs_max: f32::from_bits(self.word(MoveMax)),
            unchanged_count: self.count(Unchanged),
            nonfinite_count: self.count(MoveNonfinite),
            crossings: Crossings {
                minimum_count: self.count(CrossedMinimum),
                maximum_count: self.count(CrossedMaximum),
                flip_unmoved_count: self.count(FlipUnmoved),
                flip_at_nonfinite_count: self.count(FlipAtNonfinite),
            },
            retained: [
                retained(RetainedMoved0, [RetainedSum0, RetainedSumBig0], RetainedMax0),
                retained(RetainedMoved1, [RetainedSum1, RetainedSumBig1], RetainedMax1),
            ],
        }
    }

    /// Elements at or past the rails of a tap.
    pub fn tails(&self) -> [u64; 2] {
        [self.count(Word::TailLow), self.count(Word::TailHigh)]
    }
}

fn up() -> f64 {
    2f64.powi(SCALE_LOG2 as i32)
}

//! The words of a record: what a chunk leaves, what a tensor's summary is read back as.

use super::numbers::{MOMENTS_LEN, SCALE_LOG2};
use gradscope_record::stats::kernels::Words;
use gradscope_record::stats::{
    FirstNonfinite, Moments, Name, NonfiniteKind, Partial, Segment, Stats, UpdatePartial, WeightPartial,
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
    /// The text conditions of the shader, each with whether it holds.
    pub(crate) fn conditions(self) -> [(&'static str, bool); 6] {
        [
            ("dynamics", self.groups.contains(Stats::DYNAMICS)),
            ("params", self.groups.contains(Stats::PARAMS)),
            ("updates", self.groups.contains(Stats::UPDATES)),
            ("cosine", self.groups.contains(Stats::COSINE)),
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

/// A tensor's record, as it is read.
pub(crate) struct Record {
    sentinel: u32,
    gradient: Partial,
    parameter: WeightPartial,
    update: UpdatePartial,
    tails: [u64; 2],
}

impl Record {
    /// Visits every word of a form's records, in the order of the statistics' table.
    fn visit(words: &mut WordVisitor<impl FnMut(WordName, Kind) -> u32>) -> Self {
        let tails =
            |words: &mut WordVisitor<_>| ["tail_low_count", "tail_high_count"].map(|name| words.count(Name::new(name)));
        Self {
            sentinel: words.word(Name::new("sentinel"), "", Kind::Count),
            gradient: Partial::from_words(words),
            parameter: WeightPartial::from_words(words),
            update: UpdatePartial::from_words(words),
            tails: if words.form.tap { tails(words) } else { [0; 2] },
        }
    }

    /// # Errors
    /// Where the record is that of another step.
    pub fn check(&self, encoded: &Encoded) -> Result<(), String> {
        let expected = (encoded.numel as u32).wrapping_add(encoded.chunk_count.wrapping_mul(encoded.stamp));
        if self.sentinel == expected {
            Ok(())
        } else {
            Err("the summaries that came back are not those of this step".into())
        }
    }

    /// Of the gradient. `is_compared` tells whether the kernel had a previous step to compare with.
    pub fn gradient(&self, numel: u64, is_compared: bool) -> Partial {
        let mut gradient = Partial { numel, previous_numel: if is_compared { numel } else { 0 }, ..self.gradient };
        // The padding past a tensor's last element is NaN; all other chunks are whole tiles.
        let first = gradient.dynamics.first_nonfinite.filter(|first| first.index < numel);
        gradient.dynamics.first_nonfinite = first.filter(|_| gradient.finite_count() < numel);
        gradient
    }

    /// Of the parameter.
    pub fn weight(&self, numel: u64) -> WeightPartial {
        WeightPartial { numel, ..self.parameter }
    }

    /// Of the parameter's last move.
    pub fn update(&self) -> UpdatePartial {
        self.update
    }

    /// Elements at or past the rails of a tap.
    pub fn tails(&self) -> [u64; 2] {
        self.tails
    }
}

/// Name of a word, and of the part of a statistic that it holds; empty where the word is all of it.
type WordName = (Name, &'static str);

/// Visits words one by one: `word` lays one out or reads it.
struct WordVisitor<F> {
    form: Form,
    word: F,
}

impl<F: FnMut(WordName, Kind) -> u32> WordVisitor<F> {
    fn word(&mut self, name: Name, part: &'static str, kind: Kind) -> u32 {
        (self.word)((name, part), kind)
    }

    fn float(&mut self, name: Name, part: &'static str, kind: Kind) -> f64 {
        f64::from(f32::from_bits(self.word(name, part, kind)))
    }
}

impl<F: FnMut(WordName, Kind) -> u32> Words for WordVisitor<F> {
    fn has(&self, set: Stats) -> bool {
        self.form.groups.contains(set)
    }

    fn count(&mut self, name: Name) -> u64 {
        u64::from(self.word(name, "", Kind::Count))
    }

    /// A sum kept in two parts.
    fn sum(&mut self, name: Name) -> f64 {
        self.float(name, "", Kind::Sum) + self.float(name, "_big", Kind::Sum) * up()
    }

    /// A sum kept in three.
    fn sum_of_squares(&mut self, name: Name) -> f64 {
        let [mid, small, big] = ["", "_small", "_big"].map(|part| self.float(name, part, Kind::Sum));
        mid + small / (up() * up()) + big * (up() * up())
    }

    fn min(&mut self, name: Name) -> u32 {
        self.word(name, "", Kind::Min)
    }

    fn max(&mut self, name: Name) -> u32 {
        self.word(name, "", Kind::Max)
    }

    fn moments(&mut self, name: Name) -> Moments {
        let count = u64::from(self.word(name, "_count", Kind::Moments));
        let [mean, m2, m3_per_m2, m4_per_m2] =
            ["_mean", "_m2", "_m3_per_m2", "_m4_per_m2"].map(|part| self.float(name, part, Kind::Moments));
        let unit = up().powi(self.word(name, "_scale", Kind::Moments) as i32 - 1);
        let m2 = m2 * unit * unit;
        Moments { count, mean: mean * unit, m2, m3: m2 * m3_per_m2 * unit, m4: m2 * m4_per_m2 * unit * unit }
    }

    fn first_nonfinite(&mut self, name: Name) -> Option<FirstNonfinite> {
        let kinds =
            [("_nan", NonfiniteKind::Nan), ("_pos_inf", NonfiniteKind::PosInf), ("_neg_inf", NonfiniteKind::NegInf)];
        let first = kinds.map(|(part, kind)| (self.word(name, part, Kind::Min), kind));
        let first = first.into_iter().filter(|(index, _)| *index != u32::MAX);
        first.map(|(index, kind)| FirstNonfinite { index: u64::from(index), kind }).min()
    }
}

/// Which words a form's records have, and where.
#[derive(Clone, Debug)]
pub(crate) struct RecordLayout {
    form: Form,
    /// In order: by kind, so that a comparison or two tell how a word combines; moments last.
    words: Vec<(String, Kind)>,
    /// Where each word stands, in the order that they are visited in.
    places: Vec<usize>,
}

impl RecordLayout {
    pub fn new(form: Form) -> Self {
        let mut visited = vec![];
        Record::visit(&mut WordVisitor {
            form,
            word: |(name, part), kind| {
                visited.push((format!("{name}{part}"), kind));
                0
            },
        });
        let mut order: Vec<usize> = (0..visited.len()).collect();
        order.sort_by_key(|index| visited[*index].1);
        let moments_count = visited.iter().filter(|(_, kind)| *kind == Kind::Moments).count();
        debug_assert!(moments_count.is_multiple_of(MOMENTS_LEN), "moments are merged {MOMENTS_LEN} words at a time");
        let mut places = vec![0; visited.len()];
        order.iter().enumerate().for_each(|(place, index)| places[*index] = place);
        let words = order.into_iter().map(|index| visited[index].clone()).collect();
        Self { form, words, places }
    }

    /// Bytes of a form's record, without laying it out.
    pub fn bytes_of(form: Form) -> u64 {
        let mut bytes = 0;
        let word = |_, _| {
            bytes += 4;
            0
        };
        Record::visit(&mut WordVisitor { form, word });
        bytes
    }

    /// Words of a record.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn bytes(&self) -> u64 {
        4 * self.len() as u64
    }

    /// Names and kinds, in order.
    pub fn words(&self) -> impl Iterator<Item = (&str, Kind)> + '_ {
        self.words.iter().map(|(name, kind)| (name.as_str(), *kind))
    }

    /// Words that come before those of `kind`.
    pub fn end_before(&self, kind: Kind) -> usize {
        self.words.iter().take_while(|(_, k)| *k < kind).count()
    }

    /// One record.
    pub fn read(&self, words: &[u32]) -> Record {
        let mut places = self.places.iter();
        let word = |_, _| places.next().map_or(0, |place| words[*place]);
        Record::visit(&mut WordVisitor { form: self.form, word })
    }
}

/// What a tensor's record is checked against: it is of this tensor, and of this step.
pub(crate) struct Encoded {
    pub numel: u64,
    pub chunk_count: u32,
    /// The step's own number, which its dispatches were given.
    pub stamp: u32,
}

fn up() -> f64 {
    2f64.powi(SCALE_LOG2 as i32)
}

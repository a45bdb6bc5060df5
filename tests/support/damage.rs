//! Damaged files, for the tests of what reads them.

#![allow(dead_code, reason = "not every test damages in every way")]

/// Numbers that look random, and are the same for the same seed.
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// 0 where there is no number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
    }
}

/// Runs `case` as often as `GRADSCOPE_FUZZ_CASES` says, from `GRADSCOPE_FUZZ_FIRST` on; the case that fails is the last one printed.
pub fn each_case(default_count: u64, case: impl Fn(&mut Random)) {
    let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = asked("GRADSCOPE_FUZZ_FIRST").unwrap_or(0);
    for number in first..first + asked("GRADSCOPE_FUZZ_CASES").unwrap_or(default_count) {
        eprintln!("GRADSCOPE_FUZZ_FIRST={number}");
        case(&mut Random::new(number));
    }
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Cut, lengthened, overwritten here and there, or with numbers where it has some: never empty for long files.
pub fn damaged(whole: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.extend((0..random.below(4000)).map(|byte| byte as u8)),
            2 => bytes.iter_mut().skip(at).take(1 + random.below(8)).for_each(|byte| *byte = random.next() as u8),
            3 => {
                // Lengths and counts stand near the start, more often than not.
                let at = random.below(64) & !3;
                let word = [0, 1, 0x7fff_ffff, 0xffff_ffff, random.next() as u32][random.below(5)];
                let word = if random.below(2) == 0 { word.to_be_bytes() } else { word.to_le_bytes() };
                bytes.iter_mut().skip(at).zip(word).for_each(|(byte, new)| *byte = new);
            }
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        }
    }
    bytes
}

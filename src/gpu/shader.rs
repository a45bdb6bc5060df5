//! Shader text: constants that Rust owns, shared parts, generated bindings, the kernel.

use crate::stats::{Partial, from_order_key, order_key};
use std::fmt::Write;

/// Invocations of a workgroup, in every kernel.
const WORKGROUP_LEN: u32 = 256;
/// Vector loads of an invocation and tile; `grad_reduce.wgsl` unrolls them by hand.
const LOAD_COUNT: u32 = 8;
/// Elements a workgroup classifies at a time.
pub(crate) const TILE_LEN: u32 = WORKGROUP_LEN * 4 * LOAD_COUNT;
/// Squares of magnitudes from 2^-45 to 2^45 can be added 2^32 times in f32; others are scaled by 2^85.
const RANGE_LOG2: u32 = 45;
const SCALE_LOG2: u32 = 85;

/// Declares the words of a record once, for Rust and for WGSL.
macro_rules! words {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// Words of a chunk's record and of a tensor's summary, in order.
        #[derive(Clone, Copy)]
        pub(crate) enum Word { $($variant),* }
        const WORD_NAMES: &[&str] = &[$($name),*];
    };
}

words! {
    Sentinel = "SENTINEL",
    MinKey = "MIN_KEY",
    MaxKey = "MAX_KEY",
    L1 = "L1",
    L1Big = "L1_BIG",
    L2 = "L2",
    L2Small = "L2_SMALL",
    L2Big = "L2_BIG",
    NearZero0 = "NEAR_ZERO_0",
    NearZero1 = "NEAR_ZERO_1",
    Positive = "POSITIVE",
    Negative = "NEGATIVE",
    Flips = "FLIPS",
    Pairs = "PAIRS",
    Nan = "NAN",
    PosInf = "POS_INF",
    NegInf = "NEG_INF",
}

/// Words of a record.
pub const RECORD_LEN: usize = WORD_NAMES.len();

impl Word {
    /// What a tensor's summary words say, but for the sentinel.
    ///
    /// `compared` tells whether the kernel had a previous step to compare with.
    pub fn decode(words: &[u32; RECORD_LEN], numel: u64, compared: bool) -> Partial {
        let count = |word: Word| u64::from(words[word as usize]);
        let sum = |word: Word| f64::from(f32::from_bits(words[word as usize]));
        let up = 2f64.powi(SCALE_LOG2 as i32);
        // The shader keeps the zeros apart; their one key is the host's.
        let key = |word: Word| order_key(from_order_key(words[word as usize]).to_bits());
        let any_finite = words[Word::MinKey as usize] <= words[Word::MaxKey as usize];
        Partial {
            numel,
            previous_numel: if compared { numel } else { 0 },
            min_key: if any_finite { key(Word::MinKey) } else { Partial::IDENTITY.min_key },
            max_key: if any_finite { key(Word::MaxKey) } else { Partial::IDENTITY.max_key },
            l1_norm: sum(Word::L1) + sum(Word::L1Big) * up,
            l2_norm_sq: sum(Word::L2) + sum(Word::L2Small) / (up * up) + sum(Word::L2Big) * (up * up),
            near_zero_count: [count(Word::NearZero0), count(Word::NearZero1)],
            positive_count: count(Word::Positive),
            negative_count: count(Word::Negative),
            sign_flip_count: count(Word::Flips),
            signed_pair_count: count(Word::Pairs),
            nan_count: count(Word::Nan),
            pos_inf_count: count(Word::PosInf),
            neg_inf_count: count(Word::NegInf),
        }
    }
}

/// Flags of a span at a step.
pub(crate) const PRESENT: u32 = 1;
pub(crate) const HAS_PREVIOUS: u32 = 2;

/// Which shaders a scope runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shaders {
    /// Without bounds checks: every index is bounded by construction of the plan.
    Trusted,
    /// With the checks that naga inserts.
    Checked,
}

impl Shaders {
    pub fn module(self, device: &wgpu::Device, label: &str, wgsl: String) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(wgsl.into()) };
        match self {
            Self::Checked => device.create_shader_module(descriptor),
            // SAFETY: page indices are clamped to the span's last vector, which lies inside the binding:
            // `GradSlice::is_bindable` bounds it by the buffer, and `Plan::group` binds a window that covers the
            // span. Chunk, span, state and record indices come from `Plan`, whose buffers are sized by it; every loop is bounded by a chunk's length. The tests run both forms.
            Self::Trusted => unsafe {
                device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            },
        }
    }
}

/// `grad_reduce.wgsl` with `page_count` bindings for gradients.
pub(crate) fn grad_reduce_wgsl(page_count: u32) -> String {
    [
        &constants(),
        &pages(page_count),
        include_str!("../../shaders/shared/lane.wgsl"),
        include_str!("../../shaders/grad_reduce.wgsl"),
    ]
    .concat()
}

/// `tensor_reduce.wgsl`.
pub(crate) fn tensor_reduce_wgsl() -> String {
    [&constants(), include_str!("../../shaders/shared/lane.wgsl"), include_str!("../../shaders/tensor_reduce.wgsl")]
        .concat()
}

/// First binding of a page in `grad_reduce`; the bindings before it are the kernel's own.
pub(crate) const FIRST_PAGE_BINDING: u32 = 5;

/// Every shader as composed, by name, with the words a record is made of.
#[doc(hidden)]
pub fn compose_for_tests(page_count: u32) -> (Vec<(&'static str, String)>, &'static [&'static str]) {
    (vec![("grad_reduce", grad_reduce_wgsl(page_count)), ("tensor_reduce", tensor_reduce_wgsl())], WORD_NAMES)
}

fn constants() -> String {
    let mut text = String::new();
    let numbers = [
        ("WORKGROUP_LEN", WORKGROUP_LEN),
        ("TILE_LEN", TILE_LEN),
        ("RANGE_LOG2", RANGE_LOG2),
        ("SCALE_LOG2", SCALE_LOG2),
        ("PRESENT", PRESENT),
        ("HAS_PREVIOUS", HAS_PREVIOUS),
        ("RECORD_LEN", RECORD_LEN as u32),
    ];
    let words = WORD_NAMES.iter().zip(0..).map(|(name, index)| (*name, index));
    for (name, value) in numbers.into_iter().chain(words) {
        writeln!(text, "const {name} = {value}u;").expect("a String takes every write");
    }
    text
}

/// Bindings of the pages, and the loads that choose among them outside the unrolled loop.
fn pages(page_count: u32) -> String {
    let mut text = String::new();
    let mut cases = String::new();
    let mut last_load = String::new();
    for page in 0..page_count {
        let binding = FIRST_PAGE_BINDING + page;
        writeln!(text, "@group(0) @binding({binding}) var<storage, read> page_{page}: array<vec4<u32>>;")
            .expect("a String takes every write");
        let loads: Vec<String> =
            (0..LOAD_COUNT).map(|load| format!("page_{page}[min(at + {}u, last)]", load * WORKGROUP_LEN)).collect();
        let load = format!("return array<vec4<u32>, {LOAD_COUNT}>({});", loads.join(", "));
        writeln!(cases, "case {page}u: {{ {load} }}").expect("a String takes every write");
        last_load = load;
    }
    // A single page leaves nothing to choose.
    let body = match page_count {
        1 => last_load,
        _ => format!("switch page {{\n{cases}default: {{ return array<vec4<u32>, {LOAD_COUNT}>(); }}\n}}"),
    };
    text + &format!(
        "// The vectors an invocation classifies of a tile, none past `last`.\n\
         fn load_tile(page: u32, at: u32, last: u32) -> array<vec4<u32>, {LOAD_COUNT}> {{\n\
         {body}\n}}\n"
    )
}

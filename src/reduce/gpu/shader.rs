//! Shaders as they are compiled: constants that Rust owns, generated parts, shared parts, the kernel.

use super::numbers::{
    HAS_GRADIENT, HAS_PARAM, HAS_PREVIOUS, HAS_UPDATE, KEEPS, LOAD_COUNT, MOMENTS_LEN, NARROW_WORKGROUP_LEN,
    RANGE_LOG2, ROLE_COUNT, SCALE_LOG2, SEGMENT_COUNT, TABLE_COUNT, TILE_LEN, WORKGROUP_LEN,
};
use super::text::{batch_len_max, conditional, lanes, pages};
use super::words::{Form, Kind, RecordLayout, SEGMENT_WORDS};
use gradscope_record::stats::kernels::{
    EDGE_COUNT, FLUSH_INDEX, HISTOGRAM_LEN, LINEAR_INDEX, OVERFLOW_INDEX, ZERO_INDEX,
};
use gradscope_record::stats::{Format, INFINITY_BITS, LINEAR_COUNT, MAGNITUDE_MASK, MIN_NORMAL_BITS, Stats};

/// Which shaders a scope runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shaders {
    /// Without bounds checks: every index is bounded by construction of the plan.
    Trusted,
    /// With the checks that naga inserts.
    Checked,
}

impl Shaders {
    #[expect(unsafe_code, reason = "shaders without bounds checks, which the plan makes superfluous")]
    pub fn module(self, device: &wgpu::Device, label: &str, wgsl: String) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(wgsl.into()) };
        match self {
            Self::Checked => device.create_shader_module(descriptor),
            // SAFETY: loads from pages are clamped to the chunk's last vector, or are of elements that the chunk has;
            // both lie inside the binding: `Slice::is_bindable` bounds the span by the buffer, and `Plan::group` binds
            // a window that covers it. Chunk, span, state and record indices, and those of kept gradients, averages,
            // counts and edges, come from the plan that sized their buffers, and the last vectors of kept gradients and
            // averages are guarded by the chunk's length, which bounds every loop. The tests run the main kernel in
            // both forms.
            Self::Trusted => unsafe {
                device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            },
        }
    }
}

/// The roles, by name.
const ROLE_NAMES: [&str; ROLE_COUNT] = ["gradient", "param", "previous_param"];

impl Form {
    /// The roles that its kernel binds.
    pub(crate) fn role_count(self) -> usize {
        1 + usize::from(self.groups.contains(Stats::PARAMS)) + usize::from(self.groups.contains(Stats::UPDATES))
    }

    /// Buffers that it writes: records, and state and gradients where it keeps any.
    pub(crate) fn output_count(self) -> u32 {
        1 + u32::from(self.plane_count() > 0) + u32::from(self.groups.contains(Stats::COSINE))
    }
}

/// `grad_reduce.wgsl` with `page_count` bindings for each role.
pub(crate) fn grad_reduce_wgsl(form: Form, page_count: u32) -> String {
    let layout = RecordLayout::new(form);
    let mut text = constants(&layout.words().collect::<Vec<_>>(), WORKGROUP_LEN);
    if form.groups.contains(Stats::DYNAMICS) {
        text += &format!("const MOMENTS = {}u;\n", layout.end_before(Kind::Moments));
    }
    if form.groups.contains(Stats::PARAMS) {
        text += &format!("const PARAM_MOMENTS = {}u;\n", layout.len() - MOMENTS_LEN);
    }
    for (role, name) in ROLE_NAMES.iter().take(form.role_count()).enumerate() {
        text += &pages(name, TABLE_COUNT + form.output_count() + role as u32 * page_count, page_count);
    }
    text += &folds(&layout, WORKGROUP_LEN);
    text += &shared(has_moments(&layout));
    let parts = [
        (true, include_str!("../../../shaders/grad_reduce.wgsl")),
        (!form.tap, include_str!("../../../shaders/grad_reduce/state.wgsl")),
        (form.groups.contains(Stats::DYNAMICS), include_str!("../../../shaders/grad_reduce/dynamics.wgsl")),
        (form.groups.contains(Stats::PARAMS), include_str!("../../../shaders/grad_reduce/params.wgsl")),
        (form.groups.contains(Stats::UPDATES), include_str!("../../../shaders/grad_reduce/updates.wgsl")),
        (form.groups.contains(Stats::COSINE), include_str!("../../../shaders/grad_reduce/cosine.wgsl")),
        (form.tap, include_str!("../../../shaders/grad_reduce/tails.wgsl")),
    ];
    for (_, part) in parts.into_iter().filter(|(asked, _)| *asked) {
        text += &of_form(form, &layout, part);
    }
    text
}

/// Invocations of a workgroup of `tensor_reduce` where tensors have up to this many chunks.
pub(crate) fn fold_workgroup_len(chunk_count_max: u32) -> u32 {
    if chunk_count_max <= NARROW_WORKGROUP_LEN { NARROW_WORKGROUP_LEN } else { WORKGROUP_LEN }
}

/// `tensor_reduce.wgsl`, in workgroups of `workgroup_len`.
pub(crate) fn tensor_reduce_wgsl(form: Form, workgroup_len: u32) -> String {
    let layout = RecordLayout::new(form);
    let words: Vec<_> = layout.words().collect();
    constants(&words, workgroup_len)
        + &folds(&layout, workgroup_len)
        + &of_form(form, &layout, include_str!("../../../shaders/tensor_reduce.wgsl"))
}

/// `histogram.wgsl`, which reads one role.
pub(crate) fn histogram_wgsl(page_count: u32) -> String {
    let mut text = constants(&[], WORKGROUP_LEN);
    for (name, value) in [
        ("HISTOGRAM_LEN", HISTOGRAM_LEN),
        ("ZERO_INDEX", ZERO_INDEX),
        ("FLUSH_INDEX", FLUSH_INDEX),
        ("OVERFLOW_INDEX", OVERFLOW_INDEX),
        ("LINEAR_INDEX", LINEAR_INDEX),
        ("LINEAR_COUNT", LINEAR_COUNT),
        ("EDGE_COUNT", EDGE_COUNT),
    ] {
        text += &format!("const {name} = {value}u;\n");
    }
    let bounds = Format::ALL.map(|format| format!("vec2<u32>({}u, {}u)", format.flush_bits(), format.overflow_bits()));
    text += &format!("const FORMATS = array<vec2<u32>, {}>({});\n", bounds.len(), bounds.join(", "));
    text += &pages(ROLE_NAMES[0], TABLE_COUNT + HISTOGRAM_OUTPUT_COUNT, page_count);
    let each = [repeated("each", LOAD_COUNT), repeated("each_format", Format::ALL.len() as u32)];
    text += &conditional(include_str!("../../../shaders/shared/tables.wgsl"), &[], &each);
    text + &conditional(include_str!("../../../shaders/histogram.wgsl"), &[], &each)
}

/// `average.wgsl`, which reads one role.
pub(crate) fn average_wgsl(page_count: u32) -> String {
    let each = [repeated("each", LOAD_COUNT)];
    let tables = conditional(include_str!("../../../shaders/shared/tables.wgsl"), &[], &each);
    let kernel = conditional(include_str!("../../../shaders/average.wgsl"), &[], &each);
    constants(&[], WORKGROUP_LEN) + &pages(ROLE_NAMES[0], TABLE_COUNT + 1, page_count) + &tables + &kernel
}

/// Buffers that `histogram.wgsl` binds as its own: counts and edges.
const HISTOGRAM_OUTPUT_COUNT: u32 = 2;

/// `segment_reduce.wgsl`, which reads one role.
pub(crate) fn segment_reduce_wgsl(page_count: u32) -> String {
    let pages = pages(ROLE_NAMES[0], TABLE_COUNT + 1, page_count);
    let kernel = include_str!("../../../shaders/segment_reduce.wgsl");
    constants(&SEGMENT_WORDS, WORKGROUP_LEN) + &pages + &lanes(&SEGMENT_WORDS, WORKGROUP_LEN) + &shared(false) + kernel
}

/// Every shader of a form as composed, by name, with the words a record is made of.
#[doc(hidden)]
pub fn compose_for_tests(form: Form, page_count: u32) -> (Vec<(&'static str, String)>, Vec<String>) {
    let shaders = vec![
        ("grad_reduce", grad_reduce_wgsl(form, page_count)),
        ("tensor_reduce", tensor_reduce_wgsl(form, WORKGROUP_LEN)),
        ("tensor_reduce", tensor_reduce_wgsl(form, NARROW_WORKGROUP_LEN)),
        ("average", average_wgsl(page_count)),
        ("histogram", histogram_wgsl(page_count)),
        ("segment_reduce", segment_reduce_wgsl(page_count)),
    ];
    let words = RecordLayout::new(form).words().map(|(name, _)| name.to_owned()).collect();
    (shaders, words)
}

/// Numbers that shaders share with Rust, for a record of these words.
fn constants(words: &[(&str, Kind)], workgroup_len: u32) -> String {
    let before = |kind: Kind| words.iter().take_while(|(_, k)| *k < kind).count();
    let numbers = [
        ("WORKGROUP_LEN", workgroup_len),
        ("SEGMENT_COUNT", SEGMENT_COUNT),
        ("LOAD_COUNT", LOAD_COUNT),
        ("TILE_LEN", TILE_LEN),
        ("RANGE_MAX", (127 + RANGE_LOG2) << 23),
        ("RANGE_MIN", (127 - RANGE_LOG2) << 23),
        ("SCALE", SCALE_LOG2 << 23),
        ("SIGN_BIT", !MAGNITUDE_MASK),
        ("MAGNITUDE", MAGNITUDE_MASK),
        ("INFINITY", INFINITY_BITS),
        ("MIN_NORMAL", MIN_NORMAL_BITS),
        ("HAS_GRADIENT", HAS_GRADIENT),
        ("HAS_PREVIOUS", HAS_PREVIOUS),
        ("HAS_PARAM", HAS_PARAM),
        ("HAS_UPDATE", HAS_UPDATE),
        ("KEEPS", KEEPS),
        ("BATCH_LEN", before(Kind::Moments).clamp(MOMENTS_LEN, batch_len_max(workgroup_len)) as u32),
        ("SUMS_END", before(Kind::Min) as u32),
        ("MINS_END", before(Kind::Max) as u32),
        ("MAXES_END", before(Kind::Count) as u32),
        ("RECORD_LEN", words.len() as u32),
        ("MOMENTS_LEN", MOMENTS_LEN as u32),
    ];
    numbers.iter().map(|(name, value)| format!("const {name} = {value}u;\n")).collect()
}

fn has_moments(layout: &RecordLayout) -> bool {
    layout.end_before(Kind::Moments) < layout.len()
}

/// What folds the records of a layout.
fn folds(layout: &RecordLayout, workgroup_len: u32) -> String {
    let words: Vec<_> = layout.words().take(layout.end_before(Kind::Moments)).collect();
    let moments = || conditional(include_str!("../../../shaders/shared/moments.wgsl"), &[], &[each_moment_word()]);
    lanes(&words, workgroup_len) + &if has_moments(layout) { moments() } else { String::new() }
}

/// Tables, and the arithmetic of values.
fn shared(moments: bool) -> String {
    let each = [repeated("each", LOAD_COUNT)];
    conditional(include_str!("../../../shaders/shared/tables.wgsl"), &[], &each)
        + &conditional(include_str!("../../../shaders/shared/values.wgsl"), &[("moments", moments)], &each)
}

fn of_form(form: Form, layout: &RecordLayout, source: &str) -> String {
    let moments = (layout.end_before(Kind::Moments)..layout.len()).step_by(MOMENTS_LEN);
    let moments = ("each_moments", moments.map(|place| format!("{place}u")).collect());
    conditional(source, &form.conditions(), &[repeated("each", LOAD_COUNT), moments, each_moment_word()])
}

fn each_moment_word() -> (&'static str, Vec<String>) {
    repeated("each_word", MOMENTS_LEN as u32)
}

/// A repetition of the numbers below `count`.
fn repeated(name: &'static str, count: u32) -> (&'static str, Vec<String>) {
    (name, (0..count).map(|number| format!("{number}u")).collect())
}

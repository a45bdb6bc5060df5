//! Shader text: constants that Rust owns, generated lanes and bindings, shared parts, the kernel.

use super::words::{Form, Kind, RecordLayout};
use std::fmt::Write;

/// Invocations of a workgroup, in every kernel.
pub(crate) const WORKGROUP_LEN: u32 = 256;
/// Vector loads of an invocation and tile.
const LOAD_COUNT: u32 = 8;
/// Elements a workgroup classifies at a time.
pub(crate) const TILE_LEN: u32 = WORKGROUP_LEN * 4 * LOAD_COUNT;
/// Squares of magnitudes from 2^-45 to 2^45 can be added 2^32 times in f32; others are scaled by 2^85.
const RANGE_LOG2: u32 = 45;
pub(crate) const SCALE_LOG2: u32 = 85;
/// Words of a lane that a workgroup folds at a time: at half a workgroup's width they fill 16 KiB of shared memory,
/// which is what WebGPU promises.
const BATCH_LEN_MAX: usize = 32;
/// Words of shared memory an entry of `reduce_moments` takes.
const MOMENTS_LEN: usize = 4;

/// Flags of a span at a step: the gradient is there, its state is that of the step to compare with, the parameter is
/// there, so is the parameter before its last move, and the state is to be this step's.
pub(crate) const PRESENT: u32 = 1;
pub(crate) const HAS_PREVIOUS: u32 = 2;
pub(crate) const WEIGHED: u32 = 4;
pub(crate) const MOVED: u32 = 8;
pub(crate) const KEEPS: u32 = 16;

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
            // `Slice::is_bindable` bounds it by the buffer, and `Plan::group` binds a window that covers the
            // span. Chunk, span, state and record indices come from `Plan`, whose buffers are sized by it; every loop
            // is bounded by a chunk's length. The tests run both forms.
            Self::Trusted => unsafe {
                device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            },
        }
    }
}

/// Tensors that a kernel reads an element of at a time, each through pages of its own: gradient, parameter, and the
/// parameter before its last move.
pub(crate) const ROLE_COUNT: usize = 3;
const ROLE_NAMES: [&str; ROLE_COUNT] = ["gradient", "weight", "before"];

impl Form {
    /// The roles that its kernel binds.
    pub(crate) fn role_count(self) -> usize {
        1 + usize::from(self.groups.params) + usize::from(self.groups.updates)
    }

    /// First binding of a page in `grad_reduce`; the bindings before it are the kernel's own.
    pub(crate) fn first_page_binding(self) -> u32 {
        if self.tap { 4 } else { 5 }
    }
}

/// `grad_reduce.wgsl` with `page_count` bindings for each role.
pub(crate) fn grad_reduce_wgsl(form: Form, page_count: u32) -> String {
    let layout = RecordLayout::new(form);
    let mut text = constants(form, &layout);
    for (role, name) in ROLE_NAMES.iter().take(form.role_count()).enumerate() {
        text += &pages(name, form.first_page_binding() + role as u32 * page_count, page_count);
    }
    text += &lanes(&layout);
    text += &conditional(form, &layout, include_str!("../../shaders/shared/values.wgsl"));
    text += &conditional(form, &layout, include_str!("../../shaders/grad_reduce.wgsl"));
    text
}

/// `tensor_reduce.wgsl`.
pub(crate) fn tensor_reduce_wgsl(form: Form) -> String {
    let layout = RecordLayout::new(form);
    let mut text = constants(form, &layout) + &lanes(&layout);
    text += &conditional(form, &layout, include_str!("../../shaders/tensor_reduce.wgsl"));
    text
}

/// Every shader of a form as composed, by name, with the words a record is made of.
#[doc(hidden)]
pub fn compose_for_tests(form: Form, page_count: u32) -> (Vec<(&'static str, String)>, Vec<&'static str>) {
    let shaders =
        vec![("grad_reduce", grad_reduce_wgsl(form, page_count)), ("tensor_reduce", tensor_reduce_wgsl(form))];
    let words = RecordLayout::new(form).words().map(|(name, _)| name).collect();
    (shaders, words)
}

fn constants(form: Form, layout: &RecordLayout) -> String {
    let lane_len = layout.end_before(Kind::Moments);
    let mut numbers = vec![
        ("WORKGROUP_LEN", WORKGROUP_LEN),
        ("LOAD_COUNT", LOAD_COUNT),
        ("TILE_LEN", TILE_LEN),
        ("RANGE_MAX", (127 + RANGE_LOG2) << 23),
        ("RANGE_MIN", (127 - RANGE_LOG2) << 23),
        ("SCALE", SCALE_LOG2 << 23),
        ("PRESENT", PRESENT),
        ("HAS_PREVIOUS", HAS_PREVIOUS),
        ("WEIGHED", WEIGHED),
        ("MOVED", MOVED),
        ("KEEPS", KEEPS),
        ("BATCH_LEN_MAX", BATCH_LEN_MAX as u32),
        ("BATCH_LEN", lane_len.clamp(MOMENTS_LEN, BATCH_LEN_MAX) as u32),
        ("SUMS_END", layout.end_before(Kind::Min) as u32),
        ("MINS_END", layout.end_before(Kind::Max) as u32),
        ("MAXES_END", layout.end_before(Kind::Count) as u32),
        ("RECORD_LEN", layout.len() as u32),
    ];
    let mut places = moments_places(layout);
    if form.groups.dynamics {
        numbers.extend(places.next().map(|place| ("MOMENTS", place as u32)));
    }
    numbers.extend(places.next().map(|place| ("WEIGHT_MOMENTS", place as u32)));
    numbers.iter().map(|(name, value)| format!("const {name} = {value}u;\n")).collect()
}

/// Where the moments of a record start.
fn moments_places(layout: &RecordLayout) -> impl Iterator<Item = usize> {
    (layout.end_before(Kind::Moments)..layout.len()).step_by(MOMENTS_LEN)
}

/// The lane of a layout: its struct, and what folds it, word for word.
fn lanes(layout: &RecordLayout) -> String {
    let lane_len = layout.end_before(Kind::Moments);
    let words: Vec<(&str, Kind)> = layout.words().take(lane_len).collect();
    let each = |line: &dyn Fn(usize, &str, Kind) -> String| {
        words.iter().enumerate().map(|(place, (name, kind))| line(place, name, *kind)).collect::<String>()
    };
    let as_word = |kind, value: String| if kind == Kind::Sum { format!("bitcast<u32>({value})") } else { value };
    let from_word = |kind, value: String| if kind == Kind::Sum { format!("bitcast<f32>({value})") } else { value };
    let combined = |kind, a: String, b: String| match kind {
        Kind::Min => format!("min({a}, {b})"),
        Kind::Max => format!("max({a}, {b})"),
        Kind::Sum | Kind::Count | Kind::Moments => format!("{a} + {b}"),
    };
    let mut text = format!(
        "struct Lane {{\n{}}}\n",
        each(&|_, name, kind| format!("    {name}: {},\n", if kind == Kind::Sum { "f32" } else { "u32" }))
    );
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every write");
    line("fn lane_identity() -> Lane {\n    var lane = Lane();".into());
    for (name, _) in words.iter().filter(|(_, kind)| *kind == Kind::Min) {
        line(format!("    lane.{name} = 0xffffffffu;"));
    }
    line("    return lane;\n}".into());
    line(format!(
        "fn combine(a: Lane, b: Lane) -> Lane {{\n    return Lane(\n{}    );\n}}",
        each(&|_, name, kind| format!("        {},\n", combined(kind, format!("a.{name}"), format!("b.{name}"))))
    ));
    line(format!(
        "// The lane of the record at `at`.\nfn lane_of(at: u32) -> Lane {{\n    return Lane(\n{}    );\n}}",
        each(&|place, _, kind| format!("        {},\n", from_word(kind, format!("records[at + {place}u]"))))
    ));
    line(
        "// Folds every invocation's lane and stores its words from `record` on. Call it in uniform control flow."
            .into(),
    );
    line("fn reduce_lanes(lane: Lane, record: u32, invocation: u32) {".into());
    line("    let upper = invocation - SHARED_LEN;\n    let stores = invocation % SEGMENTS == 0u;".into());
    line("    let word = invocation / SEGMENTS;\n    var total = 0u;".into());
    for (batch, words) in words.chunks(BATCH_LEN_MAX).enumerate() {
        let first = batch * BATCH_LEN_MAX;
        let publish = words.iter().enumerate().map(|(place, (name, kind))| {
            let value = as_word(*kind, format!("lane.{name}"));
            format!("        shared_words[{place}u * SHARED_LEN + upper] = {value};\n")
        });
        let fold = words.iter().enumerate().map(|(place, (name, kind))| {
            let at = format!("shared_words[{place}u * SHARED_LEN + invocation]");
            let value = combined(*kind, format!("lane.{name}"), from_word(*kind, at.clone()));
            format!("        {at} = {};\n", as_word(*kind, value))
        });
        line(format!("    if invocation >= SHARED_LEN {{\n{}    }}", publish.collect::<String>()));
        line("    workgroupBarrier();".into());
        line(format!("    if invocation < SHARED_LEN {{\n{}    }}", fold.collect::<String>()));
        let len = words.len();
        line(format!("    total = fold_batch({first}u, {len}u, invocation);"));
        line(format!("    if stores && word < {len}u {{\n        store(record + {first}u + word, total);\n    }}"));
    }
    line("}".into());
    text += include_str!("../../shaders/shared/lane.wgsl");
    if lane_len < layout.len() {
        text += include_str!("../../shaders/shared/moments.wgsl");
    }
    text
}

/// `source` without the lines whose condition does not hold, and with its repetitions written out.
fn conditional(form: Form, layout: &RecordLayout, source: &str) -> String {
    let has_moments = moments_places(layout).next().is_some();
    let holds = |condition: &str| {
        let (name, wanted) = condition.strip_prefix('!').map_or((condition, true), |name| (name, false));
        let known = form.conditions().into_iter().chain([("moments", has_moments)]).find(|(known, _)| *known == name);
        known.unwrap_or_else(|| panic!("no shader condition is called {name}")).1 == wanted
    };
    let places: Vec<String> = moments_places(layout).map(|place| format!("{place}u")).collect();
    let loads: Vec<String> = (0..LOAD_COUNT).map(|load| load.to_string()).collect();
    let mut blocks: Vec<(Block, String)> = vec![(Block::Once, String::new())];
    for line in source.lines() {
        let directive = line.trim_start();
        if let Some(condition) = directive.strip_prefix("//#if ") {
            blocks.push((if holds(condition) { Block::Once } else { Block::Never }, String::new()));
        } else if directive == "//#each" {
            blocks.push((Block::Each(&loads), String::new()));
        } else if directive == "//#each_moments" {
            blocks.push((Block::Each(&places), String::new()));
        } else if directive == "//#end" {
            let (block, lines) = blocks.pop().expect("a block is open");
            let (_, outer) = blocks.last_mut().expect("every //#end closes a block of its own");
            match block {
                Block::Never => {}
                Block::Once => outer.push_str(&lines),
                Block::Each(values) => values.iter().for_each(|value| outer.push_str(&lines.replace('#', value))),
            }
        } else {
            let (_, lines) = blocks.last_mut().expect("the outermost block stays open");
            lines.push_str(line);
            lines.push('\n');
        }
    }
    assert!(blocks.len() == 1, "every shader block is closed");
    blocks.remove(0).1
}

/// What becomes of the lines between a directive and its `//#end`.
enum Block<'a> {
    Never,
    Once,
    /// Once for each of the values, put in the place of `#`.
    Each(&'a [String]),
}

/// Bindings of a role's pages, and the loads that choose among them outside the unrolled loop.
fn pages(role: &str, first_binding: u32, page_count: u32) -> String {
    let mut text = String::new();
    let mut cases = String::new();
    let mut last_load = String::new();
    for page in 0..page_count {
        let binding = first_binding + page;
        writeln!(text, "@group(0) @binding({binding}) var<storage, read> {role}_{page}: array<vec4<u32>>;")
            .expect("a String takes every write");
        let loads: Vec<String> =
            (0..LOAD_COUNT).map(|load| format!("{role}_{page}[min(at + {}u, last)]", load * WORKGROUP_LEN)).collect();
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
         fn load_{role}(page: u32, at: u32, last: u32) -> array<vec4<u32>, {LOAD_COUNT}> {{\n\
         {body}\n}}\n"
    )
}

//! Shader text that is written rather than read: lanes, bindings of pages, conditions and repetitions.

use super::numbers::{LOAD_COUNT, SEGMENT_COUNT, WORKGROUP_LEN};
use super::words::Kind;
use std::fmt::Write;

/// Words of a lane that a workgroup folds at a time: at half a workgroup's width they fill 16 KiB of shared memory at
/// most, which is what WebGPU promises.
pub(super) fn batch_len_max(workgroup_len: u32) -> usize {
    (workgroup_len / SEGMENT_COUNT) as usize
}

/// The lane of these words, sorted by kind: its struct, and what folds it, word for word.
pub(super) fn lanes(words: &[(&str, Kind)], workgroup_len: u32) -> String {
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
    line("    let upper = invocation - SHARED_LEN;\n    let stores = invocation % SEGMENT_COUNT == 0u;".into());
    line("    let word = invocation / SEGMENT_COUNT;\n    var total = 0u;".into());
    let batch_len = batch_len_max(workgroup_len);
    for (batch, words) in words.chunks(batch_len).enumerate() {
        let first = batch * batch_len;
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
    text += include_str!("../../../shaders/shared/lane.wgsl");
    text
}

/// `source` without the lines whose condition does not hold, and with its repetitions written out: `conditions` says of
/// each whether it holds, `repetitions` what `#` stands for in the lines after `//#name`.
pub(super) fn conditional(source: &str, conditions: &[(&str, bool)], repetitions: &[(&str, Vec<String>)]) -> String {
    let holds = |condition: &str| {
        let (name, wanted) = condition.strip_prefix('!').map_or((condition, true), |name| (name, false));
        let known = conditions.iter().find(|(known, _)| *known == name);
        known.unwrap_or_else(|| panic!("no shader condition is called {name}")).1 == wanted
    };
    let mut blocks: Vec<(Block<'_>, String)> = vec![(Block::Once, String::new())];
    for line in source.lines() {
        let directive = line.trim_start().strip_prefix("//#");
        if let Some(condition) = directive.and_then(|directive| directive.strip_prefix("if ")) {
            blocks.push((if holds(condition) { Block::Once } else { Block::Never }, String::new()));
        } else if directive == Some("end") {
            let (block, lines) = blocks.pop().expect("a block is open");
            let (_, outer) = blocks.last_mut().expect("every //#end closes a block of its own");
            match block {
                Block::Never => {}
                Block::Once => outer.push_str(&lines),
                Block::Each(values) => values.iter().for_each(|value| outer.push_str(&lines.replace('#', value))),
            }
        } else if let Some(name) = directive {
            let known = repetitions.iter().find(|(known, _)| *known == name);
            let (_, values) = known.unwrap_or_else(|| panic!("no shader repetition is called {name}"));
            blocks.push((Block::Each(values), String::new()));
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
pub(super) fn pages(role: &str, first_binding: u32, page_count: u32) -> String {
    let mut text = String::new();
    let mut cases = String::new();
    let mut elements = String::new();
    let mut last_load = String::new();
    for page in 0..page_count {
        let binding = first_binding + page;
        writeln!(text, "@group(0) @binding({binding}) var<storage, read> {role}_{page}: array<vec4<u32>>;")
            .expect("a String takes every write");
        let loads: Vec<String> =
            (0..LOAD_COUNT).map(|load| format!("{role}_{page}[min(at + {}u, last)]", load * WORKGROUP_LEN)).collect();
        let load = format!("return array<vec4<u32>, {LOAD_COUNT}>({});", loads.join(", "));
        writeln!(cases, "case {page}u: {{ {load} }}").expect("a String takes every write");
        writeln!(elements, "case {page}u: {{ return {role}_{page}[at / 4u][at % 4u]; }}")
            .expect("a String takes every write");
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
         {body}\n}}\n\
         // One element by itself.\n\
         fn element_{role}(page: u32, at: u32) -> u32 {{\n\
         switch page {{\n{elements}default: {{ return 0u; }}\n}}\n}}\n"
    )
}

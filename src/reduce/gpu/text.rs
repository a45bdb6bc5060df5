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

/// What stands for the number of a repetition in the lines that are repeated.
const NUMBER: &str = "EACH";

/// `source` without the lines whose condition does not hold, and with its repetitions written out: `conditions` says of
/// each whether it holds, `repetitions` which numbers take the place of `EACH` in the lines after `//#name`.
pub(super) fn conditional(source: &str, conditions: &[(&str, bool)], repetitions: &[(&str, Vec<String>)]) -> String {
    let holds = |condition: &str| {
        let (name, wanted) = condition.strip_prefix('!').map_or((condition, true), |name| (name, false));
        let known = conditions.iter().find(|(known, _)| *known == name);
        known.unwrap_or_else(|| panic!("no shader condition is called {name}")).1 == wanted
    };
    let mut blocks: Vec<(Block<'_>, String)> = vec![(Block::If { is_kept: true }, String::new())];
    for line in source.lines() {
        let directive = line.trim_start().strip_prefix("//#");
        if let Some(condition) = directive.and_then(|directive| directive.strip_prefix("if ")) {
            blocks.push((Block::If { is_kept: holds(condition) }, String::new()));
        } else if directive == Some("else") {
            let Block::If { is_kept } = close(&mut blocks) else { panic!("an //#else follows an //#if") };
            blocks.push((Block::Else { is_kept: !is_kept }, String::new()));
        } else if directive == Some("end") {
            close(&mut blocks);
        } else if let Some(name) = directive {
            let known = repetitions.iter().find(|(known, _)| *known == name);
            let (_, numbers) = known.unwrap_or_else(|| panic!("no shader repetition is called {name}"));
            blocks.push((Block::Each(numbers), String::new()));
        } else {
            let (_, lines) = blocks.last_mut().expect("the outermost block stays open");
            lines.push_str(line);
            lines.push('\n');
        }
    }
    assert!(blocks.len() == 1, "every shader block is closed");
    blocks.remove(0).1
}

/// Closes the innermost block, and adds what it leaves to the one around it.
fn close<'a>(blocks: &mut Vec<(Block<'a>, String)>) -> Block<'a> {
    let (block, lines) = blocks.pop().expect("a block is open");
    let (_, outer) = blocks.last_mut().expect("every //#end closes a block of its own");
    match block {
        Block::If { is_kept } | Block::Else { is_kept } if is_kept => outer.push_str(&lines),
        Block::If { .. } | Block::Else { .. } => {}
        Block::Each(numbers) => numbers.iter().for_each(|number| outer.push_str(&lines.replace(NUMBER, number))),
    }
    block
}

/// What becomes of the lines between a directive and its `//#else` or `//#end`.
enum Block<'a> {
    If {
        is_kept: bool,
    },
    Else {
        is_kept: bool,
    },
    /// Once for each of the numbers, put in the place of `EACH`.
    Each(&'a [String]),
}

/// Bindings of a role's pages, and the loads that choose among them outside the unrolled loop.
pub(super) fn pages(role: &str, first_binding: u32, page_count: u32) -> String {
    let all = |line: &dyn Fn(u32) -> String| (0..page_count).map(line).collect::<String>();
    let load_of = |page: u32| {
        let vector = |load: u32| format!("{role}_{page}[min(at + {}u, last)]", load * WORKGROUP_LEN);
        let vectors: Vec<String> = (0..LOAD_COUNT).map(vector).collect();
        format!("return array<vec4<u32>, LOAD_COUNT>({});", vectors.join(", "))
    };
    let bindings = all(&|page| {
        let binding = first_binding + page;
        format!("@group(0) @binding({binding}) var<storage, read> {role}_{page}: array<vec4<u32>>;\n")
    });
    // A single page leaves nothing to choose.
    let load = match page_count {
        1 => format!("    {}\n", load_of(0)),
        _ => {
            let cases = all(&|page| format!("        case {page}u: {{ {} }}\n", load_of(page)));
            let default = "        default: { return array<vec4<u32>, LOAD_COUNT>(); }\n";
            format!("    switch page {{\n{cases}{default}    }}\n")
        }
    };
    let elements = all(&|page| format!("        case {page}u: {{ return {role}_{page}[at / 4u][at % 4u]; }}\n"));
    format!(
        "{bindings}\
         // The vectors that an invocation classifies of a tile, none past `last`.\n\
         fn load_{role}(page: u32, at: u32, last: u32) -> array<vec4<u32>, LOAD_COUNT> {{\n\
         {load}}}\n\
         // One element by itself.\n\
         fn element_{role}(page: u32, at: u32) -> u32 {{\n    \
             switch page {{\n{elements}        \
                 default: {{ return 0u; }}\n    \
             }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(source: &str, holds: bool) -> String {
        let numbers = |list: &[&str]| list.iter().map(|number| (*number).to_owned()).collect();
        conditional(source, &[("a", holds)], &[("each", numbers(&["0u", "1u"])), ("each_word", numbers(&["7u"]))])
    }

    #[test]
    fn a_condition_leaves_one_side() {
        let source = "x\n//#if a\nyes\n//#else\nno\n//#end\ny\n";
        assert_eq!((composed(source, true), composed(source, false)), ("x\nyes\ny\n".into(), "x\nno\ny\n".into()));
        let alone = "//#if a\nyes\n//#end\n";
        assert_eq!((composed(alone, true), composed(alone, false)), ("yes\n".into(), String::new()));
    }

    #[test]
    fn blocks_nest() {
        let source = "//#each\nv[EACH]\n//#if a\n//#each_word\nw[EACH]\n//#end\n//#else\nno\n//#end\n//#end\n";
        assert_eq!(composed(source, true), "v[0u]\nw[7u]\nv[1u]\nw[7u]\n");
        assert_eq!(composed(source, false), "v[0u]\nno\nv[1u]\nno\n");
    }

    #[test]
    #[should_panic(expected = "an //#else follows an //#if")]
    fn a_repetition_has_no_other_side() {
        composed("//#each\n//#else\n//#end\n", true);
    }

    #[test]
    #[should_panic(expected = "an //#else follows an //#if")]
    fn a_condition_has_no_third_side() {
        composed("//#if a\n//#else\n//#else\n//#end\n", true);
    }

    #[test]
    #[should_panic(expected = "no shader condition is called b")]
    fn an_unknown_condition_is_a_mistake() {
        composed("//#if b\n//#end\n", true);
    }
}

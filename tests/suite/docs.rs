//! What the documents name is there.

use crate::checked_in;
use crate::fixture::{bag, device};
use gradscope::stats::{Cells, Name, ParameterSummary, Row, UpdateSummary};
use gradscope::{Run, Scope, Stats, TensorSummary};
use std::path::Path;

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn every_test_that_stands_for_a_fault_is_there() {
    let root = root();
    let text = std::fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let folders = [
        "crates/models/src",
        "crates/record/src/diagnosis",
        "crates/store/src",
        "crates/store/src/reading",
        "crates/store/src/tensorboard",
        "src/reduce/kernels",
        "src/scope",
        "tests",
        "tests/suite",
        "cli/src/train",
        "cli/src/view",
        "cli/tests",
        "cli/tests/watch",
    ];
    let mut count = 0;
    for name in text.split('`').skip(1).step_by(2) {
        if name.starts_with("tests/") {
            assert!(root.join(name).exists(), "{name}");
            count += 1;
        }
        let Some((module, test)) = name.split_once("::") else { continue };
        let files = [format!("{module}.rs"), format!("{module}/mod.rs")];
        let sources = folders.iter().flat_map(|folder| files.iter().map(move |file| root.join(folder).join(file)));
        let sources: Vec<String> = sources.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        let has = |source: &String| source.contains("#[test]") && source.contains(&format!("fn {test}"));
        // A module alone stands for all its tests; some are made by a macro.
        let whole = |source: &String| test.is_empty() && source.contains("#[test]");
        assert!(sources.iter().any(|source| has(source) || whole(source)), "{name} is no test");
        count += 1;
    }
    assert!(count > 35, "{count}");
}

fn read(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const PAGES: [&str; 15] = [
    "README.md",
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "NOTICES.md",
    "SECURITY.md",
    "crates/models/data/README.md",
    "docs/comparison.md",
    "docs/dashboard.md",
    "docs/diagnoses.md",
    "docs/notes.md",
    "docs/reliability.md",
    "docs/run-format.md",
    "docs/statistics.md",
    "tests/golden/README.md",
];

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let mut count = 0;
    for page in PAGES {
        let folder = root.join(page).parent().unwrap().to_owned();
        let text = read(page);
        for link in text.split("](").skip(1).map(|rest| &rest[..rest.find(')').expect("a link ends")]) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { root.join(page) } else { folder.join(file) };
            assert!(target.exists(), "{page}: {link}");
            if let Some(anchor) = anchor {
                let text = std::fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| {
                    let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                    words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect::<String>()
                });
                assert!(anchors.any(|known| known == anchor), "{page}: {link}");
            }
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

/// The code blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = read(page);
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest[..rest.find("```").expect("a block ends")].to_owned()).collect()
}

#[test]
fn what_the_readme_shows_of_rust_is_in_the_examples() {
    let found = blocks("README.md", "rust");
    assert_eq!(found.len(), 2);
    for (block, example) in found.iter().zip(["examples/quickstart.rs", "examples/learner/main.rs"]) {
        let source = read(example);
        let mut rest = source.lines().map(str::trim);
        for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(rest.any(|known| known == line), "{example} has no such line, or not there: {line}");
        }
    }
}

#[test]
fn what_the_readme_tells_of_versions_is_in_the_manifest() {
    let manifest = read("Cargo.toml");
    let version = |text: &str| text.split('"').nth(1).expect("a version").to_owned();
    let of = |start: &str| {
        version(manifest.lines().find(|line| line.starts_with(start)).expect(start).split_once('=').unwrap().1)
    };
    let readme = read("README.md");
    let ours = of("version = ");
    let (major_minor, _) = ours.rsplit_once('.').unwrap();
    let shown = &blocks("README.md", "toml")[0];
    assert!(shown.contains(&format!("gradscope = \"{major_minor}\"")), "{shown}");
    let burn = manifest.lines().find(|line| line.starts_with("burn = {")).map(version).unwrap();
    assert_eq!(burn, gradscope::internals::BURN_VERSION);
    assert!(shown.contains(&format!("burn = {{ version = \"{burn}\"")), "{shown}");
    let row = format!("| {major_minor} | {burn} |");
    assert!(readme.contains(&row), "the table of versions has no {row}");
    assert!(read("CHANGELOG.md").contains(&format!("## {ours}")), "CHANGELOG.md has no {ours}");
    for page in ["README.md", "docs/comparison.md"] {
        let rules = format!("{} rules", gradscope::record::Rule::ALL.len());
        assert!(read(page).contains(&rules), "{page} has no \"{rules}\"");
    }
}

/// The columns of one set, in the order of the table.
struct ColumnsOf {
    set: Stats,
    names: Vec<Name>,
}

impl ColumnsOf {
    fn list(set: Stats) -> Vec<Name> {
        let mut visitor = Self { set, names: vec![] };
        TensorSummary::visit(None, &mut visitor);
        ParameterSummary::visit(None, &mut visitor);
        UpdateSummary::visit(None, &mut visitor);
        visitor.names
    }
}

impl Cells for ColumnsOf {
    fn has(&self, set: Stats) -> bool {
        set == self.set
    }
    fn u64(&mut self, name: Name, _: Option<u64>) -> Option<u64> {
        self.names.push(name);
        None
    }
    fn f32(&mut self, name: Name, _: Option<f32>) -> Option<f32> {
        self.names.push(name);
        None
    }
    fn f64(&mut self, name: Name, _: Option<f64>) -> Option<f64> {
        self.names.push(name);
        None
    }
}

const SETS: [(&str, Stats); 5] = [
    ("card", Stats::BASIC),
    ("cosine", Stats::COSINE),
    ("dynamics", Stats::DYNAMICS),
    ("params", Stats::PARAMS),
    ("updates", Stats::UPDATES),
];

#[test]
fn a_run_has_the_columns_of_the_table_of_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let lens = [40];
    let model = bag(&device, &lens);
    let builder = Scope::builder(&device).stats(Stats::FULL | Stats::COSINE | Stats::EMA);
    let mut scope = builder.run(dir.path().join("run")).build(&model).unwrap();
    let values = vec![Some(vec![1.0; 40])];
    for step in 0..2 {
        scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
    }
    let finished = scope.finish(&model);
    let mut columns = Run::open(finished.folder.expect("a run folder")).unwrap().columns("stats").unwrap();
    columns.sort();
    let of = |set| ColumnsOf::list(set).into_iter().map(|name| name.to_string());
    let keys = ["step", "epoch", "tensor", "path", "gradient", "previous_step"].map(String::from);
    let mut expected: Vec<String> = keys.into_iter().chain(SETS.into_iter().flat_map(|(_, set)| of(set))).collect();
    let averaged = [Stats::BASIC, Stats::DYNAMICS].into_iter().flat_map(of);
    expected.extend(averaged.flat_map(|name| [format!("ema_gradient_{name}"), format!("ema_parameter_{name}")]));
    expected.sort();
    assert_eq!(columns, expected);
}

/// Names as docs/run-format.md lists them: the second of a pair by its suffix alone.
fn listed(names: &[Name]) -> String {
    let texts: Vec<String> =
        names.iter().map(|name| if name.suffix == "_2" { "`_2`".to_owned() } else { format!("`{name}`") }).collect();
    texts.join(", ")
}

#[test]
fn the_run_format_lists_the_table_of_statistics() {
    let format = read("docs/run-format.md");
    let of_set = |(set, stats): (&str, Stats)| {
        let asked = if stats == Stats::BASIC { "| always |".to_owned() } else { format!("| `{set}` |") };
        (asked, listed(&ColumnsOf::list(stats)))
    };
    let sets = SETS.map(of_set);
    let row = |line: &str| {
        let listed = sets.iter().find_map(|(asked, names)| Some((line.split_once(asked.as_str())?, asked, names)));
        listed.map_or(line.to_owned(), |((_, note), asked, names)| format!("| {names} {asked}{note}"))
    };
    let (before, rest) = format.split_once("\n## `stats`\n").expect("a section of the table `stats`");
    let (section, after) = rest.split_once("\n## ").expect("a section after it");
    let section: Vec<String> = section.lines().map(row).collect();
    let expected = format!("{before}\n## `stats`\n{}\n\n## {after}", section.join("\n").trim_end());
    assert!(sets.iter().all(|(asked, _)| format.contains(asked.as_str())), "a set has no row");
    checked_in::assert_same(&root().join("docs/run-format.md"), &expected);
}

/// Words between backticks of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_column_is_defined_where_its_set_is() {
    let statistics = read("docs/statistics.md");
    for (set, stats) in SETS {
        let heading = format!("\n## `{set}`");
        let (_, section) = statistics.split_once(&heading).unwrap_or_else(|| panic!("no section {set}"));
        let section = section.split("\n## ").next().unwrap();
        // A column that is drawn keeps its name: the first cell has it, or the second where it is another.
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let defined: Vec<&str> = rows.flat_map(|row| row.split('|').skip(1).take(2).flat_map(quoted)).collect();
        for name in ColumnsOf::list(stats).into_iter().map(|name| name.to_string()) {
            assert!(defined.contains(&name.as_str()), "docs/statistics.md, {set}: no row defines `{name}`");
        }
    }
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let root = root();
    let mut folders: Vec<_> =
        ["src", "shaders", "crates", "cli/src", "cli/assets/page", "cli/tests", "tests", "benches", "examples"]
            .map(|name| root.join(name))
            .into();
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // What is generated is read in its sources.
            if path.ends_with("tests/golden/shaders") {
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.extend((path.file_name().unwrap() != "target").then_some(path));
            } else if ["rs", "wgsl", "js"].contains(&extension) {
                let line_count = std::fs::read_to_string(&path).unwrap().lines().count();
                assert!(
                    line_count <= 500,
                    "{} has {line_count} lines: what of it is a room of its own?",
                    path.display()
                );
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count}");
}

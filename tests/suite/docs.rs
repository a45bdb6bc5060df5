//! What the documents name is there.

use crate::fixture::{bag, device};
use gradscope::{Run, Scope, Stats};
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

#[test]
fn every_column_has_its_definition() {
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
    let run = Run::open(finished.folder.expect("a run folder")).unwrap();
    let (statistics, format) = (read("docs/statistics.md"), read("docs/run-format.md"));
    let columns = run.columns("stats").unwrap();
    assert!(columns.len() > 100, "{columns:?}");
    for column in columns {
        let name = ["ema_gradient_", "ema_parameter_"].iter().find_map(|prefix| column.strip_prefix(prefix));
        let name = name.unwrap_or(&column);
        assert!(statistics.contains(&format!("`{name}`")), "docs/statistics.md has no `{name}`");
        let stem = name.trim_end_matches("_1").trim_end_matches("_2");
        let stands =
            [name, &format!("{stem}_1"), &format!("{stem}_…")].iter().any(|name| format.contains(&format!("`{name}`")));
        assert!(stands, "docs/run-format.md has no `{name}`");
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

//! What the documents name is there.

use std::path::Path;

#[test]
fn every_test_that_stands_for_a_fault_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let folders = ["src", "tests", "tests/suite", "cli/tests", "cli/tests/watch", "cli/src/train"];
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

//! Files that are generated and checked in, so that a change to them is seen in review.

use std::path::Path;

/// Holds a file against what is generated now. `GRADSCOPE_UPDATE=1` writes it instead.
#[track_caller]
pub fn assert_same(path: &Path, expected: &str) {
    if std::env::var_os("GRADSCOPE_UPDATE").is_some() {
        std::fs::write(path, expected).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    let line = line.unwrap_or(found.lines().count().min(expected.lines().count()));
    assert!(
        found == expected,
        "{} is not what is generated now, from line {} on; run the test with GRADSCOPE_UPDATE=1 to write it",
        path.display(),
        line + 1
    );
}

//! The examples, as a reader runs them, with fewer steps.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo has built the example beside this test.
fn program(name: &str) -> PathBuf {
    let itself = std::env::current_exe().expect("a program");
    let folder = itself.ancestors().nth(2).expect("a target folder").join("examples");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "{}: `cargo test` without `--test`, or `cargo build --examples`, makes it",
        program.display()
    );
    program
}

fn output(dir: &Path, name: &str, arguments: &[&str]) -> String {
    let done = Command::new(program(name)).args(arguments).current_dir(dir).output().expect("it starts");
    assert!(done.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn quickstart_fits_a_sine() {
    let dir = tempfile::tempdir().unwrap();
    let said = output(dir.path(), "quickstart", &[]);
    let losses: Vec<f64> = said
        .lines()
        .filter_map(|line| {
            line.strip_prefix("step ")?.split(' ').skip_while(|word| *word != "loss").nth(1)?.parse().ok()
        })
        .collect();
    assert_eq!(losses.len(), 10, "{said}");
    assert!(losses[9] < losses[0] / 4.0, "{losses:?}");
    let table = said.lines().filter(|line| line.starts_with("hidden.weight") && line.contains(" 64 "));
    assert_eq!(table.count(), 1, "{said}");
}

#[test]
fn mlp_norms_reads_health_and_sickness() {
    let dir = tempfile::tempdir().unwrap();
    let healthy = output(dir.path(), "mlp_norms", &["--steps", "60"]);
    let norms: Vec<Vec<f64>> = healthy
        .lines()
        .map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
        .filter(|numbers: &Vec<f64>| numbers.len() == 9)
        .collect();
    assert_eq!(norms.iter().map(|line| line[0]).collect::<Vec<_>>(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    for line in &norms {
        let own: f64 = line[3..].iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        assert!((own / line[2] - 1.0).abs() < 2e-3, "all gradients are those of fc1, fc2 and fc3: {line:?}");
    }
    assert!(healthy.contains("Nothing is wrong") && healthy.contains("the learning rate of 0.05 fits"), "{healthy}");
    let sick = output(dir.path(), "mlp_norms", &["--steps", "30", "--lr", "3"]);
    assert!(sick.contains("explodes") && sick.contains("the first is the one to mend first"), "{sick}");
}

#[test]
fn char_transformer_learns_letters() {
    let dir = tempfile::tempdir().unwrap();
    let said = output(dir.path(), "char_transformer", &["--steps", "31", "--every", "10", "--batch", "8"]);
    let number = |text: &str| text.parse::<f64>().ok();
    let losses: Vec<f64> = said
        .lines()
        .filter(|line| line.contains("  block 1 "))
        .filter_map(|line| number(line.split_whitespace().nth(1)?))
        .collect();
    let letter_count = said.split(' ').next().and_then(number).expect("letters come first");
    assert_eq!(losses.len(), 4, "{said}");
    assert!((losses[0] - letter_count.ln()).abs() < 0.5, "it knows nothing yet: {losses:?} for {letter_count} letters");
    assert!(losses[3] < losses[0] - 0.5, "{losses:?}");
    assert!(said.contains("It writes: The gradient"), "{said}");
}

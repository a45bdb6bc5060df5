//! The examples, as a reader runs them, with fewer steps.

use burn_store::{ModuleStore, PytorchStore, bridge};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "support/damage.rs"]
mod damage;

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

fn run(dir: &Path, name: &str, arguments: &[&str]) -> Output {
    Command::new(program(name)).args(arguments).current_dir(dir).output().expect("it starts")
}

fn output(dir: &Path, name: &str, arguments: &[&str]) -> String {
    let done = run(dir, name, arguments);
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

/// The one run folder under `dir`.
fn only_run(dir: &Path) -> gradscope::Run {
    let folders: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let runs: Vec<&PathBuf> = folders.iter().filter(|folder| folder.join("run.json").exists()).collect();
    assert_eq!(runs.len(), 1, "{folders:?}");
    gradscope::Run::open(runs[0]).unwrap()
}

/// The run's steps; its last move is none.
fn records(run: &gradscope::Run) -> Vec<gradscope::StepRecord> {
    let mut records = vec![];
    run.each_record(|record| records.push(record)).unwrap();
    records.retain(|record| !record.last_move);
    records
}

#[test]
fn resnet18_minmax_tells_of_every_parameter() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--epochs", "2", "--batches", "2", "--batch-size", "2", "--side", "32"];
    let said = output(dir.path(), "resnet18_minmax", &small);
    assert!(said.starts_with("ResNet-18, 11181642 parameters"), "{said}");
    let numbers = |line: &str| line.split_whitespace().filter_map(|word| word.parse::<f32>().ok()).collect::<Vec<_>>();
    for epoch in said.split("\nover epoch ").skip(1) {
        let table: Vec<&str> = epoch.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        assert_eq!(table.len(), 62);
        for line in table {
            let bounds = numbers(line);
            assert!(bounds.len() == 4 && bounds[0] <= bounds[1] && bounds[2] <= bounds[3], "{line}");
        }
    }
    assert_eq!(said.matches("\nlayer4.1.bn2.weight").count(), 2, "torchvision's names");
    let run = only_run(&dir.path().join("runs"));
    assert_eq!(records(&run).len(), 4);
}

fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name).to_str().unwrap().to_owned()
}

/// Names in order, and four figures each.
fn dictionary(json: &str) -> Vec<(String, Vec<f64>)> {
    // The names in the order of the text, which a map of serde's forgets.
    let figures: Value = serde_json::from_str(json).unwrap();
    let names = json.lines().filter_map(|line| line.trim().strip_suffix("\": {")?.strip_prefix('"'));
    let entry = |name: &str| {
        let keys = ["param_max", "param_min", "grad_max", "grad_min"];
        (name.to_owned(), keys.map(|key| figures[name][key].as_f64().unwrap()).to_vec())
    };
    names.map(entry).collect()
}

/// The weights that ship, and one tensor more where asked for, as a safetensors file with torchvision's names and layouts.
fn as_safetensors(file: &Path, more: Option<&str>) {
    let mut store = PytorchStore::from_file(golden("weights.pth"));
    let known = store.get_all_tensors().unwrap().values().map(|t| (t.name.clone(), bridge::to_data(t).unwrap()));
    let mut tensors: Vec<_> = known.filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
    tensors.extend(more.map(|name| (name.to_owned(), tensors[0].1.clone())));
    let views = tensors.iter().map(|(name, data)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, data.shape().to_vec(), data.as_bytes());
        (name.clone(), view.unwrap())
    });
    fs::write(file, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn resnet18_snapshot_agrees_with_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let safetensors = dir.path().join("weights.safetensors");
    as_safetensors(&safetensors, None);
    for weights in [golden("weights.pth"), safetensors.to_str().unwrap().to_owned()] {
        for (mode, tolerance) in [("train", 1e-3), ("eval", 2e-5)] {
            let input = golden("input.npy");
            let mut arguments = vec!["--weights", &weights, "--input", &input, "--json", "-"];
            arguments.extend((mode == "eval").then_some("--eval"));
            let ours = dictionary(&output(dir.path(), "resnet18_snapshot", &arguments));
            let theirs = dictionary(&fs::read_to_string(golden(&format!("{mode}.json"))).unwrap());
            assert_eq!(ours.len(), 62);
            for ((our_name, ours), (their_name, theirs)) in ours.iter().zip(&theirs) {
                assert_eq!(our_name, their_name);
                for (ours, theirs) in ours.iter().zip(theirs) {
                    assert!(
                        (ours - theirs).abs() <= tolerance * theirs.abs(),
                        "{mode} {our_name}: {ours} and {theirs}"
                    );
                }
            }
        }
    }
}

#[test]
fn another_networks_weights_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    as_safetensors(&dir.path().join("deeper.safetensors"), Some("layer1.2.conv1.weight"));
    let done = run(dir.path(), "resnet18_snapshot", &["--weights", "deeper.safetensors"]);
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && error.contains("layer1.2.conv1.weight"), "{error}");
}

#[test]
fn numbers_that_no_training_can_use_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, option) in [
        ("char_transformer", "--batch"),
        ("cifar_zero_dynamics", "--images"),
        ("layer_report", "--batches"),
        ("learner", "--batch-size"),
        ("mlp_norms", "--steps"),
        ("own_statistic", "--batch-size"),
        ("resnet18_minmax", "--classes"),
    ] {
        let done = run(dir.path(), name, &[option, "0"]);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(2) && error.contains(option), "{name}: {error}");
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was written");
}

/// A PNG of one colour.
fn png(path: &Path, color: png::ColorType, pixel: &[u8]) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), 40, 30);
    encoder.set_color(color);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixel.repeat(40 * 30)).unwrap();
}

#[test]
fn resnet18_snapshot_takes_images() {
    let dir = tempfile::tempdir().unwrap();
    let weights = golden("weights.pth");
    let figures = |color, pixel: &[u8]| {
        png(&dir.path().join("image.png"), color, pixel);
        let arguments = ["--weights", &weights, "--image", "image.png", "--eval", "--json", "-"];
        dictionary(&output(dir.path(), "resnet18_snapshot", &arguments))
    };
    let grey = figures(png::ColorType::Rgb, &[90, 90, 90]);
    assert_eq!(grey, figures(png::ColorType::Grayscale, &[90]));
    assert_eq!(grey, figures(png::ColorType::Rgba, &[90, 90, 90, 7]));
    assert_ne!(grey, figures(png::ColorType::Rgb, &[90, 90, 200]));
}

#[test]
fn damaged_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    png(&dir.path().join("whole.png"), png::ColorType::Rgb, &[1, 2, 3]);
    let (weights, input) = (golden("weights.pth"), golden("input.npy"));
    let whole = [
        ("--weights", "hit.pth", fs::read(&weights).unwrap()),
        ("--weights", "hit.safetensors", vec![8, 0, 0, 0, 0, 0, 0, 0, b'{', b'}', b' ', b' ', b' ', b' ', b' ', b' ']),
        ("--input", "hit.npy", fs::read(&input).unwrap()),
        ("--image", "hit.png", fs::read(dir.path().join("whole.png")).unwrap()),
    ];
    damage::each_case(24, |random| {
        let (option, file, bytes) = &whole[random.below(whole.len())];
        fs::write(dir.path().join(file), damage::damaged(bytes, random)).unwrap();
        let mut arguments = vec!["--device", "cpu", "--json", "-", option, file];
        arguments.extend(if *option == "--weights" { ["--input", &input] } else { ["--weights", &weights] });
        let done = run(dir.path(), "resnet18_snapshot", &arguments);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        match done.status.code() {
            Some(0) => assert_eq!(dictionary(&String::from_utf8(done.stdout).unwrap_or_default()).len(), 62),
            code => {
                assert!(code == Some(1) && error.contains(file) && !error.contains("panicked"), "{code:?}: {error}")
            }
        }
    });
    let nothing = run(dir.path(), "resnet18_snapshot", &["--weights", "nowhere.pth"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("nowhere.pth"));
}

#[test]
fn layer_report_lays_two_trainings_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let list = output(dir.path(), "layer_report", &["--model", "resnet50", "--list"]);
    assert_eq!(list.lines().count(), 107, "53 convolutions, 53 norms and a linear layer");
    assert!(list.contains("  0  conv1 ") && list.contains("layer4.2.bn3") && !dir.path().join("runs").exists());
    let said = output(dir.path(), "layer_report", &["--layers", "0,2,4", "--epochs", "2", "--batches", "4"]);
    assert!(said.contains("conv1") && said.contains("epoch 2: gradients"), "{said}");
    for (kind, is_sick) in [("stable", false), ("unstable", true)] {
        let run = only_run(&dir.path().join("runs/layer_report").join(kind));
        let paths: Vec<&str> = run.params().iter().map(|param| param.path.as_str()).collect();
        assert_eq!(paths, ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"]);
        let sick = run.findings().unwrap().iter().any(|finding| finding.severity > gradscope::record::Severity::Note);
        assert_eq!(sick, is_sick, "{kind}");
    }
    let wrong = run(dir.path(), "layer_report", &["--layers", "5"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("0 to 4"));
}

#[test]
fn cifar_zero_dynamics_keeps_everything_of_the_study() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--epochs", "2", "--images", "80", "--checkpoint-every", "2"];
    let said = output(dir.path(), "cifar_zero_dynamics", &small);
    assert!(said.lines().any(|line| line.starts_with("    2 ") && line.contains('%')), "{said}");
    let run = only_run(&dir.path().join("runs"));
    let folder = run.folder();
    assert!(folder.join("checkpoints/epoch-2/model.bpk").exists() && !folder.join("checkpoints/epoch-1").exists());
    assert!(fs::read_dir(folder.join("tensorboard")).unwrap().count() > 0);
    let records = records(&run);
    let update = records[3].tensors[0].update.as_ref().unwrap();
    assert!(update.crossings.is_some() && update.retained.is_some());
    assert!(records[3].global.dynamics.unwrap().transitions.is_some() && records[3].global.sign_flip_count.is_some());
}

#[test]
fn learner_trains_under_burns_own_display() {
    let dir = tempfile::tempdir().unwrap();
    let said = output(dir.path(), "learner", &["--epochs", "1", "--batch-size", "100"]);
    let shown = said.lines().filter(|line| line.starts_with("train ") && line.contains("Gradient norm: epoch "));
    assert_eq!(shown.count(), 1, "{said}");
    assert!(said.contains("| Train | Gradient norm |"), "{said}");
    assert!(said.contains("mlp.fc1.weight") && said.contains("30 steps"), "{said}");
}

#[test]
fn own_statistic_is_recorded_with_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let said = output(dir.path(), "own_statistic", &["--steps", "21"]);
    let rows: Vec<Vec<f64>> = said
        .lines()
        .map(|line| line.split_whitespace().filter_map(|word| word.trim_end_matches('%').parse().ok()).collect())
        .filter(|row: &Vec<f64>| row.len() == 5)
        .collect();
    assert_eq!(rows.len(), 3, "{said}");
    for row in rows {
        assert!(
            (0.0..=100.0).contains(&row[2]) && (1.0..=50176.0).contains(&row[3]) && (1.0..=640.0).contains(&row[4])
        );
    }
    let run = only_run(&dir.path().join("runs"));
    assert!(records(&run).iter().all(|record| record.scalar("participation/fc2.weight").is_some()));
}

//! The command as a user meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn gradscope(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gradscope")).args(arguments).current_dir(dir).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs with bad input and expects exit code 2, the words, and an empty folder.
fn refused(arguments: &[&str], words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let output = gradscope(dir.path(), arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{arguments:?}: `{word}` is not in: {error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{arguments:?} left something behind");
}

#[test]
fn bad_input_names_the_object_and_the_remedy() {
    refused(&["--device", "tpu"], &["tpu", "auto, gpu or cpu"]);
    refused(&["train", "--eps", "0,1e-5"], &["--eps", "not a finite, positive number"]);
    refused(&["train", "--eps", "nan,1"], &["--eps", "NaN"]);
    refused(&["train", "--eps", "1e-5,1e-7"], &["--eps", "ascend"]);
    refused(&["train", "--eps", "1e-5"], &["--eps", "two numbers"]);
    refused(&["train", "--lr", "-1"], &["--lr"]);
    refused(&["train", "--select", "conv9"], &["conv9", "matches none", "fc1.weight"]);
    refused(&["train", "--select", "("], &["regular expression"]);
    refused(&["train", "--data-dir", "nowhere"], &["nowhere", "no such folder"]);
    refused(&["train", "--model", "gpt"], &["gpt", "mlp"]);
    refused(&["train", "--epochs", "0"], &["--epochs"]);
    refused(&["train", "--stats", "cards"], &["--stats", "cards", "card, dynamics, params, updates"]);
    refused(&["train", "--every", "0"], &["--every"]);
    refused(&["train", "--rule", "oscilation=off"], &["--rule", "oscilation", "oscillation"]);
    refused(&["explain"], &["runs", "no such folder"]);
    refused(&["explain", "nowhere", "--rules"], &["--rules"]);
    refused(&["explain", "nowhere"], &["nowhere", "no such folder"]);
    refused(&["watch", "nowhere"], &["nowhere", "no such folder"]);
    refused(&["train", "--open"], &["--open", "--watch"]);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(&["watch", ".", "--port", &port], &[&port, "take another port"]);
    refused(&["train", "--watch", "--port", &port], &[&port, "take another port"]);
}

/// The four files of a data set of `count` blank images, each `rows` x 28.
fn write_set(dir: &Path, rows: u32, claimed: u32, count: u32, label: u8) {
    for kind in ["train", "t10k"] {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let mut images = words(&[0x803, claimed, rows, 28]);
        images.resize(images.len() + (count * rows * 28) as usize, 7);
        let mut labels = words(&[0x801, claimed]);
        labels.resize(labels.len() + count as usize, label);
        fs::write(dir.join(format!("{kind}-images-idx3-ubyte")), images).unwrap();
        fs::write(dir.join(format!("{kind}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn runs_are_listed_and_shown_and_the_machine_is_examined() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), &["train", "--steps", "3", "--stats", "card"]);
    let out = |arguments: &[&str]| {
        let output = gradscope(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let listed = out(&["ls"]);
    let (heads, line) = listed.split_once('\n').unwrap();
    for head in ["run", "status", "model", "steps", "started (UTC)", "time", "rate", "loss", "warnings"] {
        assert!(heads.contains(head), "{head}: {heads}");
    }
    assert!(line.starts_with("runs/mlp/") && line.contains("finished") && line.contains("1.0e-3"), "{line}");
    assert!(!listed.contains('\u{1b}'), "no colours where nobody sees them: {listed:?}");
    let json: serde_json::Value = serde_json::from_str(&out(&["ls", "runs", "--json"])).unwrap();
    assert_eq!((&json["status"], &json["step_count"]), (&"finished".into(), &3.into()));
    let shown = out(&["show", "runs"]);
    assert!(shown.contains("fc1.weight") && shown.contains("findings: none"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&out(&["show", "runs", "--json"])).unwrap();
    assert_eq!(json["parameters"][0]["path"], "fc1.weight");
    assert_eq!(json["parameters"][0]["observed_count"], 3);
    let examined = out(&["doctor"]);
    assert!(examined.contains("gradscope will use") && examined.contains("GPU and CPU twin agree"), "{examined}");
    let json: serde_json::Value = serde_json::from_str(&out(&["doctor", "--json"])).unwrap();
    assert_eq!(json["self_test"]["ok"], true);
    assert!(out(&["completions", "bash"]).contains("explain"));
    assert_eq!(out(&["ls", "."]).lines().count(), 2, "heads, and the run");
    refused(&["ls", "nowhere"], &["nowhere", "no such folder"]);
    refused(&["completions", "tcsh"], &["tcsh"]);
}

#[test]
fn programs_are_told_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let lines = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let output = gradscope(dir.path(), arguments);
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let events = lines(&["train", "--steps", "4", "--json"]);
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!((&events[0]["event"], &events[0]["step_count"]), (&"start".into(), &4.into()));
    let steps: Vec<_> = of("step").iter().map(|event| event["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 1, 2, 3]);
    for step in of("step") {
        assert!(step["scalars"]["loss"].as_f64().unwrap() > 0.0 && step["l2_norm"].as_f64().unwrap() > 0.0, "{step}");
        let worst = &step["worst"];
        assert!(
            worst["path"].as_str().unwrap().starts_with("fc") && worst["why"].as_str().unwrap().ends_with("near zero")
        );
    }
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["status"], &end["step_count"]), (&"end".into(), &"finished".into(), &4.into()));
    assert!(end["test_accuracy"].as_f64().is_some() && Path::new(end["folder"].as_str().unwrap()).is_relative());
    let sick = lines(&["train", "--steps", "8", "--lr", "1e30", "--json"]);
    let finding = sick.iter().find(|event| event["event"] == "finding" && event["rule"] == "non_finite").unwrap();
    assert!(finding["text"].as_str().unwrap().contains("CRITICAL"), "{finding}");
    let worst = sick.iter().rfind(|event| event["event"] == "step").unwrap()["worst"].clone();
    assert_eq!(worst["why"], "is not finite");
    let explained = &lines(&["explain", end["folder"].as_str().unwrap(), "--json"])[0];
    assert_eq!((&explained["healthy"], &explained["parameters"][0]["path"]), (&true.into(), &"fc1.weight".into()));
}

#[test]
fn a_rule_stops_training_and_the_run_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["train", "--steps", "20", "--lr", "1e30", "--rule", "non_finite=stop"];
    let output = gradscope(dir.path(), &arguments);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("stopped after step") && error.contains("non_finite"), "{error}");
    assert!(out.contains("CRITICAL") && out.contains("recorded in"), "{out}");
    let explained = text(&gradscope(dir.path(), &["explain", "runs"]).stdout);
    assert!(explained.contains("wrong") && explained.contains("[non_finite]"), "{explained}");
    let without = text(&gradscope(dir.path(), &["explain", "runs", "--rule", "non_finite=off"]).stdout);
    assert!(!without.contains("[non_finite]"), "{without}");
    let rules = text(&gradscope(dir.path(), &["explain", "--rules"]).stdout);
    assert!(rules.contains("stalled (note)") && rules.contains("sign_flip_ratio"), "{rules}");
}

#[test]
fn findings_have_colours_where_they_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let printed = |arguments: &[&str], force: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradscope"));
        command.args(arguments).current_dir(&dir).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        if force {
            command.env("CLICOLOR_FORCE", "1");
        }
        let output = command.output().unwrap();
        let out = text(&output.stdout);
        out.lines().find(|line| line.contains("CRITICAL")).unwrap_or_else(|| panic!("{out}")).to_owned()
    };
    let train = ["train", "--steps", "6", "--lr", "1e30", "--device", "cpu"];
    for arguments in [&train[..], &["explain", "runs"], &["show", "runs"]] {
        let [coloured, plain] = [true, false].map(|force| printed(arguments, force));
        assert!(coloured.contains('\u{1b}') && !plain.contains('\u{1b}'), "{arguments:?}: {coloured:?}, {plain:?}");
    }
}

#[test]
fn stats_chooses_what_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let print = |stats: &str| {
        let output =
            gradscope(dir.path(), &["train", "--model", "cnn", "--steps", "6", "--no-record", "--stats", stats]);
        assert!(output.status.success(), "{stats}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let (card, full) = (print("card"), print("full"));
    for words in ["move/weight", "unmoved", "minima", "retained", "std"] {
        assert!(!card.contains(words) && full.contains(words), "{words}: {card}\n{full}");
    }
    for printed in [&card, &full] {
        assert!(printed.contains("at the first step"), "{printed}");
    }
    let weighed = full.lines().any(|line| line.starts_with("bn1.gamma") && line.contains("e0"));
    assert!(weighed, "weights near 1 have their figures: {full}");
}

#[test]
fn bad_data_files_are_refused() {
    for (rows, claimed, count, label, word) in [
        (28, 20, 19, 1, "truncated"),
        (28, 20, 21, 1, "goes on"),
        (27, 20, 20, 1, "27 x 28"),
        (56, 20, 20, 1, "56 x 28"),
        (28, 20, 20, 10, "classes go from 0 to 9"),
        (28, 4_000_000_000, 1, 1, "claims 4000000000"),
        (28, 0, 0, 1, "claims 0"),
    ] {
        let data = tempfile::tempdir().unwrap();
        write_set(data.path(), rows, claimed, count, label);
        refused(&["train", "--data-dir", data.path().to_str().unwrap()], &[word, "--data-dir"]);
    }
    let empty = tempfile::tempdir().unwrap();
    refused(&["train", "--data-dir", empty.path().to_str().unwrap()], &["train-images-idx3-ubyte"]);
    let data = tempfile::tempdir().unwrap();
    write_set(data.path(), 28, 20, 20, 1);
    fs::write(data.path().join("t10k-images-idx3-ubyte"), b"PNG!").unwrap();
    refused(&["train", "--data-dir", data.path().to_str().unwrap()], &["t10k", "too short"]);
}

fn train(dir: &Path, arguments: &[&str]) -> (String, String) {
    let output = gradscope(dir, arguments);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {error}");
    (out, error)
}

#[test]
fn the_main_job_trains_on_the_gpu_and_prints_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let (out, error) = train(dir.path(), &["train", "--device", "gpu", "--steps", "30"]);
    for word in ["fc1.weight", "fc3.bias", "all gradients of step 29", "test accuracy", "hand-off", "recorded in"] {
        assert!(out.contains(word), "`{word}` is not in:\n{out}");
    }
    assert!(error.contains("training mlp on"), "{error}");
    assert!(!error.contains("XDG_RUNTIME_DIR"), "{error}");
    let run = fs::read_dir(dir.path().join("runs/mlp")).unwrap().next().unwrap().unwrap().path();
    let mut steps = 0;
    gradscope::Run::open(run).unwrap().each_record(|_| steps += 1).unwrap();
    assert_eq!(steps, 30);
}

#[test]
fn the_same_seed_gives_the_same_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let table = |seed: &str| {
        let (out, _) = train(dir.path(), &["--steps", "6", "--no-record", "--seed", seed]);
        out.lines().take_while(|line| !line.starts_with("time")).collect::<Vec<_>>().join("\n")
    };
    let first = table("5");
    assert_eq!(first, table("5"));
    assert_ne!(first, table("6"));
}

#[test]
fn without_a_gpu_it_says_so_and_carries_on_or_stops() {
    let dir = tempfile::tempdir().unwrap();
    // Neither a Vulkan nor a GL driver is in sight of the process.
    let hidden = |device: &str| {
        Command::new(env!("CARGO_BIN_EXE_gradscope"))
            .args(["--device", device, "--steps", "3", "--no-record"])
            .env("VK_DRIVER_FILES", "/nonexistent.json")
            .env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent.json")
            .current_dir(dir.path())
            .output()
            .expect("the command runs")
    };
    if cfg!(target_os = "linux") {
        let auto = hidden("auto");
        let error = text(&auto.stderr);
        assert!(auto.status.success(), "{error}");
        assert!(error.contains("NO GPU") && error.contains("mesa-vulkan-drivers"), "{error}");
        assert!(text(&auto.stdout).contains("fc1.weight"));
        let gpu = hidden("gpu");
        assert_eq!(gpu.status.code(), Some(2));
        assert!(text(&gpu.stderr).contains("mesa-vulkan-drivers"));
    }
    let (out, error) = train(dir.path(), &["--device", "cpu", "--steps", "3", "--no-record"]);
    assert!(error.contains("on CPU") && out.contains("fc1.weight"), "{error}{out}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_after_the_step_with_everything_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gradscope"))
        .args(["--epochs", "1000", "--quiet"])
        .current_dir(dir.path())
        .spawn()
        .expect("the command runs");
    // Training is on its way once records have reached the disk.
    let run = || fs::read_dir(dir.path().join("runs/mlp")).ok()?.next()?.ok().map(|entry| entry.path());
    let step_count = || {
        let mut steps = 0;
        let read = gradscope::Run::open(run()?).ok()?.each_record(|_| steps += 1);
        read.ok().map(|()| steps)
    };
    while step_count().is_none_or(|count| count == 0) {
        assert!(child.try_wait().unwrap().is_none(), "training ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let ended = gradscope::Run::open(run().unwrap()).unwrap();
    assert_eq!(ended.status(), gradscope::RunStatus::Interrupted);
    assert_eq!(Some(ended.manifest().step_count), step_count());
    assert!(run().unwrap().join("checkpoints").exists(), "it can go on");
}

#[test]
fn help_teaches() {
    let dir = tempfile::tempdir().unwrap();
    let (help, _) = train(dir.path(), &["train", "--help"]);
    for word in ["--model", "--data-dir", "--select", "--eps", "--device", "--no-scope"] {
        assert!(help.contains(word), "{word}");
    }
}

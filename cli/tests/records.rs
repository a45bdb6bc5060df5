//! Runs that last: killed, resumed, on disks that fail, of names that are odd; and what is made from them.

use gradscope::record::{Global, Gradient, Param, Shapes, SignMapRow, TensorRecord};
use gradscope::stats::{Partial, Segment, order_key};
use gradscope::store::{Missed, RunPlace, RunStart, RunWriter};
use gradscope::{Run, RunStatus, Stats, StepRecord};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gradscope"));
    command.args(arguments).current_dir(dir);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(dir: &Path, arguments: &[&str]) -> Output {
    let output = command(dir, arguments).output().expect("the command runs");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output
}

/// Exit code 2 and the words.
fn refused(dir: &Path, arguments: &[&str], words: &[&str]) {
    let output = command(dir, arguments).output().expect("the command runs");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{arguments:?}: `{word}` is not in: {error}");
    }
}

/// The only run below `runs/`.
fn run_of(dir: &Path) -> PathBuf {
    let mut runs = fs::read_dir(dir.join("runs/mlp")).unwrap().map(|entry| entry.unwrap().path());
    let run = runs.next().unwrap();
    assert_eq!(runs.next(), None);
    run
}

/// Every observed step of a run with its loss; each once, in order, and with all tensors.
fn losses(run: &Path) -> Vec<(u64, f64)> {
    let run = Run::open(run).unwrap();
    let mut rows: Vec<(u64, usize)> = Vec::new();
    run.each_row(|row| {
        if !row.last_move {
            rows.push((row.step, row.tensor));
        }
    })
    .unwrap();
    let tensor_count = run.params().len();
    for (place, (step, tensor)) in rows.iter().enumerate() {
        assert_eq!(
            (*step, *tensor),
            ((place / tensor_count) as u64, place % tensor_count),
            "no gap, and nothing twice"
        );
    }
    assert_eq!(rows.len() % tensor_count, 0, "a step is there whole, or not at all");
    let loss = run.series(|name| name.name == "loss").unwrap();
    loss.into_iter().flat_map(|loss| loss.points).collect()
}

#[cfg(unix)]
fn kill_9(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Twenty kills at random moments, each followed by a resumed run; in the end the record of a run that never was.
#[cfg(unix)]
#[test]
fn killed_runs_keep_what_was_flushed_and_go_on() {
    const KILL_COUNT: u32 = 20;
    let (killed, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = killed.path();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut kills, mut mid_run) = (0, 0);
    while kills < KILL_COUNT {
        let resumable = fs::read_dir(dir.join("runs/mlp")).is_ok_and(|mut runs| runs.next().is_some());
        let begin = ["--device", "cpu", "--epochs", "500", "--quiet"];
        let resume = ["--device", "cpu", "--resume", "runs", "--quiet"];
        let mut child = command(dir, if resumable { &resume } else { &begin }).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(300..4000)));
        assert!(child.try_wait().unwrap().is_none(), "it trains until it is killed");
        let flushed = if dir.join("runs/mlp").exists() { losses(&run_of(dir)).len() } else { 0 };
        kill_9(&mut child);
        kills += 1;
        if !dir.join("runs/mlp").exists() {
            continue;
        }
        let run = run_of(dir);
        assert!(losses(&run).len() >= flushed, "what had been flushed is there");
        assert_eq!(Run::open(&run).unwrap().status(), RunStatus::Unfinished);
        if run
            .join("checkpoints")
            .read_dir()
            .is_ok_and(|mut list| list.any(|c| c.unwrap().path().join("state.json").exists()))
        {
            mid_run += 1;
        } else {
            // Killed before its first checkpoint: there is nothing to go on from, and the command says so.
            refused(dir, &["--device", "cpu", "--resume", "runs"], &["no checkpoint", "start anew"]);
            fs::remove_dir_all(dir.join("runs")).unwrap();
        }
    }
    assert!(mid_run >= KILL_COUNT / 2, "{mid_run} of {KILL_COUNT} kills were of runs with a checkpoint");
    let run = run_of(dir);
    let steps = losses(&run).len() as u64 + 20;
    let steps = steps.to_string();
    done(dir, &["--device", "cpu", "--resume", "runs", "--steps", &steps, "--quiet"]);
    done(whole.path(), &["--device", "cpu", "--epochs", "500", "--steps", &steps, "--quiet"]);
    let (killed, whole) = (losses(&run), losses(&run_of(whole.path())));
    assert_eq!(killed.len().to_string(), steps);
    assert_eq!(killed, whole, "to the bit the record of a run that nobody killed");
    assert_eq!(Run::open(&run).unwrap().status(), RunStatus::Finished);
    refused(dir, &["--device", "cpu", "--resume", "runs"], &["are done", "--epochs"]);
}

/// A disk that has room for some kilobytes a file.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_of_once_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -f 800; exec '{}' --device cpu --steps 400 --checkpoint-every 100 --stats full --quiet",
        env!("CARGO_BIN_EXE_gradscope")
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    let error = text(&output.stderr);
    assert!(output.status.success(), "training went on: {error}");
    assert_eq!(error.matches("the run folder can't be written: File too large").count(), 1, "{error}");
    let run = Run::open(run_of(dir.path())).unwrap();
    let kept = losses(run.folder()).len() as u64;
    let manifest = run.manifest();
    assert!(kept > 0 && kept < 400, "{kept} steps are kept");
    assert_eq!(run.status(), RunStatus::Finished);
    assert!(manifest.unwritten_count > 0, "{} of 400 are counted as lost", manifest.unwritten_count);
}

#[test]
fn a_folder_that_vanishes_does_not_stop_training() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = command(dir.path(), &["--device", "cpu", "--steps", "260", "--checkpoint-every", "100"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stats = || {
        fs::read_dir(dir.path().join("runs/mlp"))
            .is_ok_and(|mut r| r.any(|r| r.unwrap().path().join("stats-0001.arrows").exists()))
    };
    while !stats() {
        assert!(child.try_wait().unwrap().is_none(), "training ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::rename(dir.path().join("runs"), dir.path().join("elsewhere")).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("test accuracy"), "{error}");
    assert_eq!(error.matches("the run folder can't be written").count(), 1, "{error}");
    assert!(!out.contains("recorded in") && !dir.path().join("runs").exists(), "{out}");
}

#[test]
fn a_place_that_can_not_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    refused(dir.path(), &["--device", "cpu", "--runs-dir", "file/runs"], &["run folder", "file/runs"]);
}

#[test]
fn what_a_resumed_run_takes_from_the_run_is_not_given_anew() {
    let dir = tempfile::tempdir().unwrap();
    for (option, value) in [("--lr", "0.1"), ("--model", "cnn"), ("--seed", "3"), ("--stats", "card"), ("--eps", "1,2")]
    {
        refused(dir.path(), &["--resume", "runs", option, value], &["--resume", option]);
    }
    refused(dir.path(), &["--resume", "nowhere"], &["nowhere", "no such folder"]);
    fs::create_dir(dir.path().join("runs")).unwrap();
    refused(dir.path(), &["--resume", "runs"], &["no run folder is there"]);
}

#[test]
fn folders_that_can_not_be_read_name_the_file_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let run = made_up(dir.path(), &names(3), 40);
    for command in ["plot", "report"] {
        refused(dir.path(), &[command, "nowhere"], &["nowhere"]);
    }
    let manifest = fs::read_to_string(run.join("run.json")).unwrap();
    fs::write(run.join("run.json"), manifest.replace("\"schema_version\": 2", "\"schema_version\": 9")).unwrap();
    refused(dir.path(), &["plot", run.to_str().unwrap()], &["run.json", "version 9", "a newer gradscope"]);
    fs::write(run.join("run.json"), &manifest[..100]).unwrap();
    refused(dir.path(), &["report", run.to_str().unwrap()], &["run.json", "damaged"]);
    fs::write(run.join("run.json"), &manifest).unwrap();
    fs::write(run.join("stats-0001.parquet"), "PAR1 nothing PAR1").unwrap();
    refused(dir.path(), &["export", "-f", "csv", run.to_str().unwrap()], &["stats-0001.parquet", "damaged"]);
}

/// Names as people and programs give them.
fn names(count: usize) -> Vec<String> {
    let odd = ["a/b.weight", "слой.вес", "<script>alert(1)</script>", "a,\"b\"\n|c", "x&y;<b>"];
    let long = "encoder.".repeat(38) + "weight";
    let odd = odd.iter().map(|name| (*name).to_owned()).chain([long]);
    odd.chain((0..).map(|n| format!("layer{}.{}.conv{}.weight", n / 12, n / 3 % 4, n % 3))).take(count).collect()
}

fn made_up(parent: &Path, names: &[String], steps: u64) -> PathBuf {
    made_up_from(parent, names, 0, steps)
}

/// A run whose steps begin with `first`.
fn made_up_from(parent: &Path, names: &[String], first: u64, steps: u64) -> PathBuf {
    let param = |path: &String| Param::new(path.clone(), vec![100]);
    let params: Vec<Param> = names.iter().map(param).collect();
    let start = RunStart {
        burn_version: String::new(),
        adapter: "none".into(),
        engine: "none".into(),
        fusion: false,
        autotune: false,
        settings: serde_json::json!({ "stats": "card,dynamics", "epsilons": [1e-7, 1e-5] }),
        groups: Stats::DYNAMICS,
        tensorboard: false,
        params: params.clone(),
        facts: vec![("model".into(), "<script>alert(2)</script>".into())],
        flight_recorder_len: 64,
        ..RunStart::default()
    };
    let mut writer = RunWriter::open(&RunPlace::New(parent.to_owned()), start).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for step in 0..steps {
        let mut tensor = |place: usize| {
            let mut partial = Partial { numel: 100, previous_numel: 100, ..Partial::IDENTITY };
            (partial.min_key, partial.max_key) = (order_key((-0.5f32).to_bits()), order_key(1.5f32.to_bits()));
            partial.nan_count = u64::from(place == 1 && step > steps / 2);
            partial.l1_norm = random.f64() * 10f64.powi(place as i32 % 9 - 6);
            partial.l2_norm_sq = (0.1 * partial.l1_norm).powi(2);
            let summary = partial.finish();
            TensorRecord::of(Gradient::Observed { summary, previous_step: step.checked_sub(1) })
        };
        let tensors: Vec<_> = (0..params.len()).map(&mut tensor).collect();
        let column = |column: u64| Segment { numel: 4, zero_count: (column + step) % 5 % 4, ..Segment::default() };
        let sign_map = SignMapRow { first_element: 0, element_count: 400, columns: (0..100).map(column).collect() };
        writer.write(&StepRecord {
            step: first + step,
            epoch: Some(1 + step / 20),
            scalars: vec![("loss".into(), 1.0 / (1.0 + step as f64)), (names[2.min(names.len() - 1)].clone(), 1.0)],
            global: Global::of(&tensors),
            tensors,
            shapes: Some(Shapes { sign_map: Some(sign_map), ..Shapes::default() }),
            ..StepRecord::default()
        });
    }
    writer.finish(RunStatus::Finished, Missed::default()).0.unwrap()
}

#[test]
fn json_has_pytorchs_names_where_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["conv1.weight", "bn1.gamma", "bn1.beta", "layer1.0.downsample.1.gamma"].map(str::to_owned);
    let run = made_up(dir.path(), &names, 3);
    let folder = run.to_str().unwrap();
    done(dir.path(), &["export", folder, "-f", "json", "-o", "out", "--names", "torch"]);
    let text = fs::read_to_string(dir.path().join("out/statistics.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for name in ["conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.downsample.1.weight"] {
        assert!(json["parameters"][name]["l2_norm"].is_array() && json["epochs"][0]["parameters"][name].is_object());
    }
    assert!(!text.contains("gamma"));
    refused(dir.path(), &["export", folder, "-f", "csv", "--names", "torch"], &["--names", "JSON"]);
}

#[test]
fn odd_names_are_right_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let names = names(161);
    let run = made_up(dir.path(), &names, 40);
    let folder = run.to_str().unwrap();
    let out = |format: &str| {
        done(dir.path(), &["export", folder, "-f", format, "-o", format]);
        dir.path().join(format)
    };
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out("json").join("statistics.json")).unwrap()).unwrap();
    let mut found: Vec<_> = json["parameters"].as_object().unwrap().keys().cloned().collect();
    let mut expected = names.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(json["parameters"][&names[1]]["nonfinite_count"][39], 1.0);
    assert_eq!(json["parameters"][&names[2]]["step"].as_array().unwrap().len(), 40);
    assert_eq!(json["epochs"].as_array().unwrap().len(), 2);
    assert_eq!(
        json["epochs"][1]["scalars"]["loss"],
        (20..40).map(|step| 1.0 / (1.0 + f64::from(step))).sum::<f64>() / 20.0
    );
    let mut csv = csv::Reader::from_path(out("csv").join("stats.csv")).unwrap();
    let paths: Vec<String> = csv.records().map(|row| row.unwrap()[3].to_owned()).collect();
    assert_eq!(paths.len(), 40 * 161);
    assert!(paths.iter().zip(names.iter().cycle()).all(|(found, expected)| found == expected));
    assert!(out("parquet").join("stats.parquet").exists());
    let events = fs::read(fs::read_dir(out("tensorboard")).unwrap().next().unwrap().unwrap().path()).unwrap();
    let tag = format!("l2_norm/{}", names[1]);
    assert!(events.windows(tag.len()).any(|window| window == tag.as_bytes()));

    done(dir.path(), &["plot", folder, "-o", "plots"]);
    let svg = fs::read_to_string(dir.path().join("plots/gradient-norm-map.svg")).unwrap();
    assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script"), "names are text");
    assert!(svg.contains("слой.вес") && svg.contains("…") && svg.contains(".e.encoder.weight"), "{svg}");
    for picture in fs::read_dir(dir.path().join("plots")).unwrap() {
        let path = picture.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        match path.extension().unwrap().to_str().unwrap() {
            "png" => assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 3000, "{}", path.display()),
            _ => assert!(
                resvg::usvg::Tree::from_data(&bytes, &resvg::usvg::Options::default()).is_ok(),
                "{}",
                path.display()
            ),
        }
    }
    done(dir.path(), &["report", folder, folder, "-o", "r.html"]);
    let page = fs::read_to_string(dir.path().join("r.html")).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(2)"), "names and facts are text");
    assert!(page.contains("non-finite gradients</b> from step 21 on"), "findings come first");
    for word in ["http://", "https://"] {
        let links = page.matches(word).count()
            - page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count() * usize::from(word == "http://");
        assert_eq!(links, 0, "the page needs nothing from elsewhere");
    }
}

#[test]
fn the_end_of_a_run_brings_pictures_and_events() {
    let dir = tempfile::tempdir().unwrap();
    let output = done(
        dir.path(),
        &[
            "--device",
            "cpu",
            "--steps",
            "60",
            "--stats",
            "full",
            "--histograms",
            "10",
            "--sign-map",
            "1",
            "--plots",
            "--tensorboard",
        ],
    );
    assert!(text(&output.stdout).contains("pictures in"));
    let run = run_of(dir.path());
    let names: Vec<String> = fs::read_dir(run.join("plots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".png").map(str::to_owned))
        .collect();
    for name in [
        "loss",
        "accuracy",
        "global-gradient-min-max",
        "global-weight-min-max",
        "global-gradient-norm",
        "gradient-norm-map",
        "gradient-flow-mean",
        "gradient-flow-max",
        "gradient-l2-norm",
        "gradient-l1-norm",
        "near-zero-smaller-epsilon",
        "released-smaller-epsilon",
        "sign-flips",
        "move-l2-norm",
        "minima-crossed",
        "maxima-crossed",
        "sign-map",
        "sign-map-zoom",
        "weight-histograms",
        "gradient-histograms",
    ] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    assert_eq!(fs::read_dir(run.join("tensorboard")).unwrap().count(), 2, "the run's events, and its pictures");
    let validation = Run::open(&run).unwrap().series(|name| name.name == "validation/loss").unwrap();
    assert_eq!(validation[0].points.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [46, 59]);
}

/// Runs a command, for a minute at most.
fn in_time(dir: &Path, arguments: &[&str]) -> Output {
    let mut child = command(dir, arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..600 {
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    panic!("{arguments:?} did not end within a minute");
}

#[test]
fn steps_that_are_clocks_are_drawn_reported_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    for first in [(1u64 << 53) + 1, 1_795_000_000_000_000_000] {
        let run = made_up_from(&dir.path().join(first.to_string()), &names(20), first, 30);
        let folder = run.to_str().unwrap();
        for arguments in [&["plot", folder][..], &["report", folder], &["explain", folder], &["show", folder]] {
            let output = in_time(dir.path(), arguments);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        }
        let svg = fs::read_to_string(run.join("plots/loss.svg")).unwrap();
        let label: String = (first + 4).to_string();
        let digits: String = svg.chars().filter(|c| c.is_ascii_digit()).collect();
        assert!(digits.contains(&label[..label.len() - 1]), "steps are told apart: {svg}");
        done(dir.path(), &["export", folder, "-f", "csv", "--every", "10", "-o", "every"]);
        let mut csv = csv::Reader::from_path(dir.path().join("every/stats.csv")).unwrap();
        let mut steps: Vec<u64> = csv.records().map(|row| row.unwrap()[0].parse().unwrap()).collect();
        steps.dedup();
        assert_eq!(steps, [first, first + 10, first + 20], "numbers that no stride meets");
    }
}

#[test]
fn pictures_of_many_layers_are_of_bounded_size_and_have_all_that_documents_name() {
    let dir = tempfile::tempdir().unwrap();
    let run = made_up(dir.path(), &names(700), 30);
    done(dir.path(), &["plot", run.to_str().unwrap()]);
    let mut count = 0;
    for entry in fs::read_dir(run.join("plots")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            let svg = fs::read_to_string(&path).unwrap();
            let size = svg.split("viewBox=\"0 0 ").nth(1).unwrap().split('"').next().unwrap();
            let size: Vec<u32> = size.split(' ').map(|len| len.parse().unwrap()).collect();
            assert!(size.iter().all(|len| *len <= 2600), "{}: {size:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 5, "{count} pictures");
    for named in ["gradient-norm-map", "loss"] {
        assert!(run.join(format!("plots/{named}.svg")).exists(), "docs/run-format.md shows {named}.svg");
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_links_and_pipes_are_no_runs() {
    let dir = tempfile::tempdir().unwrap();
    let run = made_up(dir.path(), &names(3), 5);
    let folder = run.to_str().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "mine").unwrap();
    std::os::unix::fs::symlink(&elsewhere, run.join("plots")).unwrap();
    refused(dir.path(), &["plot", folder], &["plots", "it is a link"]);
    std::os::unix::fs::symlink(elsewhere.join("precious"), run.join("report.html")).unwrap();
    refused(dir.path(), &["report", folder], &["report.html", "it is a link"]);
    assert_eq!(fs::read_to_string(elsewhere.join("precious")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);

    let pipe = dir.path().join("pipe");
    fs::create_dir(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(pipe.join("run.json")).status().unwrap().success());
    let output = in_time(dir.path(), &["ls", "."]);
    assert!(output.status.success() && text(&output.stderr).contains("no regular file"), "{}", text(&output.stderr));
    fs::remove_file(pipe.join("run.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", pipe.join("run.json")).unwrap();
    assert!(in_time(dir.path(), &["ls", "."]).status.success(), "an endless device");
}

#[test]
fn control_characters_of_names_do_not_reach_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let run = made_up(dir.path(), &["a\u{1b}[31mb.weight".to_owned(), "c.weight".into(), "d\u{7}.weight".into()], 5);
    let folder = run.to_str().unwrap();
    for arguments in [&["show", folder][..], &["explain", folder], &["ls", folder]] {
        let output = done(dir.path(), arguments);
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{arguments:?}: {shown:?}");
    }
    assert!(text(&done(dir.path(), &["show", folder]).stdout).contains("a\\u{1b}[31mb.weight"));
}

//! What the documentation shows of Python runs, and TensorBoard reads what is written for it.
//!
//! `make test-python` installs what these need and runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn python() -> PathBuf {
    std::env::var_os("GRADSCOPE_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

fn gradscope(dir: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_gradscope")).args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn run_script(dir: &Path, script: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_gradscope")).parent().unwrap().to_owned();
    let path =
        std::env::join_paths(std::iter::once(binary).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let output =
        Command::new(python()).args(["-c", script]).current_dir(dir).env("PATH", path.unwrap()).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{error}");
    out.into_owned()
}

#[test]
#[ignore = "needs Python with pandas, polars, duckdb and IPython: `make test-python`"]
fn the_documents_python_runs() {
    let dir = tempfile::tempdir().unwrap();
    // Two segments, so that there is something to put together.
    gradscope(dir.path(), &["--device", "cpu", "--steps", "50", "--quiet"]);
    gradscope(dir.path(), &["--device", "cpu", "--resume", "runs", "--steps", "70", "--quiet"]);
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/run-format.md")).unwrap();
    let scripts: Vec<&str> =
        document.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(scripts.len(), 5);
    for script in scripts {
        run_script(dir.path(), script);
    }
}

#[test]
#[ignore = "needs Python with tensorboard: `make test-python`"]
fn tensorboard_reads_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let asked = ["--stats", "full", "--histograms", "10", "--sign-map", "1", "--tensorboard"];
    gradscope(dir.path(), &[&["--device", "cpu", "--steps", "50", "--quiet"], asked.as_slice()].concat());
    gradscope(dir.path(), &["--device", "cpu", "--resume", "runs", "--steps", "70", "--tensorboard", "--quiet"]);
    gradscope(dir.path(), &["export", "runs", "-f", "tensorboard", "-o", "exported"]);
    let script = r#"
import glob
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

for folder in ["exported", glob.glob("runs/mlp/*/tensorboard")[0]]:
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "histograms": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    assert [e.step for e in events.Scalars("loss")] == list(range(70)), folder
    assert [e.step for e in events.Scalars("validation/loss")] == [46, 49, 69], folder
    assert [e.step for e in events.Scalars("l2_norm/fc1.weight")] == list(range(70)), folder
    flips = [e.value for e in events.Scalars("sign_flip_ratio/fc2.weight")]
    assert flips and all(0 <= flip <= 1 for flip in flips), folder
    for kind in ["gradient", "parameter"]:
        histogram = events.Histograms(f"{kind}/fc1.weight")[0].histogram_value
        assert histogram.num == sum(histogram.bucket) == 784 * 512, (folder, kind)
        assert histogram.bucket_limit == sorted(histogram.bucket_limit), (folder, kind)
    for kind, figure in [("gradient", ""), ("parameter", "param_")]:
        for at in range(len(events.Histograms(f"{kind}/fc1.weight"))):
            event = events.Histograms(f"{kind}/fc1.weight")[at]
            histogram = event.histogram_value
            assert histogram.bucket_limit[-1] == histogram.max < 100 and -100 < histogram.min, (folder, kind, event.step)
            # The square root of the sum of squares is the norm that stands beside it.
            norm = {"gradient": "l2_norm", "parameter": "param_l2_norm"}[kind]
            norms = {e.step: e.value for e in events.Scalars(f"{norm}/fc1.weight")}
            assert abs(histogram.sum_squares ** 0.5 / norms[event.step] - 1) < 1e-5, (folder, kind, event.step)
    hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert hparams.plugin_name == "hparams" and b"recipe.lr" in hparams.content, folder
    for tag in ["sign_map/all", "sign_map/zoom"]:
        image = events.Images(tag)[0]
        assert image.encoded_image_string[:4] == b"\x89PNG" and image.width > 500, (folder, tag)
    text = events.Tensors("run/hyperparameters")[-1].tensor_proto.string_val[0].decode()
    assert "recipe.lr" in text and "adam" in text, text
# An exported event has the time of its step, and not that of the export.
[live, exported] = [EventAccumulator(f, size_guidance={"scalars": 0}) for f in [glob.glob("runs/mlp/*/tensorboard")[0], "exported"]]
live.Reload(), exported.Reload()
times = [[e.wall_time for e in events.Scalars("l2_norm/fc1.weight")] for events in [live, exported]]
assert times[0] == times[1] and times[0] == sorted(times[0]), times
print("ok")
"#;
    assert_eq!(run_script(dir.path(), script).trim(), "ok");
}

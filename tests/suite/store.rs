//! The run folder: what stands in it, and that failing to write it does not stop anything.

use crate::fixture::{Random, bag, device};
use gradscope::{Device, DeviceChoice, Event, NoticeKind, RunStatus, Schedule, Scope, StepRecord};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap()
}

#[test]
fn a_run_folder_holds_manifest_and_records() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[64, 65]);
    let mut scope = Scope::builder(&device).run(parent.path()).fact("model", "bag").build(&model).unwrap();
    let mut random = Random(1);
    for step in 0..5 {
        let values = [Some(random.gradients(64)), (step != 2).then(|| random.poisons(65))];
        scope.step(step).value("lr", f64::NAN).gradients(&model, &model.gradients(&device, &values)).submit();
    }
    let folder = scope.run_folder().unwrap().to_owned();
    assert_eq!(manifest(&folder)["status"], "running");
    let finished = scope.finish(&model).unwrap();
    assert_eq!(finished.folder.as_deref(), Some(folder.as_path()));

    let manifest = manifest(&folder);
    assert_eq!(manifest["status"], "finished");
    assert_eq!(manifest["step_count"], 5);
    assert_eq!(manifest["facts"]["model"], "bag");
    assert_eq!(manifest["params"][1]["path"], "tensors.1");
    assert_eq!(manifest["params"][1]["numel"], 65);
    let text = fs::read_to_string(folder.join("steps.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let records: Vec<&StepRecord> = finished
        .events
        .iter()
        .filter_map(|event| if let Event::Record(record) = event { Some(record) } else { None })
        .collect();
    assert_eq!(lines.len(), 5);
    for (line, record) in lines.iter().zip(&records) {
        assert_eq!(line["step"], record.step);
        assert_eq!(line["scalars"][0][1], Value::Null, "JSON has no NaN");
        assert_eq!(line["tensors"].as_array().unwrap().len(), record.tensors.len());
    }
    for (line, record) in text.lines().zip(records) {
        // The text is exact; JSON parsers need not be.
        assert_eq!(line, serde_json::to_string(record).unwrap());
    }
}

#[test]
fn gaps_are_explained_in_the_folder() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8]);
    let mut scope = Scope::builder(&device).run(parent.path()).build(&model).unwrap();
    let many = burn::tensor::Tensor::<1>::ones([3], device.burn());
    scope.step(7).scalar("loss", &many).submit();
    let folder = scope.finish(&model).unwrap().folder.unwrap();
    let notices: Value = serde_json::from_str(&fs::read_to_string(folder.join("notices.jsonl")).unwrap()).unwrap();
    assert_eq!(notices["step"], 7);
    assert_eq!(notices["kind"], "scalar_skipped");
    assert_eq!(manifest(&folder)["dropped_count"], 0);
}

#[test]
fn how_a_run_ended_stands_in_its_manifest() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8]);
    let scope = || Scope::builder(&device).run(parent.path()).build(&model).unwrap();
    let interrupted = scope().finish_as(&model, RunStatus::Interrupted).unwrap().folder.unwrap();
    assert_eq!(manifest(&interrupted)["status"], "interrupted");
    let dropped = scope();
    let folder = dropped.run_folder().unwrap().to_owned();
    drop(dropped);
    assert_eq!(manifest(&folder)["status"], "unfinished");
}

#[test]
fn an_unwritable_folder_is_refused_before_anything_is_made() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let model = bag(&device, &[8]);
    let error = Scope::builder(&device).run(file.join("runs")).build(&model).err().unwrap().to_string();
    assert!(error.starts_with("run folder ") && error.contains("file"), "{error}");
    let bad = Scope::builder(&device).run(parent.path().join("runs")).select("nothing").build(&model);
    assert!(bad.is_err() && !parent.path().join("runs").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_the_record_not_the_training() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8]);
    let mut scope = Scope::builder(&device).run(parent.path()).build(&model).unwrap();
    // The writer's descriptor now leads to a device that is always full.
    let steps = scope.run_folder().unwrap().join("steps.jsonl");
    redirect_to_full(&steps);
    let values = [Some(vec![1.0; 8])];
    let mut failures = 0;
    let mut records = 0;
    for step in 0..200 {
        scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
        scope.read(step).unwrap();
        for event in scope.poll() {
            match event {
                Event::Record(_) => records += 1,
                Event::Notice(notice) if matches!(notice.kind, NoticeKind::StoreFailed { .. }) => failures += 1,
                Event::Notice(notice) => panic!("{notice}"),
            }
        }
    }
    assert_eq!((records, failures), (200, 1));
}

/// Points every descriptor of this process that has `path` open at /dev/full.
#[cfg(target_os = "linux")]
fn redirect_to_full(path: &Path) {
    use std::os::fd::AsRawFd;
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut redirected = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target == path) {
            let fd: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: both descriptors are open, and the replaced one's owner only writes to it.
            assert_eq!(unsafe { libc::dup2(full.as_raw_fd(), fd) }, fd);
            redirected += 1;
        }
    }
    assert_eq!(redirected, 1);
}

#[test]
fn captured_tensors_are_those_of_their_step() {
    for device in [device(), Device::open(DeviceChoice::Cpu).unwrap()] {
        let parent = tempfile::tempdir().unwrap();
        let mut model = bag(&device, &[3000, 8]);
        let builder = Scope::builder(&device).run(parent.path()).capture("tensors.0", Schedule::every(3));
        let mut scope = builder.build(&model).unwrap();
        let mut random = Random(71);
        let mut expected = Vec::new();
        for step in 0..6 {
            let (weights, gradients) = (random.poisons(3000), random.poisons(3000));
            model = model.with_weights(&device, &[weights.clone(), vec![0.0; 8]]);
            let source = model.gradients(&device, &[Some(gradients.clone()), Some(vec![1.0; 8])]);
            if step == 4 {
                scope.capture_next();
            }
            scope.step(step).gradients(&model, &source).submit();
            expected.push((weights, gradients));
        }
        let finished = scope.finish(&model).unwrap();
        let notice = finished.events.iter().find(|event| matches!(event, Event::Notice(_)));
        assert_eq!(notice, None, "nothing went wrong");
        let folder = finished.folder.unwrap().join("captures");
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["step-00000000.safetensors", "step-00000003.safetensors", "step-00000004.safetensors"]);
        for step in [0, 3, 4] {
            let bytes = fs::read(folder.join(format!("step-{step:08}.safetensors"))).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(file.names().len(), 2, "the other parameter is not captured");
            let (weights, gradients) = &expected[step];
            for (name, values) in [("parameter/tensors.0", weights), ("gradient/tensors.0", gradients)] {
                let found = file.tensor(name).unwrap();
                assert_eq!(found.shape(), [3000]);
                let bits: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                assert!(found.data() == bits, "{name} of step {step}, to the bit");
            }
        }
    }
    let device = device();
    let error = Scope::builder(&device).capture(".*", Schedule::every(1)).build(&bag(&device, &[1])).err().unwrap();
    assert!(error.to_string().contains("captures are written into a run folder"), "{error}");
}

#[test]
fn a_capture_that_fails_is_told_of_and_training_goes_on() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8]);
    let builder = Scope::builder(&device).run(parent.path()).capture(".*", Schedule::every(1));
    let mut scope = builder.build(&model).unwrap();
    // A file where the folder should be.
    fs::write(scope.run_folder().unwrap().join("captures"), "").unwrap();
    for step in 0..3 {
        scope.step(step).gradients(&model, &model.gradients(&device, &[Some(vec![1.0; 8])])).submit();
    }
    let events = scope.finish(&model).unwrap().events;
    let told = |event: &&Event| event.to_string().contains("not captured");
    assert_eq!(events.iter().filter(told).count(), 3, "{events:?}");
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Record(_))).count(), 3);
}

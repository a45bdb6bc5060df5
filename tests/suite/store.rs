//! The run folder: what stands in it, and that failing to write it does not stop anything.

use crate::fixture::{Random, bag, device, tensor};
use gradscope::{
    Device, DeviceChoice, Event, Finished, NoticeKind, Run, RunStatus, Schedule, Scope, SignMap, Stats, StepRecord,
};
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
    let mut random = Random::new(1);
    for step in 0..5 {
        let values = [Some(random.gradients(64)), (step != 2).then(|| random.poisons(65))];
        scope.step(step).scalar("lr", f64::NAN).gradients(&model, &model.gradients(&device, &values)).submit();
    }
    let folder = scope.run_folder().unwrap().to_owned();
    assert_eq!(manifest(&folder)["status"], "running");
    let finished = scope.finish(&model);
    assert_eq!(finished.folder.as_deref(), Some(folder.as_path()));

    let manifest = manifest(&folder);
    assert_eq!(manifest["status"], "finished");
    assert_eq!(manifest["step_count"], 5);
    assert_eq!(manifest["facts"]["model"], "bag");
    assert_eq!(manifest["params"][1]["path"], "tensors.1");
    assert_eq!(manifest["params"][1]["numel"], 65);
    let recorded: Vec<&StepRecord> = finished
        .events
        .iter()
        .filter_map(|event| if let Event::Record(record) = event { Some(record) } else { None })
        .collect();
    let read = records_of(&folder);
    assert_eq!(recorded.len(), 5);
    same_records(&recorded, &read);
}

/// What the folder holds.
fn records_of(folder: &Path) -> Vec<StepRecord> {
    let mut records = Vec::new();
    Run::open(folder).unwrap().each_record(|record| records.push(record)).unwrap();
    records
}

/// NaN equals itself in text.
fn same_records(expected: &[&StepRecord], found: &[StepRecord]) {
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(found) {
        let [expected, found] = [*expected, found].map(|record| serde_json::to_string_pretty(record).unwrap());
        assert_eq!(expected, found);
    }
}

#[test]
fn everything_a_scope_records_is_read_back_as_it_was() {
    for device in [device(), Device::open(DeviceChoice::Cpu).unwrap()] {
        let parent = tempfile::tempdir().unwrap();
        let mut model = bag(&device, &[64, 65, 700]);
        let mut scope = Scope::builder(&device)
            .stats(Stats::FULL | Stats::COSINE | Stats::EMA)
            .group("first", "tensors.0")
            .group("<b>/ünï", "tensors.[12]")
            .schedule_for("tensors.2", Schedule::every(3))
            .histograms(Schedule::every(2))
            .channels(Schedule::every(4))
            .sign_map(SignMap::default().columns(16), Schedule::every(2))
            .gpu_timer(true)
            .run(parent.path())
            .build(&model)
            .unwrap();
        let mut random = Random::new(9);
        for step in 0..12 {
            let values =
                [Some(random.gradients(64)), (step % 4 != 2).then(|| random.poisons(65)), Some(random.poisons(700))];
            let source = model.gradients(&device, &values);
            let tapped = tensor(&device, &random.poisons(33));
            scope
                .step(step)
                .epoch(step / 5)
                .scalar("lr/<x>", 1e-3)
                .scalar("none", f64::INFINITY)
                .tap("relu", &tapped)
                .tap_tails("tanh", &tapped, [-1.0, 1.0])
                .gradients(&model, &source)
                .submit();
            model = model.with_weights(&device, &[64, 65, 700].map(|len| random.gradients(len)));
        }
        scope.scalar(11, Some(2), "validation/loss", 0.25);
        let finished = scope.finish(&model);
        let folder = finished.folder.unwrap();
        let recorded: Vec<&StepRecord> = finished
            .events
            .iter()
            .filter_map(|event| if let Event::Record(record) = event { Some(record) } else { None })
            .collect();
        assert!(recorded.len() == 13 && recorded[12].last_move, "twelve steps and the last move");
        assert!(recorded.iter().any(|record| record.shapes.is_some()) && recorded[3].tensors[0].ema.is_some());
        same_records(&recorded, &records_of(&folder));
        let run = Run::open(&folder).unwrap();
        assert_eq!(run.status(), RunStatus::Finished);
        let late = run.series(|name| name.source == "log").unwrap();
        assert_eq!((late.len(), &late[0].points, &late[0].epochs), (1, &vec![(11, 0.25)], &vec![Some(2)]));
    }
}

#[test]
fn gaps_are_explained_in_the_folder() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8]);
    let mut scope = Scope::builder(&device).diagnose(false).run(parent.path()).build(&model).unwrap();
    let many = burn::tensor::Tensor::<1>::ones([3], device.burn());
    scope.step(7).scalar("loss", &many).submit();
    let folder = scope.finish(&model).folder.unwrap();
    let notices = Run::open(&folder).unwrap().notices().unwrap();
    assert_eq!((notices.len(), notices[0].step), (1, 7));
    assert!(matches!(&notices[0].kind, NoticeKind::ScalarSkipped { name, .. } if name == "loss"), "{notices:?}");
    assert_eq!(manifest(&folder)["dropped_count"], 0);
}

#[test]
fn how_a_run_ended_stands_in_its_manifest() {
    let (device, parent) = (device(), tempfile::tempdir().unwrap());
    let model = bag(&device, &[8]);
    let scope = || Scope::builder(&device).run(parent.path()).build(&model).unwrap();
    let interrupted = scope().finish_as(&model, RunStatus::Interrupted).folder.unwrap();
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
    let values = [Some(vec![1.0; 8])];
    let (mut failures, mut records) = (0, 0);
    let mut train = |scope: &mut Scope, steps: std::ops::Range<u64>| {
        for step in steps {
            scope.step(step).gradients(&model, &model.gradients(&device, &values)).submit();
            scope.read(step).unwrap();
            for event in scope.poll() {
                match event {
                    Event::Record(_) => records += 1,
                    Event::Notice(notice) if matches!(notice.kind, NoticeKind::StoreFailed { .. }) => failures += 1,
                    Event::Notice(notice) if notice.kind.is_fault() => panic!("{notice}"),
                    _ => {}
                }
            }
        }
    };
    // Once a second rows are written; the files are there then.
    let stats = scope.run_folder().unwrap().join("stats-0001.arrows");
    let mut step = 0;
    while !stats.exists() {
        train(&mut scope, step..step + 1);
        step += 1;
    }
    // The writer's descriptor now leads to a device that is always full.
    let real = redirect_to_full(&stats);
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(2500) {
        train(&mut scope, step..step + 1);
        step += 1;
    }
    // There is room again: what was kept meanwhile is written.
    restore(real);
    train(&mut scope, step..step + 1);
    let folder = scope.run_folder().unwrap().to_owned();
    let finished = scope.finish(&model);
    assert_eq!((records, failures), (step + 1, 1), "told once, and training went on");
    assert_eq!(finished.folder.as_deref(), Some(folder.as_path()));
    assert_eq!(records_of(&folder).len() as u64, step + 1);
    assert_eq!(manifest(&folder)["unwritten_count"], 0);
}

/// Points the descriptor of this process that has `path` open at /dev/full; the descriptor, and a copy of what it was.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "descriptors are swapped under their owner")]
fn redirect_to_full(path: &Path) -> (i32, std::os::fd::OwnedFd) {
    use std::os::fd::{AsRawFd, FromRawFd};
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let open_at = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target == path);
    let entry = fs::read_dir("/proc/self/fd").unwrap().flatten().find(open_at).unwrap();
    let fd: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
    // SAFETY: both descriptors are open, and the replaced one's owner only writes to it.
    unsafe {
        let real = std::os::fd::OwnedFd::from_raw_fd(libc::dup(fd));
        assert_eq!(libc::dup2(full.as_raw_fd(), fd), fd);
        (fd, real)
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "descriptors are swapped under their owner")]
fn restore((fd, real): (i32, std::os::fd::OwnedFd)) {
    use std::os::fd::AsRawFd;
    // SAFETY: both descriptors are open.
    assert_eq!(unsafe { libc::dup2(real.as_raw_fd(), fd) }, fd);
}

#[test]
fn captured_tensors_are_those_of_their_step() {
    for device in [device(), Device::open(DeviceChoice::Cpu).unwrap()] {
        let parent = tempfile::tempdir().unwrap();
        let mut model = bag(&device, &[3000, 8]);
        let builder = Scope::builder(&device).run(parent.path()).capture("tensors.0", Schedule::every(3));
        // The NaNs below would have the next step captured, too.
        let mut scope = builder.diagnose(false).build(&model).unwrap();
        let mut random = Random::new(71);
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
        let finished = scope.finish(&model);
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
    let Finished { events, summary, .. } = scope.finish(&model);
    let told = |event: &&Event| event.to_string().contains("not captured");
    assert_eq!(events.iter().filter(told).count(), 1, "once, then counted: {events:?}");
    let counted = summary.notices.iter().find(|notice| notice.to_string().contains("not captured"));
    assert_eq!(counted.map(|notice| notice.count), Some(3));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Record(_))).count(), 3);
}

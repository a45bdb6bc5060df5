//! Run folders under what befalls them: killed writers, slow and vanishing disks, resumed runs, damage, odd names.

use crate::fixture::Random;
use gradscope::record::{Action, Finding, Global, Gradient, NoticeKind, Param, Rule, Severity, TensorRecord};
use gradscope::stats::{Partial, Stats, order_key};
use gradscope::store::{Missed, RunPlace, RunStart, RunWriter};
use gradscope::{Notice, Run, RunStatus, StepRecord};
use std::fs;
use std::path::{Path, PathBuf};

pub fn params(paths: &[&str]) -> Vec<Param> {
    let param = |path: &&str| Param::new(*path, vec![10, 10]);
    paths.iter().map(param).collect()
}

pub fn start(params: &[Param]) -> RunStart {
    RunStart {
        burn_version: "0".into(),
        adapter: "none".into(),
        engine: "none".into(),
        fusion: false,
        autotune: false,
        settings: serde_json::json!({ "stats": "card,dynamics" }),
        groups: gradscope::Stats::DYNAMICS,
        tensorboard: false,
        params: params.to_vec(),
        facts: vec![],
        flight_recorder_len: 64,
        ..RunStart::default()
    }
}

/// A record of random figures, the same for the same step.
pub fn record(step: u64, tensor_count: usize) -> StepRecord {
    let mut random = Random::new(step + 1);
    let tensor = |place: usize| {
        let mut partial = Partial::IDENTITY;
        partial.numel = 100;
        partial.min_key = order_key((-1.0f32).to_bits());
        partial.max_key = order_key(1.0f32.to_bits());
        partial.previous_numel = 100;
        partial.positive_count = random.below(100) as u64;
        partial.l1_norm = f64::from(random.gradient().abs());
        partial.l2_norm_sq = f64::from(random.gradient().abs()) + place as f64;
        let summary = partial.finish();
        TensorRecord::of(Gradient::Observed { summary, previous_step: step.checked_sub(1) })
    };
    let tensors: Vec<TensorRecord> = (0..tensor_count).map(tensor).collect();
    StepRecord {
        step,
        epoch: Some(step / 100),
        scalars: vec![("loss".into(), step as f64)],
        global: Global::of(&tensors),
        tensors,
        ..StepRecord::default()
    }
}

pub fn write(place: &RunPlace, params: &[Param], steps: std::ops::Range<u64>) -> RunWriter {
    let mut writer = RunWriter::open(place, start(params)).unwrap();
    for step in steps {
        writer.write(&record(step, params.len()));
        if step % 100 == 99 {
            // The queue holds 256 records, and this is faster than any training.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    writer
}

fn finished(place: &RunPlace, params: &[Param], steps: std::ops::Range<u64>) -> PathBuf {
    let (folder, failures) = write(place, params, steps).finish(RunStatus::Finished, Missed::default());
    assert_eq!(failures, []);
    folder.unwrap()
}

/// Steps of the folder, by all three ways of reading it, which have to agree.
fn steps(folder: &Path) -> Vec<u64> {
    let run = Run::open(folder).unwrap();
    let mut by_record = Vec::new();
    run.each_record(|found| {
        let mut expected = record(found.step, run.params().len());
        // Moving averages are of the whole history.
        expected
            .tensors
            .iter_mut()
            .zip(&found.tensors)
            .for_each(|(expected, found)| expected.averages = found.averages);
        assert_eq!(found, expected);
        by_record.push(found.step);
    })
    .unwrap();
    let mut by_row = Vec::new();
    run.each_row(|row| {
        if row.tensor == 0 {
            by_row.push(row.step);
        }
    })
    .unwrap();
    assert_eq!(by_row, by_record);
    let loss = run.series(|name| name.name == "loss").unwrap();
    let by_series: Vec<u64> = loss.iter().flat_map(|loss| &loss.points).map(|(step, _)| *step).collect();
    assert_eq!(by_series, by_record);
    by_record
}

/// As a process leaves it that is killed: streams without an end, no Parquet, status running.
fn killed(parent: &Path, params: &[Param], steps: std::ops::Range<u64>) -> PathBuf {
    let writer = write(&RunPlace::New(parent.to_owned()), params, steps.clone());
    let folder = writer.folder().to_owned();
    let stats = folder.join("stats-0001.arrows");
    let row_count = || fs::metadata(&stats).map_or(0, |found| found.len());
    // A second after the last record, everything is written.
    let mut before = 0;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(1300));
        if row_count() > 0 && row_count() == before {
            break;
        }
        before = row_count();
    }
    let copy = parent.join("killed");
    fs::create_dir(&copy).unwrap();
    fs::create_dir(copy.join("overview")).unwrap();
    for entry in fs::read_dir(&folder).unwrap().chain(fs::read_dir(folder.join("overview")).unwrap()).flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), copy.join(entry.path().strip_prefix(&folder).unwrap())).unwrap();
        }
    }
    drop(writer);
    copy
}

#[test]
fn a_torn_tail_costs_no_whole_batch() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a", "b"]));
    let folder = killed(parent.path(), &params, 0..50);
    assert_eq!(Run::open(&folder).unwrap().status(), RunStatus::Unfinished);
    assert_eq!(steps(&folder), (0..50).collect::<Vec<_>>());
    let whole = fs::read(folder.join("stats-0001.arrows")).unwrap();
    let mut random = Random::new(3);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let len = random.below(whole.len());
        fs::write(folder.join("stats-0001.arrows"), &whole[..len]).unwrap();
        let mut rows = 0;
        Run::open(&folder).unwrap().each_row(|_| rows += 1).unwrap();
        assert!(rows % 2 == 0 && rows <= 100, "{rows} rows of {len} bytes");
        seen.insert(rows);
    }
    assert!(seen.contains(&0), "{seen:?}");
}

#[test]
fn damage_names_its_file() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let folder = killed(parent.path(), &params, 0..50);
    let path = folder.join("stats-0001.arrows");
    let whole = fs::read(&path).unwrap();
    let refused = |words: &[&str]| {
        let error = Run::open(&folder).and_then(|run| run.each_row(|_| {})).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    };
    fs::write(&path, [b"PAR1 and something", &whole[18..]].concat()).unwrap();
    refused(&["stats-0001.arrows", "damaged", "restore"]);
    // Any byte may be wrong: an error, or other figures, but no panic.
    for place in (0..whole.len()).step_by(7) {
        let mut bent = whole.clone();
        bent[place] ^= 0xff;
        fs::write(&path, bent).unwrap();
        let _ = Run::open(&folder).unwrap().each_row(|_| {});
        let _ = Run::open(&folder).unwrap().curves(10);
    }
    let manifest = fs::read_to_string(folder.join("run.json")).unwrap();
    for (text, words) in [
        (manifest.replace("\"schema_version\": 2", "\"schema_version\": 3"), ["run.json", "newer"]),
        (manifest[..manifest.len() / 2].to_owned(), ["run.json", "damaged"]),
        (manifest.replace("schema_version", "version"), ["run.json", "other program"]),
    ] {
        fs::write(folder.join("run.json"), text).unwrap();
        refused(&words);
    }
    fs::remove_file(folder.join("run.json")).unwrap();
    refused(&["run.json", "no run folder"]);
}

#[test]
fn a_run_goes_on_where_its_checkpoint_was() {
    for at in [120, 150] {
        for was_killed in [false, true] {
            let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a", "b", "c"]));
            let folder = match was_killed {
                true => killed(parent.path(), &params, 0..150),
                false => finished(&RunPlace::New(parent.path().to_owned()), &params, 0..150),
            };
            let place = RunPlace::Resumed { folder: folder.clone(), first_step: at };
            let writer = write(&place, &params, at..at + 100);
            // While it is written, and after.
            std::thread::sleep(std::time::Duration::from_millis(1500));
            assert_eq!(steps(&folder), (0..at + 100).collect::<Vec<_>>(), "from {at}");
            writer.finish(RunStatus::Finished, Missed::default());
            assert_eq!(steps(&folder), (0..at + 100).collect::<Vec<_>>(), "from {at}");
            let streams = fs::read_dir(&folder).unwrap().flatten();
            let left = streams.filter(|file| file.path().extension().is_some_and(|e| e == "arrows")).count();
            assert_eq!(left, 0, "both segments are Parquet");
            // And once more, from before both.
            finished(&RunPlace::Resumed { folder: folder.clone(), first_step: 60 }, &params, 60..70);
            assert_eq!(steps(&folder), (0..70).collect::<Vec<_>>());
            assert_eq!(Run::open(&folder).unwrap().manifest().segments.len(), 3);
        }
    }
}

#[test]
fn one_process_writes_a_run_and_only_its_own_model() {
    let (parent, two) = (tempfile::tempdir().unwrap(), params(&["a", "b"]));
    let place = RunPlace::New(parent.path().to_owned());
    let writer = write(&place, &two, 0..3);
    let resumed = RunPlace::Resumed { folder: writer.folder().to_owned(), first_step: 3 };
    let again = |params: &[Param]| RunWriter::open(&resumed, start(params)).err().unwrap().to_string();
    assert!(again(&two).contains("another process is writing it"), "{}", again(&two));
    assert!(Run::open(writer.folder()).unwrap().is_live());
    let folder = writer.finish(RunStatus::Finished, Missed::default()).0.unwrap();
    assert!(!Run::open(&folder).unwrap().is_live());
    let other = params(&["a", "c"]);
    assert!(again(&other).contains("another model"), "{}", again(&other));
    assert_eq!(steps(&folder), [0, 1, 2], "nothing was touched");
    let nowhere = RunPlace::Resumed { folder: parent.path().join("none"), first_step: 3 };
    assert!(RunWriter::open(&nowhere, start(&two)).err().unwrap().to_string().contains("no run folder"));
}

#[cfg(unix)]
#[test]
fn a_disk_slower_than_training_is_counted_not_waited_for() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let mut writer = RunWriter::open(&RunPlace::New(parent.path().to_owned()), start(&params)).unwrap();
    let folder = writer.folder().to_owned();
    // Opening a pipe for writing takes until somebody reads it.
    let pipe = folder.join("notices.jsonl");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    writer.write_notice(&Notice::new(0, NoticeKind::StepLost { reason: "a test".into() }));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let begun = std::time::Instant::now();
    for step in 0..400 {
        writer.write(&record(step, 1));
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(1),
        "the writing thread stands still, and this one does not"
    );
    let told =
        |failures: Vec<NoticeKind>| failures.iter().filter(|f| matches!(f, NoticeKind::StoreBehind { .. })).count();
    assert_eq!(told(writer.failures()), 1);
    assert_eq!(told(writer.failures()), 0, "once");
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).unwrap());
    writer.finish(RunStatus::Finished, Missed::default());
    assert!(reader.join().unwrap().contains("a test"));
    let run = Run::open(&folder).unwrap();
    let kept = run.manifest().step_count;
    assert!((256..400).contains(&kept), "{kept}");
    assert_eq!(run.manifest().unwritten_count, 400 - kept);
    fs::remove_file(folder.join("notices.jsonl")).unwrap();
    assert_eq!(steps(&folder), (0..kept).collect::<Vec<_>>());
}

#[test]
fn a_folder_that_vanishes_is_told_of_once() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let mut writer = write(&RunPlace::New(parent.path().to_owned()), &params, 0..10);
    fs::remove_dir_all(writer.folder()).unwrap();
    let mut failures = Vec::new();
    for step in 10..40 {
        writer.write(&record(step, 1));
        std::thread::sleep(std::time::Duration::from_millis(100));
        failures.extend(writer.failures());
    }
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(matches!(&failures[0], NoticeKind::StoreFailed { reason } if reason.contains("removed")), "{failures:?}");
    let folder = writer.folder().to_owned();
    let (kept, _) = writer.finish(RunStatus::Finished, Missed::default());
    assert!(kept.is_none() && !folder.exists(), "it is not made anew behind anybody's back");
}

#[test]
fn names_are_kept_whatever_they_are() {
    let long = "x".repeat(300);
    let names = ["a/b.weight", "слой.вес", "<script>alert(1)</script>", "a,\"b\"\n|c", long.as_str(), ""];
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&names));
    let mut writer = RunWriter::open(&RunPlace::New(parent.path().to_owned()), start(&params)).unwrap();
    let mut expected = record(0, params.len());
    expected.scalars = names.iter().map(|name| ((*name).to_owned(), 1.0)).collect();
    expected.groups = names.iter().map(|name| ((*name).to_owned(), expected.global)).collect();
    writer.write(&expected);
    let folder = writer.finish(RunStatus::Finished, Missed::default()).0.unwrap();
    let run = Run::open(&folder).unwrap();
    assert_eq!(run.params(), params);
    let mut found = Vec::new();
    run.each_record(|record| found.push(record)).unwrap();
    assert_eq!((&found[0].scalars, &found[0].groups), (&expected.scalars, &expected.groups));
}

#[test]
fn an_overview_says_of_spans_what_their_rows_do() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a", "b"]));
    // One tensor's spans are cut by the end, and by a resumed run.
    let folder = killed(parent.path(), &params, 0..1000);
    finished(&RunPlace::Resumed { folder: folder.clone(), first_step: 700 }, &params, 700..1500);
    let run = Run::open(&folder).unwrap();
    for (point_count, row_count_max) in [(1, 0), (10, 0), (40, 0), (50, 0), (200, 0), (10, 10_000), (5000, 10_000)] {
        let curves = run.curves_within(point_count, row_count_max).unwrap();
        assert!(curves.spans().len() <= point_count);
        let steps: Vec<[u64; 2]> = curves.spans().iter().copied().flatten().collect();
        assert_eq!((steps[0][0], steps.last().unwrap()[1]), (0, 1499));
        assert!(steps.windows(2).all(|pair| pair[0][1] + 1 == pair[1][0]), "no gap: {steps:?}");
        for tensor in 0..2 {
            for (span, envelope) in steps.iter().zip(curves.of("l2_norm", tensor).unwrap()) {
                let values: Vec<f32> = (span[0]..=span[1])
                    .map(|step| record(step, 2).tensors[tensor].summary().unwrap().l2_norm as f32)
                    .collect();
                let least = values.iter().copied().fold(f32::INFINITY, f32::min);
                let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_eq!((envelope.min, envelope.max, envelope.last), (least, most, values[values.len() - 1]));
            }
        }
        assert!(curves.of("param_l2_norm", 0).is_none() && curves.of("l2_norm", 2).is_none());
    }
}

#[test]
fn groups_choose_the_columns() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let mut start = start(&params);
    start.groups = Stats::BASIC;
    let mut writer = RunWriter::open(&RunPlace::New(parent.path().to_owned()), start).unwrap();
    writer.write(&record(0, 1));
    let folder = writer.finish(RunStatus::Finished, Missed::default()).0.unwrap();
    Run::open(&folder)
        .unwrap()
        .each_row(|row| {
            let summary = row.record.summary().unwrap();
            assert!(summary.dynamics.is_none() && summary.numel == 100);
        })
        .unwrap();
}

#[test]
fn what_a_killed_compaction_leaves_does_no_harm() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a", "b"]));
    let folder = killed(parent.path(), &params, 0..300);
    assert_eq!(Run::open(&folder).unwrap().step_count(u64::MAX).unwrap(), 300, "counted from what is there");
    for left in ["overview/0001-05.partial", "stats-0001.parquet.partial", "run.json.partial"] {
        fs::write(folder.join(left), "half of something").unwrap();
    }
    let stream = fs::read(folder.join("stats-0001.arrows")).unwrap();
    let mut run = Run::open(&folder).unwrap();
    run.compact().unwrap();
    assert!(!folder.join("stats-0001.arrows").exists() && folder.join("stats-0001.parquet").exists());
    assert_eq!((run.status(), run.manifest().step_count), (RunStatus::Unfinished, 300));
    // Killed between the last rename and the removal of the stream.
    fs::write(folder.join("stats-0001.arrows"), stream).unwrap();
    assert_eq!(steps(&folder), (0..300).collect::<Vec<_>>());
    run.compact().unwrap();
    assert!(!folder.join("stats-0001.arrows").exists());
    let curves = run.curves_within(10, 0).unwrap();
    assert_eq!(curves.spans().iter().flatten().map(|[first, last]| last - first + 1).sum::<u64>(), 300);
}

#[test]
fn a_segment_that_is_wholly_written_anew_is_gone() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let folder = finished(&RunPlace::New(parent.path().to_owned()), &params, 0..50);
    let again = RunPlace::Resumed { folder: folder.clone(), first_step: 50 };
    for end in [60, 70] {
        finished(&again, &params, 50..end);
        assert_eq!(steps(&folder), (0..end).collect::<Vec<_>>());
        assert_eq!(Run::open(&folder).unwrap().manifest().step_count, end);
    }
    assert!(!folder.join("stats-0002.parquet").exists() && folder.join("stats-0003.parquet").exists());
    assert_eq!(Run::open(&folder).unwrap().segments_without("stats").unwrap(), [2]);
}

#[test]
fn parts_of_a_folder_may_be_missing() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let mut writer = write(&RunPlace::New(parent.path().to_owned()), &params, 0..10);
    let folder = writer.folder().to_owned();
    fs::remove_dir_all(folder.join("overview")).unwrap();
    (10..200).for_each(|step| writer.write(&record(step, 1)));
    assert!(writer.sync());
    let (kept, failures) = writer.finish(RunStatus::Finished, Missed::default());
    assert_eq!((kept.as_deref(), failures), (Some(folder.as_path()), vec![]));
    for part in ["overview", "lock"] {
        let path = folder.join(part);
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        assert_eq!(steps(&folder), (0..200).collect::<Vec<_>>(), "without {part}");
        assert_eq!(Run::open(&folder).unwrap().curves_within(10, 0).unwrap().spans().len(), 7);
    }
}

#[test]
fn a_torn_notice_costs_itself_alone() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let notice = |step, reason: &str| Notice::new(step, NoticeKind::StepLost { reason: reason.into() });
    let mut writer = write(&RunPlace::New(parent.path().to_owned()), &params, 0..10);
    let folder = writer.folder().to_owned();
    writer.write_notice(&notice(3, "ünï"));
    writer.write_notice(&notice(8, "past the checkpoint"));
    writer.finish(RunStatus::Finished, Missed::default());
    let path = folder.join("notices.jsonl");
    let whole = fs::read(&path).unwrap();
    // Inside a character of two bytes, of a line that follows.
    fs::write(&path, [&whole[..], b"{\"segment\":1,\"step\":9,\"kind\":\"step_lost\",\"reason\":\"\xc3"].concat())
        .unwrap();
    let mut writer = write(&RunPlace::Resumed { folder: folder.clone(), first_step: 5 }, &params, 5..10);
    writer.write_notice(&notice(7, "new"));
    writer.finish(RunStatus::Finished, Missed::default());
    assert_eq!(Run::open(&folder).unwrap().notices().unwrap(), [notice(3, "ünï"), notice(7, "new")]);
}

#[test]
fn as_many_findings_as_a_step_has_are_kept() {
    let (parent, params) = (tempfile::tempdir().unwrap(), params(&["a"]));
    let finding = |n: u64| Finding {
        rule: Rule::AllZero,
        severity: Severity::Warn,
        action: Action::Snapshot,
        path: Some(format!("layer{n}")),
        place_count: 1,
        first_step: 3,
        last_step: 3,
        open: true,
        evidence: vec![("share".into(), 1.0)],
        threshold: vec![("open_after".into(), 10.0)],
        source: "a paper".into(),
        advice: "try".into(),
        followed_by: vec![Rule::LossRising],
    };
    let findings: Vec<Finding> = (0..1000).map(finding).collect();
    let mut writer = write(&RunPlace::New(parent.path().to_owned()), &params, 0..5);
    writer.write_findings(findings.clone());
    let folder = writer.finish(RunStatus::Finished, Missed::default()).0.unwrap();
    assert_eq!(Run::open(&folder).unwrap().findings().unwrap(), findings);
    assert_eq!(Run::open(&folder).unwrap().manifest().unwritten_count, 0);
    // Each asks for a snapshot: of the last steps, and no more of them than a disk can bear.
    let snapshots: Vec<_> = std::fs::read_dir(folder.join("snapshots")).unwrap().collect();
    assert_eq!(snapshots.len(), 1, "all of them at the same step, of the same rule");
    let lines = std::fs::read_to_string(snapshots[0].as_ref().unwrap().path()).unwrap();
    let steps: Vec<u64> = lines.lines().map(|line| serde_json::from_str::<StepRecord>(line).unwrap().step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4]);
    // A run that goes on after them has to find anew what still holds.
    finished(&RunPlace::Resumed { folder: folder.clone(), first_step: 4 }, &params, 4..5);
    assert!(Run::open(&folder).unwrap().findings().unwrap().iter().all(|finding| !finding.open));
}

#[test]
fn a_writing_thread_that_dies_is_told_of_and_leaves_what_was_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = write(&RunPlace::New(dir.path().join("run")), &params(&["a.weight", "b.weight"]), 0..10);
    let folder = writer.folder().to_owned();
    assert!(writer.sync());
    // A record of another model than the run's is nothing that a scope could send.
    writer.write(&record(10, 500));
    assert!(!writer.sync(), "nobody answers");
    for step in 11..5000 {
        writer.write(&record(step, 2));
    }
    let [NoticeKind::StoreFailed { reason }] = &writer.failures()[..] else { panic!("one notice") };
    assert!(reason.contains("panicked"), "{reason}");
    assert_eq!(writer.failures(), [], "told once");
    let (_, failures) = writer.finish(RunStatus::Finished, Missed::default());
    assert_eq!(failures, []);
    assert_eq!(steps(&folder), (0..10).collect::<Vec<_>>());
    assert_eq!(Run::open(&folder).unwrap().status(), RunStatus::Unfinished, "nobody holds its lock");
}

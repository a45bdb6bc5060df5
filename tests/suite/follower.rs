//! Runs followed as they grow: what a live view holds is what the folder has, at every moment.

use crate::run_folder::{params, record, start, write};
use gradscope::record::{Figure, Finding, Rule, Severity};
use gradscope::store::{Follower, Missed, RunPlace, RunWriter};
use gradscope::{Run, RunStatus};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

const SPAN_COUNT_MAX: usize = 64;

fn finding(open: bool, last_step: u64) -> Finding {
    Finding {
        rule: Rule::NonFinite,
        severity: Severity::Critical,
        action: gradscope::record::Action::Tell,
        path: Some("a.weight".into()),
        place_count: 1,
        first_step: 3,
        last_step,
        open,
        evidence: vec![],
        threshold: vec![],
        source: String::new(),
        advice: String::new(),
        followed_by: vec![],
    }
}

fn settle(follower: &mut Follower) {
    while follower.poll().unwrap() {}
}

/// Checks every span of a follower against the folder's rows, one by one.
fn check(follower: &Follower, folder: &Path) {
    check_spans(follower, folder, SPAN_COUNT_MAX);
}

fn check_spans(follower: &Follower, folder: &Path, span_count_max: usize) {
    let run = Run::open(folder).unwrap();
    let spans: Vec<[u64; 2]> = follower.curves().spans().iter().copied().flatten().collect();
    assert!(follower.curves().spans().len() <= span_count_max && spans.windows(2).all(|two| two[0][1] < two[1][0]));
    let figures = ["l2_norm", "min", "max", "near_zero_ratio_1"].map(|name| Figure::named(name).unwrap());
    let mut expected: BTreeMap<(usize, usize, &str), [f32; 3]> = BTreeMap::new();
    let mut steps = Vec::new();
    run.each_row(|row| {
        let span =
            follower.curves().spans().iter().position(|span| span.is_some_and(|[a, b]| (a..=b).contains(&row.step)));
        let span = span.unwrap_or_else(|| panic!("step {} is in no span of {spans:?}", row.step));
        if row.tensor == 0 {
            steps.push(row.step);
        }
        for figure in figures {
            let Some(value) = (figure.of)(&row.record) else { continue };
            let value = value as f32;
            let cell = expected.entry((span, row.tensor, figure.name)).or_insert([value; 3]);
            *cell = [cell[0].min(value), cell[1].max(value), value];
        }
    })
    .unwrap();
    assert_eq!(steps.first(), spans.first().map(|span| &span[0]));
    assert_eq!(steps.last(), spans.last().map(|span| &span[1]));
    for ((span, tensor, figure), cell) in expected {
        let found = follower.curves().of(figure, tensor).unwrap().nth(span).unwrap();
        assert_eq!([found.min, found.max, found.last], cell, "{figure} of {tensor} in span {span}");
    }
    let loss = follower.traces().iter().find(|trace| trace.name.name == "loss").unwrap();
    assert_eq!(loss.points().last().map(|point| point.steps[1]), steps.last().copied());
    assert!(loss.points().iter().all(|point| point.envelope.max == point.steps[1] as f32));
}

#[test]
fn a_run_is_followed_from_its_first_step_to_its_last() {
    let dir = tempfile::tempdir().unwrap();
    let params = params(&["a.weight", "b.weight"]);
    let mut writer = write(&RunPlace::New(dir.path().join("run")), &params, 0..0);
    let folder = writer.folder().to_owned();
    let mut follower = Follower::open(&folder, SPAN_COUNT_MAX).unwrap();
    assert_eq!((follower.status(), follower.curves().spans().len()), (RunStatus::Running, 0));
    let mut generations = Vec::new();
    for step in 0..1000 {
        writer.write(&record(step, 2));
        if step % 23 == 0 {
            assert!(writer.sync());
            let version = follower.version();
            assert!(follower.poll().unwrap() && follower.version() > version);
            settle(&mut follower);
            check(&follower, &folder);
            generations.push(follower.generation());
        }
    }
    assert!(generations.is_sorted() && generations.last() >= Some(&4), "{generations:?}");
    // All that came after the last look, and then Parquet in place of the stream that is being read.
    let (_, failures) = writer.finish(RunStatus::Finished, Missed::default());
    assert_eq!(failures, []);
    settle(&mut follower);
    check(&follower, &folder);
    assert_eq!(follower.status(), RunStatus::Finished);
    assert!(!follower.poll().unwrap());
    let mut anew = Follower::open(&folder, SPAN_COUNT_MAX).unwrap();
    settle(&mut anew);
    check(&anew, &folder);
    assert_eq!(
        follower.epochs(),
        [(0, 0), (1, 100), (2, 200), (3, 300), (4, 400), (5, 500), (6, 600), (7, 700), (8, 800), (9, 900)]
    );
    assert_eq!(anew.epochs(), follower.epochs());
}

#[test]
fn a_long_run_comes_from_its_overview_or_in_parts() {
    const STEP_COUNT: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let params = params(&["a.weight", "b.weight", "c.weight"]);
    let mut writer = RunWriter::open(&RunPlace::New(dir.path().join("run")), start(&params)).unwrap();
    for step in 0..STEP_COUNT {
        writer.write(&record(step, 3));
        if step % 200 == 199 {
            assert!(writer.sync());
        }
    }
    let folder = writer.folder().to_owned();
    // Spans of 512 steps, which an overview has; and of four, which none has, so that the first look finds nothing yet.
    let mut coarse = Follower::open(&folder, SPAN_COUNT_MAX).unwrap();
    let mut fine = Follower::open(&folder, 8192).unwrap();
    assert_eq!((coarse.curves().spans().len(), fine.curves().spans().len()), (40, 0));
    for step in STEP_COUNT..STEP_COUNT + 100 {
        writer.write(&record(step, 3));
    }
    assert!(writer.sync());
    for (follower, span_count_max) in [(&mut coarse, SPAN_COUNT_MAX), (&mut fine, 8192)] {
        settle(follower);
        check_spans(follower, &folder, span_count_max);
    }
    assert_eq!(fine.curves().spans().len(), 5025);
}

#[test]
fn a_resumed_run_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let params = params(&["a.weight"]);
    let writer = write(&RunPlace::New(dir.path().join("run")), &params, 0..50);
    let folder = writer.folder().to_owned();
    let mut follower = Follower::open(&folder, SPAN_COUNT_MAX).unwrap();
    writer.finish(RunStatus::Interrupted, Missed::default());
    settle(&mut follower);
    check(&follower, &folder);
    let generation = follower.generation();
    let mut writer = write(&RunPlace::Resumed { folder: folder.clone(), first_step: 30 }, &params, 30..33);
    assert!(writer.sync());
    settle(&mut follower);
    assert!(follower.generation() > generation && follower.status() == RunStatus::Running);
    // Steps 33 to 49 were taken back.
    check(&follower, &folder);
    writer.write(&record(33, 1));
    assert!(writer.sync());
    settle(&mut follower);
    check(&follower, &folder);
}

#[test]
fn findings_and_the_end_of_a_process_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let params = params(&["a.weight"]);
    let mut writer = RunWriter::open(&RunPlace::New(dir.path().join("run")), start(&params)).unwrap();
    let folder = writer.folder().to_owned();
    let mut follower = Follower::open(&folder, SPAN_COUNT_MAX).unwrap();
    writer.write_findings(vec![finding(true, 3)]);
    assert!(writer.sync());
    settle(&mut follower);
    assert_eq!(follower.findings(), [finding(true, 3)]);
    writer.write_findings(vec![finding(false, 9)]);
    assert!(writer.sync());
    settle(&mut follower);
    assert_eq!(follower.findings(), [finding(false, 9)]);
    drop(writer);
    settle(&mut follower);
    assert_eq!(follower.status(), RunStatus::Unfinished);
    fs::remove_dir_all(&folder).unwrap();
    assert!(follower.poll().is_err());
}

#[test]
fn half_a_batch_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let params = params(&["a.weight"]);
    let mut writer = write(&RunPlace::New(dir.path().join("run")), &params, 0..5);
    assert!(writer.sync());
    writer.write(&record(5, 1));
    assert!(writer.sync());
    let (from, to) = (writer.folder().to_owned(), dir.path().join("copy"));
    fs::create_dir(&to).unwrap();
    for file in ["run.json", "scalars-0001.arrows"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let stats = fs::read(from.join("stats-0001.arrows")).unwrap();
    let mut seen = Vec::new();
    let mut follower = Follower::open(&to, SPAN_COUNT_MAX).unwrap();
    for len in (0..=stats.len()).step_by(97).chain([stats.len()]) {
        fs::write(to.join("stats-0001.arrows"), &stats[..len]).unwrap();
        settle(&mut follower);
        let last = follower.curves().spans().last().copied().flatten().map(|[_, last]| last);
        if seen.last() != Some(&last) {
            seen.push(last);
        }
    }
    assert_eq!(seen, [None, Some(4), Some(5)]);
}

#[test]
fn a_clock_that_goes_backwards_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let params = params(&["a.weight", "b.weight"]);
    let mut writer = write(&RunPlace::New(dir.path().join("run")), &params, 0..10);
    let folder = writer.folder().to_owned();
    let mut follower = Follower::open(&folder, SPAN_COUNT_MAX).unwrap();
    let mut clock = SystemTime::now();
    for steps in [10..20, 20..30, 30..40] {
        steps.clone().for_each(|step| writer.write(&record(step, 2)));
        writer.write_findings(vec![finding(false, steps.start)]);
        assert!(writer.sync());
        clock -= Duration::from_secs(86_400);
        for file in fs::read_dir(&folder).unwrap().flatten().filter(|file| file.path().is_file()) {
            fs::File::options().write(true).open(file.path()).unwrap().set_modified(clock).unwrap();
        }
        settle(&mut follower);
        check(&follower, &folder);
        assert!(follower.findings().iter().any(|finding| finding.last_step == steps.start));
    }
    // Ended before it began, by its own account.
    writer.finish(RunStatus::Finished, Missed::default());
    let manifest = folder.join("run.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    json["end"] = "1999-12-31T23:59:59Z".into();
    fs::write(&manifest, json.to_string()).unwrap();
    settle(&mut follower);
    assert_eq!(follower.status(), RunStatus::Finished);
    check(&follower, &folder);
}

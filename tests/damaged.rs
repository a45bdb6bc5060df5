//! Damaged run folders, read in every way there is: an error or other figures, never a panic, and memory within bounds.
//!
//! `GRADSCOPE_FUZZ_CASES` says how many (`make fuzz`: a hundred thousand); a case that fails is named by its number, and
//! `GRADSCOPE_FUZZ_FIRST` begins with that one.

use gradscope::Stats;
use gradscope::record::{
    ChannelsRecord, Finding, Global, Gradient, HistogramOf, HistogramRecord, Notice, Param, Shapes, SignMapRow,
    TapRecord, TensorRecord,
};
use gradscope::stats::{Histogram, LinearHistogram, Partial, Segment, order_key};
use gradscope::store::{Follower, Missed, Reading, RunPlace, RunStart, RunWriter};
use gradscope::{NoticeKind, Run, RunStatus, StepRecord};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "support/damage.rs"]
mod support;
use support::Random;

/// What reading a folder of some 200 KiB may hold at a time.
const BYTES_MAX: usize = 64 << 20;
const CASE_COUNT: u64 = 1500;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's, with a count.
struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
#[expect(unsafe_code, reason = "an allocator that counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn record(step: u64) -> StepRecord {
    let partial = Partial {
        numel: 100,
        min_key: order_key((-1.0f32).to_bits()),
        max_key: order_key(2.0f32.to_bits()),
        l2_norm_sq: 3.0 + step as f64,
        ..Partial::IDENTITY
    };
    let summary = partial.finish();
    let tensors = vec![TensorRecord::of(Gradient::Observed { summary, previous_step: step.checked_sub(1) }); 3];
    let linear = LinearHistogram {
        edges: (0..65).map(|edge| edge as f32).collect(),
        count: vec![step; 64],
        underflow_count: 0,
        overflow_count: 1,
    };
    let histogram = Histogram {
        exponent_count: vec![1; 256],
        zero_count: 1,
        flush_count: [0; 4],
        overflow_count: [0; 4],
        linear: Some(linear),
    };
    let segment = Segment { numel: 10, zero_count: 3, ..Segment::default() };
    let shapes = Shapes {
        histograms: vec![HistogramRecord { param: 1, of: HistogramOf::Gradient, histogram }],
        channels: vec![ChannelsRecord { param: 0, channels: vec![segment; 4] }],
        sign_map: Some(SignMapRow { first_element: 0, element_count: 300, columns: vec![segment; 16] }),
    };
    StepRecord {
        step,
        epoch: Some(1 + step / 10),
        scalars: vec![("loss".into(), 1.0), ("lr".into(), 1e-3)],
        global: Global::of(&tensors),
        tensors,
        taps: vec![TapRecord { name: "relu".into(), summary, tail_count: Some([1, 2]) }],
        shapes: step.is_multiple_of(4).then_some(shapes),
        ..StepRecord::default()
    }
}

fn start() -> RunStart {
    let param = |name: &str| Param::new(name, vec![10, 10]);
    RunStart {
        burn_version: "0".into(),
        adapter: "none".into(),
        engine: "none".into(),
        fusion: false,
        autotune: false,
        settings: serde_json::json!({ "stats": "card,dynamics", "diagnose": true, "survey": { "sign_map": [{ "pattern": "." }, 1] } }),
        groups: Stats::DYNAMICS,
        tensorboard: false,
        params: ["a.weight", "b.weight", "b.bias"].map(param).into(),
        facts: vec![("model".into(), "none".into())],
        flight_recorder_len: 4,
        ..RunStart::default()
    }
}

/// A run with everything in it: killed in its second segment, or ended.
fn folder(parent: &Path, ended: bool) -> PathBuf {
    let finding = serde_json::json!({
        "rule": "non_finite", "severity": "critical", "path": "a.weight", "first_step": 3, "last_step": 9, "open": true,
        "evidence": [["nan_count", 3.0]],
    });
    let finding: Finding = serde_json::from_value(finding).expect("a finding");
    let write = |place: &RunPlace, steps: std::ops::Range<u64>| {
        let mut writer = RunWriter::open(place, start()).expect("a run folder");
        for step in steps {
            writer.write(&record(step));
        }
        writer.write_findings(vec![finding.clone()]);
        writer.write_notice(&Notice::new(5, NoticeKind::StepLost { reason: "a test".into() }));
        assert!(writer.sync());
        writer
    };
    let first = write(&RunPlace::New(parent.to_owned()), 0..80);
    let folder = first.folder().to_owned();
    first.finish(RunStatus::Interrupted, Missed::default());
    let second = write(&RunPlace::Resumed { folder: folder.clone(), first_step: 60 }, 60..120);
    if ended {
        second.finish(RunStatus::Finished, Missed::default());
        return folder;
    }
    let killed = parent.join("killed");
    copy(&folder, &killed);
    second.finish(RunStatus::Finished, Missed::default());
    killed
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            match fs::copy(&path, to.join(name)) {
                // The writer that goes on has given it its name since it was listed.
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && path.extension().is_some_and(|kind| kind == "partial") => {}
                copied => assert!(copied.is_ok(), "{copied:?}"),
            }
        }
    }
}

fn is_table(file: &Path) -> bool {
    file.extension().is_some_and(|kind| kind == "arrows" || kind == "parquet")
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() { files(&entry.path(), into) } else { into.push(entry.path()) }
    }
    into.sort();
}

/// A place in a file: anywhere, near one of its ends, or where a message of an Arrow stream begins.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    let len = bytes.len();
    let near = match random.below(4) {
        0 => random.below(256),
        1 => len.saturating_sub(1 + random.below(256)),
        2 => {
            let starts: Vec<usize> = (0..len.saturating_sub(4)).filter(|&at| bytes[at..at + 4] == [0xff; 4]).collect();
            starts.get(random.below(starts.len())).map_or(0, |start| start + random.below(12))
        }
        _ => random.below(len),
    };
    near.min(len - 1)
}

/// Does something bad to a file: what.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> &'static str {
    let (a, b) = (place(bytes, random), place(bytes, random));
    let (from, to) = (a.min(b), a.max(b));
    match random.below(9) {
        0 => {
            bytes.truncate(a);
            "cut short"
        }
        1 => {
            for _ in 0..=random.below(8) {
                let place = place(bytes, random);
                bytes[place] = random.next() as u8;
            }
            "some bytes"
        }
        2 => {
            (0..random.below(200)).for_each(|_| bytes.push(random.next() as u8));
            "goes on"
        }
        3 => {
            bytes[from..to].fill(0);
            "zeros"
        }
        4 => {
            bytes.drain(from..to);
            "a hole"
        }
        5 => {
            let part = bytes[from..to].to_vec();
            bytes.splice(from..from, part);
            "twice"
        }
        6 => {
            let end = bytes.len().min(a + 8 * (1 + random.below(64)));
            bytes[a..end].iter_mut().for_each(|byte| *byte = random.next() as u8);
            "a stretch"
        }
        7 => {
            // Lengths and offsets are numbers: large ones, and ones below zero.
            let value: [u8; 4] = [u32::MAX, i32::MAX as u32, 1 << 31, 1 << 28][random.below(4)].to_le_bytes();
            if let Some(word) = bytes.get_mut(a / 4 * 4..a / 4 * 4 + 4) {
                word.copy_from_slice(&value);
            }
            "a large number"
        }
        _ => {
            bytes[a] ^= 1 << random.below(8);
            "a bit"
        }
    }
}

/// Every way of reading.
fn read(folder: &Path) {
    if let Ok(run) = Run::open(folder) {
        let _ = run.status();
        let _ = run.step_count(u64::MAX);
        let _ = run.curves(64);
        let _ = run.curves_within(64, 10);
        let _ = run.series(|_| true);
        let _ = run.each_row(|_| {});
        let _ = run.each_record(|_| {});
        let _ = run.each_histogram(|_, _| {});
        let _ = run.each_sign_map_line(|_, line| {
            let _ = line.first_element_of(line.columns.len());
        });
        let _ = run.sign_map_params();
        let _ = (run.findings(), run.notices());
        let _ = Reading::of(&run).map(|reading| reading.to_string());
        let _ = run.clone().compact();
    }
    if let Ok(mut follower) = Follower::open(folder, 64) {
        for _ in 0..100 {
            if !follower.poll().unwrap_or(false) {
                break;
            }
        }
    }
}

#[test]
fn a_damaged_run_is_an_error_and_never_a_panic() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first: u64 = number("GRADSCOPE_FUZZ_FIRST").unwrap_or(0);
    let count = number("GRADSCOPE_FUZZ_CASES").unwrap_or(CASE_COUNT);
    let parent = tempfile::tempdir().expect("a temporary folder");
    let sources = [false, true].map(|ended| folder(&parent.path().join(format!("{ended}")), ended));
    sources.iter().for_each(|source| {
        let mut all = Vec::new();
        files(source, &mut all);
        let bytes: u64 = all.iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
        println!("a folder of {} files, {} KiB", all.len(), bytes >> 10);
        let run = Run::open(source).expect("a sound run");
        let mut steps = 0;
        run.each_record(|_| steps += 1).expect("a sound run");
        assert_eq!(steps, 120);
    });
    // Panics that readers catch are errors of the file, and not told.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut failed, mut most_of_all) = (Vec::new(), 0);
    for case in first..first + count {
        let mut random = Random::new(case);
        let copied = parent.path().join("case");
        copy(&sources[random.below(2)], &copied);
        let mut all = Vec::new();
        files(&copied, &mut all);
        let mut told = Vec::new();
        for _ in 0..=random.below(2) {
            // Tables have most to go wrong.
            let tables: Vec<&PathBuf> = all.iter().filter(|file| is_table(file)).collect();
            let file =
                if random.below(2) == 0 { tables[random.below(tables.len())] } else { &all[random.below(all.len())] };
            let mut bytes = fs::read(file).expect("a file");
            if bytes.is_empty() {
                continue;
            }
            let what = damage(&mut bytes, &mut random);
            told.push(format!("{}: {what}", file.strip_prefix(&copied).expect("of it").display()));
            fs::write(file, bytes).expect("a file");
        }
        MOST.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
        let held = HELD.load(Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&copied)));
        let most = MOST.load(Ordering::Relaxed).saturating_sub(held);
        most_of_all = most_of_all.max(most);
        if outcome.is_err() || most > BYTES_MAX {
            failed.push(format!(
                "case {case} ({}): {}, {} MiB",
                told.join("; "),
                if outcome.is_err() { "a panic" } else { "memory" },
                most >> 20
            ));
        }
        fs::remove_dir_all(&copied).expect("a folder of ours");
    }
    let _ = std::panic::take_hook();
    println!("{count} damaged folders; reading one held {} MiB at most", most_of_all >> 20);
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed[..failed.len().min(20)].join("\n"));
}

#[test]
fn histograms_that_are_too_short_are_an_error_of_their_file() {
    let cut: [fn(&mut Histogram); 3] = [
        |histogram| histogram.exponent_count.truncate(254),
        |histogram| histogram.exponent_count.clear(),
        |histogram| {
            let linear = histogram.linear.as_mut().expect("a linear one");
            linear.edges.truncate(9);
            linear.count.truncate(8);
        },
    ];
    for cut in cut {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let mut writer = RunWriter::open(&RunPlace::New(parent.path().to_owned()), start()).expect("a run folder");
        let mut crafted = record(0);
        crafted.shapes.iter_mut().flat_map(|shapes| &mut shapes.histograms).for_each(|found| cut(&mut found.histogram));
        writer.write(&crafted);
        assert!(writer.sync());
        let folder = writer.folder().to_owned();
        writer.finish(RunStatus::Finished, Missed::default());
        let run = Run::open(&folder).expect("a run");
        let told = [run.each_histogram(|_, _| {}), run.each_record(|_| {})].map(|read| read.expect_err("too short"));
        told.iter().for_each(|error| assert!(error.to_string().contains("histograms-0001"), "{error}"));
    }
}

//! Event files of a run that has ended, and pictures for those of one that wrote its own.

use crate::view;
use anyhow::{Context, Result, bail};
use gradscope::Run;
use gradscope::store::{EventWriter, Tensorboard};
use std::fs;
use std::path::{Path, PathBuf};

/// Records between two writes.
const FLUSH_EVERY: u64 = 1000;

pub fn write(run: &Run, folder: &Path) -> Result<Vec<PathBuf>> {
    let there = fs::read_dir(folder).into_iter().flatten().flatten();
    if there.filter(|entry| entry.file_name().to_string_lossy().contains("tfevents")).count() > 0 {
        bail!(
            "-o {}: it has event files already, and TensorBoard would show both; name another folder",
            folder.display()
        );
    }
    let mut events = Tensorboard::create(folder, run.manifest())?;
    let bar = super::progress(run);
    let mut failed = None;
    let mut count = 0u64;
    let mut times: Vec<(u64, f64)> = Vec::new();
    run.each_record(|record| {
        events.record(&record);
        count += 1;
        times.extend(record.unix_secs.map(|secs| (record.step, secs)));
        if count.is_multiple_of(FLUSH_EVERY) {
            failed = failed.take().or(events.flush().err());
        }
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    // What came after a step has the time of that step, or of the last one before it.
    let time_at = |step: u64| {
        let before = times.partition_point(|(at, _)| *at <= step);
        times.get(before.saturating_sub(1)).map(|(_, secs)| *secs).or(run.start_secs())
    };
    for series in run.series(|name| name.source == "log")? {
        for (step, value) in &series.points {
            events.set_wall_secs(time_at(*step));
            events.scalar(*step, &series.name.name, *value);
        }
    }
    for finding in run.findings()? {
        events.set_wall_secs(time_at(finding.first_step));
        events.finding(&finding);
    }
    events.set_wall_secs(time_at(u64::MAX));
    events.ended(run.status(), count);
    put_pictures(run, events.events())?;
    failed.map_or_else(|| events.flush(), Err).with_context(|| format!("{}", folder.display()))?;
    Ok(vec![folder.to_owned()])
}

/// What is known only at a run's end: the sign map, and what went wrong.
pub fn write_pictures(run: &Run, folder: &Path) -> Result<()> {
    let in_words = || format!("{}", folder.display());
    let mut events = EventWriter::create(folder).with_context(in_words)?;
    put_pictures(run, &mut events)?;
    events.flush().with_context(in_words)
}

fn put_pictures(run: &Run, events: &mut EventWriter) -> Result<()> {
    let step = run.step_count(u64::MAX)?;
    for picture in view::sign_maps(run)? {
        let (size, png) = picture.png();
        let tag = if picture.name == view::SIGN_MAP { "sign_map/all" } else { "sign_map/zoom" };
        events.image(step, tag, size, &png);
    }
    let notices = run.notices()?;
    if !notices.is_empty() {
        let lines: String =
            notices.iter().map(|notice| format!("- {}\n", notice.to_string().replace('<', "&lt;"))).collect();
        events.text(step, "run/notices", &lines);
    }
    Ok(())
}

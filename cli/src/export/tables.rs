//! Tables as they are: CSV and Parquet.

use anyhow::{Context, Result, anyhow};
use gradscope::Run;
use gradscope::store::files;
use std::path::{Path, PathBuf};

pub fn write_csv(run: &Run, folder: &Path, every: u64) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for table in Run::TABLES {
        let columns = run.columns(table)?;
        if columns.is_empty() {
            continue;
        }
        let path = folder.join(format!("{table}.csv"));
        let file = files::create(&path).with_context(|| format!("{}", path.display()))?;
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(&columns)?;
        let bar = super::progress(run);
        let mut every = super::EveryNth::new(every);
        let mut failed = None;
        run.each_line(table, &columns, |step, values| {
            if every.keeps(step) && failed.is_none() {
                failed = writer.write_record(values.iter().map(ToString::to_string)).err();
            }
            bar.set_position(step);
        })?;
        bar.finish_and_clear();
        let flushed = writer.flush();
        failed
            .map_or(Ok(()), |error| Err(anyhow!(error)))
            .and(flushed.map_err(|error| anyhow!(error)))
            .with_context(|| format!("{}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

pub fn write_parquet(run: &Run, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for table in Run::TABLES {
        let path = folder.join(format!("{table}.parquet"));
        if run.write_parquet(table, &path)? {
            written.push(path);
        }
    }
    Ok(written)
}

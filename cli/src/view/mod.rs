//! Pictures of run folders. They read folders, never a GPU.

mod axis;
mod chart;
mod flow;
mod heatmap;
mod palette;
mod picture;
mod pictures;
mod report;
mod ridgeline;
mod sign_map;
mod thinned;

use crate::runs;
use anyhow::{Context, Result};
use clap::Args;
use gradscope::Run;
use gradscope::store::files;
pub use palette::{DISTINCT_COUNT, Palette};
use pictures::Gallery;
pub use pictures::{sign_map_of, sign_maps};
pub use report::{ReportOptions, report};
pub use ridgeline::RIDGE_COUNT;
pub use sign_map::{NAME as SIGN_MAP, SignMapPart};
use std::path::{Path, PathBuf};
pub use thinned::Thinned;

#[derive(Args)]
pub struct PlotOptions {
    /// Run folder, or a folder of runs, of which the newest is taken.
    #[arg(value_name = "RUN", default_value = "runs")]
    run: PathBuf,

    /// Where the pictures go [default: plots/ in the run folder].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// `gradscope plot`.
pub fn plot(options: &PlotOptions) -> Result<()> {
    let run = runs::find(&options.run)?;
    let folder = options.output.clone().unwrap_or_else(|| run.folder().join("plots"));
    let (picture_count, missing) = write_plots(&run, &folder)?;
    missing.iter().for_each(|missing| runs::complain(&format_args!("no picture of {missing}")));
    runs::say(&format_args!("{picture_count} pictures, each as SVG and PNG, in {}", folder.display()));
    Ok(())
}

/// Draws all pictures of a run into a folder: how many, and what there is none of.
pub fn write_plots(run: &Run, folder: &Path) -> Result<(usize, Vec<String>)> {
    let Gallery { drawings, missing } = pictures::gallery(run)?;
    let pictures = pictures::draw(vec![drawings]).into_iter().flatten().collect::<Vec<_>>();
    files::create_folder(folder).with_context(|| format!("{}: pictures need a folder there", folder.display()))?;
    for picture in &pictures {
        let path = folder.join(&picture.name);
        let write = |extension: &str, bytes: &[u8]| {
            let path = path.with_extension(extension);
            files::write(&path, bytes).with_context(|| format!("{}", path.display()))
        };
        write("svg", picture.svg().as_bytes())?;
        write("png", &picture.png().1)?;
    }
    Ok((pictures.len(), missing))
}

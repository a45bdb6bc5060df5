//! TensorBoard event files.
//!
//! Written by hand: five message kinds of protobuf and a framing. Of the crates that exist, one declares itself
//! inactive, one needs a protobuf compiler to build, one brings some 200 crates with it.

mod events;
mod histogram;
mod hparams;

pub use events::EventWriter;
pub use histogram::Buckets;

use super::manifest::Manifest;
use super::time;
use crate::Error;
use gradscope_record::record::{Figure, Finding, RunStatus, StepRecord};
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Figures of single tensors that have curves in TensorBoard; the rest stand in the run folder.
const FIGURES: [&str; 10] = [
    "min",
    "max",
    "l1_norm",
    "l2_norm",
    "near_zero_ratio_1",
    "near_zero_ratio_2",
    "sign_flip_ratio",
    "nonfinite_count",
    "param_l2_norm",
    "update_to_weight",
];
/// What stands before the first `/` of gradscope's own tags, beside the figures.
const OWN_TAGS: [&str; 8] = ["global", "cost", "gradient", "parameter", "run", "sign_map", "scalar", "log"];
/// TensorBoard shows a thousand points of a curve: steps are thinned as they become many.
const SHOWN_COUNT: u64 = 1000;

/// Writes the records of a run as events.
pub struct Tensorboard {
    writer: EventWriter,
    /// Figures with the tag of each tensor.
    figures: Vec<(&'static Figure, Vec<String>)>,
    paths: Vec<String>,
    step_count: u64,
    /// Names that came with steps.
    given: HashSet<String>,
    /// Unix time of the run's start, where a record has none.
    start_secs: Option<f64>,
}

/// The tag of a figure that the training loop gave. Names like gradscope's own tags are set apart.
fn given_tag(source: &str, name: &str) -> String {
    let first = name.split('/').next().unwrap_or(name);
    let is_taken = name.contains('/') && (OWN_TAGS.contains(&first) || FIGURES.contains(&first));
    if is_taken || name.starts_with('_') { format!("{source}/{name}") } else { name.to_owned() }
}

impl std::fmt::Debug for Tensorboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tensorboard").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Tensorboard {
    /// Makes an event file in `folder`, with the run's settings and facts as text.
    ///
    /// # Errors
    /// Where the folder or the file can't be made.
    pub fn create(folder: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::RunFolder { path: folder.to_owned(), reason: error.to_string() };
        let mut writer = EventWriter::create(folder).map_err(failed)?;
        let first_step = manifest.segments.last().map_or(0, |segment| segment.first_step);
        if manifest.segments.len() > 1 {
            writer.restart(first_step);
        }
        let start_secs = time::unix_secs(&manifest.start);
        writer.set_wall_secs(start_secs);
        writer.text(first_step, "run/hyperparameters", &hyperparameters(manifest));
        hparams::start(&mut writer, manifest, start_secs);
        writer.flush().map_err(failed)?;
        let paths: Vec<String> = manifest.params.iter().map(|param| param.path.clone()).collect();
        let shown = Figure::of_groups(manifest.groups()).filter(|figure| FIGURES.contains(&figure.name));
        let tags = |figure: &Figure| paths.iter().map(|path| format!("{}/{path}", figure.name)).collect();
        let figures = shown.map(|figure| (figure, tags(figure))).collect();
        Ok(Self { writer, figures, paths, step_count: 0, given: HashSet::new(), start_secs })
    }

    /// Writes what is none of a record's: pictures, texts.
    pub fn events(&mut self) -> &mut EventWriter {
        &mut self.writer
    }

    /// A figure that was given after its step. One whose name came with steps too has the tag `log/NAME`.
    pub fn scalar(&mut self, step: u64, name: &str, value: f64) {
        let tag = if self.given.contains(name) { format!("log/{name}") } else { given_tag("log", name) };
        self.writer.scalars(step, [(tag.as_str(), value)]);
    }

    /// The Unix time, in seconds, of the findings and figures that follow; records have their own. `None` for the
    /// present.
    pub fn set_wall_secs(&mut self, wall_secs: Option<f64>) {
        self.writer.set_wall_secs(wall_secs);
    }

    /// How the run ended, for TensorBoard's table of hyper-parameters.
    pub fn ended(&mut self, status: RunStatus, step: u64) {
        hparams::end(&mut self.writer, status, step);
    }

    /// A finding, in words.
    pub fn finding(&mut self, finding: &Finding) {
        self.writer.text(finding.first_step, "run/findings", &finding.to_string().replace('<', "&lt;"));
    }

    /// Writes what a record holds: its figures, those over all tensors, those of every tensor, histograms.
    ///
    /// # Panics
    /// Where a histogram is of a parameter that the manifest does not have.
    pub fn record(&mut self, record: &StepRecord) {
        let step = record.step;
        self.writer.set_wall_secs(record.unix_secs.or(self.start_secs));
        if !record.last_move {
            let global = &record.global;
            let over_all = [
                ("global/l1_norm", Some(global.l1_norm)),
                ("global/l2_norm", Some(global.l2_norm)),
                ("global/min", global.min.map(f64::from)),
                ("global/max", global.max.map(f64::from)),
                ("global/near_zero_ratio_1", global.near_zero_ratio().map(|ratios| ratios[0])),
                ("global/near_zero_ratio_2", global.near_zero_ratio().map(|ratios| ratios[1])),
                ("global/sign_flip_ratio", global.sign_flip_ratio()),
                ("global/nonfinite_count", Some(global.nonfinite_count() as f64)),
                ("global/param_min", global.parameters.and_then(|p| p.min).map(f64::from)),
                ("global/param_max", global.parameters.and_then(|p| p.max).map(f64::from)),
                ("cost/submit_secs", Some(record.cost.submit_secs)),
            ];
            let given: Vec<_> =
                record.scalars.iter().map(|(name, value)| (given_tag("scalar", name), *value)).collect();
            let given = given.iter().map(|(tag, value)| (tag.as_str(), *value));
            let over_all = over_all.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
            self.writer.scalars(step, given.chain(over_all));
            for (name, _) in &record.scalars {
                if !self.given.contains(name) {
                    self.given.insert(name.clone());
                }
            }
            let stride = (self.step_count / SHOWN_COUNT).max(1).next_power_of_two();
            if self.step_count.is_multiple_of(stride) {
                let values = self.figures.iter().flat_map(|(figure, tags)| {
                    let found = record.tensors.iter().zip(tags);
                    found.filter_map(|(tensor, tag)| Some((tag.as_str(), (figure.of)(tensor)?)))
                });
                self.writer.scalars(step, values.collect::<Vec<_>>());
            }
            self.step_count += 1;
        }
        for histogram in record.shapes.iter().flat_map(|shapes| &shapes.histograms) {
            if let Some(buckets) = Buckets::of(record, histogram) {
                let tag = format!("{}/{}", histogram.of.id(), self.paths[histogram.param]);
                self.writer.histogram(step, &tag, &buckets);
            }
        }
    }

    /// Writes the events so far.
    ///
    /// # Errors
    /// As the file system's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A table of facts and settings, in Markdown.
fn hyperparameters(manifest: &Manifest) -> String {
    let mut table = String::from("| | |\n|---|---|\n");
    let settings = manifest.settings.as_object().into_iter().flatten();
    let settings =
        settings.map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    for (name, value) in manifest.fact_lines().into_iter().chain(settings) {
        let cell = |text: &str| text.replace('|', "\\|").replace(['\r', '\n'], " ").replace('<', "&lt;");
        table += &format!("| {} | {} |\n", cell(&name), cell(&value));
    }
    table += &format!("| adapter | {} |\n| engine | {} |\n", manifest.adapter, manifest.engine);
    table
}

#[cfg(test)]
mod tests {
    use super::given_tag;

    #[test]
    fn names_like_own_tags_are_set_apart() {
        for (name, tag) in [
            ("loss", "loss"),
            ("validation/loss", "validation/loss"),
            ("l2_norm", "l2_norm"),
            ("global/l2_norm", "scalar/global/l2_norm"),
            ("l2_norm/fc1.weight", "scalar/l2_norm/fc1.weight"),
            ("scalar/a", "scalar/scalar/a"),
            ("_hparams_/experiment", "scalar/_hparams_/experiment"),
        ] {
            assert_eq!(given_tag("scalar", name), tag);
        }
    }
}

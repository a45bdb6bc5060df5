//! What is asked for, and what of it a resumed run takes from the run.

use super::progress::Manner;
use crate::watch::Place;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use gradscope::diagnosis::Rules;
use gradscope::stats::Epsilons;
use gradscope::{DeviceChoice, Run, Stats};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::PathBuf;

/// What stands in a run's facts under this name brings the run back.
pub const RECIPE: &str = "recipe";

#[derive(Args)]
pub struct Options {
    /// Network to train: `mlp` is pixels-512-512-10, `cnn` two small convolutions with batch norm, `resnet18` torchvision's.
    #[arg(long, value_enum, default_value_t = ModelName::Mlp, conflicts_with = "resume")]
    model: ModelName,

    /// Passes over the training images [default: 8 for mlp, 2 for others].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,

    /// Stop after this many steps, whatever the epochs.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,

    /// Images a step [default: 64 for mlp, 16 for others].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65536), conflicts_with = "resume")]
    batch_size: Option<u64>,

    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3, allow_negative_numbers = true, conflicts_with = "resume")]
    lr: f64,

    /// Seed of initial weights and of the order of images.
    #[arg(long, default_value_t = 1, conflicts_with = "resume")]
    seed: u64,

    /// Where to train: auto, gpu or cpu. `auto` takes the GPU where there is a driver for one [default: auto].
    #[arg(long)]
    device: Option<String>,

    /// Folder with a full set: the four IDX files of (Fashion-)MNIST, gzipped or not, or the six binary files of CIFAR-10
    /// [default: 4,000 images of Fashion-MNIST that ship].
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    data_dir: Option<PathBuf>,

    /// Observe only parameters whose path matches this regular expression, such as `fc[12].*weight`.
    #[arg(long, value_name = "REGEX", conflicts_with = "resume")]
    select: Option<String>,

    /// What to compute, a list: card (extremes, norms, near zeros, flips), dynamics (means, spreads, what became of near
    /// zeros), params, updates (the optimizer's moves), cosine, ema; full is the first four.
    #[arg(long, value_name = "LIST", default_value = "dynamics", conflicts_with = "resume")]
    stats: Stats,

    /// Observe every N-th step; the step before each is captured to compare with.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "resume")]
    every: u64,

    /// Count histograms of gradients and weights at every N-th observed step.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "resume")]
    histograms: Option<u64>,

    /// Draw a line of the sign map (near-zero gradients by their sign, all parameters end to end) at every N-th observed
    /// step.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "resume")]
    sign_map: Option<u64>,

    /// Elements that the sign map shows, FIRST..END; with 1024 of them or fewer every column is one gradient [default: all].
    #[arg(long, value_name = "ELEMENTS", value_parser = elements, requires = "sign_map", conflicts_with = "resume")]
    sign_map_zoom: Option<Range<u64>>,

    /// The two magnitudes under which a gradient counts as near zero.
    #[arg(
        long,
        value_name = "E1,E2",
        value_delimiter = ',',
        allow_negative_numbers = true,
        default_value = "1e-7,1e-5",
        conflicts_with = "resume"
    )]
    eps: Vec<f64>,

    /// Save model, optimizer and step into the run folder after every N-th epoch; at the end and on Ctrl-C they are saved
    /// anyway.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "resume")]
    checkpoint_every: u64,

    /// Go on with a run from its last checkpoint, in the same folder; RUN is a run folder, or a folder of runs, of which the
    /// newest is taken. Its own options hold; --epochs, --steps, --device and --rule may be given anew, --plots and
    /// --tensorboard added.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,

    /// A rule of the diagnoses, again and again: RULE=off, note, warn, critical, tell, snapshot or stop, or
    /// RULE.NUMBER=VALUE, such as `non_finite=stop`. `gradscope explain --rules` lists them.
    #[arg(long, value_name = "SETTING", conflicts_with = "no_scope")]
    rule: Vec<String>,

    /// Folder for run folders: records go to DIR/MODEL/TIME-ID.
    #[arg(long, value_name = "DIR", default_value = "runs", conflicts_with = "resume")]
    pub runs_dir: PathBuf,

    /// Draw the run's pictures at its end, into plots/ in the run folder.
    #[arg(long, conflicts_with_all = ["no_record", "no_scope"])]
    pub plots: bool,

    /// Write TensorBoard event files as the run goes, into tensorboard/ in the run folder.
    #[arg(long, conflicts_with_all = ["no_record", "no_scope"])]
    pub tensorboard: bool,

    /// Write nothing to disk.
    #[arg(long, conflicts_with = "resume")]
    pub no_record: bool,

    /// Train without observing, to see what observing costs.
    #[arg(long, conflicts_with = "resume")]
    pub no_scope: bool,

    /// No progress bar and no table: errors, findings, and notices of what could not be recorded, alone.
    #[arg(short, long)]
    quiet: bool,

    /// Instead of the bar and the table a JSON object a line on stdout, its `event` one of start, step, test, finding,
    /// notice, end.
    #[arg(long, conflicts_with_all = ["quiet", "no_scope"])]
    json: bool,

    /// Serve a page that shows the run as it goes, and the others of its folder, as `gradscope watch` does. Where stderr is a
    /// terminal the page stays until Ctrl-C.
    #[arg(long, conflicts_with_all = ["no_record", "no_scope"])]
    pub watch: bool,

    #[command(flatten)]
    pub place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelName {
    Mlp,
    Cnn,
    Resnet18,
}

fn elements(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    range
        .filter(|range: &Range<u64>| !range.is_empty())
        .ok_or_else(|| "FIRST..END is needed, FIRST below END, such as 0..1024".into())
}

impl ModelName {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Cnn => "cnn",
            Self::Resnet18 => "resnet18",
        }
    }

    /// Epochs and images a step that software Vulkan on two cores gets through in a minute or two.
    fn defaults(self) -> (u64, u64) {
        match self {
            Self::Mlp => (8, 64),
            Self::Cnn | Self::Resnet18 => (2, 16),
        }
    }
}

/// Everything that the course of a training run depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recipe {
    pub model: ModelName,
    pub epochs: u64,
    pub steps: Option<u64>,
    pub batch_size: usize,
    pub lr: f64,
    pub seed: u64,
    pub data_dir: Option<PathBuf>,
    pub select: Option<String>,
    pub stats: Stats,
    pub every: u64,
    pub histograms: Option<u64>,
    pub sign_map: Option<u64>,
    #[serde(default)]
    pub sign_map_zoom: Option<Range<u64>>,
    pub eps: [f64; 2],
    pub checkpoint_every: u64,
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub plots: bool,
    #[serde(default)]
    pub tensorboard: bool,
    #[serde(default)]
    rules: Vec<String>,
}

impl Recipe {
    pub fn device(&self) -> Result<DeviceChoice> {
        self.device.as_deref().unwrap_or("auto").parse().context("--device")
    }

    /// # Errors
    /// On numbers that no training can use.
    fn checked(self) -> Result<Self> {
        ensure!(self.lr.is_finite() && self.lr > 0.0, "--lr {}: a finite, positive number is needed", self.lr);
        ensure!(
            self.batch_size > 0 && self.epochs > 0 && self.checkpoint_every > 0,
            "the recipe has a 0 where one is not possible"
        );
        Epsilons::new(self.eps).context("--eps")?;
        self.rules()?;
        Ok(self)
    }

    /// # Errors
    /// On a setting that no rule has.
    pub fn rules(&self) -> Result<Rules> {
        let set = |rules: Rules, setting: &String| rules.setting(setting);
        self.rules.iter().try_fold(Rules::default(), set).context("--rule")
    }
}

impl Options {
    pub fn manner(&self) -> Manner {
        match (self.quiet, self.json) {
            (_, true) => Manner::Json,
            (true, _) => Manner::Quiet,
            _ => Manner::People,
        }
    }

    /// # Errors
    /// On numbers that no training can use, and where a run to resume does not say how it was made.
    pub fn recipe(&self, resumed: Option<&Run>) -> Result<Recipe> {
        let Some(run) = resumed else { return self.new_recipe() };
        let Some(recipe) = run.manifest().facts.get(RECIPE) else {
            bail!("--resume {}: it was not made by `gradscope train`", run.folder().display())
        };
        let recipe: Recipe = serde_json::from_value(recipe.clone())
            .with_context(|| format!("--resume {}: the recipe in its run.json", run.folder().display()))?;
        let in_run = || format!("--resume {}: the recipe in its run.json", run.folder().display());
        let recipe = Recipe {
            epochs: self.epochs.unwrap_or(recipe.epochs),
            // Epochs that are asked for are not cut short by an earlier --steps.
            steps: self.steps.or(recipe.steps.filter(|_| self.epochs.is_none())),
            device: self.device.clone().or(recipe.device),
            plots: self.plots || recipe.plots,
            tensorboard: self.tensorboard || recipe.tensorboard,
            rules: if self.rule.is_empty() { recipe.rules } else { self.rule.clone() },
            ..recipe
        };
        recipe.checked().with_context(in_run)
    }

    fn new_recipe(&self) -> Result<Recipe> {
        let &[smaller, larger] = self.eps.as_slice() else { bail!("--eps: two numbers, not {}", self.eps.len()) };
        // A resumed run may start in another folder.
        let absolute = |dir: &PathBuf| dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let (epochs, batch_size) = self.model.defaults();
        let recipe = Recipe {
            model: self.model,
            epochs: self.epochs.unwrap_or(epochs),
            steps: self.steps,
            batch_size: self.batch_size.unwrap_or(batch_size) as usize,
            lr: self.lr,
            seed: self.seed,
            data_dir: self.data_dir.as_ref().map(absolute),
            select: self.select.clone(),
            stats: self.stats,
            every: self.every,
            histograms: self.histograms,
            sign_map: self.sign_map,
            sign_map_zoom: self.sign_map_zoom.clone(),
            eps: [smaller, larger],
            checkpoint_every: self.checkpoint_every,
            device: self.device.clone(),
            plots: self.plots,
            tensorboard: self.tensorboard,
            rules: self.rule.clone(),
        };
        recipe.checked()
    }
}

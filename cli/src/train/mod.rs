//! The main job: a small network trains on real images, and every gradient of every step is reduced.

mod checkpoint;
#[cfg(test)]
#[path = "../../../tests/support/damage.rs"]
mod damage;
mod options;
mod progress;
mod report;
mod stop;
mod training;

use crate::watch::PageProcess;
use crate::{export, runs, terminal, view};
use anyhow::{Context, Result, ensure};
use burn::module::Module;
use checkpoint::Checkpoint;
use gradscope::store::TENSORBOARD;
use gradscope::{Device, Run, Schedule, Scope, SignMap};
use gradscope_models::data::Data;
use gradscope_models::{Classifier, Cnn, Mlp, ResNet};
pub use options::Options;
use options::{ModelName, RECIPE, Recipe};
use progress::Manner;
use std::path::{Path, PathBuf};
use stop::Stop;
use training::{Trained, Training};

/// Why there is no ending, and whether training had started.
pub struct Failure {
    pub error: anyhow::Error,
    pub started: bool,
}

/// How training ended.
pub enum Ending {
    Finished,
    Interrupted,
    /// A finding asked for it.
    Stopped,
}

/// What a run is made from.
struct Setup<'a> {
    options: &'a Options,
    recipe: Recipe,
    resumed: Option<(Run, Checkpoint)>,
    data: Data,
    device: Device,
    /// The page of `--watch`.
    page: Option<PageProcess>,
}

/// Checks everything that can be wrong, then trains.
pub fn run(options: &Options) -> Result<Ending, Failure> {
    let setup = check(options).map_err(|error| Failure { error, started: false })?;
    match setup.recipe.model {
        ModelName::Mlp => train::<Mlp>(setup),
        ModelName::Cnn => train::<Cnn>(setup),
        ModelName::Resnet18 => train::<ResNet>(setup),
    }
}

fn check(options: &Options) -> Result<Setup<'_>> {
    let run = options.resume.as_ref().map(|path| runs::find(path)).transpose()?;
    let recipe = options.recipe(run.as_ref())?;
    let choice = recipe.device()?;
    let resumed = run.map(|run| Checkpoint::last(run.folder()).map(|checkpoint| (run, checkpoint))).transpose()?;
    let data = match &recipe.data_dir {
        Some(dir) => Data::from_dir(dir).context("--data-dir (leave it out for the images that ship)")?,
        None => Data::shipped()?,
    };
    if let Some((run, checkpoint)) = &resumed {
        let (done, all) = (checkpoint.state.step, step_count(&recipe, &data));
        ensure!(
            done < all,
            "--resume {}: all its {all} steps are done; a larger --epochs or --steps adds more",
            run.folder().display()
        );
    }
    let device = Device::open(choice)?;
    if let Some(reason) = device.fallback_reason() {
        runs::complain(&format_args!("NO GPU: {reason}\ngradscope: {}", gradscope::device::DRIVER_HINT));
        runs::complain(&format_args!("carrying on without one: burn's CPU backend trains, the CPU twins observe"));
    }
    ensure!(options.watch || !options.place.is_given(), "--port, --host and --open are of the page: add --watch");
    // The others of its folder are shown with it; a run that goes on may lie anywhere.
    let shown = resumed.as_ref().map_or(options.runs_dir.as_path(), |(run, _)| run.folder());
    let page = options.watch.then(|| PageProcess::start(shown, &options.place)).transpose()?;
    Ok(Setup { options, recipe, resumed, data, device, page })
}

fn steps_an_epoch(recipe: &Recipe, data: &Data) -> u64 {
    data.train.len().div_ceil(recipe.batch_size) as u64
}

fn step_count(recipe: &Recipe, data: &Data) -> u64 {
    recipe.epochs.saturating_mul(steps_an_epoch(recipe, data)).min(recipe.steps.unwrap_or(u64::MAX))
}

fn train<M: Classifier>(mut setup: Setup) -> Result<Ending, Failure> {
    let mut page = setup.page.take();
    let (options, recipe) = (setup.options, &setup.recipe);
    let stop = Stop::on_ctrl_c();
    let observe = |model: &M| (!options.no_scope).then(|| scope(&setup, model)).transpose();
    let made = Training::new(&setup, &stop, observe);
    let (mut training, model) = made.map_err(|error| Failure { error, started: false })?;
    let folder = training.folder.clone();
    let shown = page.as_ref().zip(folder.as_deref());
    training.announce(&setup, shown.map(|(page, folder)| page.url(folder)).as_deref());
    if let Some((page, folder)) = shown {
        page.open(folder);
    }
    let model = training.run(model);
    let Trained { finished, report, step, stopped } = training.finish(&model);
    let (interrupted, for_people) = (stop.is_asked(), options.manner() == Manner::People);
    if for_people {
        terminal::say_report(&report.text(step, finished.as_ref()));
    }
    if let Some(folder) = finished.and_then(|finished| finished.folder) {
        let done = after_run(&folder, recipe.plots, recipe.tensorboard, !for_people);
        done.map_err(|error| Failure { error, started: true })?;
    }
    if let (Some(page), Some(folder)) = (&mut page, &folder)
        && !interrupted
        && for_people
    {
        stop.training_is_over();
        page.linger(folder, || stop.is_asked());
    }
    Ok(match (interrupted, stopped) {
        (true, _) => Ending::Interrupted,
        (_, true) => Ending::Stopped,
        _ => Ending::Finished,
    })
}

/// What a run that has just ended is asked for.
fn after_run(folder: &Path, plots: bool, tensorboard: bool, quiet: bool) -> Result<()> {
    if !plots && !tensorboard {
        return Ok(());
    }
    let run = Run::open(folder)?;
    if tensorboard {
        export::write_tensorboard_pictures(&run, &folder.join(TENSORBOARD))?;
    }
    if plots {
        let (picture_count, _) = view::write_plots(&run, &folder.join("plots"))?;
        if !quiet {
            runs::say(&format_args!("{picture_count} pictures in {}", folder.join("plots").display()));
        }
    }
    Ok(())
}

fn scope<M: Module>(setup: &Setup, model: &M) -> Result<Scope> {
    let Setup { options, recipe, resumed, device, .. } = setup;
    let data = recipe.data_dir.as_ref();
    let mut builder = Scope::builder(device)
        .stats(recipe.stats)
        .every(recipe.every)
        .epsilons(recipe.eps)
        .tensorboard(recipe.tensorboard && !options.no_record)
        .fact("model", recipe.model.name())
        .optimizer("adam")
        .activation("relu")
        .rules(recipe.rules()?)
        .fact("data", data.map_or("shipped subset of Fashion-MNIST".into(), |dir| dir.display().to_string()))
        .fact(RECIPE, serde_json::to_value(recipe)?);
    if let Some(pattern) = &recipe.select {
        builder = builder.select(pattern);
    }
    let every = |n: u64| Schedule::every(recipe.every.saturating_mul(n));
    if let Some(n) = recipe.histograms {
        builder = builder.histograms(every(n));
    }
    if let Some(n) = recipe.sign_map {
        let zoom = recipe.sign_map_zoom.clone();
        let map = zoom.map_or_else(SignMap::default, |elements| SignMap::default().zoom(elements));
        builder = builder.sign_map(map, every(n));
    }
    match resumed {
        Some((run, checkpoint)) => builder = builder.resume(run.folder(), checkpoint.state.step),
        None if !options.no_record => builder = builder.run(place(options, recipe)),
        None => {}
    }
    Ok(builder.build(model)?)
}

fn place(options: &Options, recipe: &Recipe) -> PathBuf {
    options.runs_dir.join(recipe.model.name())
}

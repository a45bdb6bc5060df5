//! The main job: a small network trains on real images, and every gradient of every step is reduced.

mod checkpoint;
#[cfg(test)]
#[path = "../../../tests/support/damage.rs"]
mod damage;
mod options;
mod progress;
mod report;
mod stop;

use crate::watch::PageProcess;
use crate::{export, runs, terminal, view};
use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device as BurnDevice, Tensor};
use checkpoint::{Checkpoint, State};
use gradscope::store::TENSORBOARD;
use gradscope::{Device, Run, RunStatus, Schedule, Scope, SignMap};
use gradscope_models::data::{self, Data, Images};
use gradscope_models::{Classifier, Cnn, Mlp, ResNet};
pub use options::Options;
use options::{ModelName, RECIPE, Recipe};
use progress::{Manner, Progress};
use report::Report;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;
use stop::Stop;

/// Images evaluated at a time.
const TEST_BATCH_LEN: usize = 250;

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
    let Setup { options, recipe, resumed, data, device, .. } = &setup;
    let before = |error| Failure { error, started: false };
    let training = device.burn().clone().autodiff();
    training.seed(recipe.seed);
    let mut model = M::init(data.train.shape(), data::CLASS_COUNT, &training);
    let mut optimizer = AdamConfig::new().init();
    let mut step = 0;
    if let Some((_, checkpoint)) = resumed {
        (model, optimizer) = checkpoint.load(model, optimizer).map_err(before)?;
        step = checkpoint.state.step;
    }
    let scope = (!options.no_scope).then(|| scope(&setup, &model)).transpose();
    let mut scope = scope.map_err(before)?;
    let folder = scope.as_ref().and_then(Scope::run_folder).map(ToOwned::to_owned);
    let loss = CrossEntropyLossConfig::new().init(&training);
    let stop = Stop::on_ctrl_c();

    let (steps_an_epoch, step_count) = (steps_an_epoch(recipe, data), step_count(recipe, data));
    let paths = scope.as_ref().map_or(vec![], |scope| scope.params().iter().map(|param| param.path.clone()).collect());
    let progress = Progress::new(step_count, options.manner(), paths);
    progress.say(&format!("training {} on {}", recipe.model.name(), device.describe()));
    let url = page.as_ref().zip(folder.as_deref()).map(|(page, folder)| page.url(folder));
    if let (Some(page), Some(folder), Some(url)) = (&page, &folder, &url) {
        progress.need(&format!("watch it at {url}"));
        page.open(folder);
    }
    let started = json!({
        "model": recipe.model.name(), "device": device.describe(), "step_count": step_count, "first_step": step,
        "folder": folder, "url": url,
    });
    progress.event("start", started);
    if let Some((run, _)) = resumed {
        progress.say(&format!("going on with {} at step {step}", run.folder().display()));
    }
    let save = |scope: Option<&mut Scope>, step: u64, model: &M, optimizer: &_| {
        // A checkpoint that is ahead of the record would leave a gap in a resumed run.
        if scope.is_some_and(|scope| !scope.sync()) && folder.is_some() {
            progress.notice("the record is not all on disk, so a run that goes on from here may have a gap");
        }
        let saved = folder.as_ref().map(|folder| checkpoint::save(folder, State { step }, model, optimizer));
        if let Some(Err(error)) = saved {
            progress.notice(&format!("{error:#}"));
        }
    };
    let mut report = Report::start(step);
    let mut order: Vec<usize> = (0..data.train.len()).collect();
    let mut random = fastrand::Rng::with_seed(recipe.seed);
    let mut begun = Instant::now();
    let mut saved_at = step;
    let mut stopped = false;
    'epochs: for epoch in 1..=recipe.epochs {
        // A resumed run shuffles as often as the run did, and passes over the batches that it had.
        random.shuffle(&mut order);
        let first_step = (epoch - 1) * steps_an_epoch;
        if step >= first_step + steps_an_epoch {
            continue;
        }
        for batch in order.chunks(recipe.batch_size).skip((step - first_step) as usize) {
            if step == step_count || stopped || stop.is_asked() {
                break 'epochs;
            }
            let (images, labels) = data.train.batch(batch, &training);
            let scores = model.forward(images);
            let batch_loss = loss.forward(scores.clone(), labels.clone());
            let grads = batch_loss.backward();
            if let Some(scope) = &mut scope {
                let step_secs = begun.elapsed().as_secs_f64();
                let mut observed = scope.step(step).epoch(epoch).value("lr", recipe.lr).scalar("loss", &batch_loss);
                if observed.is_due() {
                    let accuracy = scores.inner().argmax(1).flatten::<1>(0, 1).equal(labels.inner()).float().mean();
                    observed = observed.scalar("accuracy", &accuracy).value("step_secs", step_secs);
                }
                observed.gradients(&model, &grads).submit();
            }
            begun = Instant::now();
            let grads = GradientsParams::from_grads(grads, &model);
            model = optimizer.step(recipe.lr, model, grads);
            step += 1;
            let events = scope.as_mut().map(Scope::poll).unwrap_or_default();
            report.take(&events);
            progress.advance(step, &report, &events);
            stopped = scope.as_ref().is_some_and(|scope| scope.should_stop().is_some());
        }
        let tested = test(&model, &data.test, &loss, device.burn());
        progress.say(&format!("epoch {epoch}: test accuracy {:.1}%", 100.0 * tested.accuracy));
        log(&progress, scope.as_mut(), step, epoch, &tested);
        report.test_accuracy = Some(tested.accuracy);
        if epoch.is_multiple_of(recipe.checkpoint_every) && step < step_count {
            save(scope.as_mut(), step, &model, &optimizer);
            saved_at = step;
        }
        begun = Instant::now();
    }
    if step > saved_at {
        save(scope.as_mut(), step, &model, &optimizer);
    }
    // Training that stopped inside an epoch was last tested before it.
    if !step.is_multiple_of(steps_an_epoch) {
        let tested = test(&model, &data.test, &loss, device.burn());
        log(&progress, scope.as_mut(), step, step / steps_an_epoch + 1, &tested);
        report.test_accuracy = Some(tested.accuracy);
    }
    let interrupted = stop.is_asked();
    if let Some(finding) = scope.as_ref().and_then(Scope::should_stop) {
        progress.notice(&format!("stopped after step {}, as the rule {} was told to", step - 1, finding.rule));
    }
    let status = if interrupted || stopped { RunStatus::Interrupted } else { RunStatus::Finished };
    let finished = scope.map(|scope| scope.finish_as(&model, status));
    if let Some(finished) = &finished {
        report.take(&finished.events);
        progress.told(&report, &finished.events);
    }
    progress.end();
    progress.event(
        "end",
        json!({
            "status": status, "step_count": step, "test_accuracy": report.test_accuracy, "folder": folder,
            "findings": report.findings(),
        }),
    );
    if options.manner() == Manner::People {
        terminal::say_report(&report.text(step, finished.as_ref()));
    }
    if let Some(folder) = finished.and_then(|finished| finished.folder) {
        after_run(&folder, recipe.plots, recipe.tensorboard, options.manner() != Manner::People)
            .map_err(|error| Failure { error, started: true })?;
    }
    if let (Some(page), Some(folder)) = (&mut page, &folder)
        && !interrupted
        && options.manner() == Manner::People
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

/// How the model does on images that it was not trained on.
struct Tested {
    loss: f64,
    accuracy: f64,
}

/// Waits for the GPU.
fn test<M: Classifier>(model: &M, images: &Images, loss: &CrossEntropyLoss, device: &BurnDevice) -> Tested {
    let model = model.valid();
    let indices: Vec<usize> = (0..images.len()).collect();
    let mut sums = Tensor::<1>::zeros([2], device);
    for batch in indices.chunks(TEST_BATCH_LEN) {
        let (images, labels) = images.batch(batch, device);
        let scores = model.forward(images);
        let batch_loss = loss.forward(scores.clone(), labels.clone()).mul_scalar(batch.len() as f32);
        let hits = scores.argmax(1).flatten::<1>(0, 1).equal(labels).float().sum();
        sums = sums + Tensor::cat(vec![batch_loss, hits], 0);
    }
    let sums: Vec<f32> = sums.into_data().try_into_vec().expect("two f32 sums");
    let [loss, accuracy] = [sums[0], sums[1]].map(|sum| f64::from(sum) / images.len() as f64);
    Tested { loss, accuracy }
}

fn log(progress: &Progress, scope: Option<&mut Scope>, step: u64, epoch: u64, tested: &Tested) {
    progress.event("test", json!({ "epoch": epoch, "loss": tested.loss, "accuracy": tested.accuracy }));
    if let (Some(scope), Some(last)) = (scope, step.checked_sub(1)) {
        scope.log(last, Some(epoch), "validation/loss", tested.loss);
        scope.log(last, Some(epoch), "validation/accuracy", tested.accuracy);
    }
}

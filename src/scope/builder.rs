//! Settings of a scope, checked before anything is made.

use super::capture::{Capture, Capturing};
use super::comparing::Comparing;
use super::diagnosing::{Diagnosing, OnFinding};
use super::notices::Notices;
use super::numbering::Numbering;
use super::schedule::{Schedule, Span};
use super::selection::{Selected, matching, selected};
use super::survey::{Survey, SurveySettings};
use super::{EventBuffer, Known, Observer, Scope, walk};
use crate::Error;
use crate::reduce::gpu::{Form, PretendLimits, Shaders};
use crate::reduce::survey::SignMap;
use crate::scope::device::Device;
use crate::scope::engine::Settings;
use burn::module::Module;
use gradscope_record::diagnosis::{Context, Coverage, Diagnosis, Material, Rules};
use gradscope_record::record::{Averages, NoticeKind, Param};
use gradscope_record::stats::{Epsilons, Stats};
use gradscope_record::summary::Summary;
use gradscope_store::RunPlace;
use std::sync::Arc;

/// What happens to a step that finds the staging ring full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenFull {
    /// Wait until the oldest step is back. Every step is recorded.
    #[default]
    Wait,
    /// Leave the step out, with a [`Notice`](crate::Notice).
    Drop,
}

/// Steps that may be on their way back at once, at some tens of kilobytes each. burn lets 512 kernels run ahead: a step of
/// four or more never finds the ring full.
pub(crate) const RING_LEN: usize = 128;

/// Steps that a snapshot has.
const FLIGHT_RECORDER_LEN: usize = 64;

/// Settings of a [`Scope`]; every one has a default.
///
/// ```no_run
/// # use burn::nn::LinearConfig;
/// use gradscope::{Schedule, Scope, Stats};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = gradscope::device()?;
/// # let model = LinearConfig::new(4, 2).init(&device.burn().clone().autodiff());
/// let scope = Scope::builder(&device)
///     .stats(Stats::DYNAMICS | Stats::PARAMS)
///     .every(10)
///     .histograms(Schedule::every(100))
///     .select("weight")
///     .optimizer("adam")
///     .build(&model)?;
/// # let _ = scope;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct ScopeBuilder {
    pub(super) device: Device,
    pub(super) groups: Stats,
    pub(super) epsilons: [f64; 2],
    pub(super) schedule: Schedule,
    pub(super) schedules_for: Vec<(String, Schedule)>,
    pub(super) span: Span,
    pub(super) layers: Vec<(String, String)>,
    pub(super) survey: SurveySettings,
    pub(super) average_factor: f64,
    pub(super) diagnose: bool,
    pub(super) rules: Rules,
    pub(super) context: Context,
    pub(super) on_finding: Option<OnFinding>,
    pub(super) flight_recorder_len: usize,
    pub(super) include: Option<String>,
    pub(super) exclude: Option<String>,
    pub(super) ring_len: usize,
    pub(super) when_full: WhenFull,
    pub(super) shaders: Shaders,
    pub(super) gpu_timer: Option<bool>,
    pub(super) limits: PretendLimits,
    pub(super) run: Option<RunPlace>,
    pub(super) tensorboard: bool,
    pub(super) facts: Vec<(String, serde_json::Value)>,
    pub(super) capture: Option<(String, Schedule)>,
}

impl std::fmt::Debug for ScopeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopeBuilder")
            .field("device", &self.device)
            .field("groups", &self.groups)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

impl ScopeBuilder {
    pub(super) fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            groups: Stats::BASIC,
            epsilons: Epsilons::default().values(),
            schedule: Schedule::every(1),
            schedules_for: Vec::new(),
            span: Span::default(),
            layers: Vec::new(),
            survey: SurveySettings::default(),
            average_factor: Averages::DEFAULT_FACTOR,
            diagnose: true,
            rules: Rules::default(),
            context: Context::default(),
            on_finding: None,
            flight_recorder_len: FLIGHT_RECORDER_LEN,
            include: None,
            exclude: None,
            ring_len: RING_LEN,
            when_full: WhenFull::default(),
            shaders: Shaders::Trusted,
            gpu_timer: None,
            limits: PretendLimits::default(),
            run: None,
            tensorboard: false,
            facts: Vec::new(),
            capture: None,
        }
    }

    /// What to compute: `Stats::DYNAMICS | Stats::PARAMS`, or `Stats::FULL`. Default: the card.
    pub fn stats(mut self, groups: Stats) -> Self {
        self.groups = groups;
        self
    }

    /// Observes every n-th step that the scope is given, beginning with the first. An `n` of 0 is an error of [`ScopeBuilder::build`]. Default:
    /// every step.
    pub fn every(self, n: u64) -> Self {
        self.schedule(Schedule::every(n))
    }

    /// The steps to observe. A rule of it that names no step, such as `every(0)`, is an error of
    /// [`ScopeBuilder::build`]. Default: every step.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Another schedule for parameters whose path matches the regular expression. The last that matches holds. The
    /// expression is searched for in the whole path (`^` and `$` anchor it); one that matches no parameter is an error
    /// of [`ScopeBuilder::build`].
    pub fn schedule_for(mut self, pattern: impl Into<String>, schedule: Schedule) -> Self {
        self.schedules_for.push((pattern.into(), schedule));
        self
    }

    /// Which step dynamics compare with. Default: the one right before.
    pub fn span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// Sums up, under `name`, the parameters whose path matches the regular expression:
    /// [`StepRecord::groups`](crate::StepRecord). Groups may overlap. The expression is searched for in the whole path
    /// (`^` and `$` anchor it); one that matches no parameter is an error of [`ScopeBuilder::build`].
    pub fn group(mut self, name: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.layers.push((name.into(), pattern.into()));
        self
    }

    /// Counts gradients and parameters by exponent and between their last known bounds, at those observed steps that the
    /// schedule names. A pass of its own over both; 1.3 KB read back for each. Default: never.
    pub fn histograms(mut self, schedule: Schedule) -> Self {
        self.survey.histograms = Some(schedule);
        self
    }

    /// Sums weight gradients up by output channel, at those observed steps that the schedule names. A pass of its own,
    /// which copies gradients that do not lie in logical order; 28 bytes read back a channel. Default: never.
    pub fn channels(mut self, schedule: Schedule) -> Self {
        self.survey.channels = Some(schedule);
        self
    }

    /// Draws a [`SignMap`] row at those observed steps that the schedule names. A pass of its own over the selected
    /// parameters' gradients; 28 bytes read back a column and a parameter. Default: none. One without columns or
    /// elements is an error of [`ScopeBuilder::build`].
    pub fn sign_map(mut self, map: SignMap, schedule: Schedule) -> Self {
        self.survey.sign_map = Some((map, schedule));
        self
    }

    /// Share of the past in moving averages, in [0, 1): those of figures ([`Averages`](gradscope_record::record::Averages)) and,
    /// with [`Stats::EMA`](crate::Stats::EMA), those of elements. Another one is an error of [`ScopeBuilder::build`].
    /// Default: 0.9.
    pub fn average_factor(mut self, factor: f64) -> Self {
        self.average_factor = factor;
        self
    }

    /// Magnitudes under which a gradient counts as near zero: two finite, positive numbers, ascending, in units of the
    /// gradient. Default: 1e-7 and 1e-5.
    pub fn epsilons(mut self, epsilons: [f64; 2]) -> Self {
        self.epsilons = epsilons;
        self
    }

    /// Observes only parameters whose path matches the regular expression. Default: all. The expression is searched for
    /// in the whole path (`^` and `$` anchor it); one that matches no parameter is an error of [`ScopeBuilder::build`].
    pub fn select(mut self, pattern: impl Into<String>) -> Self {
        self.include = Some(pattern.into());
        self
    }

    /// Leaves out parameters whose path matches the regular expression. Default: none. The expression is searched for
    /// in the whole path (`^` and `$` anchor it); one that matches no parameter, or leaves none, is an error of
    /// [`ScopeBuilder::build`].
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.exclude = Some(pattern.into());
        self
    }

    /// Steps that may be on their way back at once, 1 or more; each has a staging buffer of what a step reads back.
    /// Default: 128.
    pub fn ring_len(mut self, steps: usize) -> Self {
        self.ring_len = steps;
        self
    }

    /// What happens when `ring_len` steps are on their way. Default: wait.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Runs the shaders with bounds checks, to tell a defect of a shader from one of a driver. Default: off.
    pub fn checked_shaders(mut self, checked: bool) -> Self {
        self.shaders = if checked { Shaders::Checked } else { Shaders::Trusted };
        self
    }

    /// Reads the GPU's clock around each step's commands, for [`Cost::gpu_secs`](gradscope_record::record::Cost). Default: where the
    /// adapter can, and is not a software driver, which would have to run dry for it.
    pub fn gpu_timer(mut self, on: bool) -> Self {
        self.gpu_timer = Some(on);
        self
    }

    /// Limits below the adapter's own, to try what a smaller one would do.
    #[doc(hidden)]
    pub fn pretend_limits(mut self, limits: PretendLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Writes a run folder of its own under `folder`, `<UTC time>-<id>`; [`Scope::run_folder`] names it. It holds Arrow
    /// streams, and Parquet once it has ended with the feature `parquet`. Default: nothing touches the disk.
    pub fn run(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.run = Some(RunPlace::New(folder.into()));
        self
    }

    /// Goes on with a run folder, from step `next_step`: the one after the checkpoint's last. What the folder has of
    /// that step and later ones, from a run that went further and was lost, is no part of the run any more. The first
    /// step compares with none. Another model, a folder that is no run, and one that is being written are errors of
    /// [`ScopeBuilder::build`].
    pub fn resume(mut self, folder: impl Into<std::path::PathBuf>, next_step: u64) -> Self {
        self.run = Some(RunPlace::Resumed { folder: folder.into(), first_step: next_step });
        self
    }

    /// Writes TensorBoard event files as the run goes, into `tensorboard/` in the run folder. Default: off. Needs
    /// [`ScopeBuilder::run`] or [`ScopeBuilder::resume`].
    pub fn tensorboard(mut self, on: bool) -> Self {
        self.tensorboard = on;
        self
    }

    /// A fact of the run for its manifest: model, optimizer, seed, data. `recipe`, `model`, `optimizer` and
    /// `activation` are read by the command and by [`Reading`](gradscope_store::Reading).
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// Writes gradients and parameters whose path matches the regular expression, as they are, to `captures/` in the
    /// run folder: a safetensors file a step, at those observed steps that the schedule names and at those that
    /// [`Scope::capture_next`] asks for. A thread of its own reads and writes them; until it has read them, what
    /// changes them makes a copy. Default: none. Files are `step-00000100.safetensors` with `gradient/PATH` and
    /// `parameter/PATH`. Needs [`ScopeBuilder::run`] or [`ScopeBuilder::resume`]. The expression is searched for in the
    /// whole path (`^` and `$` anchor it); one that matches no parameter is an error of [`ScopeBuilder::build`].
    pub fn capture(mut self, pattern: impl Into<String>, schedule: Schedule) -> Self {
        self.capture = Some((pattern.into(), schedule));
        self
    }

    /// Walks the module for its parameters and prepares everything a step needs: buffers, pipelines, the run folder.
    ///
    /// # Errors
    /// On settings that can't be kept ([`Error::Epsilon`], [`Error::EmptyRing`], [`Error::BadAverageFactor`],
    /// [`Error::BadSchedule`], [`Error::BadPattern`], [`Error::NothingSelected`], [`Error::EmptySignMap`],
    /// [`Error::CaptureWithoutRun`], [`Error::TensorboardWithoutRun`]); on a module without float parameters, on
    /// another device, or with a tensor of 2^32 elements ([`Error::NoParameters`], [`Error::WrongDevice`],
    /// [`Error::TensorTooLarge`]); on what the adapter can't hold ([`Error::ModelTooLarge`], [`Error::NoRoomOnGpu`]);
    /// and on a run folder that can't be written or gone on with ([`Error::Store`]). Nothing has been written then.
    pub fn build<M: Module>(self, module: &M) -> Result<Scope, Error> {
        let epsilons = Epsilons::new(self.epsilons)?;
        if self.ring_len == 0 {
            return Err(Error::EmptyRing);
        }
        if !(0.0..1.0).contains(&self.average_factor) {
            return Err(Error::BadAverageFactor(self.average_factor));
        }
        let table = walk::parameters(module, &self.device)?;
        let buffers = table.buffers.clone();
        let Selected { places, params, ids } = selected(table, self.include.as_deref(), self.exclude.as_deref())?;
        let params: Arc<[Param]> = params.into();
        let (schedules, schedule_of) = self.schedules(&params)?;
        let layers = self.layers.iter().map(|(name, pattern)| Ok((name.clone(), matching(pattern, &params)?)));
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let survey = Survey::new(self.survey.clone(), &params, |pattern| matching(pattern, &params))?;
        let captured = match &self.capture {
            None => vec![false; params.len()],
            Some(_) if self.run.is_none() => return Err(Error::CaptureWithoutRun),
            Some((pattern, schedule)) => {
                // A schedule of `never` leaves `capture_next`.
                schedule.check()?;
                let places = matching(pattern, &params)?;
                (0..params.len()).map(|place| places.contains(&place)).collect()
            }
        };
        // Moves are held against planes and weights.
        let groups = self.groups.with_needs();
        let form = Form { groups, tap: false };
        let settings = Settings {
            form,
            epsilons,
            survey: survey.plan.clone(),
            average_factor: self.average_factor,
            shaders: self.shaders,
            gpu_timer: self.gpu_timer,
            limits: self.limits,
        };
        let observer = Observer::new(&self.device, &params, &settings, self.ring_len)?;
        let store = match &self.run {
            Some(place) => {
                let start = self.run_start::<M>(groups, &params, buffers, &observer);
                Some(gradscope_store::RunWriter::open(place, start)?)
            }
            None if self.tensorboard => return Err(Error::TensorboardWithoutRun),
            None => None,
        };
        let capture = match (&self.capture, &store) {
            (Some((_, schedule)), Some(store)) => {
                let writer = Capture::start(store.folder().join("captures"))?;
                Some(Capturing { schedule: schedule.clone(), captured, asked: false, writer })
            }
            _ => None,
        };
        let (resumed, first_step) = match self.run {
            Some(RunPlace::Resumed { first_step, .. }) => (true, first_step),
            _ => (false, 0),
        };
        let material = Material {
            groups,
            step_count: u64::MAX,
            has_loss: None,
            has_taps: None,
            has_histograms: survey.plan.histograms,
            is_live: true,
        };
        let coverage = Some(Coverage::of(&material, &self.rules)).filter(|_| self.diagnose);
        let unjudged = coverage.filter(|coverage| !coverage.not_judged.is_empty());
        let unjudged = unjudged.map(|coverage| NoticeKind::RulesUnjudged { coverage: coverage.to_string() });
        let diagnosing = self.diagnose.then(|| {
            let context = Context { resumed: resumed || self.context.resumed, ..self.context };
            Diagnosing::new(Diagnosis::with(Arc::clone(&params), &self.rules, context), self.on_finding)
        });
        let known = ids.into_iter().zip(params.iter());
        let known = known.map(|(id, param)| Known { id, trainable: param.trainable, seen: false }).collect();
        let tied = params.iter().filter(|param| !param.tied.is_empty());
        let tied = tied.map(|param| NoticeKind::TiedParameters { path: param.path.clone(), tied: param.tied.clone() });
        Ok(Scope {
            known,
            numbering: Numbering::from(first_step),
            notices: Notices::default(),
            early_notices: tied.chain(unjudged).collect(),
            snapshot_count: 0,
            capture,
            device: self.device.burn().clone(),
            summary: Summary::new(&params),
            averages: vec![None; params.len()],
            diagnosing,
            params,
            places,
            epsilons,
            groups,
            comparing: Comparing::new(self.span, schedules, schedule_of),
            layers,
            survey,
            average_factor: self.average_factor,
            last_step: None,
            when_full: self.when_full,
            observer,
            events: EventBuffer::default(),
            wait_count: 0,
            unknown_count: 0,
            store,
        })
    }

    /// The schedules, and for each parameter which is its own.
    fn schedules(&self, params: &[Param]) -> Result<(Vec<Schedule>, Vec<usize>), Error> {
        let mut schedules = vec![self.schedule.clone()];
        let mut schedule_of = vec![0; params.len()];
        for (pattern, schedule) in &self.schedules_for {
            matching(pattern, params)?.into_iter().for_each(|place| schedule_of[place] = schedules.len());
            schedules.push(schedule.clone());
        }
        // `never` is an answer for some parameters, and a mistake for all of them.
        schedules.iter().try_for_each(Schedule::check)?;
        if schedule_of.iter().all(|&own| schedules[own] == Schedule::never()) {
            return Err(Error::BadSchedule { reason: "it is `never` for every parameter".into() });
        }
        Ok((schedules, schedule_of))
    }
}

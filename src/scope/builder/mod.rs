//! Settings of a scope, checked before anything is made.

mod options;

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
use crate::scope::device::Device;
use crate::scope::engine::Settings;
use burn::module::Module;
use gradscope_record::diagnosis::{Context, Coverage, Diagnosis, Material, Rules};
use gradscope_record::record::{Averages, NoticeKind, Param};
use gradscope_record::stats::{Epsilons, Stats};
use gradscope_record::summary::Summary;
use gradscope_store::{RunPlace, RunWriter};
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
        self.check()?;
        let epsilons = Epsilons::new(self.epsilons)?;
        let groups = self.groups.with_needs();
        let table = walk::parameters(module, &self.device)?;
        let buffers = table.buffers.clone();
        let Selected { places, params, ids } = selected(table, self.include.as_deref(), self.exclude.as_deref())?;
        let params: Arc<[Param]> = params.into();
        let (schedules, schedule_of) = self.schedules(&params)?;
        let layers = self.layers.iter().map(|(name, pattern)| Ok((name.clone(), matching(pattern, &params)?)));
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let survey = Survey::new(self.survey.clone(), &params, |pattern| matching(pattern, &params))?;
        let captured = self.captured(&params)?;
        let settings = Settings {
            form: Form { groups, tap: false },
            epsilons,
            survey: survey.plan.clone(),
            average_factor: self.average_factor,
            shaders: self.shaders,
            gpu_timer: self.gpu_timer,
            limits: self.limits,
        };
        let observer = Observer::new(&self.device, &params, &settings, self.ring_len)?;
        // Nothing is written before everything else has gone well, but for the thread of captures.
        let store = self.store::<M>(groups, &params, buffers, &observer)?;
        let known = ids.into_iter().zip(params.iter());
        let known = known.map(|(id, param)| Known { id, trainable: param.trainable, seen: false }).collect();
        let first_step = match self.run {
            Some(RunPlace::Resumed { first_step, .. }) => first_step,
            _ => 0,
        };
        Ok(Scope {
            known,
            numbering: Numbering::from(first_step),
            notices: Notices::default(),
            early_notices: self.early_notices(groups, &params, &survey),
            snapshot_count: 0,
            replaced: vec![],
            capture: self.capturing(captured, store.as_ref())?,
            device: self.device.burn().clone(),
            summary: Summary::new(&params),
            averages: vec![None; params.len()],
            comparing: Comparing::new(self.span, schedules, schedule_of),
            average_factor: self.average_factor,
            when_full: self.when_full,
            diagnosing: self.diagnosing(&params),
            params,
            places,
            epsilons,
            groups,
            layers,
            survey,
            last_step: None,
            observer,
            events: EventBuffer::default(),
            wait_count: 0,
            unknown_count: 0,
            store,
        })
    }

    /// # Errors
    /// On numbers that no scope can have.
    fn check(&self) -> Result<(), Error> {
        if self.ring_len == 0 {
            return Err(Error::EmptyRing);
        }
        if !(0.0..1.0).contains(&self.average_factor) {
            return Err(Error::BadAverageFactor(self.average_factor));
        }
        if self.capture.is_some() && self.run.is_none() {
            return Err(Error::CaptureWithoutRun);
        }
        Ok(())
    }

    /// For each parameter, whether it is captured; empty where nothing is.
    fn captured(&self, params: &[Param]) -> Result<Vec<bool>, Error> {
        let Some((pattern, schedule)) = &self.capture else { return Ok(vec![]) };
        // A schedule of `never` leaves `capture_next`.
        schedule.check()?;
        let places = matching(pattern, params)?;
        Ok((0..params.len()).map(|place| places.contains(&place)).collect())
    }

    fn store<M>(
        &self,
        groups: Stats,
        params: &[Param],
        buffers: Vec<String>,
        observer: &Observer,
    ) -> Result<Option<RunWriter>, Error> {
        match &self.run {
            Some(place) => Ok(Some(RunWriter::open(place, self.run_start::<M>(groups, params, buffers, observer))?)),
            None if self.tensorboard => Err(Error::TensorboardWithoutRun),
            None => Ok(None),
        }
    }

    fn capturing(&self, captured: Vec<bool>, store: Option<&RunWriter>) -> Result<Option<Capturing>, Error> {
        let Some(((_, schedule), store)) = self.capture.as_ref().zip(store) else { return Ok(None) };
        let writer = Capture::start(store.folder().join("captures"))?;
        Ok(Some(Capturing { schedule: schedule.clone(), captured, asked: false, writer }))
    }

    /// What is known before the first step: parameters that are shared, and rules that cannot judge this scope's records.
    fn early_notices(&self, groups: Stats, params: &[Param], survey: &Survey) -> Vec<NoticeKind> {
        let material = Material {
            groups,
            step_count: u64::MAX,
            has_loss: None,
            has_taps: None,
            has_histograms: survey.plan.histograms,
            is_live: true,
        };
        let coverage = self.diagnose.then(|| Coverage::of(&material, &self.rules));
        let unjudged = coverage.filter(|coverage| !coverage.not_judged.is_empty());
        let unjudged = unjudged.map(|coverage| NoticeKind::RulesUnjudged { coverage: coverage.to_string() });
        let tied = params.iter().filter(|param| !param.tied.is_empty());
        let tied = tied.map(|param| NoticeKind::TiedParameters { path: param.path.clone(), tied: param.tied.clone() });
        tied.chain(unjudged).collect()
    }

    fn diagnosing(self, params: &Arc<[Param]>) -> Option<Diagnosing> {
        let is_resumed = matches!(self.run, Some(RunPlace::Resumed { .. }));
        let context = Context { resumed: is_resumed || self.context.resumed, ..self.context };
        let diagnosis = || Diagnosis::with(Arc::clone(params), &self.rules, context);
        self.diagnose.then(|| Diagnosing::new(diagnosis(), self.on_finding))
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

//! The options of a scope, in groups: what is measured, when, where it is written, diagnosis, the engine.

use super::{RunPlace, ScopeBuilder, WhenFull};
use crate::reduce::gpu::{PretendLimits, Shaders};
use crate::reduce::survey::SignMap;
use crate::scope::schedule::{Schedule, Span};
use gradscope_record::diagnosis::Rules;
use gradscope_record::record::Finding;
use gradscope_record::stats::Stats;

/// # What is measured
///
/// Each set of statistics adds words to what is read back, state to keep on the GPU, and work a step:
/// [`Stats`](crate::Stats) says how much. Distributions ([`histograms`](Self::histograms), [`channels`](Self::channels),
/// [`sign_map`](Self::sign_map)) are passes of their own, and cost nothing at steps that their schedule leaves out. Fewer
/// parameters cost less in proportion to their elements.
///
/// ```no_run
/// # fn builder(device: &gradscope::Device) -> gradscope::ScopeBuilder {
/// use gradscope::{Schedule, Scope, Stats};
///
/// Scope::builder(device)
///     .stats(Stats::DYNAMICS | Stats::PARAMS)
///     .select("layer[1-4].*weight")
///     .group("head", "^fc")
///     .histograms(Schedule::every(100))
/// # }
/// ```
impl ScopeBuilder {
    /// What to compute: `Stats::DYNAMICS | Stats::PARAMS`, or `Stats::FULL`. Default: the card.
    pub fn stats(mut self, groups: Stats) -> Self {
        self.groups = groups;
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

    /// Sums up, under `name`, the parameters whose path matches the regular expression:
    /// [`StepRecord::groups`](crate::StepRecord). Groups may overlap. The expression is searched for in the whole path
    /// (`^` and `$` anchor it); one that matches no parameter is an error of [`ScopeBuilder::build`].
    pub fn group(mut self, name: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.layers.push((name.into(), pattern.into()));
        self
    }

    /// Magnitudes under which a gradient counts as near zero: two finite, positive numbers, ascending, in units of the
    /// gradient. Default: 1e-7 and 1e-5.
    pub fn epsilons(mut self, epsilons: [f64; 2]) -> Self {
        self.epsilons = epsilons;
        self
    }

    /// Share of the past in moving averages, in [0, 1): those of figures ([`Averages`](gradscope_record::record::Averages)) and,
    /// with [`Stats::EMA`](crate::Stats::EMA), those of elements. Another one is an error of [`ScopeBuilder::build`].
    /// Default: 0.9.
    pub fn average_factor(mut self, factor: f64) -> Self {
        self.average_factor = factor;
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
}

/// # When it is measured
///
/// A step that no schedule names costs nothing, unless the next one is compared with it: then its state is captured, and
/// nothing is read back.
///
/// ```no_run
/// # fn builder(device: &gradscope::Device) -> gradscope::ScopeBuilder {
/// use gradscope::{Schedule, Scope};
///
/// Scope::builder(device).every(10).schedule_for("^embedding", Schedule::every(100))
/// # }
/// ```
impl ScopeBuilder {
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

    /// Another schedule for parameters whose path matches the regular expression. The last that matches holds; a step at
    /// which no parameter's own schedule is due leaves no record. The
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
}

/// # Where it is written
///
/// A run folder is written by a thread of its own. With every set of `full`, a parameter and step takes 581 bytes of
/// stream, and 181 bytes once the segment is Parquet (100,000 steps of 62 tensors, BENCHMARKS.md). TensorBoard's files
/// come on top; captures are as large as the tensors.
///
/// ```no_run
/// # fn builder(device: &gradscope::Device) -> gradscope::ScopeBuilder {
/// use gradscope::Scope;
///
/// Scope::builder(device).run("runs/mlp").fact("dataset", "digits").tensorboard(true)
/// # }
/// ```
impl ScopeBuilder {
    /// Writes a run folder of its own under `folder`, `<UTC time>-<id>`; [`Scope::run_folder`](crate::Scope::run_folder) names it. It holds Arrow
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
    /// [`Scope::capture_next`](crate::Scope::capture_next) asks for. A thread of its own reads and writes them; until it has read them, what
    /// changes them makes a copy. Default: none. Files are `step-00000100.safetensors` with `gradient/PATH` and
    /// `parameter/PATH`. Needs [`ScopeBuilder::run`] or [`ScopeBuilder::resume`]. The expression is searched for in the
    /// whole path (`^` and `$` anchor it); one that matches no parameter is an error of [`ScopeBuilder::build`].
    pub fn capture(mut self, pattern: impl Into<String>, schedule: Schedule) -> Self {
        self.capture = Some((pattern.into(), schedule));
        self
    }
}

/// # Diagnosis
///
/// The rules examine every record on the thread that trains: 0.03 ms for 300 tensors with every set of `full`
/// (BENCHMARKS.md). They keep a few numbers a tensor, and snapshots keep [`flight_recorder`](Self::flight_recorder)
/// records.
///
/// ```no_run
/// # fn builder(device: &gradscope::Device) -> gradscope::ScopeBuilder {
/// use gradscope::Scope;
///
/// Scope::builder(device)
///     .optimizer("adam")
///     .activation("relu")
///     .on_finding(|finding| eprintln!("{finding}"))
/// # }
/// ```
impl ScopeBuilder {
    /// Examines every record for what is wrong: [`Event::Finding`](crate::Event). Default: on.
    pub fn diagnose(mut self, on: bool) -> Self {
        self.diagnose = on;
        self
    }

    /// Settings of the rules: which are off, what is done about a finding, other thresholds.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// The optimizer by name, such as `adam`: advice fits it, and the manifest has it. The learning rate is the scalar
    /// `lr` of each step.
    pub fn optimizer(mut self, name: impl Into<String>) -> Self {
        self.context.optimizer = Some(name.into());
        self
    }

    /// The hidden layers' activation by name, such as `relu`: advice fits it, and the manifest has it.
    pub fn activation(mut self, name: impl Into<String>) -> Self {
        self.context.activation = Some(name.into());
        self
    }

    /// Whether the model begins with weights that were trained before. Rules do not ask then whether it was initialised well, nor
    /// whether it learns from the start. Default: not.
    pub fn pretrained(mut self, pretrained: bool) -> Self {
        self.context.resumed = pretrained;
        self
    }

    /// Calls `on_finding` with each finding, when it is made and once more, closed, when it has ended. On the thread that
    /// trains: it should be quick. One that panics is told of by a notice, and not called again.
    pub fn on_finding(mut self, on_finding: impl FnMut(&Finding) + Send + 'static) -> Self {
        self.on_finding = Some(Box::new(on_finding));
        self
    }

    /// Records kept for snapshots, which go to `snapshots/` in the run folder when a rule whose action is
    /// [`Snapshot`](gradscope_record::record::Action) finds something. Default: 64 steps; 0 turns them off.
    pub fn flight_recorder(mut self, steps: usize) -> Self {
        self.flight_recorder_len = steps;
        self
    }
}

/// # The engine
///
/// More steps in flight take more staging buffers, each as large as what a step reads back; fewer make a loop of short
/// steps wait, or drop some. Bounds checks and the GPU's clock make steps slower.
///
/// ```no_run
/// # fn builder(device: &gradscope::Device) -> gradscope::ScopeBuilder {
/// use gradscope::{Scope, WhenFull};
///
/// Scope::builder(device).ring_len(16).when_full(WhenFull::Drop)
/// # }
/// ```
impl ScopeBuilder {
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
}

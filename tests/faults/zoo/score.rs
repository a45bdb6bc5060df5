//! How well the rules tell the runs apart.

use super::case::{Case, Fault, Split};
use super::train::QUALITY;
use gradscope::diagnosis::{Context, Diagnosis, Rules};
use gradscope::record::{Finding, Global, Gradient, Rule, Severity};
use gradscope::{Run, StepRecord};
use std::path::Path;

/// A run and what was found in it.
pub struct Outcome {
    pub case: Case,
    /// As they were told first, warnings and above.
    pub findings: Vec<Finding>,
    pub notes: Vec<Finding>,
    /// The step at which the loss itself shows that something is wrong; see [`loss_shows`].
    pub loss_shows: Option<u64>,
    /// Accuracy on examples held back, or minus the squared error.
    pub quality: f64,
}

/// Which of the recorded statistics the rules are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// `full`, and the taps.
    All,
    /// What a scope records by default.
    Card,
}

/// Examines the run in `folder`, as a scope with these statistics would have.
pub fn examine(case: &Case, folder: &Path, rules: &Rules, shown: Shown) -> Result<Outcome, gradscope::Error> {
    let run = Run::open(folder)?;
    let context = Context {
        optimizer: Some(case.optim.name().into()),
        activation: Some(case.arch.activation().name().into()),
        resumed: false,
    };
    let mut diagnosis = Diagnosis::with(run.params().into(), rules, context);
    let (mut told, mut losses) = (Vec::new(), Vec::new());
    run.each_record(|mut record| {
        if shown == Shown::Card {
            limit_to_card(&mut record);
        }
        losses.extend(record.scalar("loss").map(|loss| (record.step, loss)));
        told.extend(diagnosis.examine(&record).into_iter().filter(|finding| finding.open));
    })?;
    let quality = run.series(|name| name.name == QUALITY)?;
    let quality = quality.first().and_then(|series| series.points.last()).map_or(f64::NAN, |(_, value)| *value);
    let (notes, findings) = told.into_iter().partition(|finding| finding.severity < Severity::Warn);
    Ok(Outcome { case: case.clone(), findings, notes, loss_shows: loss_shows(&losses), quality })
}

fn limit_to_card(record: &mut StepRecord) {
    for tensor in &mut record.tensors {
        (tensor.parameter, tensor.update) = (None, None);
        if let Gradient::Observed { summary, .. } = &mut tensor.gradient {
            summary.dynamics = None;
        }
    }
    record.taps.clear();
    record.global = Global::of(&record.tensors);
}

/// Losses that a person sees the median of.
const SEEN_LEN: usize = 50;
/// Steps without gain after which a person calls it a plateau.
const PLATEAU_STEP_COUNT: usize = 200;

/// The first step at which the loss is not finite; or the median of the last 50 losses is above the lowest such median so far by
/// 15% of the first losses; or it has not come down by one percent in 200 steps while more than half of the first is left.
/// Healthy runs show neither: noise is no symptom.
pub fn loss_shows(losses: &[(u64, f64)]) -> Option<u64> {
    let mut medians: Vec<f64> = Vec::with_capacity(losses.len());
    let mut best = f64::INFINITY;
    for (n, (step, loss)) in losses.iter().enumerate() {
        if !loss.is_finite() {
            return Some(*step);
        }
        let mut window: Vec<f64> = losses[(n + 1).saturating_sub(SEEN_LEN)..=n].iter().map(|(_, loss)| *loss).collect();
        window.sort_unstable_by(f64::total_cmp);
        let median = window[window.len() / 2];
        medians.push(median);
        if n + 1 < SEEN_LEN {
            continue;
        }
        let first = medians[4];
        best = best.min(median);
        let rises = median - best > 0.15 * first.abs();
        let before =
            n.checked_sub(PLATEAU_STEP_COUNT).filter(|before| before + 1 >= SEEN_LEN).map(|before| medians[before]);
        let plateau = before.is_some_and(|before| median > before - 0.01 * before.abs() && median > 0.5 * first);
        if rises || plateau {
            return Some(*step);
        }
    }
    None
}

impl Fault {
    /// The rule that should speak, and others whose words fit the symptom.
    pub fn rules(self) -> &'static [Rule] {
        use Rule::*;
        match self {
            Self::LargeInit => &[PoorInitialisation, ExplodingGradient, SaturatedActivation],
            Self::SmallInit => &[PoorInitialisation, VanishingDepth, VanishingGradient],
            Self::LrHigh => &[
                UnstableLearning,
                UpdateRatioExtreme,
                ExplodingGradient,
                DivergingWeights,
                NonFinite,
                SaturatedActivation,
                LossRising,
            ],
            Self::LrLow => &[UnstableLearning, UpdateRatioExtreme, LossNotDecreasing],
            Self::DeadRelu => &[AllZero, DeadGradient, SaturatedActivation],
            Self::NotInOptimizer => &[Unchanged],
            Self::Frozen | Self::Detached => &[MissingGradient],
            Self::LogOfZero | Self::ZeroByZero | Self::HalfOverflow => &[NonFinite],
            Self::ExplodingRecurrence => &[ExplodingGradient, PoorInitialisation],
            Self::RawInputs => &[
                ExplodingGradient,
                SaturatedActivation,
                UnstableLearning,
                UpdateRatioExtreme,
                LossFluctuating,
                LossRising,
            ],
            Self::WrongSign => &[
                ExplodingGradient,
                DivergingWeights,
                UnstableLearning,
                SaturatedActivation,
                LossRising,
                LossFluctuating,
            ],
            Self::SaturatedTanh => &[SaturatedActivation, PoorInitialisation],
            Self::SoftmaxTwice | Self::ShuffledLabels => &[LossNotDecreasing],
            Self::Accumulated => &[
                ExplodingGradient,
                DivergingWeights,
                UnstableLearning,
                Oscillation,
                SaturatedActivation,
                LossRising,
                LossFluctuating,
            ],
            Self::BatchOfOne => &[AllZero, LossFluctuating],
            Self::DeepSigmoid => &[VanishingDepth, VanishingGradient],
            Self::HighMomentum => &[
                Oscillation,
                UnstableLearning,
                ExplodingGradient,
                DivergingWeights,
                SaturatedActivation,
                LossRising,
                LossFluctuating,
            ],
            Self::DuplicateStep => &[UnstableLearning, UpdateRatioExtreme],
            Self::LrGrowth => &[
                UnstableLearning,
                UpdateRatioExtreme,
                Oscillation,
                ExplodingGradient,
                DivergingWeights,
                SaturatedActivation,
                LossRising,
                LossFluctuating,
            ],
            Self::WeightGrowth => &[DivergingWeights, ExplodingGradient, SaturatedActivation, LossRising],
            Self::StrongDecay => &[DivergingWeights, VanishingDepth, VanishingGradient, DeadWeights],
            Self::InputDrift => {
                &[SaturatedActivation, ExplodingGradient, VanishingGradient, UnstableLearning, LossRising]
            }
        }
    }

    /// Why it is reported and not scored.
    pub fn unscored(self) -> Option<&'static str> {
        match self {
            Self::Frozen => Some("frozen on purpose looks the same: a note tells of it"),
            Self::DuplicateStep => Some("it is a learning rate twice as high, and no symptom of anything"),
            Self::SoftmaxTwice => {
                Some("the loss comes down, to 1.46 instead of 0; gradients and moves are as they should be")
            }
            _ => None,
        }
    }
}

impl Case {
    /// Beginnings of the paths that name the sick layer, where there is one.
    pub fn right_paths(&self) -> Vec<&'static str> {
        use super::nets::Arch;
        let layer = self.layer();
        match self.fault {
            Some(Fault::DeadRelu) if self.arch == Arch::Cnn => vec!["bn2", "conv2"],
            Some(Fault::DeadRelu | Fault::NotInOptimizer | Fault::Frozen) => vec![layer],
            Some(Fault::Detached) if self.arch == Arch::Cnn => vec!["bn2"],
            Some(Fault::Detached) if matches!(self.arch, Arch::Transformer) => vec!["embed", "position"],
            Some(Fault::Detached) => vec![layer],
            Some(Fault::SaturatedTanh) if matches!(self.arch, Arch::Rnn(_)) => vec!["input", "hidden"],
            Some(Fault::SaturatedTanh) => vec![layer],
            Some(Fault::ExplodingRecurrence) => vec!["hidden", "input"],
            Some(Fault::DeepSigmoid) => vec!["layers.0", "layers.1.", "layers.2"],
            _ => vec![],
        }
    }
}

impl Outcome {
    /// Whether it trains as well as its healthy twin: 2% of accuracy, or a tenth of the error.
    pub fn is_as_good_as(&self, twin: &Self) -> bool {
        if self.quality.is_nan() {
            return false;
        }
        if twin.quality < 0.0 { self.quality >= 1.1 * twin.quality } else { self.quality >= twin.quality - 0.02 }
    }

    /// The first finding whose words fit the fault.
    pub fn right(&self) -> Option<&Finding> {
        let rules = self.case.fault?.rules();
        self.findings.iter().find(|finding| rules.contains(&finding.rule))
    }

    /// Whether that finding names the sick layer; `None` where there is none, or nothing was found.
    pub fn names_layer(&self) -> Option<bool> {
        let (right, paths) = (self.right()?, self.case.right_paths());
        if paths.is_empty() {
            return None;
        }
        let named = right.path.as_deref().is_some_and(|path| paths.iter().any(|begin| path.starts_with(begin)));
        Some(named)
    }

    /// Steps from the finding to the step at which the loss shows it.
    pub fn lead(&self) -> Option<i64> {
        let last = self.case.step_count as i64;
        self.right().map(|finding| {
            // It is told when patience has run out.
            self.loss_shows.map_or(last, |step| step as i64) - finding.last_step as i64
        })
    }

    pub fn is_scored(&self) -> bool {
        self.case.split() == Split::Scoring
    }
}

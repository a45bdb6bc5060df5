//! What diagnoses look for.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $id:literal,)*) => {
        /// What was looked for. `docs/diagnoses.md` has each with an example; [`Rule::id`] does not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[$doc])* #[serde(rename = $id)] $name,)*
        }

        impl Rule {
            /// Every rule, causes before what they cause.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As in `findings.jsonl` and on the command line.
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }
        }
    };
}

rules! {
    /// NaNs or infinities among gradients or parameters, or in the loss.
    NonFinite = "non_finite",
    /// Parameters that want a gradient and have none, while others have.
    MissingGradient = "missing_gradient",
    /// A parameter that does not move in any element although its gradient asks for it, while others move.
    Unchanged = "unchanged",
    /// Initial weights far from the size that keeps signals as they are.
    PoorInitialisation = "poor_initialisation",
    /// Gradients that are huge, that double step after step, or that outgrow those of the last layer.
    ExplodingGradient = "exploding_gradient",
    /// Weights that have grown or shrunk far early in a run, or go on doing so at a pace that does not slow.
    DivergingWeights = "diverging_weights",
    /// A weight that moves by more than it can bear, or hardly at all.
    UpdateRatioExtreme = "update_ratio_extreme",
    /// Moves of the whole model that are too large or too small for its weights.
    UnstableLearning = "unstable_learning",
    /// Gradients that flip because moves overshoot the minimum.
    Oscillation = "oscillation",
    /// A gradient norm far above those of the last steps.
    GradNormSpike = "grad_norm_spike",
    /// A gradient that is zero in every element, step after step.
    AllZero = "all_zero",
    /// Activations at the rails of their function, or zero.
    SaturatedActivation = "saturated_activation",
    /// Units whose gradient has died.
    DeadGradient = "dead_gradient",
    /// Gradients that shrink from the last layer to the first.
    VanishingDepth = "vanishing_depth",
    /// Gradients that are gone, or going, while there is still a loss.
    VanishingGradient = "vanishing_gradient",
    /// Weights that are nearly all zero.
    DeadWeights = "dead_weights",
    /// Elements whose gradient stays near zero.
    StuckZeros = "stuck_zeros",
    /// A loss that rises again, or falls without bound.
    LossRising = "loss_rising",
    /// A loss that does not get better from the start.
    LossNotDecreasing = "loss_not_decreasing",
    /// A loss that swings and gets no better.
    LossFluctuating = "loss_fluctuating",
    /// Gradients that a smaller float format would flush to zero.
    UnderflowRisk = "underflow_risk",
    /// Gradients near the largest number of f16.
    OverflowRisk = "overflow_risk",
    /// No step for a long time.
    Stalled = "stalled",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// No rule has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rule `{0}`; the rules are {known}", known = known())]
pub struct UnknownRule(String);

fn known() -> String {
    Rule::ALL.iter().map(|rule| rule.id()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Rule {
    type Err = UnknownRule;
    fn from_str(id: &str) -> Result<Self, UnknownRule> {
        Self::ALL.iter().find(|rule| rule.id() == id).copied().ok_or_else(|| UnknownRule(id.to_owned()))
    }
}

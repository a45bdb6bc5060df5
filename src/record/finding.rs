//! What a diagnosis has found.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Training suffers, or a part of the model does not train.
    Warn,
    /// Training is lost unless something changes.
    Critical,
}

/// What was looked for. `docs/diagnoses.md` has each with an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// NaNs or infinities among gradients.
    NonFinite,
    /// A gradient that is zero in every element, step after step, while others are not.
    AllZero,
    /// A parameter that does not move in any element although its gradient asks for it, while others move.
    Unchanged,
}

/// An episode: from its first step to its last, one finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub rule: Rule,
    pub severity: Severity,
    /// Path of the parameter; `None` where it is the whole model.
    pub path: Option<String>,
    /// The first step at which it held.
    pub first_step: u64,
    /// The last one so far.
    pub last_step: u64,
    /// Whether it may go on.
    pub open: bool,
    /// Figures of the step at which it was found, by name.
    pub evidence: Vec<(String, f64)>,
}

impl Rule {
    /// Of the rule's condition.
    pub fn source(self) -> &'static str {
        match self {
            Self::NonFinite => "SageMaker Debugger, ExplodingTensor",
            Self::AllZero => "SageMaker Debugger, AllZero",
            Self::Unchanged => "SageMaker Debugger, UnchangedTensor",
        }
    }

    /// What to try.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NonFinite => {
                "lower the learning rate or clip gradients by norm; look for log(0), 0/0 and sqrt(0) in the loss; with f16, scale the loss"
            }
            Self::AllZero => {
                "what follows passes nothing back: dead ReLUs (lower the learning rate, less negative biases), a saturated output, or a part that the loss does not depend on"
            }
            Self::Unchanged => {
                "it is not among the optimizer's parameters, its learning rate is 0, or its moves are below what its element type resolves"
            }
        }
    }
}

impl Finding {
    /// Whether the two are of one episode.
    pub fn is_same_episode(&self, other: &Self) -> bool {
        self.rule == other.rule && self.path == other.path && self.first_step == other.first_step
    }

    fn figure(&self, name: &str) -> f64 {
        self.evidence.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, value)| *value)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warn => "warning",
            Severity::Critical => "CRITICAL",
        };
        match (self.open, self.first_step == self.last_step) {
            (true, _) => write!(f, "{severity}, since step {}: ", self.first_step)?,
            (false, true) => write!(f, "{severity}, at step {}: ", self.first_step)?,
            (false, false) => write!(f, "{severity}, steps {} to {}: ", self.first_step, self.last_step)?,
        }
        match (self.rule, &self.path) {
            (Rule::NonFinite, None) => {
                write!(f, "every gradient at once has NaNs or infinities: they come from the loss, or from before it")?;
            }
            (Rule::NonFinite, Some(path)) => write!(
                f,
                "{path} has NaNs or infinities in its gradient ({} elements of {} tensors), and nothing nearer to the loss has",
                self.figure("nonfinite_count"),
                self.figure("tensor_count")
            )?,
            (Rule::AllZero, None) => write!(f, "no gradient reaches any parameter: all are zero")?,
            (Rule::AllZero, Some(path)) => write!(f, "{path} gets no gradient: all of it is zero")?,
            (Rule::Unchanged, None) => write!(f, "no parameter moves")?,
            (Rule::Unchanged, Some(path)) => write!(f, "{path} does not move, although its gradient is not zero")?,
        }
        write!(f, ". Try: {}", self.rule.advice())
    }
}

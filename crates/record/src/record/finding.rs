//! What a diagnosis has found.

use super::Rule;
use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Training suffers, or a part of the model does not train.
    Warn,
    /// Training is lost unless something changes.
    Critical,
}

impl Severity {
    /// As files and the command line spell it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Critical => "critical",
        }
    }
}

/// What is done about a finding beside telling it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Nothing.
    #[default]
    Tell,
    /// The last steps' records are written to `snapshots/` in the run folder.
    Snapshot,
    /// The same, and the training loop is asked to stop.
    Stop,
}

impl Action {
    /// As files and the command line spell it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Tell => "tell",
            Self::Snapshot => "snapshot",
            Self::Stop => "stop",
        }
    }
}

/// An episode: from its first step to its last, one finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked for.
    pub rule: Rule,
    /// How much it matters.
    pub severity: Severity,
    /// What was done about it beside telling.
    #[serde(default)]
    pub action: Action,
    /// Path of the parameter, layer or tap; `None` where it is the whole model.
    pub path: Option<String>,
    /// Parameters or layers of which it held when it was found, this one among them.
    #[serde(default = "one")]
    pub place_count: usize,
    /// The first step at which it held.
    pub first_step: u64,
    /// The last one so far.
    pub last_step: u64,
    /// Whether it may go on.
    pub open: bool,
    /// Figures of the step at which it was found, by name.
    pub evidence: Vec<(String, f64)>,
    /// The numbers that they were held against, by name.
    #[serde(default)]
    pub threshold: Vec<(String, f64)>,
    /// Where those come from.
    #[serde(default)]
    pub source: String,
    /// What to try.
    #[serde(default)]
    pub advice: String,
    /// What else was found afterwards, and is its consequence. Told when the finding has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub followed_by: Vec<Rule>,
}

fn one() -> usize {
    1
}

impl Finding {
    /// Whether the two are of one episode.
    pub fn is_same_episode(&self, other: &Self) -> bool {
        self.rule == other.rule && self.path == other.path && self.first_step == other.first_step
    }

    /// Puts it in place of what was told of its episode before, or last.
    pub fn put_into(self, findings: &mut Vec<Self>) {
        match findings.iter_mut().find(|known| known.is_same_episode(&self)) {
            Some(known) => *known = self,
            None => findings.push(self),
        }
    }

    /// The figure of that name in its evidence.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.evidence.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

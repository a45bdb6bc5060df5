//! No step for a long time: told with the step that comes after it.

use super::settings::{Number, Spec};
use crate::record::{Action, Rule, Severity};

pub const SPEC: Spec = Spec {
    rule: Rule::Stalled,
    severity: Severity::Note,
    action: Action::Tell,
    source: "SageMaker Debugger, StalledTrainingRule (30 minutes)",
    needs: &[],
    numbers: &[Number { name: "secs", default: 1800.0, meaning: "between two steps" }],
};

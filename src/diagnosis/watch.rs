//! From verdicts to findings: patience, one finding for what begins together, one end.

use super::episode::{Episode, Patience};
use super::settings::{Numbers, Rules, Spec};
use super::{Context, History, Layers};
use crate::record::{Action, Finding, Param, Rule, Severity, StepRecord};
use crate::stats::TensorSummary;

/// What a rule looks at.
pub(super) struct Look<'a> {
    pub record: &'a StepRecord,
    pub params: &'a [Param],
    pub layers: &'a Layers,
    pub history: &'a History,
    pub context: &'a Context,
}

impl Look<'_> {
    /// The gradient's figures, where all of it is finite.
    pub fn finite(&self, place: usize) -> Option<&TensorSummary> {
        let summary = self.record.tensors[place].summary()?;
        (summary.numel > 0 && !summary.has_nonfinite()).then_some(summary)
    }

    pub fn path(&self, place: usize) -> Option<String> {
        Some(self.params[place].path.clone())
    }
}

/// Whether a rule's condition holds, subject by subject; one that a step says nothing of is left out.
#[derive(Default)]
pub(super) struct Verdicts(Vec<(usize, Option<f64>)>);

impl Verdicts {
    /// `weight` tells which of several subjects is the one to name.
    pub fn say(&mut self, subject: usize, holds: bool, weight: f64) {
        self.0.push((subject, holds.then_some(weight)));
    }
}

/// What a finding says beside its steps.
pub(super) struct Told {
    pub path: Option<String>,
    /// Where it differs from the rule's own.
    pub severity: Option<Severity>,
    pub evidence: Vec<(&'static str, f64)>,
    /// Names of the numbers that it is held against.
    pub threshold: &'static [&'static str],
    pub advice: String,
}

/// One rule.
pub(super) trait Judge: Send {
    fn judge(&mut self, look: &Look<'_>, verdicts: &mut Verdicts);
    /// Of the subject that it is told of.
    fn tell(&self, subject: usize, look: &Look<'_>) -> Told;
    /// Whether a subject that joins later is a finding of its own, and not part of the one that is open.
    fn is_separate(&self) -> bool {
        false
    }
}

/// A finding under way.
struct Open {
    /// `None` where it is the consequence of another.
    finding: Option<Finding>,
    members: Vec<usize>,
    last_step: u64,
}

/// A rule in its run.
pub(super) struct Watch {
    spec: &'static Spec,
    numbers: Numbers,
    patience: Patience,
    action: Action,
    severity: Option<Severity>,
    judge: Box<dyn Judge>,
    episodes: Vec<Episode>,
    open: Vec<Open>,
    verdicts: Verdicts,
}

impl Watch {
    pub fn new(spec: &'static Spec, rules: &Rules, make: impl FnOnce(&Numbers) -> Box<dyn Judge>) -> Self {
        let numbers = rules.numbers_of(spec);
        Self {
            spec,
            patience: Patience {
                open_after: numbers.count("open_after").max(1),
                close_after: numbers.count("close_after").max(1),
            },
            action: rules.action_of(spec),
            severity: rules.severity_of(spec.rule),
            judge: make(&numbers),
            numbers,
            episodes: vec![],
            open: vec![],
            verdicts: Verdicts::default(),
        }
    }

    pub fn rule(&self) -> Rule {
        self.spec.rule
    }

    /// Takes the next record. `admit` says whether a finding is told; one that is not is a consequence.
    pub fn examine(&mut self, look: &Look<'_>, mut admit: impl FnMut(&Finding) -> bool, found: &mut Vec<Finding>) {
        self.verdicts.0.clear();
        self.judge.judge(look, &mut self.verdicts);
        let step = look.record.step;
        let mut opened: Vec<(usize, f64, u64)> = Vec::new();
        for (subject, weight) in std::mem::take(&mut self.verdicts.0) {
            if subject >= self.episodes.len() {
                self.episodes.resize(subject + 1, Episode::default());
            }
            match self.episodes[subject].observe(step, weight.is_some(), self.patience) {
                Some(change) if change.open => opened.push((subject, weight.unwrap_or(0.0), change.first_step)),
                _ => {}
            }
        }
        if !opened.is_empty() {
            self.begin(opened, look, &mut admit, found);
        }
        let episodes = &self.episodes;
        self.open.retain_mut(|open| {
            let still = open.members.iter().filter(|&&member| episodes[member].is_open());
            match still.map(|&member| episodes[member].last_step()).max() {
                Some(last_step) => {
                    open.last_step = open.last_step.max(last_step);
                    true
                }
                None => {
                    found.extend(open.finding.take().map(|finding| closed(finding, open.last_step)));
                    false
                }
            }
        });
    }

    fn begin(
        &mut self,
        opened: Vec<(usize, f64, u64)>,
        look: &Look<'_>,
        admit: &mut impl FnMut(&Finding) -> bool,
        found: &mut Vec<Finding>,
    ) {
        let members = opened.iter().map(|(subject, ..)| *subject);
        if let (Some(open), false) = (self.open.first_mut(), self.judge.is_separate()) {
            return open.members.extend(members);
        }
        // Of equals the first said is named.
        let mut named = opened[0];
        for candidate in &opened[1..] {
            if candidate.1 > named.1 {
                named = *candidate;
            }
        }
        let told = self.judge.tell(named.0, look);
        let finding = Finding {
            rule: self.spec.rule,
            severity: self.severity.or(told.severity).unwrap_or(self.spec.severity),
            action: self.action,
            path: told.path,
            place_count: opened.len(),
            first_step: named.2,
            last_step: look.record.step,
            open: true,
            // JSON has no NaN, and one in a figure is no evidence of anything.
            evidence: told.evidence.into_iter().filter(|(_, value)| value.is_finite()).map(owned).collect(),
            threshold: self.numbers.named(told.threshold),
            source: self.spec.source.to_owned(),
            advice: told.advice,
            followed_by: vec![],
        };
        let is_told = admit(&finding);
        if is_told {
            found.push(finding.clone());
        }
        let members = members.collect();
        self.open.push(Open { finding: is_told.then_some(finding), members, last_step: look.record.step });
    }

    /// Whether a finding that was told is still under way.
    pub fn is_open(&self) -> bool {
        self.open.iter().any(|open| open.finding.is_some())
    }

    /// What has been found since is a consequence of what is open here, or was last.
    pub fn follow(&mut self, rule: Rule) {
        let told = self.open.iter_mut().rev().find_map(|open| open.finding.as_mut());
        if let Some(finding) = told.filter(|finding| !finding.followed_by.contains(&rule)) {
            finding.followed_by.push(rule);
        }
    }

    /// At the end of the run: what is still open, closed.
    pub fn finish(&mut self, found: &mut Vec<Finding>) {
        for open in self.open.drain(..) {
            found.extend(open.finding.map(|finding| closed(finding, open.last_step)));
        }
    }
}

fn owned((name, value): (&str, f64)) -> (String, f64) {
    (name.to_owned(), value)
}

fn closed(finding: Finding, last_step: u64) -> Finding {
    Finding { last_step, open: false, ..finding }
}

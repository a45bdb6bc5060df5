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
    finding: Finding,
    /// Not while it is the consequence of another.
    is_told: bool,
    /// Subjects of which it holds.
    members: Vec<usize>,
    /// Observed steps when it began.
    since: u32,
}

/// Observed steps within which what begins at other places is part of the same.
const JOINED_WITHIN: u32 = 200;

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
        }
    }

    pub fn rule(&self) -> Rule {
        self.spec.rule
    }

    /// Takes the next record. `admit` says whether a finding is told; one that is not is a consequence.
    pub fn examine(&mut self, look: &Look<'_>, mut admit: impl FnMut(&Finding) -> bool, found: &mut Vec<Finding>) {
        let mut verdicts = Verdicts::default();
        self.judge.judge(look, &mut verdicts);
        let step = look.record.step;
        let mut opened: Vec<(usize, f64, u64)> = Vec::new();
        for (subject, weight) in verdicts.0 {
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
            open.members.retain(|&member| episodes[member].is_open());
            let last_step = open.members.iter().map(|&member| episodes[member].last_step()).max();
            open.finding.last_step = last_step.unwrap_or(open.finding.last_step).max(open.finding.last_step);
            if last_step.is_some() && !open.is_told && admit(&open.finding) {
                // It has outlived what explained it.
                open.is_told = true;
                found.push(open.finding.clone());
            }
            if last_step.is_none() && open.is_told {
                found.push(Finding { open: false, ..open.finding.clone() });
            }
            last_step.is_some()
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
        // Of equals the first said is named.
        let mut named = opened[0];
        for candidate in &opened[1..] {
            if candidate.1 > named.1 {
                named = *candidate;
            }
        }
        let told = self.judge.tell(named.0, look);
        let severity = self.severity.or(told.severity).unwrap_or(self.spec.severity);
        let since = look.history.observed_count;
        if !self.judge.is_separate() {
            let joins = |open: &&mut Open| since - open.since <= JOINED_WITHIN && severity <= open.finding.severity;
            if let Some(open) = self.open.iter_mut().find(joins) {
                return open.members.extend(members);
            }
        }
        let finding = Finding {
            rule: self.spec.rule,
            severity,
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
        self.open.push(Open { finding, is_told, members: members.collect(), since });
    }

    /// Whether a finding that was told is still under way.
    pub fn is_open(&self) -> bool {
        self.open.iter().any(|open| open.is_told)
    }

    /// What has been found since is a consequence of what is open here.
    pub fn follow(&mut self, rule: Rule) {
        let told = self.open.iter_mut().rev().find(|open| open.is_told).map(|open| &mut open.finding);
        if let Some(finding) = told.filter(|finding| !finding.followed_by.contains(&rule)) {
            finding.followed_by.push(rule);
        }
    }

    /// At the end of the run: what is still open, closed.
    pub fn finish(&mut self, found: &mut Vec<Finding>) {
        let told = self.open.drain(..).filter(|open| open.is_told);
        found.extend(told.map(|open| Finding { open: false, ..open.finding }));
    }
}

fn owned((name, value): (&str, f64)) -> (String, f64) {
    (name.to_owned(), value)
}

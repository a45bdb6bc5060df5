//! The numbers of the rules: each has its defaults in its own file, and a user's settings over them.

use super::coverage::Need;
use crate::record::{Action, Rule, Severity};
use std::collections::BTreeMap;

/// One tunable number of a rule.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// As in [`Rules::number`], and as `RULE.NUMBER` on the command line.
    pub name: &'static str,
    /// Its value where nobody sets another.
    pub default: f64,
    /// What is held against it, with its unit.
    pub meaning: &'static str,
}

/// What a rule is by default.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which rule this is of.
    pub rule: Rule,
    /// How much a finding matters; a rule may tell single cases as worse or milder.
    pub severity: Severity,
    /// What is done about a finding beside telling it.
    pub action: Action,
    /// Where the condition and its defaults come from.
    pub source: &'static str,
    /// What it needs beside the basic statistics of gradients: without one of these it has nothing to judge.
    pub needs: &'static [Need],
    /// Its numbers. All rules but [`Rule::Stalled`] have `open_after` and `close_after` among them: how often in a row
    /// the condition has to hold before it is told, and not to hold before it is over, in observed steps, or in what
    /// `meaning` says.
    pub numbers: &'static [Number],
}

impl Spec {
    /// Observed steps before which the rule reports nothing.
    pub fn least_steps(&'static self, rules: &Rules) -> u64 {
        let numbers = rules.numbers_of(self);
        let waits = ["open_after", "warm_up", "window"];
        let own = self.numbers.iter().filter(|number| waits.contains(&number.name));
        own.map(|number| u64::from(numbers.count(number.name))).sum()
    }
}

/// Settings of all rules: which are off, what is done about them, and numbers that differ from the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    off: Vec<Rule>,
    severities: BTreeMap<Rule, Severity>,
    actions: BTreeMap<Rule, Action>,
    numbers: BTreeMap<(Rule, &'static str), f64>,
}

/// A setting that a rule does not have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The rule has no number of that name.
    #[error("the rule {rule} has no number `{name}`; it has {known}")]
    UnknownNumber {
        /// The rule that was named.
        rule: Rule,
        /// The number that it does not have.
        name: String,
        /// Those that it has, in words.
        known: String,
    },
    /// A number that is negative or not finite.
    #[error("{rule}.{name} = {value}: a finite number that is not negative is wanted")]
    BadNumber {
        /// The rule that was named.
        rule: Rule,
        /// The rule's number.
        name: &'static str,
        /// What it was to be: negative, infinite or NaN.
        value: f64,
    },
    /// The text is no setting; see [`Rules::setting`].
    #[error(
        "`{0}`: a setting is RULE=off, note, warn, critical, tell, snapshot or stop, or RULE.NUMBER=VALUE; docs/diagnoses.md has them"
    )]
    BadSetting(String),
    /// No rule has that name.
    #[error(transparent)]
    UnknownRule(#[from] crate::record::UnknownRule),
}

impl Rules {
    /// Leaves the rule out.
    #[must_use]
    pub fn off(mut self, rule: Rule) -> Self {
        self.off.push(rule);
        self
    }

    /// What is done when the rule finds something.
    #[must_use]
    pub fn action(mut self, rule: Rule, action: Action) -> Self {
        self.actions.insert(rule, action);
        self
    }

    /// How much its findings matter, whatever the rule itself would say.
    #[must_use]
    pub fn severity(mut self, rule: Rule, severity: Severity) -> Self {
        self.severities.insert(rule, severity);
        self
    }

    /// Another value for one of its numbers.
    ///
    /// # Errors
    /// Where the rule has no such number, or the value is negative or not finite.
    pub fn number(mut self, rule: Rule, name: &str, value: f64) -> Result<Self, RulesError> {
        let spec = spec(rule);
        let Some(number) = spec.numbers.iter().find(|number| number.name == name) else {
            let known: Vec<_> = spec.numbers.iter().map(|number| number.name).collect();
            return Err(RulesError::UnknownNumber { rule, name: name.to_owned(), known: known.join(", ") });
        };
        if !(value.is_finite() && value >= 0.0) {
            return Err(RulesError::BadNumber { rule, name: number.name, value });
        }
        self.numbers.insert((rule, number.name), value);
        Ok(self)
    }

    /// A setting as on the command line: `oscillation=off`, `non_finite=stop`, `unstable_learning.high=0.3`.
    ///
    /// # Errors
    /// Where the text is no setting, names no rule or no number of it, or its value is negative or not finite.
    pub fn setting(self, text: &str) -> Result<Self, RulesError> {
        let bad = || RulesError::BadSetting(text.to_owned());
        let (name, value) = text.split_once('=').ok_or_else(bad)?;
        if let Some((rule, number)) = name.split_once('.') {
            let value = value.parse().map_err(|_| bad())?;
            return self.number(rule.parse()?, number, value);
        }
        let rule = name.parse()?;
        Ok(match value {
            "off" => self.off(rule),
            "note" => self.severity(rule, Severity::Note),
            "warn" => self.severity(rule, Severity::Warn),
            "critical" => self.severity(rule, Severity::Critical),
            "tell" => self.action(rule, Action::Tell),
            "snapshot" => self.action(rule, Action::Snapshot),
            "stop" => self.action(rule, Action::Stop),
            _ => return Err(bad()),
        })
    }

    /// Whether any rule is to write a snapshot.
    pub fn takes_snapshots(&self) -> bool {
        let takes = |spec: &&Spec| self.action_of(spec) >= Action::Snapshot && !self.off.contains(&spec.rule);
        super::SPECS.iter().any(takes)
    }

    pub(super) fn is_on(&self, rule: Rule) -> bool {
        !self.off.contains(&rule)
    }

    pub(super) fn action_of(&self, spec: &Spec) -> Action {
        self.actions.get(&spec.rule).copied().unwrap_or(spec.action)
    }

    pub(super) fn severity_of(&self, rule: Rule) -> Option<Severity> {
        self.severities.get(&rule).copied()
    }

    pub(super) fn numbers_of(&self, spec: &'static Spec) -> Numbers {
        let value = |number: &Number| {
            let own = self.numbers.get(&(spec.rule, number.name));
            (number.name, own.copied().unwrap_or(number.default))
        };
        Numbers(spec.numbers.iter().map(value).collect())
    }
}

/// What the rule is by default.
pub fn spec(rule: Rule) -> &'static Spec {
    super::SPECS.iter().copied().find(|spec| spec.rule == rule).expect("every rule has a spec: a test asserts it")
}

/// A rule's numbers as they hold in this run.
#[derive(Clone, Debug)]
pub(super) struct Numbers(Vec<(&'static str, f64)>);

impl Numbers {
    /// # Panics
    /// Where the rule's spec has no such number; every rule asks for its own when it is made.
    pub fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).expect("the spec has it")
    }

    pub fn count(&self, name: &str) -> u32 {
        self.get(name) as u32
    }

    /// Names and values, for a finding.
    pub fn named(&self, names: &[&str]) -> Vec<(String, f64)> {
        names.iter().map(|name| ((*name).to_owned(), self.get(name))).collect()
    }
}

//! What the rules could judge of a run, and what they could not: a run in which nothing was looked for is not healthy.

use super::settings::Rules;
use super::{SPECS, spec};
use crate::record::Rule;
use crate::stats::Stats;
use serde::Serialize;
use std::fmt;

/// What a rule needs beside the basic statistics of gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// [`Stats::DYNAMICS`](crate::stats::Stats::DYNAMICS).
    Dynamics,
    /// [`Stats::PARAMS`](crate::stats::Stats::PARAMS).
    Params,
    /// [`Stats::UPDATES`](crate::stats::Stats::UPDATES).
    Updates,
    /// A scalar called `loss`, with the steps.
    Loss,
    /// Tapped activations with two bounds of saturation.
    Taps,
    /// Histograms.
    Histograms,
}

impl Need {
    /// In words, with how to ask for it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Dynamics => "the statistics `dynamics`",
            Self::Params => "the statistics `params`",
            Self::Updates => "the statistics `updates`",
            Self::Loss => "a scalar called `loss` with each step",
            Self::Taps => "activations tapped with `tap_tails`",
            Self::Histograms => "histograms",
        }
    }
}

/// What there is of a run for rules to look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Material {
    /// The statistics that were recorded.
    pub groups: Stats,
    /// Observed steps.
    pub step_count: u64,
    /// Whether steps came with a scalar called `loss`; `None` where that is not known yet.
    pub has_loss: Option<bool>,
    /// Whether steps came with tapped activations; `None` where that is not known yet.
    pub has_taps: Option<bool>,
    /// Whether histograms were recorded.
    pub has_histograms: bool,
    /// Whether the clock was looked at, as it is while training goes on.
    pub is_live: bool,
}

impl Material {
    fn has(&self, need: Need) -> bool {
        match need {
            Need::Dynamics => self.groups.contains(Stats::DYNAMICS),
            Need::Params => self.groups.contains(Stats::PARAMS),
            Need::Updates => self.groups.contains(Stats::UPDATES),
            Need::Loss => self.has_loss != Some(false),
            Need::Taps => self.has_taps != Some(false),
            Need::Histograms => self.has_histograms,
        }
    }
}

/// Which rules could judge a run. `Display` says so in a sentence or two.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Coverage {
    /// Rules that had what they need.
    pub judged: Vec<Rule>,
    /// The others, by what was lacking.
    pub not_judged: Vec<(String, Vec<Rule>)>,
}

impl Coverage {
    /// Of a run that was examined by these rules.
    pub fn of(material: &Material, rules: &Rules) -> Self {
        let mut coverage = Self::default();
        for rule in SPECS.iter().map(|spec| spec.rule) {
            match lacking(rule, material, rules) {
                None => coverage.judged.push(rule),
                Some(reason) => coverage.miss(reason, rule),
            }
        }
        coverage
    }

    /// Of a run that was not examined.
    pub fn none() -> Self {
        let all = SPECS.iter().map(|spec| spec.rule).collect();
        Self { judged: vec![], not_judged: vec![("diagnoses were off".into(), all)] }
    }

    fn miss(&mut self, reason: String, rule: Rule) {
        match self.not_judged.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, rules)) => rules.push(rule),
            None => self.not_judged.push((reason, vec![rule])),
        }
    }
}

/// What a rule lacks, if anything.
fn lacking(rule: Rule, material: &Material, rules: &Rules) -> Option<String> {
    let spec = spec(rule);
    if !rules.is_on(rule) {
        return Some("turned off".into());
    }
    if rule == Rule::Stalled && !material.is_live {
        return Some("it looks at the clock while training goes on".into());
    }
    let needs: Vec<&str> = spec.needs.iter().filter(|need| !material.has(**need)).map(|need| need.text()).collect();
    if !needs.is_empty() {
        return Some(format!("needs {}", needs.join(" and ")));
    }
    (material.step_count < spec.least_steps(rules)).then(|| "needs more steps".into())
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} rules had what they need", self.judged.len(), SPECS.len())?;
        for (place, (reason, rules)) in self.not_judged.iter().enumerate() {
            let rules: Vec<&str> = rules.iter().map(|rule| rule.id()).collect();
            let start = if place == 0 { "; not judged: " } else { "; " };
            let rules = if rules.len() == SPECS.len() { "all of them".to_owned() } else { rules.join(", ") };
            write!(f, "{start}{rules} ({reason})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        let full = Material {
            groups: Stats::FULL,
            step_count: 10_000,
            has_loss: Some(true),
            has_taps: Some(true),
            has_histograms: true,
            is_live: true,
        };
        let all = Coverage::of(&full, &Rules::default());
        assert_eq!((all.judged.len(), all.not_judged.len()), (SPECS.len(), 0));
        let without = |material: Material| Coverage::of(&material, &Rules::default()).to_string();
        let text = without(Material { groups: Stats::BASIC, ..full });
        assert!(text.contains("stuck_zeros (needs the statistics `dynamics`)"), "{text}");
        assert!(text.contains("dead_weights (needs the statistics `params`)"), "{text}");
        let text = without(Material { has_loss: Some(false), ..full });
        assert!(text.contains("loss_fluctuating (needs a scalar called `loss` with each step)"), "{text}");
        let short = Coverage::of(&Material { step_count: 2, ..full }, &Rules::default());
        assert!(short.judged.contains(&Rule::NonFinite) && !short.judged.contains(&Rule::StuckZeros), "{short}");
        let off = Rules::default().off(Rule::AllZero);
        assert!(Coverage::of(&full, &off).to_string().contains("all_zero (turned off)"));
        assert!(Coverage::none().to_string().contains("all of them (diagnoses were off)"));
    }
}

//! Diagnoses: records in, findings out. One rule a file; `history` is what they weigh a step against, `watch` makes findings of
//! their verdicts: a condition is told once, with its first and last step, however long it holds, and what follows from a cause is
//! part of the cause's finding. `docs/diagnoses.md` has the rules.

mod context;
mod episode;
mod history;
mod layers;
mod settings;
mod watch;

mod all_zero;
mod dead_gradient;
mod dead_weights;
mod diverging_weights;
mod exploding_gradient;
mod float_range;
mod grad_norm_spike;
mod loss;
mod missing_gradient;
mod non_finite;
mod oscillation;
mod poor_initialisation;
mod saturated_activation;
mod stalled;
mod stuck_zeros;
mod unchanged;
mod unstable_learning;
mod update_ratio_extreme;
mod vanishing_depth;
mod vanishing_gradient;

pub use context::Context;
pub use settings::{Number, Rules, RulesError, Spec, spec};

use crate::record::{Finding, Param, Rule, Severity, StepRecord};
use history::History;
use layers::Layers;
use settings::Numbers;
use std::sync::Arc;
use watch::{Judge, Look, Watch};

type Make = fn(&Numbers) -> Box<dyn Judge>;

/// Every rule, causes before what they cause.
const RULES: &[(&Spec, Make)] = &[
    (&non_finite::SPEC, non_finite::make),
    (&missing_gradient::SPEC, missing_gradient::make),
    (&unchanged::SPEC, unchanged::make),
    (&poor_initialisation::SPEC, poor_initialisation::make),
    (&exploding_gradient::SPEC, exploding_gradient::make),
    (&diverging_weights::SPEC, diverging_weights::make),
    (&update_ratio_extreme::SPEC, update_ratio_extreme::make),
    (&unstable_learning::SPEC, unstable_learning::make),
    (&oscillation::SPEC, oscillation::make),
    (&grad_norm_spike::SPEC, grad_norm_spike::make),
    (&all_zero::SPEC, all_zero::make),
    (&saturated_activation::SPEC, saturated_activation::make),
    (&dead_gradient::SPEC, dead_gradient::make),
    (&vanishing_depth::SPEC, vanishing_depth::make),
    (&vanishing_gradient::SPEC, vanishing_gradient::make),
    (&dead_weights::SPEC, dead_weights::make),
    (&stuck_zeros::SPEC, stuck_zeros::make),
    (&loss::RISING, loss::make_rising),
    (&loss::NOT_DECREASING, loss::make_not_decreasing),
    (&loss::FLUCTUATING, loss::make_fluctuating),
    (&float_range::UNDERFLOW, float_range::make_underflow),
    (&float_range::OVERFLOW, float_range::make_overflow),
];

/// Of [`Rule::Stalled`], which looks at the clock and not at records, too.
const SPECS: [&Spec; RULES.len() + 1] = {
    let mut specs = [&stalled::SPEC; RULES.len() + 1];
    let mut n = 0;
    while n < RULES.len() {
        specs[n] = RULES[n].0;
        n += 1;
    }
    specs
};

/// Observed steps after a finding's last during which what is found may be its consequence.
fn consequences_of(rule: Rule) -> u32 {
    match rule {
        // A NaN that went away left nothing behind: steps with one are skipped where losses are scaled.
        Rule::NonFinite => 0,
        _ => 200,
    }
}

/// All rules over one run. An open finding is handed out when it is found, and once more, closed, when it has ended.
pub struct Diagnosis {
    params: Arc<[Param]>,
    layers: Layers,
    context: Context,
    history: History,
    watches: Vec<Watch>,
    /// `None` where the rule is off.
    stall_secs: Option<f64>,
    /// Findings told, and the observed step at which each was last open.
    causes: Vec<(Rule, Severity, u32)>,
}

impl Diagnosis {
    /// Over records of these parameters, by the defaults of every rule.
    pub fn new(params: Arc<[Param]>) -> Self {
        Self::with(params, &Rules::default(), Context::default())
    }

    /// By these settings; advice fits what is known of the run.
    pub fn with(params: Arc<[Param]>, rules: &Rules, context: Context) -> Self {
        let watch =
            |(spec, make): &(&'static Spec, Make)| rules.is_on(spec.rule).then(|| Watch::new(spec, rules, make));
        Self {
            layers: Layers::new(&params),
            history: History::new(params.len(), !context.resumed),
            context,
            watches: RULES.iter().filter_map(watch).collect(),
            stall_secs: rules.is_on(Rule::Stalled).then(|| rules.numbers_of(&stalled::SPEC).get("secs")),
            causes: vec![],
            params,
        }
    }

    /// Takes the next record.
    pub fn examine(&mut self, record: &StepRecord) -> Vec<Finding> {
        let mut found = Vec::new();
        self.history.take(record, &self.params);
        let Self { params, layers, context, history, watches, causes, .. } = self;
        let now = history.observed_count;
        for (rule, _, last_open) in causes.iter_mut() {
            if watches.iter().any(|watch| watch.rule() == *rule && watch.is_open()) {
                *last_open = now;
            }
        }
        let look = Look { record, params, layers, history, context };
        let mut consequences: Vec<(Rule, Rule)> = Vec::new();
        for watch in watches.iter_mut() {
            let admit = |finding: &Finding| {
                let explaining = causes.iter().find(|(rule, severity, last_open)| {
                    now - last_open <= consequences_of(*rule) && explains((*rule, *severity), finding)
                });
                let cause = explaining.map(|(rule, ..)| *rule);
                consequences.extend(cause.map(|cause| (cause, finding.rule)));
                if cause.is_none() {
                    causes.retain(|(rule, ..)| *rule != finding.rule);
                    causes.push((finding.rule, finding.severity, now));
                }
                cause.is_none()
            };
            watch.examine(&look, admit, &mut found);
        }
        for (cause, effect) in consequences {
            watches.iter_mut().filter(|watch| watch.rule() == cause).for_each(|watch| watch.follow(effect));
        }
        found
    }

    /// That a step was that long in coming.
    pub fn waited(&self, step: u64, secs: f64) -> Option<Finding> {
        let spec = &stalled::SPEC;
        let limit = self.stall_secs?;
        (secs > limit).then(|| Finding {
            rule: spec.rule,
            severity: spec.severity,
            action: spec.action,
            path: None,
            place_count: 1,
            first_step: step,
            last_step: step,
            open: false,
            evidence: vec![("secs".into(), secs)],
            threshold: vec![("secs".into(), limit)],
            source: spec.source.into(),
            advice: "look at what feeds the loop with data, and at what else uses the GPU".into(),
            followed_by: vec![],
        })
    }

    /// At the end of the run: what was still open, closed.
    pub fn finish(&mut self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.watches.iter_mut().for_each(|watch| watch.finish(&mut found));
        found
    }
}

/// Whether the finding follows from an earlier one: a rate that is too high makes spikes, those kill units, and their gradients
/// vanish. The first of such a chain is the one to mend.
fn explains((cause, severity): (Rule, Severity), finding: &Finding) -> bool {
    if severity < Severity::Warn || finding.severity > severity || cause == finding.rule {
        return false;
    }
    match finding.rule {
        // These are never the consequence of anything that is told.
        Rule::NonFinite
        | Rule::MissingGradient
        | Rule::Unchanged
        | Rule::PoorInitialisation
        | Rule::UnderflowRisk
        | Rule::OverflowRisk
        | Rule::Stalled => false,
        Rule::LossRising | Rule::LossNotDecreasing | Rule::LossFluctuating => true,
        // Where a part does not train, the rest may have troubles of its own; a loss names no layer.
        _ => !matches!(
            cause,
            Rule::MissingGradient
                | Rule::Unchanged
                | Rule::LossRising
                | Rule::LossNotDecreasing
                | Rule::LossFluctuating
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_spec_and_makes_a_judge_of_its_numbers() {
        for (rule, spec) in Rule::ALL.iter().zip(SPECS) {
            assert_eq!(spec.rule, *rule, "causes first, in one order everywhere");
        }
        assert_eq!(Rule::ALL.len(), SPECS.len());
        let all = Diagnosis::new(vec![].into());
        assert_eq!(all.watches.len(), RULES.len());
    }

    #[test]
    fn the_first_of_a_chain_explains_the_rest() {
        let finding = |rule, severity| Finding {
            rule,
            severity,
            action: Default::default(),
            path: None,
            place_count: 1,
            first_step: 0,
            last_step: 0,
            open: true,
            evidence: vec![],
            threshold: vec![],
            source: String::new(),
            advice: String::new(),
            followed_by: vec![],
        };
        let explains = |cause, rule| explains((cause, Severity::Warn), &finding(rule, Severity::Warn));
        assert!(explains(Rule::ExplodingGradient, Rule::DeadGradient));
        assert!(explains(Rule::UnstableLearning, Rule::LossNotDecreasing));
        assert!(!explains(Rule::ExplodingGradient, Rule::NonFinite));
        assert!(!explains(Rule::LossRising, Rule::VanishingGradient), "a loss names no layer");
        assert!(!super::explains((Rule::GradNormSpike, Severity::Note), &finding(Rule::AllZero, Severity::Warn)));
        assert!(!super::explains(
            (Rule::UnstableLearning, Severity::Warn),
            &finding(Rule::AllZero, Severity::Critical)
        ));
    }
}

//! Diagnoses: records in, findings out. One rule a file; `history` is what they weigh a step against, `watch` makes findings of
//! their verdicts: a condition is told once, with its first and last step, however long it holds, and what follows from a cause is
//! part of the cause's finding. `docs/diagnoses.md` has the rules.

mod context;
mod coverage;
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
pub use coverage::{Coverage, Material, Need};
pub use settings::{Number, Rules, RulesError, Spec, spec};

use crate::record::{Action, Finding, Param, Rule, Severity, StepRecord};
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

/// A finding that was told, as the cause of others.
struct Cause {
    rule: Rule,
    severity: Severity,
    first_step: u64,
    /// Observed steps: when it was told, and when it was last open.
    told_at: u32,
    last_open: u32,
}

/// Observed steps after a finding was told during which what is found may be its consequence,
const CONSEQUENCES_WITHIN: u32 = 500;
/// and after it was last open.
const CONSEQUENCES_AFTER: u32 = 200;

impl Cause {
    /// Whether the finding follows from this one: a rate that is too high makes spikes, those kill units, and their gradients
    /// vanish. The first of such a chain is the one to mend.
    fn explains(&self, finding: &Finding, now: u32) -> bool {
        // A NaN that went away left nothing behind: steps with one are skipped where losses are scaled.
        let after = if self.rule == Rule::NonFinite { 0 } else { CONSEQUENCES_AFTER };
        self.severity >= Severity::Warn
            && finding.severity <= self.severity
            && finding.rule != self.rule
            && finding.first_step >= self.first_step
            && now - self.told_at <= CONSEQUENCES_WITHIN
            && now - self.last_open <= after
            && may_cause(self.rule, finding.rule)
    }
}

/// [`Rule::Stalled`] as it is set.
struct Stall {
    limit_secs: f64,
    severity: Severity,
    action: Action,
}

/// All rules over one run. An open finding is handed out when it is found, and once more, closed, when it has ended.
pub struct Diagnosis {
    params: Vec<Param>,
    layers: Layers,
    context: Context,
    history: History,
    watches: Vec<Watch>,
    /// `None` where the rule is off.
    stall: Option<Stall>,
    /// The last of each rule.
    causes: Vec<Cause>,
}

impl std::fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diagnosis")
            .field("params", &self.params.len())
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
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
            stall: rules.is_on(Rule::Stalled).then(|| Stall {
                limit_secs: rules.numbers_of(&stalled::SPEC).get("secs"),
                severity: rules.severity_of(Rule::Stalled).unwrap_or(stalled::SPEC.severity),
                action: rules.action_of(&stalled::SPEC),
            }),
            causes: vec![],
            params: params.to_vec(),
        }
    }

    /// Whether a gradient is asked for a parameter, from the next record on: of one that is frozen or unfrozen on the way.
    ///
    /// # Panics
    /// Where there is no such parameter.
    pub fn set_trainable(&mut self, tensor: usize, trainable: bool) {
        self.params[tensor].trainable = trainable;
    }

    /// Takes the next record, whose tensors follow the parameters, and returns what begins or ends with it.
    ///
    /// # Panics
    /// Where it has fewer tensors than there are parameters.
    pub fn examine(&mut self, record: &StepRecord) -> Vec<Finding> {
        let mut found = Vec::new();
        self.history.take(record, &self.params);
        let Self { params, layers, context, history, watches, causes, .. } = self;
        let now = history.observed_count;
        for cause in causes.iter_mut() {
            if watches.iter().any(|watch| watch.rule() == cause.rule && watch.is_open()) {
                cause.last_open = now;
            }
        }
        let look = Look { record, params, layers, history, context };
        let mut consequences: Vec<(Rule, Rule)> = Vec::new();
        for watch in watches.iter_mut() {
            let admit = |finding: &Finding| {
                let cause = causes.iter().find(|cause| cause.explains(finding, now)).map(|cause| cause.rule);
                consequences.extend(cause.map(|cause| (cause, finding.rule)));
                if cause.is_none() {
                    let (rule, severity, first_step) = (finding.rule, finding.severity, finding.first_step);
                    causes.retain(|cause| cause.rule != rule);
                    causes.push(Cause { rule, severity, first_step, told_at: now, last_open: now });
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

    /// That a step was that long in coming: told, and over with that.
    pub fn waited(&self, step: u64, secs: f64) -> Vec<Finding> {
        let spec = &stalled::SPEC;
        let Some(stall) = self.stall.as_ref().filter(|stall| secs > stall.limit_secs) else { return vec![] };
        let finding = Finding {
            rule: spec.rule,
            severity: stall.severity,
            action: stall.action,
            path: None,
            place_count: 1,
            first_step: step,
            last_step: step,
            open: true,
            evidence: vec![("secs".into(), secs)],
            threshold: vec![("secs".into(), stall.limit_secs)],
            source: spec.source.into(),
            advice: "look at what feeds the loop with data, and at what else uses the GPU".into(),
            followed_by: vec![],
        };
        vec![finding.clone(), Finding { open: false, ..finding }]
    }

    /// At the end of the run: what was still open, closed.
    pub fn finish(&mut self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.watches.iter_mut().for_each(|watch| watch.finish(&mut found));
        found
    }
}

fn may_cause(cause: Rule, effect: Rule) -> bool {
    match effect {
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
        let finding = |rule, severity, first_step| Finding {
            rule,
            severity,
            action: Default::default(),
            path: None,
            place_count: 1,
            first_step,
            last_step: first_step,
            open: true,
            evidence: vec![],
            threshold: vec![],
            source: String::new(),
            advice: String::new(),
            followed_by: vec![],
        };
        let cause = |rule, severity| Cause { rule, severity, first_step: 10, told_at: 10, last_open: 30 };
        let explains = |by, rule| cause(by, Severity::Warn).explains(&finding(rule, Severity::Warn, 20), 30);
        assert!(explains(Rule::ExplodingGradient, Rule::DeadGradient));
        assert!(explains(Rule::UnstableLearning, Rule::LossNotDecreasing));
        assert!(!explains(Rule::ExplodingGradient, Rule::NonFinite));
        assert!(!explains(Rule::LossRising, Rule::VanishingGradient), "a loss names no layer");
        let zero = |severity, first_step| finding(Rule::AllZero, severity, first_step);
        assert!(!cause(Rule::GradNormSpike, Severity::Note).explains(&zero(Severity::Warn, 20), 30));
        let unstable = cause(Rule::UnstableLearning, Severity::Warn);
        assert!(!unstable.explains(&zero(Severity::Critical, 20), 30), "it is worse");
        assert!(!unstable.explains(&zero(Severity::Warn, 9), 30), "it began before");
        assert!(
            unstable.explains(&zero(Severity::Warn, 20), 230) && !unstable.explains(&zero(Severity::Warn, 20), 231)
        );
    }
}

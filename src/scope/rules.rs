//! What a scope is told of its diagnoses.

use super::builder::ScopeBuilder;
use gradscope_record::diagnosis::Rules;
use gradscope_record::record::Finding;

impl ScopeBuilder {
    /// Examines every record for what is wrong: [`Event::Finding`](crate::Event). Default: on.
    pub fn diagnose(mut self, on: bool) -> Self {
        self.diagnose = on;
        self
    }

    /// Settings of the rules: which are off, what is done about a finding, other thresholds.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// The optimizer by name, such as `adam`: advice fits it, and the manifest has it. The learning rate is the value
    /// `lr` of each step.
    pub fn optimizer(mut self, name: impl Into<String>) -> Self {
        self.context.optimizer = Some(name.into());
        self
    }

    /// The hidden layers' activation by name, such as `relu`: advice fits it, and the manifest has it.
    pub fn activation(mut self, name: impl Into<String>) -> Self {
        self.context.activation = Some(name.into());
        self
    }

    /// Whether the model begins with weights that were trained before. Rules do not ask then whether it was initialised well, nor
    /// whether it learns from the start. Default: not.
    pub fn pretrained(mut self, pretrained: bool) -> Self {
        self.context.resumed = pretrained;
        self
    }

    /// Calls `on_finding` with each finding, when it is made and once more, closed, when it has ended. On the thread that
    /// trains: it should be quick. One that panics is told of by a notice, and not called again.
    pub fn on_finding(mut self, on_finding: impl FnMut(&Finding) + Send + 'static) -> Self {
        self.on_finding = Some(Box::new(on_finding));
        self
    }

    /// Records kept for snapshots, which go to `snapshots/` in the run folder when a rule whose action is
    /// [`Snapshot`](gradscope_record::record::Action) finds something. Default: 64 steps; 0 turns them off.
    pub fn flight_recorder(mut self, steps: usize) -> Self {
        self.flight_recorder_len = steps;
        self
    }
}

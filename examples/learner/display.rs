//! burn's metric display: the norm of all gradients as one of its metrics, and a display of a line an epoch.

use burn::tensor::{ExecutionError, TensorReadError};
use burn_train::ClassificationOutput;
use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn_train::metric::state::{FormatOptions, NumericMetricState};
use burn_train::metric::{
    AccuracyInput, Adaptor, ItemLazy, LossInput, Metric, MetricAttributes, MetricDefinition, MetricId, MetricMetadata,
    MetricName, Numeric, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn_train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};
use gradscope::learner::Hook;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a step comes to: burn's output, and the norm of all gradients of the last step that has come back.
pub struct Watched {
    output: ClassificationOutput,
    gradient_norm: Option<f64>,
}

impl Watched {
    pub fn new(output: ClassificationOutput, scope: &Hook) -> Self {
        Self { output, gradient_norm: scope.latest().map(|global| global.l2_norm) }
    }
}

impl ItemLazy for Watched {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(Self { output: self.output.sync()?, ..self })
    }
}

impl Adaptor<AccuracyInput> for Watched {
    fn adapt(&self) -> AccuracyInput {
        self.output.adapt()
    }
}

impl Adaptor<LossInput> for Watched {
    fn adapt(&self) -> LossInput {
        self.output.adapt()
    }
}

/// L2 norm of all gradients of a step; `None` until one has come back.
pub struct Norm(Option<f64>);

impl Adaptor<Norm> for Watched {
    fn adapt(&self) -> Norm {
        Norm(self.gradient_norm)
    }
}

/// The norm that was last known at each batch, and its mean over the epoch's batches.
#[derive(Clone)]
pub struct GradientNorm {
    name: MetricName,
    state: NumericMetricState,
}

impl GradientNorm {
    pub fn new() -> Self {
        Self { name: Arc::new("Gradient norm".into()), state: NumericMetricState::new() }
    }
}

impl Metric for GradientNorm {
    type Input = Norm;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: false }.into()
    }

    fn update(&mut self, norm: &Norm, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        if let Some(norm) = norm.0 {
            self.state.update(norm, 1);
        }
        Ok(self.state.compute_update(FormatOptions::new(self.name()).precision(4)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(FormatOptions::new(self.name()).precision(4)))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for GradientNorm {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

/// Prints the metrics at the end of each part of an epoch.
#[derive(Default)]
pub struct Lines {
    part: String,
    names: HashMap<MetricId, MetricName>,
    /// By name, as burn words them.
    latest: BTreeMap<MetricName, String>,
}

impl Lines {
    fn take(&mut self, state: MetricState) {
        let (MetricState::Generic(entry) | MetricState::Numeric(entry, _)) = state;
        if let Some(name) = self.names.get(&entry.metric_id) {
            self.latest.insert(name.clone(), entry.serialized_entry.formatted);
        }
    }
}

impl MetricsRendererTraining for Lines {
    fn update_train(&mut self, state: MetricState) {
        self.take(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.take(state);
    }
}

impl TrainingProgressLogger for Lines {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}

    fn start_split(&mut self, part: &str, _: usize) {
        self.part = part.to_owned();
        self.latest.clear();
    }

    fn end_split(&mut self) {
        let metrics = self.latest.iter().map(|(name, value)| format!("  {name}: {value}"));
        println!("{:<6}{}", self.part, metrics.collect::<String>());
    }

    fn update_split(&mut self, _: usize) {}
    fn update_epoch(&mut self, _: usize) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRenderer for Lines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, metric: MetricDefinition) {
        self.names.insert(metric.metric_id, metric.name);
    }
}

/// There is no evaluation here.
impl MetricsRendererEvaluation for Lines {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl EvaluationProgressLogger for Lines {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

//! What a scope's settings leave in the manifest of its run.

use super::builder::ScopeBuilder;
use super::observer::Observer;
use gradscope_record::diagnosis::Context;
use gradscope_record::record::Param;
use gradscope_record::stats::Stats;

impl ScopeBuilder {
    /// The caller's own, and what is known of training.
    fn facts<M>(&self) -> Vec<(String, serde_json::Value)> {
        let Context { optimizer, activation, .. } = &self.context;
        let known = [("optimizer", optimizer), ("activation", activation)];
        let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
        // The model's type, where the caller has no name for it.
        let model =
            (!self.facts.iter().any(|(name, _)| name == "model")).then(|| ("model".into(), type_name::<M>().into()));
        self.facts.iter().cloned().chain(known).chain(model).collect()
    }

    pub(super) fn run_start<M>(
        &self,
        groups: Stats,
        params: &[Param],
        buffers: Vec<String>,
        observer: &Observer,
    ) -> gradscope_store::RunStart {
        gradscope_store::RunStart {
            burn_version: crate::scope::bridge::BURN_VERSION.into(),
            adapter: self.device.describe(),
            engine: observer.engine.name().into(),
            fusion: crate::scope::bridge::BURN_FUSION,
            autotune: cfg!(feature = "autotune"),
            groups,
            tensorboard: self.tensorboard,
            settings: serde_json::json!({
                "stats": groups.to_string(),
                "epsilons": self.epsilons,
                "schedule": self.schedule,
                "schedules_for": self.schedules_for,
                "span": self.span,
                "groups": self.layers,
                "survey": self.survey.manifest(),
                "capture": self.capture,
                "average_factor": self.average_factor,
                "select": self.include,
                "exclude": self.exclude,
                "diagnose": self.diagnose,
                "pretrained": self.context.resumed,
                "ring_len": self.ring_len,
                "when_full": self.when_full,
            }),
            params: params.to_vec(),
            buffers,
            flight_recorder_len: if self.diagnose && self.rules.takes_snapshots() {
                self.flight_recorder_len
            } else {
                0
            },
            facts: self.facts::<M>(),
        }
    }
}

/// The name of a type without its path and its generics: `Mlp` of `my_crate::model::Mlp`.
fn type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

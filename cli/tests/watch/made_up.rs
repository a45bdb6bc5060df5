//! Runs that nothing trained.

use gradscope::record::{Global, Gradient, Param, TensorRecord};
use gradscope::stats::Partial;
use gradscope::store::RunStart;
use gradscope::{Stats, StepRecord};

/// A run of the card, with these parameters and this name for all else.
pub fn made_up(paths: &[&str], name: &str) -> RunStart {
    let param = |path: &&str| Param::new(*path, vec![4]);
    RunStart {
        burn_version: String::new(),
        adapter: name.into(),
        engine: name.into(),
        fusion: false,
        autotune: false,
        settings: serde_json::json!({ "stats": "card" }),
        groups: Stats::BASIC,
        tensorboard: false,
        params: paths.iter().map(param).collect(),
        facts: vec![(name.into(), name.into()), ("model".into(), name.into())],
        flight_recorder_len: 8,
        ..RunStart::default()
    }
}

pub fn made_up_record(step: u64, tensor_count: usize) -> StepRecord {
    let tensor = |place: usize| {
        let l2_norm_sq = 1.0 + ((step * 7 + place as u64 * 13) % 100) as f64 * 1.234_567;
        let summary = Partial { numel: 4, l2_norm_sq, ..Partial::IDENTITY }.finish();
        TensorRecord::of(Gradient::Observed { summary, previous_step: None })
    };
    let tensors: Vec<_> = (0..tensor_count).map(tensor).collect();
    StepRecord { step, global: Global::of(&tensors), tensors, ..StepRecord::default() }
}

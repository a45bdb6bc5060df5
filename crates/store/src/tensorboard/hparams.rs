//! Hyper-parameters for TensorBoard's HPARAMS page (`tensorboard/plugins/hparams/plugin_data.proto`).

use super::events::{EventWriter, Message};
use crate::manifest::Manifest;
use crate::time;
use gradscope_record::record::RunStatus;
use serde_json::Value;

const PLUGIN: &str = "hparams";

/// Writes the run's facts as the hyper-parameters of a session.
pub(super) fn start(writer: &mut EventWriter, manifest: &Manifest, start_secs: Option<f64>) {
    let mut session = Message::default();
    let mut facts = manifest.fact_values();
    let stats = Value::from(manifest.groups().to_string());
    facts.push(("stats".into(), &stats));
    for (name, value) in facts {
        let [mut entry, mut content]: [Message; 2] = Default::default();
        // `google.protobuf.Value`.
        match value {
            Value::Number(number) => content.double(2, number.as_f64().unwrap_or(f64::NAN)),
            Value::Bool(value) => content.integer(4, u64::from(*value)),
            Value::String(text) => content.bytes(3, text.as_bytes()),
            value => content.bytes(3, value.to_string().as_bytes()),
        }
        entry.bytes(1, name.as_bytes());
        entry.bytes(2, &content.0);
        session.bytes(1, &entry.0);
    }
    if let Some(secs) = start_secs {
        session.double(5, secs);
    }
    let mut data = Message::default();
    data.bytes(3, &session.0);
    writer.of_plugin(0, "_hparams_/session_start_info", PLUGIN, &data.0, None);
}

/// Writes how the session ended.
pub(super) fn end(writer: &mut EventWriter, status: RunStatus, step: u64) {
    /// `Status` of TensorBoard's `api.proto`.
    const SUCCESS: u64 = 1;
    const FAILURE: u64 = 2;
    const RUNNING: u64 = 3;
    let status = match status {
        RunStatus::Finished => SUCCESS,
        RunStatus::Running => RUNNING,
        _ => FAILURE,
    };
    let [mut session, mut data]: [Message; 2] = Default::default();
    session.integer(1, status);
    session.double(2, time::now_secs());
    data.bytes(4, &session.0);
    writer.of_plugin(step, "_hparams_/session_end_info", PLUGIN, &data.0, None);
}

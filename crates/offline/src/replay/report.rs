//! The report of a replay: one self-contained HTML page.
//!
//! The page is a template with its drawing code; the record goes into it as JSON, times in seconds from the first
//! message, so that the page also serves as data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::record::{ChunkRecord, Event, Record};
use vla_base::time::Stamp;

const TEMPLATE: &str = include_str!("report/template.html");
const SCRIPT: &str = include_str!("report/draw.js");
const STYLE: &str = include_str!("report/style.css");

/// The page.
pub fn render(record: &Record) -> String {
    // "</" would end the script element that holds the data, also inside a JSON string.
    let data = data(record).to_string().replace("</", "<\\/");
    TEMPLATE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT).replace("/*DATA*/", &data)
}

fn data(record: &Record) -> Value {
    let origin = origin(record);
    let seconds = |stamp: Stamp| (stamp - origin).seconds();
    json!({
        "policy": {"name": record.policy.0, "fingerprint": record.policy.1},
        "joints": record.joints,
        "inputs": record.input_names,
        "stages": record.stages,
        "origin": origin.to_string(),
        "chunks": record.chunks.iter().map(|chunk| chunk_data(chunk, &seconds)).collect::<Vec<_>>(),
        "states": record.states.iter().map(|(at, values)| json!([seconds(*at), finite(values)])).collect::<Vec<_>>(),
        "events": record.events.iter().map(|event| event_data(event, &seconds)).collect::<Vec<_>>(),
        "clamped": record.clamped().by_name(&record.moved).collect::<BTreeMap<_, _>>(),
        "no_trajectories": record.no_trajectories.as_deref(),
        "unchanged": record.unchanged,
        "stopped": record.stopped,
        "waiting": record.waiting,
        "statistics": record.inputs.iter().map(|input| json!({
            "name": input.name.as_ref(),
            "topic": input.topic.as_ref(),
            "received": input.received,
            "overwritten": input.overwritten,
            "refused": input.refused,
            "out_of_order": input.out_of_order,
        })).collect::<Vec<_>>(),
    })
}

fn chunk_data(chunk: &ChunkRecord, seconds: &dyn Fn(Stamp) -> f64) -> Value {
    let millis = |time: &Duration| time.as_secs_f64() * 1e3;
    json!({
        "at": seconds(chunk.at),
        "start": seconds(chunk.start),
        "step": chunk.step.seconds(),
        "late": chunk.late_rows,
        "values": chunk.values,
        "ages_ms": chunk.ages.iter().map(|age| age.millis()).collect::<Vec<_>>(),
        "clamped": chunk.clamped.total,
        "encode_ms": millis(&chunk.encode),
        "stages_ms": chunk.stages.iter().map(millis).collect::<Vec<_>>(),
        "decode_ms": millis(&chunk.decode),
        "total_ms": millis(&chunk.total),
    })
}

fn event_data(event: &Event, seconds: &dyn Fn(Stamp) -> f64) -> Value {
    json!({"at": seconds(event.at), "kind": event.kind, "inputs": event.inputs, "text": event.text})
}

/// JSON has no NaN: a position that a message lacked becomes null.
fn finite(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().map(|value| value.is_finite().then_some(*value)).collect()
}

fn origin(record: &Record) -> Stamp {
    let states = record.states.first().map(|(at, _)| *at);
    let chunks = record.chunks.first().map(|chunk| chunk.at);
    let events = record.events.first().map(|event| event.at);
    states.into_iter().chain(chunks).chain(events).min().unwrap_or_default()
}

//! The report of a replay: what the policy saw and asked for, and what a robot would have been commanded.
//!
//! The page has a bounded size: curves are thinned to their extremes, rows, pictures and events to a number of them, each with a
//! line that says so.

use super::record::{Record, Run};
use crate::page::{Axis, Card, Cell, Facts, Glossary, Lane, Lanes, Moment, Page, Table, Tone};
use vla_base::time::Stamp;
use vla_engines::EngineKind;

mod followed;
mod joints;
mod timing;
mod words;

/// Events that are listed.
const MOST_EVENTS: usize = 200;

/// Names of what was given to the replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// The recording.
    pub recording: &'a str,
    /// Parameter file and assignments.
    pub parameters: &'a str,
}

/// The page.
pub fn render(record: &Record, given: &Given<'_>) -> String {
    let mut page = Page::new(&format!("Replay of {}", or(&record.run.policy, "a policy")));
    let time = time_axis(record);
    head(&mut page, record, given);
    page.add(&cards(record)[..]);
    page.section("Time line");
    page.text(
        "What each inference time gave. The robot moves on the joined trajectory, which goes on while cycles have no chunk, up to its rest.",
    );
    page.add(&lanes(record, &time));
    moments(&mut page, record);
    joints::write(&mut page, record, &time);
    followed::write(&mut page, record);
    timing::write(&mut page, record);
    events(&mut page, record);
    page.section("Words");
    page.add(&Glossary(words::WORDS));
    page.finish()
}

fn head(page: &mut Page, record: &Record, given: &Given<'_>) {
    let run = &record.run;
    if run.random_weights {
        page.warning(
            "This policy has random weights: it was not trained and moves nothing meaningfully. Judge inputs and timing only, not the motion.",
        );
    }
    if record.chunks.is_empty() {
        let reasons = record.reasons(1);
        let reason = reasons.first().map_or("the recording has no inference time", String::as_str);
        page.warning(&format!("No chunk was made: {reason}"));
    }
    if let Some(reason) = &record.no_trajectories {
        page.warning(&format!("No trajectories: {reason}"));
    }
    let mut facts = Facts::default();
    facts.push("recording", or(given.recording, "not named"));
    if let Some(origin) = record.origin {
        facts.push("time 0", format!("{origin} s, the first message of an input"));
    }
    facts.push("policy", format!("{}, {}", run.policy, run.fingerprint));
    facts.push("parameters", or(given.parameters, "defaults"));
    for (at, text) in &run.instructions {
        facts.push(
            "instruction",
            if run.instructions.len() > 1 { format!("from {at:.1} s: {text}") } else { text.to_string() },
        );
    }
    facts.push("engines", engines(run));
    let step = run.step.seconds();
    let rate = if run.rate_hz > 0.0 { format!("at {} Hz", run.rate_hz) } else { "without a fixed rate".to_owned() };
    facts.push(
        "inference",
        format!("{rate}; a row every {step} s; {} denoising steps, seed {}", run.denoise_steps, run.seed),
    );
    facts.push("hand-over", run.mode.as_str());
    facts
        .push("assumed latency", format!("{} ms from observation to publication (--latency-ms)", run.latency.millis()));
    page.add(&facts);
}

fn engines(run: &Run) -> &'static str {
    match run.engine {
        EngineKind::Onnx => "ONNX Runtime on this machine's CPU",
        EngineKind::Tensorrt => "TensorRT on this device",
        EngineKind::Cuda => "CUDA kernels and cuBLASLt on this device",
    }
}

fn cards(record: &Record) -> Vec<Card> {
    let violations = record.events.iter().filter(|event| event.kind == "violation").count();
    let refused = record.events.len() - violations;
    let late: u64 = record.chunks.iter().map(|chunk| u64::from(chunk.late_rows)).sum();
    let stops = record.motion.stops.len();
    let limited = record.limited();
    let count =
        |count: usize, one: &str, many: &str| (count.to_string(), if count == 1 { one } else { many }.to_owned());
    let card = |(value, label): (String, String)| Card::new(value, label);
    let mut cards = vec![
        card(count(record.chunks.len(), "chunk", "chunks")).toned(Tone::Bad, record.chunks.is_empty()),
        card(count(violations, "violation", "violations")).toned(Tone::Bad, violations > 0),
        card(count(refused, "chunk refused", "chunks refused")).toned(Tone::Bad, refused > 0),
        card(count(stops, "stop of the robot", "stops of the robot")).toned(Tone::Bad, stops > 0),
        card(count(limited, "hand-over that met a limit", "hand-overs that met a limit"))
            .toned(Tone::Warn, limited > 0),
    ];
    let clamped = record.clamped().total;
    cards.push(Card::new(clamped.to_string(), "values clamped to position limits").toned(Tone::Warn, clamped > 0));
    cards.push(Card::new(late.to_string(), "late rows").toned(Tone::Warn, late > 0));
    if let (Some(median), Some(p99)) = (record.latency(0.5), record.latency(0.99)) {
        cards.push(Card::new(format!("{:.1} ms", median.as_secs_f64() * 1e3), "median inference, wall clock"));
        cards.push(Card::new(format!("{:.1} ms", p99.as_secs_f64() * 1e3), "p99 inference, wall clock"));
    }
    let oldest = record.chunks.iter().flat_map(|chunk| chunk.ages.iter().copied()).fold(f32::NEG_INFINITY, f32::max);
    if oldest.is_finite() {
        cards.push(Card::new(format!("{oldest:.0} ms"), "oldest input used"));
    }
    cards
}

fn lanes(record: &Record, time: &Axis) -> Lanes {
    let events = |kind: &'static str| {
        record.events.iter().filter(move |event| event.kind == kind).map(|event| record.seconds(event.at))
    };
    let spans = record.motion.stops.iter().map(|stop| [stop.at, stop.rest.max(stop.at)]);
    let mut met: Vec<f64> = record.motion.joints.iter().flat_map(|joint| joint.met.iter().copied()).collect();
    met.sort_by(f64::total_cmp);
    met.dedup();
    let quiet = &record.quiet;
    let lanes = [
        Lane::of_moments("chunk", Tone::Good, record.chunks.iter().map(|chunk| record.seconds(chunk.at))),
        Lane::of_moments("limit met", Tone::Warn, met),
        Lane::of_moments("violation", Tone::Bad, events("violation")),
        Lane::of_moments("refused", Tone::Bad, events("refused")),
        Lane { name: "braking".to_owned(), tone: Tone::Bad, spans: spans.collect() },
        Lane::of_moments("stopped", Tone::Bad, quiet.stopped.iter().copied()),
        Lane::of_moments("unchanged", Tone::Grey, quiet.unchanged.iter().copied()),
        Lane::of_moments("waiting for inputs", Tone::Grey, quiet.waiting.iter().copied()),
    ];
    let shown = lanes.into_iter().enumerate().filter(|(index, lane)| *index < 3 || !lane.spans.is_empty());
    Lanes { x: time.clone(), lanes: shown.map(|(_, lane)| lane).collect() }
}

fn moments(page: &mut Page, record: &Record) {
    if record.moments.is_empty() {
        return;
    }
    page.section("What the cameras showed");
    page.text(
        "The newest frame of each camera at the moments that matter: the first chunk, the first violations, refusals and stops, the \
         chunks that met limits most, and the hand-overs with the largest jumps. The age is that of the header stamp.",
    );
    page.grid(|grid| {
        for moment in &record.moments {
            let has = |kinds: &[_]| moment.claims.iter().any(|claim| kinds.contains(&claim.kind));
            use super::record::MomentKind::{Limit, Refused, Stop, Violation};
            let tone = if has(&[Violation, Refused, Stop]) {
                Tone::Bad
            } else if has(&[Limit]) {
                Tone::Warn
            } else {
                Tone::Grey
            };
            let texts: Vec<&str> = moment.claims.iter().map(|claim| claim.text.as_str()).collect();
            let kinds: Vec<&str> = moment.claims.iter().map(|claim| claim.kind.word()).collect();
            let title = format!("{:.2} s: {}", moment.at, kinds.join(", "));
            grid.add(&Moment { title, tone, text: texts.join("; "), pictures: moment.pictures.clone() });
        }
    });
}

fn events(page: &mut Page, record: &Record) {
    page.section("Violations, refusals and stops");
    if record.waiting > 0 {
        page.text(&format!(
            "{} cycles at the start waited for inputs, which is no fault: {}",
            record.waiting, record.waited_for
        ));
    }
    let mut rows: Vec<(f64, &str, &str)> =
        record.events.iter().map(|event| (record.seconds(event.at), event.kind, event.text.as_str())).collect();
    rows.extend(record.motion.stops.iter().map(|stop| (stop.at, "braking", stop.reason.as_str())));
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    if rows.is_empty() {
        page.text("None.");
        return;
    }
    let mut table = Table::new(["at, s", "kind", "reason"]);
    for (at, kind, text) in rows.iter().take(MOST_EVENTS) {
        table.push([Cell::number(*at, 3), Cell::text(*kind), Cell::text(*text)]);
    }
    page.add(&table);
    if rows.len() > MOST_EVENTS {
        page.text(&format!("and {} more", rows.len() - MOST_EVENTS));
    }
}

/// From time 0 to the end of what is shown.
fn time_axis(record: &Record) -> Axis {
    let ends = record.states.iter().filter_map(|trace| trace.last()).map(|[x, _]| x);
    let motion = record.motion.joints.iter().filter_map(|joint| joint.position.last()).map(|[x, _]| x);
    let stamps = record.chunks.iter().map(|chunk| chunk.at).chain(record.events.iter().map(|event| event.at));
    let seconds = |stamp: Stamp| record.seconds(stamp);
    Axis::of("time", "s", [0.0].into_iter().chain(ends).chain(motion).chain(stamps.map(seconds)))
}

fn or<'a>(text: &'a str, without: &'a str) -> &'a str {
    if text.is_empty() { without } else { text }
}

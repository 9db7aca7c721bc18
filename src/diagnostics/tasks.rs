//! The statuses, each a function of one snapshot.

use super::Snapshot;
use super::status::{Severity, Status};
use crate::lifecycle::State;
use crate::phase::{Phase, brief};
use crate::report::{CycleFault, CycleFaultKind};
use vla_base::time::Stamp;
use vla_engines::memory::{MemoryUse, mib};
use vla_engines::{HostCopy, StageReport};
use vla_motion::WatchdogState;
use vla_policy::observation::{InputKind, InputSpec, InputStatistics};

mod motion;
mod outputs;

/// A camera frame above this does not fit Fast DDS's default shared-memory segment.
const LOSS_HINT: &str =
    "frames above 512 KB need a larger Fast DDS shared-memory segment on both sides: see config/fastdds_shm.xml";

/// Every status at this moment.
pub(crate) fn all(snapshot: &Snapshot) -> [Status; 6] {
    [
        inputs(snapshot),
        engines(snapshot),
        memory(snapshot),
        inference(snapshot),
        motion::motion(snapshot),
        output(snapshot),
    ]
}

fn inputs(snapshot: &Snapshot) -> Status {
    let mut status = Status::new("inputs");
    status.summary("every input is fresh");
    let mut losing = false;
    for (spec, input) in snapshot.settings.inputs.iter().zip(&snapshot.inputs) {
        if spec.kind == InputKind::Instruction {
            match &snapshot.instruction {
                Some(instruction) => status.value("instruction", instruction),
                // The next task brings its own.
                None if snapshot.settings.task.required && snapshot.task.is_none() => {
                    status.value("instruction", "none")
                }
                None => {
                    let text =
                        format!("no instruction: set the parameter `instruction`, or publish it on {}", input.topic);
                    status.raise(Severity::Error, text);
                }
            }
        } else {
            status.millis(&format!("{} age", input.name), input.age_at(snapshot.now));
        }
        losing |= rate(&mut status, spec, input);
        counters(&mut status, input);
    }
    for (fault, forbids) in &snapshot.faults {
        let severity = if *forbids { Severity::Error } else { Severity::Warn };
        let topic = snapshot.inputs.iter().find(|input| input.name == fault.input).map_or("", |input| &input.topic);
        status.raise(severity, format!("{fault}, on {topic}"));
    }
    if losing {
        status.raise(Severity::Warn, LOSS_HINT);
    }
    enable(&mut status, snapshot);
    if let Some(CycleFault { kind: CycleFaultKind::Unfit, reason, .. }) = &snapshot.report.fault {
        status.raise(Severity::Error, format!("the last inference was refused: {reason}"));
    }
    for finding in snapshot.found.iter().filter(|finding| finding.input().is_some()) {
        status.raise(Severity::Warn, finding.to_string());
    }
    if snapshot.simulated && snapshot.now == Stamp::default() {
        status.raise(Severity::Warn, "use_sim_time is set, but no /clock message has arrived yet");
    }
    status.value("clock jumps back", snapshot.clock_jumps);
    if !snapshot.settings.blank_views.is_empty() {
        status.value("blank views", snapshot.settings.blank_views.join(", "));
    }
    status
}

/// The operator's switch. Off is normal before work begins; the status of the motion reports a stop by the switch.
fn enable(status: &mut Status, snapshot: &Snapshot) {
    let Some(switch) = snapshot.enable else { return };
    let rules = &snapshot.settings.rules;
    match switch.check(snapshot.now, rules.enable_max_age) {
        None => status.value("enable", "on"),
        Some(breach) => {
            status.value("enable", "off");
            status.raise(Severity::Warn, format!("{breach}: the robot does not move"));
        }
    }
    status.millis("enable age", switch.last.map(|(_, received)| received.age_at(snapshot.now)));
    status.value("enable received", switch.received);
}

/// Shows the rates; true when a camera's frames get lost.
fn rate(status: &mut Status, spec: &InputSpec, input: &InputStatistics) -> bool {
    let Some(rate) = input.rate else { return false };
    status.value(format!("{} arrival rate (Hz)", input.name), format_args!("{:.1}", rate.arrival_hz));
    status.value(format!("{} source rate (Hz)", input.name), format_args!("{:.1}", rate.source_hz));
    let losing = matches!(spec.kind, InputKind::Camera { .. }) && rate.is_losing();
    if losing {
        let (arrival, source) = (rate.arrival_hz, rate.source_hz);
        status.raise(Severity::Warn, format!("{}: {arrival:.1} Hz arrive of the camera's {source:.1} Hz", input.name));
    }
    losing
}

fn counters(status: &mut Status, input: &InputStatistics) {
    let name = &input.name;
    for (key, count) in [
        ("received", input.received),
        ("used", input.used),
        ("overwritten", input.overwritten),
        ("refused", input.refused),
        ("out of order", input.out_of_order),
        ("repeated stamp", input.repeated),
        ("stamp ahead of now", input.future),
        ("without needed joints", input.unneeded),
    ] {
        status.value(format!("{name} {key}"), count);
    }
    if !input.shared_joints.is_empty() {
        // The publishers are named by what the graph shows.
        status.value(format!("{name} sent by several"), input.shared_joints.join(", "));
    }
    if let Some(reason) = &input.last_refusal {
        status.value(format!("{name} last refusal"), reason);
    }
}

fn engines(snapshot: &Snapshot) -> Status {
    let mut status = Status::new("engines");
    let phase = &snapshot.phase;
    status.summary("loaded");
    match phase {
        Phase::Degraded { class, reason, remedy } => {
            status.value("error", class.name());
            status.raise(Severity::Error, format!("{}; {remedy}", brief(reason)));
        }
        Phase::Planning | Phase::Loading { .. } | Phase::WarmUp => status.raise(Severity::Warn, phase.to_string()),
        Phase::Unloaded => status.summary("no policy is loaded"),
        Phase::Ready => {}
    }
    status.value("phase", word(snapshot));
    status.value("policy", &snapshot.policy);
    status.value("fingerprint", &snapshot.fingerprint);
    status.value("restarts", snapshot.report.restarts);
    if let Some(reason) = &snapshot.report.lost {
        status.value("last restart", reason);
        let (made, most) = (snapshot.report.restarts, snapshot.settings.engine.max_restarts);
        status.raise(Severity::Warn, format!("loaded again {made} of at most {most} times: {}", brief(reason)));
    }
    if let Some(files) = &snapshot.report.changed_on_disk {
        status.value("changed on disk", files);
        status.raise(
            Severity::Warn,
            format!("the policy on disk differs from the loaded one; ~/reload loads it ({files})"),
        );
    }
    if let Some(engines) = &snapshot.report.engines {
        status.value("kind", &engines.kind);
        status.value("load time (s)", format_args!("{:.2}", engines.duration.as_secs_f64()));
        for stage in &engines.stages {
            let file = mib(stage.bytes);
            status.value(format!("{} file (MiB)", stage.stage), format_args!("{file:.2}"));
            status.value(format!("{} load time (s)", stage.stage), format_args!("{:.2}", stage.duration.as_secs_f64()));
            host_copy(&mut status, stage);
            if stage.unverified {
                let text = format!("{}: no record says where its engine was built (allow_unverified)", stage.stage);
                status.raise(Severity::Warn, text);
            }
            if stage.inaccurate {
                let text = format!("{}: its engine failed its accuracy gate (allow_inaccurate)", stage.stage);
                status.raise(Severity::Warn, text);
            }
        }
    }
    status
}

/// The runtime's host copy of an engine. A copy that stays although its release was planned is a warning.
fn host_copy(status: &mut Status, stage: &StageReport) {
    match &stage.host_copy {
        HostCopy::AsLoaded => {}
        HostCopy::Released { bytes } => {
            status.value(format!("{} host copy given back (MiB)", stage.stage), format_args!("{:.2}", mib(*bytes)));
        }
        HostCopy::Kept { reason } => {
            let text = format!("{}: TensorRT's host copy stays in memory: {}", stage.stage, brief(reason));
            status.raise(Severity::Warn, text);
        }
    }
}

fn memory(snapshot: &Snapshot) -> Status {
    let mut status = Status::new("memory");
    let MemoryUse { resident, anonymous, peak_resident, available, total: _ } = snapshot.memory;
    let wanted = snapshot.settings.memory.reserve_mib;
    status.summary(format!("{:.0} MiB resident", mib(resident)));
    for (key, bytes) in [
        ("resident (MiB)", resident),
        ("anonymous (MiB)", anonymous),
        ("peak resident (MiB)", peak_resident),
        ("available on the machine (MiB)", available),
    ] {
        status.value(key, format_args!("{:.1}", mib(bytes)));
    }
    status.value("reserve (MiB)", wanted);
    if mib(available) < wanted as f64 {
        let text = format!("{:.0} MiB available, {wanted} MiB are to stay free (memory.reserve_mib)", mib(available));
        status.raise(Severity::Warn, text);
    }
    if let Some(budget) = snapshot.settings.memory.budget_mib {
        status.value("budget (MiB)", budget);
    }
    for stage in snapshot.report.engines.iter().flat_map(|engines| &engines.stages) {
        let signed = |bytes: i64| bytes as f64 / f64::from(1 << 20);
        let name = &stage.stage;
        status.value(format!("{name} planned (MiB)"), format_args!("{:.1}", mib(stage.planned.kept())));
        status.value(format!("{name} measured (MiB)"), format_args!("{:.1}", mib(stage.measured.kept())));
        status.value(format!("{name} resident growth (MiB)"), format_args!("{:.1}", signed(stage.measured.resident)));
        if let Some(device) = stage.measured.device {
            status.value(format!("{name} device growth (MiB)"), format_args!("{:.1}", signed(device)));
        }
    }
    status
}

fn inference(snapshot: &Snapshot) -> Status {
    let mut status = Status::new("inference");
    let (phase, report) = (&snapshot.phase, &snapshot.report);
    status.summary(phase.to_string());
    match phase {
        Phase::Degraded { .. } => status.raise(Severity::Error, "degraded: no policy is loaded"),
        Phase::Planning | Phase::Loading { .. } | Phase::WarmUp => status.raise(Severity::Warn, phase.to_string()),
        Phase::Unloaded => status.summary(format!("{}: no policy is loaded", word(snapshot))),
        Phase::Ready => match &report.fault {
            _ if stopped(snapshot).is_some() => {
                let reason = stopped(snapshot).unwrap_or_default();
                status.raise(Severity::Error, format!("stopped: {reason}; call ~/resume"));
            }
            _ if suspended(snapshot).is_some() => status.summary(suspended(snapshot).unwrap_or_default()),
            Some(CycleFault { kind: CycleFaultKind::Waiting, reason, .. }) => {
                status.raise(Severity::Warn, format!("waiting for inputs: {reason}"));
            }
            Some(CycleFault { kind: CycleFaultKind::Violation, reason, .. }) => {
                status.raise(Severity::Warn, format!("{}: {reason}", snapshot.settings.rules.on_violation));
            }
            Some(CycleFault { kind: CycleFaultKind::Unfit, reason, .. }) => {
                let action = snapshot.settings.rules.on_violation;
                status.raise(Severity::Error, format!("{action}: inference refused: {reason}"));
            }
            Some(CycleFault { kind: CycleFaultKind::Refused, reason, .. }) => {
                status.raise(Severity::Error, format!("chunk refused: {reason}"));
            }
            Some(CycleFault { kind: CycleFaultKind::Unpublished, .. }) | None => {}
        },
    }
    if let Some(CycleFault { kind: CycleFaultKind::Refused, class, .. }) = &report.fault {
        status.value("error", class.name());
    }
    status.value("phase", word(snapshot));
    status.value("life cycle", snapshot.lifecycle.label());
    task(&mut status, snapshot);
    status.value("rate (Hz)", snapshot.settings.rate_hz);
    status.value("denoising steps", snapshot.settings.denoise_steps);
    status.value("waiting for inputs", report.waiting);
    status.value("violations", report.violations);
    status.value("unchanged", report.unchanged);
    status.value("refused", report.refused);
    status.value("superseded", report.superseded);
    if let Some(last) = &report.last {
        status.millis("latency", Some(last.latency));
        for part in &last.parts {
            status.millis(&format!("{} latency", part.stage), Some(part.time.into()));
        }
    }
    status
}

/// Why the motion is stopped, when it is.
fn stopped(snapshot: &Snapshot) -> Option<&str> {
    let motion = snapshot.motion.as_ref().filter(|motion| motion.state == WatchdogState::Stopped)?;
    Some(motion.reason.as_deref().unwrap_or("no reason given"))
}

/// Why no chunk moves the robot although nothing is wrong: the node is inactive, or no task runs.
fn suspended(snapshot: &Snapshot) -> Option<&str> {
    snapshot.motion.as_ref()?.suspended.as_deref()
}

/// The phase as a word; `inactive` or `stopped` where only that prevents motion.
fn word(snapshot: &Snapshot) -> &'static str {
    match snapshot.phase {
        Phase::Unloaded if snapshot.lifecycle == State::Finalized => State::Finalized.label(),
        Phase::Ready if snapshot.lifecycle != State::Active => snapshot.lifecycle.label(),
        Phase::Ready if stopped(snapshot).is_some() => "stopped",
        _ => snapshot.phase.word(),
    }
}

fn task(status: &mut Status, snapshot: &Snapshot) {
    let Some(task) = &snapshot.task else { return status.value("task", "none") };
    status.value("task", task.instruction.as_deref().unwrap_or("the instruction in force"));
    status.value("task phase", task.phase);
    status.value("tasks that wait", task.queued);
}

fn output(snapshot: &Snapshot) -> Status {
    let mut status = Status::new("output");
    let report = &snapshot.report;
    status.summary(if report.last.is_some() { "publishing" } else { "nothing published yet" });
    if let Some(CycleFault { kind: CycleFaultKind::Unpublished, reason, .. }) = &report.fault {
        status.raise(Severity::Error, format!("the middleware refused the last message: {reason}"));
    }
    if let Some(last) = &report.last {
        if last.clamped > 0 {
            let text = format!("{} values of the last chunk clamped to the joints' limits", last.clamped);
            status.raise(Severity::Warn, text);
        }
        if last.rows > 0 && last.late_rows as usize >= last.rows {
            status.raise(Severity::Warn, "every row of the last chunk was already late");
        }
        status.millis("last chunk age", Some(last.observation.age_at(snapshot.now)));
        status.value("last chunk late rows", last.late_rows);
        status.value("last chunk rows", last.rows);
    }
    for finding in snapshot.found.iter().filter(|finding| finding.input().is_none()) {
        status.raise(Severity::Warn, finding.to_string());
    }
    outputs::routes(&mut status, &snapshot.outputs);
    outputs::recording(&mut status, snapshot.recording.as_ref());
    status.value("chunks published", report.published);
    status.value("messages not taken by the middleware", report.unpublished);
    status.value("values clamped", report.clamped.total);
    let joints = snapshot.motion.iter().flat_map(|motion| report.clamped.by_name(&motion.joints));
    for (joint, count) in joints {
        status.value(format!("{joint} values clamped to its position limits"), count);
    }
    status.value("log messages dropped", snapshot.log_dropped);
    status.value("log lines that stderr did not take", snapshot.lines_lost);
    status
}

//! Status of the motion: state, lateness, limits.

use super::super::Snapshot;
use super::super::status::{Severity, Status};
use vla_motion::WatchdogState;

pub(super) fn motion(snapshot: &Snapshot) -> Status {
    let mut status = Status::new("motion");
    if let Some(fault) = &snapshot.fault {
        status.raise(Severity::Error, &**fault);
    }
    status.millis("longest time between looks of the watchdog", Some(snapshot.watchdog_gap));
    let Some(motion) = &snapshot.motion else {
        status.summary("no policy is loaded yet");
        if snapshot.stop_waits {
            status.raise(
                Severity::Error,
                "~/stop was called before a policy was loaded: the policy starts stopped; call ~/resume then",
            );
        }
        return status;
    };
    status.summary(motion.suspended.as_deref().unwrap_or(motion.state.as_str()));
    let reason = motion.reason.as_deref().unwrap_or("no reason given");
    match motion.state {
        WatchdogState::Idle | WatchdogState::Running => {}
        // On demand no chunk is due.
        WatchdogState::Late if snapshot.settings.on_demand() => {}
        WatchdogState::Late => status.raise(Severity::Warn, "late: the next chunk is overdue"),
        WatchdogState::Holding if motion.expected => {}
        WatchdogState::Holding => status.raise(Severity::Warn, format!("holding: {reason}")),
        WatchdogState::Stopped => status.raise(Severity::Error, format!("stopped: {reason}; call ~/resume")),
    }
    if let Some(reason) = &motion.forbidden {
        status.raise(Severity::Error, format!("no joint may move: {reason}"));
    }
    if let Some(reason) = &motion.too_short {
        status.raise(Severity::Warn, reason.as_str());
    }
    status.value("state", motion.state);
    status.millis("in this state for", Some(motion.since.age_at(snapshot.now)));
    status.value("hand-over", snapshot.settings.motion.mode.as_str());
    status.value("holds", motion.holds);
    status.value("stops", motion.stops);
    status.millis("observation to publication, 95th percentile", motion.latency);
    status.value("predicted late rows", motion.predicted_late_rows);
    status.value("late rows", motion.late_rows);
    status.millis("motion left", motion.end.map(|end| end - snapshot.now));
    status.value("chunks that met a limit", motion.counts.chunks);
    status.value("chunks that met a limit, in a row", motion.counts.chunks_in_a_row);
    status.value("chunks refused for it", motion.counts.refused);
    for (joint, name) in motion.joints.iter().enumerate() {
        let counts = motion.counts.of(joint);
        for (kind, count) in ["position", "velocity", "acceleration", "jerk"].into_iter().zip(counts) {
            if count > 0 {
                status.value(format!("{name} held back by its {kind} limit (knots)"), count);
            }
        }
    }
    status
}

//! The routes of the motion and the recording in the status of the output.

use super::super::status::{Severity, Status};
use crate::outputs::RouteState;

/// A group of values a route; a route that takes no commands is an error, as nothing moves meanwhile.
pub(super) fn routes(status: &mut Status, routes: &[RouteState]) {
    for route in routes {
        let name = &route.name;
        if let Some(reason) = &route.unready {
            status.raise(Severity::Error, format!("nothing moves: {reason}"));
        }
        let target = if route.target.is_empty() { "~/action_chunk" } else { &route.target };
        let state = if route.unready.is_some() { "takes no commands" } else { route.state };
        status.value(format!("output {name}"), format_args!("{} on {target}: {state}", route.kind));
        if let Some(goal) = &route.last_goal {
            status.value(format!("output {name} last goal"), goal);
        }
        if let Some(error) = &route.last_error {
            status.value(format!("output {name} last error"), error);
            status.value(format!("output {name} errors"), route.errors);
        }
        if let Some(error) = route.tracking_error {
            status.value(format!("output {name} tracking error (rad or m)"), format_args!("{error:.4}"));
        }
    }
}

/// A recording that is not whole is a warning: the robot goes on without it.
pub(super) fn recording(status: &mut Status, recording: Option<&vla_recorder::Status>) {
    let Some(recording) = recording else { return };
    let file = recording.file.as_ref().map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    status.value("recording", file);
    status.value("recorded messages", recording.written);
    status.value("recorded (MiB)", format_args!("{:.1}", recording.bytes as f64 / f64::from(1 << 20)));
    status.value("messages dropped by the recorder", recording.dropped);
    status.value("messages not written by the recorder", recording.unwritten);
    status.value("recordings removed", recording.removed);
    if let Some(fault) = &recording.fault {
        status.raise(Severity::Warn, format!("not recording: {fault}"));
    }
}

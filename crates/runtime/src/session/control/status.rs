//! What diagnostics show of the motion.

use std::sync::Arc;

use super::Control;
use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_motion::{LimitCounts, WatchdogState, check_horizon};

/// State and counters of the motion at one moment.
#[derive(Clone, Debug, Default)]
pub struct MotionStatus {
    /// The watchdog's state.
    pub state: WatchdogState,
    /// When it was entered.
    pub since: Stamp,
    /// Why the motion is held or stopped.
    pub reason: Option<Arc<str>>,
    /// Whether the reason is no fault: the operator called `~/stop`, or the motion on demand is over.
    pub expected: bool,
    /// Number of holds: for a violation, or because a plan ended without a new chunk.
    pub holds: u64,
    /// Number of stops.
    pub stops: u64,
    /// 95th percentile of the time from observation to publication.
    pub latency: Option<Span>,
    /// Predicted late rows of the next chunk, from the latency.
    pub predicted_late_rows: usize,
    /// Late rows of all chunks.
    pub late_rows: u64,
    /// Joints.
    pub joints: Arc<[String]>,
    /// How often limits were met.
    pub counts: LimitCounts,
    /// When the plan in force ends.
    pub end: Option<Stamp>,
    /// Why chunks are too short for the latency; `None` when they are not.
    pub too_short: Option<String>,
    /// Why every chunk is refused until the motion is released: the node is inactive, or no task runs. No fault.
    pub suspended: Option<Arc<str>>,
    /// Why no joint may move, and what to do about it; `None` when all may.
    pub forbidden: Option<Arc<str>>,
}

impl Control {
    /// The status for diagnostics.
    pub fn status(&self, settings: &Settings) -> MotionStatus {
        let state = self.lock();
        let shape = state.shape;
        let latency = state.latencies.p95();
        let too_short =
            latency.filter(|_| state.latencies.is_significant() && !settings.on_demand()).and_then(|latency| {
                check_horizon(shape.rows, shape.step, latency, settings.period()).err().map(|error| error.to_string())
            });
        MotionStatus {
            state: state.watchdog.state(),
            since: state.watchdog.since(),
            reason: state.reason.as_ref().map(|reason| Arc::clone(&reason.text)),
            expected: state.reason.as_ref().is_some_and(|reason| reason.expected),
            holds: state.holds,
            stops: state.stops,
            latency,
            predicted_late_rows: state.latencies.late_rows(shape.step),
            late_rows: state.late_rows,
            joints: Arc::clone(state.motion.names()),
            counts: state.motion.counts().clone(),
            end: state.motion.plan().map(|plan| plan.end()),
            too_short,
            suspended: state.suspended.as_ref().map(|suspension| Arc::clone(&suspension.reason)),
            forbidden: state.forbidden.clone().or_else(|| state.unready.clone()),
        }
    }
}

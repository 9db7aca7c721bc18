//! One task from its beginning to its end: when it is over, and what its feedback says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use r2r::vla_trt::action::Run;

use super::goals::{GoalId, Status};
use crate::convert::clean;
use crate::report::{Engines, Report};
use vla_base::time::{Span, Stamp};
use vla_motion::WatchdogState;
use vla_runtime::session::MotionStatus;

/// A task without an action client ends after this time, because no client can cancel it any more.
const ALONE: Duration = Duration::from_secs(2);

/// Why a task ends: the reasons of `Run.action`, and the state in which the goal ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// The time was over.
    TimeLimit,
    /// A client cancelled it.
    Cancelled,
    /// No action client is left to cancel it.
    Abandoned,
    /// The motion was stopped.
    Stopped,
    /// The policy was unloaded or the node deactivated.
    Replaced,
    /// It could not begin.
    Failed,
}

impl Reason {
    /// Its number in `Run.action`.
    const fn code(self) -> u8 {
        match self {
            Self::TimeLimit => Run::Result::TIME_LIMIT as u8,
            Self::Cancelled | Self::Abandoned => Run::Result::CANCELLED as u8,
            Self::Stopped => Run::Result::STOPPED as u8,
            Self::Replaced => Run::Result::REPLACED as u8,
            Self::Failed => Run::Result::FAILED as u8,
        }
    }

    /// State in which the goal ends.
    pub(super) const fn status(self) -> Status {
        match self {
            Self::TimeLimit => Status::Succeeded,
            Self::Cancelled => Status::Canceled,
            Self::Abandoned | Self::Stopped | Self::Replaced | Self::Failed => Status::Aborted,
        }
    }
}

/// The node at one moment, as a task sees it.
pub(super) struct View<'a> {
    /// Time that the limit counts in: steady, or simulated.
    pub now: Stamp,
    /// Why the node is not active.
    pub inactive: Option<Arc<str>>,
    /// Figures of the inference thread.
    pub report: &'a Report,
    /// The motion; `None` without a policy.
    pub motion: Option<&'a MotionStatus>,
    /// Number of action clients; `None` when the middleware does not say.
    pub clients: Option<usize>,
}

/// The end of a task, once it is decided: the robot comes to rest.
pub(super) struct Ending {
    /// Why.
    pub reason: Reason,
    /// The same as text.
    pub message: String,
    /// The end is reported then at the latest, since simulated time may stand still.
    pub deadline: Instant,
}

/// A task that has begun.
pub(super) struct RunningTask {
    /// Its goal.
    pub id: GoalId,
    /// Its instruction; `None` for the one in force.
    pub instruction: Option<Arc<str>>,
    limit: Option<Span>,
    started: Stamp,
    /// Chunks published before it.
    chunks_before: u64,
    /// Number of stops before it.
    stops_before: u64,
    /// The policy that runs it.
    engines: Option<Arc<Engines>>,
    /// Since when there is no client.
    alone_since: Option<Instant>,
    /// Set once it is over.
    pub ending: Option<Ending>,
}

impl RunningTask {
    /// A task that begins now; `limit` of `None` is no limit.
    pub(super) fn begin(id: GoalId, instruction: Option<Arc<str>>, limit: Option<Span>, view: &View<'_>) -> Self {
        Self {
            id,
            instruction,
            limit,
            started: view.now,
            chunks_before: view.report.published,
            stops_before: view.motion.map_or(0, |motion| motion.stops),
            engines: view.report.engines.clone(),
            alone_since: None,
            ending: None,
        }
    }

    /// Why the task is over, with the text for its result; `None` while it goes on.
    pub(super) fn over(&mut self, view: &View<'_>, at: Instant) -> Option<(Reason, String)> {
        if let Some(reason) = &view.inactive {
            return Some((Reason::Replaced, reason.to_string()));
        }
        let same = match (&self.engines, &view.report.engines) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            _ => false,
        };
        let Some(motion) = view.motion.filter(|_| same) else {
            return Some((Reason::Replaced, "the policy was unloaded".to_owned()));
        };
        if motion.state == WatchdogState::Stopped || motion.stops != self.stops_before {
            let reason = motion.reason.as_deref().unwrap_or("the motion was stopped and resumed");
            return Some((Reason::Stopped, reason.to_owned()));
        }
        if let Some(limit) = self.limit.filter(|limit| view.now - self.started >= *limit) {
            return Some((Reason::TimeLimit, format!("the time limit of {} s is over", limit.seconds())));
        }
        match view.clients {
            Some(0) => {
                let since = *self.alone_since.get_or_insert(at);
                let is_over = at.saturating_duration_since(since) >= ALONE;
                is_over.then(|| (Reason::Abandoned, "no action client is left that could cancel the task".to_owned()))
            }
            _ => {
                self.alone_since = None;
                None
            }
        }
    }

    /// What the robot does: `waiting`, `running`, `held` or `stopping`.
    pub(super) fn phase(&self, view: &View<'_>) -> &'static str {
        match view.motion.map(|motion| motion.state) {
            _ if self.ending.is_some() => "stopping",
            // An output takes no commands, or limits are missing.
            _ if view.motion.is_some_and(|motion| motion.forbidden.is_some()) => "waiting",
            Some(WatchdogState::Running | WatchdogState::Late) => "running",
            Some(WatchdogState::Holding | WatchdogState::Stopped) => "held",
            Some(WatchdogState::Idle) | None => "waiting",
        }
    }

    /// The feedback at this moment.
    pub(super) fn feedback(&self, view: &View<'_>) -> Run::Feedback {
        let (chunks, last) = (self.chunks(view), view.report.last.as_ref());
        // The last chunk may be from before the task.
        let last = last.filter(|_| chunks > 0);
        Run::Feedback {
            phase: self.phase(view).to_owned(),
            elapsed_s: self.elapsed(view).seconds(),
            chunks,
            latency_ms: last.map_or(0.0, |last| last.latency.millis()),
            clamped: last.map_or(0, |last| u32::try_from(last.clamped).unwrap_or(u32::MAX)),
        }
    }

    /// The result of a task that ends at this moment.
    pub(super) fn result(&self, reason: Reason, message: &str, view: &View<'_>) -> Run::Result {
        let (elapsed_s, chunks) = (self.elapsed(view).seconds(), self.chunks(view));
        Run::Result { elapsed_s, chunks, ..not_begun(reason, message) }
    }

    /// Not negative: simulated time may be set back.
    fn elapsed(&self, view: &View<'_>) -> Span {
        (view.now - self.started).max(Span::ZERO)
    }

    fn chunks(&self, view: &View<'_>) -> u32 {
        u32::try_from(view.report.published.saturating_sub(self.chunks_before)).unwrap_or(u32::MAX)
    }
}

/// The result of a task that has not begun.
pub(super) fn not_begun(reason: Reason, message: &str) -> Run::Result {
    Run::Result { reason: reason.code(), message: clean(message), elapsed_s: 0.0, chunks: 0 }
}

#[cfg(test)]
mod tests;

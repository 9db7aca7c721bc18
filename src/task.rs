//! Tasks: the action `~/run`. A goal gives the policy an instruction for a time; feedback says what the robot does, and the result why
//! the task ended. One task runs at a time.
//!
//! The action server is built on the services and topics that every action consists of, not on r2r's: that of r2r 0.9.7 leaves a
//! cancelled goal in the state CANCELING, keeps the results of all goals, and never resets the timer that rcl starts for them, whose
//! expiry wakes its executor again and again.

mod endpoints;
mod goals;
mod running;
mod server;

use std::sync::Arc;

use super::latest::Latest;

pub(crate) use endpoints::TaskEndpoints;
pub(crate) use server::TaskServer;

/// The running task, for diagnostics; `None` while there is none.
pub(crate) type CurrentTask = Arc<Latest<Option<TaskStatus>>>;

/// What diagnostics show of a task.
#[derive(Clone, Debug)]
pub(crate) struct TaskStatus {
    /// Its instruction; `None` for the one in force.
    pub instruction: Option<Arc<str>>,
    /// `waiting`, `running`, `held` or `stopping`.
    pub phase: &'static str,
    /// Goals that wait for its end.
    pub queued: usize,
}

//! Requests to the inference thread: a short bounded queue and the condition variable that wakes it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use r2r::ServiceRequest;
use r2r::std_srvs::srv::Trigger;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::convert::clean;
use super::respond::respond;

/// Requests that may wait; the next one is refused at once.
const WAITING: usize = 16;

/// A request of a service, or of a life cycle transition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// `~/infer_once`: one inference, even when nothing changed.
    Infer,
    /// `~/resume`: go on after a stop.
    Resume,
    /// `~/reload`: load the policy again from its folder.
    Reload,
    /// The transition configure: load the policy.
    Load,
    /// The transitions cleanup and shutdown: free the policy.
    Unload,
}

/// One request, answered when it is done.
pub(crate) struct Request {
    /// The request.
    pub action: Action,
    reply: Reply,
}

/// Who waits for the answer.
enum Reply {
    /// The caller of a service; the runtime sends the response again if necessary.
    Call(ServiceRequest<Trigger::Service>, Handle),
    /// A transition of the life cycle.
    Transition(oneshot::Sender<Result<(), String>>),
}

impl Request {
    /// A call; `runtime` sends its response again if necessary.
    pub(crate) fn new(action: Action, call: ServiceRequest<Trigger::Service>, runtime: Handle) -> Self {
        Self { action, reply: Reply::Call(call, runtime) }
    }

    /// A request of a transition, which waits for `done`.
    pub(crate) fn of_transition(action: Action, done: oneshot::Sender<Result<(), String>>) -> Self {
        Self { action, reply: Reply::Transition(done) }
    }

    /// Answers the request. A caller that has ended is not an error.
    pub(crate) fn answer(self, success: bool, message: impl Into<String>) {
        match self.reply {
            Reply::Call(call, runtime) => answer(&runtime, call, success, message),
            Reply::Transition(done) => drop(done.send(if success { Ok(()) } else { Err(message.into()) })),
        }
    }
}

/// Answers a call. A caller that has ended is not an error.
pub(crate) fn answer(
    runtime: &Handle,
    call: ServiceRequest<Trigger::Service>,
    success: bool,
    message: impl Into<String>,
) {
    respond(runtime, call, Trigger::Response { success, message: clean(message) });
}

/// Why [`Requests::wait`] returned.
pub(crate) enum Wake {
    /// The node shuts down.
    Shutdown,
    /// A service was called.
    Request(Request),
    /// The limit has passed, or the settings changed.
    Time,
}

/// The inference thread's request queue.
#[derive(Default)]
pub(crate) struct Requests {
    state: Mutex<State>,
    condvar: Condvar,
}

#[derive(Default)]
struct State {
    shutdown: bool,
    notified: bool,
    waiting: VecDeque<Request>,
}

impl Requests {
    /// Queues a request, or refuses it when too many wait. There is at most one of a transition, and it is not refused for others.
    pub(crate) fn post(&self, request: Request) {
        let refused = {
            let mut state = self.lock();
            let is_call = matches!(request.reply, Reply::Call(..));
            if state.shutdown || (is_call && state.waiting.len() >= WAITING) {
                Some((request, state.shutdown))
            } else {
                state.waiting.push_back(request);
                None
            }
        };
        match refused {
            None => self.condvar.notify_one(),
            Some((request, true)) => request.answer(false, "the node is shutting down"),
            Some((request, false)) => {
                request.answer(false, format!("{WAITING} requests are waiting already; call again later"));
            }
        }
    }

    /// Wakes the thread because the settings changed.
    pub(crate) fn notify(&self) {
        self.lock().notified = true;
        self.condvar.notify_one();
    }

    /// Asks the thread to end. It answers the waiting requests ([`Requests::drain`]).
    pub(crate) fn shut_down(&self) {
        self.lock().shutdown = true;
        self.condvar.notify_all();
    }

    /// Waits for a request, at most `limit` (`None`: no limit).
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Wake {
        let mut state = self.lock();
        let idle = |state: &mut State| !state.shutdown && !state.notified && state.waiting.is_empty();
        state = match limit {
            Some(limit) => {
                let waited = self.condvar.wait_timeout_while(state, limit, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.condvar.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
        };
        if state.shutdown {
            return Wake::Shutdown;
        }
        state.notified = false;
        state.waiting.pop_front().map_or(Wake::Time, Wake::Request)
    }

    /// Takes all waiting requests.
    pub(crate) fn drain(&self) -> Vec<Request> {
        self.lock().waiting.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

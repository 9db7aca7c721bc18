//! Carries transitions out, one at a time, and answers each call when its transition is finished.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use r2r::ServiceRequest;
use r2r::lifecycle_msgs::srv::ChangeState;
use r2r::std_srvs::srv::Trigger;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::services::ChangeStateCalls;
use super::{Lifecycle, LifecycleServices, MotionGate, Outcome, State, Transition};
use crate::latest::Latest;
use crate::phase::Phase;
use crate::requests::{self, Action, Request, Requests};
use crate::respond::respond;

/// Calls of `~/reload` without a policy that may wait for the manager.
const RELOADS: usize = 16;

/// A call of `~/reload` without a policy: configure again, and activate where the node was active, or was to become so.
pub(crate) struct Reload(pub ServiceRequest<Trigger::Service>);

/// Work under way.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a transition needs.
#[derive(Clone)]
struct Tools {
    lifecycle: Arc<Lifecycle>,
    gate: Arc<MotionGate>,
    requests: Arc<Requests>,
    phase: Arc<Latest<Phase>>,
}

/// See the module.
pub(crate) struct Manager {
    tools: Tools,
    reloads: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
}

impl Manager {
    /// A manager of this state.
    pub(crate) fn new(
        lifecycle: Arc<Lifecycle>,
        gate: Arc<MotionGate>,
        requests: Arc<Requests>,
        phase: Arc<Latest<Phase>>,
    ) -> Self {
        Self { tools: Tools { lifecycle, gate, requests, phase }, reloads: mpsc::channel(RELOADS) }
    }

    /// Where the service `~/reload` leaves its calls while no policy is loaded.
    pub(crate) fn reloads(&self) -> mpsc::Sender<Reload> {
        self.reloads.0.clone()
    }

    /// Serves the life cycle; with `autostart` the node configures and activates itself first.
    pub(crate) fn serve(self, services: LifecycleServices, autostart: bool) -> Vec<JoinHandle<()>> {
        let (calls, mut tasks) = services.serve(&self.tools.lifecycle);
        tasks.push(tokio::spawn(self.run(calls, autostart)));
        tasks
    }

    async fn run(self, mut calls: ChangeStateCalls, autostart: bool) {
        let Self { tools, reloads: (_open, mut reloads) } = self;
        let mut work: Option<Work> = autostart.then(|| Box::pin(start_up(tools.clone())) as Work);
        loop {
            tokio::select! {
                () = progress(&mut work) => work = None,
                Some(call) = calls.next() => {
                    let asked = &call.message.transition;
                    let begun = match &work {
                        // Between the transitions of a start the state is primary, and the next one follows.
                        Some(_) => Err(format!(
                            "transition refused in the state {}: another transition is under way", tools.lifecycle.state().label()
                        )),
                        None => tools.lifecycle.begin(asked.id, &asked.label),
                    };
                    match begun {
                        Ok(transition) => work = Some(Box::pin(change_state(tools.clone(), transition, call))),
                        Err(reason) => {
                            tracing::warn!("{reason}");
                            respond(&Handle::current(), call, ChangeState::Response { success: false });
                        }
                    }
                }
                Some(Reload(call)) = reloads.recv() => {
                    if work.is_some() {
                        let text = "a transition is under way; call again when /diagnostics says ready";
                        requests::answer(&Handle::current(), call, false, text);
                    } else {
                        work = Some(Box::pin(reload(tools.clone(), call)));
                    }
                }
                else => return,
            }
        }
    }
}

/// Waits for the end of the work; for ever when there is none.
async fn progress(work: &mut Option<Work>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Configures and activates at the start, as one who starts the node without a manager expects.
async fn start_up(tools: Tools) {
    // A failed load is logged by the inference thread; `~/reload` tries again.
    tools.configure_and_restore(State::Active).await.ok();
}

async fn reload(tools: Tools, call: ServiceRequest<Trigger::Service>) {
    let restored = tools.lifecycle.restored().unwrap_or(State::Inactive);
    let done = tools.configure_and_restore(restored).await;
    let text = done.as_ref().err().cloned().unwrap_or_else(|| "the policy is loaded".to_owned());
    requests::answer(&Handle::current(), call, done.is_ok(), text);
}

async fn change_state(tools: Tools, transition: &'static Transition, call: ServiceRequest<ChangeState::Service>) {
    let done = tools.perform(transition).await;
    if let Err(reason) = &done {
        tracing::warn!("transition {} failed: {reason}", transition.label);
        if transition.goal == State::Configuring {
            tools.lifecycle.restore_with_reload(State::Inactive);
        }
    }
    respond(&Handle::current(), call, ChangeState::Response { success: done.is_ok() });
}

impl Tools {
    /// Does the work of a transition that has begun, and ends it.
    async fn perform(&self, transition: &Transition) -> Result<(), String> {
        let done = match transition.goal {
            State::Configuring => self.ask(Action::Load).await,
            State::CleaningUp => self.ask(Action::Unload).await,
            State::Activating => self.check_ready(),
            State::Deactivating => {
                self.gate.rest().await;
                Ok(())
            }
            State::ShuttingDown => {
                self.gate.rest().await;
                self.ask(Action::Unload).await
            }
            // No caller can ask for another one.
            _ => Ok(()),
        };
        self.lifecycle.end(if done.is_ok() { Outcome::Success } else { Outcome::Failure });
        done
    }

    /// Lets the inference thread load or free the policy.
    async fn ask(&self, action: Action) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.requests.post(Request::of_transition(action, done));
        answer.await.unwrap_or_else(|_| Err("the inference thread has ended".to_owned()))
    }

    /// Configures, and activates when that is the state to be restored. `~/reload` tries again after a failure.
    async fn configure_and_restore(&self, restored: State) -> Result<(), String> {
        self.transit("configure").await.inspect_err(|_| self.lifecycle.restore_with_reload(restored))?;
        if restored == State::Active { self.transit("activate").await } else { Ok(()) }
    }

    async fn transit(&self, label: &str) -> Result<(), String> {
        let transition = self.lifecycle.begin(0, label)?;
        self.perform(transition).await
    }

    fn check_ready(&self) -> Result<(), String> {
        match self.phase.get() {
            Phase::Ready => Ok(()),
            phase => Err(format!("no policy is ready: {phase}")),
        }
    }
}

//! `~/infer_once`, `~/resume`, `~/reload` and `~/stop`, all std_srvs/Trigger.

use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::Receiver;
use r2r::std_srvs::srv::Trigger;
use r2r::{Node, QosProfile, ServiceRequest};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::call_queue::Intake;
use super::error::Error;
use super::latest::Latest;
use super::lifecycle::{Lifecycle, Reload, State};
use super::operator::Operator;
use super::phase::Phase;
use super::requests::{Action, Request, Requests, answer};

/// Calls that the middleware keeps for the node's next spin. The default, ten, is less than one client may send at once.
const CALLS: usize = 100;

type Calls = Receiver<ServiceRequest<Trigger::Service>>;

/// The services, created but not yet served.
pub(crate) struct Services {
    /// Calls that the inference thread answers.
    asked: Vec<(Action, Calls)>,
    stop: Calls,
}

impl Services {
    /// Creates the services.
    ///
    /// # Errors
    /// When the middleware refuses a name.
    pub(crate) fn create(node: &mut Node, intake: &mut Intake) -> Result<Self, Error> {
        let mut create = |name: &'static str| {
            let calls = node.create_service::<Trigger::Service>(name, QosProfile::services_default().keep_last(CALLS));
            calls.map(|calls| intake.queue(name, calls)).map_err(|e| Error::endpoint("service", name, e))
        };
        let mut asked = Vec::new();
        for (action, name) in
            [(Action::Infer, "~/infer_once"), (Action::Resume, "~/resume"), (Action::Reload, "~/reload")]
        {
            asked.push((action, create(name)?));
        }
        Ok(Self { asked, stop: create("~/stop")? })
    }

    /// Queues every call for the inference thread. Calls during a load, and `~/stop`, are answered at once.
    pub(crate) fn serve(
        self,
        requests: &Arc<Requests>,
        phase: &Arc<Latest<Phase>>,
        operator: &Arc<Operator>,
        lifecycle: &Arc<Lifecycle>,
        reloads: &mpsc::Sender<Reload>,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        let serve = |(action, mut calls): (Action, Calls)| {
            let (requests, phase) = (requests.clone(), phase.clone());
            let (lifecycle, reloads) = (lifecycle.clone(), reloads.clone());
            tokio::spawn(async move {
                while let Some(call) = calls.next().await {
                    match phase.get() {
                        // The thread is busy loading; the caller would wait for seconds.
                        phase @ (Phase::Planning | Phase::Loading { .. } | Phase::WarmUp) => {
                            let text = format!("not ready: {phase}; call again when /diagnostics says ready");
                            answer(&Handle::current(), call, false, text);
                        }
                        _ if action == Action::Reload && lifecycle.state() == State::Unconfigured => {
                            reload_unconfigured(call, &lifecycle, &reloads);
                        }
                        _ => requests.post(Request::new(action, call, Handle::current())),
                    }
                }
            })
        };
        let (mut stops, operator) = (self.stop, operator.clone());
        let stop = tokio::spawn(async move {
            while let Some(call) = stops.next().await {
                let done = operator.stop();
                answer(&Handle::current(), call, done.is_ok(), done.unwrap_or_else(|reason| reason));
            }
        });
        self.asked.into_iter().map(serve).chain([stop]).collect()
    }
}

/// Repeats a load that failed; before the first configure there is nothing to repeat.
fn reload_unconfigured(call: ServiceRequest<Trigger::Service>, lifecycle: &Lifecycle, reloads: &mpsc::Sender<Reload>) {
    let (call, text) = match lifecycle.restored() {
        None => (call, "the node is unconfigured; configure it (~/change_state)"),
        Some(_) => match reloads.try_send(Reload(call)) {
            Ok(()) => return,
            Err(TrySendError::Full(Reload(call))) => (call, "too many calls wait already; call again later"),
            Err(TrySendError::Closed(Reload(call))) => (call, "the node is shutting down"),
        },
    };
    answer(&Handle::current(), call, false, text);
}

//! The services of a managed node.

use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::Receiver;
use r2r::lifecycle_msgs::srv::{ChangeState, GetAvailableStates, GetAvailableTransitions, GetState};
use r2r::{Node, QosProfile, ServiceRequest, WrappedServiceTypeSupport};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Lifecycle, State, TRANSITIONS, state_message, states, transition_message};
use crate::call_queue::Intake;
use crate::error::Error;
use crate::respond::respond;

/// Calls that the middleware keeps for the node's next spin.
const CALLS: usize = 100;

type Calls<S> = Receiver<ServiceRequest<S>>;

/// Calls of `~/change_state`.
pub(super) type ChangeStateCalls = Calls<ChangeState::Service>;

/// The services, created but not yet served.
pub(crate) struct LifecycleServices {
    change_state: ChangeStateCalls,
    get_state: Calls<GetState::Service>,
    get_available_states: Calls<GetAvailableStates::Service>,
    get_available_transitions: Calls<GetAvailableTransitions::Service>,
    get_transition_graph: Calls<GetAvailableTransitions::Service>,
}

impl LifecycleServices {
    /// Creates the services.
    ///
    /// # Errors
    /// When the middleware refuses a name.
    pub(crate) fn create(node: &mut Node, intake: &mut Intake) -> Result<Self, Error> {
        Ok(Self {
            change_state: create(node, intake, "~/change_state")?,
            get_state: create(node, intake, "~/get_state")?,
            get_available_states: create(node, intake, "~/get_available_states")?,
            get_available_transitions: create(node, intake, "~/get_available_transitions")?,
            get_transition_graph: create(node, intake, "~/get_transition_graph")?,
        })
    }

    /// Answers the questions, one task a service; they wait for no transition. Returns the calls of `~/change_state`, which the manager
    /// answers, too.
    pub(super) fn serve(self, lifecycle: &Arc<Lifecycle>) -> (ChangeStateCalls, Vec<JoinHandle<()>>) {
        let tasks = vec![
            answer(self.get_state, lifecycle, |lifecycle| GetState::Response {
                current_state: state_message(lifecycle.state()),
            }),
            answer(self.get_available_states, lifecycle, |_| GetAvailableStates::Response {
                available_states: State::ALL.into_iter().map(state_message).collect(),
            }),
            answer(self.get_available_transitions, lifecycle, |lifecycle| GetAvailableTransitions::Response {
                available_transitions: states::available(lifecycle.state()).map(transition_message).collect(),
            }),
            answer(self.get_transition_graph, lifecycle, |_| GetAvailableTransitions::Response {
                available_transitions: TRANSITIONS.iter().map(transition_message).collect(),
            }),
        ];
        (self.change_state, tasks)
    }
}

fn create<S: WrappedServiceTypeSupport + 'static>(
    node: &mut Node,
    intake: &mut Intake,
    name: &'static str,
) -> Result<Calls<S>, Error> {
    let calls = node.create_service::<S>(name, QosProfile::services_default().keep_last(CALLS));
    Ok(intake.queue(name, calls.map_err(|e| Error::endpoint("service", name, e))?))
}

fn answer<S>(
    mut calls: Calls<S>,
    lifecycle: &Arc<Lifecycle>,
    response: impl Fn(&Lifecycle) -> S::Response + Send + 'static,
) -> JoinHandle<()>
where
    S: WrappedServiceTypeSupport + 'static,
    S::Request: Clone + Send,
    S::Response: Clone + Send,
{
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let response = response(&lifecycle);
            respond(&Handle::current(), call, response);
        }
    })
}

//! The node as a managed node (ROS 2 life cycle): what `ros2 lifecycle set` and life cycle managers call.
//!
//! configure loads the policy, activate lets the robot move, deactivate brings it to rest, cleanup frees the policy, shutdown does
//! both for good. [`Manager`] carries transitions out, one at a time, on a task; the policy itself is loaded and freed by the inference
//! thread. With `autostart` the manager begins with configure and activate.

mod gate;
mod manager;
mod services;
mod states;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use r2r::lifecycle_msgs::msg::{self, TransitionEvent};
use r2r::{Node, Publisher, QosProfile};

use super::clock::RosClock;
use super::error::Error;

pub(crate) use gate::{Closer, MotionGate};
pub(crate) use manager::{Manager, Reload};
pub(crate) use services::LifecycleServices;
pub(crate) use states::State;
use states::{Outcome, TRANSITIONS, Transition};

/// The state of the node, and the topic `~/transition_event`.
pub(crate) struct Lifecycle {
    inner: Mutex<Inner>,
    clock: RosClock,
    gate: Arc<MotionGate>,
}

struct Inner {
    events: Publisher<TransitionEvent>,
    state: State,
    /// The policy was lost during a transition, whose end deals with it.
    lost: bool,
    /// State that a successful `~/reload` restores, after a load that failed.
    restored: Option<State>,
}

impl Lifecycle {
    /// Creates the topic with the QoS of rcl_lifecycle, in the state unconfigured: the motion's gate is closed.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(crate) fn create(node: &mut Node, clock: RosClock, gate: Arc<MotionGate>) -> Result<Self, Error> {
        let topic = "~/transition_event";
        let events = node.create_publisher(topic, QosProfile::default());
        let events = events.map_err(|e| Error::endpoint("topic", topic, e))?;
        gate.close_after_plan(Closer::Lifecycle, reason(State::Unconfigured));
        let inner = Inner { events, state: State::Unconfigured, lost: false, restored: None };
        Ok(Self { inner: Mutex::new(inner), clock, gate })
    }

    /// The state at this moment, which may be a transition state.
    pub(crate) fn state(&self) -> State {
        self.lock().state
    }

    /// State that `~/reload` restores in the state unconfigured; `None` when no load failed before.
    pub(crate) fn restored(&self) -> Option<State> {
        self.lock().restored
    }

    /// The policy is lost: the device failed for good, or a reload was refused. Ends in unconfigured, by way of
    /// errorprocessing; `~/reload` then restores the present state. The plan in force ends at rest by itself.
    pub(crate) fn lost(&self) {
        let mut inner = self.lock();
        match inner.state {
            State::Active | State::Inactive => self.process_error(&mut inner),
            State::Configuring => {}
            _ => inner.lost = true,
        }
    }

    /// Enters the transition state of a transition that a caller asks for.
    ///
    /// # Errors
    /// Why the transition is refused; nothing changed.
    fn begin(&self, id: u8, label: &str) -> Result<&'static Transition, String> {
        let mut inner = self.lock();
        let Some(transition) = states::requested(inner.state, id, label) else {
            let asked = if label.is_empty() { format!("id {id}") } else { format!("'{label}'") };
            let offered: Vec<&str> = match inner.state.is_primary() {
                true => states::available(inner.state).map(|transition| transition.label).collect(),
                false => Vec::new(),
            };
            let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            return Err(format!(
                "transition {asked} refused in the state {}; available: {offered}",
                inner.state.label()
            ));
        };
        match transition.goal {
            // Whatever else fails, the robot brakes.
            State::Deactivating | State::ShuttingDown => self.gate.close(Closer::Lifecycle, reason(transition.goal)),
            State::Configuring => inner.lost = false,
            _ => {}
        }
        self.enter(&mut inner, transition);
        Ok(transition)
    }

    /// Leaves a transition state with the outcome of its work; returns the state after it.
    fn end(&self, outcome: Outcome) -> State {
        let mut inner = self.lock();
        let Some(transition) = states::ended(inner.state, outcome) else { return inner.state };
        match (inner.state, outcome) {
            (State::Configuring | State::CleaningUp | State::ShuttingDown, Outcome::Success) => inner.restored = None,
            (State::Activating, Outcome::Success) => self.gate.open(Closer::Lifecycle),
            _ => {}
        }
        self.enter(&mut inner, transition);
        if std::mem::take(&mut inner.lost) && matches!(inner.state, State::Active | State::Inactive) {
            self.process_error(&mut inner);
        }
        inner.state
    }

    /// Makes `~/reload` restore `state` after a configure that failed.
    fn restore_with_reload(&self, state: State) {
        self.lock().restored = Some(state);
    }

    /// From active or inactive to unconfigured, because there is no policy any more.
    fn process_error(&self, inner: &mut Inner) {
        inner.restored = Some(inner.state);
        self.gate.close_after_plan(Closer::Lifecycle, reason(State::Unconfigured));
        let first = if inner.state == State::Active { "deactivate" } else { "cleanup" };
        if let Some(transition) = states::requested(inner.state, 0, first) {
            self.enter(inner, transition);
        }
        for outcome in [Outcome::Error, Outcome::Success] {
            if let Some(transition) = states::ended(inner.state, outcome) {
                self.enter(inner, transition);
            }
        }
    }

    /// Enters the goal of a transition and publishes the event.
    fn enter(&self, inner: &mut Inner, transition: &Transition) {
        inner.state = transition.goal;
        if transition.goal.is_primary() && transition.goal != State::Active {
            self.gate.close_after_plan(Closer::Lifecycle, reason(transition.goal));
        }
        let Transition { id, label, start, goal } = transition;
        tracing::info!("life cycle: {} -> {} ({label})", start.label(), goal.label());
        let event = TransitionEvent {
            timestamp: u64::try_from(self.clock.now().nanos()).unwrap_or_default(),
            transition: msg::Transition { id: *id, label: (*label).to_owned() },
            start_state: state_message(*start),
            goal_state: state_message(*goal),
        };
        if let Err(error) = inner.events.publish(&event) {
            tracing::warn!("a transition event was not published: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A state is stored in one move, so a panic elsewhere cannot leave half of one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why no chunk moves the robot in a state other than active.
const fn reason(state: State) -> &'static str {
    match state {
        State::Unconfigured => "the node is unconfigured; configure and activate it (~/change_state)",
        State::Inactive | State::Deactivating => "the node is inactive; activate it (~/change_state)",
        State::Finalized | State::ShuttingDown => "the node is finalized; start it again",
        _ => "the node is not active",
    }
}

fn state_message(state: State) -> msg::State {
    msg::State { id: state.id(), label: state.label().to_owned() }
}

fn transition_message(transition: &Transition) -> msg::TransitionDescription {
    msg::TransitionDescription {
        transition: msg::Transition { id: transition.id, label: transition.label.to_owned() },
        start_state: state_message(transition.start),
        goal_state: state_message(transition.goal),
    }
}

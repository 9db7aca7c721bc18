//! Parameters served as rclcpp serves them: six services and `/parameter_events`.
//!
//! r2r's own handler takes any name and any type, so it is not used: [`vla_runtime::parameters`] decides, this module converts and publishes.

mod convert;
mod pacer;
mod services;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use r2r::rcl_interfaces::msg::ParameterEvent;
use r2r::{Node, Publisher, QosProfile};

pub(crate) use services::ParameterServices;

use super::clock::RosClock;
use super::convert::time;
use super::error::Error;
use super::latest::Latest;
use super::logging::Logging;
use super::requests::Requests;
use convert::parameter_message;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::{Change, Settings, Store, Value, names};

/// Receivers of a parameter change.
pub(crate) struct Effects {
    /// Settings for the next cycle of the inference thread.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// The instruction, which a topic may replace.
    pub inputs: Arc<Inputs>,
    /// The log level.
    pub logging: Logging,
    /// The inference thread is woken: it may wait for a tick of the old rate.
    pub requests: Arc<Requests>,
}

/// The node's parameters. The lock keeps changes and their events in one order; it is held for microseconds.
pub(crate) struct ParameterServer {
    state: Mutex<State>,
    effects: Effects,
    clock: RosClock,
    node: String,
}

struct State {
    parameters: vla_runtime::parameters::Parameters,
    events: Publisher<ParameterEvent>,
}

impl ParameterServer {
    /// Creates `/parameter_events` and holds `parameters`, whose settings are those in `effects`.
    ///
    /// # Errors
    /// When the middleware refuses the topic.
    pub(crate) fn create(
        node: &mut Node,
        parameters: vla_runtime::parameters::Parameters,
        effects: Effects,
        clock: RosClock,
    ) -> Result<Self, Error> {
        let topic = "/parameter_events";
        let events = node.create_publisher(topic, QosProfile::parameter_events());
        let events = events.map_err(|e| Error::endpoint("topic", topic, e))?;
        let node = node.fully_qualified_name().map_err(|source| Error::Node { name: String::new(), source })?;
        Ok(Self { state: Mutex::new(State { parameters, events }), effects, clock, node })
    }

    /// Announces every parameter as new, once.
    pub(crate) fn announce(&self) {
        let state = self.lock();
        let store = state.parameters.store();
        let message = |name: &str| store.get(name).map(|value| parameter_message(name, value));
        let new_parameters = store.names().filter_map(message).collect();
        state.publish(ParameterEvent { new_parameters, ..self.event() });
    }

    /// Reads the store.
    fn read<T>(&self, read: impl FnOnce(&Store) -> T) -> T {
        read(self.lock().parameters.store())
    }

    /// Makes all of the changes or none; they are in force from the next cycle on.
    fn set(&self, changes: &[(String, Value)]) -> Result<(), String> {
        let mut state = self.lock();
        let made = state.parameters.set_atomically(changes)?;
        let settings = Arc::clone(state.parameters.settings());
        self.apply(&made, &settings);
        let changed_parameters = made.iter().map(|change| parameter_message(&change.name, &change.new)).collect();
        state.publish(ParameterEvent { changed_parameters, ..self.event() });
        drop(state);
        for change in &made {
            tracing::info!("parameter {} is {} (was {})", change.name, change.new, change.old);
            warn_of_tighter_limit(change, &settings);
        }
        Ok(())
    }

    /// Takes a robot description that came on its topic; its limits are in force from the next cycle on.
    pub(crate) fn describe(&self, text: &str) {
        let mut state = self.lock();
        let described = state.parameters.describe(text);
        let settings = Arc::clone(state.parameters.settings());
        self.apply(&[], &settings);
        drop(state);
        match described {
            Ok(()) => tracing::info!("limits of the robot description are in force"),
            Err(error) => {
                tracing::error!("no joint may move: the limits of the robot description cannot be used: {error}")
            }
        }
        for warning in &settings.limit_warnings {
            tracing::warn!("{warning}");
        }
    }

    fn apply(&self, made: &[Change], settings: &Arc<Settings>) {
        let effects = &self.effects;
        for change in made {
            match change.name.as_str() {
                // Also when the value is the same as before: the latest of topic and parameter holds.
                names::INSTRUCTION => effects.inputs.set_instruction(&settings.instruction),
                names::LOG_LEVEL => set_level(&effects.logging, &settings.log_level),
                _ => {}
            }
        }
        effects.settings.set(settings.clone());
        effects.requests.notify();
    }

    fn event(&self) -> ParameterEvent {
        ParameterEvent { stamp: time(self.clock.now()), node: self.node.clone(), ..Default::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A change is made in a copy and moved in, so a panic cannot leave half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn publish(&self, event: ParameterEvent) {
        if let Err(error) = self.events.publish(&event) {
            tracing::warn!("a parameter event was not published: {error}");
        }
    }
}

/// Of two limits the tighter holds; warns when that is not the one that was set.
fn warn_of_tighter_limit(change: &Change, settings: &Settings) {
    let Value::Double(set) = change.new else { return };
    if let Some(tighter) = settings.tighter_limit(&change.name, set) {
        tracing::warn!("{} is {set}, but the robot description's limit of {tighter} is tighter and holds", change.name);
    }
}

/// Sets the level that the parameter names; its declaration allows levels only.
pub(crate) fn set_level(logging: &Logging, word: &str) {
    match word.parse() {
        Ok(level) => logging.set_level(level),
        Err(unknown) => tracing::warn!("{unknown}"),
    }
}

//! States of the routes, what a fault of one does to all of them, and whether every one takes commands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Outputs, Peers, stop_not_published};
use crate::clock::RosClock;
use crate::latest::Latest;
use vla_policy::observation::OnViolation;
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::{OutputSettings, Settings};
use vla_runtime::session::Control;

/// State of one route, for diagnostics.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteState {
    /// `outputs.<name>`.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Topic or action; empty for a column.
    pub target: String,
    /// What it does.
    pub state: &'static str,
    /// The last goal of an action, and what became of it.
    pub last_goal: Option<String>,
    /// The last fault.
    pub last_error: Option<Arc<str>>,
    /// Faults since the start.
    pub errors: u64,
    /// Largest distance of a joint from its set point by the controller's feedback, rad or m.
    pub tracking_error: Option<f64>,
    /// Why it takes no commands.
    pub unready: Option<Arc<str>>,
    /// A stop is under way at the server.
    pub stopping: bool,
}

/// All routes, in the order of the settings.
#[derive(Default)]
pub(super) struct Board(Mutex<Vec<RouteState>>);

/// The state of one route.
#[derive(Clone)]
pub(super) struct RouteHandle {
    board: Arc<Board>,
    index: usize,
}

impl Board {
    /// Adds a route.
    pub(super) fn add(self: &Arc<Self>, output: &OutputSettings) -> RouteHandle {
        let target = output.route.topic().or(output.route.action()).unwrap_or_default().to_owned();
        let (name, kind) = (output.name.clone(), output.route.kind().as_str());
        let mut routes = self.lock();
        routes.push(RouteState { name, kind, target, state: "follows the motion", ..RouteState::default() });
        RouteHandle { board: self.clone(), index: routes.len() - 1 }
    }

    pub(super) fn states(&self) -> Vec<RouteState> {
        self.lock().clone()
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.lock().iter().any(|route| route.stopping)
    }

    /// Tells the motion the reason of the first route that takes no commands. The lock is held meanwhile, so that an older reason
    /// never replaces a newer one.
    pub(super) fn apply_readiness(&self, control: &Control) {
        let routes = self.lock();
        control.set_unready(routes.iter().find_map(|route| route.unready.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RouteState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RouteHandle {
    /// A copy.
    pub(super) fn get(&self) -> RouteState {
        self.board.lock().get(self.index).cloned().unwrap_or_default()
    }

    /// Changes it in place.
    pub(super) fn update(&self, change: impl FnOnce(&mut RouteState)) {
        if let Some(route) = self.board.lock().get_mut(self.index) {
            change(route);
        }
    }
}

/// What a fault of a route does: every route brakes.
#[derive(Clone)]
pub(super) struct Faults {
    control: Arc<Latest<Option<Arc<Control>>>>,
    settings: Arc<Latest<Arc<Settings>>>,
    pub(super) clock: RosClock,
    outputs: Outputs,
}

impl Faults {
    pub(super) fn new(peers: Peers, outputs: Outputs) -> Self {
        let Peers { control, settings, clock } = peers;
        Self { control, settings, clock, outputs }
    }

    /// The motion, once a policy is loaded.
    pub(super) fn control(&self) -> Option<Arc<Control>> {
        self.control.get()
    }

    /// Records a fault of a route, and brakes as `inputs.on_violation` says. With `skip` the motion is held: it cannot go on with a
    /// controller that does not follow it.
    pub(super) fn raise(&self, route: &RouteHandle, reason: &str) {
        let text: Arc<str> = format!("output {}: {reason}", route.get().name).into();
        route.update(|route| {
            route.errors += 1;
            route.last_error = Some(reason.into());
        });
        let Some(control) = self.control.get() else { return };
        let settings = self.settings.get();
        let action = match settings.rules.on_violation {
            OnViolation::Skip => OnViolation::Hold,
            action => action,
        };
        let mut trajectory = TrajectoryBuffer::default();
        let braked = control.brake(self.clock.now(), action, &text, &settings, &mut trajectory);
        if !braked.entered() {
            tracing::error!("{text}");
        }
        if let Err(error) = self.outputs.brake(braked, &trajectory) {
            tracing::error!("{}", stop_not_published(&error));
        }
    }

    /// Sets why a route takes no commands; `None`: it does.
    pub(super) fn set_unready(&self, route: &RouteHandle, reason: Option<&str>) {
        let mut changed = false;
        route.update(|route| {
            let reason = reason.map(|reason| format!("output {}: {reason}", route.name));
            if route.unready.as_deref() != reason.as_deref() {
                route.unready = reason.map(Into::into);
                changed = true;
            }
        });
        if let Some(control) = self.control.get().filter(|_| changed) {
            self.outputs.apply_readiness(&control);
        }
    }
}

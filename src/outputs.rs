//! Routes from the motion to the robot's controllers: topics of trajectories, and actions.
//!
//! Every route sees the same events in the same order: a new plan, a brake with its trajectory, and a rest without one. Inference
//! thread, watchdog, operator and shutdown raise them. Routes of single commands follow the same plans by time ([`super::stream`]).
//! One task per action talks to its server, fed through slots that hold the newest command: a slow server delays no thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use r2r::Node;
use tokio::task::JoinHandle;

use super::clock::RosClock;
use super::error::Error;
use super::latest::Latest;
use super::recording::MotionRecorder;
use vla_messages::JointTrajectoryMessage;
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::{Route, Settings};
use vla_runtime::session::{Braked, Control};

#[cfg(has_control_msgs)]
mod action_client;
#[cfg(has_control_msgs)]
mod follow;
#[cfg(has_control_msgs)]
mod gripper;
#[cfg(has_control_msgs)]
mod presence;
#[cfg_attr(not(has_control_msgs), expect(dead_code, reason = "only the servers of actions have faults"))]
mod state;
mod topic;

pub(crate) use state::RouteState;
use state::{Board, Faults};
use topic::TrajectoryTopic;

/// The topic of the motion where no outputs are given.
pub(crate) const TRAJECTORY: &str = "~/joint_trajectory";
/// The same of single commands.
pub(crate) const COMMAND: &str = "~/joint_command";

/// Message for a stop that could not be published.
pub(crate) fn stop_not_published(error: &r2r::Error) -> String {
    format!(
        "the stop was NOT published: the middleware refused the trajectory ({error}). The trajectory that the robot follows ends at rest by \
         itself within max_blind_s; use the hardware stop if that is too late"
    )
}

/// Topics on which the node commands the robot.
pub(crate) fn command_topics(settings: &Settings) -> Vec<String> {
    if settings.outputs.is_empty() {
        return vec![TRAJECTORY.to_owned(), COMMAND.to_owned()];
    }
    settings.outputs.iter().filter_map(|output| output.route.topic()).map(str::to_owned).collect()
}

/// What happens to the motion, for every route.
#[derive(Clone, Copy)]
enum Event<'a> {
    /// A chunk is in force.
    Plan(&'a JointTrajectoryMessage),
    /// The joints brake.
    Brake(&'a JointTrajectoryMessage),
    /// The motion is held or stopped, and there is no braking trajectory: at rest, or none could be computed.
    Rest,
}

/// A route, as events reach it.
trait Output: Send {
    /// Takes an event; must not wait.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses the message.
    fn on(&mut self, event: Event<'_>) -> Result<(), r2r::Error>;
}

impl Output for TrajectoryTopic {
    fn on(&mut self, event: Event<'_>) -> Result<(), r2r::Error> {
        match event {
            Event::Plan(message) | Event::Brake(message) => self.publish(message),
            // The trajectory that the controller has ends at rest.
            Event::Rest => Ok(()),
        }
    }
}

/// Records the trajectories that are sent to the robot.
impl Output for MotionRecorder {
    fn on(&mut self, event: Event<'_>) -> Result<(), r2r::Error> {
        if let Event::Plan(message) | Event::Brake(message) = event {
            self.trajectory(message);
        }
        Ok(())
    }
}

/// The routes. The lock keeps events in the order of their plans: a controller follows the last one that it receives.
#[derive(Clone)]
pub(crate) struct Outputs {
    routes: Arc<Mutex<Routes>>,
    board: Arc<Board>,
}

struct Routes {
    all: Vec<Box<dyn Output>>,
    /// Of the plan published last.
    last: u64,
}

/// Parts of the node that action routes need.
#[derive(Clone)]
pub(crate) struct Peers {
    /// The motion; `None` before the first policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// Settings in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// ROS time.
    pub clock: RosClock,
}

/// Tasks of the action routes, created but not yet started.
type Work = Vec<futures::future::BoxFuture<'static, ()>>;

/// The tasks of the routes, to be started once the node spins.
pub(crate) struct OutputTasks(Work);

impl OutputTasks {
    /// Starts them.
    pub(crate) fn start(self) -> Vec<JoinHandle<()>> {
        self.0.into_iter().map(tokio::spawn).collect()
    }
}

impl Outputs {
    /// Creates the topics and action clients of the settings; without outputs `~/joint_trajectory`. The recorder gets every trajectory.
    ///
    /// # Errors
    /// When the middleware refuses a name, and for an output whose message package was not there when the node was built.
    pub(crate) fn create(
        node: &mut Node,
        peers: Peers,
        recorder: Option<MotionRecorder>,
    ) -> Result<(Self, OutputTasks), Error> {
        let settings = peers.settings.get();
        let mut all: Vec<Box<dyn Output>> = Vec::new();
        if settings.outputs.is_empty() {
            all.push(Box::new(TrajectoryTopic::create(node, TRAJECTORY, None)?));
        }
        let board = Arc::new(Board::default());
        let routes = Arc::new(Mutex::new(Routes { all: Vec::new(), last: 0 }));
        let outputs = Self { routes, board };
        let faults = Faults::new(peers, outputs.clone());
        let mut work = Work::new();
        for output in &settings.outputs {
            let state = outputs.board.add(output);
            match &output.route {
                Route::JointTrajectory { topic } => {
                    all.push(Box::new(TrajectoryTopic::create(node, topic, Some(output.joints.clone()))?));
                }
                Route::FollowJointTrajectory { action } => {
                    let (route, task) = create_follower(node, action, output.joints.clone(), state, &faults)?;
                    all.push(route);
                    work.push(task);
                }
                Route::GripperCommand(gripper) => {
                    let joint = output.joints.first().cloned().unwrap_or_default();
                    work.push(create_gripper(node, gripper, joint, state, &faults)?);
                }
                Route::JointCommand { .. } | Route::Twist(_) | Route::Pose(_) | Route::Column => {}
            }
        }
        // Last: a route waits for no recorder.
        all.extend(recorder.map(|recorder| Box::new(recorder) as Box<dyn Output>));
        outputs.lock().all = all;
        Ok((outputs, OutputTasks(work)))
    }

    /// Passes the trajectory of a plan ([`MotionPlan::sequence`](vla_motion::MotionPlan::sequence)) to every route, unless that of a
    /// newer one was passed already, such as a stop. Stamps do not order them: in simulation both may be equal.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses a message; the other routes have theirs.
    pub(crate) fn plan(&self, sequence: u64, message: &JointTrajectoryMessage) -> Result<(), r2r::Error> {
        self.lock().pass(Some(sequence), Event::Plan(message))
    }

    /// Passes the result of a request to brake to every route.
    ///
    /// # Errors
    /// As [`Outputs::plan`].
    pub(crate) fn brake(&self, braked: Braked, trajectory: &TrajectoryBuffer) -> Result<(), r2r::Error> {
        let stop = braked.must_publish().then(|| (trajectory.plan_sequence(), trajectory.message()));
        self.brake_with(braked, stop)
    }

    /// As [`Outputs::brake`]; `stop` is the braking trajectory with the number of its plan.
    ///
    /// # Errors
    /// As [`Outputs::plan`].
    pub(crate) fn brake_with(
        &self,
        braked: Braked,
        stop: Option<(u64, &JointTrajectoryMessage)>,
    ) -> Result<(), r2r::Error> {
        match stop {
            Some((sequence, message)) => self.lock().pass(Some(sequence), Event::Brake(message)),
            None if braked.entered() => self.lock().pass(None, Event::Rest),
            None => Ok(()),
        }
    }

    /// Tells every route that nothing moves any more.
    ///
    /// # Errors
    /// As [`Outputs::plan`].
    pub(crate) fn rest(&self) -> Result<(), r2r::Error> {
        self.lock().pass(None, Event::Rest)
    }

    /// Lets chunks move something only while every output takes commands.
    pub(crate) fn apply_readiness(&self, control: &Control) {
        self.board.apply_readiness(control);
    }

    /// The routes for diagnostics.
    pub(crate) fn states(&self) -> Vec<RouteState> {
        self.board.states()
    }

    /// Whether no route has a stop under way at its server.
    pub(crate) fn is_settled(&self) -> bool {
        self.board.is_settled()
    }

    fn lock(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Routes {
    fn pass(&mut self, sequence: Option<u64>, event: Event<'_>) -> Result<(), r2r::Error> {
        if sequence.is_some_and(|sequence| sequence < self.last) {
            return Ok(());
        }
        self.last = sequence.unwrap_or(self.last);
        let mut result = Ok(());
        for route in &mut self.all {
            // One route that fails keeps the event from no other.
            let done = route.on(event);
            result = result.and(done);
        }
        result
    }
}

#[cfg(has_control_msgs)]
fn create_follower(
    node: &mut Node,
    action: &str,
    joints: Vec<String>,
    state: state::RouteHandle,
    faults: &Faults,
) -> Result<(Box<dyn Output>, futures::future::BoxFuture<'static, ()>), Error> {
    let (route, task) = follow::create(node, action, joints, state, faults.clone())?;
    Ok((Box::new(route), Box::pin(task.run())))
}

#[cfg(has_control_msgs)]
fn create_gripper(
    node: &mut Node,
    gripper: &vla_runtime::parameters::GripperRoute,
    joint: String,
    state: state::RouteHandle,
    faults: &Faults,
) -> Result<futures::future::BoxFuture<'static, ()>, Error> {
    gripper::create(node, gripper, joint, state, faults.clone())
}

#[cfg(not(has_control_msgs))]
fn create_follower(
    _: &mut Node,
    _: &str,
    _: Vec<String>,
    state: state::RouteHandle,
    _: &Faults,
) -> Result<(Box<dyn Output>, futures::future::BoxFuture<'static, ()>), Error> {
    Err(without_control_msgs(&state))
}

#[cfg(not(has_control_msgs))]
fn create_gripper(
    _: &mut Node,
    _: &vla_runtime::parameters::GripperRoute,
    _: String,
    state: state::RouteHandle,
    _: &Faults,
) -> Result<futures::future::BoxFuture<'static, ()>, Error> {
    Err(without_control_msgs(&state))
}

#[cfg(not(has_control_msgs))]
fn without_control_msgs(state: &state::RouteHandle) -> Error {
    let state = state.get();
    let distro = std::env::var("ROS_DISTRO").unwrap_or_else(|_| "<distro>".to_owned());
    Error::OutputPackage { output: state.name, kind: state.kind, package: "control_msgs", distro }
}

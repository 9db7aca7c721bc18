//! `gripper_command`: position goals of one joint of the motion.
//!
//! A goal is sent when the plan's position has moved by more than `tolerance` since the last one, at most `max_rate_hz` times a
//! second, until the plan, which may be a stop, is at rest. The last goal stays: a gripper that is cancelled could drop what it holds.

use std::time::Instant;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use r2r::control_msgs::action::{GripperCommand, ParallelGripperCommand};
use r2r::{Node, WrappedActionTypeSupport, WrappedServiceTypeSupport};
use tokio::time::MissedTickBehavior;

use super::action_client::{ANSWER, ActionClient, Answer, End, GoalId, Outcome, PAUSE, TICK};
use super::presence::{Presence, absent};
use super::state::{Faults, RouteHandle};
use crate::error::Error;
use vla_motion::MotionPlan;
use vla_runtime::parameters::GripperRoute;

/// The two actions.
trait GripperAction: WrappedActionTypeSupport + 'static {
    /// A goal for one joint.
    fn goal(joint: &str, position: f64, max_effort: f64) -> Self::Goal;
    /// Whether the fingers met something.
    fn stalled(result: &Self::Result) -> bool;
}

impl GripperAction for GripperCommand::Action {
    fn goal(_: &str, position: f64, max_effort: f64) -> Self::Goal {
        GripperCommand::Goal { command: r2r::control_msgs::msg::GripperCommand { position, max_effort } }
    }

    fn stalled(result: &Self::Result) -> bool {
        result.stalled
    }
}

impl GripperAction for ParallelGripperCommand::Action {
    fn goal(joint: &str, position: f64, max_effort: f64) -> Self::Goal {
        let effort = if max_effort > 0.0 { vec![max_effort] } else { Vec::new() };
        let (name, position) = (vec![joint.to_owned()], vec![position]);
        let command = r2r::sensor_msgs::msg::JointState { name, position, effort, ..Default::default() };
        ParallelGripperCommand::Goal { command }
    }

    fn stalled(result: &Self::Result) -> bool {
        result.stalled
    }
}

/// Creates the client; the task runs once the node spins.
pub(super) fn create(
    node: &mut Node,
    route: &GripperRoute,
    joint: String,
    state: RouteHandle,
    faults: Faults,
) -> Result<BoxFuture<'static, ()>, Error> {
    faults.set_unready(&state, Some(&absent(&route.action)));
    let route = route.clone();
    Ok(if route.parallel {
        let client = ActionClient::<ParallelGripperCommand::Action>::create(node, &route.action)?;
        Box::pin(Gripper::new(client, route, joint, state, faults).run())
    } else {
        let client = ActionClient::<GripperCommand::Action>::create(node, &route.action)?;
        Box::pin(Gripper::new(client, route, joint, state, faults).run())
    })
}

/// The task that talks to the server.
struct Gripper<T: GripperAction> {
    client: ActionClient<T>,
    presence: Presence,
    route: GripperRoute,
    joint: String,
    state: RouteHandle,
    faults: Faults,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    outcomes: FuturesUnordered<BoxFuture<'static, Outcome<T>>>,
    /// The goal sent last: when, and whether it was answered.
    newest: Option<(GoalId, Instant, bool)>,
    /// Position of the goal sent last; `None`: the next is sent whatever it is.
    commanded: Option<f64>,
    pause: Option<Instant>,
}

impl<T> Gripper<T>
where
    T: GripperAction,
    T::Goal: Send,
    T::Result: Send,
    T::Feedback: Send,
    T::FeedbackMessage: Send,
    <T::SendGoal as WrappedServiceTypeSupport>::Request: Send,
    <T::SendGoal as WrappedServiceTypeSupport>::Response: Send,
    <T::GetResult as WrappedServiceTypeSupport>::Response: Send,
{
    fn new(client: ActionClient<T>, route: GripperRoute, joint: String, state: RouteHandle, faults: Faults) -> Self {
        Self {
            presence: Presence::default(),
            client,
            route,
            joint,
            state,
            faults,
            answers: FuturesUnordered::new(),
            outcomes: FuturesUnordered::new(),
            newest: None,
            commanded: None,
            pause: None,
        }
    }

    /// Runs until the node ends.
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.answered(answer),
                Some(outcome) = self.outcomes.next(), if !self.outcomes.is_empty() => self.ended(outcome),
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        let was_present = self.presence.is_present();
        self.client.look(&mut self.presence);
        let is_present = self.presence.is_present();
        if was_present && !is_present {
            self.lost();
        }
        if let Some((_, at, answered)) = &mut self.newest
            && !*answered
            && at.elapsed() >= ANSWER
        {
            *answered = true;
            let reason = format!("{} did not answer a goal within {} ms", self.route.action, ANSWER.as_millis());
            self.fault(&reason);
        }
        self.pause.take_if(|until| Instant::now() >= *until);
        match self.presence.reason_of_absence(&self.route.action) {
            None if self.pause.is_some() => {}
            None => {
                self.faults.set_unready(&self.state, None);
                self.follow();
            }
            reason => self.faults.set_unready(&self.state, reason.as_deref()),
        }
    }

    /// Sends a goal when the plan has moved on.
    fn follow(&mut self) {
        let Some(plan) = self.faults.control().and_then(|control| control.plan()) else { return };
        let now = self.faults.clock.now();
        // At rest: one last sample may have been missed, a robot that stands still gets no goal.
        let at = now.min(plan.end());
        let Some(position) = position(&plan, &self.joint, at) else { return };
        let moved = match self.commanded {
            Some(before) => (position - before).abs() > self.route.tolerance,
            None => now < plan.end(),
        };
        let busy = self
            .newest
            .is_some_and(|(_, at, answered)| !answered || at.elapsed().as_secs_f64() < 1.0 / self.route.max_rate_hz);
        if !moved || busy {
            return;
        }
        match self.client.send(T::goal(&self.joint, position, self.route.max_effort)) {
            Ok((id, answer)) => {
                self.answers.push(answer);
                self.newest = Some((id, Instant::now(), false));
                self.commanded = Some(position);
                self.note(format!("{position:.4} sent"));
            }
            Err(error) => self.fault(&format!("the middleware refused a goal: {error}")),
        }
    }

    fn answered(&mut self, (id, accepted): Answer) {
        let newest = self.newest.as_mut().filter(|(newest, _, answered)| *newest == id && !*answered);
        let Some((_, _, answered)) = newest else { return self.answered_late(id, accepted) };
        *answered = true;
        match accepted {
            Ok(true) => match self.client.result(id) {
                Ok(outcome) => {
                    self.outcomes.push(outcome);
                    self.note("accepted".to_owned());
                }
                Err(error) => self.fault(&format!("the middleware refused to ask for a result: {error}")),
            },
            Ok(false) => self.fault(&format!("{} rejected a goal", self.route.action)),
            Err(error) => self.fault(&format!("{} did not answer a goal: {error}", self.route.action)),
        }
    }

    /// A goal that was given up: the gripper would move long after the robot was stopped.
    fn answered_late(&self, id: GoalId, accepted: Result<bool, r2r::Error>) {
        if !matches!(accepted, Ok(true)) {
            return;
        }
        let (name, action) = (self.state.get().name, &self.route.action);
        tracing::warn!("output {name}: {action} accepted a goal that was given up; it is cancelled");
        if let Err(error) = self.client.cancel(id) {
            tracing::error!("output {name}: a goal could not be cancelled: {error}");
        }
    }

    /// A gripper that met an object stalls, which some controllers report as an abort: shown, and no fault.
    fn ended(&mut self, (id, outcome): Outcome<T>) {
        if self.newest.is_none_or(|newest| newest.0 != id) {
            return;
        }
        match outcome {
            Ok((end, result)) if T::stalled(&result) => self.note(format!("{end}, stalled")),
            Ok((End::Succeeded, _)) => self.note("succeeded".to_owned()),
            Ok((end, _)) => {
                self.note(end.to_string());
                let reason = format!("a goal {end} at {}", self.route.action);
                self.state.update(|state| state.last_error = Some(reason.into()));
            }
            Err(error) => tracing::debug!("the end of a gripper's goal is not known: {error}"),
        }
    }

    fn lost(&mut self) {
        let reason = absent(&self.route.action);
        (self.newest, self.commanded) = (None, None);
        (self.answers, self.outcomes) = (FuturesUnordered::new(), FuturesUnordered::new());
        self.faults.set_unready(&self.state, Some(&reason));
        self.faults.raise(&self.state, &reason);
    }

    fn fault(&mut self, reason: &str) {
        self.commanded = None;
        self.pause = Some(Instant::now() + PAUSE);
        self.note("failed".to_owned());
        self.faults.set_unready(&self.state, Some(reason));
        self.faults.raise(&self.state, reason);
    }

    fn note(&self, goal: String) {
        self.state.update(|state| state.last_goal = Some(goal));
    }
}

/// Position of one joint of a plan.
fn position(plan: &MotionPlan, joint: &str, at: vla_base::time::Stamp) -> Option<f64> {
    let index = plan.names().iter().position(|name| name == joint)?;
    plan.sample_joint(at, index)
}

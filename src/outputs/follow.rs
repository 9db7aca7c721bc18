//! `follow_joint_trajectory`: a goal a plan. A newer goal replaces the older one, as `joint_trajectory_controller` does.
//!
//! A stop is the braking trajectory as a goal. What is still active at its end is cancelled; where there is no braking trajectory, or
//! its goal is rejected, the active goal is cancelled at once. A goal that is rejected, aborted, cancelled by another, or not
//! answered is a fault, as is a server that goes away. A server that answers in several threads may accept a plan after the stop
//! that was sent after it, and follow the plan: it is cancelled.

mod goal;

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use r2r::Node;
use r2r::control_msgs::action::FollowJointTrajectory::{Action, Feedback};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::goal::{end_of, goal, reason};
use super::action_client::{ANSWER, ActionClient, Answer, End, GoalId, Outcome, PAUSE, TICK};
use super::presence::{Presence, absent};
use super::state::{Faults, RouteHandle};
use super::{Event, Output};
use crate::error::Error;
use vla_base::time::{Span, Stamp};
use vla_messages::JointTrajectoryMessage;
use vla_runtime::messages::select_joints;

/// Time that the controller has after the end of a stop to report it.
const SETTLE: Span = Span::from_nanos(100_000_000);

/// The newest command of the motion.
#[derive(Clone, Default)]
enum Command {
    #[default]
    Nothing,
    /// The trajectory of a plan.
    Follow(Arc<JointTrajectoryMessage>),
    /// The trajectory of a stop.
    Brake(Arc<JointTrajectoryMessage>),
    /// A stop without a trajectory.
    Cancel,
}

/// The route as events reach it: it puts the newest into a slot.
pub(super) struct FollowRoute {
    joints: Vec<String>,
    commands: watch::Sender<Command>,
    state: RouteHandle,
}

impl Output for FollowRoute {
    fn on(&mut self, event: Event<'_>) -> Result<(), r2r::Error> {
        let select = |message| {
            let mut selected = JointTrajectoryMessage::default();
            select_joints(message, &self.joints, &mut selected);
            Arc::new(selected)
        };
        let command = match event {
            Event::Plan(message) => Command::Follow(select(message)),
            Event::Brake(message) => Command::Brake(select(message)),
            Event::Rest => Command::Cancel,
        };
        let stops = !matches!(command, Command::Follow(_));
        self.commands.send_replace(command);
        if stops {
            // Until the task has seen it; its next tick corrects it.
            self.state.update(|state| state.stopping = true);
        }
        Ok(())
    }
}

/// A goal that was sent.
#[derive(Clone, Copy)]
struct Sent {
    id: GoalId,
    at: Instant,
    brakes: bool,
    answered: bool,
}

/// The task that talks to the server.
pub(super) struct Follower {
    action: String,
    client: ActionClient<Action>,
    presence: Presence,
    commands: watch::Receiver<Command>,
    state: RouteHandle,
    faults: Faults,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    outcomes: FuturesUnordered<BoxFuture<'static, Outcome<Action>>>,
    /// The goal that was sent last.
    newest: Option<Sent>,
    /// The accepted goal that the controller follows.
    active: Option<Sent>,
    /// A plan that waits for the answer to the goal before.
    waiting: Option<Arc<JointTrajectoryMessage>>,
    /// The motion is braked: what is active at this time is cancelled, or at once without a time.
    stopping: Option<Option<Stamp>>,
    /// No goal before then, after a fault.
    pause: Option<Instant>,
}

/// Creates the client; the task runs once the node spins.
pub(super) fn create(
    node: &mut Node,
    action: &str,
    joints: Vec<String>,
    state: RouteHandle,
    faults: Faults,
) -> Result<(FollowRoute, Follower), Error> {
    let client = ActionClient::create(node, action)?;
    let (commands, receiver) = watch::channel(Command::Nothing);
    faults.set_unready(&state, Some(&absent(action)));
    let route = FollowRoute { joints, commands, state: state.clone() };
    let follower = Follower {
        action: action.to_owned(),
        presence: Presence::default(),
        client,
        commands: receiver,
        state,
        faults,
        answers: FuturesUnordered::new(),
        outcomes: FuturesUnordered::new(),
        newest: None,
        active: None,
        waiting: None,
        stopping: None,
        pause: None,
    };
    Ok((route, follower))
}

impl Follower {
    /// Runs until the route is dropped.
    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.commands.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let command = self.commands.borrow_and_update().clone();
                    self.command(command);
                }
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.answered(answer),
                Some(outcome) = self.outcomes.next(), if !self.outcomes.is_empty() => self.ended(outcome),
                Some((id, feedback)) = self.client.feedback() => self.fed_back(id, &feedback),
                _ = ticks.tick() => self.tick(),
            }
            let stopping = self.stopping.is_some() || self.commands.has_changed().unwrap_or(false);
            self.state.update(|state| state.stopping = stopping);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Nothing => {}
            // The motion was braked for it, or is about to be.
            Command::Follow(_) if !self.takes_goals() => {}
            Command::Follow(trajectory) => {
                self.stopping = None;
                if self.is_unanswered() {
                    self.waiting = Some(trajectory);
                } else {
                    self.send(&trajectory, false);
                }
            }
            Command::Brake(trajectory) => {
                self.waiting = None;
                self.stopping = Some(Some(end_of(&trajectory)));
                // Nothing moves that could brake.
                if self.is_idle() {
                    self.stopping = None;
                } else if self.presence.is_present() {
                    self.send(&trajectory, true);
                }
            }
            Command::Cancel => {
                self.waiting = None;
                self.stopping = (!self.is_idle()).then_some(None);
                self.cancel();
            }
        }
    }

    fn takes_goals(&self) -> bool {
        self.presence.is_present() && self.pause.is_none()
    }

    fn is_unanswered(&self) -> bool {
        self.newest.is_some_and(|newest| !newest.answered)
    }

    /// Whether the controller follows nothing of this node.
    fn is_idle(&self) -> bool {
        self.active.is_none() && !self.is_unanswered()
    }

    fn send(&mut self, trajectory: &JointTrajectoryMessage, brakes: bool) {
        match self.client.send(goal(trajectory)) {
            Ok((id, answer)) => {
                self.answers.push(answer);
                let sent = Sent { id, at: Instant::now(), brakes, answered: false };
                self.newest = Some(sent);
                self.note(if brakes { "a stop was sent" } else { "sent" });
            }
            Err(error) => self.fault(&format!("the middleware refused a goal: {error}")),
        }
    }

    /// The server's answer to a goal.
    fn answered(&mut self, (id, accepted): Answer) {
        // One that is not the newest was replaced, or given up before the newest was sent.
        let in_time = self.is_unanswered();
        let newest = self.newest.as_mut().filter(|newest| newest.id == id);
        let sent = newest.map(|newest| {
            newest.answered = true;
            *newest
        });
        match (accepted, sent) {
            (Ok(true), sent) => self.accepted(id, sent, in_time),
            // A goal that another has replaced meanwhile, or one of a node that ends.
            (_, None) => {}
            (Ok(false), Some(sent)) if sent.brakes => {
                tracing::error!("output {}: the stop was rejected by {}", self.state.get().name, self.action);
                self.note("the stop was rejected");
                self.stopping = Some(None);
                self.cancel();
            }
            (Ok(false), Some(_)) => self.fault(&format!("{} rejected a goal", self.action)),
            (Err(error), Some(_)) => self.fault(&format!("{} did not answer a goal: {error}", self.action)),
        }
        if let Some(trajectory) = self.waiting.take().filter(|_| self.takes_goals()) {
            self.send(&trajectory, false);
        }
    }

    /// The server follows a goal. Where the node has given it up meanwhile, the robot would move on a plan that was braked: it is cancelled.
    fn accepted(&mut self, id: GoalId, sent: Option<Sent>, in_time: bool) {
        match self.client.result(id) {
            Ok(outcome) => self.outcomes.push(outcome),
            Err(error) => self.fault(&format!("the middleware refused to ask for a result: {error}")),
        }
        let follows_newest = self.active.is_some_and(|active| self.newest.is_some_and(|newest| newest.id == active.id));
        let replaced = Sent { id, at: Instant::now(), brakes: false, answered: true };
        match sent {
            None if follows_newest => return self.cancel_overtaken(id),
            sent => self.active = Some(sent.unwrap_or(replaced)),
        }
        self.note("accepted");
        if !in_time {
            tracing::warn!(
                "output {}: {} accepted a goal that was given up; it is cancelled",
                self.state.get().name,
                self.action
            );
            self.stopping = Some(None);
        }
        if self.stopping == Some(None) {
            self.cancel();
        }
    }

    /// The end of a goal.
    fn ended(&mut self, (id, outcome): Outcome<Action>) {
        // Replaced by a newer goal: its end is no news.
        let Some(active) = self.active.filter(|active| active.id == id) else { return };
        self.active = None;
        let replaced = self.newest.is_some_and(|newest| newest.id != id && !newest.answered);
        match outcome {
            Ok((End::Succeeded, _)) => self.note("succeeded"),
            Ok((end, _)) if replaced => tracing::debug!("a goal was replaced and {end}"),
            Ok((End::Canceled, _)) if self.stopping.is_some() => self.note("canceled"),
            Ok((end, result)) if active.brakes => {
                self.note("the stop ended early");
                tracing::error!("output {}: the stop {end}: {}", self.state.get().name, reason(&result));
            }
            Ok((end, result)) => self.fault(&format!("a goal was {end} by {}: {}", self.action, reason(&result))),
            Err(error) => self.fault(&format!("{} did not report the end of a goal: {error}", self.action)),
        }
        if self.is_idle() {
            self.stopping = None;
        }
    }

    fn fed_back(&mut self, id: GoalId, feedback: &Feedback) {
        if self.active.is_some_and(|active| active.id == id) {
            let errors = feedback.error.positions.iter().map(|error| error.abs());
            let largest = errors.filter(|error| error.is_finite()).reduce(f64::max);
            self.state.update(|state| state.tracking_error = largest.or(state.tracking_error));
        }
    }

    fn tick(&mut self) {
        let was_present = self.presence.is_present();
        self.client.look(&mut self.presence);
        let is_present = self.presence.is_present();
        if was_present && !is_present {
            self.lost();
        }
        if let Some(newest) = self.newest.as_mut().filter(|newest| !newest.answered && newest.at.elapsed() >= ANSWER) {
            newest.answered = true;
            self.fault(&format!("{} did not answer a goal within {} ms", self.action, ANSWER.as_millis()));
        }
        if let Some(Some(end)) = self.stopping
            && self.faults.clock.now() > end + SETTLE
        {
            self.stopping = Some(None);
            self.cancel();
        }
        if self.stopping.is_some() && self.is_idle() {
            self.stopping = None;
        }
        self.pause.take_if(|until| Instant::now() >= *until);
        match self.presence.reason_of_absence(&self.action) {
            None if self.pause.is_some() => {}
            reason => self.faults.set_unready(&self.state, reason.as_deref()),
        }
    }

    /// The server went away: nothing of it will be heard any more.
    fn lost(&mut self) {
        let reason = absent(&self.action);
        self.faults.set_unready(&self.state, Some(&reason));
        (self.newest, self.active, self.waiting, self.stopping) = (None, None, None, None);
        (self.answers, self.outcomes) = (FuturesUnordered::new(), FuturesUnordered::new());
        self.faults.raise(&self.state, &reason);
    }

    fn fault(&mut self, reason: &str) {
        self.waiting = None;
        self.pause = Some(Instant::now() + PAUSE);
        self.note("failed");
        self.faults.set_unready(&self.state, Some(reason));
        self.faults.raise(&self.state, reason);
    }

    /// Cancels what the controller follows.
    fn cancel(&mut self) {
        if let Some(active) = self.active {
            self.cancel_goal(active.id);
        }
    }

    /// A goal was accepted after the one that was sent after it: the server may follow it instead.
    fn cancel_overtaken(&mut self, id: GoalId) {
        tracing::warn!(
            "output {}: {} accepted a goal after the one that was sent after it; it is cancelled",
            self.state.get().name,
            self.action
        );
        self.cancel_goal(id);
    }

    fn cancel_goal(&mut self, id: GoalId) {
        if let Err(error) = self.client.cancel(id) {
            tracing::error!("output {}: a goal could not be cancelled: {error}", self.state.get().name);
        }
    }

    fn note(&self, goal: &str) {
        self.state.update(|state| state.last_goal = Some(goal.to_owned()));
    }
}

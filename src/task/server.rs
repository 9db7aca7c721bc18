//! Serves the action: accepts or refuses goals, runs one at a time, answers cancellations and requests for results.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use r2r::action_msgs::msg::{GoalInfo, GoalStatus, GoalStatusArray};
use r2r::action_msgs::srv::CancelGoal;
use r2r::unique_identifier_msgs::msg::UUID;
use r2r::vla_trt::action::Run;
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;

use super::endpoints::{CancelCall, GoalCall, ResultCall};
use super::goals::{Cancelled, GoalId, Goals, Status};
use super::running::{Ending, Reason, RunningTask, View, not_begun};
use super::{CurrentTask, TaskEndpoints, TaskStatus};
use crate::clock::RosClock;
use crate::convert::time;
use crate::latest::Latest;
use crate::lifecycle::{Closer, Lifecycle, MotionGate, State};
use crate::phase::Phase;
use crate::report::Report;
use crate::requests::Requests;
use crate::respond::respond;
use vla_base::time::{Span, Stamp};
use vla_motion::WatchdogState;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::{PolicyShape, SecondGoal, Settings};
use vla_runtime::session::{Control, MotionStatus};

/// The running task is looked at this often.
const PERIOD: Duration = Duration::from_millis(50);
/// Looks from one feedback to the next.
const FEEDBACK: u32 = 4;
/// Goals that may wait for the running one.
const QUEUED: usize = 8;
/// Why the gate of the motion is closed.
const NO_TASK: &str = "no task runs (task.required); send a goal to ~/run";
const TASK_OVER: &str = "the task is over";

/// What the server reads and changes.
pub(crate) struct TaskServer {
    /// The endpoints.
    pub endpoints: TaskEndpoints,
    /// Settings in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// The instruction.
    pub inputs: Arc<Inputs>,
    /// Says whether an instruction fits the policy.
    pub shape: PolicyShape,
    /// State of the life cycle.
    pub lifecycle: Arc<Lifecycle>,
    /// Phase of the node.
    pub phase: Arc<Latest<Phase>>,
    /// Figures of the inference thread.
    pub report: Arc<Latest<Report>>,
    /// The motion, once a policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// Whether chunks may move the robot.
    pub gate: Arc<MotionGate>,
    /// Wakes the inference thread.
    pub requests: Arc<Requests>,
    /// ROS time.
    pub clock: RosClock,
    /// The running task, for diagnostics.
    pub current: CurrentTask,
}

/// A goal that was accepted.
struct Task {
    id: GoalId,
    instruction: Option<Arc<str>>,
    limit: Option<Span>,
}

/// The server at work.
struct Work {
    server: TaskServer,
    goals: Goals<Run::Result, ResultCall>,
    queue: VecDeque<Task>,
    running: Option<RunningTask>,
    /// Start of the steady clock.
    started: Instant,
    looks: u32,
}

impl TaskServer {
    /// Closes the gate of the motion where a task is required. Call it before a policy is loaded.
    pub(crate) fn prepare(&self) {
        if self.settings.get().task.required {
            self.gate.close(Closer::Task, NO_TASK);
        }
    }

    /// Serves until the task is aborted.
    pub(crate) async fn run(self) {
        let (goals, queue) = (Goals::default(), VecDeque::new());
        let mut work = Work { server: self, goals, queue, running: None, started: Instant::now(), looks: 0 };
        let mut timer = tokio::time::interval(PERIOD);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let endpoints = &mut work.server.endpoints;
            tokio::select! {
                Some(call) = endpoints.goals.next() => work.goal(call),
                Some(call) = endpoints.cancels.next() => work.cancel(call),
                Some(call) = endpoints.results.next() => work.result(call),
                _ = timer.tick(), if work.running.is_some() => work.look(),
                else => return,
            }
        }
    }

    /// Time that limits count in: ROS time in simulation, else a clock that cannot be set.
    fn now(&self, started: Instant) -> Stamp {
        if self.clock.simulated() { self.clock.now() } else { Stamp::default() + started.elapsed().into() }
    }

    /// Why no task can begin now.
    fn not_ready(&self) -> Option<String> {
        if self.lifecycle.state() != State::Active {
            let reason = self.gate.reason_of(Closer::Lifecycle);
            return Some(reason.map_or_else(|| "the node is not active".to_owned(), |reason| reason.to_string()));
        }
        let phase = self.phase.get();
        if phase != Phase::Ready {
            return Some(format!("the policy is not ready: {phase}"));
        }
        let stopped = self.control.get().is_some_and(|control| control.state() == WatchdogState::Stopped);
        stopped.then(|| "the motion is stopped; call ~/resume".to_owned())
    }

    /// A goal's instruction and limit.
    fn read(&self, goal: &Run::Goal) -> Result<(Option<Arc<str>>, Option<Span>), String> {
        let limit = goal.time_limit_s;
        if !(limit.is_finite() && limit >= 0.0) {
            return Err(format!("time_limit_s is {limit}, expected a number of seconds, or 0 for no limit"));
        }
        let text = goal.instruction.trim();
        if text.is_empty() && self.inputs.instruction().is_none() {
            return Err("the goal has no instruction, and none is in force".to_owned());
        }
        self.shape.check_instruction(text).map_err(|error| error.to_string())?;
        let limit = (limit > 0.0).then(|| Span::from_seconds(limit));
        Ok(((!text.is_empty()).then(|| text.into()), limit))
    }
}

impl Work {
    /// Calls `work` with the node at this moment.
    fn with_view<T>(&self, work: impl FnOnce(&View<'_>) -> T) -> T {
        let server = &self.server;
        let (report, settings) = (server.report.get(), server.settings.get());
        let motion: Option<MotionStatus> = server.control.get().map(|control| control.status(&settings));
        work(&View {
            now: server.now(self.started),
            inactive: server.gate.reason_of(Closer::Lifecycle),
            report: &report,
            motion: motion.as_ref(),
            clients: server.endpoints.feedback.get_inter_process_subscription_count().ok(),
        })
    }

    fn goal(&mut self, call: GoalCall) {
        let accepted = self.server.clock.now();
        let (id, done) = (identity(&call.message.goal_id), self.admit(&call.message.goal));
        let done = done.and_then(|task| match self.goals.accept(id, accepted) {
            true => Ok(Task { id, ..task }),
            false => Err("a goal of the same identity was accepted before".to_owned()),
        });
        respond(&Handle::current(), call, Run::SendGoal::Response { accepted: done.is_ok(), stamp: time(accepted) });
        match done {
            Ok(task) => {
                self.queue.push_back(task);
                self.next();
            }
            Err(reason) => tracing::warn!("task refused: {reason}"),
        }
    }

    /// A task of this goal, without its identity, or why it is refused.
    fn admit(&self, goal: &Run::Goal) -> Result<Task, String> {
        let (instruction, limit) = self.server.read(goal)?;
        if let Some(reason) = self.server.not_ready() {
            return Err(reason);
        }
        if self.running.is_some() {
            match self.server.settings.get().task.second_goal {
                SecondGoal::Refuse => return Err("another task runs (task.second_goal is refuse)".to_owned()),
                SecondGoal::Queue if self.queue.len() >= QUEUED => return Err(format!("{QUEUED} tasks wait already")),
                SecondGoal::Queue => {}
            }
        }
        Ok(Task { id: GoalId::default(), instruction, limit })
    }

    /// Begins the next task, when none runs, and shows the states of all goals.
    fn next(&mut self) {
        while self.running.is_none()
            && let Some(task) = self.queue.pop_front()
        {
            match self.server.not_ready() {
                Some(reason) => self.fail(&task.id, &reason),
                None => self.begin(task),
            }
        }
        self.show();
    }

    fn begin(&mut self, Task { id, instruction, limit }: Task) {
        let shown = instruction.as_deref().unwrap_or("the instruction in force");
        let until = limit.map_or_else(|| "no time limit".to_owned(), |limit| format!("{} s", limit.seconds()));
        tracing::info!("task begins: {shown} ({until})");
        self.goals.begin(&id);
        self.running = Some(self.with_view(|view| RunningTask::begin(id, instruction.clone(), limit, view)));
        self.looks = 0;
        self.server.inputs.set_task_instruction(instruction);
        self.server.gate.open(Closer::Task);
        self.server.requests.notify();
    }

    /// Ends a task that has not begun.
    fn fail(&mut self, id: &GoalId, reason: &str) {
        tracing::warn!("task not begun: {reason}");
        self.end(id, Reason::Failed, not_begun(Reason::Failed, reason));
    }

    /// Looks after the running task.
    fn look(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        if running.ending.is_none()
            && let Some((reason, message)) = self.with_view(|view| running.over(view, Instant::now()))
        {
            self.brake(&mut running, reason, message);
        }
        let at_rest = self.server.gate.is_at_rest();
        let is_over = |ending: &Ending| at_rest || Instant::now() >= ending.deadline;
        if running.ending.as_ref().is_some_and(is_over) {
            self.finish(running);
            self.next();
            return;
        }
        if self.looks.is_multiple_of(FEEDBACK) {
            self.feed_back(&running);
        }
        self.looks = self.looks.wrapping_add(1);
        self.running = Some(running);
    }

    /// The task is over: the robot comes to rest, which its feedback says at once.
    fn brake(&self, running: &mut RunningTask, reason: Reason, message: String) {
        tracing::info!("task over: {message}");
        self.server.gate.close(Closer::Task, TASK_OVER);
        running.ending = Some(Ending { reason, message, deadline: Instant::now() + self.server.gate.longest_stop() });
        self.feed_back(running);
    }

    /// The robot is at rest after a task: its result.
    fn finish(&mut self, running: RunningTask) {
        let Some(ending) = &running.ending else { return };
        let result = self.with_view(|view| running.result(ending.reason, &ending.message, view));
        self.server.inputs.set_task_instruction(None);
        if self.server.settings.get().task.required {
            self.server.gate.close(Closer::Task, NO_TASK);
        } else {
            self.server.gate.open(Closer::Task);
        }
        self.end(&running.id, ending.reason, result);
        // The client of the next task does not know that the motion was stopped.
        if matches!(ending.reason, Reason::Stopped | Reason::Replaced) {
            let reason = format!("the task before it was stopped: {}", ending.message);
            for task in std::mem::take(&mut self.queue) {
                self.fail(&task.id, &reason);
            }
        }
    }

    /// Ends a goal and answers those who wait for its result.
    fn end(&mut self, id: &GoalId, reason: Reason, result: Run::Result) {
        let Some(ended) = self.goals.end(id, reason.status(), result) else { return };
        for call in ended.waiting {
            let result = ended.result.clone();
            respond(&Handle::current(), call, Run::GetResult::Response { status: ended.status as i8, result });
        }
    }

    fn cancel(&mut self, call: CancelCall) {
        let GoalInfo { goal_id, stamp } = &call.message.goal_info;
        let until = Stamp::from_parts(stamp.sec, stamp.nanosec).unwrap_or_default();
        let (code, ids) = match self.goals.cancel(&identity(goal_id), until) {
            Cancelled::Goals(ids) => (0, ids),
            Cancelled::Unknown => (CANCEL_UNKNOWN, Vec::new()),
            Cancelled::Ended => (CANCEL_ENDED, Vec::new()),
        };
        let stamps = |id: &GoalId| self.goals.all().find(|(other, ..)| other == id).map(|(_, stamp, _)| stamp);
        let goals_canceling = ids.iter().map(|id| goal_info(*id, stamps(id).unwrap_or_default())).collect();
        respond(&Handle::current(), call, CancelGoal::Response { return_code: code, goals_canceling });
        for id in ids {
            const MESSAGE: &str = "the goal was cancelled";
            if let Some(mut running) = self.running.take_if(|running| running.id == id) {
                // One that comes to rest already keeps its reason.
                if running.ending.is_none() {
                    self.brake(&mut running, Reason::Cancelled, MESSAGE.to_owned());
                }
                self.running = Some(running);
            } else {
                self.queue.retain(|task| task.id != id);
                self.end(&id, Reason::Cancelled, not_begun(Reason::Cancelled, MESSAGE));
            }
        }
        self.show();
    }

    fn result(&mut self, call: ResultCall) {
        let id = identity(&call.message.goal_id);
        if let Some((call, result)) = self.goals.ask(&id, call) {
            let (status, result) =
                result.map_or((0, Run::Result::default()), |(status, result)| (status as i8, result));
            respond(&Handle::current(), call, Run::GetResult::Response { status, result });
        }
    }

    fn feed_back(&self, running: &RunningTask) {
        let (feedback, phase) = self.with_view(|view| (running.feedback(view), running.phase(view)));
        self.set_current(running, phase);
        let message = Run::FeedbackMessage { goal_id: uuid(running.id), feedback };
        if let Err(error) = self.server.endpoints.feedback.publish(&message) {
            tracing::debug!(%error, "a task's feedback was not published");
        }
    }

    fn set_current(&self, running: &RunningTask, phase: &'static str) {
        let (instruction, queued) = (running.instruction.clone(), self.queue.len());
        self.server.current.set(Some(TaskStatus { instruction, phase, queued }));
    }

    /// Publishes the states of all goals, and the running one for diagnostics.
    fn show(&self) {
        match &self.running {
            Some(running) => self.set_current(running, self.with_view(|view| running.phase(view))),
            None => self.server.current.set(None),
        }
        let status = |(id, accepted, status): (GoalId, Stamp, Status)| GoalStatus {
            goal_info: goal_info(id, accepted),
            status: status as i8,
        };
        let message = GoalStatusArray { status_list: self.goals.all().map(status).collect() };
        if let Err(error) = self.server.endpoints.status.publish(&message) {
            tracing::debug!(%error, "the states of the goals were not published");
        }
    }
}

/// Answers of `action_msgs/CancelGoal`.
const CANCEL_UNKNOWN: i8 = 2;
const CANCEL_ENDED: i8 = 3;

fn identity(uuid: &UUID) -> GoalId {
    GoalId::try_from(uuid.uuid.as_slice()).unwrap_or_default()
}

fn uuid(id: GoalId) -> UUID {
    UUID { uuid: id.to_vec() }
}

fn goal_info(id: GoalId, stamp: Stamp) -> GoalInfo {
    GoalInfo { goal_id: uuid(id), stamp: time(stamp) }
}

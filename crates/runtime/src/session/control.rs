//! The motion of the robot, shared by the inference thread, the watchdog thread and the command stream.
//!
//! Lock order: `sensor` or `stuck` first, then `state`, then `plan`. No lock is held over an inference, a service call or I/O.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::stuck::StuckJoints;
use crate::messages::TrajectoryBuffer;
use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_motion::{
    CLOCK_TOLERANCE, ColumnMotion, ColumnPlan, Latencies, Measured, Motion, MotionLimits, MotionPlan, NewChunk,
    PublishedRows, TurnJump, Watchdog, WatchdogState,
};

mod brake;
mod outputs;
mod sensing;
mod status;
mod suspend;

pub use brake::{Braked, WatchReport};
use sensing::JointSensor;
pub use status::MotionStatus;
use suspend::Suspension;

/// Why no joint may move before the first settings.
const NO_SETTINGS: &str = "no limits have been set yet";

/// See the module.
#[derive(Debug)]
pub struct Control {
    /// The joints that the policy moves, in the order of its actions. Never changes, so it needs no lock.
    joints: Arc<[String]>,
    /// The newest joint sample and where the joints are in it. Guards the buffer that inference and watchdog thread read the inputs
    /// into. Held while the inputs are copied, and on into `state`, so that samples enter the state in the order of their reading.
    sensor: Mutex<JointSensor>,
    /// Motion, measured positions, watchdog and counters. They change together: a chunk is admitted, planned and entered in one
    /// critical section, so that a stop by watchdog or operator comes before or after it, never in between. Held for the arithmetic
    /// of one plan.
    state: Mutex<State>,
    /// The latest plan, a copy of the one in `state`. The command stream reads it up to a thousand times a second and must not wait
    /// for a plan that is being computed; held for one clone of a pointer. Written while `state` is held.
    plan: Mutex<Option<Arc<MotionPlan>>>,
    /// The same of the columns that outputs take.
    column_plan: Mutex<Option<Arc<ColumnPlan>>>,
    /// Joint states that repeat while the plan moves the joints. Written by the watchdog thread, read by inference and diagnostics.
    /// Never held together with another lock of this struct.
    stuck: Mutex<StuckJoints>,
}

#[derive(Debug)]
struct State {
    /// The plan in force and what the next one starts from.
    motion: Motion,
    /// The plan of the columns that outputs take: velocities and poses.
    columns: ColumnMotion,
    /// A brake has brought the columns to rest on a clock that was set back, before the watchdog thread noticed it.
    columns_set_back: bool,
    /// Newest position of each joint. Written by the thread that reads a joint state first.
    measured: Measured,
    /// A jump of about a turn between two samples. Set when it is measured, taken by the thread that brakes for it.
    jump: Option<TurnJump>,
    /// Whether positions were measured that the watchdog thread has not compared with the plan.
    unchecked: bool,
    /// Rows of the last published chunk, the action prefix of the next. A refused chunk does not change them.
    published: PublishedRows,
    watchdog: Watchdog,
    /// Time from observation to publication of the last chunks; reset when a policy is loaded.
    latencies: Latencies,
    /// Of the last chunk, for diagnostics.
    shape: ChunkShape,
    /// Why the motion is held or stopped; `None` while it runs.
    reason: Option<StopReason>,
    /// Number of holds since the start.
    holds: u64,
    /// Number of stops since the start.
    stops: u64,
    /// Calls of [`Control::stop`]: a resume that began before one must not end it.
    stop_calls: u64,
    /// Late rows of all chunks.
    late_rows: u64,
    /// Limits in force, in the order of the joints; or why they are not known.
    limits: Result<Arc<MotionLimits>, vla_motion::Error>,
    /// Why no joint may move; `None` when all may.
    forbidden: Option<Arc<str>>,
    /// Why an output takes no commands: nothing may move then. `None` when all do.
    unready: Option<Arc<str>>,
    /// The node shuts down: every later chunk is refused.
    ending: bool,
    /// Every chunk is refused until [`Control::release`]; `None` while chunks may move the robot.
    suspended: Option<Suspension>,
}

/// Why the motion is held or stopped.
#[derive(Clone, Debug)]
struct StopReason {
    text: Arc<str>,
    /// It was asked for and is no fault.
    expected: bool,
}

impl StopReason {
    fn fault(text: &dyn std::fmt::Display) -> Self {
        Self { text: text.to_string().into(), expected: false }
    }

    fn expected(text: &dyn std::fmt::Display) -> Self {
        Self { expected: true, ..Self::fault(text) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct ChunkShape {
    rows: usize,
    step: Span,
}

impl Control {
    /// Control of these joints. No chunk has arrived yet.
    pub fn new(joints: Arc<[String]>) -> Self {
        let state = State {
            motion: Motion::new(Arc::clone(&joints)),
            columns: ColumnMotion::default(),
            columns_set_back: false,
            measured: Measured::new(joints.len()),
            jump: None,
            published: PublishedRows::default(),
            watchdog: Watchdog::default(),
            latencies: Latencies::default(),
            shape: ChunkShape::default(),
            reason: None,
            holds: 0,
            stops: 0,
            stop_calls: 0,
            unchecked: false,
            late_rows: 0,
            limits: Ok(Arc::new(MotionLimits::default().select(&joints))),
            forbidden: (!joints.is_empty()).then(|| NO_SETTINGS.into()),
            unready: None,
            ending: false,
            suspended: None,
        };
        Self {
            joints,
            sensor: Mutex::default(),
            stuck: Mutex::default(),
            state: Mutex::new(state),
            plan: Mutex::default(),
            column_plan: Mutex::default(),
        }
    }

    /// The same joints under the same limits, before the first chunk.
    pub fn restarted(&self) -> Self {
        let new = Self::new(self.joints());
        {
            let (state, mut fresh) = (self.lock(), new.lock());
            if let Ok(limits) = &state.limits {
                fresh.motion.set_limits((**limits).clone());
            }
            fresh.columns = ColumnMotion::new(Arc::clone(state.columns.groups()));
            fresh.limits = state.limits.clone();
            fresh.forbidden = state.forbidden.clone();
            fresh.unready = state.unready.clone();
        }
        new
    }

    /// Applies the limits of settings that changed.
    pub fn apply(&self, settings: &Settings) {
        let limits = settings.limits.as_ref().map(|limits| limits.select(&self.joints)).map_err(Clone::clone);
        let forbidden = match &limits {
            Ok(limits) if !settings.allow_unlimited => unlimited(limits),
            Ok(_) => None,
            Err(error) => Some(error.to_string().into()),
        };
        let mut state = self.lock();
        // Outputs are fixed at the start: this is done once.
        let groups = outputs::column_groups(settings);
        if **state.columns.groups() != *groups {
            state.columns = ColumnMotion::new(groups.into());
        }
        if state.forbidden != forbidden {
            match (&forbidden, state.forbidden.as_deref()) {
                // At a start the description may still arrive.
                (Some(reason), Some(NO_SETTINGS)) if matches!(limits, Err(vla_motion::Error::NoDescription { .. })) => {
                    tracing::warn!("no joint may move yet: {reason}");
                }
                (Some(reason), _) => tracing::error!("no joint may move: {reason}"),
                (None, Some(NO_SETTINGS)) => {}
                (None, _) => tracing::info!("the joints may move again: their limits are known"),
            }
            state.forbidden = forbidden;
        }
        if let Ok(limits) = &limits {
            state.motion.set_limits(limits.clone());
        }
        state.limits = limits.map(Arc::new);
    }

    /// Limits of the joints, in their order.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn limits(&self) -> Result<Arc<MotionLimits>, vla_motion::Error> {
        self.lock().limits.clone()
    }

    /// The state of the watchdog as of the last poll.
    pub fn state(&self) -> WatchdogState {
        self.lock().watchdog.state()
    }

    /// The state of the watchdog as of the last poll, and when it was entered.
    pub fn state_since(&self) -> (WatchdogState, Stamp) {
        let state = self.lock();
        (state.watchdog.state(), state.watchdog.since())
    }

    /// Advances the watchdog to `now`; returns its state.
    pub fn poll(&self, now: Stamp, settings: &Settings) -> WatchdogState {
        let mut state = self.lock();
        self.poll_watchdog(&mut state, now, settings);
        state.watchdog.state()
    }

    /// Joints that the policy moves.
    pub fn joints(&self) -> Arc<[String]> {
        Arc::clone(&self.joints)
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<Arc<MotionPlan>> {
        lock(&self.plan).clone()
    }

    /// Time until the plan in force is at rest, of joints and columns; zero at rest.
    pub fn time_to_rest(&self, now: Stamp) -> Span {
        (self.lock().rest(now) - now).max(Span::ZERO)
    }

    /// Puts a chunk in force and writes its trajectory; false when no joint moves: the policy commands none, or none may move
    /// ([`MotionStatus::forbidden`]). `late_rows` of it were late at `new.now`.
    ///
    /// # Errors
    /// Why the chunk is refused; the plan in force stays and ends by itself.
    pub fn accept_chunk(
        &self,
        new: &NewChunk<'_>,
        late_rows: u32,
        settings: &Settings,
        trajectory: &mut TrajectoryBuffer,
    ) -> Result<bool, vla_motion::Error> {
        let mut state = self.lock();
        self.poll_watchdog(&mut state, new.now, settings);
        if let Some(jump) = &state.jump {
            return Err(vla_motion::Error::TurnJump(self.jump_text(jump)));
        }
        let State {
            motion,
            columns,
            watchdog,
            latencies,
            shape,
            limits,
            forbidden,
            unready,
            ending,
            suspended,
            published,
            ..
        } = &mut *state;
        if *ending {
            return Err(vla_motion::Error::Ending);
        }
        if let Some(Suspension { reason, .. }) = suspended {
            return Err(vla_motion::Error::Suspended { reason: Arc::clone(reason) });
        }
        if let Err(error) = limits {
            return Err(error.clone());
        }
        let (observation, tolerance) = (new.chunk.observation_stamp, settings.rules.future_tolerance);
        if observation > new.now + tolerance {
            return Err(vla_motion::Error::FromFuture { observation, now: new.now, tolerance });
        }
        watchdog.admit(observation, new.now)?;
        latencies.push(new.now - observation);
        *shape = ChunkShape { rows: new.chunk.rows, step: new.chunk.step };
        let expected = settings.period().max(latencies.p95().unwrap_or_default());
        let next_due = new.now + expected + Span::from_nanos(expected.nanos() / 4);
        let may_move = forbidden.is_none() && unready.is_none();
        let moves = may_move && !motion.names().is_empty();
        // What may fail of the columns, before the joints follow the chunk.
        columns.read(new.chunk)?;
        let mut runs_out = new.chunk.due(new.chunk.rows.saturating_sub(1));
        let mut over = None;
        if moves {
            let plan = motion.plan_chunk(new, &settings.motion)?;
            (runs_out, over) = (plan.stops_at(), Some(plan.takes_over_at()));
            trajectory.fill(plan, new.now);
            *lock(&self.plan) = Some(Arc::clone(plan));
        }
        if may_move && !columns.groups().is_empty() {
            columns.plan_chunk(new.chunk, new.now, over, &settings.motion);
            let plan = columns.plan();
            runs_out = plan.filter(|_| !moves).map_or(runs_out, |plan| plan.stops_at());
            *lock(&self.column_plan) = plan.cloned();
        }
        watchdog.planned(new.now, next_due, runs_out);
        published.set(new.chunk);
        state.late_rows += u64::from(late_rows);
        state.reason = None;
        Ok(moves)
    }

    /// Numbers of rows of the next chunk that rtc freezes and ramps.
    pub fn frozen(&self, settings: &Settings, step: Span) -> (usize, usize) {
        let late = || self.lock().latencies.late_rows(step) + 1;
        (settings.rtc_frozen.unwrap_or_else(late), settings.rtc_overlap)
    }

    /// Writes the committed rows of a chunk observed at `observed_at` with `step` from row to row into `out`, in the columns of the
    /// chunk before: the planned positions of the joints, and the last published rows of the poses. Returns their number; 0 when no
    /// plan will be followed any more. `positions`: those of the observation, as the driver published them; continuous joints are
    /// written in the same turn.
    pub fn committed_rows(&self, observed_at: Stamp, step: Span, positions: &[f64], out: &mut Vec<f32>) -> usize {
        let state = self.lock();
        let State { motion, measured, published, latencies, .. } = &*state;
        out.clear();
        let over = observed_at + latencies.p95().unwrap_or_default();
        let turns =
            |joint| positions.get(joint).map_or(0.0, |&raw| measured.turns(joint, raw, motion.limits().of(joint).kind));
        for (row, (due, before)) in published.rows_from(observed_at, step).enumerate() {
            let mut joint = 0;
            for (column, value) in before.iter().enumerate() {
                if published.is_pose(column) {
                    out.push(*value);
                    continue;
                }
                let Some(position) = motion.committed(due, joint, over) else {
                    out.truncate(row * before.len());
                    return row;
                };
                out.push((position - turns(joint)) as f32);
                joint += 1;
            }
        }
        out.len().checked_div(published.width()).unwrap_or(0)
    }

    /// Discards latencies and published rows: they are those of the engines before the reload.
    pub fn policy_reloaded(&self) {
        let mut state = self.lock();
        state.latencies = Latencies::default();
        state.published.clear();
    }

    fn poll_watchdog(&self, state: &mut State, now: Stamp, settings: &Settings) {
        // A suspended robot waits for no chunk.
        let stop_after = settings.stop_after_when_running().filter(|_| state.suspended.is_none());
        if let Some(entered) = state.watchdog.poll(now, stop_after) {
            state.entered(entered, settings.on_demand());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// When the plan in force is at rest, of joints and columns; `now` without one.
    fn rest(&self, now: Stamp) -> Stamp {
        // The end of a plan from before the clock was set back is in the future of the new clock.
        let stop = self.motion.plan().filter(|plan| plan.created_at() <= now + CLOCK_TOLERANCE);
        let rest = stop.map_or(now, |plan| plan.end());
        let columns = self.columns.plan().filter(|plan| plan.created_at() <= now + CLOCK_TOLERANCE);
        columns.map_or(rest, |plan| rest.max(plan.end()))
    }

    /// Discards the plan and the published rows.
    fn reset(&mut self) {
        self.motion.reset();
        self.columns.reset();
        self.published.clear();
        self.jump = None;
    }

    /// Counts and explains a state that the watchdog entered because no chunk arrived.
    fn entered(&mut self, state: WatchdogState, on_demand: bool) {
        match state {
            WatchdogState::Holding if on_demand => {
                self.reason = Some(StopReason::expected(&"the motion that was asked for is over"));
            }
            WatchdogState::Holding => {
                self.reason = Some(StopReason::fault(&"no new chunk before the trajectory ended"))
            }
            WatchdogState::Stopped => self.reason = Some(StopReason::fault(&"no chunk for watchdog.stop_after_ms")),
            _ => {}
        }
        self.count();
    }

    fn count(&mut self) {
        match self.watchdog.state() {
            WatchdogState::Holding => self.holds += 1,
            WatchdogState::Stopped => self.stops += 1,
            _ => {}
        }
    }
}

/// Why no joint may move while one has no limit of velocity.
fn unlimited(limits: &MotionLimits) -> Option<Arc<str>> {
    let joints: Vec<String> = limits.without_velocity().map(|joint| format!("`{joint}`")).collect();
    (!joints.is_empty()).then(|| {
        let word = if joints.len() == 1 { "joint" } else { "joints" };
        format!(
            "{word} {} without a limit of velocity; set limits.<joint>.velocity (rad/s or m/s) for each, or limits_from to the robot's \
             description. Chunks are published, but no trajectory (motion.allow_unlimited at the start allows motion)",
            joints.join(", ")
        )
        .into()
    })
}

/// Locks also after a panic of another thread: every change is complete when its lock is released.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

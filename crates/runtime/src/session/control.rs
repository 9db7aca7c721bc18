//! The motion of the robot, shared between who infers, who watches, and who streams commands.
//!
//! One lock keeps motion and watchdog together; it is held for the arithmetic of one plan and never over inference. Who
//! streams reads the latest plan from a slot of its own and waits for none of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::stuck::StuckJoints;
use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_motion as chunk;
use vla_motion::{
    JointBounds, Latencies, LimitCounts, Measured, Motion, NewChunk, Plan, PublishedRows, TrajectoryBuffer, TurnJump,
    Watchdog, WatchdogState,
};

mod brake;
mod sensing;

pub use brake::{Braked, Watched};
use sensing::JointSensor;

/// Why nothing moves at first.
const NO_SETTINGS: &str = "no limits have been set yet";

/// See the module.
#[derive(Debug)]
pub struct Control {
    /// Joints that are moved.
    joints: Arc<[String]>,
    /// Locked before the state where both are.
    sensor: Mutex<JointSensor>,
    state: Mutex<State>,
    /// The latest plan: a slot of its own, locked for one clone of a pointer.
    plan: Mutex<Option<Arc<Plan>>>,
    /// Locked by itself, or under no other lock.
    stuck: Mutex<StuckJoints>,
}

#[derive(Debug)]
struct State {
    motion: Motion,
    measured: Measured,
    /// A jump of a turn between the last samples that nothing has followed yet.
    jump: Option<TurnJump>,
    /// Whether positions were measured that have not been compared with the plan.
    unchecked: bool,
    /// The last chunk in force.
    published: PublishedRows,
    watchdog: Watchdog,
    latencies: Latencies,
    /// Of the last chunk.
    shape: Shape,
    /// Why the motion is held or stopped.
    reason: Option<Reason>,
    holds: u64,
    stops: u64,
    /// Calls of [`Control::stop`].
    stop_calls: u64,
    late_rows: u64,
    /// Limits in force, of the joints in their order; or why they are not known.
    bounds: Result<Arc<JointBounds>, chunk::Error>,
    /// Why no joint may move, although limits are known.
    forbidden: Option<Arc<str>>,
    /// The node ends.
    ending: bool,
}

/// Why the motion is held or stopped.
#[derive(Clone, Debug)]
struct Reason {
    text: Arc<str>,
    /// Nothing is wrong: somebody wanted it so.
    expected: bool,
}

impl Reason {
    fn fault(text: &dyn std::fmt::Display) -> Self {
        Self { text: text.to_string().into(), expected: false }
    }

    fn expected(text: &dyn std::fmt::Display) -> Self {
        Self { expected: true, ..Self::fault(text) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    rows: usize,
    step: Span,
}

/// What the motion is doing, at one moment.
#[derive(Clone, Debug, Default)]
pub struct MotionStatus {
    /// The watchdog's state.
    pub state: WatchdogState,
    /// When it was entered.
    pub since: Stamp,
    /// Why, when it is held or stopped.
    pub reason: Option<Arc<str>>,
    /// Whether that is no fault: the operator called `~/stop`, or the motion that was asked for is over.
    pub expected: bool,
    /// Times that motion was held because a violation asked for it or a plan ran out.
    pub holds: u64,
    /// Times that it was stopped.
    pub stops: u64,
    /// 95th percentile of the time from observation to publication.
    pub latency: Option<Span>,
    /// Rows of the next chunk that will be late, by that.
    pub predicted_late_rows: usize,
    /// Rows that were late, of all chunks.
    pub late_rows: u64,
    /// Joints.
    pub joints: Arc<[String]>,
    /// How often limits were met.
    pub counts: LimitCounts,
    /// When the plan in force ends.
    pub end: Option<Stamp>,
    /// What is wrong with the length of chunks.
    pub too_short: Option<String>,
    /// Why no joint may move, and what to set.
    pub forbidden: Option<Arc<str>>,
}

impl Control {
    /// Control of these joints, which do not move yet.
    pub fn new(joints: Arc<[String]>) -> Self {
        let state = State {
            motion: Motion::new(Arc::clone(&joints)),
            measured: Measured::new(joints.len()),
            jump: None,
            published: PublishedRows::default(),
            watchdog: Watchdog::default(),
            latencies: Latencies::default(),
            shape: Shape::default(),
            reason: None,
            holds: 0,
            stops: 0,
            stop_calls: 0,
            unchecked: false,
            late_rows: 0,
            bounds: Ok(Arc::new(JointBounds::default().select(&joints))),
            forbidden: (!joints.is_empty()).then(|| NO_SETTINGS.into()),
            ending: false,
        };
        Self {
            joints,
            sensor: Mutex::default(),
            stuck: Mutex::default(),
            state: Mutex::new(state),
            plan: Mutex::default(),
        }
    }

    /// Takes over the limits of settings that changed.
    pub fn apply(&self, settings: &Settings) {
        let bounds = settings.limits.as_ref().map(|bounds| bounds.select(&self.joints)).map_err(Clone::clone);
        let forbidden = match &bounds {
            Ok(bounds) if !settings.allow_unlimited => unlimited(bounds),
            Ok(_) => None,
            Err(error) => Some(error.to_string().into()),
        };
        let mut state = self.lock();
        if state.forbidden != forbidden {
            match (&forbidden, state.forbidden.as_deref()) {
                // At a start it is on its way.
                (Some(reason), Some(NO_SETTINGS)) if matches!(bounds, Err(chunk::Error::NoDescription { .. })) => {
                    tracing::warn!("no joint may move yet: {reason}");
                }
                (Some(reason), _) => tracing::error!("no joint may move: {reason}"),
                (None, Some(NO_SETTINGS)) => {}
                (None, _) => tracing::info!("the joints may move again: their limits are known"),
            }
            state.forbidden = forbidden;
        }
        if let Ok(bounds) = &bounds {
            state.motion.set_bounds(bounds.clone());
        }
        state.bounds = bounds.map(Arc::new);
    }

    /// Limits of the joints, in their order.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn bounds(&self) -> Result<Arc<JointBounds>, chunk::Error> {
        self.lock().bounds.clone()
    }

    /// The state of the watchdog as of the last look.
    pub fn state(&self) -> WatchdogState {
        self.lock().watchdog.state()
    }

    /// The state of the watchdog as of the last look, and when it was entered.
    pub fn state_since(&self) -> (WatchdogState, Stamp) {
        let state = self.lock();
        (state.watchdog.state(), state.watchdog.since())
    }

    /// Lets the watchdog look at the time; returns its state.
    pub fn poll(&self, now: Stamp, settings: &Settings) -> WatchdogState {
        let mut state = self.lock();
        self.look(&mut state, now, settings);
        state.watchdog.state()
    }

    /// Joints that it moves.
    pub fn joints(&self) -> Arc<[String]> {
        Arc::clone(&self.joints)
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<Arc<Plan>> {
        lock(&self.plan).clone()
    }

    /// Puts a chunk in force and writes its trajectory; false when no joint moves: the policy commands none, or none may move
    /// ([`MotionStatus::forbidden`]). `late_rows` of it were late at `new.now`.
    ///
    /// # Errors
    /// Why the chunk is refused; the plan in force stays and ends by itself.
    pub fn take(
        &self,
        new: &NewChunk<'_>,
        late_rows: u32,
        settings: &Settings,
        trajectory: &mut TrajectoryBuffer,
    ) -> Result<bool, chunk::Error> {
        let mut state = self.lock();
        self.look(&mut state, new.now, settings);
        if let Some(jump) = &state.jump {
            return Err(chunk::Error::TurnJump(self.describe_jump(jump)));
        }
        let State { motion, watchdog, latencies, shape, bounds, forbidden, ending, published, .. } = &mut *state;
        if *ending {
            return Err(chunk::Error::Ending);
        }
        if let Err(error) = bounds {
            return Err(error.clone());
        }
        let (observation, tolerance) = (new.chunk.observation_stamp, settings.rules.future_tolerance);
        if observation > new.now + tolerance {
            return Err(chunk::Error::FromFuture { observation, now: new.now, tolerance });
        }
        watchdog.admit(observation, new.now)?;
        latencies.push(new.now - observation);
        *shape = Shape { rows: new.chunk.rows, step: new.chunk.step };
        let expected = settings.period().max(latencies.p95().unwrap_or_default());
        let next_due = new.now + expected + Span::from_nanos(expected.nanos() / 4);
        let moves = !motion.names().is_empty() && forbidden.is_none();
        if !moves {
            watchdog.planned(new.now, next_due, new.chunk.due(new.chunk.rows.saturating_sub(1)));
        } else {
            let plan = motion.take(new, &settings.motion)?;
            watchdog.planned(new.now, next_due, plan.cut());
            plan.write(new.now, trajectory);
            *lock(&self.plan) = Some(Arc::clone(plan));
        }
        published.set(new.chunk);
        state.late_rows += u64::from(late_rows);
        state.reason = None;
        Ok(moves)
    }

    /// Everything that diagnostics show.
    pub fn status(&self, settings: &Settings) -> MotionStatus {
        let state = self.lock();
        let shape = state.shape;
        let latency = state.latencies.p95();
        let too_short = latency.filter(|_| state.latencies.is_telling() && !settings.on_demand()).and_then(|latency| {
            chunk::covers(shape.rows, shape.step, latency, settings.period()).err().map(|error| error.to_string())
        });
        MotionStatus {
            state: state.watchdog.state(),
            since: state.watchdog.since(),
            reason: state.reason.as_ref().map(|reason| Arc::clone(&reason.text)),
            expected: state.reason.as_ref().is_some_and(|reason| reason.expected),
            holds: state.holds,
            stops: state.stops,
            latency,
            predicted_late_rows: state.latencies.late_rows(shape.step),
            late_rows: state.late_rows,
            joints: Arc::clone(state.motion.names()),
            counts: state.motion.counts().clone(),
            end: state.motion.plan().map(|plan| plan.end()),
            too_short,
            forbidden: state.forbidden.clone(),
        }
    }

    /// Rows that rtc freezes and ramps of the next chunk.
    pub fn frozen(&self, settings: &Settings, step: Span) -> (usize, usize) {
        let late = || self.lock().latencies.late_rows(step) + 1;
        (settings.rtc_frozen.unwrap_or_else(late), settings.rtc_overlap)
    }

    /// Writes into `out` the rows that are committed to of a chunk observed at `seen` with `step` from row to row, in the columns of the chunk before: the
    /// planned motion of the joints, and the rows of the last published chunk in the columns of poses. Returns their number; 0
    /// when no plan will be followed any more. `positions`: those of the observation, as the driver published them; continuous
    /// joints are written in the same turn.
    pub fn promised(&self, seen: Stamp, step: Span, positions: &[f64], out: &mut Vec<f32>) -> usize {
        let state = self.lock();
        let State { motion, measured, published, latencies, .. } = &*state;
        out.clear();
        let over = seen + latencies.p95().unwrap_or_default();
        let turns =
            |joint| positions.get(joint).map_or(0.0, |&raw| measured.turns(joint, raw, motion.bounds().of(joint).kind));
        for (row, (due, before)) in published.from(seen, step).enumerate() {
            let mut joint = 0;
            for (column, value) in before.iter().enumerate() {
                if published.is_pose(column) {
                    out.push(*value);
                    continue;
                }
                let Some(position) = motion.promised(due, joint, over) else {
                    out.truncate(row * before.len());
                    return row;
                };
                out.push((position - turns(joint)) as f32);
                joint += 1;
            }
        }
        out.len().checked_div(published.width()).unwrap_or(0)
    }

    /// The policy was loaded again: latencies and rows of before are those of other engines.
    pub fn loaded(&self) {
        let mut state = self.lock();
        state.latencies = Latencies::default();
        state.published.clear();
    }

    fn look(&self, state: &mut State, now: Stamp, settings: &Settings) {
        if let Some(entered) = state.watchdog.poll(now, settings.stop_after_when_running()) {
            state.entered(entered, settings.on_demand());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Discards what was planned and promised.
    fn forget(&mut self) {
        self.motion.forget();
        self.published.clear();
        self.jump = None;
    }

    /// The watchdog held or stopped the motion because no chunk came.
    fn entered(&mut self, state: WatchdogState, on_demand: bool) {
        match state {
            WatchdogState::Holding if on_demand => {
                self.reason = Some(Reason::expected(&"the motion that was asked for is over"));
            }
            WatchdogState::Holding => self.reason = Some(Reason::fault(&"no chunk before the motion ran out")),
            WatchdogState::Stopped => self.reason = Some(Reason::fault(&"no chunk for watchdog.stop_after_ms")),
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

/// Why joints without a limit of velocity keep all of them from moving.
fn unlimited(bounds: &JointBounds) -> Option<Arc<str>> {
    let joints: Vec<String> = bounds.without_velocity().map(|joint| format!("`{joint}`")).collect();
    (!joints.is_empty()).then(|| {
        let word = if joints.len() == 1 { "joint" } else { "joints" };
        format!(
            "{word} {} without a limit of velocity; set limits.<joint>.velocity (rad/s or m/s) for each, or limits_from to the robot's \
             description. Chunks are published, motion is not (motion.allow_unlimited at the start allows it)",
            joints.join(", ")
        )
        .into()
    })
}

/// Every change is whole before the lock is let go, and a panic while it is held is a bug that the next plan does not share.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The motion of the robot, shared between who infers, who watches, and who streams commands.
//!
//! One lock keeps motion and watchdog together; it is held for the arithmetic of one plan and never over inference. Who
//! streams reads the latest plan from a slot of its own and waits for none of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::stuck::StuckJoints;
use crate::chunk::{
    self, Bounds, Chunk, JointBounds, Latencies, LimitCounts, Motion, NewChunk, Plan, TrajectoryBuffer, Watchdog,
    WatchdogState,
};
use crate::observation::{InputKind, Inputs, OnViolation, Violation};
use crate::parameters::{LimitsFrom, Settings};
use crate::time::{Span, Stamp};

/// See the module.
#[derive(Debug)]
pub struct Control {
    state: Mutex<State>,
    /// The latest plan: a slot of its own, locked for one clone of a pointer.
    plan: Mutex<Option<Arc<Plan>>>,
    /// Locked by itself, or under no other lock.
    stuck: Mutex<StuckJoints>,
}

#[derive(Debug)]
struct State {
    motion: Motion,
    watchdog: Watchdog,
    latencies: Latencies,
    /// Of the last chunk.
    shape: Shape,
    reason: Option<Arc<str>>,
    holds: u64,
    stops: u64,
    late_rows: u64,
    described: Described,
    /// The node ends.
    ending: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    rows: usize,
    step: Span,
}

/// Limits of a robot description.
#[derive(Debug, Default)]
enum Described {
    #[default]
    NotAsked,
    /// Asked for, and not here yet.
    Awaited,
    Here(Vec<(String, Bounds)>),
}

/// What the motion is doing, at one moment.
#[derive(Clone, Debug, Default)]
pub struct MotionStatus {
    /// The watchdog's state.
    pub state: WatchdogState,
    /// When it was entered.
    pub since: Stamp,
    /// Why, when it holds or stopped for a reason of its own.
    pub reason: Option<Arc<str>>,
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
}

/// What came of a look at the motion.
#[derive(Debug, Default)]
pub struct Watched {
    /// Whether a hold or a stop was entered.
    pub entered: bool,
    /// The violation that asked for it.
    pub violation: Option<Violation>,
    /// A stop was written into the buffer and is to be published.
    pub stop: bool,
}

impl Control {
    /// Control of these joints, which do not move yet.
    pub fn new(joints: Arc<[String]>) -> Self {
        let state = State {
            motion: Motion::new(joints),
            watchdog: Watchdog::default(),
            latencies: Latencies::default(),
            shape: Shape::default(),
            reason: None,
            holds: 0,
            stops: 0,
            late_rows: 0,
            described: Described::default(),
            ending: false,
        };
        Self { state: Mutex::new(state), plan: Mutex::default(), stuck: Mutex::default() }
    }

    /// Takes over settings that changed.
    ///
    /// # Errors
    /// [`chunk::Error::Limits`] for limits that cannot be kept, also together with those of the robot's description;
    /// [`chunk::Error::Urdf`] for a file of `limits_file` that cannot be read. Nothing has changed then.
    pub fn apply(&self, settings: &Settings) -> Result<(), chunk::Error> {
        let mut state = self.lock();
        if let (LimitsFrom::File(path), Described::NotAsked) = (&settings.limits_from, &state.described) {
            let reason = |reason: String| chunk::Error::Urdf { reason: format!("{}: {reason}", path.display()) };
            let text = std::fs::read_to_string(path).map_err(|error| reason(error.to_string()))?;
            let limits = chunk::urdf::limits(&text).map_err(|error| reason(error.to_string()))?;
            state.described = Described::Here(limits);
        }
        state.bound(settings)
    }

    /// Lets nothing move until [`Control::describe`] was given a description. A replay, which has no such topic, does not ask for it.
    pub fn await_description(&self) {
        let mut state = self.lock();
        if matches!(state.described, Described::NotAsked) {
            state.described = Described::Awaited;
        }
    }

    /// Takes up a robot description that came on its topic.
    ///
    /// # Errors
    /// [`chunk::Error::Urdf`] and [`chunk::Error::Limits`]; what was there before holds on then.
    pub fn describe(&self, text: &str, settings: &Settings) -> Result<(), chunk::Error> {
        let limits = chunk::urdf::limits(text)?;
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.described, Described::Here(limits));
        state.bound(settings).inspect_err(|_| state.described = before)
    }

    /// The state of the watchdog as of the last look.
    pub fn state(&self) -> WatchdogState {
        self.lock().watchdog.state()
    }

    /// Lets the watchdog look at the time; returns its state.
    pub fn poll(&self, now: Stamp, settings: &Settings) -> WatchdogState {
        let mut state = self.lock();
        self.look(&mut state, now, settings);
        state.watchdog.state()
    }

    /// Joints that it moves.
    pub fn joints(&self) -> Arc<[String]> {
        Arc::clone(self.lock().motion.names())
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<Arc<Plan>> {
        lock(&self.plan).clone()
    }

    /// Puts a chunk in force and writes its trajectory. `late_rows` of it were late at `new.now`.
    ///
    /// # Errors
    /// Why it may not move the robot; the plan in force stays and ends by itself.
    pub fn take(
        &self,
        new: &NewChunk<'_>,
        late_rows: u32,
        settings: &Settings,
        trajectory: &mut TrajectoryBuffer,
    ) -> Result<(), chunk::Error> {
        let mut state = self.lock();
        self.look(&mut state, new.now, settings);
        let State { motion, watchdog, latencies, shape, described, ending, .. } = &mut *state;
        if *ending {
            return Err(chunk::Error::Ending);
        }
        if matches!(described, Described::Awaited) {
            let reason = "none has come on limits_topic yet, and nothing moves without its limits".to_owned();
            return Err(chunk::Error::Urdf { reason });
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
        if motion.names().is_empty() {
            watchdog.planned(new.now, next_due, new.chunk.due(new.chunk.rows.saturating_sub(1)));
        } else {
            let plan = motion.take(new, &settings.motion)?;
            watchdog.planned(new.now, next_due, plan.cut());
            plan.write(new.now, trajectory);
            *lock(&self.plan) = Some(Arc::clone(plan));
        }
        state.late_rows += u64::from(late_rows);
        state.reason = None;
        Ok(())
    }

    /// Follows a violation of the inputs: holds or stops when that is asked for. Writes the stop when there is motion.
    pub fn violated(
        &self,
        now: Stamp,
        action: OnViolation,
        reason: &dyn std::fmt::Display,
        settings: &Settings,
        stop: &mut TrajectoryBuffer,
    ) -> Watched {
        let mut state = self.lock();
        let moves = state.watchdog.state().is_moving();
        let entered = match action {
            OnViolation::Skip => false,
            OnViolation::Hold => state.watchdog.hold(now),
            OnViolation::Stop => state.watchdog.stop(now),
        };
        if !entered {
            return Watched::default();
        }
        state.reason = Some(reason.to_string().into());
        state.count();
        let stop = (moves || action == OnViolation::Stop) && self.brake(&mut state, now, settings, stop);
        Watched { entered, violation: None, stop }
    }

    /// The watchdog's look at the time and, while there is motion, at the inputs. Needs no inference. Call it from one thread.
    pub fn watch(&self, now: Stamp, inputs: &Inputs, settings: &Settings, stop: &mut TrajectoryBuffer) -> Watched {
        if let Some(watched) = self.look_back(now, settings) {
            return watched;
        }
        let moves = self.poll(now, settings).is_moving();
        self.watch_stuck_joints(now, inputs, settings);
        if !moves || settings.rules.on_violation == OnViolation::Skip {
            return Watched::default();
        }
        match inputs.check(now, &settings.rules).and_then(|()| self.check_joints(now)) {
            Ok(()) => Watched::default(),
            Err(violation) => {
                let watched = self.violated(now, settings.rules.on_violation, &violation, settings, stop);
                Watched { violation: Some(violation), ..watched }
            }
        }
    }

    /// Whether the joint states went with the plan at the last call of [`Control::watch`]: those of a driver that is stuck repeat bit by
    /// bit while the plan moves the joints. In a replay, where nothing follows the plan, nobody watches.
    ///
    /// # Errors
    /// The violation, when `inputs.joints.stuck_after_ms` has passed.
    pub fn check_joints(&self, now: Stamp) -> Result<(), Violation> {
        match lock(&self.stuck).found() {
            None => Ok(()),
            Some(breach) => Err(Violation { at: now, breaches: vec![breach] }),
        }
    }

    fn watch_stuck_joints(&self, now: Stamp, inputs: &Inputs, settings: &Settings) {
        let plan = self.plan().filter(|_| self.state().is_moving());
        let input = settings.inputs.iter().position(|input| input.kind == InputKind::Joints);
        let after = input.map_or(Span::ZERO, |input| settings.rules.of(input).stuck_after);
        let joints = self.joints();
        let mut stuck = lock(&self.stuck);
        match plan.filter(|_| after > Span::ZERO) {
            Some(plan) => stuck.look(now, inputs, &joints, &plan, after),
            None => stuck.reset(),
        }
    }

    /// Brings what moves to rest, and lets nothing move after: the node ends. True when a stop was written and is to be published.
    pub fn end(&self, now: Stamp, settings: &Settings, stop: &mut TrajectoryBuffer) -> bool {
        self.lock().ending = true;
        self.violated(now, OnViolation::Hold, &"the node ends", settings, stop).stop
    }

    /// Ends a stop; true when there was one. Motion then starts from where the joints are, on inputs from after the rest: a robot
    /// that still brakes comes to rest first, and who streams commands takes it there.
    pub fn resume(&self, now: Stamp) -> bool {
        let mut state = self.lock();
        // The end of a plan from before the clock was set back is no time to wait for.
        let stop = state.motion.plan().filter(|plan| plan.made() <= now + chunk::SET_BACK);
        let rest = stop.map_or(now, |plan| plan.end());
        let resumed = state.watchdog.resume(now, rest);
        if resumed {
            state.motion.forget();
            state.reason = None;
            lock(&self.plan).take_if(|_| rest <= now);
        }
        resumed
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
            reason: state.reason.clone(),
            holds: state.holds,
            stops: state.stops,
            latency,
            predicted_late_rows: state.latencies.late_rows(shape.step),
            late_rows: state.late_rows,
            joints: Arc::clone(state.motion.names()),
            counts: state.motion.counts().clone(),
            end: state.motion.plan().map(|plan| plan.end()),
            too_short,
        }
    }

    /// Rows that rtc freezes and ramps of the next chunk.
    pub fn frozen(&self, settings: &Settings, step: Span) -> (usize, usize) {
        let late = || self.lock().latencies.late_rows(step) + 1;
        (settings.rtc_frozen.unwrap_or_else(late), settings.rtc_overlap)
    }

    /// Writes into `out` (`[rows, names]` as in `chunk`) what was promised for the rows of a chunk observed at `seen`: the motion
    /// of its joints, and of other columns the rows of `chunk`, the last one inferred. Returns the rows that are covered.
    pub fn promised(&self, seen: Stamp, chunk: &Chunk, out: &mut Vec<f32>) -> usize {
        let state = self.lock();
        out.clear();
        if state.motion.plan().is_none() || chunk.step <= Span::ZERO {
            return 0;
        }
        let over = seen + state.latencies.p95().unwrap_or_default();
        let shift = (seen - chunk.observation_stamp).nanos() + chunk.step.nanos() / 2;
        let shift = usize::try_from(shift / chunk.step.nanos()).unwrap_or(0);
        for row in 0..chunk.rows {
            let due = seen + chunk.step.times(row as i64 + 1);
            let Some(before) = chunk.row(row + shift) else { return row };
            let mut joint = 0;
            for (column, value) in before.iter().enumerate() {
                if chunk.poses.iter().any(|range| range.contains(&column)) {
                    out.push(*value);
                    continue;
                }
                let Some(position) = state.motion.promised(due, joint, over) else {
                    out.truncate(row * chunk.width());
                    return row;
                };
                out.push(position as f32);
                joint += 1;
            }
        }
        chunk.rows
    }

    fn look(&self, state: &mut State, now: Stamp, settings: &Settings) {
        if let Some(entered) = state.watchdog.poll(now, settings.stop_after_when_running()) {
            state.entered(entered);
        }
    }

    /// What follows when the clock was set back: nothing of before it holds, but the robot runs its plan out.
    fn look_back(&self, now: Stamp, settings: &Settings) -> Option<Watched> {
        let mut state = self.lock();
        let before = state.watchdog.set_back(now)?;
        let left = lock(&self.plan).take().map_or(Span::ZERO, |plan| plan.end() - before).max(Span::ZERO);
        state.motion.forget();
        let stop = settings.rules.on_violation == OnViolation::Stop;
        let entered = state.watchdog.start_over(now, now + left, stop).is_some();
        if entered {
            state.reason = Some(format!("the clock was set back by {:.0} ms", (before - now).millis()).into());
            state.count();
        }
        Some(Watched { entered, ..Watched::default() })
    }

    fn brake(&self, state: &mut State, now: Stamp, settings: &Settings, out: &mut TrajectoryBuffer) -> bool {
        let Some(plan) = state.motion.hold(now, &settings.motion) else { return false };
        plan.write(now, out);
        *lock(&self.plan) = Some(Arc::clone(plan));
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn bound(&mut self, settings: &Settings) -> Result<(), chunk::Error> {
        let names = Arc::clone(self.motion.names());
        let given = settings.limits.iter().map(|limit| (limit.joint.as_str(), limit.bounds()));
        let described = match &self.described {
            Described::Here(limits) => limits.as_slice(),
            _ => &[],
        };
        // A description has joints that the policy does not move.
        let described = described.iter().filter(|(joint, _)| names.contains(joint));
        let all = given.chain(described.map(|(joint, bounds)| (joint.as_str(), *bounds)));
        let bounds = JointBounds::new(&names, all)?;
        if matches!(self.described, Described::Here(_)) {
            // Another robot's description, or other names in it: its limits were asked for, and none came.
            let without = names.iter().zip(bounds.per_joint()).filter(|(_, bounds)| bounds.is_unlimited());
            let problem = |name: &String| {
                format!(
                    "joint `{name}`: no limit of position or velocity in the robot description and none in limits.{name}"
                )
            };
            let problems: Vec<String> = without.map(|(name, _)| problem(name)).collect();
            if !problems.is_empty() {
                return Err(chunk::Error::Limits { problems });
            }
        }
        self.motion.set_bounds(bounds);
        Ok(())
    }

    fn entered(&mut self, state: WatchdogState) {
        if matches!(state, WatchdogState::Holding | WatchdogState::Stopped) {
            self.reason = Some(match state {
                WatchdogState::Stopped => "no chunk for watchdog.stop_after_ms".into(),
                _ => "no chunk before the motion ran out".into(),
            });
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

/// Every change is whole before the lock is let go, and a panic while it is held is a bug that the next plan does not share.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

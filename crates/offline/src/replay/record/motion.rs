//! The motion of the joints that a controller would have been commanded: the plans of the session, joined as they took over from each
//! other.
//!
//! A plan is in force from its making until the next one is made; where that one takes over, both are the same. So the samples of each
//! plan up to the making of the next are the trajectory as a whole.

use std::fmt;
use std::sync::Arc;

use crate::page::Trace;
use vla_base::time::Stamp;
use vla_messages::ActionChunkMessage;
use vla_motion::{JointLimits, LimitCounts, LimitKind, MotionLimits, MotionPlan, PlanPoint};

/// Stretches of a curve that is kept ([`Trace`]).
pub(super) const STRETCHES: usize = 600;

/// The joined trajectory, its speed and acceleration, and how near they come to the limits.
#[derive(Debug, Default)]
pub struct MotionRecord {
    /// One a joint, in the order of the plans.
    pub joints: Vec<JointRecord>,
    /// When each chunk took over, in s of the record.
    pub hand_overs: Vec<f64>,
    /// When the robot was brought to rest.
    pub stops: Vec<Stop>,
    plan: Option<Arc<MotionPlan>>,
    /// Whether the plan in force is a stop.
    stopping: bool,
    /// Samples up to here are in the record.
    done: Option<Stamp>,
    /// The sample before the next.
    before: Option<Sample>,
    counts: LimitCounts,
}

/// The motion of one joint.
#[derive(Debug)]
pub struct JointRecord {
    /// Its name.
    pub name: String,
    /// Its limits.
    pub limits: JointLimits,
    /// Positions, rad or m, over s of the record.
    pub position: Trace,
    /// Velocities, rad/s or m/s.
    pub velocity: Trace,
    /// Accelerations of the cubic between two samples, at both of its ends: where they are extreme. rad/s² or m/s².
    pub acceleration: Trace,
    /// When a chunk met a limit of the joint, in s of the record.
    pub met: Vec<f64>,
    /// Samples that each limit held back: position, velocity, acceleration, jerk.
    pub held_back: [u64; 4],
}

impl JointRecord {
    fn new(name: &str, limits: JointLimits) -> Self {
        let trace = || Trace::new(STRETCHES);
        let (position, velocity, acceleration) = (trace(), trace(), trace());
        Self { name: name.to_owned(), limits, position, velocity, acceleration, met: Vec::new(), held_back: [0; 4] }
    }

    fn interrupt(&mut self, at: f64) {
        for trace in [&mut self.position, &mut self.velocity, &mut self.acceleration] {
            trace.push(at, f64::NAN);
        }
    }
}

/// Bringing the robot to rest.
#[derive(Clone, PartialEq, Debug)]
pub struct Stop {
    /// When it begins, in s of the record.
    pub at: f64,
    /// When the joints are at rest.
    pub rest: f64,
    /// Why.
    pub reason: String,
}

/// How far the rows of a new chunk are from the motion that it takes over.
#[derive(Clone, PartialEq, Debug)]
pub struct Jump {
    /// The joint with the largest.
    pub joint: String,
    /// Rows minus motion, rad or m.
    pub distance: f64,
    /// Time that the joint needs for it at its greatest speed, in s; without a limit of velocity: at 1 rad/s or 1 m/s.
    pub seconds: f64,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { joint, distance, seconds } = self;
        write!(
            f,
            "{joint}: the new chunk's row is {distance:+.3} rad or m from the motion, {:.0} ms at full speed",
            seconds * 1e3
        )
    }
}

#[derive(Clone, Debug)]
struct Sample {
    at: Stamp,
    positions: Vec<f64>,
    velocities: Vec<f64>,
}

impl MotionRecord {
    /// An empty record of these joints.
    pub(super) fn new(names: &[String], limits: &MotionLimits) -> Self {
        let joint = |name: &String| JointRecord::new(name, limits.get(name).unwrap_or_default());
        Self { joints: names.iter().map(joint).collect(), ..Self::default() }
    }

    /// Whether there was any motion.
    pub fn is_empty(&self) -> bool {
        self.hand_overs.is_empty()
    }

    /// Ends the motion: the session starts again, on another recording. `last`: the last cycle.
    pub(super) fn restart(&mut self, last: Option<Stamp>, seconds: &dyn Fn(Stamp) -> f64) {
        self.finish(last, seconds);
        if let Some(plan) = self.plan.take() {
            self.joints.iter_mut().for_each(|joint| joint.interrupt(seconds(plan.end())));
        }
        (self.before, self.done, self.stopping) = (None, None, false);
        self.counts = LimitCounts::default();
    }

    /// Takes down that a chunk's plan took over; returns how far the chunk's rows were from the motion before. `counts`: how often
    /// limits were met since the session's start. `seconds` makes times of the record of stamps.
    pub(super) fn hand_over(
        &mut self,
        plan: &Arc<MotionPlan>,
        chunk: &ActionChunkMessage,
        counts: &LimitCounts,
        seconds: &dyn Fn(Stamp) -> f64,
    ) -> (Option<Jump>, HeldBack) {
        let at = plan.takes_over_at();
        let jump =
            self.plan.as_ref().filter(|before| at < before.end()).and_then(|before| jump(before, chunk, at, self));
        self.replace(plan, seconds);
        self.stopping = false;
        self.hand_overs.push(seconds(at));
        let held = self.count(counts, seconds(at));
        (jump, held)
    }

    /// Takes down that the robot was brought to rest.
    pub(super) fn stop(&mut self, plan: &Arc<MotionPlan>, now: Stamp, reason: &str, seconds: &dyn Fn(Stamp) -> f64) {
        self.replace(plan, seconds);
        self.stopping = true;
        let at = seconds(plan.takes_over_at().min(now.max(plan.created_at())));
        self.stops.push(Stop { at, rest: seconds(plan.end()), reason: reason.to_owned() });
    }

    /// Takes down the rest of the last plan. `last`: the last cycle; a plan that stopped by itself before it ran out of rows.
    pub(super) fn finish(&mut self, last: Option<Stamp>, seconds: &dyn Fn(Stamp) -> f64) {
        let Some(plan) = self.plan.clone() else { return };
        if let Some(last) = last {
            self.ran_out(&plan, last, seconds);
        }
        self.advance(plan.end(), seconds);
    }

    fn replace(&mut self, plan: &Arc<MotionPlan>, seconds: &dyn Fn(Stamp) -> f64) {
        let made = plan.created_at();
        if let Some(before) = self.plan.clone() {
            self.ran_out(&before, made, seconds);
            self.advance(made, seconds);
            let over = before.end() <= made || made < before.created_at();
            if over {
                self.joints.iter_mut().for_each(|joint| joint.interrupt(seconds(made)));
                self.before = None;
            }
        }
        self.done = Some(made);
        self.plan = Some(Arc::clone(plan));
    }

    /// Takes down that `plan` came to its own stop before `now`.
    fn ran_out(&mut self, plan: &MotionPlan, now: Stamp, seconds: &dyn Fn(Stamp) -> f64) {
        if !self.stopping && plan.stops_at() < now {
            let reason = "no new chunk came before the rows of the last one ended".to_owned();
            self.stops.push(Stop { at: seconds(plan.stops_at()), rest: seconds(plan.end().min(now)), reason });
            self.stopping = true;
        }
    }

    /// Takes down the samples of the plan in force up to `to`.
    fn advance(&mut self, to: Stamp, seconds: &dyn Fn(Stamp) -> f64) {
        let (Some(plan), Some(done)) = (self.plan.clone(), self.done) else { return };
        for point in plan.points_after(done).filter(|point| point.at > done).take_while(|point| point.at <= to) {
            self.sample(&point, seconds);
        }
        self.done = Some(done.max(to));
    }

    fn sample(&mut self, point: &PlanPoint<'_>, seconds: &dyn Fn(Stamp) -> f64) {
        let at = seconds(point.at);
        let before = self.before.take();
        for (index, joint) in self.joints.iter_mut().enumerate() {
            let value = |of: &[f64]| of.get(index).copied().unwrap_or(f64::NAN);
            let (position, velocity) = (value(point.positions), value(point.velocities));
            joint.position.push(at, position);
            joint.velocity.push(at, velocity);
            if let Some(before) = &before {
                let from = (value(&before.positions), value(&before.velocities));
                let [first, last] = accelerations(from, (position, velocity), (point.at - before.at).seconds());
                joint.acceleration.push(seconds(before.at), first);
                joint.acceleration.push(at, last);
            }
        }
        let mut sample =
            before.unwrap_or_else(|| Sample { at: point.at, positions: Vec::new(), velocities: Vec::new() });
        sample.at = point.at;
        sample.positions.clear();
        sample.positions.extend_from_slice(point.positions);
        sample.velocities.clear();
        sample.velocities.extend_from_slice(point.velocities);
        self.before = Some(sample);
    }

    /// Takes down which limits were met since the last call, and returns them.
    fn count(&mut self, counts: &LimitCounts, at: f64) -> HeldBack {
        let mut held = HeldBack::default();
        for (index, joint) in self.joints.iter_mut().enumerate() {
            let (before, now) = (self.counts.of(index), counts.of(index));
            let new: Vec<u64> = now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
            let all: u64 = new.iter().sum();
            if all > 0 {
                joint.met.push(at);
            }
            joint.held_back.iter_mut().zip(&new).for_each(|(sum, new)| *sum += new);
            held.total += all;
            for (kind, count) in LIMIT_KINDS.into_iter().zip(new) {
                if count > held.most.as_ref().map_or(0, |(_, _, most)| *most) {
                    held.most = Some((joint.name.clone(), kind, count));
                }
            }
        }
        self.counts.clone_from(counts);
        held
    }
}

/// What limits did to one chunk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HeldBack {
    /// Samples of the motion, of all joints, that a limit held back.
    pub total: u64,
    /// Joint and limit with the most of them.
    pub most: Option<(String, LimitKind, u64)>,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limits held back {} samples of the motion", self.total)?;
        if let Some((joint, kind, count)) = &self.most {
            write!(f, ", most of them {joint} by its {} limit ({count})", limit_word(*kind))?;
        }
        Ok(())
    }
}

/// The word for a limit.
pub fn limit_word(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Position => "position",
        LimitKind::Velocity => "velocity",
        LimitKind::Acceleration => "acceleration",
        LimitKind::Jerk => "jerk",
    }
}

/// The kinds of [`JointRecord::held_back`], in its order.
pub const LIMIT_KINDS: [LimitKind; 4] =
    [LimitKind::Position, LimitKind::Velocity, LimitKind::Acceleration, LimitKind::Jerk];

/// Accelerations at both ends of the cubic between two samples (position, velocity) that are `duration` s apart.
fn accelerations(from: (f64, f64), to: (f64, f64), duration: f64) -> [f64; 2] {
    let rise = 6.0 * (to.0 - from.0) / duration;
    [(rise - 4.0 * from.1 - 2.0 * to.1) / duration, (2.0 * from.1 + 4.0 * to.1 - rise) / duration]
}

/// The largest distance of the chunk's rows from the motion `before` at `at`.
fn jump(before: &MotionPlan, chunk: &ActionChunkMessage, at: Stamp, record: &MotionRecord) -> Option<Jump> {
    let jumps = record.joints.iter().enumerate().filter_map(|(index, joint)| {
        let column = chunk.names.iter().position(|name| *name == joint.name)?;
        let distance = value_at(chunk, column, at)? - before.sample_joint(at, index)?;
        let speed = if joint.limits.velocity.is_finite() { joint.limits.velocity } else { 1.0 };
        Some(Jump { joint: joint.name.clone(), distance, seconds: distance.abs() / speed })
    });
    jumps.max_by(|one, other| one.seconds.total_cmp(&other.seconds))
}

/// The value of a chunk's column at `at`, between its rows; that of the first or last row outside.
fn value_at(chunk: &ActionChunkMessage, column: usize, at: Stamp) -> Option<f64> {
    let rows = chunk.horizon as usize;
    let row = |row: usize| chunk.values.get(row * chunk.names.len() + column).map(|value| f64::from(*value));
    let share = ((at - chunk.start).seconds() / chunk.step.seconds()).clamp(0.0, rows.checked_sub(1)? as f64);
    let (from, to) = (row(share.floor() as usize)?, row(share.ceil() as usize)?);
    Some(from + (to - from) * share.fract())
}

#[cfg(test)]
mod tests;

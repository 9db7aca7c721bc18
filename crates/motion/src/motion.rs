//! From chunks to one motion: each new chunk joins the plan in force within the joints' limits, and every plan ends at rest.

use std::sync::Arc;

use super::Chunk;
use super::error::Error;
use super::grid::{CLOCK_TOLERANCE, DT, SAMPLE_PERIOD, stamp_of, tick_at, transition_tick};
use super::limiter::{JointLimiter, Kinematics};
use super::limits::{LimitCounts, LimitKind, MotionLimits};
use super::reference;
use super::trajectory::{MotionPlan, SampledTrajectory, hermite};
use super::transition::{EnsembleWindow, TransitionMode};
use super::turns::unwrap_rows;
use vla_base::time::{Span, Stamp};

mod planning;

/// How chunks become motion. May change from chunk to chunk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MotionSettings {
    /// How a chunk takes over.
    pub mode: TransitionMode,
    /// Duration of the blend from the committed trajectory to the new one.
    pub blend: Span,
    /// `m` of ensemble's weights `exp(-m i)`.
    pub ensemble_decay: f64,
    /// Longest motion without a new chunk, stop included.
    pub max_blind: Span,
    /// Consecutive chunks that may meet a limit; the next is refused. `None`: any number.
    pub refuse_after: Option<u64>,
}

impl Default for MotionSettings {
    fn default() -> Self {
        Self {
            mode: TransitionMode::Blend,
            blend: Span::from_nanos(100_000_000),
            ensemble_decay: 0.01,
            max_blind: Span::from_nanos(500_000_000),
            refuse_after: None,
        }
    }
}

impl MotionSettings {
    /// Seconds that a stop may take: half of `max_blind`, so that the other half is motion.
    pub(super) fn stop_within(&self) -> f64 {
        (self.max_blind.seconds() / 2.0).max(2.0 * DT)
    }
}

/// A chunk about to take over.
#[derive(Clone, Copy, Debug)]
pub struct NewChunk<'a> {
    /// Its rows. Every value is finite.
    pub chunk: &'a Chunk,
    /// When it takes over: the time of publication.
    pub now: Stamp,
    /// Number of its values that were clamped to position limits.
    pub clamped: u64,
    /// Measured positions of the joints, in the plan's order. Motion starts there when no plan is being followed. `None`: no
    /// fresh measurement.
    pub measured: Option<&'a [f64]>,
    /// Number of frozen and of ramped rows, under [`TransitionMode::Rtc`].
    pub frozen: (usize, usize),
}

/// The motion of one robot's joints. Allocates nothing after a few chunks.
#[derive(Debug, Default)]
pub struct Motion {
    names: Arc<[String]>,
    limits: MotionLimits,
    limiters: Vec<JointLimiter>,
    /// Those of the plan in force.
    limiters_before: Vec<JointLimiter>,
    /// Columns of the newest chunk that are joints.
    columns: Vec<usize>,
    plan: Option<Arc<MotionPlan>>,
    /// Plans that are no longer in force; those without another reader are reused.
    spare: Vec<Arc<MotionPlan>>,
    /// Committed trajectory of the plan in force without its final stop, from its transition to the chunk's end.
    path: SampledTrajectory,
    next_path: SampledTrajectory,
    /// Commands before the plan in force took over, as far back as a chunk may have been observed.
    past: SampledTrajectory,
    /// What the new chunk asks for.
    reference: SampledTrajectory,
    /// Measured positions at rest, for the time before the first plan.
    still: SampledTrajectory,
    /// State of each joint at the sample that is being computed.
    states: Vec<Kinematics>,
    window: EnsembleWindow,
    counts: LimitCounts,
}

impl Motion {
    /// Motion of these joints: no plan and no limits yet.
    pub fn new(names: Arc<[String]>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Sets the limits that hold from the next chunk on.
    pub fn set_limits(&mut self, limits: MotionLimits) {
        self.limits = limits;
    }

    /// The limits in force.
    pub fn limits(&self) -> &MotionLimits {
        &self.limits
    }

    /// Commands before the plan in force.
    pub(super) fn past(&self) -> &SampledTrajectory {
        &self.past
    }

    /// Joints.
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// The plan in force; it may be over.
    pub fn plan(&self) -> Option<&Arc<MotionPlan>> {
        self.plan.as_ref()
    }

    /// How often limits were met.
    pub fn counts(&self) -> &LimitCounts {
        &self.counts
    }

    /// Discards the plan and the count of consecutive chunks that met a limit. The next motion starts at the measured positions.
    pub fn reset(&mut self) {
        self.discard_plan();
        self.counts.chunks_in_a_row = 0;
    }

    fn discard_plan(&mut self) {
        self.spare.extend(self.plan.take());
        self.window.clear();
        self.past.restart(0, self.names.len());
    }

    /// Whether no plan is being followed at `now`: there is none, or it has come to rest.
    pub fn is_over(&self, now: Stamp) -> bool {
        self.plan.as_ref().is_none_or(|plan| now >= plan.end())
    }

    /// Position that a plan commands a joint at `at`, while that plan is being followed.
    pub fn followed(&self, at: Stamp, joint: usize) -> Option<f64> {
        if self.is_over(at) { None } else { self.commanded(at, joint) }
    }

    /// Unwraps the rows of continuous joints, starting at `from(joint)`, or at the commanded position at the due time of the first
    /// row.
    pub fn unwrap(&self, chunk: &mut Chunk, from: impl Fn(usize) -> Option<f64>) {
        let first = chunk.due(0);
        unwrap_rows(chunk, &self.limits, |joint| from(joint).or_else(|| self.followed(first, joint)));
    }

    /// Committed position of `joint` at `at`, for a chunk that takes over at `over`. Uses the planned path; if the final stop will
    /// have started by `over`, uses the stop. For a time in the past: the commanded position. `None` after the plan's rows, and
    /// when no plan will be followed at `over`.
    pub fn committed(&self, at: Stamp, joint: usize, over: Stamp) -> Option<f64> {
        let plan = self.plan.as_ref().filter(|plan| over < plan.end())?;
        let (tick, stops) = (tick_at(at), transition_tick(over) > plan.cut);
        let trajectory = match if stops { &plan.trajectory } else { &self.path } {
            // The past ends where the plan begins.
            trajectory if tick < trajectory.first => &self.past,
            trajectory if tick >= trajectory.last() && !stops => return None,
            trajectory => trajectory,
        };
        if joint >= trajectory.joints {
            return None;
        }
        let share = (at - stamp_of(tick)).nanos() as f64 / SAMPLE_PERIOD.nanos() as f64;
        Some(hermite(trajectory.at(tick, joint), trajectory.at(tick + 1, joint), share, DT).0)
    }

    /// Makes the plan that follows a new chunk, from the second sample after `new.now` on. Until then the new plan equals the one
    /// in force, or the joints rest at the measured positions when no plan is being followed.
    ///
    /// # Errors
    /// [`Error::LimitWidth`] for a chunk of other joints, [`Error::NoStart`] when no plan is followed and no position measured,
    /// [`Error::Limited`] when too many consecutive chunks met a limit, [`Error::PlanNotFinite`]. The plan in force then stays and
    /// ends at rest by itself.
    pub fn plan_chunk(&mut self, new: &NewChunk<'_>, settings: &MotionSettings) -> Result<&Arc<MotionPlan>, Error> {
        reference::joint_columns(new.chunk, &mut self.columns);
        if self.columns.len() != self.names.len() {
            return Err(Error::LimitWidth { limits: self.names.len(), joints: self.columns.len() });
        }
        self.set_limiters(settings);
        let now = self.not_before_the_plan(new.now);
        if self.is_over(now) {
            if new.measured.is_none_or(|positions| positions.len() != self.names.len()) {
                return Err(Error::NoStart { joints: self.names.join(", "), found: "no measurement".to_owned() });
            }
            self.discard_plan();
        }
        let from = transition_tick(now);
        let mut outside = new.clamped > 0;
        reference::fill(new.chunk, &self.columns, &self.limiters, from, &mut self.reference, |joint| {
            self.counts.add(joint, LimitKind::Position, 1);
            outside = true;
        });
        self.start(from, new.measured);
        self.keep_braking();
        self.join(new, settings, from);
        let met = self.follow(from, settings.blend);
        let cut = self.cut(from, tick_at(now + settings.max_blind));
        let judged = self.judge(if outside { planning::LimitsMet::Yes } else { met }, settings);
        if let Err(error) = judged.and_then(|()| self.commit(from, cut, now)) {
            // A refused chunk is no part of later averages.
            self.window.pop();
            return Err(error);
        }
        self.plan.as_ref().ok_or(Error::PlanNotFinite)
    }

    /// Brings the joints to rest from the second sample after `now` on. `None` when no plan is being followed: the joints are at
    /// rest, possibly not where the last plan ended.
    ///
    /// # Errors
    /// [`Error::PlanNotFinite`]: no stop could be computed. The plan in force stays and ends at rest by itself.
    pub fn hold(&mut self, now: Stamp, settings: &MotionSettings) -> Result<Option<&Arc<MotionPlan>>, Error> {
        let now = self.not_before_the_plan(now);
        if self.is_over(now) {
            return Ok(None);
        }
        self.set_limiters(settings);
        self.window.clear();
        let from = transition_tick(now);
        // The plan is already stopping; a new stop from here would end later.
        if self.plan.as_ref().is_some_and(|plan| from > plan.cut) {
            return Ok(self.plan.as_ref());
        }
        self.start(from, None);
        self.keep_braking();
        self.next_path.restart(from, self.names.len());
        for state in &self.states {
            self.next_path.push(state.position, state.velocity);
        }
        self.commit(from, from, now)?;
        Ok(self.plan.as_ref())
    }

    /// `now`, but not before the plan in force was made. When the clock was set back, that plan is discarded.
    fn not_before_the_plan(&mut self, now: Stamp) -> Stamp {
        match self.plan.as_ref().map(|plan| plan.created_at) {
            Some(created_at) if now < created_at - CLOCK_TOLERANCE => {
                self.reset();
                now
            }
            Some(created_at) => now.max(created_at),
            None => now,
        }
    }

    fn set_limiters(&mut self, settings: &MotionSettings) {
        let joints = 0..self.names.len();
        self.limiters.clear();
        self.limiters.extend(joints.map(|joint| JointLimiter::new(self.limits.of(joint), settings.stop_within())));
        self.counts.resize(self.names.len());
    }
}

#[cfg(test)]
mod tests;

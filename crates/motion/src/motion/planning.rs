//! The steps of one plan: start, transition, limiting, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Motion, MotionSettings, NewChunk};
use crate::error::Error;
use crate::grid::{DT, tick_at, ticks_of};
use crate::limiter::{JointLimiter, Kinematics};
use crate::limits::LimitKind;
use crate::trajectory::{MotionPlan, SampledTrajectory};
use crate::transition::{self, Frozen, TransitionMode};
use vla_base::time::{Span, Stamp};

/// Samples after which a stop ends in any case: one minute.
const LONGEST_STOP: usize = 6000;

/// Samples of the past that are kept. The rows of a chunk that are late already are taken from them.
const PAST: usize = 300;

/// Number of plans made so far in this process, by any motion: of two plans the one with the greater number is newer.
static PLANS: AtomicU64 = AtomicU64::new(0);

/// Whether a chunk met a limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum LimitsMet {
    No,
    /// Only on the way from rest to the reference: the robot may be far from where the policy begins.
    Starting,
    Yes,
}

impl Motion {
    /// Sets the joints' states at the sample of the transition: those of the plan in force, else the measured positions at rest.
    pub(super) fn start(&mut self, from: i64, measured: Option<&[f64]>) {
        let joints = self.names.len();
        let measured = measured.unwrap_or_default();
        self.states.clear();
        self.states.extend((0..joints).map(|joint| {
            let (position, velocity) = match &self.plan {
                Some(plan) => plan.trajectory.at(from, joint),
                None => (measured.get(joint).copied().unwrap_or(f64::NAN), 0.0),
            };
            let before = self.plan.as_ref().map_or(velocity, |plan| plan.trajectory.at(from - 1, joint).1);
            Kinematics { position, velocity, acceleration: (velocity - before) / DT }
        }));
        self.still.restart(from, joints);
        for state in &self.states {
            self.still.push(state.position, 0.0);
        }
    }

    /// Lets joints that are too fast for limits of acceleration that were lowered meanwhile brake as the plan in force could: a stop that
    /// took longer than every plan promises would be no stop. Call it after [`Motion::start`].
    pub(super) fn keep_braking(&mut self) {
        for ((limiter, before), state) in self.limiters.iter_mut().zip(&self.limiters_before).zip(&self.states) {
            limiter.take_over(before, state.velocity);
        }
    }

    /// Joins the reference of the new chunk to the committed trajectory, as the transition mode says.
    pub(super) fn join(&mut self, new: &NewChunk<'_>, settings: &MotionSettings, from: i64) {
        let committed = match &self.plan {
            None => &self.still,
            // A plan that has started its final stop is left from the stop.
            Some(plan) if from > plan.cut => &plan.trajectory,
            Some(_) => &self.path,
        };
        let at_rest = self.is_at_rest(from);
        let reference = &mut self.reference;
        if settings.mode != TransitionMode::Ensemble {
            self.window.clear();
        }
        match settings.mode {
            // No mode jumps from rest.
            TransitionMode::Replace if at_rest => transition::blend(reference, committed, settings.blend),
            TransitionMode::Rtc if self.plan.is_none() => transition::blend(reference, committed, settings.blend),
            TransitionMode::Replace => {}
            TransitionMode::Blend => transition::blend(reference, committed, settings.blend),
            TransitionMode::Ensemble => {
                self.window.push(reference);
                self.window.average(reference, settings.ensemble_decay, settings.blend);
                transition::blend(reference, committed, settings.blend);
            }
            TransitionMode::Rtc => {
                let (frozen, ramped) = new.frozen;
                // The policy received no action prefix, so its rows are independent of the committed trajectory.
                if frozen + ramped == 0 {
                    return transition::blend(reference, committed, settings.blend);
                }
                let last = |rows: usize| rows.checked_sub(1).map_or(from, |row| tick_at(new.chunk.due(row)));
                let until = last(frozen).max(from);
                // Few committed rows may be left; a ramp of zero samples would be a jump.
                let ramp = (last(frozen + ramped) - last(frozen)).max(ticks_of(settings.blend));
                transition::freeze(reference, committed, Frozen { until, ramped_until: until + ramp });
            }
        }
    }

    /// Whether nothing moves from this sample on.
    fn is_at_rest(&self, from: i64) -> bool {
        self.plan.as_ref().is_none_or(|plan| from >= plan.trajectory.last())
    }

    /// Follows the reference within the limits, and returns whether one was met. A start from rest is over with the first sample
    /// after the blend at which no limit held a joint back.
    pub(super) fn follow(&mut self, from: i64, blend: Span) -> LimitsMet {
        let joints = self.names.len();
        let blended = from + ticks_of(blend);
        let mut starting = self.is_at_rest(from);
        let reference = &self.reference;
        self.next_path.restart(from, joints);
        for state in &self.states {
            self.next_path.push(state.position, state.velocity);
        }
        let mut met = LimitsMet::No;
        for tick in from + 1..=reference.last() {
            let (before, after) = (tick - 1, (tick + 1).min(reference.last()));
            let seconds = (after - before) as f64 * DT;
            let mut held_back = false;
            for (joint, (state, limiter)) in self.states.iter_mut().zip(&self.limiters).enumerate() {
                let position = reference.at(tick, joint).0;
                let velocity = (reference.at(after, joint).0 - reference.at(before, joint).0) / seconds;
                let (next, limited) = limiter.follow(*state, position, velocity);
                // The row's own values were counted when they were clamped.
                if let Some(kind) = limited {
                    self.counts.add(joint, kind, 1);
                    held_back |= kind != LimitKind::Jerk;
                }
                *state = next;
                self.next_path.push(next.position, next.velocity);
            }
            starting &= held_back || tick < blended;
            if held_back {
                met = met.max(if starting { LimitsMet::Starting } else { LimitsMet::Yes });
            }
        }
        met
    }

    /// Counts a chunk that met limits and refuses it when too many consecutive ones did. A start from rest is not counted as one of
    /// them: a refused robot could never start again.
    pub(super) fn judge(&mut self, met: LimitsMet, settings: &MotionSettings) -> Result<(), Error> {
        self.counts.chunks += u64::from(met != LimitsMet::No);
        match met {
            LimitsMet::No => self.counts.chunks_in_a_row = 0,
            LimitsMet::Starting => {}
            LimitsMet::Yes => self.counts.chunks_in_a_row += 1,
        }
        match settings.refuse_after {
            Some(limit) if met == LimitsMet::Yes && self.counts.chunks_in_a_row > limit => {
                self.counts.refused += 1;
                Err(Error::Limited { chunks: self.counts.chunks_in_a_row, limit, worst: self.worst() })
            }
            _ => Ok(()),
        }
    }

    /// The joint that met limits most often.
    fn worst(&self) -> String {
        let count = |joint: &usize| self.counts.of(*joint).iter().sum::<u64>();
        let worst = (0..self.names.len()).max_by_key(count);
        worst.and_then(|joint| self.names.get(joint)).cloned().unwrap_or_default()
    }

    /// The last sample of the path from which every joint comes to rest by `end`; the first sample when there is none.
    pub(super) fn cut(&self, from: i64, end: i64) -> i64 {
        let steps = |tick: i64| {
            let of_joint =
                |(joint, limiter): (usize, &JointLimiter)| limiter.stopping_steps(self.next_path.at(tick, joint).1);
            self.limiters.iter().enumerate().map(of_joint).max().unwrap_or(0)
        };
        let mut cut = self.next_path.last().min(end);
        while cut > from && cut + steps(cut) > end {
            cut -= 1;
        }
        cut.max(from)
    }

    /// Puts the plan in force: the plan before up to `from`, the new path up to `cut`, then the stop.
    pub(super) fn commit(&mut self, from: i64, cut: i64, now: Stamp) -> Result<(), Error> {
        let joints = self.names.len();
        let mut shared = self.spare_plan();
        // A spare plan has no other owner.
        if let Some(plan) = Arc::get_mut(&mut shared) {
            plan.names.clone_from(&self.names);
            let trajectory = &mut plan.trajectory;
            trajectory.restart(tick_at(now).min(from - 1), joints);
            let before = self.plan.as_ref().map_or(&self.still, |plan| &plan.trajectory);
            (trajectory.first..from).for_each(|tick| trajectory.push_row(before, tick));
            (from..=cut).for_each(|tick| trajectory.push_row(&self.next_path, tick));
            append_stop(&self.limiters, trajectory, &mut self.states);
            (plan.cut, plan.from, plan.created_at) = (cut, from, now);
            plan.sequence = PLANS.fetch_add(1, Ordering::Relaxed) + 1;
            if !plan.is_finite() {
                self.spare.push(shared);
                return Err(Error::PlanNotFinite);
            }
        }
        self.keep_past(from);
        std::mem::swap(&mut self.path, &mut self.next_path);
        self.spare.extend(self.plan.take());
        self.plan = Some(shared);
        self.limiters_before.clone_from(&self.limiters);
        Ok(())
    }

    /// Keeps the commands of the plan in force up to the sample `until`, at which another plan takes over.
    fn keep_past(&mut self, until: i64) {
        let (past, joints) = (&mut self.past, self.names.len());
        let trajectory = self.plan.as_ref().map_or(&self.still, |plan| &plan.trajectory);
        if past.rows() > 0 && past.last() >= until && past.first <= until {
            // Both plans are the same up to there.
            past.keep_first((until - past.first) as usize);
        }
        if past.rows() == 0 || past.last() >= until || until - past.last() > PAST as i64 {
            past.restart((trajectory.first.max(until - PAST as i64)).min(until), joints);
        }
        (past.last() + 1..=until).for_each(|tick| past.push_row(trajectory, tick));
        past.keep_last(PAST);
    }

    /// A plan without another reader, or a new one.
    fn spare_plan(&mut self) -> Arc<MotionPlan> {
        let unread = self.spare.iter_mut().position(|plan| Arc::get_mut(plan).is_some());
        unread.map_or_else(Arc::default, |index| self.spare.swap_remove(index))
    }
}

/// Appends the stop from the last row on.
fn append_stop(limiters: &[JointLimiter], trajectory: &mut SampledTrajectory, states: &mut [Kinematics]) {
    let last = trajectory.last();
    for (joint, state) in states.iter_mut().enumerate() {
        let (position, velocity) = trajectory.at(last, joint);
        *state = Kinematics { position, velocity, acceleration: 0.0 };
    }
    let (mut steps, start) = (0, last);
    while states.iter().any(|state| state.velocity != 0.0) {
        steps += 1;
        for (joint, (state, limiter)) in states.iter_mut().zip(limiters).enumerate() {
            let deceleration = limiter.braking(trajectory.at(start, joint).1);
            *state = limiter.brake(*state, deceleration);
            if steps >= LONGEST_STOP {
                state.velocity = 0.0;
            }
        }
        for state in states.iter() {
            trajectory.push(state.position, state.velocity);
        }
    }
}

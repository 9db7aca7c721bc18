//! Columns of a chunk that are no joints and are commanded all the same: the velocity of a base, the pose of an end effector.
//!
//! They share times, hand-over and blend with the motion of the joints ([`super::Motion`]), and like it every plan ends by itself:
//! a velocity at zero, within its limit of acceleration, and a pose where it is. Between the rows of a chunk values are linear
//! (rotations on the great circle).

use std::sync::Arc;

use super::Chunk;
use super::error::Error;
use super::grid::{DT, SAMPLE_PERIOD, stamp_of, tick_at, ticks_of, transition_tick};
use super::motion::MotionSettings;
use super::trajectory::SampledTrajectory;
use super::transition::{TransitionMode, cosine};
use vla_base::time::Stamp;

mod pose;

pub use pose::PoseColumns;
use pose::{POSE, between};

/// Columns that one controller takes.
#[derive(Clone, PartialEq, Debug)]
pub struct ColumnGroup {
    /// Name of its output, for errors.
    pub name: String,
    /// Columns by their names in the chunk.
    pub columns: Vec<String>,
    /// What they are.
    pub kind: ColumnKind,
}

/// What the columns of a group are.
#[derive(Clone, PartialEq, Debug)]
pub enum ColumnKind {
    /// Velocities, which are zero at rest.
    Velocity {
        /// Greatest absolute value of each, m/s or rad/s.
        max: Vec<f64>,
        /// Greatest change of each per second.
        max_acceleration: Vec<f64>,
    },
    /// A pose, which stays at rest.
    Pose(PoseColumns),
}

impl ColumnGroup {
    /// Values of a command: one a velocity; x, y, z and the quaternion x, y, z, w of a pose.
    pub fn width(&self) -> usize {
        match &self.kind {
            ColumnKind::Velocity { max, .. } => max.len(),
            ColumnKind::Pose(_) => POSE,
        }
    }
}

/// The commands of every group over time, each ending at rest.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ColumnPlan {
    groups: Arc<[ColumnGroup]>,
    /// One a group, on the grid.
    tracks: Vec<SampledTrajectory>,
    /// Tick from which on every group comes to rest.
    cut: i64,
    created_at: Stamp,
}

impl ColumnPlan {
    /// The groups, in the order of [`ColumnPlan::sample`].
    pub fn groups(&self) -> &Arc<[ColumnGroup]> {
        &self.groups
    }

    /// When every group is at rest.
    pub fn end(&self) -> Stamp {
        stamp_of(self.tracks.iter().map(SampledTrajectory::last).max().unwrap_or_default())
    }

    /// When the stop begins.
    pub fn stops_at(&self) -> Stamp {
        stamp_of(self.cut)
    }

    /// When it was made.
    pub fn created_at(&self) -> Stamp {
        self.created_at
    }

    /// Writes the command of a group at `at`. False before its first sample, for a group without a plan, and for a slice of another
    /// width. After the end: zero velocity, the last pose.
    pub fn sample(&self, group: usize, at: Stamp, out: &mut [f64]) -> bool {
        let (Some(of), Some(track)) = (self.groups.get(group), self.tracks.get(group)) else { return false };
        let tick = tick_at(at);
        if track.rows() == 0 || tick < track.first || out.len() != of.width() {
            return false;
        }
        let share = (at - stamp_of(tick)).nanos() as f64 / SAMPLE_PERIOD.nanos() as f64;
        mix(&of.kind, row(track, tick), row(track, tick + 1), share, out);
        true
    }
}

/// The row of a tick; outside the rows the nearest.
fn row(track: &SampledTrajectory, tick: i64) -> &[f64] {
    let index = (tick.clamp(track.first, track.last().max(track.first)) - track.first) as usize;
    track.positions.get(index * track.joints..(index + 1) * track.joints).unwrap_or_default()
}

/// `from` to `to` at `share`.
fn mix(kind: &ColumnKind, from: &[f64], to: &[f64], share: f64, out: &mut [f64]) {
    match kind {
        ColumnKind::Velocity { .. } => {
            for (out, (from, to)) in out.iter_mut().zip(from.iter().zip(to)) {
                *out = from + share * (to - from);
            }
        }
        ColumnKind::Pose(_) => {
            let mut pose = [0.0; POSE];
            between(from, to, share, &mut pose);
            out.iter_mut().zip(pose).for_each(|(out, value)| *out = value);
        }
    }
}

/// The motion of the groups. Allocates nothing after a few chunks.
#[derive(Debug, Default)]
pub struct ColumnMotion {
    groups: Arc<[ColumnGroup]>,
    plan: Option<Arc<ColumnPlan>>,
    spare: Vec<Arc<ColumnPlan>>,
    /// Values of the rows of the new chunk, a group each: `[rows, width]`.
    rows: Vec<Vec<f64>>,
    /// Columns of one row, as the chunk has them.
    raw: Vec<f64>,
    /// The value that is being computed.
    value: Vec<f64>,
    /// The value of the sample before.
    state: Vec<f64>,
}

impl ColumnMotion {
    /// Motion of these groups; no plan yet.
    pub fn new(groups: Arc<[ColumnGroup]>) -> Self {
        let rows = groups.iter().map(|_| Vec::new()).collect();
        Self { groups, rows, ..Self::default() }
    }

    /// The groups.
    pub fn groups(&self) -> &Arc<[ColumnGroup]> {
        &self.groups
    }

    /// The plan in force; it may be over.
    pub fn plan(&self) -> Option<&Arc<ColumnPlan>> {
        self.plan.as_ref()
    }

    /// Discards the plan: the next one starts from zero velocity, and from its own first pose.
    pub fn reset(&mut self) {
        self.spare.extend(self.plan.take());
    }

    /// Whether every group is at rest at `now`.
    pub fn is_over(&self, now: Stamp) -> bool {
        self.plan.as_ref().is_none_or(|plan| now >= plan.end())
    }

    /// Reads the rows of a new chunk. Call it before the chunk is put in force: nothing fails afterwards.
    ///
    /// # Errors
    /// [`Error::NoColumn`] for a chunk without a column of a group, [`Error::NotAPose`] for values that are none.
    pub fn read(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let Self { groups, rows, raw, .. } = self;
        for (group, out) in groups.iter().zip(rows.iter_mut()) {
            out.clear();
            for row in 0..chunk.rows {
                let values = chunk.row(row).unwrap_or_default();
                raw.clear();
                for column in &group.columns {
                    let at = chunk.names.iter().position(|name| name == column);
                    let value = at.and_then(|at| values.get(at)).copied();
                    let value =
                        value.ok_or_else(|| Error::NoColumn { output: group.name.clone(), column: column.clone() })?;
                    raw.push(f64::from(value));
                }
                match &group.kind {
                    ColumnKind::Velocity { .. } => out.extend_from_slice(raw),
                    ColumnKind::Pose(layout) => {
                        let pose =
                            layout.read(raw).ok_or_else(|| Error::NotAPose { output: group.name.clone(), row })?;
                        out.extend_from_slice(&pose);
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts the chunk that was read in force. It takes over at `over`, with the joints, or at the second sample after `now`.
    pub fn plan_chunk(&mut self, chunk: &Chunk, now: Stamp, over: Option<Stamp>, settings: &MotionSettings) {
        let from = over.map_or_else(|| transition_tick(now), tick_at);
        let before = self.plan.take().filter(|plan| stamp_of(from) < plan.end());
        let mut shared = self.spare_plan(now);
        if let Some(plan) = Arc::get_mut(&mut shared) {
            plan.cut = from;
            for index in 0..self.groups.len() {
                let cut = self.follow(index, chunk, before.as_deref(), from, now, settings, plan);
                plan.cut = plan.cut.max(cut);
            }
        }
        self.put(before, shared);
    }

    /// Brings every group to rest from the second sample after `now` on. False when all are at rest.
    pub fn hold(&mut self, now: Stamp) -> bool {
        if self.is_over(now) {
            return false;
        }
        let from = transition_tick(now);
        self.stop(from, now, 0);
        true
    }

    /// Brings every group to rest after the clock was set back from `before` to `now`: the values go on from those of `before`.
    pub fn set_back(&mut self, before: Stamp, now: Stamp) {
        if self.is_over(before) {
            self.reset();
        } else {
            self.stop(tick_at(now), now, tick_at(before) - tick_at(now));
        }
    }

    /// The plan in force up to `from`, read `shift` ticks later, then the stop.
    fn stop(&mut self, from: i64, now: Stamp, shift: i64) {
        let before = self.plan.take();
        let mut shared = self.spare_plan(now);
        if let (Some(plan), Some(before)) = (Arc::get_mut(&mut shared), before.as_deref()) {
            plan.cut = from;
            for index in 0..self.groups.len() {
                self.copy(index, Some(before), from, now, shift, plan);
                self.rest(index, plan);
            }
        }
        self.put(before, shared);
    }

    fn put(&mut self, before: Option<Arc<ColumnPlan>>, plan: Arc<ColumnPlan>) {
        self.spare.extend(before);
        self.plan = Some(plan);
    }

    /// A plan without another reader, or a new one, with an empty track a group.
    fn spare_plan(&mut self, now: Stamp) -> Arc<ColumnPlan> {
        let unread = self.spare.iter_mut().position(|plan| Arc::get_mut(plan).is_some());
        let mut shared = unread.map_or_else(Arc::default, |index| self.spare.swap_remove(index));
        if let Some(plan) = Arc::get_mut(&mut shared) {
            plan.groups.clone_from(&self.groups);
            plan.tracks.resize_with(self.groups.len(), SampledTrajectory::default);
            plan.created_at = now;
        }
        shared
    }

    /// Starts a track with the commands before `from`, and leaves the command at `from` in `state`: that of the plan before, or zero
    /// velocity. False for a pose that nothing was commanded before.
    fn copy(
        &mut self,
        index: usize,
        before: Option<&ColumnPlan>,
        from: i64,
        now: Stamp,
        shift: i64,
        plan: &mut ColumnPlan,
    ) -> bool {
        let (Some(group), Some(track)) = (self.groups.get(index), plan.tracks.get_mut(index)) else { return false };
        let first = tick_at(now).min(from);
        track.restart(first, group.width());
        self.state.clear();
        let committed = before.and_then(|plan| plan.tracks.get(index)).filter(|track| track.rows() > 0);
        match (committed, &group.kind) {
            (Some(committed), _) => {
                (first..from).for_each(|tick| push(track, row(committed, tick + shift)));
                self.state.extend_from_slice(row(committed, from + shift));
                push(track, &self.state);
                true
            }
            (None, ColumnKind::Velocity { .. }) => {
                self.state.resize(group.width(), 0.0);
                (first..=from).for_each(|_| push(track, &self.state));
                true
            }
            (None, ColumnKind::Pose(_)) => {
                track.restart(from, group.width());
                false
            }
        }
    }

    /// Follows the rows of a group from `from` on and appends its stop. Returns the tick at which that begins.
    #[expect(clippy::too_many_arguments, reason = "one step of a plan, as the motion of the joints has them")]
    fn follow(
        &mut self,
        index: usize,
        chunk: &Chunk,
        before: Option<&ColumnPlan>,
        from: i64,
        now: Stamp,
        settings: &MotionSettings,
        plan: &mut ColumnPlan,
    ) -> i64 {
        let groups = Arc::clone(&self.groups);
        let Some(group) = groups.get(index) else { return from };
        let has_start = self.copy(index, before, from, now, 0, plan);
        let committed = before.and_then(|plan| plan.tracks.get(index)).filter(|track| track.rows() > 0);
        let end = tick_at(now + settings.max_blind);
        let last = tick_at(chunk.due(chunk.rows.saturating_sub(1))).clamp(from + 1, end.max(from + 1));
        let blend = if settings.mode == TransitionMode::Replace { 0 } else { ticks_of(settings.blend) };
        let Some(track) = plan.tracks.get_mut(index) else { return from };
        let first = if has_start { from + 1 } else { from };
        for tick in first..=last {
            self.reference(index, group, chunk, tick);
            let share = if blend > 0 { cosine((tick - from) as f64 / blend as f64) } else { 1.0 };
            if let Some(committed) = committed.filter(|_| share < 1.0) {
                self.raw.clear();
                self.raw.extend_from_slice(&self.value);
                mix(&group.kind, row(committed, tick), &self.raw, share, &mut self.value);
            }
            self.limit(&group.kind, settings);
            // The stop must be over in time.
            if tick > from && tick + stopping_ticks(&group.kind, &self.value) > end {
                break;
            }
            self.state.clone_from(&self.value);
            push(track, &self.state);
        }
        let cut = track.last();
        self.rest(index, plan);
        cut
    }

    /// Writes what the chunk asks of a group at a tick into `value`: linear between rows, and the nearest row outside them.
    fn reference(&mut self, index: usize, group: &ColumnGroup, chunk: &Chunk, tick: i64) {
        let Self { rows, value, .. } = self;
        let width = group.width();
        let rows = rows.get(index).map(Vec::as_slice).unwrap_or_default();
        let step = chunk.step.nanos().max(1);
        let since = (stamp_of(tick) - chunk.due(0)).nanos();
        let last = chunk.rows.saturating_sub(1);
        let at = usize::try_from(since.div_euclid(step)).unwrap_or(0).min(last);
        let share = if since < 0 || at == last { 0.0 } else { since.rem_euclid(step) as f64 / step as f64 };
        let of = |row: usize| rows.get(row * width..(row + 1) * width).unwrap_or_default();
        value.clear();
        value.resize(width, 0.0);
        mix(&group.kind, of(at), of((at + 1).min(last)), share, value);
    }

    /// Keeps `value` within the limits of a velocity, one sample after `state`.
    fn limit(&mut self, kind: &ColumnKind, settings: &MotionSettings) {
        let ColumnKind::Velocity { max, max_acceleration } = kind else { return };
        let limits = max.iter().zip(max_acceleration);
        for ((value, before), (max, acceleration)) in self.value.iter_mut().zip(&self.state).zip(limits) {
            let most = max.min(acceleration * settings.stop_within());
            let change = acceleration * DT;
            *value = value.clamp(-most, most).clamp(before - change, before + change);
        }
    }

    /// Appends the stop of a group, from `state`.
    fn rest(&mut self, index: usize, plan: &mut ColumnPlan) {
        let (Some(group), Some(track)) = (self.groups.get(index), plan.tracks.get_mut(index)) else { return };
        let ColumnKind::Velocity { max_acceleration, .. } = &group.kind else { return };
        while self.state.iter().any(|value| *value != 0.0) {
            for (value, acceleration) in self.state.iter_mut().zip(max_acceleration) {
                let left = (value.abs() - acceleration * DT).max(0.0);
                // What rounding leaves is not another sample.
                *value = if left > acceleration * DT * 1e-9 { left.copysign(*value) } else { 0.0 };
            }
            push(track, &self.state);
        }
    }
}

fn push(track: &mut SampledTrajectory, values: &[f64]) {
    values.iter().for_each(|value| track.push(*value, 0.0));
}

/// Samples of a stop from these values.
fn stopping_ticks(kind: &ColumnKind, values: &[f64]) -> i64 {
    let ColumnKind::Velocity { max_acceleration, .. } = kind else { return 0 };
    let ticks = |(value, acceleration): (&f64, &f64)| ((value.abs() / (acceleration * DT)) - 1e-9).ceil() as i64;
    values.iter().zip(max_acceleration).map(ticks).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;

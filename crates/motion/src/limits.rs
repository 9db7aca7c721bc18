//! What a joint may do: position, velocity, acceleration, jerk. One [`MotionLimits`] limits the rows of a chunk and the motion that
//! follows them.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::Chunk;
use super::error::Error;
use super::grid::DT;

mod merge;
#[cfg(test)]
mod tests;

pub use merge::{MergedLimits, merge_limits};

/// Acceleration of a joint that has no limit, rad/s² or m/s²: so high that no policy's rows reach it, and finite, so that one
/// way of moving serves all joints.
const UNLIMITED: f64 = 1e5;

/// Position ranges that cover a turn up to this much, rad, cover all of it: limits are written with a few digits.
const TURN_ROUNDING: f64 = 0.01;

/// How a joint moves, after the joint types of URDF.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum JointKind {
    /// Turns between two positions, rad.
    #[default]
    Revolute,
    /// Turns without end: positions that differ by a whole turn are the same pose of the joint.
    Continuous,
    /// Slides, m.
    Prismatic,
}

/// Limits of one joint in rad (or m), s. Infinite where there is none.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct JointLimits {
    /// Least position.
    pub min: f64,
    /// Greatest position.
    pub max: f64,
    /// Greatest speed, either way.
    pub velocity: f64,
    /// Greatest acceleration and deceleration.
    pub acceleration: f64,
    /// Greatest change of acceleration per second while rows are followed. Position, velocity, acceleration and stops come first.
    pub jerk: f64,
    /// Largest distance between the measured and the commanded position. `None`: that of the joint's kind; infinite: any.
    pub tracking_error: Option<f64>,
    /// How the joint moves.
    pub kind: JointKind,
}

impl Default for JointLimits {
    fn default() -> Self {
        Self {
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
            velocity: f64::INFINITY,
            acceleration: f64::INFINITY,
            jerk: f64::INFINITY,
            tracking_error: None,
            kind: JointKind::default(),
        }
    }
}

impl JointLimits {
    /// Both limits at once: the tighter of each.
    pub fn tighter(&self, other: &Self) -> Self {
        Self {
            min: self.min.max(other.min),
            max: self.max.min(other.max),
            velocity: self.velocity.min(other.velocity),
            acceleration: self.acceleration.min(other.acceleration),
            jerk: self.jerk.min(other.jerk),
            tracking_error: match (self.tracking_error, other.tracking_error) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            kind: self.kind.max(other.kind),
        }
    }

    /// Largest distance between the measured and the commanded position: as given, else 0.5 rad, or 0.1 m for a prismatic
    /// joint.
    pub fn tracking_error(&self) -> f64 {
        self.tracking_error.unwrap_or(if self.kind == JointKind::Prismatic { 0.1 } else { 0.5 })
    }

    /// The same without position limits that span a turn or more, when the joint is continuous: every pose of the joint lies
    /// within them.
    pub fn without_whole_turns(self) -> Self {
        if self.kind == JointKind::Continuous && self.max - self.min >= TAU - TURN_ROUNDING {
            Self { min: f64::NEG_INFINITY, max: f64::INFINITY, ..self }
        } else {
            self
        }
    }

    /// Whether neither position nor velocity has a limit.
    fn is_unlimited(&self) -> bool {
        [self.min, self.max, self.velocity].iter().all(|limit| limit.is_infinite())
    }

    /// What is wrong with them, if anything.
    fn problem(&self) -> Option<String> {
        let Self { min, max, velocity, acceleration, jerk, .. } = *self;
        if min.is_nan() || max.is_nan() || min > max {
            return Some(format!("expected min <= max, found min {min} and max {max}"));
        }
        let named = [("velocity", velocity), ("acceleration", acceleration), ("jerk", jerk)];
        let wrong = named.into_iter().find(|(_, value)| value.is_nan() || *value <= 0.0);
        wrong.map(|(name, value)| format!("expected {name} above zero, found {value}"))
    }

    /// The acceleration that motion keeps. With a limit of velocity alone: from full speed to full speed the other way in one
    /// step of the grid.
    pub(super) fn hard_acceleration(&self) -> f64 {
        self.acceleration.min(2.0 * self.velocity / DT).min(UNLIMITED)
    }
}

/// The limits of every joint of a plan, in its order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MotionLimits {
    names: Arc<[String]>,
    joints: Vec<JointLimits>,
    /// Position limits of a chunk's values.
    rows: Vec<(f32, f32)>,
}

impl MotionLimits {
    /// JointLimits of the joints `names`. A joint that is given twice takes the tighter of each limit; one that is not given has
    /// none.
    ///
    /// # Errors
    /// [`Error::Limits`] with every joint that is unknown and every limit that cannot be kept.
    pub fn new<'a>(names: &[String], given: impl IntoIterator<Item = (&'a str, JointLimits)>) -> Result<Self, Error> {
        let mut all = vec![JointLimits::default(); names.len()];
        let mut problems = Vec::new();
        for (joint, limits) in given {
            match names.iter().position(|name| name == joint).and_then(|index| all.get_mut(index)) {
                None => problems.push(format!("unknown joint `{joint}`, expected one of {names:?}")),
                Some(entry) => *entry = entry.tighter(&limits),
            }
        }
        all.iter_mut().for_each(|limits| *limits = limits.without_whole_turns());
        let wrong = names.iter().zip(&all).filter_map(|(name, b)| Some(format!("joint `{name}`: {}", b.problem()?)));
        problems.extend(wrong);
        if problems.is_empty() { Ok(Self::of_all(names.into(), all)) } else { Err(Error::Limits { problems }) }
    }

    fn of_all(names: Arc<[String]>, joints: Vec<JointLimits>) -> Self {
        let rows = joints.iter().map(|joint| inward(joint.min, joint.max)).collect();
        Self { names, joints, rows }
    }

    /// Those of the joints `names`, in that order. A joint that is not among them has no limits.
    pub fn select(&self, names: &Arc<[String]>) -> Self {
        Self::of_all(Arc::clone(names), names.iter().map(|name| self.get(name).unwrap_or_default()).collect())
    }

    /// One entry a joint.
    pub fn per_joint(&self) -> &[JointLimits] {
        &self.joints
    }

    /// Joints, in the order of [`Self::per_joint`].
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Of a joint by its name.
    pub fn get(&self, joint: &str) -> Option<JointLimits> {
        let index = self.names.iter().position(|name| name == joint)?;
        self.joints.get(index).copied()
    }

    /// Joints without a limit of velocity.
    pub fn without_velocity(&self) -> impl Iterator<Item = &str> {
        let unlimited = |(name, limits): (_, &JointLimits)| limits.velocity.is_infinite().then_some(name);
        self.names.iter().map(String::as_str).zip(&self.joints).filter_map(unlimited)
    }

    /// Of joint `index`; none beyond the last.
    pub fn of(&self, index: usize) -> JointLimits {
        self.joints.get(index).copied().unwrap_or_default()
    }

    /// Brings every value of a joint inside its position limits; pose columns stay as they are. `clamped` is made to tell what
    /// was changed in this chunk. NaN stays NaN: check `super::finite` first.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::LimitWidth`] for a chunk that has not these joints.
    pub fn clamp(&self, chunk: &mut Chunk, clamped: &mut ClampCounts) -> Result<(), Error> {
        chunk.check()?;
        let width = chunk.width();
        let joints = width - chunk.poses.iter().map(ExactSizeIterator::len).sum::<usize>().min(width);
        if self.joints.len() != joints {
            return Err(Error::LimitWidth { limits: self.joints.len(), joints });
        }
        clamped.restart(joints);
        let Chunk { values, poses, .. } = chunk;
        for row in values.chunks_exact_mut(width) {
            let columns =
                row.iter_mut().enumerate().filter(|(column, _)| !poses.iter().any(|pose| pose.contains(column)));
            for (((_, value), (min, max)), count) in columns.zip(&self.rows).zip(&mut clamped.per_joint) {
                let inside = value.max(*min).min(*max);
                if !value.is_nan() && inside != *value {
                    *value = inside;
                    *count += 1;
                    clamped.total += 1;
                }
            }
        }
        Ok(())
    }
}

/// Rounded so that no single-precision value inside lies outside the limits as configured; to nearest when the limits
/// leave no such value.
fn inward(min: f64, max: f64) -> (f32, f32) {
    let (near_min, near_max) = (min as f32, max as f32);
    let low = if f64::from(near_min) < min { near_min.next_up() } else { near_min };
    let high = if f64::from(near_max) > max { near_max.next_down() } else { near_max };
    if low <= high { (low, high) } else { (near_min, near_max) }
}

/// How many values of one chunk were brought inside position limits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClampCounts {
    /// All of them: the sum of `per_joint`.
    pub total: u64,
    /// One entry a joint, in the order of the chunk's joints.
    pub per_joint: Vec<u64>,
}

impl ClampCounts {
    fn restart(&mut self, joints: usize) {
        self.total = 0;
        self.per_joint.clear();
        self.per_joint.resize(joints, 0);
    }

    /// Adds those of another chunk of the same joints.
    pub fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.per_joint.resize(other.per_joint.len(), 0);
        self.per_joint.iter_mut().zip(&other.per_joint).for_each(|(count, more)| *count += more);
    }

    /// The joints of `names`, one an entry, that were clamped, with their counts.
    pub fn by_name<'n>(&self, names: &'n [String]) -> impl Iterator<Item = (&'n str, u64)> {
        names.iter().map(String::as_str).zip(self.per_joint.iter().copied()).filter(|(_, count)| *count > 0)
    }
}

/// Which limit kept a joint from following.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitKind {
    /// Position.
    Position,
    /// Velocity.
    Velocity,
    /// Acceleration.
    Acceleration,
    /// Jerk.
    Jerk,
}

/// How often each limit was met, since it was made. One entry a joint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LimitCounts {
    /// Samples of the reference beyond a position limit, and samples held back by one.
    pub position: Vec<u64>,
    /// Samples held back.
    pub velocity: Vec<u64>,
    /// Samples held back.
    pub acceleration: Vec<u64>,
    /// Samples held back.
    pub jerk: Vec<u64>,
    /// Chunks in which any limit was met.
    pub chunks: u64,
    /// The same, one after the other up to now.
    pub chunks_in_a_row: u64,
    /// Chunks refused for it.
    pub refused: u64,
}

impl LimitCounts {
    pub(super) fn resize(&mut self, joints: usize) {
        for counts in [&mut self.position, &mut self.velocity, &mut self.acceleration, &mut self.jerk] {
            counts.resize(joints, 0);
        }
    }

    pub(super) fn add(&mut self, joint: usize, kind: LimitKind, by: u64) {
        let counts = match kind {
            LimitKind::Position => &mut self.position,
            LimitKind::Velocity => &mut self.velocity,
            LimitKind::Acceleration => &mut self.acceleration,
            LimitKind::Jerk => &mut self.jerk,
        };
        if let Some(count) = counts.get_mut(joint) {
            *count += by;
        }
    }

    /// All of them added.
    pub fn total(&self) -> u64 {
        [&self.position, &self.velocity, &self.acceleration, &self.jerk].into_iter().flatten().sum()
    }

    /// (position, velocity, acceleration, jerk) of one joint.
    pub fn of(&self, joint: usize) -> [u64; 4] {
        [&self.position, &self.velocity, &self.acceleration, &self.jerk]
            .map(|counts| counts.get(joint).copied().unwrap_or_default())
    }
}

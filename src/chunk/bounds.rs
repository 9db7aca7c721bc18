//! What a joint may do: position, velocity, acceleration, jerk.

use std::f64::consts::TAU;

use super::error::Error;
use super::grid::DT;

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
pub struct Bounds {
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

impl Default for Bounds {
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

impl Bounds {
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
    pub fn is_unlimited(&self) -> bool {
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

/// The bounds of every joint of a plan, in its order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct JointBounds(Vec<Bounds>);

impl JointBounds {
    /// Bounds of the joints `names`. A joint that is given twice takes the tighter of each limit; one that is not given has
    /// none.
    ///
    /// # Errors
    /// [`Error::Limits`] with every joint that is unknown and every limit that cannot be kept.
    pub fn new<'a>(names: &[String], given: impl IntoIterator<Item = (&'a str, Bounds)>) -> Result<Self, Error> {
        let mut all = vec![Bounds::default(); names.len()];
        let mut problems = Vec::new();
        for (joint, bounds) in given {
            match names.iter().position(|name| name == joint).and_then(|index| all.get_mut(index)) {
                None => problems.push(format!("unknown joint `{joint}`, expected one of {names:?}")),
                Some(entry) => *entry = entry.tighter(&bounds),
            }
        }
        all.iter_mut().for_each(|bounds| *bounds = bounds.without_whole_turns());
        let wrong = names.iter().zip(&all).filter_map(|(name, b)| Some(format!("joint `{name}`: {}", b.problem()?)));
        problems.extend(wrong);
        if problems.is_empty() { Ok(Self(all)) } else { Err(Error::Limits { problems }) }
    }

    /// One entry a joint.
    pub fn per_joint(&self) -> &[Bounds] {
        &self.0
    }

    /// Of joint `index`; none beyond the last.
    pub fn of(&self, index: usize) -> Bounds {
        self.0.get(index).copied().unwrap_or_default()
    }
}

/// Which limit kept a joint from following.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limited {
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
    /// Knots of the reference beyond a position limit, and knots held back by one.
    pub position: Vec<u64>,
    /// Knots held back.
    pub velocity: Vec<u64>,
    /// Knots held back.
    pub acceleration: Vec<u64>,
    /// Knots held back.
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

    pub(super) fn add(&mut self, joint: usize, kind: Limited, by: u64) {
        let counts = match kind {
            Limited::Position => &mut self.position,
            Limited::Velocity => &mut self.velocity,
            Limited::Acceleration => &mut self.acceleration,
            Limited::Jerk => &mut self.jerk,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_from_two_sources_give_the_tighter_of_each() {
        let names = ["a".to_owned(), "b".to_owned()];
        let one = Bounds { min: -1.0, velocity: 2.0, ..Bounds::default() };
        let other = Bounds { min: -2.0, max: 0.5, velocity: 1.0, ..Bounds::default() };
        let bounds = JointBounds::new(&names, [("a", one), ("a", other)]).expect("valid");
        assert_eq!(bounds.of(0), Bounds { min: -1.0, max: 0.5, velocity: 1.0, ..Bounds::default() });
        assert_eq!(bounds.of(1), Bounds::default());
    }

    #[test]
    fn position_limits_of_a_whole_turn_do_not_hold_for_a_continuous_joint_and_narrower_ones_do() {
        let names = ["a".to_owned()];
        let bounds = |kind, reach: f64| {
            let described = Bounds { kind, ..Bounds::default() };
            let given = Bounds { min: -reach, max: reach, ..Bounds::default() };
            JointBounds::new(&names, [("a", given), ("a", described)]).expect("valid").of(0)
        };
        assert_eq!(bounds(JointKind::Continuous, 3.2).max, f64::INFINITY);
        assert_eq!(bounds(JointKind::Continuous, 3.1375).min, f64::NEG_INFINITY);
        assert_eq!(bounds(JointKind::Continuous, 1.0).max, 1.0);
        assert_eq!(bounds(JointKind::Revolute, 3.2).max, 3.2);
    }

    #[test]
    fn the_tracking_error_allowed_is_that_of_the_joints_kind_unless_it_is_given() {
        let of = |kind, tracking_error| Bounds { kind, tracking_error, ..Bounds::default() };
        let merged = |one: Bounds, other: Bounds| one.tighter(&other).tracking_error();
        assert_eq!(merged(of(JointKind::Revolute, None), of(JointKind::Continuous, None)), 0.5);
        assert_eq!(merged(of(JointKind::Revolute, None), of(JointKind::Prismatic, None)), 0.1);
        assert_eq!(merged(of(JointKind::Revolute, Some(0.3)), of(JointKind::Prismatic, None)), 0.3);
    }

    #[test]
    fn every_limit_that_cannot_be_kept_is_told_at_once() {
        let names = ["a".to_owned(), "b".to_owned()];
        let crossed = Bounds { min: 1.0, max: -1.0, ..Bounds::default() };
        let still = Bounds { acceleration: 0.0, ..Bounds::default() };
        let error = JointBounds::new(&names, [("a", crossed), ("b", still), ("c", Bounds::default())])
            .expect_err("three problems");
        let text = error.to_string();
        for part in ["joint `a`: expected min <= max", "joint `b`: expected acceleration above zero", "`c`"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
}

//! Measured joint positions, unwrapped from sample to sample.

use std::f64::consts::PI;

use super::limits::JointKind;
use super::turns::nearest_turn;
use vla_base::time::{Span, Stamp};

/// Two samples that are further apart say nothing about the way between them.
const GAP: Span = Span::from_nanos(1_000_000_000);

/// Change of position between two samples that is about a turn: no joint moves so far in between.
const ABOUT_A_TURN: f64 = 1.5 * PI;

/// Newest sample of one joint.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Sample {
    stamp: Stamp,
    /// As the driver published it, rad or m.
    raw: f64,
    /// The same, unwrapped when the joint is continuous.
    position: f64,
}

/// The newest measured positions of the joints of a motion, in its order. Each has a stamp: joint states may come from several
/// publishers.
#[derive(Debug, Default)]
pub struct Measured {
    samples: Vec<Option<Sample>>,
}

/// A position that changed by about a turn between two samples, of a joint that is not known to be continuous.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TurnJump {
    /// Index of the joint.
    pub joint: usize,
    /// Position before, rad.
    pub from: f64,
    /// Position after, rad.
    pub to: f64,
    /// Time between the samples.
    pub within: Span,
}

impl Measured {
    /// Nothing measured yet of so many joints.
    pub fn new(joints: usize) -> Self {
        Self { samples: vec![None; joints] }
    }

    /// Stores a sample of one joint, unless it has the stamp of the one before. `followed`: the commanded position at its stamp,
    /// while a plan is followed. A continuous joint is unwrapped against it, else against the sample before.
    pub fn update(
        &mut self,
        joint: usize,
        (stamp, raw): (Stamp, f64),
        kind: JointKind,
        followed: Option<f64>,
    ) -> Option<TurnJump> {
        let held = self.samples.get_mut(joint)?;
        // The inputs have put the samples in order: an older stamp is a clock that was set back.
        if held.is_some_and(|before| stamp == before.stamp) {
            return None;
        }
        let before = held.filter(|before| stamp > before.stamp && stamp - before.stamp <= GAP);
        let position = match kind {
            JointKind::Continuous => {
                nearest_turn(raw, followed.or(before.map(|before| before.position)).unwrap_or(raw))
            }
            JointKind::Revolute | JointKind::Prismatic => raw,
        };
        *held = Some(Sample { stamp, raw, position });
        let before = before.filter(|before| kind == JointKind::Revolute && (raw - before.raw).abs() >= ABOUT_A_TURN)?;
        Some(TurnJump { joint, from: before.raw, to: raw, within: stamp - before.stamp })
    }

    /// Stamp and position of a joint in rad or m, unwrapped when it is continuous; `None` before its first sample.
    pub fn get(&self, joint: usize) -> Option<(Stamp, f64)> {
        self.samples.get(joint).copied().flatten().map(|sample| (sample.stamp, sample.position))
    }

    /// Whole turns, in rad, from a position of a sample that is not much older to the unwrapped one; 0 for joints that are not
    /// continuous.
    pub fn turns(&self, joint: usize, raw: f64, kind: JointKind) -> f64 {
        match self.get(joint) {
            Some((_, near)) if kind == JointKind::Continuous => nearest_turn(raw, near) - raw,
            _ => 0.0,
        }
    }

    /// The first joint that has no sample, or whose newest one is older than `max_age` at `now`, with its age.
    pub fn not_fresh(&self, now: Stamp, max_age: Span) -> Option<(usize, Option<Span>)> {
        let ages = self.samples.iter().map(|sample| sample.map(|sample| sample.stamp.age_at(now)));
        ages.enumerate().find(|(_, age)| age.is_none_or(|age| age > max_age))
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    /// Positions and jumps after samples (ms, rad).
    fn follow(kind: JointKind, samples: &[(i64, f64)]) -> (Vec<f64>, usize) {
        let (mut measured, mut jumps) = (Measured::new(1), 0);
        let mut take = |&(ms, raw): &(i64, f64)| {
            jumps += usize::from(measured.update(0, (at(ms), raw), kind, None).is_some());
            measured.get(0).map_or(f64::NAN, |(_, position)| position)
        };
        let positions = samples.iter().map(&mut take).collect();
        (positions, jumps)
    }

    #[test]
    fn a_continuous_joint_is_unwrapped_against_the_sample_before() {
        let samples = [(0, 3.1), (10, -3.1), (20, -3.0), (30, -3.1), (40, 3.1)];
        let (positions, jumps) = follow(JointKind::Continuous, &samples);
        assert_eq!((positions, jumps), (vec![3.1, -3.1 + TAU, -3.0 + TAU, -3.1 + TAU, 3.1], 0));
        // As the driver has it after a silence.
        assert_eq!(follow(JointKind::Continuous, &[(0, 3.1), (5000, -3.1)]).0, [3.1, -3.1]);
    }

    #[test]
    fn a_continuous_joint_is_unwrapped_against_the_plan_while_one_is_followed() {
        let mut measured = Measured::new(1);
        measured.update(0, (at(0), 3.0), JointKind::Continuous, None);
        measured.update(0, (at(5000), -3.0), JointKind::Continuous, Some(3.3));
        assert_eq!(measured.get(0), Some((at(5000), -3.0 + TAU)));
        assert_eq!(measured.turns(0, -3.1, JointKind::Continuous), (-3.1 + TAU) + 3.1);
        assert_eq!(measured.turns(0, -3.1, JointKind::Revolute), 0.0);
    }

    #[test]
    fn about_a_turn_between_two_samples_is_a_jump_of_a_joint_that_is_not_continuous() {
        let samples = [(0, 3.1), (200, -3.1), (400, -3.0)];
        assert_eq!(follow(JointKind::Revolute, &samples), (vec![3.1, -3.1, -3.0], 1));
        assert_eq!(follow(JointKind::Prismatic, &samples).1, 0);
        assert_eq!(follow(JointKind::Revolute, &[(0, 3.1), (200, 0.5)]).1, 0, "less than half a turn");
        assert_eq!(follow(JointKind::Revolute, &[(0, 3.1), (2000, -3.1)]).1, 0, "moved by hand meanwhile");
    }

    #[test]
    fn a_sample_that_comes_again_changes_nothing_and_a_clock_set_back_starts_anew() {
        let mut measured = Measured::new(1);
        for (ms, position, expected) in [(10_000, 1.0, 1.0), (10_000, 0.8, 1.0), (9_990, 0.9, 0.9), (5_000, 0.7, 0.7)] {
            measured.update(0, (at(ms), position), JointKind::Revolute, None);
            assert_eq!(measured.get(0).map(|(_, position)| position), Some(expected), "{ms}");
        }
    }

    #[test]
    fn the_joint_without_a_fresh_sample_is_named() {
        let mut measured = Measured::new(2);
        let max_age = Span::from_millis(100.0);
        measured.update(0, (at(1000), 1.0), JointKind::Revolute, None);
        assert_eq!(measured.not_fresh(at(1000), max_age), Some((1, None)));
        measured.update(1, (at(900), 1.0), JointKind::Revolute, None);
        assert_eq!(measured.not_fresh(at(1000), max_age), None);
        assert_eq!(measured.not_fresh(at(1010), max_age), Some((1, Some(Span::from_millis(110.0)))));
    }
}

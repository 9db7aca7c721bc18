//! Where the joints are, followed from sample to sample.

use std::f64::consts::PI;

use super::bounds::{JointBounds, JointKind};
use super::turns::nearest_turn;
use crate::time::{Span, Stamp};

/// Two samples that are further apart say nothing about the way between them.
const GAP: Span = Span::from_nanos(1_000_000_000);

/// Change of position between two samples that is about a turn: no joint moves so far in between.
const ABOUT_A_TURN: f64 = 1.5 * PI;

/// The newest measured positions of the joints of a motion, in its order. Allocates nothing after the first sample.
#[derive(Debug, Default)]
pub struct Measured {
    stamp: Option<Stamp>,
    /// As the driver published them.
    raw: Vec<f64>,
    /// The same, continuous joints unwrapped.
    positions: Vec<f64>,
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
    /// Takes up a sample, unless it is older than the one before. `followed`: the commanded position of a joint at the sample's
    /// stamp, while a plan is followed. A continuous joint is unwrapped against it, else against the sample before.
    pub fn take(
        &mut self,
        stamp: Stamp,
        raw: &[f64],
        bounds: &JointBounds,
        followed: impl Fn(usize) -> Option<f64>,
    ) -> Option<TurnJump> {
        let since = self.stamp.map(|before| stamp - before);
        // Much older: the clock was set back.
        if since.is_some_and(|since| since <= Span::ZERO && since.abs() <= GAP) {
            return None;
        }
        let within = since.filter(|&since| since > Span::ZERO && since <= GAP && self.raw.len() == raw.len());
        self.positions.resize(raw.len(), f64::NAN);
        let mut jump = None;
        for (joint, (position, &new)) in self.positions.iter_mut().zip(raw).enumerate() {
            match bounds.of(joint).kind {
                JointKind::Continuous => {
                    let reference = followed(joint).or(within.map(|_| *position));
                    *position = nearest_turn(new, reference.unwrap_or(new));
                    continue;
                }
                JointKind::Revolute => {
                    let from = self.raw.get(joint).copied().unwrap_or(new);
                    if let Some(within) = within.filter(|_| (new - from).abs() >= ABOUT_A_TURN) {
                        jump = jump.or(Some(TurnJump { joint, from, to: new, within }));
                    }
                }
                JointKind::Prismatic => {}
            }
            *position = new;
        }
        self.raw.clear();
        self.raw.extend_from_slice(raw);
        self.stamp = Some(stamp);
        jump
    }

    /// Stamp of the newest sample.
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Its positions, rad or m; empty before the first.
    pub fn positions(&self) -> &[f64] {
        &self.positions
    }

    /// Whole turns, in rad, between a position of a sample that is not much older and the unwrapped one; 0 for joints that are
    /// not continuous.
    pub fn turns(&self, joint: usize, raw: f64, bounds: &JointBounds) -> f64 {
        match self.positions.get(joint) {
            Some(&near) if bounds.of(joint).kind == JointKind::Continuous => nearest_turn(raw, near) - raw,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn of(kind: JointKind) -> JointBounds {
        JointBounds::new(&["a".to_owned()], [("a", Bounds { kind, ..Bounds::default() })]).expect("valid")
    }

    /// Positions and jumps after samples (ms, rad).
    fn follow(kind: JointKind, samples: &[(i64, f64)]) -> (Vec<f64>, usize) {
        let (mut measured, bounds, mut jumps) = (Measured::default(), of(kind), 0);
        let mut take = |&(ms, raw): &(i64, f64)| {
            jumps += usize::from(measured.take(at(ms), &[raw], &bounds, |_| None).is_some());
            measured.positions()[0]
        };
        let positions = samples.iter().map(&mut take).collect();
        (positions, jumps)
    }

    #[test]
    fn a_continuous_joint_is_unwrapped_against_the_sample_before() {
        let (positions, jumps) = follow(JointKind::Continuous, &[(0, 3.1), (10, -3.1), (20, -3.0), (30, -3.1), (40, 3.1)]);
        let turn = std::f64::consts::TAU;
        assert_eq!((positions, jumps), (vec![3.1, -3.1 + turn, -3.0 + turn, -3.1 + turn, 3.1], 0));
        // As the driver has it after a silence.
        assert_eq!(follow(JointKind::Continuous, &[(0, 3.1), (5000, -3.1)]).0, [3.1, -3.1]);
    }

    #[test]
    fn a_continuous_joint_is_unwrapped_against_the_plan_while_one_is_followed() {
        let (mut measured, bounds) = (Measured::default(), of(JointKind::Continuous));
        measured.take(at(0), &[3.0], &bounds, |_| None);
        measured.take(at(5000), &[-3.0], &bounds, |_| Some(3.3));
        assert_eq!(measured.positions(), [-3.0 + std::f64::consts::TAU]);
        assert_eq!(measured.turns(0, -3.1, &bounds), std::f64::consts::TAU);
        assert_eq!(measured.turns(0, -3.1, &of(JointKind::Revolute)), 0.0);
    }

    #[test]
    fn about_a_turn_between_two_samples_is_a_jump_of_a_joint_that_is_not_continuous() {
        let samples = [(0, 3.1), (200, -3.1), (400, -3.0)];
        assert_eq!(follow(JointKind::Revolute, &samples), (vec![3.1, -3.1, -3.0], 1));
        assert_eq!(follow(JointKind::Prismatic, &samples).1, 0);
        assert_eq!(follow(JointKind::Revolute, &[(0, 3.1), (200, 0.5)]).1, 0, "half a turn");
        assert_eq!(follow(JointKind::Revolute, &[(0, 3.1), (2000, -3.1)]).1, 0, "moved by hand meanwhile");
    }

    #[test]
    fn a_sample_that_comes_late_changes_nothing_and_a_clock_set_back_starts_anew() {
        let (mut measured, bounds) = (Measured::default(), of(JointKind::Revolute));
        for (ms, position, expected) in [(10_000, 1.0, 1.0), (9_990, 0.9, 1.0), (10_000, 0.8, 1.0), (5_000, 0.7, 0.7)] {
            measured.take(at(ms), &[position], &bounds, |_| None);
            assert_eq!(measured.positions(), [expected], "{ms}");
        }
    }
}

//! Makes one joint follow a reference within its limits.
//!
//! A step goes from one sample of the grid to the next. It takes the reference's own position and velocity (a cubic between the
//! samples) where that keeps every limit, and otherwise moves with one constant acceleration towards it, as a second-order
//! trajectory filter does (R. Zanasi, C. Guarino Lo Bianco and A. Tonielli, "Nonlinear filters for the generation of smooth
//! trajectories", Automatica 36, 2000): as fast as it can still brake to the reference's velocity before reaching it. So
//! between the samples, too, a limit is kept: a constant acceleration makes velocity monotone, and a cubic is checked
//! at its extremes.
//!
//! A position limit is kept by looking ahead: after every step the joint could still brake before it, with the whole steps of
//! this grid.

use super::grid::DT;
use super::limits::{JointLimits, LimitKind};
use vla_base::time::Span;

/// Time in which a joint without a limit of acceleration comes to rest. Much less would ask for a jerk that hardware answers with a
/// fault.
pub const STOP_WITHIN: Span = Span::from_nanos(200_000_000);

/// Room for rounding, relative.
const ROUNDING: f64 = 1.0 + 1e-9;
/// Share of the acceleration that approaching the reference plans to brake with; the rest follows its own accelerations.
const APPROACH: f64 = 0.7;
/// The same under a jerk limit, where acceleration takes its time to turn.
const APPROACH_WITH_JERK: f64 = 0.35;

/// State of a joint at a sample.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Kinematics {
    /// rad or m.
    pub position: f64,
    /// rad/s or m/s.
    pub velocity: f64,
    /// At the end of the step that led here.
    pub acceleration: f64,
}

/// The limits of one joint, as one plan keeps them.
#[derive(Clone, Copy, Debug)]
pub(super) struct JointLimiter {
    limits: JointLimits,
    /// Kept at all times.
    acceleration: f64,
    /// The velocity limit, or less where a slower joint alone can stop in time.
    velocity: f64,
    /// Deceleration of a stop; `None`: as much as `stop_within` asks for.
    stop: Option<f64>,
    /// Time of a stop of a joint without a limit of acceleration.
    stop_within: f64,
    /// Speed from which the acceleration limit brakes within the time that a stop may take.
    slow: f64,
}

impl JointLimiter {
    /// `stop_within`: time in s that a stop may take. A joint that brakes too slowly for it is kept slow enough; one without a
    /// limit of acceleration takes [`STOP_WITHIN`] of it.
    pub(crate) fn new(limits: JointLimits, stop_within: f64) -> Self {
        let stop = Some(limits.acceleration).filter(|limit| limit.is_finite());
        Self {
            limits,
            acceleration: limits.hard_acceleration(),
            velocity: stop.map_or(limits.velocity, |limit| limits.velocity.min(limit * stop_within)),
            stop,
            stop_within: stop_within.min(STOP_WITHIN.seconds()),
            slow: stop.map_or(f64::INFINITY, |limit| limit * stop_within),
        }
    }

    /// Keeps the acceleration of the plan `before` for a joint that is too fast to stop in time with its own: the limit of acceleration
    /// was lowered while the joint moved. It slows down to where its own is enough.
    pub(crate) fn take_over(&mut self, before: &Self, velocity: f64) {
        if velocity.abs() > self.slow * ROUNDING && before.braking(velocity) > self.braking(velocity) {
            self.limits.acceleration = before.limits.acceleration;
            (self.acceleration, self.stop, self.stop_within) = (before.acceleration, before.stop, before.stop_within);
        }
    }

    /// The position inside the limits that is nearest to `position`.
    pub(crate) fn inside(&self, position: f64) -> f64 {
        position.max(self.limits.min).min(self.limits.max)
    }

    /// One step towards the reference (position and velocity of the next sample), and the limit that kept it from reaching it.
    pub(crate) fn follow(&self, from: Kinematics, position: f64, velocity: f64) -> (Kinematics, Option<LimitKind>) {
        match self.direct(from, position, velocity) {
            Ok(to) => (to, None),
            Err(limited) => (self.towards(from, position, velocity), Some(limited)),
        }
    }

    /// Steps of a stop from this velocity.
    pub(crate) fn stopping_steps(&self, velocity: f64) -> i64 {
        let change = self.braking(velocity) * DT;
        if velocity == 0.0 { 0 } else { ((velocity.abs() / change - 1e-9).ceil() as i64).max(1) }
    }

    /// Deceleration to stop with from this velocity.
    pub(crate) fn braking(&self, velocity: f64) -> f64 {
        self.stop.unwrap_or(velocity.abs() / self.stop_within).min(self.acceleration)
    }

    /// One step of a stop with this deceleration.
    pub(crate) fn brake(&self, from: Kinematics, deceleration: f64) -> Kinematics {
        let left = from.velocity.abs() - deceleration * DT;
        // What rounding leaves is not another step.
        if left > deceleration * DT * 1e-9 {
            self.constant(from, left.copysign(from.velocity))
        } else {
            Kinematics { velocity: 0.0, ..self.constant(from, 0.0) }
        }
    }

    /// The cubic to the reference itself, or the limit that forbids it.
    fn direct(&self, from: Kinematics, position: f64, velocity: f64) -> Result<Kinematics, LimitKind> {
        let cubic = Cubic::between(from, position, velocity);
        if cubic.fastest() > self.velocity * ROUNDING {
            return Err(LimitKind::Velocity);
        }
        if cubic.start.abs().max(cubic.end.abs()) > self.acceleration * ROUNDING {
            return Err(LimitKind::Acceleration);
        }
        let (before, after) = self.room(from);
        let (low, high) = cubic.extremes();
        let stop = self.stopping_distance(velocity).copysign(velocity);
        let (low, high) = (low.min(position + stop), high.max(position + stop));
        if low < before - f64::EPSILON * before.abs() || high > after + f64::EPSILON * after.abs() {
            return Err(LimitKind::Position);
        }
        let most = self.limits.jerk * DT * ROUNDING;
        if (cubic.start - from.acceleration).abs().max((cubic.end - cubic.start).abs()) > most {
            return Err(LimitKind::Jerk);
        }
        Ok(Kinematics { position, velocity, acceleration: cubic.end })
    }

    /// One constant acceleration towards the reference.
    fn towards(&self, from: Kinematics, position: f64, velocity: f64) -> Kinematics {
        let error = position - from.position - (from.velocity + velocity) * DT / 2.0;
        let share = if self.limits.jerk.is_finite() { APPROACH_WITH_JERK } else { APPROACH };
        let brake = share * self.acceleration * DT;
        // The root of u^2 / (2 b) + u dt = |error|: near zero half the error goes now and the rest with the next step.
        let root = (brake * brake + 2.0 * share * self.acceleration * error.abs()).sqrt();
        let approach = 2.0 * share * self.acceleration * error.abs() / (root + brake).max(f64::MIN_POSITIVE);
        let wanted = velocity + approach.copysign(error);
        let most = self.limits.jerk * DT;
        let (slow, fast) = (from.acceleration - most, from.acceleration + most);
        self.constant(from, wanted.max(from.velocity + slow * DT).min(from.velocity + fast * DT))
    }

    /// The step of one acceleration whose end comes nearest to `wanted` velocity within the limits.
    fn constant(&self, from: Kinematics, wanted: f64) -> Kinematics {
        let change = self.acceleration * DT;
        let (least, most) = (from.velocity - change, from.velocity + change);
        // A joint that is too fast already (a limit was lowered) slows down as fast as it may.
        let high = most.min(self.velocity.max(least));
        let low = least.max((-self.velocity).min(most));
        let (before, after) = self.room(from);
        let high = self.last_safe(from, low, high, after);
        let mirrored =
            Kinematics { position: -from.position, velocity: -from.velocity, acceleration: -from.acceleration };
        let low = -self.last_safe(mirrored, -high, -low, -before);
        let velocity = wanted.min(high).max(low.min(high));
        Kinematics {
            position: from.position + (from.velocity + velocity) * DT / 2.0,
            velocity,
            acceleration: (velocity - from.velocity) / DT,
        }
    }

    /// The highest velocity up to `high` after which the joint can still stop before `wall`; `low` when there is none.
    fn last_safe(&self, from: Kinematics, low: f64, high: f64, wall: f64) -> f64 {
        let safe = |velocity: f64| {
            let end = from.position + (from.velocity + velocity) * DT / 2.0;
            end + self.stopping_distance(velocity.max(0.0)) <= wall
        };
        if wall == f64::INFINITY || safe(high) {
            return high;
        }
        let (mut low, mut high) = (low, high);
        for _ in 0..60 {
            let middle = low + (high - low) / 2.0;
            if safe(middle) { low = middle } else { high = middle }
        }
        low
    }

    /// The positions that the joint may take from here: its limits, or where it comes to rest when that is beyond them. A joint
    /// that was found outside is led in and not pushed.
    fn room(&self, from: Kinematics) -> (f64, f64) {
        let stop = from.position + self.stopping_distance(from.velocity).copysign(from.velocity);
        (self.limits.min.min(stop).min(from.position), self.limits.max.max(stop).max(from.position))
    }

    /// Distance to rest in whole steps at full deceleration.
    fn stopping_distance(&self, velocity: f64) -> f64 {
        let (speed, change) = (velocity.abs(), self.acceleration * DT);
        let full = ((speed / change).ceil() - 1.0).max(0.0);
        let rest = speed - full * change;
        DT * (full * speed - change * full * full / 2.0 + rest / 2.0)
    }
}

/// The cubic of one step, as its accelerations.
struct Cubic {
    from: Kinematics,
    to: (f64, f64),
    start: f64,
    end: f64,
}

impl Cubic {
    fn between(from: Kinematics, position: f64, velocity: f64) -> Self {
        let slope = (position - from.position) / DT;
        Self {
            from,
            to: (position, velocity),
            start: (6.0 * slope - 4.0 * from.velocity - 2.0 * velocity) / DT,
            end: (-6.0 * slope + 2.0 * from.velocity + 4.0 * velocity) / DT,
        }
    }

    fn jerk(&self) -> f64 {
        (self.end - self.start) / DT
    }

    fn velocity_at(&self, t: f64) -> f64 {
        self.from.velocity + t * (self.start + self.jerk() * t / 2.0)
    }

    fn position_at(&self, t: f64) -> f64 {
        self.from.position + t * (self.from.velocity + t * (self.start / 2.0 + self.jerk() * t / 6.0))
    }

    /// Greatest speed inside the step and at its end.
    fn fastest(&self) -> f64 {
        let turn = -self.start / self.jerk();
        let inside = if turn > 0.0 && turn < DT { self.velocity_at(turn).abs() } else { 0.0 };
        inside.max(self.to.1.abs())
    }

    /// Least and greatest position, ends included.
    fn extremes(&self) -> (f64, f64) {
        let (mut low, mut high) = (self.from.position.min(self.to.0), self.from.position.max(self.to.0));
        let (jerk, start) = (self.jerk(), self.start);
        let root = (start * start - 2.0 * jerk * self.from.velocity).sqrt();
        let straight = -self.from.velocity / start;
        for t in [(-start + root) / jerk, (-start - root) / jerk, straight] {
            if t > 0.0 && t < DT {
                let position = self.position_at(t);
                (low, high) = (low.min(position), high.max(position));
            }
        }
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(limiter: &JointLimiter, from: Kinematics, reference: &[f64]) -> Vec<Kinematics> {
        let mut at = from;
        let slope = |i: usize| {
            let (before, after) = (i.saturating_sub(1), (i + 1).min(reference.len() - 1));
            (reference[after] - reference[before]) / ((after - before) as f64 * DT)
        };
        (0..reference.len())
            .map(|i| {
                at = limiter.follow(at, limiter.inside(reference[i]), slope(i)).0;
                at
            })
            .collect()
    }

    fn limits() -> JointLimits {
        JointLimits { min: -1.0, max: 1.0, velocity: 2.0, acceleration: 10.0, ..JointLimits::default() }
    }

    #[test]
    fn a_reference_within_the_bounds_is_followed_to_the_bit() {
        let reference: Vec<f64> = (0..200).map(|i| 0.5 * (f64::from(i) * DT * 2.0).sin()).collect();
        let from = Kinematics { position: -0.01, velocity: 1.0, acceleration: 0.0 };
        let path = run(&JointLimiter::new(limits(), 0.25), from, &reference);
        assert!(path[5..].iter().zip(&reference[5..]).all(|(at, wanted)| at.position == *wanted));
    }

    #[test]
    fn a_step_of_the_reference_is_reached_and_held_without_passing_it() {
        let reference = [0.6; 150];
        for jerk in [f64::INFINITY, 300.0] {
            let path =
                run(&JointLimiter::new(JointLimits { jerk, ..limits() }, 0.25), Kinematics::default(), &reference);
            let most = path.iter().map(|at| at.position).fold(f64::MIN, f64::max);
            let end = path.last().expect("steps");
            assert!(most < 0.6 + 2e-3, "passes by {} with jerk {jerk}", most - 0.6);
            assert!((end.position - 0.6).abs() < 1e-6 && end.velocity.abs() < 1e-4, "{end:?} with jerk {jerk}");
        }
    }

    #[test]
    fn a_joint_that_starts_outside_is_led_in_and_never_further_out() {
        let from = Kinematics { position: 1.3, velocity: 0.5, acceleration: 0.0 };
        let limiter = JointLimiter::new(limits(), 0.25);
        let path = run(&limiter, from, &[1.3; 200]);
        let stop = 1.3 + limiter.stopping_distance(0.5);
        assert!(path.iter().all(|at| at.position <= stop + 1e-12));
        assert!((path.last().expect("steps").position - 1.0).abs() < 1e-6);
    }

    proptest! {
        /// At and between the samples, whatever the reference does.
        #[test]
        fn no_bound_is_passed_at_any_time(
            reference in prop::collection::vec(-2.0f64..2.0, 2..80),
            velocity in 0.05f64..5.0, acceleration in 0.5f64..60.0, start in -1.0f64..1.0,
        ) {
            let limits = JointLimits { velocity, acceleration, ..limits() };
            let mut at = Kinematics { position: start, ..Kinematics::default() };
            let limiter = JointLimiter::new(limits, 10.0);
            for next in run(&limiter, at, &reference) {
                let cubic = Cubic::between(at, next.position, next.velocity);
                prop_assert!(cubic.start.abs().max(cubic.end.abs()) <= acceleration * 1.000_001 + 1e-9);
                prop_assert!(cubic.fastest() <= velocity * 1.000_001 + 1e-9);
                let (low, high) = cubic.extremes();
                prop_assert!(low >= -1.0 - 1e-9 && high <= 1.0 + 1e-9, "{low} to {high}");
                at = next;
            }
        }

        /// A reference that is smooth, so that it is followed itself where the limits allow it, and too fast or too far at times.
        #[test]
        fn no_bound_is_passed_along_a_smooth_reference(
            reach in 0.2f64..1.5, pulse in 0.5f64..6.0, velocity in 0.2f64..3.0, acceleration in 5.0f64..60.0,
        ) {
            let reference: Vec<f64> = (0..300).map(|i| reach * (f64::from(i) * DT * pulse).sin()).collect();
            let limiter = JointLimiter::new(JointLimits { velocity, acceleration, ..limits() }, 10.0);
            let mut at = Kinematics::default();
            for next in run(&limiter, at, &reference) {
                let cubic = Cubic::between(at, next.position, next.velocity);
                prop_assert!(cubic.start.abs().max(cubic.end.abs()) <= acceleration * 1.000_001 + 1e-9);
                prop_assert!(cubic.fastest() <= velocity * 1.000_001 + 1e-9, "{}", cubic.fastest());
                let (low, high) = cubic.extremes();
                prop_assert!(low >= -1.0 - 1e-9 && high <= 1.0 + 1e-9, "{low} to {high}");
                at = next;
            }
        }

        /// A stop ends, and inside the limits.
        #[test]
        fn a_stop_ends_inside_the_bounds(position in -1.0f64..1.0, velocity in -2.0f64..2.0, limited in any::<bool>()) {
            let limits = JointLimits { acceleration: if limited { 10.0 } else { f64::INFINITY }, ..limits() };
            let limiter = JointLimiter::new(limits, 0.2);
            let mut at = Kinematics { position, velocity: velocity.clamp(-limiter.velocity, limiter.velocity), acceleration: 0.0 };
            let (before, after) = limiter.room(at);
            let deceleration = limiter.braking(at.velocity);
            let mut steps = 0;
            while at.velocity != 0.0 {
                at = limiter.brake(at, deceleration);
                steps += 1;
                prop_assert!(steps <= 21, "still at {} after {steps} steps", at.velocity);
            }
            prop_assert!(at.position >= before - 1e-9 && at.position <= after + 1e-9);
        }
    }
}

//! Where two replays differ first.

use std::fmt;

use vla_base::time::Stamp;
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage};

/// The first place where two replays differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// A value beyond the tolerance, or NaN on one side.
    Value {
        /// Stamp of the chunk.
        stamp: Stamp,
        /// Row of the chunk, from 0.
        row: usize,
        /// Joint.
        name: String,
        /// The golden value.
        expected: f32,
        /// This replay's.
        found: f32,
    },
    /// A chunk of another observation, shape, joints or due times.
    Chunk {
        /// Stamp of this replay's chunk.
        stamp: Stamp,
        /// What differs.
        what: &'static str,
        /// In the golden bag.
        expected: String,
        /// Here.
        found: String,
    },
    /// A trajectory at another time, of other joints, or of another number of points.
    Trajectory {
        /// Stamp of the golden trajectory.
        stamp: Stamp,
        /// What differs.
        what: &'static str,
        /// In the golden bag.
        expected: String,
        /// Here.
        found: String,
    },
    /// A point of a trajectory at another time, or beyond the tolerance.
    Point {
        /// Stamp of the trajectory.
        stamp: Stamp,
        /// The point, from 0.
        point: usize,
        /// What differs, with the joint where it is one's.
        what: String,
        /// In the golden bag.
        expected: String,
        /// Here.
        found: String,
    },
    /// One side ended before the other.
    Count {
        /// Chunks or trajectories.
        what: &'static str,
        /// Of the golden bag.
        expected: usize,
        /// Of this replay.
        found: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { stamp, row, name, expected, found } => {
                write!(f, "chunk {stamp}, row {row}, {name}: expected {expected}, found {found}")
            }
            Self::Chunk { stamp, what, expected, found } => {
                write!(f, "chunk {stamp}: {what}: expected {expected}, found {found}")
            }
            Self::Trajectory { stamp, what, expected, found } => {
                write!(f, "trajectory {stamp}: {what}: expected {expected}, found {found}")
            }
            Self::Point { stamp, point, what, expected, found } => {
                write!(f, "trajectory {stamp}, point {point}, {what}: expected {expected}, found {found}")
            }
            Self::Count { what, expected, found } => write!(f, "expected {expected} {what}, found {found}"),
        }
    }
}

/// How far apart the points of two trajectories may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    position: f64,
    velocity: f64,
}

impl Limits {
    /// Positions within `tolerance`; velocities within what makes so much in a step of the chunk.
    pub(super) fn new(tolerance: f32, step_s: f64) -> Self {
        let position = f64::from(tolerance);
        Self { position, velocity: if position > 0.0 && step_s > 0.0 { position / step_s } else { 0.0 } }
    }
}

/// The first difference of two chunks.
pub(super) fn chunks_differ(
    expected: &ActionChunkMessage,
    found: &ActionChunkMessage,
    tolerance: f32,
) -> Option<Difference> {
    let stamp = found.stamp;
    let chunk = |what, expected: String, found: String| Some(Difference::Chunk { stamp, what, expected, found });
    if expected.input_stamps != found.input_stamps || expected.input_names != found.input_names {
        return chunk("observation", identity(expected), identity(found));
    }
    if expected.names != found.names {
        return chunk("joints", expected.names.join(", "), found.names.join(", "));
    }
    if expected.horizon != found.horizon || expected.values.len() != found.values.len() {
        return chunk("rows", expected.horizon.to_string(), found.horizon.to_string());
    }
    if expected.step != found.step {
        return chunk("step", seconds(expected.step.seconds()), seconds(found.step.seconds()));
    }
    if expected.start != found.start {
        return chunk("start", expected.start.to_string(), found.start.to_string());
    }
    let width = found.names.len().max(1);
    let mut pairs = expected.values.iter().zip(&found.values).enumerate();
    let differs = |a: f32, b: f32| a.is_nan() || b.is_nan() || (a - b).abs() > tolerance;
    let (index, (expected, value)) = pairs.find(|(_, (a, b))| differs(**a, **b))?;
    let name = found.names.get(index % width).cloned().unwrap_or_default();
    Some(Difference::Value { stamp, row: index / width, name, expected: *expected, found: *value })
}

/// The first difference of two trajectories.
pub(super) fn trajectories_differ(
    expected: &JointTrajectoryMessage,
    found: &JointTrajectoryMessage,
    limits: Limits,
) -> Option<Difference> {
    let stamp = expected.stamp;
    let whole = |what, expected: String, found: String| Some(Difference::Trajectory { stamp, what, expected, found });
    if expected.stamp != found.stamp {
        return whole("stamp", expected.stamp.to_string(), found.stamp.to_string());
    }
    if expected.joint_names != found.joint_names {
        return whole("joints", expected.joint_names.join(", "), found.joint_names.join(", "));
    }
    for (point, (a, b)) in expected.points.iter().zip(&found.points).enumerate() {
        let at = |what: String, expected: String, found: String| {
            Some(Difference::Point { stamp, point, what, expected, found })
        };
        if a.time_from_start != b.time_from_start {
            let [a, b] = [a, b].map(|point| seconds(point.time_from_start.seconds()));
            return at("time_from_start".to_owned(), a, b);
        }
        let values = [
            ("position", &a.positions, &b.positions, limits.position),
            ("velocity", &a.velocities, &b.velocities, limits.velocity),
        ];
        for (what, a, b, limit) in values {
            if a.len() != b.len() {
                return at(format!("values of {what}"), a.len().to_string(), b.len().to_string());
            }
            let differs = |a: f64, b: f64| a.is_nan() || b.is_nan() || (a - b).abs() > limit;
            if let Some((joint, (a, b))) = a.iter().zip(b).enumerate().find(|(_, (a, b))| differs(**a, **b)) {
                let joint = expected.joint_names.get(joint).map_or("?", String::as_str);
                return at(format!("{what} of {joint}"), a.to_string(), b.to_string());
            }
        }
    }
    if expected.points.len() != found.points.len() {
        return whole("points", expected.points.len().to_string(), found.points.len().to_string());
    }
    None
}

fn seconds(seconds: f64) -> String {
    format!("{seconds} s")
}

fn identity(chunk: &ActionChunkMessage) -> String {
    let inputs = chunk.input_names.iter().zip(&chunk.input_stamps);
    inputs.map(|(name, stamp)| format!("{name} {stamp}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_base::time::Span;
    use vla_messages::TrajectoryPoint;

    fn trajectory() -> JointTrajectoryMessage {
        let point = |ms: f64| TrajectoryPoint {
            positions: vec![ms, -ms],
            velocities: vec![1.0, -1.0],
            time_from_start: Span::from_millis(ms),
        };
        JointTrajectoryMessage {
            stamp: Stamp::from_nanos(1_000_000_000),
            joint_names: vec!["a".into(), "b".into()],
            points: vec![point(0.0), point(10.0)],
            ..JointTrajectoryMessage::default()
        }
    }

    /// How a trajectory that was changed differs, with a tolerance of 0.01 and a step of 0.1 s.
    fn changed(change: impl FnOnce(&mut JointTrajectoryMessage)) -> Option<String> {
        let mut other = trajectory();
        change(&mut other);
        trajectories_differ(&trajectory(), &other, Limits::new(0.01, 0.1)).map(|difference| difference.to_string())
    }

    #[test]
    fn positions_may_differ_by_the_tolerance_and_velocities_by_it_in_a_step() {
        assert_eq!(changed(|_| {}), None);
        assert_eq!(changed(|other| other.points[1].positions[1] += 0.009), None);
        assert_eq!(changed(|other| other.points[1].velocities[0] += 0.09), None);
        let position = changed(|other| other.points[1].positions[1] += 0.011).expect("too far");
        assert!(position.contains("point 1, position of b: expected -10, found -9.98"), "{position}");
        let velocity = changed(|other| other.points[0].velocities[0] += 0.11).expect("too fast");
        assert!(velocity.contains("point 0, velocity of a: expected 1, found 1.11"), "{velocity}");
        assert!(changed(|other| other.points[0].positions[0] = f64::NAN).is_some());
    }

    #[test]
    fn times_joints_and_numbers_of_points_must_be_equal() {
        let nano = Span::from_nanos(1);
        let time = changed(|other| other.points[1].time_from_start = Span::from_nanos(10_000_001));
        assert!(time.expect("later").contains("point 1, time_from_start"));
        assert!(changed(|other| other.stamp = other.stamp + nano).expect("later").contains("stamp"));
        assert!(changed(|other| other.joint_names[0] = "c".into()).expect("another").contains("joints"));
        assert!(changed(|other| drop(other.points.pop())).expect("fewer").contains("points: expected 2, found 1"));
        assert!(changed(|other| other.points[0].velocities.clear()).expect("fewer").contains("values of velocity"));
    }

    #[test]
    fn without_a_tolerance_everything_is_exact() {
        let mut other = trajectory();
        other.points[0].velocities[0] += 1e-12;
        assert!(trajectories_differ(&trajectory(), &other, Limits::new(0.0, 0.1)).is_some());
        assert_eq!(trajectories_differ(&trajectory(), &trajectory(), Limits::new(0.0, f64::NAN)), None);
    }
}

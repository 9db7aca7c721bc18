//! Goals and results of `control_msgs/action/FollowJointTrajectory`.

use r2r::builtin_interfaces::msg::Duration;
use r2r::control_msgs::action::FollowJointTrajectory::{Goal, Result as Reached};
use r2r::std_msgs::msg::Header;
use r2r::trajectory_msgs::msg::{JointTrajectory, JointTrajectoryPoint};

use crate::convert::time;
use vla_base::time::{Span, Stamp};
use vla_messages::{JointTrajectoryMessage, TrajectoryPoint};

/// When the trajectory ends.
pub(super) fn end_of(trajectory: &JointTrajectoryMessage) -> Stamp {
    trajectory.stamp + trajectory.points.last().map_or(Span::ZERO, |point| point.time_from_start)
}

/// The result of a goal as text: the error's name, number and the controller's own words.
pub(super) fn reason(result: &Reached) -> String {
    let name = match result.error_code {
        0 => "no error code",
        -1 => "INVALID_GOAL",
        -2 => "INVALID_JOINTS",
        -3 => "OLD_HEADER_TIMESTAMP",
        -4 => "PATH_TOLERANCE_VIOLATED",
        -5 => "GOAL_TOLERANCE_VIOLATED",
        _ => "unknown error",
    };
    let text = result.error_string.trim();
    let text = if text.is_empty() { "no error string" } else { text };
    format!("{name} ({}), {text}", result.error_code)
}

/// A goal whose tolerances are the controller's own.
pub(super) fn goal(trajectory: &JointTrajectoryMessage) -> Goal {
    let point = |point: &TrajectoryPoint| JointTrajectoryPoint {
        positions: point.positions.clone(),
        velocities: point.velocities.clone(),
        time_from_start: duration(point.time_from_start),
        ..JointTrajectoryPoint::default()
    };
    let trajectory = JointTrajectory {
        header: Header { stamp: time(trajectory.stamp), frame_id: String::new() },
        joint_names: trajectory.joint_names.clone(),
        points: trajectory.points.iter().map(point).collect(),
    };
    Goal { trajectory, ..Goal::default() }
}

fn duration(span: Span) -> Duration {
    let nanos = span.nanos().max(0);
    let sec = i32::try_from(nanos / 1_000_000_000).unwrap_or(i32::MAX);
    Duration { sec, nanosec: u32::try_from(nanos % 1_000_000_000).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_named_with_its_number_and_the_controllers_words() {
        let result = Reached { error_code: -4, error_string: "elbow is 0.4 rad off".into() };
        assert_eq!(reason(&result), "PATH_TOLERANCE_VIOLATED (-4), elbow is 0.4 rad off");
        assert!(reason(&Reached { error_code: -42, ..Reached::default() }).contains("-42"));
    }

    #[test]
    fn a_goal_has_the_times_of_the_trajectory() {
        let point = TrajectoryPoint {
            positions: vec![0.5],
            velocities: vec![0.0],
            time_from_start: Span::from_nanos(1_250_000_000),
        };
        let trajectory = JointTrajectoryMessage {
            stamp: Stamp::from_nanos(7_000_000_001),
            frame_id: String::new(),
            joint_names: vec!["elbow".into()],
            points: vec![point],
        };
        let goal = goal(&trajectory).trajectory;
        assert_eq!((goal.header.stamp.sec, goal.header.stamp.nanosec), (7, 1));
        let last = &goal.points[0].time_from_start;
        assert_eq!((last.sec, last.nanosec), (1, 250_000_000));
        assert_eq!(end_of(&trajectory), Stamp::from_nanos(8_250_000_001));
    }
}

//! Parameters of the motion between chunks: hand-over, watchdog, limits, streamed commands.

use super::{declare, fixed, one_of, text, up_to};
use ros2_parameters::Value;
use ros2_parameters::{Constraint, Declaration};

/// Longest blend and longest hold before a stop, in ms.
const LONGEST_MS: f64 = 3_600_000.0;

/// All of them but the limits of single joints.
pub(super) fn motion() -> Vec<Declaration> {
    let mut all = hand_over();
    all.extend(safety());
    all.extend(command());
    all
}

fn hand_over() -> Vec<Declaration> {
    vec![
        declare(
            "handover.mode",
            text("blend"),
            one_of(&["replace", "blend", "ensemble", "rtc"]),
            "How a new chunk joins the motion of the one before: at once; blended over handover.blend_ms; as the weighted mean of all \
             chunks that have a row for the time; or with the rows that will be late kept as promised and the policy told of them.",
        ),
        declare(
            "handover.blend_ms",
            Value::Double(100.0),
            up_to(0.0, 10_000.0),
            "Time in ms of the blend from the promised motion into the new one (blend, ensemble, and the start from rest). At most the \
             time between two chunks, or the motion lags.",
        ),
        declare(
            "handover.ensemble_decay",
            Value::Double(0.01),
            up_to(0.0, 100.0),
            "m of the weights exp(-m i) of ensemble, i counting from the oldest chunk: 0 is the plain mean, more trusts the oldest.",
        ),
        declare(
            "handover.rtc_frozen",
            Value::Integer(0),
            Constraint::IntegerRange { from: 0, to: 1000, step: 0 },
            "Rows that rtc keeps as promised. 0: as many as the measured latency (95th percentile) makes late, and one.",
        ),
        declare(
            "handover.rtc_overlap",
            Value::Integer(8),
            Constraint::IntegerRange { from: 0, to: 1000, step: 0 },
            "Rows after the frozen ones over which rtc goes from the promised motion to the new one.",
        ),
    ]
}

fn safety() -> Vec<Declaration> {
    vec![
        declare(
            "max_blind_s",
            Value::Double(0.5),
            up_to(0.1, 10.0),
            "Longest motion in s without a new chunk: every trajectory is cut and ends in a stop by then, also when the node is \
             killed. At most half of it is the stop, so a joint with a limit of acceleration a is kept below a * max_blind_s / 2.",
        ),
        declare(
            "watchdog.stop_after_ms",
            Value::Double(10_000.0),
            up_to(0.0, LONGEST_MS),
            "How long in ms the robot may hold for want of chunks before it is stopped and ~/resume is needed. 0: for ever.",
        ),
        fixed(
            "motion.allow_unlimited",
            Value::Bool(false),
            Constraint::None,
            "Let joints move that have no limit of velocity, from limits.<joint>.velocity or limits_from. false: where one joint has \
             none, chunks are published and no motion is.",
        ),
        declare(
            "clamps.refuse_after",
            Value::Integer(0),
            Constraint::IntegerRange { from: 0, to: 1_000_000, step: 0 },
            "Chunks in a row that may meet a joint's limit; further ones are refused until one meets none. Limits met on the \
             way from rest do not count. 0: any number.",
        ),
        fixed(
            "realtime.priority",
            Value::Integer(0),
            Constraint::IntegerRange { from: 0, to: 99, step: 0 },
            "Real-time priority (SCHED_FIFO) of the watchdog and the stream thread: they then run before everything without one, the \
             inference included. 0: none. What the system refuses is a warning that says what to set (docs/motion.md).",
        ),
    ]
}

fn command() -> Vec<Declaration> {
    vec![
        declare(
            "command_rate_hz",
            Value::Double(0.0),
            up_to(0.0, 1000.0),
            "Single commands per second on ~/joint_command, interpolated from the motion. 0: none, ~/joint_trajectory alone.",
        ),
        fixed(
            "command_type",
            text("joint_state"),
            one_of(&["joint_state", "multi_array"]),
            "Message of ~/joint_command: sensor_msgs/JointState with names, positions and velocities, or \
             std_msgs/Float64MultiArray with the positions in the order of the action's joints, as ros2_control's \
             forward_command_controller takes them.",
        ),
        fixed(
            "limits_from",
            text("none"),
            one_of(&["none", "file", "topic"]),
            "Where limits of position and velocity come from besides limits.<joint>: nowhere, a URDF file, or the topic of a robot \
             description. Of two limits the tighter holds. From a topic: nothing moves until it has come, and while the last that came \
             contradicts limits.<joint>. Zeros of a description are placeholders: limits.<joint> has to replace them.",
        ),
        fixed("limits_file", text(""), Constraint::None, "The URDF file of limits_from: file."),
        fixed(
            "limits_topic",
            text("robot_description"),
            Constraint::TopicName,
            "Topic of limits_from: topic (std_msgs/String holding URDF, transient local).",
        ),
    ]
}

//! Parameters of the motion between chunks: transitions, safety, streamed commands, sources of limits.

use super::{Allowed, LONGEST_MS, LimitsSource, Param};
use crate::parameters::settings::CommandKind;
use vla_base::time::Span;
use vla_motion::TransitionMode;

pub(crate) const MODE: Param<TransitionMode> = Param::word(
    "handover.mode",
    "blend",
    "How a new chunk takes over from the trajectory before. replace: at once. blend: over handover.blend_ms. ensemble: the weighted mean \
     of all chunks that have a row for the time. rtc: the rows that will be late stay as committed, and the policy receives them as an \
     action prefix.",
);

pub(crate) const BLEND: Param<Span> = Param::millis(
    "handover.blend_ms",
    100.0,
    (0.0, 10_000.0),
    "Time in ms of the blend from the committed trajectory to the new one (blend, ensemble, and the start from rest). At most the time \
     between two chunks, or the motion lags.",
);

pub(crate) const ENSEMBLE_DECAY: Param<f64> = Param::double(
    "handover.ensemble_decay",
    0.01,
    (0.0, 100.0),
    "m of the weights exp(-m i) of ensemble, i counting from the oldest chunk: 0 is the plain mean; the larger m, the more weight the \
     oldest chunk has.",
);

pub(crate) const RTC_FROZEN: Param<Option<usize>> = Param::integer_or_off(
    "handover.rtc_frozen",
    0,
    (0, 1000),
    "Rows that rtc keeps as committed. 0: one more than the measured latency (95th percentile) makes late.",
);

pub(crate) const RTC_OVERLAP: Param<usize> = Param::integer(
    "handover.rtc_overlap",
    8,
    (0, 1000),
    "Rows after the frozen ones over which rtc ramps from the committed trajectory to the new one.",
);

pub(crate) const MAX_BLIND: Param<Span> = Param::seconds(
    "max_blind_s",
    0.5,
    (0.1, 10.0),
    "Longest motion in s without a new chunk: every trajectory ends in a stop by then, also when the node is killed. At most half of it is \
     the stop, so a joint with a limit of acceleration a is kept below a * max_blind_s / 2.",
);

pub(crate) const STOP_AFTER: Param<Option<Span>> = Param::millis_or_off(
    "watchdog.stop_after_ms",
    10_000.0,
    (0.0, LONGEST_MS),
    "How long in ms the robot may hold without a new chunk before it is stopped and ~/resume is needed. 0: no limit.",
);

pub(crate) const ALLOW_UNLIMITED: Param<bool> = Param::flag(
    "motion.allow_unlimited",
    false,
    "Let joints move that have no limit of velocity, from limits.<joint>.velocity or limits_from. false: while one joint has none, chunks \
     are published and trajectories are not.",
)
.fixed();

pub(crate) const REFUSE_AFTER: Param<Option<u64>> = Param::integer_or_off(
    "clamps.refuse_after",
    0,
    (0, 1_000_000),
    "Chunks in a row that may meet a joint's limit; further ones are refused until one meets none. Limits met on the way from rest do not \
     count. 0: any number.",
);

pub(crate) const REALTIME_PRIORITY: Param<u8> = Param::integer(
    "realtime.priority",
    0,
    (0, 99),
    "Real-time priority (SCHED_FIFO) of the watchdog and the stream thread: they then run before every thread without one, the inference \
     included. 0: none. If the system refuses it, a warning says what to set (docs/motion.md).",
)
.fixed();

pub(crate) const COMMAND_RATE_HZ: Param<f64> = Param::double(
    "command_rate_hz",
    0.0,
    (0.0, 1000.0),
    "Single commands per second on ~/joint_command, interpolated from the motion. 0: none, only ~/joint_trajectory. \
     Outputs that sample the motion (joint_command, twist, pose) need 10 or more.",
);

pub(crate) const COMMAND_TYPE: Param<CommandKind> = Param::word(
    "command_type",
    "joint_state",
    "Message of ~/joint_command: sensor_msgs/JointState with names, positions and velocities, or std_msgs/Float64MultiArray with the \
     positions in the order of the action's joints, for ros2_control's forward_command_controller.",
)
.fixed();

pub(crate) const LIMITS_FROM: Param<LimitsSource> = Param::word(
    "limits_from",
    "none",
    "Source of limits of position and velocity besides limits.<joint>: none, a URDF file, or the topic of a robot description. Of two \
     limits the tighter holds. With topic: the robot does not move before a description has arrived, nor while the last one contradicts \
     limits.<joint>. Zeros in a description are placeholders: limits.<joint> has to replace them.",
)
.fixed();

pub(crate) const LIMITS_FILE: Param<String> =
    Param::text("limits_file", "", Allowed::Any, "The URDF file of limits_from: file.").fixed();

pub(crate) const LIMITS_TOPIC: Param<String> = Param::text(
    "limits_topic",
    "robot_description",
    Allowed::Topic,
    "Topic of limits_from: topic (std_msgs/String holding URDF, transient local).",
)
.fixed();

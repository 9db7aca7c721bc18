//! Parameters of state and action keys (`{}` is a key) and of the limits of single joints (`{}` is a joint).

use super::{Allowed, Param, Preset, convert};
use vla_policy::processor::DeltaRows;

/// The number of joints is the key's width.
pub(crate) const STATE_JOINTS: Param<Vec<String>> = Param::strings(
    "state.{}.joints",
    "Joints of the state {}, by their names in JointState, in the policy's order. Either joints or a pose are required.",
)
.fixed();

/// The declaration adds the widths of poses.
pub(crate) const STATE_POSE: Param<Option<String>> = Param::text_or_none(
    "state.{}.pose",
    Allowed::InputName,
    "Name of the pose that gives the state {}, instead of joints; inputs.poses.NAME configures its source. The width of the key decides \
     the values: ",
)
.fixed();

/// The declaration adds the words.
pub(crate) const STATE_POSE_PARTS: Param<Vec<String>> = Param::strings(
    "state.{}.pose_parts",
    "Parts of its pose that the state {} holds, in the policy's order, such as [px] or [position, quaternion_xyzw]. Empty: by the width of the \
     key. Single values: ",
)
.fixed();

pub(crate) const STATE_SCALE: Param<Vec<f64>> =
    Param::doubles("state.{}.scale", "Factor of each joint: model = joint * scale + offset, joint in rad or m.")
        .fixed();

pub(crate) const STATE_OFFSET: Param<Vec<f64>> =
    Param::doubles("state.{}.offset", "Offset of each joint, in the model's unit.").fixed();

/// The declaration adds what an empty list means.
pub(crate) const ACTION_JOINTS: Param<Vec<String>> =
    Param::strings("action.{}.joints", "Joints that the action {} moves, in the policy's order. ").fixed();

/// As [`ACTION_JOINTS`].
pub(crate) const ACTION_SCALE: Param<Vec<f64>> =
    Param::doubles("action.{}.scale", "Factor of each joint: joint = (model - offset) / scale, joint in rad or m. ")
        .fixed();

/// As [`ACTION_JOINTS`].
pub(crate) const ACTION_OFFSET: Param<Vec<f64>> =
    Param::doubles("action.{}.offset", "Offset of each joint, in the model's unit. ").fixed();

/// Default and allowed values depend on policy.yaml; empty where neither it nor the parameter decides.
pub(crate) const ACTION_DELTA: Param<Option<DeltaRows>> = Param::new(
    "action.{}.delta",
    Preset::Text(""),
    Allowed::ByPolicy,
    "Only where the action {} predicts deltas (rep: DELTA in processor_config.json): meaning of a row. cumulative: the change from the row \
     before (row i = state + rows 0 to i); from_state: the change from the observed state (row i = state + row i). Required where \
     policy.yaml does not set it (`vla-trt export --delta`); takes precedence over policy.yaml.",
    |value| match convert::text_or_none(value)? {
        Some(word) => word.parse().ok().map(Some),
        None => Some(None),
    },
)
.fixed();

pub(crate) const MIN: Param<f64> = Param::new(
    "limits.{}.min",
    Preset::Double(f64::NEG_INFINITY),
    Allowed::NotNan,
    "Least position that {} is commanded to, in rad or m; actions beyond are clamped and counted. -.inf: none.",
    convert::float,
);

pub(crate) const MAX: Param<f64> = Param::new(
    "limits.{}.max",
    Preset::Double(f64::INFINITY),
    Allowed::NotNan,
    "Greatest position that {} is commanded to, in rad or m; actions beyond are clamped and counted. .inf: none.",
    convert::float,
);

/// Above zero.
const RATE: (f64, f64) = (1e-6, f64::INFINITY);

pub(crate) const VELOCITY: Param<f64> =
    Param::double("limits.{}.velocity", f64::INFINITY, RATE, "Greatest speed of {}, in rad/s or m/s. .inf: none.");

pub(crate) const ACCELERATION: Param<f64> = Param::double(
    "limits.{}.acceleration",
    f64::INFINITY,
    RATE,
    "Greatest acceleration of {}, stops included, in rad/s² or m/s². .inf: none.",
);

pub(crate) const JERK: Param<f64> = Param::double(
    "limits.{}.jerk",
    f64::INFINITY,
    RATE,
    "Greatest jerk of {} while it follows rows, in rad/s³ or m/s³; the other limits and stops take precedence. .inf: none.",
);

pub(crate) const TRACKING_ERROR: Param<Option<f64>> = Param::double_or_off(
    "limits.{}.tracking_error",
    0.0,
    (0.0, f64::INFINITY),
    "Largest distance between the measured and the commanded position of {} while it moves, in rad or m; beyond it the motion brakes. 0: \
     0.5 rad, or 0.1 m for a joint that the robot description calls prismatic. .inf: any, as for a gripper that closes on objects.",
);

pub(crate) const CONTINUOUS: Param<bool> = Param::flag(
    "limits.{}.continuous",
    false,
    "{} turns without end: positions that differ by a whole turn are the same, and motion takes the short way. The same holds for a joint \
     that the robot description calls continuous.",
)
.fixed();

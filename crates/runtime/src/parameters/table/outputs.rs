//! Parameters of the outputs: `{}` is the name of a route. A route exists where a parameter of its group is given.

use super::{Allowed, Param, Preset, convert};
use crate::parameters::settings::{OutputKind, OutputMessage};

/// First part of the names.
pub(crate) const GROUP: &str = "outputs.";

/// Empty where it is not given, which is reported as missing.
pub(crate) const KIND: Param<Option<OutputKind>> = Param::new(
    "outputs.{}.kind",
    Preset::Text(""),
    Allowed::OneOf(&[
        "",
        "joint_trajectory",
        "joint_command",
        "follow_joint_trajectory",
        "gripper_command",
        "twist",
        "pose",
        "column",
    ]),
    "How the output {} commands the robot. joint_trajectory: trajectory_msgs/JointTrajectory on a topic. joint_command: single commands on a \
     topic, command_rate_hz a second. follow_joint_trajectory: goals of the action control_msgs/FollowJointTrajectory. gripper_command: \
     goals of the action control_msgs/GripperCommand or ParallelGripperCommand. twist: geometry_msgs/TwistStamped. pose: \
     geometry_msgs/PoseStamped. column: none, another node reads the values from ~/action_chunk. Required. Where one output is given, \
     every action key needs one, and ~/joint_trajectory and ~/joint_command are not published.",
    |value| match convert::text_or_none(value)? {
        None => Some(None),
        Some(_) => convert::word(value).map(Some),
    },
)
.fixed();

pub(crate) const TOPIC: Param<String> = Param::text(
    "outputs.{}.topic",
    "~/{}",
    Allowed::Topic,
    "Topic of the output {} (kinds joint_trajectory, joint_command, twist and pose).",
)
.fixed();

pub(crate) const ACTION: Param<Option<String>> = Param::text_or_none(
    "outputs.{}.action",
    Allowed::OptionalTopic,
    "Action of the output {}, such as /left_arm_controller/follow_joint_trajectory. Required for the kinds follow_joint_trajectory and \
     gripper_command.",
)
.fixed();

pub(crate) const KEYS: Param<Vec<String>> = Param::strings(
    "outputs.{}.keys",
    "Action keys of the policy that the output {} commands. Keys or joints are required. Kinds of joints command the joints of these \
     keys, in their order.",
)
.fixed();

pub(crate) const JOINTS: Param<Vec<String>> = Param::strings(
    "outputs.{}.joints",
    "Joints that the output {} commands, in this order, as an alternative to keys. Only kinds of joints: joint_trajectory, joint_command, \
     follow_joint_trajectory and gripper_command (which takes one joint).",
)
.fixed();

pub(crate) const MESSAGE: Param<OutputMessage> = Param::word(
    "outputs.{}.type",
    "default",
    "Message of the output {}. joint_command: joint_state (sensor_msgs/JointState, the default) or multi_array \
     (std_msgs/Float64MultiArray). gripper_command: gripper_command (the default) or parallel_gripper_command, both of control_msgs.",
)
.fixed();

pub(crate) const FRAME_ID: Param<String> = Param::text(
    "outputs.{}.frame_id",
    "",
    Allowed::Any,
    "frame_id of the messages of the output {} (kinds twist and pose). Empty: as the parameter frame_id, which a pose needs then.",
)
.fixed();

pub(crate) const COMPONENTS: Param<Vec<String>> = Param::strings(
    "outputs.{}.components",
    "Components of the twist {} that the values of its keys are, in their order: linear.x, linear.y, linear.z in m/s, angular.x, \
     angular.y, angular.z in rad/s. The others are zero.",
)
.fixed();

pub(crate) const MAX: Param<Vec<f64>> = Param::doubles(
    "outputs.{}.max",
    "Greatest absolute value of each component of the twist {}, in m/s or rad/s. Required for the kind twist.",
)
.fixed();

pub(crate) const MAX_ACCELERATION: Param<Vec<f64>> = Param::doubles(
    "outputs.{}.max_acceleration",
    "Greatest change of each component of the twist {} per second, stops included, in m/s² or rad/s². Required for the kind twist. A \
     component that cannot stop within max_blind_s / 2 is kept slower than its max.",
)
.fixed();

pub(crate) const TOLERANCE: Param<f64> = Param::double(
    "outputs.{}.tolerance",
    0.002,
    (0.0, f64::INFINITY),
    "Change of the commanded position, in rad or m, below which the gripper {} receives no new goal.",
)
.fixed();

pub(crate) const MAX_RATE_HZ: Param<f64> =
    Param::double("outputs.{}.max_rate_hz", 5.0, (0.1, 1000.0), "Most goals per second that the gripper {} receives.")
        .fixed();

pub(crate) const MAX_EFFORT: Param<f64> = Param::double(
    "outputs.{}.max_effort",
    0.0,
    (0.0, f64::INFINITY),
    "max_effort of the goals of the gripper {}, in N or Nm. 0: the controller's own.",
)
.fixed();

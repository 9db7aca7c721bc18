//! Routes of the motion to the robot's controllers.

use vla_motion::PoseColumns;

/// One route: the part of the motion that it commands, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct OutputSettings {
    /// `outputs.<name>`.
    pub name: String,
    /// Topic or action, and what its kind needs.
    pub route: Route,
    /// Joints that it commands, in the order of its messages.
    pub joints: Vec<String>,
    /// Columns of a chunk that it commands (twist, pose), in the order of its keys.
    pub columns: Vec<String>,
}

/// Where commands go, by kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Route {
    /// `trajectory_msgs/JointTrajectory`.
    JointTrajectory {
        /// The topic.
        topic: String,
    },
    /// Single commands.
    JointCommand {
        /// The topic.
        topic: String,
        /// Their message.
        kind: CommandKind,
    },
    /// Goals of `control_msgs/action/FollowJointTrajectory`.
    FollowJointTrajectory {
        /// The action.
        action: String,
    },
    /// Goals of `control_msgs/action/GripperCommand`.
    GripperCommand(GripperRoute),
    /// `geometry_msgs/TwistStamped`.
    Twist(TwistRoute),
    /// `geometry_msgs/PoseStamped`.
    Pose(PoseRoute),
    /// Another node reads the values from `~/action_chunk`.
    Column,
}

/// A gripper with an action server.
#[derive(Clone, PartialEq, Debug)]
pub struct GripperRoute {
    /// The action.
    pub action: String,
    /// `ParallelGripperCommand` instead of `GripperCommand`.
    pub parallel: bool,
    /// Change of the commanded position below which no goal is sent, rad or m.
    pub tolerance: f64,
    /// Most goals per second.
    pub max_rate_hz: f64,
    /// N or Nm; 0: the controller's own.
    pub max_effort: f64,
}

/// A base that takes velocities.
#[derive(Clone, PartialEq, Debug)]
pub struct TwistRoute {
    /// The topic.
    pub topic: String,
    /// Of the header.
    pub frame_id: String,
    /// Component of each column: 0 to 2 linear x, y, z, and 3 to 5 angular x, y, z.
    pub components: Vec<usize>,
    /// Greatest absolute value of each column, m/s or rad/s.
    pub max: Vec<f64>,
    /// Greatest change per second of each column, m/s² or rad/s².
    pub max_acceleration: Vec<f64>,
}

/// An end effector whose controller takes poses.
#[derive(Clone, PartialEq, Debug)]
pub struct PoseRoute {
    /// The topic.
    pub topic: String,
    /// Of the header.
    pub frame_id: String,
    /// How the columns encode the rotation.
    pub layout: PoseColumns,
}

impl Route {
    /// Its kind.
    pub const fn kind(&self) -> OutputKind {
        match self {
            Self::JointTrajectory { .. } => OutputKind::JointTrajectory,
            Self::JointCommand { .. } => OutputKind::JointCommand,
            Self::FollowJointTrajectory { .. } => OutputKind::FollowJointTrajectory,
            Self::GripperCommand(_) => OutputKind::GripperCommand,
            Self::Twist(_) => OutputKind::Twist,
            Self::Pose(_) => OutputKind::Pose,
            Self::Column => OutputKind::Column,
        }
    }

    /// Its topic, if it has one.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::JointTrajectory { topic } | Self::JointCommand { topic, .. } => Some(topic),
            Self::Twist(twist) => Some(&twist.topic),
            Self::Pose(pose) => Some(&pose.topic),
            Self::FollowJointTrajectory { .. } | Self::GripperCommand(_) | Self::Column => None,
        }
    }

    /// Its action, if it has one.
    pub fn action(&self) -> Option<&str> {
        match self {
            Self::FollowJointTrajectory { action } => Some(action),
            Self::GripperCommand(gripper) => Some(&gripper.action),
            _ => None,
        }
    }

    /// Whether it samples the motion `command_rate_hz` times a second.
    pub const fn is_streamed(&self) -> bool {
        matches!(self, Self::JointCommand { .. } | Self::Twist(_) | Self::Pose(_))
    }
}

/// Kind of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputKind {
    /// `trajectory_msgs/JointTrajectory` on a topic.
    JointTrajectory,
    /// Single commands of joints on a topic.
    JointCommand,
    /// Goals of `control_msgs/action/FollowJointTrajectory`.
    FollowJointTrajectory,
    /// Goals of a gripper's action.
    GripperCommand,
    /// `geometry_msgs/TwistStamped` on a topic.
    Twist,
    /// `geometry_msgs/PoseStamped` on a topic.
    Pose,
    /// None.
    Column,
}

impl OutputKind {
    /// The word used in parameters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JointTrajectory => "joint_trajectory",
            Self::JointCommand => "joint_command",
            Self::FollowJointTrajectory => "follow_joint_trajectory",
            Self::GripperCommand => "gripper_command",
            Self::Twist => "twist",
            Self::Pose => "pose",
            Self::Column => "column",
        }
    }

    /// Whether it commands joints of the motion.
    pub const fn takes_joints(self) -> bool {
        matches!(self, Self::JointTrajectory | Self::JointCommand | Self::FollowJointTrajectory | Self::GripperCommand)
    }

    /// Whether it needs the package control_msgs.
    pub const fn needs_control_msgs(self) -> bool {
        matches!(self, Self::FollowJointTrajectory | Self::GripperCommand)
    }
}

/// Message of a route, where its kind has a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OutputMessage {
    /// The first of the kind's.
    #[default]
    Default,
    /// `sensor_msgs/JointState`.
    JointState,
    /// `std_msgs/Float64MultiArray`.
    MultiArray,
    /// `control_msgs/action/GripperCommand`.
    GripperCommand,
    /// `control_msgs/action/ParallelGripperCommand`.
    ParallelGripperCommand,
}

/// Message type of streamed commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CommandKind {
    /// `sensor_msgs/JointState`.
    #[default]
    JointState,
    /// `std_msgs/Float64MultiArray`.
    MultiArray,
}

//! From parameter values to the node's own types.

use ros2_parameters::Value;
use vla_base::time::Span;
use vla_engines::EngineKind;
use vla_messages::{BayerPattern, PixelFormat};
use vla_motion::TransitionMode;
use vla_policy::EncodeDevice;
use vla_policy::encode::pose::EulerOrder;
use vla_policy::observation::{Exif, OnViolation, Pairing, StampSource, Transport};

use crate::parameters::settings::{
    CommandKind, Durability, History, OutputKind, OutputMessage, Reliability, SecondGoal,
};

/// An enum that a parameter names by words. They are the declaration's allowed values, and the only ones that are read.
pub(crate) trait Words: Copy + 'static {
    /// Every value, in the order of the documentation.
    const ALL: &'static [Self];

    /// The word of a value.
    fn as_word(self) -> &'static str;
}

/// Source of limits besides the parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LimitsSource {
    /// No other source.
    #[default]
    None,
    /// A URDF file.
    File,
    /// The topic of a robot description.
    Topic,
}

/// Message that gives a pose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum PoseSource {
    /// `geometry_msgs/PoseStamped`.
    #[default]
    Pose,
    /// `nav_msgs/Odometry`.
    Odometry,
    /// `tf2_msgs/TFMessage`.
    Tf,
}

impl Words for PoseSource {
    const ALL: &'static [Self] = &[Self::Pose, Self::Odometry, Self::Tf];

    fn as_word(self) -> &'static str {
        match self {
            Self::Pose => "pose",
            Self::Odometry => "odometry",
            Self::Tf => "tf",
        }
    }
}

/// The orders of Euler angles.
pub(super) fn euler_words() -> Vec<String> {
    EulerOrder::words().map(str::to_owned).collect()
}

impl Words for LimitsSource {
    const ALL: &'static [Self] = &[Self::None, Self::File, Self::Topic];

    fn as_word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::File => "file",
            Self::Topic => "topic",
        }
    }
}

impl Words for EngineKind {
    const ALL: &'static [Self] = &[Self::Tensorrt, Self::Cuda, Self::Onnx];

    fn as_word(self) -> &'static str {
        match self {
            Self::Tensorrt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Onnx => "onnx",
        }
    }
}

impl Words for EncodeDevice {
    const ALL: &'static [Self] = &[Self::Auto, Self::Cpu, Self::Gpu];

    fn as_word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

impl Words for Transport {
    const ALL: &'static [Self] = &[Self::Raw, Self::Compressed];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

/// `None`: as the message says.
impl Words for Option<PixelFormat> {
    const ALL: &'static [Self] = &[
        None,
        Some(PixelFormat::Rgb8),
        Some(PixelFormat::Bgr8),
        Some(PixelFormat::Rgba8),
        Some(PixelFormat::Bgra8),
        Some(PixelFormat::Mono8),
        Some(PixelFormat::Uyvy),
        Some(PixelFormat::Yuyv),
        Some(PixelFormat::Bayer8(BayerPattern::Rggb)),
        Some(PixelFormat::Bayer8(BayerPattern::Bggr)),
        Some(PixelFormat::Bayer8(BayerPattern::Gbrg)),
        Some(PixelFormat::Bayer8(BayerPattern::Grbg)),
    ];

    fn as_word(self) -> &'static str {
        self.map_or("auto", PixelFormat::as_str)
    }
}

impl Words for Exif {
    const ALL: &'static [Self] = &[Self::Ignore, Self::Apply];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for StampSource {
    const ALL: &'static [Self] = &[Self::Header, Self::Arrival];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Reliability {
    const ALL: &'static [Self] = &[Self::BestEffort, Self::Reliable, Self::SystemDefault];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Durability {
    const ALL: &'static [Self] = &[Self::Volatile, Self::TransientLocal, Self::SystemDefault];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Pairing {
    const ALL: &'static [Self] = &[Self::Newest, Self::Frame];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for History {
    const ALL: &'static [Self] = &[Self::KeepLast, Self::SystemDefault];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for OnViolation {
    const ALL: &'static [Self] = &[Self::Skip, Self::Hold, Self::Stop];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for TransitionMode {
    const ALL: &'static [Self] = &[Self::Replace, Self::Blend, Self::Ensemble, Self::Rtc];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for SecondGoal {
    const ALL: &'static [Self] = &[Self::Refuse, Self::Queue];

    fn as_word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Queue => "queue",
        }
    }
}

impl Words for CommandKind {
    const ALL: &'static [Self] = &[Self::JointState, Self::MultiArray];

    fn as_word(self) -> &'static str {
        match self {
            Self::JointState => "joint_state",
            Self::MultiArray => "multi_array",
        }
    }
}

impl Words for OutputKind {
    const ALL: &'static [Self] = &[
        Self::JointTrajectory,
        Self::JointCommand,
        Self::FollowJointTrajectory,
        Self::GripperCommand,
        Self::Twist,
        Self::Pose,
        Self::Column,
    ];

    fn as_word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for OutputMessage {
    const ALL: &'static [Self] =
        &[Self::Default, Self::JointState, Self::MultiArray, Self::GripperCommand, Self::ParallelGripperCommand];

    fn as_word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::JointState => "joint_state",
            Self::MultiArray => "multi_array",
            Self::GripperCommand => "gripper_command",
            Self::ParallelGripperCommand => "parallel_gripper_command",
        }
    }
}

/// Every word of an enum.
pub(super) fn words<T: Words>() -> Vec<String> {
    T::ALL.iter().map(|value| value.as_word().to_owned()).collect()
}

pub(super) fn word<T: Words>(value: &Value) -> Option<T> {
    let Value::String(word) = value else { return None };
    T::ALL.iter().copied().find(|value| value.as_word() == word)
}

pub(super) fn flag(value: &Value) -> Option<bool> {
    if let Value::Bool(value) = value { Some(*value) } else { None }
}

pub(super) fn integer<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    if let Value::Integer(value) = value { T::try_from(*value).ok() } else { None }
}

pub(super) fn integer_or_off<T: TryFrom<i64>>(value: &Value) -> Option<Option<T>> {
    if let Value::Integer(0) = value { Some(None) } else { integer(value).map(Some) }
}

pub(super) fn float(value: &Value) -> Option<f64> {
    if let Value::Double(value) = value { Some(*value) } else { None }
}

pub(super) fn float_or_off(value: &Value) -> Option<Option<f64>> {
    float(value).map(|value| Some(value).filter(|&value| value > 0.0))
}

pub(super) fn seconds(value: &Value) -> Option<Span> {
    float(value).map(Span::from_seconds)
}

pub(super) fn millis(value: &Value) -> Option<Span> {
    float(value).map(Span::from_millis)
}

pub(super) fn millis_or_off(value: &Value) -> Option<Option<Span>> {
    millis(value).map(|span| Some(span).filter(|&span| span > Span::ZERO))
}

pub(super) fn text(value: &Value) -> Option<String> {
    if let Value::String(value) = value { Some(value.clone()) } else { None }
}

pub(super) fn text_or_none(value: &Value) -> Option<Option<String>> {
    text(value).map(|text| Some(text).filter(|text| !text.is_empty()))
}

pub(super) fn strings(value: &Value) -> Option<Vec<String>> {
    if let Value::StringArray(value) = value { Some(value.clone()) } else { None }
}

pub(super) fn floats(value: &Value) -> Option<Vec<f64>> {
    if let Value::DoubleArray(value) = value { Some(value.clone()) } else { None }
}

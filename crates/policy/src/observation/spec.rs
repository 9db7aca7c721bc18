//! The inputs of an observation, and its rules.

use std::fmt;
use std::sync::Arc;

use vla_base::time::Span;
use vla_messages::PixelFormat;

/// How a camera's frames travel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Transport {
    /// `sensor_msgs/Image`.
    #[default]
    Raw,
    /// `sensor_msgs/CompressedImage` (JPEG or PNG).
    Compressed,
}

impl Transport {
    /// The word used in parameters: `raw` or `compressed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Compressed => "compressed",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is done with the EXIF orientation of a camera's JPEG frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Exif {
    /// Frames are used as they are stored; a camera that sets an orientation is reported once.
    #[default]
    Ignore,
    /// Frames are turned and mirrored to be upright.
    Apply,
}

impl Exif {
    /// The word used in parameters: `ignore` or `apply`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Apply => "apply",
        }
    }
}

/// How the frames of a camera are read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FrameOptions {
    /// What the bytes of raw frames are, where their own encoding leaves it open; `None`: as the message says.
    pub encoding: Option<PixelFormat>,
    /// Use of the EXIF orientation of compressed frames.
    pub exif: Exif,
}

/// Frames that the policy reads beside the newest one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrameHistory {
    /// How long before the newest frame each was captured, the longest time first. Empty: none.
    pub before: Vec<Span>,
    /// How far from that time the nearest frame may be.
    pub tolerance: Span,
}

impl FrameHistory {
    /// The frames of a policy that reads those of `deltas`, in control steps of `step` relative to the newest. The nearest may be half
    /// a step away.
    pub fn new(deltas: &[i64], step: Span) -> Self {
        let before = deltas.iter().filter(|delta| **delta < 0).map(|delta| step.times(-delta));
        Self { before: before.collect(), tolerance: Span::from_nanos(step.nanos() / 2) }
    }

    /// How far back frames are needed.
    pub fn length(&self) -> Span {
        self.before
            .first()
            .map_or(Span::ZERO, |longest| Span::from_nanos(longest.nanos().saturating_add(self.tolerance.nanos())))
    }
}

/// What an input carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InputKind {
    /// One view of the policy.
    Camera {
        /// Raw or compressed frames.
        transport: Transport,
    },
    /// `sensor_msgs/JointState`.
    Joints,
    /// `geometry_msgs/PoseStamped`, of an end effector.
    Pose,
    /// `nav_msgs/Odometry`: the pose of its child frame.
    Odometry,
    /// `tf2_msgs/TFMessage`: the pose of a frame, looked up in the tree of all transforms.
    Transform,
    /// `std_msgs/String`. It has no header: it neither ages nor counts in the skew, the latest holds until replaced.
    Instruction,
}

impl InputKind {
    /// The ROS 2 type that a topic of this kind must have.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Camera { transport: Transport::Raw } => "sensor_msgs/msg/Image",
            Self::Camera { transport: Transport::Compressed } => "sensor_msgs/msg/CompressedImage",
            Self::Joints => "sensor_msgs/msg/JointState",
            Self::Pose => "geometry_msgs/msg/PoseStamped",
            Self::Odometry => "nav_msgs/msg/Odometry",
            Self::Transform => "tf2_msgs/msg/TFMessage",
            Self::Instruction => "std_msgs/msg/String",
        }
    }

    /// What one message of this kind is called.
    pub const fn sample_name(self) -> &'static str {
        match self {
            Self::Camera { .. } => "frame",
            Self::Joints => "joint state",
            Self::Pose => "pose",
            Self::Odometry => "odometry",
            Self::Transform => "transform",
            Self::Instruction => "instruction",
        }
    }

    /// Whether it is a pose, of whatever message.
    pub const fn is_pose(self) -> bool {
        matches!(self, Self::Pose | Self::Odometry | Self::Transform)
    }

    /// Whether its topics may have any number of publishers: their messages are merged.
    pub const fn is_merged(self) -> bool {
        matches!(self, Self::Joints | Self::Transform)
    }

    /// Whether messages of this kind have a header stamp, and so an age.
    pub const fn is_stamped(self) -> bool {
        !matches!(self, Self::Instruction)
    }
}

/// One input of the policy.
#[derive(Clone, PartialEq, Debug)]
pub struct InputSpec {
    /// Camera name of the policy, `joints`, name of a pose, or `instruction`.
    pub name: String,
    /// Topics as configured, all of the kind's type: of joint states any number; of transforms two, that of moving ones and that of
    /// static ones; of other kinds one. Several inputs may share a topic.
    pub topics: Vec<String>,
    /// What it carries.
    pub kind: InputKind,
    /// Frame that a pose must be in; empty: any. A transform is looked up in it. Ignored for other kinds.
    pub frame_id: String,
    /// Frame whose pose it is: of odometry, empty for any, and of transforms. Ignored for other kinds.
    pub child_frame_id: String,
    /// Joints read from joint states. Ignored for other kinds.
    pub joints: JointNames,
    /// Where the time of a sample comes from.
    pub stamp_from: StampSource,
    /// How frames are read. Ignored for other kinds than cameras.
    pub frames: FrameOptions,
    /// Earlier frames that are kept. Ignored for other kinds than cameras.
    pub history: FrameHistory,
    /// How long samples of joints and poses are kept; one second where it is less. Ignored for other kinds.
    pub keep: Span,
}

/// A topic to subscribe to: its messages are offered to every input that names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputTopic {
    /// Topic as configured.
    pub name: Arc<str>,
    /// What it carries.
    pub kind: InputKind,
    /// Its transforms are static.
    pub is_static: bool,
    /// Indices of the inputs, ascending; never empty.
    pub inputs: Vec<usize>,
}

impl InputTopic {
    /// The topics of the inputs, in their order; a topic that several inputs of one message type name is listed once.
    pub fn of(specs: &[InputSpec]) -> Vec<Self> {
        let mut topics: Vec<Self> = Vec::new();
        for (input, spec) in specs.iter().enumerate() {
            for (index, name) in spec.topics.iter().enumerate() {
                let (kind, is_static) = (spec.kind, spec.kind == InputKind::Transform && index > 0);
                let same = |topic: &&mut Self| *topic.name == **name && topic.kind.type_name() == spec.kind.type_name();
                match topics.iter_mut().find(same) {
                    Some(topic) if topic.inputs.contains(&input) => {}
                    Some(topic) => topic.inputs.push(input),
                    None => topics.push(Self { name: name.as_str().into(), kind, is_static, inputs: vec![input] }),
                }
            }
        }
        topics
    }
}

/// Where the time of a sample comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum StampSource {
    /// The message's header: the time of capture.
    #[default]
    Header,
    /// The time of arrival (in a bag, the log time): for drivers that do not stamp their messages. Transport is then no part of the
    /// age.
    Arrival,
}

impl StampSource {
    /// The word used in parameters: `header` or `arrival`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Arrival => "arrival",
        }
    }
}

/// Whether a camera's frames of a width and a height can be used; what is wrong when not.
pub type FrameCheck = dyn Fn(&str, usize, usize) -> Result<(), String> + Send + Sync;

impl InputSpec {
    /// An input of these topics without joints and frames of reference, stamped by its messages' headers, whose frames are read as they
    /// say themselves and of which no earlier ones are kept.
    pub fn new<T: Into<String>>(name: &str, kind: InputKind, topics: impl IntoIterator<Item = T>) -> Self {
        Self {
            name: name.to_owned(),
            topics: topics.into_iter().map(Into::into).collect(),
            kind,
            frame_id: String::new(),
            child_frame_id: String::new(),
            joints: JointNames::default(),
            stamp_from: StampSource::default(),
            frames: FrameOptions::default(),
            history: FrameHistory::default(),
            keep: Span::ZERO,
        }
    }

    /// The topics as one text.
    pub fn topic_list(&self) -> String {
        self.topics.join(", ")
    }

    /// The parameter that names its topic.
    pub fn topic_parameter(&self) -> String {
        match self.kind {
            InputKind::Transform => "inputs.tf.topic".to_owned(),
            InputKind::Joints if self.topics.len() > 1 => "inputs.joints.topics".to_owned(),
            _ => format!("{}.topic", self.parameter()),
        }
    }

    /// The group of parameters that configures it.
    pub fn parameter(&self) -> String {
        match self.kind {
            InputKind::Camera { .. } => format!("inputs.cameras.{}", self.name),
            InputKind::Pose | InputKind::Odometry | InputKind::Transform => format!("inputs.poses.{}", self.name),
            InputKind::Joints | InputKind::Instruction => format!("inputs.{}", self.name),
        }
    }
}

/// Joints that the policy is concerned with. All others of a joint state are ignored.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct JointNames {
    /// Read by the policy: an observation needs a fresh position of each.
    pub read: Vec<String>,
    /// Moved by the policy: their positions are kept where they are published.
    pub moved: Vec<String>,
    /// Joints that come on several topics, each with the topic that counts for it. A joint without an entry must come on one.
    pub topic_of: Vec<(String, String)>,
    /// What stands before the names of each topic's joints here, in the order of the topics; empty: nothing. Two drivers may use the
    /// same names.
    pub prefixes: Vec<String>,
    /// Joints that follow another and are computed from it, whatever the messages say of them.
    pub mimic: Vec<MimicJoint>,
}

/// A joint that follows another, as `<mimic>` in a URDF: `position = multiplier * source + offset`.
#[derive(Clone, PartialEq, Debug)]
pub struct MimicJoint {
    /// The joint that follows.
    pub joint: String,
    /// The joint that it follows; no mimic joint.
    pub source: String,
    /// Factor.
    pub multiplier: f64,
    /// In rad or m.
    pub offset: f64,
}

/// Age rule of one input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputRule {
    /// Oldest age, by header stamp, at which a sample may be used.
    pub max_age: Span,
    /// Whether age and skew of this input forbid inference. When not, they are reported only; the input must still
    /// have been seen once.
    pub required: bool,
    /// For how long, by header stamp, frames may be the same bit by bit under fresh stamps, and joint states while a plan
    /// moves the joints; zero: unlimited. Ignored for other kinds.
    pub stuck_after: Span,
}

impl InputRule {
    /// An age rule without the rule on frames that are all the same.
    pub const fn age(max_age: Span, required: bool) -> Self {
        Self { max_age, required, stuck_after: Span::ZERO }
    }
}

/// What the node does when an observation breaks a rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OnViolation {
    /// No inference this time; counted.
    #[default]
    Skip,
    /// Publish nothing new, and say so.
    Hold,
    /// Command the current position at zero velocity and refuse until resumed.
    Stop,
}

impl OnViolation {
    /// The word used in parameters: `skip`, `hold` or `stop`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Hold => "hold",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for OnViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The rules of an observation. May change between inferences.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// One rule an input, in the order of the [`InputSpec`]s; the instruction's is not used.
    /// An input without a rule is required at age zero, so a short list forbids inference and cannot loosen it.
    pub per_input: Vec<InputRule>,
    /// Largest distance between the header stamps of the required inputs.
    pub max_skew: Span,
    /// What the node does on a violation; the assembler only reports.
    pub on_violation: OnViolation,
    /// How far a stamp may lie ahead of now, and the clock may step back, before it is not trusted.
    pub future_tolerance: Span,
    /// How long a message of the enable switch lets the robot move. Without a switch it is not used.
    pub enable_max_age: Span,
    /// The time that joints and poses are taken at.
    pub pairing: Pairing,
    /// Earlier samples of the state that the policy takes, each as the time before the state's own, the longest first. Empty: none.
    pub state_history: Vec<Span>,
    /// Joints that turn without end, as far as the robot's limits say it: between two samples they take the short way.
    pub continuous: Arc<[String]>,
}

/// The time that joints and poses of an observation are taken at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Pairing {
    /// Each at its newest sample.
    #[default]
    Newest,
    /// All at the stamp of the oldest frame, between the samples around it: as data sets pair frame and state. A camera's latency then
    /// makes no difference of picture and state.
    Frame,
}

impl Pairing {
    /// The word used in parameters: `newest` or `frame`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Frame => "frame",
        }
    }
}

impl Rules {
    /// The rule of one input.
    pub fn of(&self, input: usize) -> InputRule {
        self.per_input.get(input).copied().unwrap_or(InputRule::age(Span::ZERO, true))
    }
}

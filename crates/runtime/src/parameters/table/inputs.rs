//! Parameters of inputs. `{}` is a camera, a pose or the prefix of an input.

use super::convert::{PoseSource, euler_words};
use super::{Allowed, LONGEST_MS, Param, Preset};
use ros2_parameters::Value;
use vla_base::time::Span;
use vla_messages::PixelFormat;
use vla_policy::encode::pose::EulerOrder;
use vla_policy::observation::{Exif, OnViolation, Pairing, StampSource, Transport};

pub(crate) const CAMERA_TOPIC: Param<String> = Param::text(
    "inputs.cameras.{}.topic",
    "camera/{}/image_raw",
    Allowed::Topic,
    "Topic of the view {}. Compressed frames have a separate topic, usually .../compressed.",
)
.fixed();

pub(crate) const CAMERA_TRANSPORT: Param<Transport> = Param::word(
    "inputs.cameras.{}.transport",
    "raw",
    "Message type of the view {}: raw is sensor_msgs/Image, compressed is sensor_msgs/CompressedImage.",
)
.fixed();

pub(crate) const CAMERA_ENCODING: Param<Option<PixelFormat>> = Param::word(
    "inputs.cameras.{}.encoding",
    "auto",
    "What the bytes of raw frames of the view {} are. auto: as the message's encoding says. Needed where that is 8UC1, 8UC2, 8UC3 or \
     8UC4, which give the number of bytes of a pixel and not their meaning, and where a driver calls a Bayer mosaic mono8. A message \
     with another encoding is refused.",
)
.fixed();

pub(crate) const CAMERA_EXIF: Param<Exif> = Param::word(
    "inputs.cameras.{}.exif",
    "ignore",
    "Use of the EXIF orientation in JPEG frames of the view {}. ignore: frames are used as they are stored. apply: they are turned and \
     mirrored to be upright. Choose what was done with the policy's training data.",
)
.fixed();

pub(crate) const CAMERA_BLANK: Param<bool> = Param::flag(
    "inputs.cameras.{}.blank",
    false,
    "true: the robot has no camera for the view {}. Nothing is subscribed to, and the policy sees black. Allowed only where policy.yaml \
     lists the view in blank_views, because black frames were a part of the training data.",
)
.fixed();

/// Two seconds: no sensor's noise repeats bit by bit for so long, while a codec may repeat a frame now and then.
pub(crate) const CAMERA_STUCK_AFTER: Param<Span> = Param::millis(
    "inputs.cameras.{}.stuck_after_ms",
    2000.0,
    (0.0, LONGEST_MS),
    "Longest time in ms, by header stamp, for which frames of the view {} may be the same bit by bit under new stamps. 0: no limit, \
     for a simulated camera and a scene in which nothing moves.",
);

pub(crate) const JOINTS_TOPIC: Param<String> = Param::text(
    "inputs.joints.topic",
    "joint_states",
    Allowed::Topic,
    "Topic of the joint states (sensor_msgs/JointState). Joints are found by name and merged by joint: their order is free, and \
     several publishers may share the topic.",
)
.fixed();

pub(crate) const JOINTS_TOPICS: Param<Vec<String>> = Param::topics(
    "inputs.joints.topics",
    "Topics of the joint states where they come on several, such as those of two arms; in place of inputs.joints.topic. A joint that \
     comes on two of them needs inputs.joints.topic_of.",
)
.fixed();

pub(crate) const JOINTS_PREFIXES: Param<Vec<String>> = Param::strings(
    "inputs.joints.prefixes",
    "What the node puts before the joint names of each of inputs.joints.topics, in their order, where two drivers use the same names: \
     ['left_', 'right_'] makes left_joint1 of the joint1 of the first topic. All other parameters then use the longer names. Empty: \
     names stay as they are.",
)
.fixed();

pub(crate) const JOINT_TOPIC: Param<Option<String>> = Param::text_or_none(
    "inputs.joints.topic_of.{}",
    Allowed::OptionalTopic,
    "The one of inputs.joints.topics whose positions of {} count, where several have it. Empty: {} comes on one topic only; on two, no \
     inference runs.",
)
.fixed();

pub(crate) const MIMIC_JOINT: Param<String> = Param::text(
    "inputs.joints.mimic.{}.joint",
    "",
    Allowed::Any,
    "The joint that {} follows (<mimic> in a URDF). The position of {} is then computed, whether it is published or not: multiplier * \
     position + offset. Empty: {} follows none.",
)
.fixed();

pub(crate) const MIMIC_MULTIPLIER: Param<f64> = Param::double(
    "inputs.joints.mimic.{}.multiplier",
    1.0,
    (-1e6, 1e6),
    "Factor from the position of the joint that {} follows to that of {}.",
)
.fixed();

pub(crate) const MIMIC_OFFSET: Param<f64> = Param::double(
    "inputs.joints.mimic.{}.offset",
    0.0,
    (-1e6, 1e6),
    "Position of {} where the joint that it follows is at 0, in rad or m.",
)
.fixed();

pub(crate) const MIMIC_COMMANDED: Param<bool> = Param::flag(
    "inputs.joints.mimic.{}.commanded",
    false,
    "Whether an action may move {} although it follows another joint. false: such an action is refused at the start.",
)
.fixed();

pub(crate) const PAIRING: Param<Pairing> = Param::word(
    "inputs.pairing",
    "newest",
    "Time at which joints and poses of an observation are taken. newest: each at its newest sample. frame: at the stamp of the oldest \
     camera frame, interpolated between the samples around it, as most data sets pair pictures and state: a camera's latency then makes \
     no difference of picture and state, and inputs.max_skew_ms compares the cameras only. Motion starts at the newest positions \
     either way.",
);

/// One second: the plan has then moved the joints by more than an encoder's step, and drives follow several times faster.
pub(crate) const JOINTS_STUCK_AFTER: Param<Span> = Param::millis(
    "inputs.joints.stuck_after_ms",
    1000.0,
    (0.0, LONGEST_MS),
    "Longest time in ms for which the joint states of a publisher may repeat bit by bit while the plan moves one of their joints. 0: no \
     limit.",
);

pub(crate) const POSE_SOURCE: Param<PoseSource> = Param::word(
    "inputs.poses.{}.source",
    "pose",
    "Message of the pose {}: pose is geometry_msgs/PoseStamped, odometry is nav_msgs/Odometry (its pose.pose), tf is looked up in the tree of \
     /tf and /tf_static (tf2_msgs/TFMessage): the pose of child_frame_id in frame_id.",
)
.fixed();

pub(crate) const POSE_TOPIC: Param<String> = Param::text(
    "inputs.poses.{}.topic",
    "{}/pose",
    Allowed::Topic,
    "Topic of the pose {} where its source is pose or odometry: position in m, orientation as a unit quaternion.",
)
.fixed();

pub(crate) const POSE_FRAME_ID: Param<String> = Param::text(
    "inputs.poses.{}.frame_id",
    "",
    Allowed::Any,
    "Frame that the pose {} must be in; a message of another frame is refused. Empty: any. With source tf: the frame in which it is looked \
     up, required.",
)
.fixed();

pub(crate) const POSE_CHILD_FRAME_ID: Param<String> = Param::text(
    "inputs.poses.{}.child_frame_id",
    "",
    Allowed::Any,
    "Frame whose pose {} is: that of odometry, where a message of another is refused (empty: any), and of tf, required. Not for source pose, \
     whose messages do not name it.",
)
.fixed();

/// As [`POSE_ROTATE_TOOL`].
pub(crate) const POSE_ROTATE_BASE: Param<Vec<f64>> = Param::numbers(
    "inputs.poses.{}.rotate_base",
    "Fixed rotation of the frame that the pose {} is in, applied before the policy sees the pose: rotate_base * pose, position and \
     orientation. [roll, pitch, yaw] in rad (extrinsic xyz) or a unit quaternion [x, y, z, w]; empty: none. The policy's poses in \
     ~/action_chunk are turned back.",
)
.fixed();

pub(crate) const POSE_ROTATE_TOOL: Param<Vec<f64>> = Param::numbers(
    "inputs.poses.{}.rotate_tool",
    "Fixed rotation of the tool of the pose {}: pose * rotate_tool, orientation only. As rotate_base. DROID: [0.5, -0.5, -0.5, 0.5].",
)
.fixed();

pub(crate) const POSE_EULER: Param<EulerOrder> = Param::new(
    "inputs.poses.{}.euler",
    Preset::Text("extrinsic_xyz"),
    Allowed::Words(euler_words),
    "Order in which roll (about x), pitch (about y) and yaw (about z) of the pose {} are applied, about the axes of the fixed frame \
     (extrinsic) or of the moving one (intrinsic). extrinsic_xyz is the rpy of URDF and tf2, the xyz of scipy.",
    |value| if let Value::String(word) = value { word.parse().ok() } else { None },
)
.fixed();

pub(crate) const POSE_QUATERNION_NEAR: Param<Vec<f64>> = Param::numbers(
    "inputs.poses.{}.quaternion_near",
    "Quaternion [x, y, z, w]. q and -q are the same rotation; of the pose {} the one nearer to this is given to the policy, and the rotation \
     vector is its, with an angle up to 2 pi. Empty: w is not negative, so that rotation vectors are at most pi long. Set it to the middle of \
     the training data. LIBERO: [1.0, 0.0, 0.0, 0.0], a gripper that points down.",
)
.fixed();

pub(crate) const TF_TOPIC: Param<String> = Param::text(
    "inputs.tf.topic",
    "/tf",
    Allowed::Topic,
    "Topic of the moving transforms (tf2_msgs/TFMessage), where a pose has source tf. One subscription serves every pose.",
)
.fixed();

pub(crate) const TF_STATIC_TOPIC: Param<String> = Param::text(
    "inputs.tf.static_topic",
    "/tf_static",
    Allowed::Topic,
    "Topic of the static transforms (tf2_msgs/TFMessage, reliable, transient local), where a pose has source tf.",
)
.fixed();

pub(crate) const INSTRUCTION_TOPIC: Param<String> = Param::text(
    "inputs.instruction.topic",
    "instruction",
    Allowed::Topic,
    "Topic of the instruction (std_msgs/String, reliable; volatile and transient local publishers). The latest of topic and parameter holds.",
)
.fixed();

/// Name: the input's prefix. Description: what is sampled.
pub(crate) const STAMP: Param<StampSource> = Param::word(
    "{}.stamp",
    "header",
    "Time from which the age of {} counts: header, the time of capture in header.stamp, or arrival, for a driver that does not stamp its \
     messages (header.stamp is zero); the time in transport is then not included.",
)
.fixed();

/// As [`STAMP`]; the default depends on the input.
pub(crate) const MAX_AGE: Param<Span> = Param::millis(
    "{}.max_age_ms",
    100.0,
    (1.0, LONGEST_MS),
    "Greatest age in ms, by header stamp, at which {} is used.",
);

/// As [`STAMP`].
pub(crate) const REQUIRED: Param<bool> = Param::flag(
    "{}.required",
    true,
    "true: no inference while {} is older than max_age_ms. false: inference continues with an old one, and diagnostics warn. Either way \
     one must have arrived since the start.",
);

pub(crate) const ENABLE_TOPIC: Param<Option<String>> = Param::text_or_none(
    "inputs.enable.topic",
    Allowed::OptionalTopic,
    "Topic of the operator's enable switch (dead-man switch, std_msgs/Bool). The robot moves only while it is true; false, or no message \
     for inputs.enable.max_age_ms, brakes and stops until ~/resume is called. Empty: no switch. It replaces no hardware emergency stop.",
)
.fixed();

pub(crate) const ENABLE_MAX_AGE: Param<Span> = Param::millis(
    "inputs.enable.max_age_ms",
    500.0,
    (20.0, 10_000.0),
    "Longest time in ms, from its arrival, for which a message of the enable switch allows motion. Publish it at least three times as \
     often.",
);

pub(crate) const MAX_SKEW: Param<Span> = Param::millis(
    "inputs.max_skew_ms",
    100.0,
    (0.0, LONGEST_MS),
    "Largest distance in ms between the stamps of the required inputs of one observation.",
);

pub(crate) const FUTURE_TOLERANCE: Param<Span> = Param::millis(
    "inputs.future_tolerance_ms",
    20.0,
    (0.0, LONGEST_MS),
    "How far in ms a stamp may be ahead of the clock, and how far the clock may step back, before stamps are refused.",
);

pub(crate) const ON_VIOLATION: Param<OnViolation> = Param::word(
    "inputs.on_violation",
    "skip",
    "Reaction when an input is missing, too old, frozen, stuck or out of step, or when an inference is refused for its inputs or its \
     result (a missing joint, a frame that does not decode, an instruction that does not fit, values that are not finite). skip: no \
     inference this time. hold: brake now and resume with the next good chunk. stop: brake now and stop until ~/resume is called.",
);

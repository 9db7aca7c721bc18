//! Errors of inputs: refused messages, joint maps and states.

use super::transforms::LinkError;

/// Why a transform of a message was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// Not a message of its type, or values that are no transform.
    #[error(transparent)]
    Message(#[from] vla_messages::Error),
    /// Stamp zero.
    #[error(
        "the transform of `{child}` has stamp zero, so its age is unknown; set the stamp in its publisher, or publish it as static"
    )]
    Unstamped {
        /// The frame.
        child: String,
    },
    /// It does not fit in the tree.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Errors of inputs. Each names the input, the expected and the found value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An index that no topic has.
    #[error("expected the index of one of {count} topics of the inputs, found {index}")]
    UnknownTopic {
        /// Index offered.
        index: usize,
        /// Number of topics.
        count: usize,
    },
    /// The bytes are not a message of the input's type.
    #[error("input `{input}` on topic `{topic}`: {source}")]
    Message {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Error of parsing the message.
        source: vla_messages::Error,
    },
    /// A header stamp of zero, which means that the driver did not set it.
    #[error(
        "input `{input}` on topic `{topic}`: expected the time of capture in header.stamp, found zero, so its \
         age is unknown; set the stamp in the driver, or use the time of arrival with {parameter}.stamp: arrival"
    )]
    Unstamped {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// The group of its parameters.
        parameter: String,
    },
    /// A frame of a size that the policy does not accept.
    #[error("input `{input}` on topic `{topic}`: {reason}")]
    FrameSize {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// The reason, and the size to set.
        reason: String,
    },
    /// A joint state without joints.
    #[error("input `{input}` on topic `{topic}`: expected joint names and positions, found an empty JointState")]
    NoJoints {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
    },
    /// Different numbers of names and positions.
    #[error(
        "input `{input}` on topic `{topic}`: expected as many positions as names, found {names} names and \
         {positions} positions"
    )]
    JointLengths {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Number of names.
        names: usize,
        /// Number of positions.
        positions: usize,
    },
    /// A position of a needed joint that is NaN or infinite. The message's other joints are used.
    #[error(
        "input `{input}` on topic `{topic}`: expected a finite position of joint `{joint}`, found {value}; its previous \
         position is kept"
    )]
    JointNotFinite {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Joint.
        joint: String,
        /// NaN or an infinity.
        value: f64,
    },
    /// A pose in another frame than the policy's.
    #[error(
        "input `{input}` on topic `{topic}`: expected poses in the frame `{expected}` (inputs.poses.{input}.frame_id), found \
         `{found}`; publish the pose in the frame used in training"
    )]
    Frame {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Configured frame.
        expected: String,
        /// Frame of the message.
        found: String,
    },
    /// Odometry of another frame than the policy's.
    #[error(
        "input `{input}` on topic `{topic}`: expected the pose of the frame `{expected}` (inputs.poses.{input}.child_frame_id), found \
         `{found}`; set it to the frame that the policy was trained with"
    )]
    ChildFrame {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Configured frame.
        expected: String,
        /// Frame of the message.
        found: String,
    },
    /// A transform that cannot be part of the tree of frames. The message's other transforms are used.
    #[error("topic `{topic}`: {source}")]
    Transform {
        /// The topic.
        topic: String,
        /// The reason.
        source: TransformError,
    },
    /// A joint that the policy reads or moves, twice in one message.
    #[error(
        "input `{input}` on topic `{topic}`: expected one position of each joint, found joint `{joint}` more than once \
         in the message; correct its publisher"
    )]
    DuplicateJoint {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Joint.
        joint: String,
    },
    /// An observation without a joint state.
    #[error("expected a sample in the observation, found none")]
    NoSample,
    /// Joints of the policy's state without a position.
    #[error("no position of {} in the joint states", list(missing))]
    MissingJoints {
        /// Every missing joint.
        missing: Vec<String>,
    },
    /// A state value that is not finite once scaled and stored in single precision.
    #[error("state of joint `{joint}`: expected a finite value, found {value} (from position {position})")]
    StateNotFinite {
        /// Joint.
        joint: String,
        /// Position in the message, rad or m.
        position: f64,
        /// Model value.
        value: f64,
    },
    /// Different numbers of joints, scales and offsets of a key, or a scale that has no inverse.
    #[error(
        "`state.{key}`: expected one finite, non-zero scale and one finite offset for each of its {joints} joints, \
         found scales {scale:?} and offsets {offset:?}"
    )]
    BadMap {
        /// Key.
        key: String,
        /// Number of joints.
        joints: usize,
        /// Scales.
        scale: Vec<f64>,
        /// Offsets.
        offset: Vec<f64>,
    },
    /// A state buffer of another width.
    #[error("state buffer: expected {expected} values, found {found}")]
    StateWidth {
        /// Width of all keys together.
        expected: usize,
        /// Length of the buffer.
        found: usize,
    },
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

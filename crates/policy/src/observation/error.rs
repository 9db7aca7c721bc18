//! Why a message or a joint map was refused.

use vla_messages as message;

/// Errors of the observation room. Each names the input, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An index that no input has.
    #[error("no input has index {index}: {count} inputs are configured")]
    UnknownInput {
        /// Index offered.
        index: usize,
        /// Number of inputs.
        count: usize,
    },
    /// The bytes are not a message of the input's type.
    #[error("input `{input}` on topic `{topic}`: {source}")]
    Message {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// What the message room found.
        source: message::Error,
    },
    /// A header stamp of zero, which no clock would give.
    #[error(
        "input `{input}` on topic `{topic}`: expected the time of capture in header.stamp, found zero; \
         age cannot be told, so let the driver stamp its messages, or take the time of arrival with \
         {parameter}.stamp: arrival"
    )]
    Unstamped {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// The group of its parameters.
        parameter: String,
    },
    /// A frame of a size that the policy does not take.
    #[error("input `{input}` on topic `{topic}`: {reason}")]
    FrameSize {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// What is wrong, and the size to set.
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
    /// Names and positions that do not go together.
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
    /// A position of a needed joint that is NaN or infinite. The message's other joints are taken.
    #[error(
        "input `{input}` on topic `{topic}`: expected a finite position of joint `{joint}`, found {value}; its position before \
         stays"
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
         the frame `{found}`; publish the pose in the frame that the policy was trained in"
    )]
    Frame {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Frame configured.
        expected: String,
        /// Frame of the message.
        found: String,
    },
    /// A joint that the policy reads or moves, twice in one message.
    #[error(
        "input `{input}` on topic `{topic}`: the message has joint `{joint}` more than once, expected one position of each \
         joint; let its publisher send each joint once"
    )]
    DuplicateJoint {
        /// Input.
        input: String,
        /// Its topic.
        topic: String,
        /// Joint.
        joint: String,
    },
    /// Joints of the policy's state that no message had.
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
    /// Joints, scales and offsets of a key that do not go together, or a scale that cannot be undone.
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

//! The samples that make up one observation.

use std::sync::Arc;

use bytes::Bytes;

use super::pose::Pose;
use super::spec::{FrameOptions, Transport};
use super::violation::Breach;
use vla_base::time::Stamp;

/// One serialized camera frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CameraSample {
    /// Name of the view in the policy.
    pub name: Arc<str>,
    /// Header stamp.
    pub stamp: Stamp,
    /// `Image` or `CompressedImage`.
    pub transport: Transport,
    /// How it is read.
    pub options: FrameOptions,
    /// The whole serialized message, shared with the slot it came from.
    pub bytes: Bytes,
}

/// Where one joint was.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct JointReading {
    /// Position in rad or m; finite.
    pub position: f64,
    /// Header stamp of the newest message that has the joint.
    pub stamp: Stamp,
    /// Header stamp from which on every message has had this very position, bit by bit.
    pub since: Stamp,
}

/// The newest position of each joint that the policy reads or moves, merged over all messages of the topic: the joints
/// may come from several publishers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct JointSample {
    /// Name of the input, `joints`.
    pub name: Arc<str>,
    /// Header stamp of the oldest of the joints that the policy reads (of those it moves, when it reads none).
    pub stamp: Stamp,
    /// Names of the joints.
    pub joints: Arc<[String]>,
    /// One a joint, in the order of the names; `None` for a joint that no message had yet.
    pub readings: Vec<Option<JointReading>>,
    /// Grows with each message that changed a reading.
    pub sequence: u64,
}

impl JointSample {
    /// A sample of joints that were all seen in one message.
    pub fn new(name: impl Into<Arc<str>>, stamp: Stamp, joints: Arc<[String]>, positions: &[f64]) -> Self {
        let reading = |&position: &f64| Some(JointReading { position, stamp, since: stamp });
        Self { name: name.into(), stamp, joints, readings: positions.iter().map(reading).collect(), sequence: 1 }
    }

    /// The reading of one joint by its place among the names.
    pub fn get(&self, place: usize) -> Option<JointReading> {
        self.readings.get(place).copied().flatten()
    }
}

/// Where an end effector was.
#[derive(Clone, PartialEq, Debug)]
pub struct PoseSample {
    /// Name of the input.
    pub name: Arc<str>,
    /// Header stamp.
    pub stamp: Stamp,
    /// In the frame that the input's rule asks for; of any frame where it asks for none.
    pub pose: Pose,
}

/// Joints and poses of an earlier time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StateSample {
    /// Joint state; `None` when the policy reads and moves no joint.
    pub joints: Option<JointSample>,
    /// Poses, in the order of the inputs.
    pub poses: Vec<PoseSample>,
}

/// What one inference runs on: the freshest sample of every input, all rules kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Observation {
    /// Stamp of the oldest required input; of the oldest input when none is required. An optional camera that has
    /// stopped must not make every row of the chunk late, so it does not count here; its own stamp is in
    /// [`Observation::identity`].
    pub stamp: Stamp,
    /// The frames, in the order of the policy's views.
    pub cameras: Vec<CameraSample>,
    /// Earlier frames that the policy reads: those of the first camera, oldest first, then those of the next.
    pub earlier_frames: Vec<CameraSample>,
    /// Joint state; `None` when the policy reads and moves no joint.
    pub joints: Option<JointSample>,
    /// Poses, in the order of the inputs.
    pub poses: Vec<PoseSample>,
    /// Earlier states that the policy takes, in the order of [`Rules::state_history`](super::Rules::state_history).
    pub history: Vec<StateSample>,
    /// The instruction in force.
    pub instruction: Arc<str>,
    /// ROS time at which the observation was put together.
    pub assembled_at: Stamp,
    /// Rules that optional inputs broke: reported, not forbidding. Normally empty.
    pub tolerated: Vec<Breach>,
}

impl Observation {
    /// Name and header stamp of every stamped input, cameras in policy order, then joints, then poses. Two observations of the
    /// same run and instruction with equal identities hold the same frames and poses, and the same positions of the joints that are
    /// oldest; others of several publishers may have moved on. The instruction is not part of it: it has
    /// no header stamp, and its time of arrival differs between a live run and a replay.
    pub fn identity(&self) -> impl Iterator<Item = (&Arc<str>, Stamp)> {
        let cameras = self.cameras.iter().map(|camera| (&camera.name, camera.stamp));
        let joints = self.joints.iter().map(|joints| (&joints.name, joints.stamp));
        cameras.chain(joints).chain(self.poses.iter().map(|pose| (&pose.name, pose.stamp)))
    }
}

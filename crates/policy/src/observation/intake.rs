//! Checks of incoming messages. Run without a lock and copy nothing.

use std::sync::Arc;

use super::assembler::joint_list;
use super::error::Error;
use super::joints::{JointIndex, Parts, layout};
use super::pose::Pose;
use super::spec::{Exif, FrameCheck, InputKind, InputSpec, StampSource, Transport};
use vla_base::time::Stamp;
use vla_messages::{CompressedImageView, ImageView, JointStateView, OdometryView, PoseStampedView, text};

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The input that it is for.
    pub spec: &'a InputSpec,
    /// The topic that it came on.
    pub topic: &'a str,
    /// ROS time of arrival.
    pub received: Stamp,
}

impl Source<'_> {
    /// Names of input and topic, for an error.
    fn names(&self) -> (String, String) {
        (self.spec.name.clone(), self.topic.to_owned())
    }

    fn message(&self, source: vla_messages::Error) -> Error {
        let (input, topic) = self.names();
        Error::Message { input, topic, source }
    }

    /// The time of a sample, from its header or its arrival.
    fn stamp(&self, stamp: Stamp) -> Result<Stamp, Error> {
        match self.spec.stamp_from {
            StampSource::Arrival => Ok(self.received),
            StampSource::Header if stamp == Stamp::default() => {
                let (input, topic) = self.names();
                Err(Error::Unstamped { input, topic, parameter: self.spec.parameter() })
            }
            StampSource::Header => Ok(stamp),
        }
    }
}

/// Content of a valid joint state.
#[derive(Debug)]
pub(super) struct JointContent {
    pub stamp: Stamp,
    /// Hash of the joint names.
    pub layout: u64,
    /// A needed joint whose position is not finite; it is not among the parts.
    pub refused: Option<Error>,
}

/// Checks a frame; returns its stamp, and its EXIF orientation if it stays turned. Of compressed frames it checks format, codec
/// and size without decoding; of raw frames encoding, step and size.
pub(super) fn check_frame(
    source: &Source<'_>,
    bytes: &[u8],
    frames: Option<&FrameCheck>,
) -> Result<(Stamp, Option<u8>), Error> {
    let refused = |error| source.message(error);
    let options = source.spec.frames;
    let (stamp, size, turned) = match source.spec.kind {
        InputKind::Camera { transport: Transport::Compressed } => {
            let view = CompressedImageView::parse(bytes).map_err(refused)?;
            let header = view.frame_header().map_err(refused)?;
            let (size, turned) = match options.exif {
                Exif::Apply => (header.upright_size(), None),
                Exif::Ignore => ((header.width, header.height), Some(header.orientation)),
            };
            let turned = turned.filter(|orientation| *orientation != 1);
            (view.header.stamp, header.is_known().then_some(size), turned)
        }
        _ => {
            let view = ImageView::parse(bytes).map_err(refused)?;
            view.pixels_as(options.encoding).map_err(refused)?;
            (view.header.stamp, Some((view.width, view.height)), None)
        }
    };
    if let (Some(check), Some((width, height))) = (frames, size) {
        check(&source.spec.name, width, height).map_err(|reason| {
            let (input, topic) = source.names();
            Error::FrameSize { input, topic, reason }
        })?;
    }
    source.stamp(stamp).map(|stamp| (stamp, turned))
}

/// Checks an instruction; returns its text.
pub(super) fn check_text<'a>(source: &Source<'_>, bytes: &'a [u8]) -> Result<&'a str, Error> {
    text(bytes).map_err(|error| source.message(error))
}

/// Bytes of a stamped message up to the end of its stamp: encapsulation header, seconds, nanoseconds.
const STAMPED: usize = 12;

/// Whether two stamped messages are the same bit by bit but for their stamps. Ends at the first difference.
pub(super) fn same_but_stamp(one: &[u8], other: &[u8]) -> bool {
    one.get(STAMPED..).is_some_and(|one| Some(one) == other.get(STAMPED..))
}

/// Checks a joint state and writes the positions of needed joints into `parts`, which stays empty if it has none of them
/// (other publishers may).
pub(super) fn check_joints(
    source: &Source<'_>,
    bytes: &[u8],
    index: &JointIndex,
    topic: usize,
    parts: &mut Parts,
) -> Result<JointContent, Error> {
    parts.clear();
    let view = JointStateView::parse(bytes).map_err(|error| source.message(error))?;
    let (names, positions) = (view.len(), view.positions().len());
    if names == 0 {
        let (input, topic) = source.names();
        return Err(Error::NoJoints { input, topic });
    }
    let content = JointContent { stamp: view.header.stamp, layout: layout(view.names()), refused: None };
    if !view.names().any(|name| index.place(topic, name).is_some()) {
        return Ok(content);
    }
    if names != positions {
        let (input, topic) = source.names();
        return Err(Error::JointLengths { input, topic, names, positions });
    }
    let stamp = source.stamp(content.stamp)?;
    let mut refused = None;
    for (joint, value) in view.names().zip(view.positions()) {
        let Some(at) = index.place(topic, joint) else { continue };
        if parts.iter().any(|(before, _)| *before == at) {
            parts.clear();
            let ((input, topic), joint) = (source.names(), joint.to_owned());
            return Err(Error::DuplicateJoint { input, topic, joint });
        }
        if value.is_finite() {
            parts.push((at, value));
        } else if refused.is_none() {
            let ((input, topic), joint) = (source.names(), joint.to_owned());
            refused = Some(Error::JointNotFinite { input, topic, joint, value });
        }
    }
    index.add_mimic(parts);
    Ok(JointContent { stamp, refused, ..content })
}

/// The first joints of a message, as a list for messages.
pub(super) fn joints_of(bytes: &[u8]) -> Option<Arc<str>> {
    let view = JointStateView::parse(bytes).ok()?;
    // Senders may use names of any length.
    let names: Vec<String> = view.names().map(|name| name.chars().take(64).collect()).collect();
    joint_list(names.iter())
}

/// Checks a pose and its frames; returns its stamp and values.
pub(super) fn check_pose(source: &Source<'_>, bytes: &[u8]) -> Result<(Stamp, Pose), Error> {
    let refused = |error| source.message(error);
    let spec = source.spec;
    let (header, child, pose) = if spec.kind == InputKind::Odometry {
        let view = OdometryView::parse(bytes).and_then(OdometryView::checked).map_err(refused)?;
        let OdometryView { header, child_frame_id, position, orientation } = view;
        (header, child_frame_id, Pose { position, orientation })
    } else {
        let view = PoseStampedView::parse(bytes).and_then(PoseStampedView::checked).map_err(refused)?;
        let PoseStampedView { header, position, orientation } = view;
        (header, spec.child_frame_id.as_str(), Pose { position, orientation })
    };
    if !spec.frame_id.is_empty() && header.frame_id != spec.frame_id {
        let (input, topic) = source.names();
        let (expected, found) = (spec.frame_id.clone(), header.frame_id.to_owned());
        return Err(Error::Frame { input, topic, expected, found });
    }
    if !spec.child_frame_id.is_empty() && child != spec.child_frame_id {
        let (input, topic) = source.names();
        let (expected, found) = (spec.child_frame_id.clone(), child.to_owned());
        return Err(Error::ChildFrame { input, topic, expected, found });
    }
    source.stamp(header.stamp).map(|stamp| (stamp, pose))
}

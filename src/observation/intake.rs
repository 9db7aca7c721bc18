//! What a message must be to enter a slot. Runs outside every lock and copies nothing.

use super::error::Error;
use super::spec::{InputKind, InputSpec, Transport};
use crate::message::{CompressedImageView, ImageView, JointStateView, PoseStampedView, text};
use crate::time::Stamp;

/// What a good message brings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// A sample with its header stamp.
    Stamped(Stamp),
    /// An instruction.
    Text(&'a str),
}

/// Checks a message and gives its header stamp, or its text when its type has no header. Pixels of compressed frames are not decoded here;
/// of raw frames encoding, step and size are checked. `joints` are those that must be finite; empty means all.
pub(super) fn check<'a>(spec: &InputSpec, bytes: &'a [u8], joints: &[String]) -> Result<Content<'a>, Error> {
    let stamp = match spec.kind {
        InputKind::Camera { transport: Transport::Raw } => {
            let view = ImageView::parse(bytes).map_err(|source| message(spec, source))?;
            view.pixels().map_err(|source| message(spec, source))?;
            view.header.stamp
        }
        InputKind::Camera { transport: Transport::Compressed } => {
            CompressedImageView::parse(bytes).map_err(|source| message(spec, source))?.header.stamp
        }
        InputKind::Joints => check_joints(spec, bytes, joints)?,
        InputKind::Pose => check_pose(spec, bytes)?,
        InputKind::Instruction => {
            return text(bytes).map(Content::Text).map_err(|source| message(spec, source));
        }
    };
    if stamp == Stamp::default() {
        return Err(Error::Unstamped { input: spec.name.clone(), topic: spec.topic.clone() });
    }
    Ok(Content::Stamped(stamp))
}

fn message(spec: &InputSpec, source: crate::message::Error) -> Error {
    Error::Message { input: spec.name.clone(), topic: spec.topic.clone(), source }
}

fn check_joints(spec: &InputSpec, bytes: &[u8], must_be_finite: &[String]) -> Result<Stamp, Error> {
    let view = JointStateView::parse(bytes).map_err(|source| message(spec, source))?;
    let (input, topic) = (&spec.name, &spec.topic);
    let (names, positions) = (view.names().count(), view.positions().count());
    if names == 0 {
        return Err(Error::NoJoints { input: input.clone(), topic: topic.clone() });
    }
    if names != positions {
        return Err(Error::JointLengths { input: input.clone(), topic: topic.clone(), names, positions });
    }
    for (joint, value) in view.names().zip(view.positions()) {
        if !value.is_finite() && (must_be_finite.is_empty() || must_be_finite.iter().any(|name| name == joint)) {
            return Err(Error::JointNotFinite {
                input: input.clone(),
                topic: topic.clone(),
                joint: joint.to_owned(),
                value,
            });
        }
    }
    Ok(view.header.stamp)
}

fn check_pose(spec: &InputSpec, bytes: &[u8]) -> Result<Stamp, Error> {
    let pose = PoseStampedView::parse(bytes).and_then(PoseStampedView::checked);
    let header = pose.map_err(|source| message(spec, source))?.header;
    if !spec.frame_id.is_empty() && header.frame_id != spec.frame_id {
        return Err(Error::Frame {
            input: spec.name.clone(),
            topic: spec.topic.clone(),
            expected: spec.frame_id.clone(),
            found: header.frame_id.to_owned(),
        });
    }
    Ok(header.stamp)
}

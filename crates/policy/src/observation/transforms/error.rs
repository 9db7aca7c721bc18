//! Errors of the tree of frames.

use std::sync::Arc;

use vla_base::time::{Span, Stamp};

/// Why a transform was not added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Parent or child has no name.
    #[error(
        "expected names of both frames of a transform, found parent `{parent}` and child `{child}`; correct its publisher"
    )]
    Unnamed {
        /// Parent of the message.
        parent: String,
        /// Child of the message.
        child: String,
    },
    /// A frame in itself.
    #[error("frame `{frame}` is its own parent; correct its publisher")]
    OwnParent {
        /// The frame.
        frame: String,
    },
    /// A stamp that no late clock explains.
    #[error(
        "the transform of `{child}` has a stamp {:.1} ms ahead of now, at most {:.0} ms; synchronise the clocks of its publisher and this \
         machine", ahead.millis(), limit.millis()
    )]
    Ahead {
        /// The frame.
        child: String,
        /// How far ahead.
        ahead: Span,
        /// How far it may be.
        limit: Span,
    },
    /// The tree is full.
    #[error(
        "frame `{frame}` is beyond the {limit} frames that are kept; remap inputs.tf.topic to a topic with the robot's frames only"
    )]
    TooManyFrames {
        /// The frame.
        frame: String,
        /// Frames that are kept.
        limit: usize,
    },
}

/// Why a lookup failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No message names the frame.
    #[error("no transform names the frame `{frame}` ({known} frames are known)")]
    UnknownFrame {
        /// The frame.
        frame: Arc<str>,
        /// Frames that are known.
        known: usize,
    },
    /// No chain of transforms between the two frames.
    #[error(
        "no chain of transforms from `{source_frame}` to `{target}`: `{source_frame}` is in the tree of `{source_root}`, `{target}` in that \
         of `{target_root}`"
    )]
    Disconnected {
        /// The frame that the result is to be in.
        target: Arc<str>,
        /// Its root.
        target_root: Arc<str>,
        /// The frame that is looked up.
        source_frame: Arc<str>,
        /// Its root.
        source_root: Arc<str>,
    },
    /// A frame is above itself.
    #[error("the transforms of `{frame}` form a loop; two publishers contradict each other")]
    Loop {
        /// A frame of it.
        frame: Arc<str>,
    },
    /// The time asked for is before the history of a frame.
    #[error("expected a transform of `{frame}` at {asked}, found none before {oldest}")]
    Before {
        /// The frame.
        frame: Arc<str>,
        /// Time asked for.
        asked: Stamp,
        /// Oldest stamp.
        oldest: Stamp,
    },
    /// The time asked for is after the newest transform of a frame.
    #[error("expected a transform of `{frame}` at {asked}, found none after {newest}")]
    After {
        /// The frame.
        frame: Arc<str>,
        /// Time asked for.
        asked: Stamp,
        /// Newest stamp.
        newest: Stamp,
    },
}

//! Coordinate frames of `/tf` and `/tf_static`: a tree of transforms with some seconds of history, and lookups in it.
//!
//! The rules are those of tf2's `BufferCore`, whose results `tests/data/tf` has: a frame has one parent at a time; between two
//! samples translation is interpolated linearly and rotation by slerp, unless the parent changed between them, then the earlier
//! sample holds; beyond the samples a lookup fails. A frame that was first sent as static stays static. Unlike tf2, a stamp far ahead
//! of the clock is refused, so that one wrong stamp cannot block a frame. Nothing is allocated once every frame was seen and its
//! history is full.

use std::collections::HashMap;
use std::sync::Arc;

use vla_base::time::{Span, Stamp};

mod error;
mod history;
mod lookup;
mod transform;

pub use error::{LinkError, LookupError};
pub use lookup::Common;
pub use transform::Transform;

use history::{History, Sample};

/// How far a stamp may be ahead of the time of arrival. Below, the rules of inputs judge it.
const MAX_AHEAD: Span = Span::from_nanos(1_000_000_000);
/// Frames in the tree; each takes up to 160 KB.
const MAX_FRAMES: usize = 1024;

/// Which frame is looked up in which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The frame that the result is in.
    pub target: Arc<str>,
    /// The frame whose pose it is.
    pub source: Arc<str>,
}

impl Route {
    /// The pose of `source` in `target`. A leading slash, as ROS 1 had it, is ignored.
    pub fn new(target: &str, source: &str) -> Self {
        Self { target: bare(target).into(), source: bare(source).into() }
    }
}

/// The pose of a frame in its parent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Link<'a> {
    /// The parent frame.
    pub parent: &'a str,
    /// The frame.
    pub child: &'a str,
    /// When it was there. Ignored for a static one.
    pub stamp: Stamp,
    /// Maps points of the child to its parent.
    pub transform: Transform,
    /// Holds at any time: from `/tf_static`.
    pub is_static: bool,
}

/// The tree.
#[derive(Debug, Default)]
pub struct TransformTree {
    ids: HashMap<Arc<str>, usize>,
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    name: Arc<str>,
    links: Links,
}

/// What is known of the pose of a frame in its parent.
#[derive(Debug)]
enum Links {
    /// Nothing: a root.
    None,
    Static {
        parent: usize,
        transform: Transform,
    },
    Moving(History),
}

impl TransformTree {
    /// Adds a transform that arrived at ROS time `received`. False when it is of no use: too old, or of a stamp that the frame has.
    ///
    /// # Errors
    /// A frame without a name or with itself as parent, a stamp far ahead of `received`, too many frames.
    pub fn insert(&mut self, link: &Link<'_>, received: Stamp) -> Result<bool, LinkError> {
        let (parent, child) = (bare(link.parent), bare(link.child));
        if parent.is_empty() || child.is_empty() {
            return Err(LinkError::Unnamed { parent: parent.to_owned(), child: child.to_owned() });
        }
        if parent == child {
            return Err(LinkError::OwnParent { frame: child.to_owned() });
        }
        if !link.is_static && link.stamp > received + MAX_AHEAD {
            return Err(LinkError::Ahead { child: child.to_owned(), ahead: link.stamp - received, limit: MAX_AHEAD });
        }
        let (parent, child) = (self.id_or_new(parent)?, self.id_or_new(child)?);
        let Some(frame) = self.frames.get_mut(child) else { return Ok(false) };
        let sample = Sample { stamp: link.stamp, parent, transform: link.transform };
        match &mut frame.links {
            Links::Moving(history) => return Ok(history.insert(sample)),
            links @ Links::None if !link.is_static => *links = Links::Moving(History::new(sample)),
            links => *links = Links::Static { parent, transform: link.transform },
        }
        Ok(true)
    }

    /// Forgets all but the static transforms: ROS time went back.
    pub fn clear(&mut self) {
        for frame in &mut self.frames {
            if let Links::Moving(history) = &mut frame.links {
                history.clear();
            }
        }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn id_or_new(&mut self, name: &str) -> Result<usize, LinkError> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let id = self.frames.len();
        if id >= MAX_FRAMES {
            return Err(LinkError::TooManyFrames { frame: name.to_owned(), limit: MAX_FRAMES });
        }
        let name: Arc<str> = name.into();
        self.ids.insert(Arc::clone(&name), id);
        self.frames.push(Frame { name, links: Links::None });
        Ok(id)
    }
}

/// The name of a frame without the leading slash of ROS 1.
fn bare(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

#[cfg(test)]
mod tests;

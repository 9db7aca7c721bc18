//! Lookups: the way from the source up to a common ancestor and down to the target.

use std::sync::Arc;

use super::history::At;
use super::{Frame, Links, LookupError, Route, Transform, TransformTree};
use vla_base::time::Stamp;

/// The newest time at which every transform between two frames is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Common {
    /// The time.
    pub stamp: Stamp,
    /// The frame whose newest transform it is: the one that holds the others back.
    pub frame: Arc<str>,
}

impl TransformTree {
    /// The pose of the route's source in its target at a time.
    ///
    /// # Errors
    /// [`LookupError`]. Nothing is extrapolated.
    pub fn lookup(&self, route: &Route, at: Stamp) -> Result<Transform, LookupError> {
        let (target, source) = self.ends(route)?;
        let (mut up, mut top, mut gap) = (Transform::IDENTITY, source, None);
        let mut steps = self.frames.len();
        while top != target {
            match self.frame(top).map_or(At::Nothing, |frame| frame.links.at(at)) {
                At::Nothing => break,
                At::Found(parent, transform) => (up, top) = (transform.after(&up), parent),
                // The target may be below: what is above it does not matter.
                outside => {
                    gap = Some(self.outside(top, outside, at));
                    break;
                }
            }
            self.count(&mut steps, top)?;
        }
        let (mut down, mut frame) = (Transform::IDENTITY, target);
        let mut steps = self.frames.len();
        while frame != top && frame != source {
            match self.frame(frame).map_or(At::Nothing, |frame| frame.links.at(at)) {
                At::Nothing => return Err(gap.unwrap_or_else(|| self.disconnected(route, target, source))),
                At::Found(parent, transform) => (down, frame) = (transform.after(&down), parent),
                outside => return Err(self.outside(frame, outside, at)),
            }
            self.count(&mut steps, frame)?;
        }
        // The source itself is above the target.
        Ok(if frame == source { down.inverse() } else { down.inverse().after(&up) })
    }

    /// The newest time at which the route is known; `None` when every transform of it is static.
    ///
    /// # Errors
    /// [`LookupError::UnknownFrame`], [`LookupError::Disconnected`], [`LookupError::Loop`].
    pub fn latest_common(&self, route: &Route) -> Result<Option<Common>, LookupError> {
        let (target, source) = self.ends(route)?;
        let mut oldest = Oldest::default();
        if target == source {
            oldest.take(target, self.newest(target).and_then(|(stamp, _)| stamp));
            return Ok(self.common(oldest));
        }
        let mut steps = self.frames.len();
        let mut frame = source;
        while let Some((stamp, parent)) = self.newest(frame) {
            oldest.take(frame, stamp);
            frame = parent;
            if frame == target {
                return Ok(self.common(oldest));
            }
            self.count(&mut steps, frame)?;
        }
        (frame, oldest, steps) = (target, Oldest::default(), self.frames.len());
        let meeting = loop {
            let newest = self.newest(frame);
            let (stamp, parent) = newest.ok_or_else(|| self.disconnected(route, target, source))?;
            oldest.take(frame, stamp);
            if parent == source || self.is_above(parent, source) {
                break parent;
            }
            frame = parent;
            self.count(&mut steps, frame)?;
        };
        frame = source;
        while frame != meeting {
            let Some((stamp, parent)) = self.newest(frame) else { break };
            oldest.take(frame, stamp);
            frame = parent;
        }
        Ok(self.common(oldest))
    }

    /// Whether a transform of this frame is, or may become, part of the route.
    pub(crate) fn concerns(&self, route: &Route, child: &str) -> bool {
        let (Ok((target, source)), Some(&child)) = (self.ends(route), self.ids.get(super::bare(child))) else {
            return true;
        };
        let above = |frame| std::iter::successors(Some(frame), |frame| self.newest(*frame).map(|(_, parent)| parent));
        let mut chain = above(target).take(self.frames.len()).chain(above(source).take(self.frames.len()));
        chain.any(|frame| frame == child)
    }

    fn ends(&self, route: &Route) -> Result<(usize, usize), LookupError> {
        let id = |frame: &Arc<str>| {
            let unknown = || LookupError::UnknownFrame { frame: Arc::clone(frame), known: self.frames.len() };
            self.ids.get(frame).copied().ok_or_else(unknown)
        };
        Ok((id(&route.target)?, id(&route.source)?))
    }

    fn frame(&self, id: usize) -> Option<&Frame> {
        self.frames.get(id)
    }

    fn name(&self, id: usize) -> Arc<str> {
        self.frame(id).map(|frame| Arc::clone(&frame.name)).unwrap_or_default()
    }

    /// Stamp (`None`: static) and parent of the newest transform of a frame.
    fn newest(&self, id: usize) -> Option<(Option<Stamp>, usize)> {
        match &self.frame(id)?.links {
            Links::None => None,
            Links::Static { parent, .. } => Some((None, *parent)),
            Links::Moving(history) => history.newest().map(|sample| (Some(sample.stamp), sample.parent)),
        }
    }

    /// Whether `ancestor` is above `frame`. The way up from `frame` is known to end.
    fn is_above(&self, ancestor: usize, frame: usize) -> bool {
        let parents = std::iter::successors(self.newest(frame), |(_, parent)| self.newest(*parent));
        parents.take(self.frames.len()).any(|(_, parent)| parent == ancestor)
    }

    fn root(&self, frame: usize) -> Arc<str> {
        let parents = std::iter::successors(Some(frame), |frame| self.newest(*frame).map(|(_, parent)| parent));
        self.name(parents.take(self.frames.len()).last().unwrap_or(frame))
    }

    fn common(&self, oldest: Oldest) -> Option<Common> {
        oldest.0.map(|(stamp, frame)| Common { stamp, frame: self.name(frame) })
    }

    /// One step up; more steps than frames are a loop.
    fn count(&self, steps: &mut usize, frame: usize) -> Result<(), LookupError> {
        *steps = steps.checked_sub(1).ok_or_else(|| LookupError::Loop { frame: self.name(frame) })?;
        Ok(())
    }

    fn disconnected(&self, route: &Route, target: usize, source: usize) -> LookupError {
        LookupError::Disconnected {
            target: Arc::clone(&route.target),
            target_root: self.root(target),
            source_frame: Arc::clone(&route.source),
            source_root: self.root(source),
        }
    }

    fn outside(&self, frame: usize, found: At, asked: Stamp) -> LookupError {
        let frame = self.name(frame);
        match found {
            At::Before(oldest) => LookupError::Before { frame, asked, oldest },
            At::After(newest) => LookupError::After { frame, asked, newest },
            At::Nothing | At::Found(..) => LookupError::UnknownFrame { frame, known: self.frames.len() },
        }
    }
}

impl Links {
    fn at(&self, at: Stamp) -> At {
        match self {
            Self::None => At::Nothing,
            Self::Static { parent, transform } => At::Found(*parent, *transform),
            Self::Moving(history) => history.at(at),
        }
    }
}

/// The oldest of the newest stamps on a way, and whose it is.
#[derive(Default)]
struct Oldest(Option<(Stamp, usize)>);

impl Oldest {
    fn take(&mut self, frame: usize, stamp: Option<Stamp>) {
        let Some(stamp) = stamp else { return };
        if self.0.is_none_or(|(oldest, _)| stamp < oldest) {
            self.0 = Some((stamp, frame));
        }
    }
}

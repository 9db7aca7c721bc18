//! Latest-value slot of one input: the freshest sample by header stamp wins, and every message is counted.

use std::sync::Arc;

use super::earlier::Earlier;
use super::history::{Absent, History};
use super::order::{Arrival, Order};
use super::stream::Stream;
use vla_base::time::{Span, Stamp};

/// One message that passed the checks of its type.
#[derive(Clone, Debug)]
pub(super) struct Sample<T> {
    /// Header stamp.
    pub stamp: Stamp,
    /// ROS time of arrival.
    pub received: Stamp,
    /// What is kept of it: the whole serialized message of a frame, the values of a pose.
    pub value: T,
    /// Whether all but its stamp is bit by bit what the held sample has. Known of frames only.
    pub same: bool,
}

#[derive(Debug)]
struct Held<T> {
    sample: Sample<T>,
    used: bool,
    /// Stamp of the first of the samples in a row that were all the same, and how many came after it.
    same: (Stamp, u64),
}

/// State of a slot for the assembler.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Stamp of the held sample.
    pub stamp: Option<Stamp>,
    /// ROS time at which the last message arrived that was not refused.
    pub arrived: Stamp,
    /// Mean time from one arrival to the next, when two came at least.
    pub period: Option<Span>,
    /// For how long, by header stamp, samples have been the same bit by bit, and how many came after the first.
    pub same: (Span, u64),
    /// Whether the held sample has been in an observation before.
    pub used: bool,
    /// Messages since the held sample that carried its stamp.
    pub repeats: u64,
    /// Stamp of the last message when it lies too far ahead of now.
    pub ahead: Option<Stamp>,
    /// Why the messages since the held sample were refused, when they were.
    pub refusal: Option<Arc<str>>,
}

/// The slot. Nothing here blocks, parses or allocates.
#[derive(Debug)]
pub(super) struct Slot<T> {
    stream: Stream,
    held: Option<Held<T>>,
    /// The last message, when its stamp was too far ahead of the clock on arrival: kept apart so that one wrong stamp
    /// cannot block the stream, and accepted once the clock has reached it.
    ahead: Option<Sample<T>>,
    order: Order,
    arrived: Stamp,
    /// Frames that were held before.
    earlier: Earlier<T>,
    /// Earlier samples, the held one among them, for values between two.
    history: History<T>,
    /// A frame with an EXIF orientation was reported.
    rotation_reported: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            stream: Stream::default(),
            held: None,
            ahead: None,
            order: Order::default(),
            arrived: Stamp::default(),
            earlier: Earlier::default(),
            history: History::default(),
            rotation_reported: false,
        }
    }
}

impl<T: Clone> Slot<T> {
    /// A slot that also keeps samples of `length` before the newest.
    pub(crate) fn with_earlier(length: Span) -> Self {
        Self { earlier: Earlier::new(length), ..Self::default() }
    }

    /// The earlier sample whose stamp is nearest to `stamp`.
    pub(crate) fn nearest(&self, stamp: Stamp) -> Option<&Sample<T>> {
        self.earlier.nearest(stamp)
    }

    /// A slot that keeps samples for a time.
    pub(crate) fn with_history(length: Span) -> Self {
        Self { history: History::new(length), ..Self::default() }
    }

    /// The value at an earlier time: see [`History::at`].
    pub(crate) fn at(&self, stamp: Stamp, max_gap: Option<Span>, mix: impl Fn(&T, &T, f64) -> T) -> Result<T, Absent> {
        self.history.at(stamp, max_gap, mix)
    }

    /// Accepts a message. Returns the sample that it displaces, to be freed outside the lock.
    pub(crate) fn offer(&mut self, sample: Sample<T>, tolerance: Span) -> Option<Sample<T>> {
        self.stream.counts.received += 1;
        self.arrived = sample.received;
        if sample.stamp > sample.received + tolerance {
            self.stream.counts.future += 1;
            return self.ahead.replace(sample);
        }
        let ahead = self.ahead.take();
        self.accept(sample).or(ahead)
    }

    /// Accepts a message of a type without header: the latest arrival wins.
    pub(crate) fn offer_latest(&mut self, sample: Sample<T>) {
        self.stream.counts.received += 1;
        self.hold(sample);
    }

    /// Whether a frame with an EXIF orientation is the first one.
    pub(crate) fn report_rotation(&mut self) -> bool {
        !std::mem::replace(&mut self.rotation_reported, true)
    }

    /// Accounting of the messages.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Drops the samples of an earlier run of the clock.
    pub(crate) fn enter_epoch(&mut self, epoch: u64) -> Option<Sample<T>> {
        if !self.stream.enter_epoch(epoch) {
            return None;
        }
        self.ahead = None;
        self.earlier.clear();
        self.history.clear();
        self.order = Order::default();
        self.held.take().map(|held| self.retire(held))
    }

    /// State at `now`. A message that was ahead of the clock is accepted once the clock has reached it.
    pub(crate) fn snapshot(&mut self, now: Stamp, tolerance: Span, into: &mut Snapshot) -> Option<Sample<T>> {
        let reached = self.ahead.take_if(|sample| sample.stamp <= now + tolerance);
        let displaced = reached.and_then(|sample| {
            self.stream.counts.future -= 1;
            self.accept(sample)
        });
        into.stamp = self.held.as_ref().map(|held| held.sample.stamp);
        self.stream.last_age = into.stamp.map(|stamp| stamp.age_at(now));
        into.used = self.held.as_ref().is_some_and(|held| held.used);
        into.repeats = self.order.repeats();
        into.arrived = self.arrived;
        into.period = self.stream.rate.period();
        into.same = self.held.as_ref().map_or_else(Default::default, |h| (h.sample.stamp - h.same.0, h.same.1));
        into.ahead = self.ahead.as_ref().map(|sample| sample.stamp);
        into.refusal = self.stream.refusal_since_held();
        displaced
    }

    /// Records that the sample of a snapshot went into an observation.
    pub(crate) fn mark_used(&mut self, stamp: Stamp, used_before: bool) {
        if used_before {
            return;
        }
        match &mut self.held {
            Some(held) if held.sample.stamp == stamp => held.used = true,
            // Replaced between the snapshot and now, and counted as never used.
            _ => self.stream.counts.overwritten = self.stream.counts.overwritten.saturating_sub(1),
        }
        self.stream.counts.used += 1;
    }

    /// The held sample.
    pub(crate) fn latest(&self) -> Option<&Sample<T>> {
        self.held.as_ref().map(|held| &held.sample)
    }

    fn accept(&mut self, sample: Sample<T>) -> Option<Sample<T>> {
        match self.order.arrive(sample.stamp) {
            Arrival::Newer => {}
            Arrival::Restarted => {
                self.stream.counts.restarts += 1;
                self.stream.rate.clear();
                self.earlier.clear();
                self.history.clear();
            }
            Arrival::Repeat => {
                self.stream.counts.repeated += 1;
                return Some(sample);
            }
            Arrival::Older => {
                self.stream.counts.out_of_order += 1;
                return Some(sample);
            }
        }
        self.stream.rate.push(sample.stamp, sample.received);
        if self.history.is_kept() {
            self.history.push(sample.stamp, sample.value.clone());
        }
        self.hold(sample)
    }

    fn hold(&mut self, sample: Sample<T>) -> Option<Sample<T>> {
        self.stream.held();
        let same = match &self.held {
            Some(held) if sample.same && sample.stamp > held.sample.stamp => (held.same.0, held.same.1 + 1),
            _ => (sample.stamp, 0),
        };
        let newest = sample.stamp;
        let displaced = self.held.replace(Held { sample, used: false, same })?;
        let displaced = self.retire(displaced);
        self.earlier.push(displaced, newest)
    }

    fn retire(&mut self, held: Held<T>) -> Sample<T> {
        if !held.used {
            self.stream.counts.overwritten += 1;
        }
        held.sample
    }
}

#[cfg(test)]
mod tests;

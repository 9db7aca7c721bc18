//! The latest-value slot of one input: the freshest sample by header stamp wins, and every message is accounted for.

use std::sync::Arc;

use bytes::Bytes;

use super::clock::Watch;
use super::order::{Arrival, Order};
use super::rate::RateWindow;
use vla_base::time::{Span, Stamp};

/// One message that passed the checks of its type.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Header stamp.
    pub stamp: Stamp,
    /// ROS time of arrival.
    pub received: Stamp,
    /// The whole serialized message.
    pub bytes: Bytes,
    /// Whether all but its stamp is bit by bit what the held sample has.
    pub same: bool,
}

/// What became of the messages of one input. `received` is the sum of the others and of a held sample not yet used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub received: u64,
    pub used: u64,
    pub overwritten: u64,
    pub refused: u64,
    pub out_of_order: u64,
    pub repeated: u64,
    pub future: u64,
    /// Joint states without any joint that is needed.
    pub unneeded: u64,
    /// Times that the source's clock was found set back; no message is counted here.
    pub restarts: u64,
}

#[derive(Debug)]
struct Held {
    sample: Sample,
    used: bool,
    /// Stamp of the first of the samples in a row that were all the same, and how many came after it.
    same: (Stamp, u64),
}

/// What an assembler sees of a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Stamp and bytes of the held sample.
    pub held: Option<(Stamp, Bytes)>,
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
#[derive(Debug, Default)]
pub(super) struct Slot {
    epoch: u64,
    held: Option<Held>,
    /// The last message, when its stamp lay too far ahead of the clock on arrival: kept apart so that one wild stamp
    /// cannot block the stream, and taken up once the clock has reached it.
    ahead: Option<Sample>,
    order: Order,
    counts: Counts,
    last_refusal: Option<Arc<str>>,
    refused_since_held: bool,
    rate: RateWindow,
    arrived: Stamp,
    last_age: Option<Span>,
    watch: Watch,
    /// A frame that is stored turned has been told of.
    told_turned: bool,
}

impl Slot {
    /// Takes up one message. What it displaces comes back, to be freed outside the lock.
    pub fn offer(&mut self, sample: Sample, tolerance: Span) -> Option<Sample> {
        self.counts.received += 1;
        self.arrived = sample.received;
        if sample.stamp > sample.received + tolerance {
            self.counts.future += 1;
            return self.ahead.replace(sample);
        }
        let ahead = self.ahead.take();
        self.accept(sample).or(ahead)
    }

    /// Takes up one message of a type without header: the latest arrival wins.
    pub fn offer_latest(&mut self, sample: Sample) {
        self.counts.received += 1;
        self.hold(sample);
    }

    /// Counts a message that did not pass the checks of its type.
    pub fn refuse(&mut self, reason: Arc<str>) {
        self.counts.received += 1;
        self.counts.refused += 1;
        self.last_refusal = Some(reason);
        self.refused_since_held = true;
    }

    /// Whether a frame that is stored turned is the first one.
    pub fn tell_turned(&mut self) -> bool {
        !std::mem::replace(&mut self.told_turned, true)
    }

    /// What this input's arrivals tell of the clock.
    pub fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    /// Forgets the samples of an earlier run of the clock.
    pub fn enter_epoch(&mut self, epoch: u64) -> Option<Sample> {
        if epoch <= self.epoch {
            return None;
        }
        self.epoch = epoch;
        self.ahead = None;
        self.order = Order::default();
        self.rate.clear();
        self.held.take().map(|held| self.retire(held))
    }

    /// What is there at `now`. A message that was ahead of the clock is taken up when the clock has reached it.
    pub fn snapshot(&mut self, now: Stamp, tolerance: Span, into: &mut Snapshot) -> Option<Sample> {
        let reached = self.ahead.take_if(|sample| sample.stamp <= now + tolerance);
        let displaced = reached.and_then(|sample| {
            self.counts.future -= 1;
            self.accept(sample)
        });
        into.held = self.held.as_ref().map(|held| (held.sample.stamp, held.sample.bytes.clone()));
        self.last_age = into.held.as_ref().map(|held| held.0.age_at(now));
        into.used = self.held.as_ref().is_some_and(|held| held.used);
        into.repeats = self.order.repeats();
        into.arrived = self.arrived;
        into.period = self.rate.period();
        into.same = self.held.as_ref().map_or_else(Default::default, |h| (h.sample.stamp - h.same.0, h.same.1));
        into.ahead = self.ahead.as_ref().map(|sample| sample.stamp);
        into.refusal = self.last_refusal.clone().filter(|_| self.refused_since_held);
        displaced
    }

    /// Records that the sample of a snapshot went into an observation.
    pub fn mark_used(&mut self, stamp: Stamp, used_before: bool) {
        if used_before {
            return;
        }
        match &mut self.held {
            Some(held) if held.sample.stamp == stamp => held.used = true,
            // Replaced between the snapshot and now, and counted as never used.
            _ => self.counts.overwritten = self.counts.overwritten.saturating_sub(1),
        }
        self.counts.used += 1;
    }

    /// The held sample.
    pub fn latest(&self) -> Option<&Sample> {
        self.held.as_ref().map(|held| &held.sample)
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reason of the last refusal.
    pub fn last_refusal(&self) -> Option<Arc<str>> {
        self.last_refusal.clone()
    }

    /// Age of the held sample at the last snapshot.
    pub fn last_age(&self) -> Option<Span> {
        self.last_age
    }

    /// Stamps and arrivals of the last samples.
    pub fn rate(&self) -> &RateWindow {
        &self.rate
    }

    fn accept(&mut self, sample: Sample) -> Option<Sample> {
        match self.order.arrive(sample.stamp) {
            Arrival::Newer => {}
            Arrival::Restarted => {
                self.counts.restarts += 1;
                self.rate.clear();
            }
            Arrival::Repeat => {
                self.counts.repeated += 1;
                return Some(sample);
            }
            Arrival::Older => {
                self.counts.out_of_order += 1;
                return Some(sample);
            }
        }
        self.rate.push(sample.stamp, sample.received);
        self.hold(sample)
    }

    fn hold(&mut self, sample: Sample) -> Option<Sample> {
        self.refused_since_held = false;
        let same = match &self.held {
            Some(held) if sample.same && sample.stamp > held.sample.stamp => (held.same.0, held.same.1 + 1),
            _ => (sample.stamp, 0),
        };
        let displaced = self.held.replace(Held { sample, used: false, same });
        displaced.map(|held| self.retire(held))
    }

    fn retire(&mut self, held: Held) -> Sample {
        if !held.used {
            self.counts.overwritten += 1;
        }
        held.sample
    }
}

#[cfg(test)]
mod tests;

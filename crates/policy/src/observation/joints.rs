//! Joint states merged by joint: they may come on several topics and from several publishers on each, every one with its own
//! joints and rate. Only the joints that the policy reads or moves are kept, so no publisher can make the table grow.

use std::sync::Arc;

use super::history::{self, Absent, History};
use super::order::{Arrival, Order};
use super::sample::JointReading;
use super::slot::Snapshot;
use super::stream::Stream;
use vla_base::time::{Span, Stamp};

mod index;
mod snapshot;

pub(super) use index::{JointIndex, Parts, layout};
pub(super) use snapshot::JointsSnapshot;

/// A silence after which a driver counts as restarted: equal positions after it are no repetition, and the joint may come on another
/// topic.
const PAUSE: Span = Span::from_nanos(1_000_000_000);

/// A joint that changes its message layout this often is sent by several publishers.
const SHARED_AFTER: u32 = 8;

/// One joint state that passed the checks, without its positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub stamp: Stamp,
    /// ROS time of arrival.
    pub received: Stamp,
    /// Index of the topic that it came on.
    pub topic: usize,
    /// Hash of the message's joint names in order.
    pub layout: u64,
    /// Whether the message is counted by its outcome. A message that was refused in part is counted as refused.
    pub counted: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Held {
    reading: JointReading,
    /// Number of the message; 0: not counted.
    message: u64,
    used: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ahead {
    position: f64,
    arrived: Arrived,
    message: u64,
}

/// Topics on which a joint comes.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    /// The topic, and ROS time at which it was heard there last.
    topic: Option<(usize, Stamp)>,
    /// Another on which it comes as well.
    other: Option<(usize, Stamp)>,
}

impl Origin {
    fn heard(&mut self, topic: usize, received: Stamp) {
        match &mut self.topic {
            Some((own, last)) if *own == topic => *last = received,
            Some((_, last)) if received - *last <= PAUSE => self.other = Some((topic, received)),
            // Its driver has moved to this topic.
            _ => *self = Self { topic: Some((topic, received)), other: None },
        }
    }

    /// Both topics, while the joint comes on two.
    fn ambiguous(&self, now: Stamp) -> Option<(usize, usize)> {
        let (own, other) = self.topic.zip(self.other)?;
        (now - own.1 <= PAUSE && now - other.1 <= PAUSE).then_some((own.0, other.0))
    }
}

#[derive(Clone, Debug, Default)]
struct Joint {
    order: Order,
    held: Option<Held>,
    /// The last sample, when its stamp lay too far ahead of the clock on arrival. See [`super::slot::Slot`].
    ahead: Option<Ahead>,
    /// ROS time at which the last message with it arrived.
    arrived: Stamp,
    layout: u64,
    /// Changes of the layout since the start.
    switches: u32,
    origin: Origin,
    history: History<f64>,
}

/// The newest sample of each joint. Nothing here blocks, parses or allocates.
#[derive(Debug)]
pub(super) struct JointTable {
    names: Arc<[String]>,
    topics: Arc<[String]>,
    /// The first `read` of the names are read by the policy, the others are only moved.
    read: usize,
    joints: Vec<Joint>,
    stream: Stream,
    /// Messages accepted so far.
    messages: u64,
    /// Changes so far.
    sequence: u64,
    /// Reused when samples that were ahead are accepted.
    reached: Parts,
    /// Joints of the first message without any of the names.
    others: Option<Arc<str>>,
}

impl JointTable {
    fn new(names: Arc<[String]>, topics: Arc<[String]>, read: usize, history: Span) -> Self {
        let joint = |_: &String| Joint { history: History::new(history), ..Joint::default() };
        Self {
            joints: names.iter().map(joint).collect(),
            messages: 0,
            sequence: 0,
            stream: Stream::default(),
            reached: Parts::with_capacity(names.len()),
            others: None,
            read,
            topics,
            names,
        }
    }

    /// Accepts the needed joints of one message.
    pub(crate) fn offer(&mut self, parts: &[(usize, f64)], arrived: Arrived, tolerance: Span) {
        let message = if arrived.counted {
            self.stream.counts.received += 1;
            self.messages += 1;
            self.messages
        } else {
            0
        };
        let ahead = arrived.stamp > arrived.received + tolerance;
        for &(joint, _) in parts {
            let Some(joint) = self.joints.get_mut(joint) else { continue };
            if joint.layout != arrived.layout {
                joint.switches += u32::from(joint.layout != 0);
                joint.layout = arrived.layout;
            }
            (joint.ahead, joint.arrived) = (None, arrived.received);
            joint.origin.heard(arrived.topic, arrived.received);
        }
        if ahead {
            for &(joint, position) in parts {
                let Some(joint) = self.joints.get_mut(joint) else { continue };
                joint.ahead = Some(Ahead { position, arrived, message });
            }
            self.stream.counts.future += u64::from(message > 0);
        } else {
            self.accept(parts, arrived, message);
        }
    }

    /// Counts a message without any needed joint; `others` is called once for the joints that it has.
    pub(crate) fn ignore(&mut self, others: impl FnOnce() -> Option<Arc<str>>) {
        self.stream.counts.received += 1;
        self.stream.counts.unneeded += 1;
        if self.others.is_none() {
            self.others = others();
        }
    }

    /// Accounting of the messages.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Drops the samples of an earlier run of the clock.
    pub(crate) fn enter_epoch(&mut self, epoch: u64) {
        if !self.stream.enter_epoch(epoch) {
            return;
        }
        for at in 0..self.joints.len() {
            let Some(joint) = self.joints.get_mut(at) else { continue };
            let held = joint.held.take();
            joint.history.clear();
            (joint.order, joint.ahead, joint.arrived) = Default::default();
            joint.origin = Origin::default();
            self.retire(held);
        }
        self.sequence += 1;
    }

    /// State at `now`. Samples that were ahead of the clock are accepted once the clock has reached them.
    pub(crate) fn snapshot(&mut self, now: Stamp, tolerance: Span, into: &mut Snapshot, joints: &mut JointsSnapshot) {
        self.reach(now, tolerance);
        joints.readings.clear();
        joints.readings.extend(self.joints.iter().map(|joint| joint.held.map(|held| held.reading)));
        joints.messages.clear();
        let message = |held: Held| (held.message, held.used);
        joints.messages.extend(self.joints.iter().map(|joint| joint.held.map_or((0, true), message)));
        (joints.sequence, joints.read) = (self.sequence, self.read);
        joints.others.clone_from(&self.others);
        joints.ambiguous = self.joints.iter().enumerate().find_map(|(at, joint)| {
            let (one, other) = joint.origin.ambiguous(now)?;
            Some((at, one, other))
        });
        if !Arc::ptr_eq(&joints.names, &self.names) {
            joints.names = Arc::clone(&self.names);
            joints.topics = Arc::clone(&self.topics);
        }
        let stamp = self.stamp();
        self.stream.last_age = stamp.map(|stamp| stamp.age_at(now));
        let oldest = || self.joints.iter().filter(|joint| stamp.is_some() && joint.order.held() == stamp);
        into.stamp = stamp;
        into.used = false;
        into.repeats = oldest().map(|joint| joint.order.repeats()).max().unwrap_or(0);
        into.arrived = oldest().map(|joint| joint.arrived).max().unwrap_or(now);
        into.period = self.stream.rate.period();
        into.same = Default::default();
        into.ahead = self.ahead();
        into.refusal = self.stream.refusal_since_held();
    }

    /// Positions at a time, whatever is newer; `continuous` says of each joint whether it turns without end. The reason for the first
    /// joint without a position among those that the policy reads.
    pub(crate) fn sample(
        &self,
        at: Stamp,
        max_gap: Option<Span>,
        continuous: &[bool],
        readings: &mut Vec<Option<JointReading>>,
    ) -> Option<Absent> {
        readings.clear();
        let mut absent = None;
        for (place, joint) in self.joints.iter().enumerate() {
            let continuous = continuous.get(place).copied().unwrap_or(false);
            let mix = |from: &f64, to: &f64, part| history::between(*from, *to, part, continuous);
            let found = joint.history.at(at, max_gap, mix);
            if let (Err(reason), true, None) = (found, place < self.read, absent) {
                absent = Some(reason);
            }
            readings.push(found.ok().map(|position| JointReading { position, stamp: at, since: at }));
        }
        absent
    }

    /// The newest readings, whatever their age, when there are newer ones than `sequence`.
    pub(crate) fn read_into(&self, sequence: &mut u64, readings: &mut Vec<Option<JointReading>>) {
        if *sequence == self.sequence && readings.len() == self.joints.len() {
            return;
        }
        *sequence = self.sequence;
        readings.clear();
        readings.extend(self.joints.iter().map(|joint| joint.held.map(|held| held.reading)));
    }

    /// Records that the samples of a snapshot went into an observation.
    pub(crate) fn mark_used(&mut self, snapshot: &JointsSnapshot) {
        for (at, &(message, used)) in snapshot.messages.iter().enumerate() {
            let again = snapshot.messages.iter().take(at).any(|before| before.0 == message);
            if used || message == 0 || again {
                continue;
            }
            self.stream.counts.used += 1;
            let mut held = false;
            for mine in self.joints.iter_mut().filter_map(|joint| joint.held.as_mut()) {
                if mine.message == message {
                    (mine.used, held) = (true, true);
                }
            }
            if !held {
                // Replaced between the snapshot and now, and counted as never used.
                self.stream.counts.overwritten = self.stream.counts.overwritten.saturating_sub(1);
            }
        }
    }

    /// Stamp of the oldest needed joint; `None` until each has a sample. For a policy that reads no joint: the oldest of those
    /// with a sample.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        oldest(self.joints.iter().map(|joint| joint.held.map(|held| held.reading.stamp)), self.read)
    }

    /// Largest stamp of the samples that are too far ahead of the clock.
    fn ahead(&self) -> Option<Stamp> {
        let needed = if self.read > 0 { self.read } else { self.joints.len() };
        self.joints.iter().take(needed).filter_map(|joint| joint.ahead.map(|ahead| ahead.arrived.stamp)).max()
    }

    /// Joints in messages of several layouts, which come from several publishers.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &String> {
        let shared = |joint: &Joint| joint.switches >= SHARED_AFTER;
        self.names.iter().zip(&self.joints).filter(move |(_, joint)| shared(joint)).map(|(name, _)| name)
    }

    /// Merges the parts of one message. It counts by the best of them.
    fn accept(&mut self, parts: &[(usize, f64)], arrived: Arrived, message: u64) {
        let (mut newer, mut restarted, mut repeat, mut first) = (false, false, false, false);
        for &(at, position) in parts {
            let Some(joint) = self.joints.get_mut(at) else { continue };
            match joint.order.arrive(arrived.stamp) {
                Arrival::Newer => {}
                Arrival::Restarted => {
                    restarted = true;
                    joint.history.clear();
                }
                Arrival::Repeat => {
                    repeat = true;
                    continue;
                }
                Arrival::Older => continue,
            }
            newer = true;
            first |= at == 0;
            let is_same = |held: &Held| {
                held.reading.position.to_bits() == position.to_bits() && arrived.stamp - held.reading.stamp <= PAUSE
            };
            let same = joint.held.filter(is_same);
            let since = same.map_or(arrived.stamp, |held| held.reading.since.min(arrived.stamp));
            let reading = JointReading { position, stamp: arrived.stamp, since };
            joint.history.push(arrived.stamp, position);
            let displaced = joint.held.replace(Held { reading, message, used: false });
            self.retire(displaced);
        }
        self.sequence += u64::from(newer);
        if restarted {
            self.stream.rate.clear();
        }
        // The rate is that of the first joint's publisher: stamps of several publishers say nothing together.
        if first {
            self.stream.rate.push(arrived.stamp, arrived.received);
        }
        if message == 0 {
            return;
        }
        if newer {
            self.stream.held();
        }
        self.stream.counts.restarts += u64::from(restarted);
        match (newer, repeat) {
            (true, _) => {}
            (false, true) => self.stream.counts.repeated += 1,
            (false, false) => self.stream.counts.out_of_order += 1,
        }
    }

    /// Counts a message whose last joint was replaced before it was used.
    fn retire(&mut self, displaced: Option<Held>) {
        let Some(Held { message, used: false, .. }) = displaced else { return };
        let elsewhere = self.joints.iter().any(|joint| joint.held.is_some_and(|held| held.message == message));
        if message > 0 && !elsewhere {
            self.stream.counts.overwritten += 1;
        }
    }

    /// Accepts samples that were ahead of the clock, message by message.
    fn reach(&mut self, now: Stamp, tolerance: Span) {
        let reached = |ahead: &Ahead| ahead.arrived.stamp <= now + tolerance;
        while let Some(first) = self.joints.iter().filter_map(|joint| joint.ahead).find(reached) {
            let of_message =
                |ahead: &mut Ahead| (ahead.message, ahead.arrived.stamp) == (first.message, first.arrived.stamp);
            let mut parts = std::mem::take(&mut self.reached);
            parts.clear();
            let joints = self.joints.iter_mut().enumerate();
            parts.extend(joints.filter_map(|(at, joint)| Some((at, joint.ahead.take_if(of_message)?.position))));
            self.stream.counts.future -= u64::from(first.message > 0);
            self.accept(&parts, first.arrived, first.message);
            self.reached = parts;
        }
    }
}

/// Oldest stamp of the first `read` joints, `None` if one is missing; with `read` 0, of any.
pub(super) fn oldest(stamps: impl Iterator<Item = Option<Stamp>>, read: usize) -> Option<Stamp> {
    if read == 0 {
        return stamps.flatten().min();
    }
    let mut oldest: Option<Stamp> = None;
    for stamp in stamps.take(read) {
        let stamp = stamp?;
        oldest = Some(oldest.map_or(stamp, |before| before.min(stamp)));
    }
    oldest
}

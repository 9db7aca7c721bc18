//! Messages that arrive, for the inputs that their topic feeds.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Inputs;
use super::store::{JointStore, Store, lock};
use crate::observation::clock::ClockReader;
use crate::observation::error::Error;
use crate::observation::intake::{self, Source};
use crate::observation::joints::Arrived;
use crate::observation::pose::Pose;
use crate::observation::slot::{Sample, Slot};
use crate::observation::spec::{InputKind, InputSpec, StampSource};
use vla_base::time::{Span, Stamp};

impl Inputs {
    /// Accepts a serialized message of one of the [`Inputs::topics`] that arrived at ROS time `received`, for every input that
    /// names the topic. Invalid, empty and not finite messages are refused and counted, and the previous valid sample stays. Of a
    /// joint state in which a needed joint is not finite, the other joints are used. Call it from one task for each topic.
    ///
    /// # Errors
    /// Why the message, or a part of it, was refused: the first reason, where several inputs refuse it.
    pub fn offer(&self, topic: usize, bytes: Bytes, received: Stamp) -> Result<(), Error> {
        let unknown = || Error::UnknownTopic { index: topic, count: self.topics.len() };
        let topic = self.topics.get(topic).ok_or_else(unknown)?;
        if topic.kind == InputKind::Transform {
            return self.offer_transforms(topic, &bytes, received);
        }
        let offered = topic.inputs.iter().map(|&input| self.offer_to(input, &topic.name, &bytes, received));
        offered.fold(Ok(()), Result::and)
    }

    /// Accepts a message for one of the inputs of its topic.
    fn offer_to(&self, input: usize, topic: &str, bytes: &Bytes, received: Stamp) -> Result<(), Error> {
        let (Some(spec), Some(store)) = (self.specs.get(input), self.stores.get(input)) else { return Ok(()) };
        let source = Source { spec, topic, received };
        self.report_arrival(input, spec);
        let offered = match store {
            Store::Frames(slot) => self.offer_frame(&source, slot, bytes),
            Store::Poses(slot) => self.offer_pose(&source, slot, bytes),
            Store::Text(slot) => self.offer_text(&source, slot, bytes),
            // Refusals of single joints are counted where the others are merged.
            Store::Joints(joints) => return self.offer_joints(&source, joints, bytes),
        };
        offered.inspect_err(|error| store.refuse(error))
    }

    /// Warns once of an input whose samples are stamped by their arrival.
    fn report_arrival(&self, input: usize, spec: &InputSpec) {
        let reported = self.arrival_reported.get(input);
        if spec.stamp_from == StampSource::Arrival && reported.is_some_and(|done| !done.swap(true, Ordering::Relaxed)) {
            tracing::warn!(
                "input `{}`: the age of its samples counts from their arrival ({}.stamp: arrival): the time from capture to arrival is \
                 not part of it, so max_age_ms and max_skew_ms do not see it; stamp the messages in the driver where that is possible",
                spec.name,
                spec.parameter()
            );
        }
    }

    fn offer_frame(&self, source: &Source<'_>, slot: &Mutex<Slot<Bytes>>, bytes: &Bytes) -> Result<(), Error> {
        let frames = lock(&self.frames).clone();
        let (stamp, turned) = intake::check_frame(source, bytes, frames.as_deref())?;
        if let Some(orientation) = turned.filter(|_| lock(slot).report_rotation()) {
            tracing::warn!(
                "input `{}` on topic `{}`: frames have the EXIF orientation {orientation}, which is ignored; if the policy's \
                 training data were turned upright, set {}.exif: apply",
                source.spec.name,
                source.topic,
                source.spec.parameter()
            );
        }
        // The held frame is shared for the comparison, which is made without the lock.
        let held = lock(slot).latest().map(|sample| sample.value.clone());
        let same = held.is_some_and(|held| intake::same_but_stamp(&held, bytes));
        self.hold(slot, Sample { stamp, received: source.received, value: bytes.clone(), same });
        Ok(())
    }

    fn offer_pose(&self, source: &Source<'_>, slot: &Mutex<Slot<Pose>>, bytes: &[u8]) -> Result<(), Error> {
        let (stamp, pose) = intake::check_pose(source, bytes)?;
        self.hold(slot, Sample { stamp, received: source.received, value: pose, same: false });
        Ok(())
    }

    fn offer_text(&self, source: &Source<'_>, slot: &Mutex<Slot<()>>, bytes: &[u8]) -> Result<(), Error> {
        self.set_instruction(intake::check_text(source, bytes)?);
        let received = source.received;
        lock(slot).offer_latest(Sample { stamp: received, received, value: (), same: false });
        Ok(())
    }

    pub(super) fn hold<T: Clone>(&self, slot: &Mutex<Slot<T>>, sample: Sample<T>) {
        let released = {
            let mut slot = lock(slot);
            let (epoch, tolerance) = self.read_clock(&mut slot.stream().clock, sample.received);
            (slot.enter_epoch(epoch), slot.offer(sample, tolerance))
        };
        // Freed after the lock is released, because frames are large.
        drop(released);
    }

    fn offer_joints(&self, source: &Source<'_>, joints: &JointStore, bytes: &[u8]) -> Result<(), Error> {
        let received = source.received;
        let topic = joints.index.topic(source.topic);
        let Some(parts) = joints.parts.get(topic) else { return Ok(()) };
        let mut parts = lock(parts);
        let content = intake::check_joints(source, bytes, &joints.index, topic, &mut parts);
        let content = content.inspect_err(|error| joints.refuse(error))?;
        if let Some(error) = &content.refused {
            joints.refuse(error);
        } else if parts.is_empty() {
            lock(&joints.table).ignore(|| intake::joints_of(bytes));
            return Ok(());
        }
        let (stamp, layout, counted) = (content.stamp, content.layout, content.refused.is_none());
        let mut table = lock(&joints.table);
        let (epoch, tolerance) = self.read_clock(&mut table.stream().clock, received);
        table.enter_epoch(epoch);
        table.offer(&parts, Arrived { stamp, received, topic, layout, counted }, tolerance);
        content.refused.map_or(Ok(()), Err)
    }

    pub(super) fn read_clock(&self, reader: &mut ClockReader, now: Stamp) -> (u64, Span) {
        let mut clock = lock(&self.clock);
        (clock.advance(reader, now), clock.tolerance())
    }
}

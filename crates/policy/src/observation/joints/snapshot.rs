//! What the joint table holds at one moment, for the assembler.

use std::sync::Arc;

use super::{JointIndex, JointTable};
use crate::observation::assembler::joint_list;
use crate::observation::history::Absent;
use crate::observation::sample::{JointReading, JointSample};
use vla_base::time::{Span, Stamp};

/// State of the table for the assembler.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct JointsSnapshot {
    pub(super) names: Arc<[String]>,
    pub(super) topics: Arc<[String]>,
    /// The first `read` of the names are read by the policy.
    pub(super) read: usize,
    /// In the order of the names.
    pub readings: Vec<Option<JointReading>>,
    /// (message, used) of each reading.
    pub(super) messages: Vec<(u64, bool)>,
    pub(super) sequence: u64,
    /// Joints of a message that had none of the names.
    pub(super) others: Option<Arc<str>>,
    /// A joint that comes on two topics: its place, and the topics' indices.
    pub(super) ambiguous: Option<(usize, usize, usize)>,
    /// Positions at other times than the newest, one list a time.
    pub sampled: Vec<Vec<Option<JointReading>>>,
    /// Which joints turn without end, for the names that it was found for.
    continuous: (Arc<[String]>, Vec<bool>),
}

impl JointsSnapshot {
    /// Joints that an observation needs and that no message had, with the joints of the messages; `None` before the first
    /// message with a joint.
    pub(crate) fn without_reading(&self) -> Option<Arc<str>> {
        if self.readings.iter().all(Option::is_none) && self.others.is_none() {
            return None;
        }
        let needed = if self.read > 0 { self.read } else { self.names.len() };
        let joints = self.names.iter().zip(&self.readings).take(needed);
        let missing = joint_list(joints.filter(|(_, reading)| reading.is_none()).map(|(name, _)| name))?;
        let topics = self.topics.join(", ");
        match &self.others {
            Some(others) => Some(format!("{missing} yet on {topics} (other messages have {others})").into()),
            None => Some(format!("{missing} yet on {topics}").into()),
        }
    }

    /// Joints that the policy reads and whose readings are older than `limit` at `now`; `None` where all are.
    pub(crate) fn older_than(&self, limit: Span, now: Stamp) -> Option<Arc<str>> {
        let old = |reading: &Option<JointReading>| reading.is_some_and(|reading| reading.stamp.age_at(now) > limit);
        if self.readings.iter().take(self.read).all(old) {
            return None;
        }
        let joints = self.names.iter().zip(&self.readings).take(self.read);
        joint_list(joints.filter(|(_, reading)| old(reading)).map(|(name, _)| name))
    }

    /// A joint that comes on two topics, and the topics.
    pub(crate) fn ambiguous(&self) -> Option<(&String, &String, &String)> {
        let (joint, one, other) = self.ambiguous?;
        Some((self.names.get(joint)?, self.topics.get(one)?, self.topics.get(other)?))
    }

    /// Joints that the policy reads and that have no position at the sampled time.
    pub(crate) fn not_sampled(&self, time: usize) -> Option<Arc<str>> {
        let joints = self.names.iter().zip(self.sampled.get(time)?).take(self.read);
        joint_list(joints.filter(|(_, reading)| reading.is_none()).map(|(name, _)| name))
    }

    /// Which joints turn without end.
    pub(crate) fn find_continuous(&mut self, continuous: &Arc<[String]>) {
        let (known, found) = &mut self.continuous;
        if found.len() != self.names.len() || !Arc::ptr_eq(known, continuous) {
            *known = Arc::clone(continuous);
            *found = self.names.iter().map(|name| continuous.contains(name)).collect();
        }
    }

    /// Samples the table at a time into the list `time`; the reason for the first joint that is missing.
    pub(crate) fn sample(
        &mut self,
        table: &JointTable,
        time: usize,
        at: Stamp,
        max_gap: Option<Span>,
    ) -> Option<Absent> {
        let readings = self.sampled.get_mut(time)?;
        table.sample(at, max_gap, &self.continuous.1, readings)
    }

    /// Writes readings into a sample that is reused: the newest, or those of a sampled time.
    pub(crate) fn copy_into(
        &self,
        name: Arc<str>,
        stamp: Stamp,
        index: &JointIndex,
        time: Option<usize>,
        out: &mut JointSample,
    ) {
        (out.name, out.stamp, out.sequence) = (name, stamp, self.sequence);
        if !Arc::ptr_eq(&out.joints, &index.names) {
            out.joints = Arc::clone(&index.names);
        }
        out.readings.clone_from(time.and_then(|time| self.sampled.get(time)).unwrap_or(&self.readings));
    }
}

//! State of one input, behind its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::observation::error::Error;
use crate::observation::joints::{JointIndex, JointTable, Parts};
use crate::observation::pose::Pose;
use crate::observation::slot::Slot;
use crate::observation::spec::{InputKind, InputSpec};
use crate::observation::statistics::InputStatistics;
use vla_base::time::{Span, Stamp};

/// How long samples of joints and poses are kept at least.
const HISTORY: Span = Span::from_nanos(1_000_000_000);

/// State of one input.
#[derive(Debug)]
pub(super) enum Store {
    /// Frames of a camera, as they were serialized.
    Frames(Mutex<Slot<Bytes>>),
    /// Poses.
    Poses(Mutex<Slot<Pose>>),
    /// Instructions: only their arrival is kept here.
    Text(Mutex<Slot<()>>),
    /// The latest position of each joint.
    Joints(JointStore),
}

/// Joint states of any number of topics.
#[derive(Debug)]
pub(super) struct JointStore {
    pub index: JointIndex,
    pub table: Mutex<JointTable>,
    /// Positions of the message being checked, one list a topic. Only the topic's task takes its lock.
    pub parts: Vec<Mutex<Parts>>,
}

impl Store {
    pub(crate) fn new(spec: &InputSpec) -> Self {
        let history = spec.keep.max(HISTORY);
        match spec.kind {
            InputKind::Camera { .. } => Self::Frames(Mutex::new(Slot::with_earlier(spec.history.length()))),
            InputKind::Pose | InputKind::Odometry | InputKind::Transform => {
                Self::Poses(Mutex::new(Slot::with_history(history)))
            }
            InputKind::Instruction => Self::Text(Mutex::default()),
            InputKind::Joints => {
                let index = JointIndex::new(spec);
                let parts = || Mutex::new(Parts::with_capacity(index.names.len()));
                let parts = spec.topics.iter().map(|_| parts()).collect();
                Self::Joints(JointStore { table: Mutex::new(index.table(history)), index, parts })
            }
        }
    }

    pub(crate) fn refuse(&self, error: &Error) {
        match self {
            Self::Frames(slot) => refuse(slot, error),
            Self::Poses(slot) => refuse(slot, error),
            Self::Text(slot) => refuse(slot, error),
            Self::Joints(joints) => joints.refuse(error),
        }
    }

    pub(crate) fn statistics(&self, names: &(Arc<str>, Arc<str>), now: Stamp) -> InputStatistics {
        match self {
            Self::Frames(slot) => statistics(slot, names, now),
            Self::Poses(slot) => statistics(slot, names, now),
            Self::Text(slot) => statistics(slot, names, now),
            Self::Joints(joints) => {
                let mut table = lock(&joints.table);
                let stamp = table.stamp();
                let shared_joints = table.shared().cloned().collect();
                InputStatistics { shared_joints, ..table.stream().statistics(names, stamp, now) }
            }
        }
    }
}

impl JointStore {
    pub(crate) fn refuse(&self, error: &Error) {
        let reason = error.to_string().into();
        lock(&self.table).stream().refuse(reason);
    }
}

fn refuse<T: Clone>(slot: &Mutex<Slot<T>>, error: &Error) {
    let reason = error.to_string().into();
    lock(slot).stream().refuse(reason);
}

fn statistics<T: Clone>(slot: &Mutex<Slot<T>>, names: &(Arc<str>, Arc<str>), now: Stamp) -> InputStatistics {
    let mut slot = lock(slot);
    let stamp = slot.latest().map(|sample| sample.stamp);
    slot.stream().statistics(names, stamp, now)
}

/// Ignores poisoning: every change is one call that cannot panic halfway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

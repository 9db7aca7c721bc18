//! What is kept of one input, behind its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::observation::error::Error;
use crate::observation::joints::{JointIndex, JointTable, Parts};
use crate::observation::rate::RateWindow;
use crate::observation::slot::{Counts, Slot};
use crate::observation::spec::{InputKind, InputSpec};
use crate::observation::statistics::InputStatistics;
use vla_base::time::{Span, Stamp};

/// What is kept of one input.
#[derive(Debug)]
pub(super) enum Store {
    /// The latest sample.
    Latest(Mutex<Slot>),
    /// The latest position of each joint.
    Joints(JointStore),
}

/// Joint states of one topic.
#[derive(Debug)]
pub(super) struct JointStore {
    pub index: JointIndex,
    pub table: Mutex<JointTable>,
    /// Positions of the message at hand. Only the topic's task takes this lock.
    pub parts: Mutex<Parts>,
}

impl Store {
    pub fn new(spec: &InputSpec) -> Self {
        if spec.kind != InputKind::Joints {
            return Self::Latest(Mutex::default());
        }
        let index = JointIndex::new(&spec.joints);
        let parts = Mutex::new(Parts::with_capacity(index.names.len()));
        Self::Joints(JointStore { table: Mutex::new(index.table()), index, parts })
    }

    pub fn refuse(&self, error: &Error) {
        match self {
            Self::Latest(slot) => {
                let reason = error.to_string().into();
                lock(slot).refuse(reason);
            }
            Self::Joints(joints) => joints.refuse(error),
        }
    }

    pub fn statistics(&self, names: &(Arc<str>, Arc<str>), now: Stamp) -> InputStatistics {
        match self {
            Self::Latest(slot) => {
                let slot = lock(slot);
                let stamp = slot.latest().map(|sample| sample.stamp);
                let refusal = slot.last_refusal();
                statistics(names, slot.counts(), refusal, stamp, slot.last_age(), slot.rate(), now)
            }
            Self::Joints(joints) => {
                let table = lock(&joints.table);
                let (stamp, refusal) = (table.stamp(), table.last_refusal());
                let all = statistics(names, table.counts(), refusal, stamp, table.last_age(), table.rate(), now);
                InputStatistics { shared_joints: table.shared().cloned().collect(), ..all }
            }
        }
    }
}

impl JointStore {
    pub fn refuse(&self, error: &Error) {
        let reason = error.to_string().into();
        lock(&self.table).refuse(reason);
    }
}

/// A thread that panicked elsewhere leaves a slot whole: every change to it is one call that cannot fail.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn statistics(
    (name, topic): &(Arc<str>, Arc<str>),
    counts: Counts,
    last_refusal: Option<Arc<str>>,
    last_stamp: Option<Stamp>,
    last_age: Option<Span>,
    rate: &RateWindow,
    now: Stamp,
) -> InputStatistics {
    InputStatistics {
        name: name.clone(),
        topic: topic.clone(),
        received: counts.received,
        used: counts.used,
        overwritten: counts.overwritten,
        refused: counts.refused,
        last_refusal,
        out_of_order: counts.out_of_order,
        repeated: counts.repeated,
        future: counts.future,
        unneeded: counts.unneeded,
        restarts: counts.restarts,
        shared_joints: Vec::new(),
        last_stamp,
        last_age,
        rate: rate.measure(now),
    }
}

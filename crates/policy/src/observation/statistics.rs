//! What diagnostics and reports show of an input.

use std::sync::Arc;

use super::rate::InputRate;
use vla_base::time::{Span, Stamp};

/// Counters and times of one input since the start. `received` is the sum of `used`, `overwritten`, `refused`,
/// `out_of_order`, `repeated`, `future`, `unneeded`, and of the held messages that have not been used yet: at most one, or of
/// joint states one a publisher.
#[derive(Clone, PartialEq, Debug)]
pub struct InputStatistics {
    /// Input.
    pub name: Arc<str>,
    /// Its topic as configured.
    pub topic: Arc<str>,
    /// Messages that arrived.
    pub received: u64,
    /// Samples that went into at least one observation.
    pub used: u64,
    /// Good samples replaced by a fresher one (or forgotten when the clock went back) before they were used. A camera
    /// faster than inference has many: that is no fault.
    pub overwritten: u64,
    /// Messages refused: broken, empty, not finite.
    pub refused: u64,
    /// Reason of the last refusal.
    pub last_refusal: Option<Arc<str>>,
    /// Messages older than the held sample.
    pub out_of_order: u64,
    /// Messages with the stamp of the held sample.
    pub repeated: u64,
    /// Messages whose stamp lay ahead of the clock and was not trusted.
    pub future: u64,
    /// Joint states without any joint that the policy reads or moves: those of other publishers.
    pub unneeded: u64,
    /// Times that the source's own clock was found set back.
    pub restarts: u64,
    /// Joints that the policy reads or moves and that come in messages of different sets of joints: from several publishers, of which
    /// the freshest stamp wins.
    pub shared_joints: Vec<String>,
    /// Header stamp of the held sample (time of arrival for the instruction; of joint states, the stamp of the oldest joint that the
    /// policy reads, and `None` until each has been seen).
    pub last_stamp: Option<Stamp>,
    /// Age that the held sample had when an observation was last asked for; `None` before, and for the instruction.
    pub last_age: Option<Span>,
    /// Arrival rate and the source's own; `None` with too few samples.
    pub rate: Option<InputRate>,
}

impl InputStatistics {
    /// Adds the counters of the same input in a later run; times are those of the later one.
    pub fn add(&mut self, later: &Self) {
        self.received += later.received;
        self.used += later.used;
        self.overwritten += later.overwritten;
        self.refused += later.refused;
        self.out_of_order += later.out_of_order;
        self.repeated += later.repeated;
        self.future += later.future;
        self.unneeded += later.unneeded;
        self.restarts += later.restarts;
        self.last_refusal = later.last_refusal.clone().or(self.last_refusal.take());
        (self.last_stamp, self.last_age, self.rate) = (later.last_stamp, later.last_age, later.rate);
        let new = later.shared_joints.iter().filter(|joint| !self.shared_joints.contains(joint));
        let new: Vec<String> = new.cloned().collect();
        self.shared_joints.extend(new);
    }

    /// Age of the held sample at `now`.
    pub fn age_at(&self, now: Stamp) -> Option<Span> {
        self.last_stamp.map(|stamp| stamp.age_at(now))
    }
}

//! Accounting of one input's messages: counts, refusals, rate and age. Common to slots and the joint table.

use std::sync::Arc;

use super::clock::ClockReader;
use super::rate::RateWindow;
use super::statistics::InputStatistics;
use vla_base::time::{Span, Stamp};

/// Messages of one input by outcome. `received` is the sum of the others and of a held sample not yet used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub received: u64,
    pub used: u64,
    pub overwritten: u64,
    pub refused: u64,
    pub out_of_order: u64,
    pub repeated: u64,
    pub future: u64,
    /// Joint states without any needed joint.
    pub unneeded: u64,
    /// Times that the source's clock went back. Not a count of messages.
    pub restarts: u64,
}

/// The messages of one input so far.
#[derive(Debug, Default)]
pub(super) struct Stream {
    epoch: u64,
    pub counts: Counts,
    pub rate: RateWindow,
    pub last_age: Option<Span>,
    /// Reader of ROS time for this input's arrivals.
    pub clock: ClockReader,
    last_refusal: Option<Arc<str>>,
    refused_since_held: bool,
}

impl Stream {
    /// Counts a message that did not pass the checks of its type.
    pub(crate) fn refuse(&mut self, reason: Arc<str>) {
        self.counts.received += 1;
        self.counts.refused += 1;
        self.last_refusal = Some(reason);
        self.refused_since_held = true;
    }

    /// Records that a newer sample is held.
    pub(crate) fn held(&mut self) {
        self.refused_since_held = false;
    }

    /// Enters a run of the clock. False when it was entered before.
    pub(crate) fn enter_epoch(&mut self, epoch: u64) -> bool {
        let entered = epoch > self.epoch;
        if entered {
            self.epoch = epoch;
            self.rate.clear();
        }
        entered
    }

    /// Why the messages since the held sample were refused, if they were.
    pub(crate) fn refusal_since_held(&self) -> Option<Arc<str>> {
        self.last_refusal.clone().filter(|_| self.refused_since_held)
    }

    /// Statistics as of `now`; `last_stamp` is that of the held sample.
    pub(crate) fn statistics(
        &self,
        (name, topic): &(Arc<str>, Arc<str>),
        last_stamp: Option<Stamp>,
        now: Stamp,
    ) -> InputStatistics {
        let Counts { received, used, overwritten, refused, out_of_order, repeated, future, unneeded, restarts } =
            self.counts;
        InputStatistics {
            name: name.clone(),
            topic: topic.clone(),
            received,
            used,
            overwritten,
            refused,
            last_refusal: self.last_refusal.clone(),
            out_of_order,
            repeated,
            future,
            unneeded,
            restarts,
            shared_joints: Vec::new(),
            last_stamp,
            last_age: self.last_age,
            rate: self.rate.measure(now),
        }
    }
}

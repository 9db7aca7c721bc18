//! The latest-value slot of one input: the freshest sample by header stamp wins, and every message is accounted for.

use std::sync::Arc;

use bytes::Bytes;

use super::clock::Watch;
use super::rate::RateWindow;
use crate::time::{Span, Stamp};

/// Consecutive messages, each older than the held sample but newer than the one before, after which the source's own
/// clock is taken to have been set back (driver restart) and its new stamps are followed. Fewer are late deliveries.
const RESTART_AFTER: u32 = 5;

/// One message that passed the checks of its type.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Header stamp.
    pub stamp: Stamp,
    /// ROS time of arrival.
    pub received: Stamp,
    /// The whole serialized message.
    pub bytes: Bytes,
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
    /// Times that the source's clock was found set back; no message is counted here.
    pub restarts: u64,
}

#[derive(Debug)]
struct Held {
    sample: Sample,
    used: bool,
    /// Messages since that carried the same stamp.
    repeats: u64,
}

/// What an assembler sees of a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Stamp and bytes of the held sample.
    pub held: Option<(Stamp, Bytes)>,
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
    /// Length and newest stamp of the current run of older messages.
    older: (u32, Stamp),
    counts: Counts,
    last_refusal: Option<Arc<str>>,
    refused_since_held: bool,
    rate: RateWindow,
    last_age: Option<Span>,
    watch: Watch,
}

impl Slot {
    /// Takes up one message. What it displaces comes back, to be freed outside the lock.
    pub fn offer(&mut self, sample: Sample, tolerance: Span) -> Option<Sample> {
        self.counts.received += 1;
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
        self.older = Default::default();
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
        into.repeats = self.held.as_ref().map_or(0, |held| held.repeats);
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
        if let Some(held) = &mut self.held {
            if sample.stamp == held.sample.stamp {
                self.counts.repeated += 1;
                held.repeats += 1;
                self.older = Default::default();
                return Some(sample);
            }
            if sample.stamp < held.sample.stamp && !self.source_restarted(sample.stamp) {
                self.counts.out_of_order += 1;
                return Some(sample);
            }
        }
        self.rate.push(sample.stamp, sample.received);
        self.hold(sample)
    }

    fn source_restarted(&mut self, stamp: Stamp) -> bool {
        let (run, newest) = self.older;
        self.older = (if run > 0 && stamp > newest { run + 1 } else { 1 }, stamp);
        let restarted = self.older.0 >= RESTART_AFTER;
        if restarted {
            self.counts.restarts += 1;
            self.rate.clear();
        }
        restarted
    }

    fn hold(&mut self, sample: Sample) -> Option<Sample> {
        self.older = Default::default();
        self.refused_since_held = false;
        let displaced = self.held.replace(Held { sample, used: false, repeats: 0 });
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOLERANCE: Span = Span::from_nanos(10);

    fn sample(stamp: i64, received: i64) -> Sample {
        Sample { stamp: Stamp::from_nanos(stamp), received: Stamp::from_nanos(received), bytes: Bytes::new() }
    }

    fn held(slot: &Slot) -> Option<i64> {
        slot.latest().map(|sample| sample.stamp.nanos())
    }

    fn snapshot(slot: &mut Slot, now: i64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        slot.snapshot(Stamp::from_nanos(now), TOLERANCE, &mut snapshot);
        snapshot
    }

    #[test]
    fn freshest_by_stamp_wins_whatever_the_order_of_arrival() {
        let mut slot = Slot::default();
        for (stamp, received) in [(100, 101), (300, 301), (200, 302)] {
            slot.offer(sample(stamp, received), TOLERANCE);
        }
        assert_eq!(held(&slot), Some(300));
        let counts = slot.counts();
        assert_eq!((counts.received, counts.overwritten, counts.out_of_order), (3, 1, 1));
    }

    #[test]
    fn a_sample_that_was_used_does_not_count_as_overwritten() {
        let mut slot = Slot::default();
        slot.offer(sample(100, 100), TOLERANCE);
        let seen = snapshot(&mut slot, 110);
        slot.mark_used(Stamp::from_nanos(100), seen.used);
        let again = snapshot(&mut slot, 120);
        slot.mark_used(Stamp::from_nanos(100), again.used);
        slot.offer(sample(200, 200), TOLERANCE);
        let counts = slot.counts();
        assert_eq!((counts.used, counts.overwritten), (1, 0));
    }

    #[test]
    fn a_sample_replaced_while_it_was_being_assembled_counts_as_used() {
        let mut slot = Slot::default();
        slot.offer(sample(100, 100), TOLERANCE);
        let seen = snapshot(&mut slot, 110);
        slot.offer(sample(200, 200), TOLERANCE);
        slot.mark_used(Stamp::from_nanos(100), seen.used);
        let counts = slot.counts();
        assert_eq!((counts.used, counts.overwritten), (1, 0));
    }

    #[test]
    fn equal_stamps_are_repeats_and_do_not_replace() {
        let mut slot = Slot::default();
        for received in [100, 200, 300] {
            slot.offer(sample(100, received), TOLERANCE);
        }
        let seen = snapshot(&mut slot, 300);
        assert_eq!((seen.repeats, slot.counts().repeated), (2, 2));
        assert_eq!(slot.latest().map(|s| s.received.nanos()), Some(100));
    }

    #[test]
    fn a_stamp_ahead_within_the_tolerance_is_held_at_once() {
        let mut slot = Slot::default();
        slot.offer(sample(110, 100), TOLERANCE);
        assert_eq!((held(&slot), slot.counts().future), (Some(110), 0));
        slot.offer(sample(211, 200), TOLERANCE);
        assert_eq!((held(&slot), slot.counts().future), (Some(110), 1));
    }

    #[test]
    fn a_refusal_is_told_until_the_next_good_message() {
        let mut slot = Slot::default();
        slot.offer(sample(100, 100), TOLERANCE);
        slot.refuse("bad".into());
        assert_eq!(snapshot(&mut slot, 110).refusal.as_deref(), Some("bad"));
        slot.offer(sample(120, 120), TOLERANCE);
        assert_eq!(snapshot(&mut slot, 130).refusal, None);
        assert_eq!(slot.last_refusal().as_deref(), Some("bad"));
    }

    #[test]
    fn one_wild_stamp_is_set_aside_and_the_next_good_message_clears_it() {
        let mut slot = Slot::default();
        slot.offer(sample(100, 100), TOLERANCE);
        slot.offer(sample(9_000_000, 110), TOLERANCE);
        assert_eq!(snapshot(&mut slot, 110).ahead, Some(Stamp::from_nanos(9_000_000)));
        slot.offer(sample(120, 120), TOLERANCE);
        let seen = snapshot(&mut slot, 120);
        assert_eq!((seen.ahead, held(&slot), slot.counts().future), (None, Some(120), 1));
    }

    #[test]
    fn a_message_ahead_of_a_lagging_clock_is_taken_up_once_the_clock_is_there() {
        let mut slot = Slot::default();
        slot.offer(sample(200, 100), TOLERANCE);
        assert_eq!(snapshot(&mut slot, 180).held, None);
        let seen = snapshot(&mut slot, 190);
        assert_eq!((seen.held.map(|h| h.0.nanos()), seen.ahead, slot.counts().future), (Some(200), None, 0));
    }

    #[test]
    fn a_source_whose_clock_was_set_back_is_followed_after_a_run_of_advancing_stamps() {
        let mut slot = Slot::default();
        slot.offer(sample(1_000_000, 1_000_000), TOLERANCE);
        for i in 0..i64::from(RESTART_AFTER) {
            assert_eq!(held(&slot), Some(1_000_000));
            slot.offer(sample(500 + i, 1_000_001 + i), TOLERANCE);
        }
        assert_eq!(held(&slot), Some(500 + i64::from(RESTART_AFTER) - 1));
        assert_eq!(slot.counts().restarts, 1);
    }

    #[test]
    fn older_messages_that_do_not_advance_never_replace_the_held_one() {
        let mut slot = Slot::default();
        slot.offer(sample(1_000, 1_000), TOLERANCE);
        for i in 0..50 {
            slot.offer(sample(900 - i, 1_001 + i), TOLERANCE);
        }
        assert_eq!((held(&slot), slot.counts().out_of_order), (Some(1_000), 50));
    }

    #[test]
    fn a_new_epoch_forgets_the_old_run_and_lets_its_smaller_stamps_in() {
        let mut slot = Slot::default();
        slot.offer(sample(1_000, 1_000), TOLERANCE);
        for i in 1..20 {
            slot.offer(sample(1_000 + i, 1_000 + i), TOLERANCE);
        }
        assert!(slot.rate().measure().is_some());
        slot.enter_epoch(1);
        assert_eq!((held(&slot), slot.rate().measure()), (None, None));
        slot.offer(sample(5, 5), TOLERANCE);
        slot.enter_epoch(1);
        assert_eq!(held(&slot), Some(5));
    }

    proptest! {
        /// Every message is in exactly one count, or held and not yet used.
        #[test]
        fn counts_add_up(steps in prop::collection::vec((0u8..6, 0i64..200, 0i64..200), 0..200)) {
            let mut slot = Slot::default();
            let mut epoch = 0;
            for (what, stamp, at) in steps {
                match what {
                    0..=2 => drop(slot.offer(sample(stamp, at), TOLERANCE)),
                    3 => slot.refuse("bad".into()),
                    4 => {
                        epoch += u64::from(stamp < 10);
                        slot.enter_epoch(epoch);
                    }
                    _ => {
                        let seen = snapshot(&mut slot, at);
                        if stamp % 2 == 0 {
                            slot.offer(sample(stamp, at), TOLERANCE);
                        }
                        if let Some((stamp, _)) = seen.held {
                            slot.mark_used(stamp, seen.used);
                        }
                    }
                }
                let c = slot.counts();
                let pending = u64::from(slot.held.as_ref().is_some_and(|held| !held.used));
                prop_assert_eq!(
                    c.received,
                    c.used + c.overwritten + c.refused + c.out_of_order + c.repeated + c.future + pending
                );
            }
        }

        /// The held stamp never goes back within an epoch, but for a source restart.
        #[test]
        fn held_stamp_is_monotone(stamps in prop::collection::vec(0i64..1000, 1..100)) {
            let mut slot = Slot::default();
            let (mut last, mut restarts) = (0, 0);
            for stamp in stamps {
                slot.offer(sample(stamp, 1000), TOLERANCE);
                let now_held = held(&slot).unwrap_or(-1);
                prop_assert!(now_held >= last || slot.counts().restarts > restarts);
                (last, restarts) = (now_held, slot.counts().restarts);
            }
        }
    }
}

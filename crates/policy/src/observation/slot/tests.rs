//! Tests of the slot: who wins, and where every message is counted.

use super::*;
use crate::observation::order::RESTART_AFTER;
use proptest::prelude::*;

const TOLERANCE: Span = Span::from_nanos(10);

fn sample(stamp: i64, received: i64) -> Sample<()> {
    Sample { stamp: Stamp::from_nanos(stamp), received: Stamp::from_nanos(received), value: (), same: false }
}

fn held(slot: &Slot<()>) -> Option<i64> {
    slot.latest().map(|sample| sample.stamp.nanos())
}

fn snapshot(slot: &mut Slot<()>, now: i64) -> Snapshot {
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
    let counts = slot.stream.counts;
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
    let counts = slot.stream.counts;
    assert_eq!((counts.used, counts.overwritten), (1, 0));
}

#[test]
fn a_sample_replaced_while_it_was_being_assembled_counts_as_used() {
    let mut slot = Slot::default();
    slot.offer(sample(100, 100), TOLERANCE);
    let seen = snapshot(&mut slot, 110);
    slot.offer(sample(200, 200), TOLERANCE);
    slot.mark_used(Stamp::from_nanos(100), seen.used);
    let counts = slot.stream.counts;
    assert_eq!((counts.used, counts.overwritten), (1, 0));
}

#[test]
fn equal_stamps_are_repeats_and_do_not_replace() {
    let mut slot = Slot::default();
    for received in [100, 200, 300] {
        slot.offer(sample(100, received), TOLERANCE);
    }
    let seen = snapshot(&mut slot, 300);
    assert_eq!((seen.repeats, slot.stream.counts.repeated), (2, 2));
    assert_eq!(slot.latest().map(|s| s.received.nanos()), Some(100));
}

#[test]
fn a_stamp_ahead_within_the_tolerance_is_held_at_once() {
    let mut slot = Slot::default();
    slot.offer(sample(110, 100), TOLERANCE);
    assert_eq!((held(&slot), slot.stream.counts.future), (Some(110), 0));
    slot.offer(sample(211, 200), TOLERANCE);
    assert_eq!((held(&slot), slot.stream.counts.future), (Some(110), 1));
}

#[test]
fn a_refusal_is_reported_until_the_next_valid_message() {
    let mut slot = Slot::default();
    slot.offer(sample(100, 100), TOLERANCE);
    slot.stream.refuse("bad".into());
    assert_eq!(snapshot(&mut slot, 110).refusal.as_deref(), Some("bad"));
    slot.offer(sample(120, 120), TOLERANCE);
    assert_eq!(snapshot(&mut slot, 130).refusal, None);
    let statistics = slot.stream.statistics(&("top".into(), "/top".into()), None, Stamp::from_nanos(130));
    assert_eq!(statistics.last_refusal.as_deref(), Some("bad"), "statistics keep it");
}

#[test]
fn one_wild_stamp_is_set_aside_and_the_next_good_message_clears_it() {
    let mut slot = Slot::default();
    slot.offer(sample(100, 100), TOLERANCE);
    slot.offer(sample(9_000_000, 110), TOLERANCE);
    assert_eq!(snapshot(&mut slot, 110).ahead, Some(Stamp::from_nanos(9_000_000)));
    slot.offer(sample(120, 120), TOLERANCE);
    let seen = snapshot(&mut slot, 120);
    assert_eq!((seen.ahead, held(&slot), slot.stream.counts.future), (None, Some(120), 1));
}

#[test]
fn a_message_ahead_of_a_lagging_clock_is_taken_up_once_the_clock_is_there() {
    let mut slot = Slot::default();
    slot.offer(sample(200, 100), TOLERANCE);
    assert_eq!(snapshot(&mut slot, 180).stamp, None);
    let seen = snapshot(&mut slot, 190);
    assert_eq!((seen.stamp.map(Stamp::nanos), seen.ahead, slot.stream.counts.future), (Some(200), None, 0));
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
    assert_eq!(slot.stream.counts.restarts, 1);
}

#[test]
fn older_messages_that_do_not_advance_never_replace_the_held_one() {
    let mut slot = Slot::default();
    slot.offer(sample(1_000, 1_000), TOLERANCE);
    for i in 0..50 {
        slot.offer(sample(900 - i, 1_001 + i), TOLERANCE);
    }
    assert_eq!((held(&slot), slot.stream.counts.out_of_order), (Some(1_000), 50));
}

#[test]
fn a_new_epoch_forgets_the_old_run_and_lets_its_smaller_stamps_in() {
    let mut slot = Slot::default();
    slot.offer(sample(1_000, 1_000), TOLERANCE);
    for i in 1..20 {
        slot.offer(sample(1_000 + i, 1_000 + i), TOLERANCE);
    }
    assert!(slot.stream.rate.period().is_some());
    slot.enter_epoch(1);
    assert_eq!((held(&slot), slot.stream.rate.period()), (None, None));
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
                3 => slot.stream.refuse("bad".into()),
                4 => {
                    epoch += u64::from(stamp < 10);
                    slot.enter_epoch(epoch);
                }
                _ => {
                    let seen = snapshot(&mut slot, at);
                    if stamp % 2 == 0 {
                        slot.offer(sample(stamp, at), TOLERANCE);
                    }
                    if let Some(stamp) = seen.stamp {
                        slot.mark_used(stamp, seen.used);
                    }
                }
            }
            let c = slot.stream.counts;
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
            prop_assert!(now_held >= last || slot.stream.counts.restarts > restarts);
            (last, restarts) = (now_held, slot.stream.counts.restarts);
        }
    }
}

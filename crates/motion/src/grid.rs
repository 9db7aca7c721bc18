//! The grid in time that all motion is planned on.
//!
//! Every plan has its samples at the same absolute times, multiples of [`SAMPLE_PERIOD`] in ROS time. So one plan takes over from the
//! other at a sample that both share, and no position, velocity or braking distance is rounded.

use vla_base::time::{Span, Stamp};

/// Time between two samples.
pub const SAMPLE_PERIOD: Span = Span::from_nanos(10_000_000);
/// The same in seconds.
pub(super) const DT: f64 = 0.01;

/// A clock reading that is earlier than the last one by more than this means that the clock was set back; by less, that two threads
/// read it one after the other.
pub const CLOCK_TOLERANCE: Span = Span::from_nanos(100_000_000);

/// Tick of the sample at `at`, or of the last one before.
pub(super) fn tick_at(at: Stamp) -> i64 {
    at.nanos().div_euclid(SAMPLE_PERIOD.nanos())
}

/// Tick of the first sample after `at`.
pub(super) fn tick_after(at: Stamp) -> i64 {
    tick_at(at).saturating_add(1)
}

/// Tick at which a plan that is made at `now` takes over: the second sample after `now`, so that the message reaches the controller
/// before it. Up to there both plans are the same.
pub(super) fn transition_tick(now: Stamp) -> i64 {
    tick_after(now).saturating_add(1)
}

/// Steps of the grid that cover a time.
pub(super) fn ticks_of(span: Span) -> i64 {
    (span.nanos().max(0) as u64).div_ceil(SAMPLE_PERIOD.nanos() as u64) as i64
}

/// Time of a tick.
pub(super) fn stamp_of(tick: i64) -> Stamp {
    Stamp::default() + SAMPLE_PERIOD.times(tick)
}

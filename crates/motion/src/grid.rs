//! The grid in time that all motion is planned on.
//!
//! Every plan has its knots at the same absolute times, multiples of [`GRID`] in ROS time. So one plan hands over to the
//! next at a knot that both share, and no position, velocity or braking distance is rounded on the way.

use vla_base::time::{Span, Stamp};

/// Distance of the knots.
pub const GRID: Span = Span::from_nanos(10_000_000);
/// The same in seconds.
pub(super) const DT: f64 = 0.01;

/// Further back than this the clock was set; less is two threads that read it one after the other.
pub const SET_BACK: Span = Span::from_nanos(100_000_000);

/// The knot at `at`, or the last before it.
pub(super) fn tick_at(at: Stamp) -> i64 {
    at.nanos().div_euclid(GRID.nanos())
}

/// The first knot after `at`.
pub(super) fn tick_after(at: Stamp) -> i64 {
    tick_at(at).saturating_add(1)
}

/// The knot of a hand-over at `now`: one step later than the next, so that the message is with the controller before it. Up to there
/// both plans are the same, and a controller that hears of the new one goes on along the old one.
pub(super) fn hand_over(now: Stamp) -> i64 {
    tick_after(now).saturating_add(1)
}

/// Steps of the grid that cover a time.
pub(super) fn ticks_of(span: Span) -> i64 {
    (span.nanos().max(0) as u64).div_ceil(GRID.nanos() as u64) as i64
}

/// When a knot is.
pub(super) fn stamp_of(tick: i64) -> Stamp {
    Stamp::default() + GRID.times(tick)
}

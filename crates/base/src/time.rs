//! ROS time: points ([`Stamp`]) and signed distances ([`Span`]), both in nanoseconds.
//!
//! Stamps come from message headers and bag logs; they are never read from a
//! clock here, so that replay and live operation share every line of code.

use std::fmt;
use std::ops::{Add, Sub};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A point in ROS time, in nanoseconds since the epoch of that clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp(i64);

impl Stamp {
    /// A stamp from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A stamp from the two fields of `builtin_interfaces/Time`; `None` when `nanosec` is a second or more.
    pub fn from_parts(sec: i32, nanosec: u32) -> Option<Self> {
        let nanosec = i64::from(nanosec);
        (nanosec < NANOS_PER_SECOND).then(|| Self(i64::from(sec) * NANOS_PER_SECOND + nanosec))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The fields of `builtin_interfaces/Time`; seconds beyond its 32 bits saturate.
    pub fn parts(self) -> (i32, u32) {
        let sec = self.0.div_euclid(NANOS_PER_SECOND);
        let sec = i32::try_from(sec).unwrap_or(if sec < 0 { i32::MIN } else { i32::MAX });
        (sec, self.0.rem_euclid(NANOS_PER_SECOND) as u32)
    }

    /// How old something of this stamp is at `now`; negative when the stamp lies in the future.
    pub fn age_at(self, now: Stamp) -> Span {
        now - self
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.div_euclid(NANOS_PER_SECOND), self.0.rem_euclid(NANOS_PER_SECOND))
    }
}

/// A signed distance between two stamps, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(i64);

impl Span {
    /// No distance.
    pub const ZERO: Self = Self(0);

    /// A span from nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A span from milliseconds, rounded to a nanosecond (saturating; NaN gives zero).
    pub fn from_millis(millis: f64) -> Self {
        Self((millis * 1e6).round() as i64)
    }

    /// A span from seconds, rounded to a nanosecond (saturating; NaN gives zero).
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9).round() as i64)
    }

    /// Nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds.
    pub fn millis(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This span `n` times (saturating).
    pub fn times(self, n: i64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// The distance without its sign.
    pub fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

impl Sub for Stamp {
    type Output = Span;
    fn sub(self, earlier: Stamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Stamp {
    type Output = Stamp;
    fn add(self, span: Span) -> Stamp {
        Stamp(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Stamp {
    type Output = Stamp;
    fn sub(self, span: Span) -> Stamp {
        Stamp(self.0.saturating_sub(span.0))
    }
}

impl From<std::time::Duration> for Span {
    fn from(duration: std::time::Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_trip_and_negative_stamps_keep_a_positive_fraction() {
        let stamp = Stamp::from_parts(1_760_000_000, 999_999_999).expect("valid parts");
        assert_eq!(stamp.parts(), (1_760_000_000, 999_999_999));
        assert_eq!(Stamp::from_nanos(-1).parts(), (-1, 999_999_999));
        assert_eq!(Stamp::from_parts(0, 1_000_000_000), None);
    }

    #[test]
    fn age_is_negative_for_a_stamp_from_the_future() {
        let now = Stamp::from_nanos(1_000_000);
        assert_eq!(Stamp::from_nanos(3_000_000).age_at(now).millis(), -2.0);
    }
}

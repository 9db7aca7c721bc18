//! When the next inference of the timer is due.

use vla_base::time::{Span, Stamp};

/// How often is looked for something newer when inference is to run as fast as useful.
const AT_ONCE: Span = Span::from_nanos(5_000_000);

/// A timer whose rate may change at any time. It knows no clock: the caller gives it the time, steady or simulated.
#[derive(Debug, Default)]
pub(crate) struct Ticker {
    last: Option<Stamp>,
    /// Due time of the tick after `last`, which drifts from it when a tick is late.
    next: Option<(Stamp, Span)>,
}

impl Ticker {
    /// How long until the next tick; `None` when `rate_hz` is below 0 (on demand only), zero when it is due. At 0 it is due at once
    /// after work that took longer than [`AT_ONCE`], and after less again in that time: nothing new had come.
    pub(crate) fn due_in(&mut self, now: Stamp, rate_hz: f64) -> Option<Span> {
        let period = period(rate_hz)?;
        let went_back = self.last.is_some_and(|last| now < last);
        let due = match (self.last, self.next) {
            _ if went_back => {
                *self = Self::default();
                now
            }
            (_, Some((due, of))) if of == period => due,
            (Some(last), _) => last + period,
            (None, _) => now,
        };
        Some((due - now).max(Span::ZERO))
    }

    /// Records a tick at `now`. Ticks that were missed meanwhile are left out, not made up for.
    pub(crate) fn tick(&mut self, now: Stamp, rate_hz: f64) {
        let Some(period) = period(rate_hz) else { return };
        let on_grid = self.next.filter(|&(_, of)| of == period).map(|(due, _)| due + period);
        let next = on_grid.filter(|&next| next > now).unwrap_or(now + period);
        self.last = Some(now);
        self.next = Some((next.min(now + period), period));
    }
}

fn period(rate_hz: f64) -> Option<Span> {
    match rate_hz {
        0.0 => Some(AT_ONCE),
        rate if rate > 0.0 => Some(Span::from_seconds(1.0 / rate)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(ms * MS)
    }

    fn ms(span: Option<Span>) -> Option<i64> {
        span.map(|s| s.nanos() / MS)
    }

    #[test]
    fn the_first_tick_is_due_at_once_and_a_late_one_does_not_move_the_grid() {
        let mut ticker = Ticker::default();
        assert_eq!(ms(ticker.due_in(at(1000), 10.0)), Some(0));
        ticker.tick(at(1000), 10.0);
        assert_eq!(ms(ticker.due_in(at(1030), 10.0)), Some(70));
        ticker.tick(at(1104), 10.0);
        assert_eq!(ms(ticker.due_in(at(1104), 10.0)), Some(96));
    }

    #[test]
    fn missed_ticks_are_not_made_up_for() {
        let mut ticker = Ticker::default();
        ticker.tick(at(0), 10.0);
        ticker.tick(at(735), 10.0);
        assert_eq!(ms(ticker.due_in(at(735), 10.0)), Some(100));
    }

    #[test]
    fn a_new_rate_counts_from_the_last_tick_and_below_zero_is_on_demand() {
        let mut ticker = Ticker::default();
        ticker.tick(at(0), 1.0);
        assert_eq!(ms(ticker.due_in(at(300), 1.0)), Some(700));
        assert_eq!(ms(ticker.due_in(at(300), 2.0)), Some(200));
        assert_eq!(ms(ticker.due_in(at(300), -1.0)), None);
        assert_eq!(ms(ticker.due_in(at(900), 2.0)), Some(0));
    }

    #[test]
    fn as_fast_as_useful_is_due_at_once_after_work_and_soon_after_none() {
        let mut ticker = Ticker::default();
        ticker.tick(at(0), 0.0);
        assert_eq!(ms(ticker.due_in(at(1), 0.0)), Some(4));
        assert_eq!(ms(ticker.due_in(at(180), 0.0)), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_silence_the_timer() {
        let mut ticker = Ticker::default();
        ticker.tick(at(100_000), 10.0);
        assert_eq!(ms(ticker.due_in(at(5), 10.0)), Some(0));
    }
}

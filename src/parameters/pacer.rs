//! Rate of the parameter services' answers.
//!
//! A client keeps ten answers that it has not read (the middleware's default for services), and loses the oldest when another comes. One
//! that sends its calls in a burst reads nothing meanwhile, and a busy one in Python may be away for a tenth of a second. So a
//! few answers go out at once, none while more of a burst comes in, and the rest no faster than such a client reads.

use std::time::{Duration, Instant};

/// Answers that go out at once. Below ten, since a client may still have some from before.
const AT_ONCE: u32 = 4;
/// Time from one answer to the next after that.
const INTERVAL: Duration = Duration::from_millis(30);
/// A burst is over when nothing came for so long.
const QUIET: Duration = Duration::from_millis(20);
/// A burst that does not end is answered all the same.
const LONGEST_BURST: Duration = Duration::from_secs(1);

/// Pacing of one service.
#[derive(Debug, Default)]
pub(super) struct ResponsePacer {
    /// When the answers given so far would be over, one an interval.
    over: Option<Instant>,
    /// When the last call came.
    came: Option<Instant>,
    /// Since when more than one call waits.
    crowded: Option<Instant>,
}

impl ResponsePacer {
    /// A call arrived.
    pub(super) fn came(&mut self, now: Instant) {
        self.came = Some(now);
    }

    /// How long the next answer has to wait at least, when so many calls wait for theirs.
    pub(super) fn wait(&mut self, waiting: usize, now: Instant) -> Duration {
        let crowded = if waiting > 1 { Some(*self.crowded.get_or_insert(now)) } else { None };
        self.crowded = crowded;
        let spacing = self.over.map_or(Duration::ZERO, |over| over.saturating_duration_since(now));
        let spacing = spacing.saturating_sub(INTERVAL * (AT_ONCE - 1));
        if spacing.is_zero() && self.over.is_none_or(|over| over <= now) {
            return Duration::ZERO;
        }
        let burst = crowded.is_some_and(|since| now.saturating_duration_since(since) < LONGEST_BURST);
        let quiet = self.came.filter(|_| burst).map(|came| (came + QUIET).saturating_duration_since(now));
        spacing.max(quiet.unwrap_or_default())
    }

    /// An answer goes out.
    pub(super) fn answered(&mut self, now: Instant) {
        self.over = Some(self.over.map_or(now, |over| over.max(now)) + INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the answers to calls that come at `times` go out, as the task of a service gives them.
    fn answers(times: &[Duration]) -> Vec<Duration> {
        let (mut pacer, start) = (ResponsePacer::default(), Instant::now());
        let (mut now, mut came, mut given) = (start, 0, Vec::new());
        while given.len() < times.len() {
            while times.get(came).is_some_and(|&time| start + time <= now) {
                pacer.came(start + times[came]);
                came += 1;
            }
            let waiting = came - given.len();
            let wait = if waiting == 0 { start + times[came] - now } else { pacer.wait(waiting, now) };
            if waiting > 0 && wait.is_zero() {
                pacer.answered(now);
                given.push(now - start);
            }
            now += wait;
        }
        given
    }

    #[test]
    fn a_client_that_sends_two_hundred_calls_before_it_reads_has_room_for_every_answer() {
        // Half a millisecond a call, with a pause in the middle: nothing is read for 110 ms.
        let times: Vec<Duration> =
            (0..200).map(|call| Duration::from_micros(500) * (call + u32::from(call > 100) * 20)).collect();
        let given = answers(&times);
        let sent = *times.last().expect("calls");
        assert!(given.iter().filter(|&&at| at <= sent).count() < 10, "{given:?}");
        // Away for 150 ms at any time later: never ten answers.
        assert!(given.windows(10).all(|ten| ten[9] - ten[0] > Duration::from_millis(150)), "{given:?}");
        assert!(*given.last().expect("answers") < Duration::from_secs(7));
    }

    #[test]
    fn calls_that_come_one_by_one_are_answered_at_once() {
        let times: Vec<Duration> = (0..20).map(|call| INTERVAL * call).collect();
        assert_eq!(answers(&times), times);
    }

    #[test]
    fn clients_that_never_pause_are_answered_all_the_same() {
        let times: Vec<Duration> = (0..2000).map(|call| Duration::from_millis(1) * call).collect();
        let given = answers(&times);
        assert!(given[10] < LONGEST_BURST + 20 * INTERVAL, "{:?}", given[10]);
        assert!(given[100] < LONGEST_BURST + 110 * INTERVAL, "{:?}", given[100]);
    }
}

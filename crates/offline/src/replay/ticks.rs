//! Inference times of a replay.

use vla_base::time::{Span, Stamp};
use vla_runtime::parameters::Settings;

/// A gap of all inputs after which the state no longer changes by waiting; the replay restarts after it.
pub(crate) const LONGEST_SILENCE: Span = Span::from_nanos(10_000_000_000);

/// How often the node looks for something newer after a cycle without an inference.
const POLL: Span = Span::from_nanos(5_000_000);
/// How often inputs are looked at while none comes, for those that become too old.
const LOOK: Span = Span::from_nanos(200_000_000);

/// When inferences start.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Rate {
    /// At multiples of a period, in seconds.
    Every(f64),
    /// As soon as the one before is done, which takes the latency, and an input newer than its observation has come.
    AtOnce(Span),
}

/// Inference times. At a fixed rate the k-th is computed from k, so that no rounding adds up.
///
/// A bag may have a message that was logged decades before or after the others. Time does not run through such a gap: it ends
/// [`LONGEST_SILENCE`] after the last message and begins again with the next. The number of inferences is bounded by the
/// messages, not by their stamps.
///
/// The first inference waits for a message of every input, but no longer than a period: the inferences
/// then report an input that never comes.
pub(crate) struct Ticks {
    rate: Rate,
    /// Without a fixed rate: when the next inference may start at the earliest, and whether an input has come since the last.
    ready: Option<Stamp>,
    newer: bool,
    first: Option<Stamp>,
    ticks: i64,
    /// Whether every input has had a message.
    complete: bool,
    /// Time of the last message.
    last: Option<Stamp>,
    gaps: u64,
}

impl Ticks {
    /// Inferences at a rate above 0.
    pub(crate) fn new(rate_hz: f64) -> Self {
        Self::at(Rate::Every(1.0 / rate_hz))
    }

    /// Those of a node with these settings. Without a fixed rate, and on demand, where a bag has nobody who asks, as fast as `latency`
    /// allows.
    pub(crate) fn of(settings: &Settings, latency: Span) -> Self {
        if settings.rate_hz > 0.0 { Self::new(settings.rate_hz) } else { Self::at(Rate::AtOnce(latency)) }
    }

    fn at(rate: Rate) -> Self {
        Self { rate, ready: None, newer: false, first: None, ticks: 0, complete: false, last: None, gaps: 0 }
    }

    /// The same with the first inference at `first`, or as soon as the inputs have come after it.
    pub(crate) fn starting_at(self, first: Stamp) -> Self {
        Self { first: Some(first), ..self }
    }

    /// The next inference before a message of this time, then the next one, until there is none. A sample logged at the very
    /// time of an inference is used by it.
    pub(crate) fn next_before(&mut self, message: Stamp) -> Option<Stamp> {
        let (first, last) = (self.first?, self.last?);
        let now = self.tick(first);
        if is_gap(last, message) && (message < last || now > last + LONGEST_SILENCE) {
            self.first = None;
            return None;
        }
        let waits = self.waits_for_inputs() && message < first + self.longest_wait();
        (now < message && !waits).then(|| self.taken(now))
    }

    /// Whether the first inference is still to come and an input, too: then [`Ticks::complete`] is to be called when it has.
    pub(crate) fn waits_for_inputs(&self) -> bool {
        self.first.is_some() && self.ticks == 0 && !self.complete
    }

    /// Every input has had a message by now, which is the time of the first inference.
    pub(crate) fn complete(&mut self, now: Stamp) {
        if self.waits_for_inputs() {
            (self.first, self.complete) = (self.first.max(Some(now)), true);
        }
    }

    /// A message has come. The first one that `starts` the clock begins the inferences: a sample with a stamp; an instruction
    /// alone does not.
    pub(crate) fn message(&mut self, time: Stamp, starts: bool) {
        if let Some(last) = self.last.filter(|last| is_gap(*last, time)) {
            if self.gaps == 0 {
                tracing::warn!(from = %last, to = %time, "the bag has a gap without any input; inference continues after it");
            }
            self.gaps += 1;
        }
        self.last = Some(time);
        if starts && self.first.is_none() {
            (self.first, self.ticks, self.complete, self.ready) = (Some(time), 0, false, None);
        }
        self.newer = true;
    }

    /// The cycle at `now` was an inference.
    pub(crate) fn inferred(&mut self, now: Stamp) {
        if let Rate::AtOnce(latency) = self.rate {
            self.ready = Some(now + latency.max(POLL));
        }
    }

    /// The last inference, when it is due by the end of the bag. An end far behind the last message is none: another topic's
    /// message has a wrong time.
    pub(crate) fn last_by(&mut self, end: Stamp) -> Option<Stamp> {
        let (first, last) = (self.first?, self.last?);
        let end = if end < last || is_gap(last, end) { last } else { end };
        let now = self.tick(first);
        (now <= end).then(|| self.taken(now))
    }

    /// The inference that comes next, when the inferences have begun.
    pub(crate) fn next(&self) -> Option<Stamp> {
        self.first.map(|first| self.tick(first))
    }

    /// Gaps so far.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The next inference.
    fn tick(&self, first: Stamp) -> Stamp {
        match (self.rate, self.ready) {
            (Rate::Every(period_s), _) => first + Span::from_seconds(self.ticks as f64 * period_s),
            (Rate::AtOnce(_), None) => first,
            (Rate::AtOnce(_), Some(ready)) if self.newer => self.last.map_or(ready, |last| ready.max(last)),
            (Rate::AtOnce(_), Some(ready)) => ready + LOOK,
        }
    }

    /// How long the first inference waits for inputs.
    fn longest_wait(&self) -> Span {
        match self.rate {
            Rate::Every(period_s) => Span::from_seconds(period_s),
            Rate::AtOnce(_) => LOOK,
        }
    }

    fn taken(&mut self, now: Stamp) -> Stamp {
        self.ticks += 1;
        (self.newer, self.ready) = (false, Some(now + POLL));
        now
    }
}

/// Whether nothing connects two messages that follow each other.
pub(crate) fn is_gap(earlier: Stamp, later: Stamp) -> bool {
    (later - earlier).abs() > LONGEST_SILENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(1_760_000_000_000_000_000 + ms * 1_000_000)
    }

    fn before(ticks: &mut Ticks, message: Stamp) -> Vec<Stamp> {
        std::iter::from_fn(|| ticks.next_before(message)).collect()
    }

    #[test]
    fn inference_times_are_multiples_of_the_period_and_a_sample_logged_at_one_belongs_to_it() {
        let mut ticks = Ticks::new(10.0);
        assert_eq!(before(&mut ticks, at(0)), [], "nothing is due before the first sample");
        ticks.message(at(-5), false);
        ticks.message(at(0), true);
        ticks.complete(at(0));
        assert_eq!(before(&mut ticks, at(1)), [at(0)]);
        assert_eq!(before(&mut ticks, at(100)), []);
        assert_eq!(before(&mut ticks, at(350)), [at(100), at(200), at(300)]);
        ticks.message(at(350), true);
        assert_eq!(ticks.last_by(at(399)), None);
        assert_eq!(ticks.last_by(at(400)), Some(at(400)));
    }

    #[test]
    fn the_first_inference_waits_for_every_input_but_no_longer_than_a_period() {
        let mut ticks = Ticks::new(10.0);
        ticks.message(at(0), true);
        assert_eq!(before(&mut ticks, at(30)), [], "another input may be on its way");
        ticks.message(at(30), true);
        ticks.complete(at(30));
        assert_eq!(before(&mut ticks, at(200)), [at(30), at(130)]);
        ticks.complete(at(200));
        assert_eq!(before(&mut ticks, at(300)), [at(230)], "only the first is moved");

        let mut never = Ticks::new(10.0);
        never.message(at(0), true);
        assert_eq!(before(&mut never, at(99)), []);
        assert_eq!(before(&mut never, at(100)), [at(0)]);
        assert_eq!(before(&mut never, at(250)), [at(100), at(200)]);
    }

    #[test]
    fn time_does_not_run_through_a_gap_of_decades_before_or_behind_the_messages() {
        let ends = [Stamp::default(), Stamp::from_nanos(i64::MIN), Stamp::from_nanos(-1)];
        for (early, late) in ends.iter().map(|early| (*early, at(0))).chain([(at(0), Stamp::from_nanos(i64::MAX))]) {
            let mut ticks = Ticks::new(10.0);
            ticks.message(early, true);
            let found = before(&mut ticks, late);
            assert_eq!(found.len(), 101, "those of {LONGEST_SILENCE:?} at 10 Hz");
            assert!(found.iter().all(|now| *now <= early + LONGEST_SILENCE));
            ticks.message(late, true);
            assert_eq!((ticks.gaps(), ticks.last_by(late)), (1, Some(late)), "it begins anew with the message");
        }
    }

    #[test]
    fn a_pause_is_filled_until_the_longest_silence_and_time_set_back_starts_again() {
        let mut ticks = Ticks::new(1.0);
        ticks.message(at(0), true);
        assert_eq!(before(&mut ticks, at(10_000)).len(), 10, "not longer than the longest silence");
        ticks.message(at(10_000), true);
        assert_eq!(before(&mut ticks, at(-60_000)), []);
        ticks.message(at(-60_000), true);
        ticks.complete(at(-60_000));
        assert_eq!(before(&mut ticks, at(-59_500)), [at(-60_000)]);
    }

    #[test]
    fn without_a_rate_an_inference_starts_after_the_one_before_and_with_something_newer() {
        let mut ticks = Ticks::at(Rate::AtOnce(Span::from_millis(100.0)));
        ticks.message(at(0), true);
        assert_eq!(before(&mut ticks, at(20)), [], "another input may be on its way");
        ticks.message(at(20), true);
        ticks.complete(at(20));
        assert_eq!(ticks.next_before(at(30)), Some(at(20)));
        ticks.inferred(at(20));
        for ms in [30, 70, 110] {
            assert_eq!(ticks.next_before(at(ms)), None, "the one before is not done");
            ticks.message(at(ms), true);
        }
        assert_eq!(ticks.next_before(at(150)), Some(at(120)), "as soon as it is done");
        ticks.inferred(at(120));
        assert_eq!(before(&mut ticks, at(300)), [], "nothing newer has come");
        ticks.message(at(300), true);
        assert_eq!(ticks.next_before(at(310)), Some(at(300)), "as soon as it comes");
        assert_eq!(ticks.next_before(at(310)), None);
        ticks.message(at(310), true);
        assert_eq!(ticks.last_by(at(310)), Some(at(310)), "a cycle without an inference takes no time");
    }

    #[test]
    fn without_a_rate_a_pause_is_looked_at_now_and_then() {
        let mut ticks = Ticks::at(Rate::AtOnce(Span::from_millis(100.0)));
        ticks.message(at(0), true);
        ticks.complete(at(0));
        assert_eq!(before(&mut ticks, at(1000)), [0, 205, 410, 615, 820].map(at));
    }

    #[test]
    fn a_bag_that_ends_with_a_message_of_another_topic_far_ahead_ends_with_its_own_last_message() {
        let mut ticks = Ticks::new(10.0);
        ticks.message(at(0), true);
        ticks.complete(at(0));
        assert_eq!(before(&mut ticks, at(50)), [at(0)]);
        ticks.message(at(50), true);
        assert_eq!(ticks.last_by(Stamp::from_nanos(i64::MAX)), None);
    }

    #[test]
    fn inferences_go_on_at_even_distances_in_the_next_segment() {
        let mut ticks = Ticks::new(10.0).starting_at(at(30));
        ticks.message(at(0), true);
        ticks.complete(at(0));
        assert_eq!(before(&mut ticks, at(20)), []);
        ticks.message(at(20), true);
        assert_eq!(before(&mut ticks, at(150)), [at(30), at(130)]);
        ticks.message(at(150), true);
        assert_eq!((ticks.next(), Ticks::new(10.0).next()), (Some(at(230)), None));
    }
}

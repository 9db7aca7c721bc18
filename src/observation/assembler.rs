//! The rules, applied to what the slots hold: a pure function of snapshots and the time.

use std::sync::Arc;

use super::slot::Snapshot;
use super::spec::{InputRule, Rules};
use super::violation::{Breach, Fault};
use crate::time::{Span, Stamp};

/// A stamped input and what its slot holds.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Index of the input.
    pub input: usize,
    pub name: Arc<str>,
    pub rule: InputRule,
    pub snapshot: Snapshot,
}

impl Candidate {
    pub fn new(input: usize, name: Arc<str>) -> Self {
        let rule = InputRule { max_age: Span::ZERO, required: true };
        Self { input, name, rule, snapshot: Snapshot::default() }
    }

    fn stamp(&self) -> Option<Stamp> {
        self.snapshot.held.as_ref().map(|held| held.0)
    }

    fn breach(&self, fault: Fault) -> Breach {
        Breach { input: self.name.clone(), fault, refusal: self.snapshot.refusal.clone() }
    }
}

/// What the rules say.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Breaches that forbid inference.
    pub breaches: Vec<Breach>,
    /// Breaches of optional inputs, reported only.
    pub tolerated: Vec<Breach>,
}

impl Verdict {
    pub fn clear(&mut self) {
        self.breaches.clear();
        self.tolerated.clear();
    }

    fn add(&mut self, candidate: &Candidate, fault: Fault) {
        // Nothing may stand in for a stream that was never seen, so that is not tolerated of any input.
        let forbids = candidate.rule.required || fault == Fault::Missing;
        if forbids { &mut self.breaches } else { &mut self.tolerated }.push(candidate.breach(fault));
    }
}

/// Adds every breach among the stamped inputs to the verdict.
pub(super) fn judge(candidates: &[Candidate], rules: &Rules, now: Stamp, verdict: &mut Verdict) {
    let required = || candidates.iter().filter(|c| c.rule.required).filter_map(Candidate::stamp);
    let (oldest, newest) = (required().min(), required().max());
    for candidate in candidates {
        if let Some(stamp) = candidate.snapshot.ahead {
            verdict.add(candidate, Fault::Future { ahead: stamp - now, tolerance: rules.future_tolerance });
        }
        let Some(stamp) = candidate.stamp() else {
            // A stream that only sends stamps ahead of the clock has been named as that.
            if candidate.snapshot.ahead.is_none() || !candidate.rule.required {
                verdict.add(candidate, Fault::Missing);
            }
            continue;
        };
        if let Some(fault) = age_fault(candidate, stamp, rules.future_tolerance, now) {
            verdict.add(candidate, fault);
        }
        // A required input is named when it is the one behind; an optional one whichever way it is away.
        let behind = newest.map_or(Span::ZERO, |newest| newest - stamp);
        let ahead = oldest.map_or(Span::ZERO, |oldest| stamp - oldest);
        let skew = if candidate.rule.required { behind } else { behind.max(ahead) };
        if skew > rules.max_skew {
            verdict.add(candidate, Fault::Skewed { skew, max_skew: rules.max_skew });
        }
    }
}

fn age_fault(candidate: &Candidate, stamp: Stamp, tolerance: Span, now: Stamp) -> Option<Fault> {
    let (age, max_age) = (stamp.age_at(now), candidate.rule.max_age);
    let ahead = stamp - now;
    if ahead > tolerance {
        // Held in good faith, before the clock (or the tolerance) was changed.
        Some(Fault::Future { ahead, tolerance })
    } else if age <= max_age {
        None
    } else if candidate.snapshot.repeats > 0 {
        Some(Fault::Frozen { age, max_age, repeats: candidate.snapshot.repeats })
    } else {
        Some(Fault::Stale { age, max_age })
    }
}

/// The stamp of the observation: the oldest required input, or the oldest when none is required.
pub(super) fn observation_stamp(candidates: &[Candidate]) -> Option<Stamp> {
    let required = candidates.iter().filter(|c| c.rule.required).filter_map(Candidate::stamp).min();
    required.or_else(|| candidates.iter().filter_map(Candidate::stamp).min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn candidate(name: &str, stamp_ms: Option<i64>, max_age_ms: i64, required: bool) -> Candidate {
        let held = stamp_ms.map(|ms| (Stamp::from_nanos(ms * MS), Bytes::new()));
        Candidate {
            input: 0,
            name: name.into(),
            rule: InputRule { max_age: Span::from_nanos(max_age_ms * MS), required },
            snapshot: Snapshot { held, ..Default::default() },
        }
    }

    fn rules(max_skew_ms: i64) -> Rules {
        Rules {
            per_input: Vec::new(),
            max_skew: Span::from_nanos(max_skew_ms * MS),
            on_violation: crate::observation::OnViolation::Skip,
            future_tolerance: Span::from_nanos(20 * MS),
            enable_max_age: Span::ZERO,
        }
    }

    fn verdict(candidates: &[Candidate], max_skew_ms: i64, now_ms: i64) -> Verdict {
        let mut verdict = Verdict::default();
        judge(candidates, &rules(max_skew_ms), Stamp::from_nanos(now_ms * MS), &mut verdict);
        verdict
    }

    fn words(breaches: &[Breach]) -> Vec<String> {
        breaches.iter().map(|b| format!("{} {}", b.input, b.word())).collect()
    }

    #[test]
    fn fresh_inputs_close_together_break_nothing() {
        let inputs = [candidate("top", Some(960), 100, true), candidate("joints", Some(1000), 50, true)];
        let verdict = verdict(&inputs, 40, 1010);
        assert!(verdict.breaches.is_empty() && verdict.tolerated.is_empty());
        assert_eq!(observation_stamp(&inputs), Some(Stamp::from_nanos(960 * MS)));
    }

    #[test]
    fn every_breach_is_listed() {
        let mut frozen = candidate("left", Some(500), 100, true);
        frozen.snapshot.repeats = 15;
        let mut future = candidate("right", None, 100, true);
        future.snapshot.ahead = Some(Stamp::from_nanos(5000 * MS));
        let inputs = [candidate("top", Some(800), 100, true), frozen, future, candidate("joints", None, 100, true)];
        let verdict = verdict(&inputs, 200, 1000);
        assert_eq!(
            words(&verdict.breaches),
            ["top stale", "left frozen", "left skewed", "right future", "joints missing"]
        );
    }

    #[test]
    fn an_optional_input_is_reported_but_must_have_been_seen() {
        let inputs = [candidate("top", Some(100), 100, false), candidate("joints", Some(1000), 100, true)];
        let seen = verdict(&inputs, 50, 1000);
        assert!(seen.breaches.is_empty());
        assert_eq!(words(&seen.tolerated), ["top stale", "top skewed"]);
        let inputs = [candidate("top", Some(1000), 100, false), candidate("joints", Some(900), 100, true)];
        assert_eq!(words(&verdict(&inputs, 50, 1000).tolerated), ["top skewed"]);
        let inputs = [candidate("top", None, 100, false), candidate("joints", Some(1000), 100, true)];
        assert_eq!(words(&verdict(&inputs, 50, 1000).breaches), ["top missing"]);
    }

    #[test]
    fn an_optional_input_that_stopped_does_not_age_the_observation() {
        let inputs = [candidate("top", Some(100), 100, false), candidate("joints", Some(1000), 100, true)];
        assert_eq!(observation_stamp(&inputs), Some(Stamp::from_nanos(1000 * MS)));
        let inputs = [candidate("top", Some(100), 100, false), candidate("joints", Some(1000), 100, false)];
        assert_eq!(observation_stamp(&inputs), Some(Stamp::from_nanos(100 * MS)));
    }

    #[test]
    fn ages_and_skew_at_the_bound_are_allowed_and_beyond_are_not() {
        let inputs = [candidate("top", Some(900), 100, true), candidate("joints", Some(950), 100, true)];
        assert!(verdict(&inputs, 50, 1000).breaches.is_empty());
        assert_eq!(words(&verdict(&inputs, 49, 1000).breaches), ["top skewed"]);
        assert_eq!(words(&verdict(&inputs, 50, 1001).breaches), ["top stale"]);
    }

    proptest! {
        /// No breach if and only if every input is there, in time, and close to the others.
        #[test]
        fn verdict_is_empty_exactly_when_all_rules_hold(
            inputs in prop::collection::vec((prop::option::of(0i64..300), 0i64..200), 1..6),
            max_skew in 0i64..200,
            now in 0i64..400,
        ) {
            let candidates: Vec<_> =
                inputs.iter().map(|&(stamp, max_age)| candidate("x", stamp, max_age, true)).collect();
            let stamps: Vec<i64> = inputs.iter().filter_map(|i| i.0).collect();
            let in_time = inputs.iter().all(|&(stamp, max_age)| {
                stamp.is_some_and(|s| now - s <= max_age && s - now <= 20)
            });
            let skew = stamps.iter().max().zip(stamps.iter().min()).map_or(0, |(a, b)| a - b);
            let expected = in_time && skew <= max_skew;
            prop_assert_eq!(verdict(&candidates, max_skew, now).breaches.is_empty(), expected);
        }
    }
}

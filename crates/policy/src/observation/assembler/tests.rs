//! Tests of the rules on snapshots.

use super::*;
use proptest::prelude::*;

const MS: i64 = 1_000_000;

fn candidate(name: &str, stamp_ms: Option<i64>, max_age_ms: i64, required: bool) -> Candidate {
    let stamp = stamp_ms.map(|ms| Stamp::from_nanos(ms * MS));
    let arrived = stamp.unwrap_or_default();
    Candidate {
        name: name.into(),
        rule: InputRule::age(Span::from_nanos(max_age_ms * MS), required),
        // Messages come at 1 kHz, so that silence is known at once.
        snapshot: Snapshot { stamp, arrived, period: Some(Span::from_nanos(MS)), ..Default::default() },
        ..Candidate::new(0, &pose())
    }
}

fn pose() -> InputSpec {
    InputSpec::new("", InputKind::Pose, [""; 0])
}

/// A stream whose messages arrive at 1000 ms, old as they are.
fn delayed(candidate: Candidate) -> Candidate {
    let arrived = Stamp::from_nanos(1000 * MS);
    Candidate { snapshot: Snapshot { arrived, ..candidate.snapshot }, ..candidate }
}

fn rules(max_skew_ms: i64) -> Rules {
    Rules {
        per_input: Vec::new(),
        max_skew: Span::from_nanos(max_skew_ms * MS),
        on_violation: crate::observation::OnViolation::Skip,
        future_tolerance: Span::from_nanos(20 * MS),
        enable_max_age: Span::ZERO,
        ..Rules::default()
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
    let mut frozen = delayed(candidate("left", Some(500), 100, true));
    frozen.snapshot.repeats = 15;
    let mut future = candidate("right", None, 100, true);
    future.snapshot.ahead = Some(Stamp::from_nanos(5000 * MS));
    let late = delayed(candidate("top", Some(800), 100, true));
    let dead = candidate("wrist", Some(800), 100, true);
    let behind = delayed(candidate("rear", Some(790), 300, true));
    let newest = candidate("front", Some(1000), 100, true);
    let inputs = [behind, late, dead, frozen, future, candidate("joints", None, 100, true), newest];
    let verdict = verdict(&inputs, 200, 1000);
    assert_eq!(
        words(&verdict.breaches),
        ["top stale", "wrist stopped", "left frozen", "right future", "joints missing", "rear skewed"],
        "one fault an input, those that are only out of step last"
    );
}

#[test]
fn an_optional_input_is_reported_but_must_have_been_seen() {
    let inputs = [candidate("top", Some(100), 100, false), candidate("joints", Some(1000), 100, true)];
    let seen = verdict(&inputs, 50, 1000);
    assert!(seen.breaches.is_empty());
    assert_eq!(words(&seen.tolerated), ["top stopped"]);
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
    assert_eq!(words(&verdict(&inputs, 49, 1000).breaches), ["top stopped"]);
    assert_eq!(words(&verdict(&inputs, 50, 1001).breaches), ["top stopped"]);
    let inputs = inputs.map(delayed);
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
        let mut candidates: Vec<_> =
            inputs.iter().map(|&(stamp, max_age)| candidate("x", stamp, max_age, true)).collect();
        for candidate in &mut candidates {
            candidate.snapshot.arrived = candidate.snapshot.arrived.min(Stamp::from_nanos(now * MS));
        }
        let stamps: Vec<i64> = inputs.iter().filter_map(|i| i.0).collect();
        let in_time = inputs.iter().all(|&(stamp, max_age)| {
            stamp.is_some_and(|s| now - s <= max_age && s - now <= 20)
        });
        let skew = stamps.iter().max().zip(stamps.iter().min()).map_or(0, |(a, b)| a - b);
        let expected = in_time && skew <= max_skew;
        prop_assert_eq!(verdict(&candidates, max_skew, now).breaches.is_empty(), expected);
    }
}

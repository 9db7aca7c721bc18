//! The known name nearest to a mistyped one.

use std::collections::BTreeSet;

/// Names longer than this are not compared: the work grows with the product of the lengths.
const LONGEST: usize = 200;
/// Most names that a hint lists.
const LISTED: usize = 12;

/// The known name nearest to `name`, if one is close.
///
/// Close means: few enough edits in the parts that differ (a third of their length; a swap of neighbours counts once),
/// parts left out (`max_skew_ms` for `inputs.max_skew_ms`), or words left out at the end (`rate` for `rate_hz`).
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let costs = known.into_iter().filter_map(|candidate| Some((cost(name, candidate)?, candidate)));
    // The first of equals, so that the answer does not depend on more than the names.
    costs.reduce(|best, next| if next.0 < best.0 { next } else { best }).map(|(_, candidate)| candidate)
}

/// How far `name` is from `candidate`; `None` when it is too far.
fn cost(name: &str, candidate: &str) -> Option<usize> {
    if candidate.len() > LONGEST {
        return None;
    }
    let lower = |text: &str| text.to_lowercase();
    let (name, candidate) = (lower(name), lower(candidate));
    let (a, b): (Vec<&str>, Vec<&str>) = (name.split('.').collect(), candidate.split('.').collect());
    let left_out = left_out(&a, &b);
    left_out.into_iter().chain(edits(a, b)).min()
}

/// Parts and words of `b` that are left out in `a`, when nothing else differs and no more is left out than is there.
fn left_out(a: &[&str], b: &[&str]) -> Option<usize> {
    let parts = b.len().checked_sub(a.len()).filter(|parts| *parts <= a.len())?;
    let mut rest = b.iter();
    let mut words = 0;
    for part in a {
        // Words are left out at a part's end: a unit, mostly.
        words += rest.find_map(|other| {
            let end = other.strip_prefix(part)?;
            (end.is_empty() || end.starts_with('_') && !part.is_empty()).then(|| end.matches('_').count())
        })?;
    }
    Some(parts + words)
}

/// Edits in the parts that differ, when they are few.
fn edits(mut a: Vec<&str>, mut b: Vec<&str>) -> Option<usize> {
    while a.last().is_some_and(|part| b.last() == Some(part)) {
        a.pop();
        b.pop();
    }
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let text = |parts: &[&str]| parts.get(same..).unwrap_or_default().join(".");
    let (a, b) = (text(&a), text(&b));
    let most = (a.chars().count().min(b.chars().count()) / 3).max(1);
    Some(strsim::osa_distance(&a, &b)).filter(|&edits| edits <= most)
}

/// A sentence part that helps with an unknown name: the nearest known one, else what is known beside it.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone()) {
        return format!("did you mean '{nearest}'?");
    }
    let mut prefix = name;
    while let Some((shorter, _)) = prefix.rsplit_once('.') {
        prefix = shorter;
        let dotted = format!("{prefix}.");
        let children: BTreeSet<&str> = known
            .clone()
            .into_iter()
            .filter_map(|candidate| candidate.strip_prefix(&dotted))
            .filter_map(|rest| rest.split('.').next())
            .collect();
        if !children.is_empty() {
            let more = if children.len() > LISTED { ", ..." } else { "" };
            let listed: Vec<&str> = children.into_iter().take(LISTED).collect();
            return format!("under '{prefix}' there are: {}{more}", listed.join(", "));
        }
    }
    "`ros2 param list` and docs/parameters.md name all there are".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "inputs.cameras.left.topic",
        "inputs.cameras.top.topic",
        "inputs.max_skew_ms",
        "rate_hz",
        "seed",
        "state.arm.joints",
    ];

    #[test]
    fn typing_slips_are_seen_through() {
        assert_eq!(nearest("rate_zh", KNOWN), Some("rate_hz"));
        assert_eq!(nearest("Rate_Hz", KNOWN), Some("rate_hz"));
        assert_eq!(nearest("sead", KNOWN), Some("seed"));
        assert_eq!(nearest("inputs.camera.top.topics", KNOWN), Some("inputs.cameras.top.topic"));
        assert_eq!(nearest("max_skew_ms", KNOWN), Some("inputs.max_skew_ms"));
        assert_eq!(nearest("inputs.top.topic", KNOWN), Some("inputs.cameras.top.topic"));
        assert_eq!(nearest("inputs.cameras.tpo.topic", KNOWN), Some("inputs.cameras.top.topic"));
        assert_eq!(nearest("seed ", KNOWN), Some("seed"));
        assert_eq!(nearest("temperature", KNOWN), None);
        assert_eq!(nearest("", KNOWN), None);
    }

    #[test]
    fn words_left_out_at_the_end_are_seen_through() {
        assert_eq!(nearest("rate", KNOWN), Some("rate_hz"));
        assert_eq!(nearest("inputs.max_skew", KNOWN), Some("inputs.max_skew_ms"));
        assert_eq!(nearest("max_skew", KNOWN), Some("inputs.max_skew_ms"));
        assert_eq!(nearest("rate", ["rates_hz", "rate_of_all_hz", "rate_hz"]), Some("rate_hz"));
        assert_eq!(nearest("rat", ["rate_hz"]), None, "not a whole word");
    }

    #[test]
    fn what_is_near_nothing_gets_the_names_beside_it() {
        assert_eq!(hint("inputs.cameras.panorama.topic", KNOWN), "under 'inputs.cameras' there are: left, top");
        assert!(hint("temperature", KNOWN).contains("ros2 param list"));
    }

    #[test]
    fn an_endless_name_is_not_compared() {
        assert_eq!(nearest(&"x".repeat(100_000), KNOWN), None);
    }
}

//! What a mistyped parameter name was meant to be.

use std::collections::BTreeSet;

/// Names longer than this are not compared: the work grows with the product of the lengths.
const LONGEST: usize = 200;
/// Most names that a hint lists.
const LISTED: usize = 12;

/// The known name that `name` was most likely meant to be, if one is close.
///
/// Close means: few enough edits in the parts that differ (a third of their length; a swap of neighbours counts once),
/// or parts left out (`max_skew_ms` for `inputs.max_skew_ms`).
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
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
    let (mut a, mut b): (Vec<&str>, Vec<&str>) = (name.split('.').collect(), candidate.split('.').collect());
    let left_out = b.len().saturating_sub(a.len());
    let mut rest = b.iter();
    if left_out <= a.len() && a.iter().all(|part| rest.any(|other| other == part)) {
        return Some(left_out);
    }
    while a.last().is_some_and(|part| b.last() == Some(part)) {
        a.pop();
        b.pop();
    }
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let letters = |parts: &[&str]| -> Vec<char> { parts.get(same..).unwrap_or_default().join(".").chars().collect() };
    let (a, b) = (letters(&a), letters(&b));
    let edits = distance(&a, &b);
    (edits <= (a.len().min(b.len()) / 3).max(1)).then_some(edits)
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

/// Edits (insert, delete, replace, swap neighbours) from one to the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut above_letter = None;
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        let mut left = i + 1;
        row.push(left);
        let mut left_letter = None;
        for (j, (y, pair)) in b.iter().zip(last.windows(2)).enumerate() {
            let &[diagonal, above] = pair else { continue };
            let mut cost = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            if left_letter == Some(x)
                && above_letter == Some(y)
                && let Some(swapped) = j.checked_sub(1).and_then(|j| before_last.get(j))
            {
                cost = cost.min(swapped + 1);
            }
            row.push(cost);
            left = cost;
            left_letter = Some(y);
        }
        before_last = std::mem::replace(&mut last, row);
        above_letter = Some(x);
    }
    last.last().copied().unwrap_or_default()
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
        assert_eq!(nearest("temperature", KNOWN), None);
        assert_eq!(nearest("", KNOWN), None);
    }

    #[test]
    fn what_is_near_nothing_gets_the_names_beside_it() {
        assert_eq!(hint("inputs.cameras.panorama.topic", KNOWN), "under 'inputs.cameras' there are: left, top");
        assert!(hint("temperature", KNOWN).contains("ros2 param list"));
    }

    #[test]
    fn edits_are_counted_and_a_swap_is_one() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        let distance = |a: &str, b: &str| super::distance(&letters(a), &letters(b));
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abcd", "abdc"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn an_endless_name_is_not_compared() {
        assert_eq!(nearest(&"x".repeat(100_000), KNOWN), None);
    }
}

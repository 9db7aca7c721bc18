//! Chosen episodes: `0,3-5`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::Error;

/// Episodes by number, in the order in which they are named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    ranges: Vec<RangeInclusive<usize>>,
}

impl Selection {
    /// The episodes of `count` that are chosen, each once.
    ///
    /// # Errors
    /// The first number that is no episode.
    pub fn of(&self, count: usize) -> Result<Vec<usize>, usize> {
        let mut chosen = Vec::new();
        for range in &self.ranges {
            if *range.end() >= count {
                return Err((*range.start()).max(count));
            }
            chosen.extend(range.clone().filter(|episode| !chosen.contains(episode)).collect::<Vec<_>>());
        }
        Ok(chosen)
    }
}

impl FromStr for Selection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Syntax {
            text: text.to_owned(),
            reason: "expected episodes such as 0,3-5: numbers and ranges, separated by commas".to_owned(),
        };
        let number = |text: &str| text.trim().parse::<usize>().ok().ok_or_else(refused);
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(refused());
            }
            ranges.push(first..=last);
        }
        Ok(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_keep_their_order_and_repeat_nothing() {
        let selection: Selection = "7,0,3-5, 4".parse().expect("a selection");
        assert_eq!(selection.of(8), Ok(vec![7, 0, 3, 4, 5]));
        assert_eq!(selection.of(7), Err(7));
        for wrong in ["", "a", "3-1", "1,,2", "-1", "1-"] {
            assert!(wrong.parse::<Selection>().is_err(), "{wrong}");
        }
        let endless: Selection = "0-18446744073709551615".parse().expect("a selection");
        assert_eq!(endless.of(3), Err(3), "nothing is listed before the bound is checked");
    }
}

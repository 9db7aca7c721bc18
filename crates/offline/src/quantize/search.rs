//! The greedy search: the most bytes whose effect together is within the limits.
//!
//! Candidates are taken in the order of their squared cost a byte: errors that know nothing of each other add up as squares.
//! They do so neither exactly nor always upwards, so each choice is tried as a whole: first all of them, then by bisection the
//! longest beginning of the order that is within the limits, then each of the next ones beside it.

use super::Outcome;
use crate::Error;

/// Candidates tried one by one after the bisection.
const TRIED_AFTER: usize = 16;

/// A group of products that are quantised together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Candidate {
    /// Weights, which are bytes once they are quantised.
    pub bytes: u64,
    /// What it takes of the limits alone.
    pub cost: f64,
}

/// What was chosen.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    /// Of each candidate, whether it is quantised.
    pub chosen: Vec<bool>,
    /// What the choice does; `None` where nothing is chosen.
    pub outcome: Option<Outcome>,
    /// Choices that were tried.
    pub tried: usize,
}

/// Searches. `needed`: stop as soon as so many bytes are quantised, with what costs least. `evaluate` runs one choice.
///
/// # Errors
/// Those of `evaluate`.
pub fn search(
    candidates: &[Candidate],
    needed: Option<u64>,
    evaluate: &mut dyn FnMut(&[bool]) -> Result<Outcome, Error>,
) -> Result<Choice, Error> {
    let order = order(candidates);
    let mut search = Search { candidates, evaluate, tried: 0 };
    if let Some(needed) = needed {
        return search.until(&order, needed);
    }
    let usable = order.len();
    let mut best = search.prefix(&order, usable)?;
    if !best.within() && usable > 0 {
        // `least` is within, `most` is not.
        let (mut least, mut most) = (0, usable);
        best = Choice { chosen: vec![false; candidates.len()], outcome: None, tried: 0 };
        while most - least > 1 {
            let middle = usize::midpoint(least, most);
            let next = search.prefix(&order, middle)?;
            if next.within() {
                (least, best) = (middle, next);
            } else {
                most = middle;
            }
        }
        for at in order[least..usable].iter().skip(1).take(TRIED_AFTER) {
            let mut chosen = best.chosen.clone();
            chosen[*at] = true;
            let next = search.run(chosen)?;
            if next.within() {
                best = next;
            }
        }
    }
    Ok(Choice { tried: search.tried, ..best })
}

/// Candidates with a number by squared cost a byte; equal ones in their own order.
fn order(candidates: &[Candidate]) -> Vec<usize> {
    let rank = |at: &usize| candidates[*at].cost.powi(2) / candidates[*at].bytes.max(1) as f64;
    let mut order: Vec<usize> = (0..candidates.len()).filter(|at| candidates[*at].cost.is_finite()).collect();
    order.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    order
}

struct Search<'s> {
    candidates: &'s [Candidate],
    evaluate: &'s mut dyn FnMut(&[bool]) -> Result<Outcome, Error>,
    tried: usize,
}

impl Search<'_> {
    fn prefix(&mut self, order: &[usize], count: usize) -> Result<Choice, Error> {
        let mut chosen = vec![false; self.candidates.len()];
        order[..count].iter().for_each(|at| chosen[*at] = true);
        self.run(chosen)
    }

    fn run(&mut self, chosen: Vec<bool>) -> Result<Choice, Error> {
        if !chosen.contains(&true) {
            return Ok(Choice { chosen, outcome: None, tried: self.tried });
        }
        self.tried += 1;
        let outcome = Some((self.evaluate)(&chosen)?);
        Ok(Choice { chosen, outcome, tried: self.tried })
    }

    /// The shortest beginning of the order with so many bytes.
    fn until(&mut self, order: &[usize], needed: u64) -> Result<Choice, Error> {
        let mut bytes = 0;
        let count = order.iter().take_while(|at| {
            let more = bytes < needed;
            bytes += self.candidates[**at].bytes;
            more
        });
        let count = count.count();
        self.prefix(order, count)
    }
}

impl Choice {
    fn within(&self) -> bool {
        self.outcome.as_ref().is_none_or(|outcome| outcome.within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where a choice is within the limits as long as its costs add up to at most 1.
    fn found(candidates: &[Candidate], needed: Option<u64>) -> (Vec<bool>, usize) {
        let evaluate = &mut |chosen: &[bool]| {
            let costs = candidates.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(each, _)| each.cost);
            let action = costs.sum::<f64>();
            let (cosine, relative) = (Some(1.0), Some(action));
            Ok(Outcome {
                action: Some(action),
                cosine,
                relative,
                refused: 0,
                stages: Vec::new(),
                within: action <= 1.0,
            })
        };
        let choice = search(candidates, needed, evaluate).expect("evaluates");
        assert!(choice.outcome.is_none_or(|outcome| outcome.within || needed.is_some()));
        (choice.chosen, choice.tried)
    }

    fn of(all: &[(u64, f64)]) -> Vec<Candidate> {
        all.iter().map(|&(bytes, cost)| Candidate { bytes, cost }).collect()
    }

    #[test]
    fn everything_is_taken_where_it_is_within_the_limits_and_one_try_says_so() {
        assert_eq!(found(&of(&[(10, 0.2), (10, 0.3), (10, 0.1)]), None), (vec![true; 3], 1));
    }

    #[test]
    fn what_costs_most_a_byte_stays_and_smaller_ones_after_it_are_tried() {
        let (chosen, _) = found(&of(&[(100, 0.5), (10, 0.9), (50, 0.3), (1, 0.15)]), None);
        assert_eq!(chosen, [true, false, true, true]);
    }

    #[test]
    fn a_candidate_without_a_number_is_never_chosen_and_nothing_may_be_chosen() {
        assert_eq!(found(&of(&[(10, f64::INFINITY), (10, 0.1)]), None).0, [false, true]);
        assert_eq!(found(&of(&[(10, f64::INFINITY), (10, 0.1)]), Some(20)).0, [false, true]);
        assert_eq!(found(&of(&[(10, 2.0), (5, 3.0)]), None).0, [false, false]);
        assert_eq!(found(&[], None).0, [] as [bool; 0]);
    }

    #[test]
    fn bytes_that_are_needed_are_taken_from_what_costs_least() {
        assert_eq!(found(&of(&[(10, 0.9), (10, 0.1), (10, 0.2)]), Some(15)).0, [false, true, true]);
        assert_eq!(found(&of(&[(10, 0.9), (10, 0.1)]), Some(5)).0, [false, true]);
    }
}

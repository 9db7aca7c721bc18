//! How far a quantised policy may be from the policy as it is.

use serde::{Deserialize, Serialize};

use super::Effect;
use super::analysis::Analysis;
use super::search::Candidate;
use crate::Error;
use crate::verify::{ActionReport, StageReport};
use vla_engines::provenance::Figures;
use vla_policy::spec::Accuracy;
use vla_quantize::recipe::WeightType;

/// Share of a limit that the search uses: on observations that are not those of the calibration differences are larger, 1.4 to 1.6 times
/// as large for eight observations of the demo and the reach policy.
pub(super) const USED: f64 = 0.7;

/// What the user asks for. Nothing: the policy's own limits ([`Accuracy`]).
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Budget {
    /// Largest difference of a decoded action, rad (m where it is a position).
    pub action_rad: Option<f64>,
    /// Largest L2 error of the predicted actions over their L2 norm.
    pub relative: Option<f64>,
    /// Most bytes of all weights of products. The search then quantises what does the least to the actions until they are reached.
    pub bytes: Option<u64>,
}

/// The limits of a search.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Limits {
    pub(super) action: Option<f64>,
    pub(super) relative: Option<f64>,
    /// Least cosine of the decoded chunk.
    pub(super) cosine: Option<f64>,
    /// Whether every stage's outputs are compared with the policy's own limits as well.
    pub(super) stages: bool,
}

impl Budget {
    /// As limits for a policy with these of its own, which a budget of the user replaces. `decodes`: whether there are actions to compare.
    pub(super) fn limits(&self, own: &Accuracy, decodes: bool) -> Limits {
        if self.action_rad.is_some() || self.relative.is_some() {
            let [action, relative] = [self.action_rad, self.relative].map(|most| most.map(|most| most * USED));
            return Limits { action, relative, cosine: None, stages: false };
        }
        let [action, cosine] = [own.action_rad * USED, own.action_cosine].map(|limit| decodes.then_some(limit));
        Limits { action, relative: None, cosine, stages: true }
    }

    /// How many weights have to be quantised so that all weights of products take no more than the budget's bytes, where the others
    /// are in half precision; `None` without such a budget.
    ///
    /// # Errors
    /// [`Error::TooFewBytes`].
    pub(super) fn needed(
        &self,
        analyses: &[Analysis],
        candidates: &[Candidate],
        weights: WeightType,
    ) -> Result<Option<u64>, Error> {
        let Some(most) = self.bytes else { return Ok(None) };
        let products = analyses.iter().flat_map(|analysis| &analysis.products);
        let all: u64 = products.map(|each| each.product.elements).sum();
        let usable: u64 = candidates.iter().filter(|each| each.cost.is_finite()).map(|each| each.bytes).sum();
        // Half bytes that a quantised weight saves of four.
        let saved = match weights {
            WeightType::Int8 => 2,
            WeightType::Int4 => 3,
        };
        let needed = (4 * all).saturating_sub(most.saturating_mul(2)).div_ceil(saved);
        if needed > usable {
            return Err(Error::TooFewBytes { expected: most, found: (4 * all - saved * usable) / 2 });
        }
        Ok(Some(needed))
    }
}

impl Limits {
    /// Whether an effect alone is beyond them.
    pub(super) fn forbid(&self, effect: &Effect) -> bool {
        (self.action.is_some() || self.relative.is_some()) && self.share(effect) > 1.0
    }

    /// Everything is within them.
    pub(super) const NONE: Self = Self { action: None, relative: None, cosine: None, stages: false };

    /// How much of the limits an effect takes: 1 is all of the tightest; infinite where there is no number.
    pub(super) fn share(&self, effect: &Effect) -> f64 {
        let part = |found: Option<f64>, most: Option<f64>| most.map(|most| found.map_or(f64::INFINITY, |x| x / most));
        let parts = [part(effect.action, self.action), part(effect.relative, self.relative)];
        let of_limits = parts
            .into_iter()
            .flatten()
            .fold(None, |most: Option<f64>, next| Some(most.map_or(next, |most| most.max(next))));
        // Without a limit the order is that of the effect itself.
        of_limits.or(effect.relative).unwrap_or(f64::INFINITY)
    }
}

/// A choice compared with the policy as it is, on the calibration observations.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Largest difference of a decoded action, rad (m where it is a position); `None`: no number.
    pub action: Option<f64>,
    /// Least cosine of a decoded chunk.
    pub cosine: Option<f64>,
    /// L2 error of the predicted actions over their L2 norm.
    pub relative: Option<f64>,
    /// Observations whose chunk the policy or its quantised form refused.
    pub refused: usize,
    /// Worst figures of each stage alone, where they were looked at: its name, and whether it is within the policy's limit.
    pub stages: Vec<(String, Figures, bool)>,
    /// Whether all of it is within the limits.
    pub within: bool,
}

impl Outcome {
    /// Of the actions alone.
    pub(super) fn of(report: &ActionReport, limits: &Limits) -> Self {
        let mut largest = report.keys.iter().map(|key| key.largest);
        let action = largest.try_fold(0.0, |most: f64, next| Some(most.max(next?)));
        let below =
            |found: Option<f64>, most: Option<f64>| most.is_none_or(|most| found.is_some_and(|found| found <= most));
        let cosine = limits.cosine.is_none_or(|least| report.cosine.is_some_and(|cosine| cosine >= least));
        let relative = report.predicted.relative_l2;
        let finite = action.is_some() && relative.is_some() && report.refused.is_empty();
        Self {
            action,
            cosine: report.cosine,
            relative,
            refused: report.refused.len(),
            stages: Vec::new(),
            within: finite && cosine && below(action, limits.action) && below(relative, limits.relative),
        }
    }

    /// Of stages alone, where there are no actions: the worst of their outputs.
    pub(super) fn of_stages(stages: &[StageReport], limits: &Limits) -> Self {
        let worst = stages.iter().map(StageReport::worst).fold(Figures::EQUAL, Figures::worse);
        let below = limits.relative.is_none_or(|most| worst.relative_l2.is_some_and(|found| found <= most));
        let none = Self {
            action: None,
            cosine: worst.cosine,
            relative: worst.relative_l2,
            refused: 0,
            stages: Vec::new(),
            within: worst.relative_l2.is_some() && below,
        };
        if limits.stages { none.with(stages) } else { none }
    }

    /// With the stages' own figures.
    pub(super) fn with(mut self, stages: &[StageReport]) -> Self {
        self.stages = stages.iter().map(|stage| (stage.stage.clone(), stage.worst(), stage.passed())).collect();
        self.within &= stages.iter().all(StageReport::passed);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_replaces_the_policys_limits_and_none_means_them() {
        let own = Accuracy::default();
        let usual = Budget::default().limits(&own, true);
        assert_eq!(
            (usual.action, usual.cosine, usual.stages),
            (Some(own.action_rad * USED), Some(own.action_cosine), true)
        );
        let asked = Budget { action_rad: Some(0.002), ..Budget::default() }.limits(&own, true);
        assert_eq!((asked.action, asked.cosine, asked.stages), (Some(0.002 * USED), None, false));
    }

    #[test]
    fn the_tightest_limit_counts_and_what_is_no_number_takes_all() {
        let limits = Limits { action: Some(0.01), relative: Some(0.1), cosine: None, stages: false };
        assert_eq!(limits.share(&Effect { action: Some(0.005), relative: Some(0.02) }), 0.5);
        assert_eq!(limits.share(&Effect { action: Some(0.001), relative: Some(0.2) }), 2.0);
        assert_eq!(limits.share(&Effect { action: None, relative: Some(0.2) }), f64::INFINITY);
        let none = Limits { action: None, relative: None, ..limits };
        assert_eq!(none.share(&Effect { action: None, relative: Some(0.2) }), 0.2);
    }
}

//! How far an engine may be from its network: the limits of the accuracy gate.

use std::collections::BTreeMap;

use super::raw::RawAccuracy;
use vla_engines::Stage;

/// Least cosine of the outputs of vision, language and context.
const OUTPUT_COSINE: f64 = 0.999;
/// Least cosine of the outputs of denoising stages, and of the decoded chunk.
const ACTION_COSINE: f64 = 0.99;
/// Largest difference of a decoded action.
const ACTION_RAD: f64 = 0.01;
/// More than a turn is no limit.
const LARGEST_RAD: f64 = std::f64::consts::TAU;

/// Limits of the accuracy gate, `accuracy` of policy.yaml.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    /// Least cosine of each output of a stage that runs once.
    pub output_cosine: f64,
    /// Least cosine of each output of these stages, in place of the others.
    pub stage_cosine: BTreeMap<String, f64>,
    /// Least cosine of each output of a stage that repeats, and of the decoded chunk.
    pub action_cosine: f64,
    /// Largest difference of a decoded action, rad (m where a column is a position).
    pub action_rad: f64,
}

impl Default for Accuracy {
    fn default() -> Self {
        Self {
            output_cosine: OUTPUT_COSINE,
            stage_cosine: BTreeMap::new(),
            action_cosine: ACTION_COSINE,
            action_rad: ACTION_RAD,
        }
    }
}

impl Accuracy {
    /// Least cosine that each output of `stage` must have.
    pub fn least_cosine(&self, stage: &Stage) -> f64 {
        let usual = if stage.repeat { self.action_cosine } else { self.output_cosine };
        self.stage_cosine.get(&stage.name).copied().unwrap_or(usual)
    }

    /// With what is not given at its default. The second: one line a problem, with the key's path.
    pub(super) fn checked(raw: RawAccuracy, stages: &[&str]) -> (Self, Vec<String>) {
        let usual = Self::default();
        let accuracy = Self {
            output_cosine: raw.output_cosine.unwrap_or(usual.output_cosine),
            stage_cosine: raw.stage_cosine.0.into_iter().collect(),
            action_cosine: raw.action_cosine.unwrap_or(usual.action_cosine),
            action_rad: raw.action_rad.unwrap_or(usual.action_rad),
        };
        let mut problems = Vec::new();
        let named = [("output_cosine", accuracy.output_cosine), ("action_cosine", accuracy.action_cosine)];
        let named = named.map(|(key, value)| (key.to_owned(), value)).into_iter();
        let each = accuracy.stage_cosine.iter().map(|(stage, value)| (format!("stage_cosine.{stage}"), *value));
        for (key, value) in named.chain(each).filter(|(_, value)| !(0.0..=1.0).contains(value)) {
            problems.push(format!("accuracy.{key}: expected a cosine from 0 to 1, found {value}"));
        }
        for stage in accuracy.stage_cosine.keys().filter(|stage| !stages.contains(&stage.as_str())) {
            problems.push(format!("accuracy.stage_cosine.{stage}: expected a stage, one of {}", stages.join(", ")));
        }
        if !(accuracy.action_rad > 0.0 && accuracy.action_rad <= LARGEST_RAD) {
            problems.push(format!(
                "accuracy.action_rad: expected more than 0 and at most {LARGEST_RAD:.2} rad, found {}",
                accuracy.action_rad
            ));
        }
        (accuracy, problems)
    }
}

//! 8-bit policies: which products of a policy's networks are quantised, with which scales, and what that does to the actions.
//!
//! 1. The policy runs on calibration observations on ONNX Runtime, in floating point ([`crate::verify::capture`]).
//! 2. Every stage runs once more with the inputs of its products among its outputs; from their statistics come smoothing, scales and
//!    the error of each product's own output ([`vla_quantize::fit()`]).
//! 3. The effect of each product, or of each kind of product in a range of blocks where the policy is large, on the decoded actions:
//!    the policy runs with that alone quantised.
//! 4. A greedy search finds the most bytes whose effect together is within the budget ([`search`]).
//! 5. The bundle is written with the networks of that choice ([`bundle`]).
//!
//! Memory holds one stage at a time, except for the effects, where the whole policy runs. Every step is deterministic: two runs on the same
//! machine write the same bytes.

use std::path::PathBuf;

use serde::Serialize;

use crate::Error;
use crate::replay::Source;
use crate::verify;
use crate::verify::Networks;
use vla_policy::PolicySpec;
use vla_quantize::recipe::{Target, WeightType};
use vla_runtime::parameters::Settings;

mod analysis;
mod budget;
pub mod bundle;
mod groups;
mod plan;
mod resume;
pub mod search;
mod trial;

pub use budget::{Budget, Outcome};
pub use plan::{Plan, ProductPlan, StagePlan};

use groups::Group;
use trial::Trials;

/// What to quantise for, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bag or data set with the calibration observations.
    pub source: Source,
    /// Most of them, spread evenly over it; at least 1.
    pub observations: usize,
    /// Only these stages; `None`: all.
    pub stages: Option<Vec<String>>,
    /// Who reads the networks.
    pub target: Target,
    /// Type of the weights.
    pub weights: WeightType,
    /// How far the decoded actions may be from those of the policy as it is.
    pub budget: Budget,
    /// A folder for temporary files: recorded tensors, and the networks of a trial.
    pub scratch: PathBuf,
    /// A folder for what was found so far: a run that was ended goes on from there.
    pub work: PathBuf,
}

/// Progress of [`run`].
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// Of the run of the policy as it is.
    Reference(verify::Progress),
    /// A stage runs with its products' inputs recorded.
    Recording {
        /// Its name.
        stage: String,
        /// Runs behind it.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// Scales of a stage.
    Scales {
        /// Its name.
        stage: String,
        /// Inputs of products behind it.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// The effect of each group of products on the actions.
    Effects {
        /// Groups behind it.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// The search ran the policy with so many choices.
    Search(usize),
}

/// Observations below which scales are not believed.
pub const FEWEST_OBSERVATIONS: usize = 2;

/// What a run found, with the trials' own figures.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Effect {
    /// Largest difference of a decoded action, rad (m where it is a position).
    pub(crate) action: Option<f64>,
    /// L2 error of the predicted actions over their L2 norm.
    pub(crate) relative: Option<f64>,
}

/// Chooses what is quantised of `spec`, as the node with these settings would run it.
///
/// # Errors
/// [`Error`] naming the topic, joint, stage, tensor or file; [`Error::TooFewObservations`]; [`Error::Unreachable`] for a budget that
/// nothing meets.
pub fn run(
    spec: &PolicySpec,
    settings: &Settings,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Plan, Error> {
    let mut reference = Networks::of(spec, settings.engine.threads).with_paths(settings);
    let verification = verify::Options {
        source: options.source.clone(),
        observations: options.observations,
        stages: None,
        inner: 0,
        scratch: options.scratch.clone(),
    };
    let none = std::collections::BTreeMap::new();
    let captured = verify::capture(spec, settings, &verification, &mut reference, &none, &mut |done| {
        progress(Progress::Reference(done));
    })?;
    if captured.observations() < FEWEST_OBSERVATIONS {
        return Err(Error::TooFewObservations {
            source: options.source.path().to_owned(),
            expected: FEWEST_OBSERVATIONS,
            found: captured.observations(),
        });
    }
    let store = resume::Store::open(options, &captured, spec)?;
    let analyses = analysis::all(&captured, &mut reference, options, &store, progress)?;
    let groups = groups::of(&analyses, options.target);
    let limits = options.budget.limits(&spec.accuracy);
    let mut trials = Trials::new(&captured, &analyses, options, settings.engine.threads);
    let effects = effects(&groups, &mut trials, &store, progress)?;
    let mut tried = 0;
    let evaluate = &mut |chosen: &[bool]| {
        tried += 1;
        progress(Progress::Search(tried));
        trials.outcome(&groups::nodes(&groups, chosen), &limits)
    };
    let choice = search::search(&candidates(&groups, &effects, &limits), options.budget.bytes, evaluate)?;
    let fused = trials.fused(&groups::nodes(&groups, &choice.chosen))?;
    Ok(plan::of(&captured, options, &analyses, &groups, &effects, choice, fused, &limits))
}

/// What each group alone does to the actions.
fn effects(
    groups: &[Group],
    trials: &mut Trials<'_>,
    store: &resume::Store,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Effect>, Error> {
    let total = groups.len();
    let mut effects = Vec::with_capacity(total);
    for (done, group) in groups.iter().enumerate() {
        progress(Progress::Effects { done, total });
        effects.push(store.effect(group, || trials.effect(group))?);
    }
    progress(Progress::Effects { done: total, total });
    Ok(effects)
}

fn candidates(groups: &[Group], effects: &[Effect], limits: &budget::Limits) -> Vec<search::Candidate> {
    let each = groups.iter().zip(effects);
    each.map(|(group, effect)| search::Candidate { bytes: group.elements, cost: limits.share(effect) }).collect()
}

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
//! Memory holds one stage at a time (or the stages that repeat), and with recorded inputs the outputs of the stages. Every step is
//! deterministic: two runs on the same machine write the same bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::replay::Source;
use crate::verify;
use crate::verify::Networks;
use vla_engines::Stage;
use vla_engines::onnx::Network;
use vla_policy::PolicySpec;
use vla_quantize::recipe::{Target, WeightType};
use vla_runtime::parameters::Settings;

mod analysis;
mod arrays;
mod budget;
pub mod bundle;
mod calibration;
mod groups;
mod plan;
mod resume;
pub mod search;
mod trial;

pub use budget::{Budget, Outcome};
pub use plan::{PLAN_FILE, Plan, ProductPlan, StagePlan};
pub use resume::forget;

use calibration::Calibration;
use groups::Group;
use trial::Trials;

/// What to quantise for, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What scales come from.
    pub samples: Samples,
    /// Most observations of a recording, spread evenly over it; at least 1.
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

/// What scales come from.
#[derive(Clone, Debug)]
pub enum Samples {
    /// Bag or data set with observations, read as the node with these settings would.
    Recording(Source, Arc<Settings>),
    /// Recorded inputs of every stage, as [`crate::calibrate`] writes them. Each stage is then looked at alone, and there are no actions:
    /// limits are those of the stages' outputs.
    Arrays(PathBuf),
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Effect {
    /// Largest difference of a decoded action, rad (m where it is a position).
    pub(crate) action: Option<f64>,
    /// L2 error of the predicted actions over their L2 norm.
    pub(crate) relative: Option<f64>,
}

/// Chooses what is quantised of `spec`.
///
/// # Errors
/// [`Error`] naming the topic, joint, stage, tensor or file; [`Error::TooFewObservations`];
/// [`Error::TooFewBytes`] for a budget that no choice meets.
pub fn run(spec: &PolicySpec, options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Plan, Error> {
    check(spec, options)?;
    let calibration = calibration(spec, options, progress)?;
    let calibration = &*calibration;
    if calibration.observations() < FEWEST_OBSERVATIONS {
        return Err(Error::TooFewObservations {
            recording: calibration.path().to_owned(),
            expected: FEWEST_OBSERVATIONS,
            found: calibration.observations(),
        });
    }
    let store = resume::Store::open(options, calibration)?;
    let analyses = analysis::all(calibration, options, &store, progress)?;
    let groups = groups::of(&analyses, options.target);
    let limits = options.budget.limits(&spec.accuracy, calibration.decodes());
    let mut trials = Trials::new(calibration, &analyses, options);
    let effects = effects(&groups, &mut trials, &store, progress)?;
    let mut tried = 0;
    let evaluate = &mut |chosen: &[bool]| {
        tried += 1;
        progress(Progress::Search(tried));
        trials.outcome(&groups::nodes(&groups, chosen), &limits)
    };
    let candidates = candidates(&groups, &effects, &limits);
    let needed = options.budget.needed(&analyses, &candidates, options.weights)?;
    let choice = search::search(&candidates, needed, evaluate)?;
    let fused = trials.fused(&groups::nodes(&groups, &choice.chosen))?;
    let (analyses, groups, effects, limits) = (&analyses, &groups, &effects, &limits);
    plan::of(plan::Candidates { calibration, analyses, groups, effects, limits }, options, choice, fused)
}

/// Refuses what would be noticed late: stages whose network is not there, or quantised.
fn check(spec: &PolicySpec, options: &Options) -> Result<(), Error> {
    let wanted = |stage: &&Stage| options.stages.as_ref().is_none_or(|names| names.contains(&stage.name));
    for stage in spec.stages.iter().filter(wanted) {
        let (name, file) = (stage.name.clone(), stage.onnx.clone());
        if !file.is_file() {
            return Err(Error::NoNetwork { stage: name, file });
        }
        if Network::open(&file).map_err(vla_quantize::Error::from)?.is_quantized() {
            return Err(Error::Quantized { stage: name, file });
        }
    }
    Ok(())
}

/// The samples: the policy's run on a recording, or a file with recorded inputs.
fn calibration(
    spec: &PolicySpec,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Box<dyn Calibration>, Error> {
    let (source, settings) = match &options.samples {
        Samples::Recording(source, settings) => (source, settings),
        Samples::Arrays(file) => {
            let stages = options.stages.clone().unwrap_or_else(|| spec.stage_names());
            return Ok(Box::new(arrays::Arrays::open(spec, file, &stages)?));
        }
    };
    let threads = settings.engine.threads;
    let mut reference = Networks::of(spec, threads);
    let verification = verify::Options {
        source: source.clone(),
        observations: options.observations,
        stages: None,
        inner: 0,
        scratch: options.scratch.clone(),
    };
    let captured = verify::capture(spec, settings, &verification, &mut reference, &BTreeMap::new(), &mut |done| {
        progress(Progress::Reference(done));
    })?;
    Ok(Box::new(calibration::Recording { captured, threads }))
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

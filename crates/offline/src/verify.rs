//! The accuracy gate: compares a policy's engines with its networks on ONNX Runtime, on inputs recorded in a bag.
//!
//! Two comparisons. *Stage by stage*: each stage of the candidate alone on exactly what the reference gave the same stage,
//! so that a difference is that stage's own ([`stage()`]). *The whole chain*: the candidate's pipeline as the robot runs it,
//! from the recorded host tensors to decoded actions in radians, so that what adds up is seen ([`actions()`]).
//! What a candidate is, [`Candidate`] says: TensorRT engines, lists of operations on CUDA, or the networks of another export of the same policy.
//!
//! The reference runs once, in [`capture()`]: the bag goes through [`crate::replay`] and the session as in the node, then
//! each stage runs alone over all observations, and everything that it was given and made goes to a file in a scratch
//! folder. After that no reference is loaded any more. Memory holds at any time one stage of one side and one observation,
//! and for the whole chain all stages of the candidate.
//!
//! [`run()`] is all of it, for `vla-trt verify`. A build that tries several precisions captures once and asks for one stage
//! again and again:
//!
//! ```text
//! let captured = verify::capture(&spec, &settings, &options, &mut reference, &checkpoints, progress)?;
//! for stage in stages {
//!     for precision in ["int8+fp16", "fp16", "fp32"] {
//!         let mut candidate = Engines::new(vec![built(stage, precision)], &settings);
//!         let report = verify::stage(&captured, stage, &mut candidate, progress)?;
//!         trials.push(report.trial(precision));
//!         if report.passed() { break }
//!     }
//! }
//! let proposal = verify::propose(trials);
//! let report = verify::report(&captured, stage_reports, Some(verify::actions(&captured, &mut all, progress)?), name);
//! verify::record(engine_file, &report.verification(stage)?)?;
//! ```
//!
//! A quantised network is its own reference: an engine is compared with what the file says, products of dequantised tensors
//! in floating point ([`Reference::QuantizedNetworks`]). How far it is from the network before it was quantised is another
//! comparison, of two bundles.
//!
//! Limits are those of policy.yaml ([`vla_policy::spec::Accuracy`]). What is not finite is within no limit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Error;
use crate::replay::Source;
use vla_engines::operations;
use vla_engines::provenance::{Provenance, Verification, rfc3339};
use vla_policy::PolicySpec;
use vla_policy::spec::POLICY_FILE;
use vla_runtime::parameters::Settings;

mod actions;
pub mod candidate;
mod capture;
mod proposal;
mod report;
mod stages;
mod store;

pub use actions::actions;
pub(crate) use actions::actions_from;
pub use candidate::{Candidate, Networks};
pub use capture::{ReferenceRun, StageRun, capture};
pub use proposal::{Proposal, Trial, propose};
pub use report::{ActionReport, KeyFigures, Reference, Report, StageReport};
pub(crate) use stages::observe;
pub use stages::stage;

/// What to verify on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bag or data set to take observations from.
    pub source: Source,
    /// Most observations, spread evenly over it; at least 1.
    pub observations: usize,
    /// These stages alone, without the whole chain; `None`: all.
    pub stages: Option<Vec<String>>,
    /// Most tensors inside each network to compare as well.
    pub inner: usize,
    /// A folder for temporary files: a few hundred megabytes for a policy of full size.
    pub scratch: PathBuf,
}

/// Progress of a verification.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// Fraction of the bag that is read.
    Replay(f64),
    /// A stage of the reference is being loaded, or has run on so many observations.
    Reference {
        /// Its name, or the first of several that run together.
        stage: String,
        /// Observations behind it.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// The same of the candidate; a repeated stage runs once a step.
    Candidate {
        /// Its name.
        stage: String,
        /// Runs behind it.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// The candidate's whole pipeline.
    Chain {
        /// Observations behind it.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// Fraction of the actions that is decoded.
    Decode(f64),
}

/// Compares a candidate with the networks of `spec`, as the node with these settings would run it.
///
/// # Errors
/// [`Error`], naming the topic, joint, stage or file. A candidate that is too far off is no error: [`Report::passed`].
pub fn run(
    spec: &PolicySpec,
    settings: &Settings,
    options: &Options,
    candidate: &mut dyn Candidate,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    let mut reference = Networks::of(spec, settings.engine.threads).with_paths(settings);
    let stages = options.stages.clone().unwrap_or_else(|| spec.stage_names());
    for stage in &stages {
        stages::find(&spec.stages, stage, || spec.dir.join(POLICY_FILE).display().to_string())?;
    }
    present(candidate, &stages)?;
    let checkpoints = checkpoints(&reference, candidate, &stages, options.inner)?;
    let captured = capture(spec, settings, options, &mut reference, &checkpoints, progress)?;
    let wanted = spec.stages.iter().filter(|stage| stages.contains(&stage.name));
    let each = wanted.map(|described| stage(&captured, &described.name, candidate, progress));
    let reports = each.collect::<Result<Vec<_>, _>>()?;
    let chain = match options.stages {
        None => Some(actions(&captured, candidate, progress)?),
        Some(_) => None,
    };
    let report = report(&captured, reports, chain, candidate.name());
    let mut without_half_rounding = candidate.without_half_rounding();
    without_half_rounding.retain(|stage| stages.contains(stage));
    Ok(Report { without_half_rounding, ..report })
}

/// Joins the reports of stages and chain.
pub fn report(
    captured: &ReferenceRun,
    stages: Vec<StageReport>,
    actions: Option<ActionReport>,
    candidate: String,
) -> Report {
    let mut report = Report {
        format: report::FORMAT,
        passed: false,
        reference: captured.reference(),
        policy: captured.spec().name.clone(),
        fingerprint: captured.spec().fingerprint.clone(),
        candidate,
        at: rfc3339(SystemTime::now()),
        bag: captured.bag().to_owned(),
        bag_sha256: captured.bag_sha256().to_owned(),
        observations: captured.observations(),
        stages,
        actions,
        without_half_rounding: Vec::new(),
    };
    report.passed = report.failed().is_empty();
    report
}

/// Writes a verdict into the record of an engine, in place of an earlier one.
///
/// # Errors
/// [`Error::NoRecord`]; [`Error::Provenance`].
pub fn record(engine: &Path, verification: &Verification) -> Result<(), Error> {
    let record = Provenance::read(engine)?.ok_or_else(|| Error::NoRecord { engine: engine.to_owned() })?;
    Ok(Provenance { verification: Some(verification.clone()), ..record }.write(engine)?)
}

/// Whether every stage is there, before minutes are spent on the reference.
fn present(candidate: &dyn Candidate, stages: &[String]) -> Result<(), Error> {
    let mut missing = Vec::new();
    for name in stages {
        let stage = stages::find(candidate.stages(), name, || candidate.name())?;
        if !stage.file.is_file() {
            let file = stage.file.display();
            let is_list = stage.file == operations::path_beside(&stage.onnx);
            let make = if is_list { "export the policy again (vla-trt export)" } else { "build it (vla-trt build)" };
            missing.push(format!("stage '{name}': expected {file}, found no file; {make}, or leave it out (--stages)"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing { missing }) }
}

/// Of each stage at most `most` tensors inside its network that both sides can put out, evenly spread over it, by
/// their weights.
///
/// # Errors
/// A network that cannot be read.
pub fn checkpoints(
    reference: &dyn Candidate,
    candidate: &dyn Candidate,
    stages: &[String],
    most: usize,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut found = BTreeMap::new();
    for name in stages.iter().filter(|_| most > 0) {
        let [ours, theirs] = [reference, candidate]
            .map(|side| -> Result<_, Error> { side.inner(stages::find(side.stages(), name, || side.name())?) });
        let (ours, theirs) = (ours?, theirs?);
        let both: Vec<String> = ours.into_iter().filter(|weight| theirs.contains(weight)).collect();
        let spread = |index: usize| both.get((2 * index + 1) * both.len() / (2 * most));
        let chosen: Vec<String> =
            if both.len() <= most { both } else { (0..most).filter_map(spread).cloned().collect() };
        if !chosen.is_empty() {
            found.insert(name.clone(), chosen);
        }
    }
    Ok(found)
}

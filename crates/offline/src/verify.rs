//! The accuracy gate: a policy's engines held against its networks on ONNX Runtime, with inputs recorded in a bag.
//!
//! Two comparisons. *Stage by stage*: each stage of the candidate alone on exactly what the reference gave the same stage,
//! so that a difference is that stage's own ([`stage()`]). *The whole chain*: the candidate's pipeline as the robot runs it,
//! from the recorded host tensors to decoded actions in radians, so that what adds up is seen ([`actions()`]).
//! What a candidate is, [`Candidate`] says: TensorRT engines, or the networks of another export of the same policy.
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
//! Limits are those of policy.yaml ([`vla_policy::spec::Accuracy`]). What is not finite is within no limit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::replay::Source;
use crate::{recorded, replay};
use vla_base::tensor::display_dims;
use vla_engines as engine;
use vla_engines::onnx;
use vla_engines::provenance;
use vla_engines::provenance::{Provenance, Verification, rfc3339};
use vla_policy as policy;
use vla_policy::PolicySpec;
use vla_policy::observation;
use vla_runtime::parameters::Settings;

mod actions;
pub mod candidate;
mod capture;
mod proposal;
mod report;
mod stages;
mod store;

pub use actions::actions;
pub use candidate::{Candidate, Networks};
pub use capture::{Captured, RunAt, capture};
pub use proposal::{Proposal, Trial, propose};
pub use report::{ActionReport, KeyFigures, Report, StageReport};
pub use stages::stage;

/// Verifying failed: nothing is known of the candidate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the bag.
    #[error(transparent)]
    Recorded(#[from] recorded::Error),
    /// Replaying it for the decoded actions.
    #[error(transparent)]
    Replay(#[from] replay::Error),
    /// The policy's description, encoding or decoding.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// Joints of the actions.
    #[error(transparent)]
    Joints(#[from] observation::Error),
    /// Loading or running a stage.
    #[error("{0}")]
    Engine(#[from] engine::Error),
    /// Reading a network, or writing it with more outputs.
    #[error(transparent)]
    Onnx(#[from] onnx::Error),
    /// An engine's record.
    #[error(transparent)]
    Provenance(#[from] provenance::Error),
    /// The record of an engine is not there.
    #[error("{}: there is no record to write the verdict into ({} is missing); build or adopt the engine", engine.display(), Provenance::path(engine).display())]
    NoRecord {
        /// The engine.
        engine: PathBuf,
    },
    /// A stage that one side does not have.
    #[error("there is no stage '{stage}' in {whose}; its stages are {stages}")]
    Stage {
        /// Named.
        stage: String,
        /// Where it was looked for.
        whose: String,
        /// Those that there are.
        stages: String,
    },
    /// Files of the candidate that are not there.
    #[error("there is nothing to verify:\n  {}", missing.join("\n  "))]
    Missing {
        /// One line each: the stage, the file, what to do.
        missing: Vec<String>,
    },
    /// The candidate's stage is another one than the reference's.
    #[error(
        "stage '{stage}' of the candidate is not the one of the policy: {problem}; compare exports of one checkpoint"
    )]
    Unlike {
        /// The stage.
        stage: String,
        /// What is different.
        problem: String,
    },
    /// A tensor of another size.
    #[error(
        "stage '{stage}', tensor '{tensor}': expected as many elements as {}, found {}; compare exports of one checkpoint",
        display_dims(expected),
        display_dims(found)
    )]
    Shape {
        /// The stage.
        stage: String,
        /// The tensor.
        tensor: String,
        /// Dimensions of the reference's.
        expected: Vec<usize>,
        /// Dimensions of the candidate's.
        found: Vec<usize>,
    },
    /// A file in the scratch folder, or a bag that is hashed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A tensor that was recorded is not there: a bug of ours.
    #[error("internal error: tensor '{tensor}' was not recorded")]
    Lost {
        /// The tensor.
        tensor: String,
    },
    /// This build has no TensorRT.
    #[error(
        "TensorRT is not part of this build, so that there are no engines to verify; build with the feature `tensorrt`, or \
         give --engine-kind onnx --candidate POLICY to compare another export"
    )]
    NoTensorrt,
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the candidate does not fit into the memory that it may take.
    pub fn does_not_fit(&self) -> bool {
        match self {
            Self::Engine(error) => error.does_not_fit(),
            Self::Policy(error) => error.does_not_fit(),
            _ => false,
        }
    }

    /// Whether the bag was read to its end and gave no observation.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Recorded(error) => error.is_empty(),
            Self::Replay(error) => error.is_empty(),
            _ => false,
        }
    }
}

/// What to verify on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bag to take observations from.
    pub bag: Source,
    /// Most observations, spread evenly over the bag; at least 1.
    pub observations: usize,
    /// These stages alone, without the whole chain; `None`: all.
    pub stages: Option<Vec<String>>,
    /// Most tensors inside each network to compare as well.
    pub inner: usize,
    /// A folder for what is thrown away afterwards: a few hundred megabytes for a policy of full size.
    pub scratch: PathBuf,
}

/// How far a verification is.
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

/// Holds a candidate against the networks of `spec`, as the node with these settings would run it.
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
        stages::find(&spec.stages, stage, || spec.dir.join(policy::spec::POLICY_FILE).display().to_string())?;
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
    Ok(report(&captured, reports, chain, candidate.name()))
}

/// Joins what was found of stages and chain.
pub fn report(
    captured: &Captured,
    stages: Vec<StageReport>,
    actions: Option<ActionReport>,
    candidate: String,
) -> Report {
    let mut report = Report {
        format: report::FORMAT,
        passed: false,
        policy: captured.spec().name.clone(),
        fingerprint: captured.spec().fingerprint.clone(),
        candidate,
        at: rfc3339(SystemTime::now()),
        bag: captured.bag().to_owned(),
        bag_sha256: captured.bag_sha256().to_owned(),
        observations: captured.observations(),
        stages,
        actions,
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
            missing.push(format!(
                "stage '{name}': there is no {file}; build it (vla-trt build), or leave it out (--stages)"
            ));
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

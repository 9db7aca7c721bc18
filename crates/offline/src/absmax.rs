//! How large the tensors inside a policy get on a recorded bag, and what of it half precision cannot hold.
//!
//! A bundle of [measured](vla_export::bundle::fill_measured) networks runs on ONNX Runtime in single precision. The
//! bag goes through [`crate::recorded`], as in the node, with a pipeline that only keeps what it is given;
//! then each stage is loaded alone and run on all of it, so that memory holds one stage and running maxima.

use std::path::PathBuf;

use crate::recorded;
use crate::recorded::Source;
use vla_engines as engine;
use vla_export::onnx::absmax as networks;
use vla_export::onnx::absmax::Measured;
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

mod report;
mod stages;

pub use report::{Fp16, Report, StageReport};

/// Measuring failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the bag.
    #[error(transparent)]
    Recorded(#[from] recorded::Error),
    /// Running the networks.
    #[error("{0}")]
    Engine(#[from] engine::Error),
    /// The networks' own description.
    #[error(transparent)]
    Networks(#[from] vla_export::Error),
    /// A network put out another number of maxima than it says.
    #[error("stage '{stage}': expected {expected} maxima, found {found}; export it again")]
    Maxima {
        /// The stage.
        stage: String,
        /// Tensors that it names.
        expected: usize,
        /// Values that it gave.
        found: usize,
    },
}

impl Error {
    /// Whether the bag was read to its end and gave no observation.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Recorded(error) if error.is_empty())
    }
}

/// What to measure on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bag to take observations from.
    pub bag: Source,
    /// Most observations, spread evenly over the bag; at least 1.
    pub observations: usize,
    /// A folder for what is thrown away afterwards.
    pub scratch: PathBuf,
}

/// How far a measurement is.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// Fraction of the bag that is read.
    Replay(f64),
    /// A stage is being loaded, or has run on so many observations.
    Stage {
        /// Its name, or the first of several that run together.
        stage: String,
        /// Observations behind it.
        done: usize,
        /// All of them.
        total: usize,
    },
}

/// Runs the measured bundle `spec` over a bag as the node with these settings would.
///
/// # Errors
/// [`Error`], naming the topic, joint, stage or file.
pub fn measure(
    spec: PolicySpec,
    settings: &Settings,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    let mut stages = Vec::with_capacity(spec.stages.len());
    for described in &spec.stages {
        let tensors: Vec<(Measured, f32)> =
            networks::read(&described.onnx)?.into_iter().map(|measured| (measured, 0.0)).collect();
        stages.push(StageReport { name: described.name.clone(), tensors });
    }
    let mut read = |done| progress(Progress::Replay(done));
    let found = recorded::observations(
        spec.clone(),
        settings,
        &options.bag,
        options.observations,
        &options.scratch,
        &mut read,
    )?;
    let mut report = Report { bag: options.bag.bag.clone(), observations: found.observations.len(), stages };
    stages::run(&spec, settings.engine.threads, found.host, found.observations, progress, &mut |stage, maxima| {
        report.take(stage, maxima)
    })?;
    Ok(report)
}

//! Activation ranges: the largest magnitude of every tensor inside a policy on a recorded bag, and which of them FP16
//! cannot hold.
//!
//! A bundle of [measured](vla_export::bundle::fill_measured) networks runs on ONNX Runtime in single precision. The
//! bag goes through `crate::observations`, as in the node, with a pipeline that only keeps what it is given;
//! then each stage is loaded alone and run on all of it, so that memory holds one stage and running maxima.

use crate::Error;
use crate::observations;
use crate::replay::Source;
use vla_export::onnx::activation_range as networks;
use vla_export::onnx::activation_range::MeasuredTensor;
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

mod report;
mod stages;

pub use report::{Fp16, Report, StageReport};

/// What to measure on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bag or data set to take observations from.
    pub source: Source,
    /// Most observations, spread evenly over it; at least 1.
    pub observations: usize,
}

/// Progress of a measurement.
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
        let tensors: Vec<(MeasuredTensor, f32)> =
            networks::read(&described.onnx)?.into_iter().map(|measured| (measured, 0.0)).collect();
        stages.push(StageReport { name: described.name.clone(), tensors });
    }
    let mut read = |done| progress(Progress::Replay(done));
    let found = observations::record(spec.clone(), settings, &options.source, options.observations, &mut read)?;
    let mut report = Report { bag: options.source.path().to_owned(), observations: found.observations.len(), stages };
    stages::run(&spec, settings.engine.threads, found.host, found.observations, progress, &mut |stage, maxima| {
        report.take(stage, maxima)
    })?;
    Ok(report)
}

//! How large the tensors inside a policy get on a recorded bag, and what of it half precision cannot hold.
//!
//! A bundle of [measured](crate::export::bundle::fill_measured) networks runs on ONNX Runtime in single precision. The
//! bag goes through [`crate::replay`] and [`Session`], as in the node, with a pipeline that only keeps what it is given;
//! then each stage is loaded alone and run on all of it, so that memory holds one stage and running maxima.

use std::path::PathBuf;

use crate::bag::{self, BagReader};
use crate::export::onnx::absmax::{self as networks, Measured};
use crate::parameters::Settings;
use crate::policy::{self, Policy, PolicySpec};
use crate::replay;
use crate::session::{self, Session};
use crate::time::Span;
use crate::{engine, observation};

mod capture;
mod report;
mod stages;

pub use report::{Fp16, Report, StageReport};

/// Events of a replay that a message shows.
const EVENTS_SHOWN: usize = 3;

/// Measuring failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bag.
    #[error(transparent)]
    Bag(#[from] bag::Error),
    /// Replaying it.
    #[error(transparent)]
    Replay(#[from] replay::Error),
    /// The policy's description or encoding.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// Joints of the actions.
    #[error(transparent)]
    Joints(#[from] observation::Error),
    /// Running the networks.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The networks' own description.
    #[error(transparent)]
    Networks(#[from] crate::export::Error),
    /// No observation of the bag was complete.
    #[error(
        "{}: expected observations that the policy can run on, found none{}; set topics, ages and joints in the \
         parameters as the bag has them, and the instruction where the bag has none",
        bag.display(), reasons.iter().map(|reason| format!("\n  {reason}")).collect::<String>()
    )]
    NoObservation {
        /// The bag.
        bag: PathBuf,
        /// What was wrong with the first.
        reasons: Vec<String>,
    },
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

/// What to measure on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bag to take observations from.
    pub bag: PathBuf,
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
    let (observations, host) = observations(spec.clone(), settings, options, progress)?;
    let mut report = Report { bag: options.bag.clone(), observations: observations.len(), stages };
    stages::run(&spec, settings.engine.threads, host, observations, progress, &mut |stage, maxima| {
        report.take(stage, maxima)
    })?;
    Ok(report)
}

/// What encode makes of the bag's observations, and what it offers.
fn observations(
    spec: PolicySpec,
    settings: &Settings,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<capture::Observation>, Vec<crate::tensor::TensorSpec>), Error> {
    let bag = BagReader::open(&options.bag)?;
    let captured = capture::Captured::new(options.observations);
    let mut host = Vec::new();
    let load = &mut |stages: &[engine::Stage], offered: &[_], _: &mut dyn FnMut(policy::Progress)| {
        host = offered.to_vec();
        Ok(captured.pipeline(stages))
    };
    let policy = Policy::load_with(spec, session::load_options(settings), load, &mut |_| {})?;
    // The warm-up on zeros is no observation.
    captured.clear();
    let mut session = Session::new(policy)?;
    // One more than asked for: at the first, most inputs have not come yet.
    let rate_hz = options.observations as f64 / (bag.end() - bag.start()).seconds().max(1e-3);
    let slower = settings.rate_hz <= 0.0 || rate_hz < settings.rate_hz;
    let settings = Settings { rate_hz: if slower { rate_hz } else { settings.rate_hz }, ..settings.clone() };
    let replay_options = replay::Options {
        bag: options.bag.clone(),
        output: options.scratch.join("chunks.mcap"),
        latency: Span::ZERO,
        golden: None,
    };
    let summary = replay::run(&mut session, &settings, &replay_options, &mut |done| progress(Progress::Replay(done)))?;
    let observations = captured.take();
    if observations.is_empty() {
        let events = summary.record.events.iter().take(EVENTS_SHOWN);
        let reasons = events.map(|event| format!("at {}: {}: {}", event.at, event.kind, event.text)).collect();
        return Err(Error::NoObservation { bag: options.bag.clone(), reasons });
    }
    Ok((observations, host))
}

//! The host tensors of a bag's observations: what encode makes of them, in front of the engines.
//!
//! The bag goes through [`crate::replay`] and [`Session`] as in the node, with a pipeline that runs nothing and keeps what
//! it is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::replay;
pub use crate::replay::Source;
use crate::replay::source::Recording;
use vla_bags as bag;
use vla_base::tensor::{DType, HostTensor, TensorSpec};
use vla_base::time::Span;
use vla_engines as engine;
use vla_engines::{BoundInput, EngineKind, Inference, Stage, StageOutput, StageReport, StageTime, Symbols};
use vla_policy as policy;
use vla_policy::observation;
use vla_policy::{LoadOptions, Policy, PolicySpec};
use vla_runtime::parameters::Settings;
use vla_runtime::session;
use vla_runtime::session::Session;

/// Events of a replay that a message shows.
const EVENTS_SHOWN: usize = 3;

/// Recording failed.
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
}

impl Error {
    /// Whether the bag was read to its end and gave no observation.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::NoObservation { .. } => true,
            Self::Replay(error) => error.is_empty(),
            _ => false,
        }
    }
}

/// What was recorded.
pub struct Recorded {
    /// In the bag's order; at least one.
    pub observations: Vec<Observation>,
    /// What the host offers to the stages.
    pub host: Vec<TensorSpec>,
    /// The settings, slowed down to the observations that were asked for.
    pub settings: Settings,
}

/// Replays the bag of `source` as the node with these settings would and keeps at most `most` observations, spread evenly over it.
/// `scratch`: a folder for what is thrown away. `progress`: the fraction of the bag that is read.
///
/// # Errors
/// [`Error`], naming the topic, joint or file.
pub fn observations(
    spec: PolicySpec,
    settings: &Settings,
    source: &Source,
    most: usize,
    scratch: &Path,
    progress: &mut dyn FnMut(f64),
) -> Result<Recorded, Error> {
    let covered = Recording::open(source, settings)?.covered()?;
    let captured = Captured::new(most);
    let mut host = Vec::new();
    let load = &mut |stages: &[Stage], offered: &[_], _: &mut dyn FnMut(policy::Progress)| {
        host = offered.to_vec();
        Ok(captured.pipeline(stages))
    };
    let options = LoadOptions { engine: EngineKind::Onnx, ..session::load_options(settings) };
    let policy = Policy::load(spec, options, load, &mut |_| {})?;
    // The warm-up on zeros is no observation.
    captured.clear();
    let mut session = Session::new(policy)?;
    // One more than asked for: at the first, most inputs have not come yet.
    let rate_hz = most as f64 / covered.seconds().max(1e-3);
    let slower = settings.rate_hz <= 0.0 || rate_hz < settings.rate_hz;
    let rate_hz = if slower { rate_hz } else { settings.rate_hz };
    // The motion is thrown away, so that no joint needs a limit.
    let settings = Settings { rate_hz, allow_unlimited: true, ..settings.clone() };
    let replay_options =
        replay::Options { bag: source.clone(), output: scratch.join("chunks.mcap"), latency: Span::ZERO, golden: None };
    let summary = replay::run(&mut session, &settings, &replay_options, progress)?;
    let observations = captured.take();
    if observations.is_empty() {
        let reasons = summary.record.reasons(EVENTS_SHOWN);
        return Err(Error::NoObservation { bag: source.bag.clone(), reasons });
    }
    Ok(Recorded { observations, host, settings })
}

/// The host tensors of one inference.
#[derive(Clone, Default, Debug)]
pub struct Observation {
    /// Values of the symbolic dimensions.
    pub symbols: Symbols,
    /// Denoising steps.
    pub steps: u32,
    /// By name.
    pub tensors: BTreeMap<String, HostTensor>,
}

/// What was captured.
struct Captured {
    observations: Arc<Mutex<Vec<Observation>>>,
    most: usize,
}

impl Captured {
    /// Keeps at most `most` observations.
    fn new(most: usize) -> Self {
        Self { observations: Arc::default(), most }
    }

    /// A pipeline that adds to these what it is given.
    fn pipeline(&self, stages: &[Stage]) -> Box<dyn Inference> {
        let observations = Arc::clone(&self.observations);
        let inputs = host_inputs(stages);
        Box::new(Capture { observations, most: self.most, inputs, next: Observation::default() })
    }

    /// Forgets all.
    fn clear(&self) {
        locked(&self.observations).clear();
    }

    /// All so far.
    fn take(&self) -> Vec<Observation> {
        std::mem::take(&mut locked(&self.observations))
    }
}

fn locked(observations: &Mutex<Vec<Observation>>) -> MutexGuard<'_, Vec<Observation>> {
    observations.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the stages take from the host: what is described with type and shape and no stage makes.
pub fn host_inputs(stages: &[Stage]) -> Vec<TensorSpec> {
    let mut inputs: Vec<TensorSpec> = Vec::new();
    let made = |name: &str| stages.iter().any(|stage| stage.outputs.iter().any(|output| output.name == name));
    for input in stages.iter().flat_map(|stage| &stage.inputs).filter(|input| input.constants.is_none()) {
        let known = inputs.iter().any(|known| known.name == input.name) || made(&input.name);
        if let (false, Some(dims)) = (known, &input.dims) {
            let dtype = input.dtype.unwrap_or(DType::F32);
            inputs.push(TensorSpec { name: input.name.clone(), dtype, dims: dims.clone() });
        }
    }
    inputs
}

struct Capture {
    observations: Arc<Mutex<Vec<Observation>>>,
    most: usize,
    inputs: Vec<TensorSpec>,
    next: Observation,
}

impl Inference for Capture {
    fn kind(&self) -> &'static str {
        "capture"
    }

    fn prepare(&mut self, symbols: &Symbols, repetitions: u32) -> Result<(), engine::Error> {
        self.next.symbols.clone_from(symbols);
        self.next.steps = repetitions;
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), engine::Error> {
        self.next.tensors.insert(name.to_owned(), tensor.clone());
        Ok(())
    }

    /// Everything comes by [`Run::write`], to be kept.
    fn input_buffer_mut(&mut self, _name: &str) -> Option<&mut [f32]> {
        None
    }

    fn execute(&mut self, _times: &mut [StageTime]) -> Result<(), engine::Error> {
        let mut observations = locked(&self.observations);
        if observations.len() < self.most {
            observations.push(std::mem::take(&mut self.next));
        }
        Ok(())
    }

    fn inspect(&mut self, _see: &mut dyn FnMut(StageOutput<'_>)) -> Result<(), engine::Error> {
        self.execute(&mut [])
    }

    /// Leaves the tensor as it is: the actions are then the noise.
    fn read(&mut self, _name: &str, _tensor: &mut HostTensor) -> Result<(), engine::Error> {
        Ok(())
    }

    fn shapes(&self, _see: &mut dyn FnMut(BoundInput<'_>)) {}

    fn host_inputs(&self) -> Vec<TensorSpec> {
        self.inputs.clone()
    }

    fn tensor(&self, name: &str) -> Option<&TensorSpec> {
        self.inputs.iter().find(|input| input.name == name)
    }

    fn reports(&self) -> &[StageReport] {
        &[]
    }
}

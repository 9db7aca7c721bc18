//! The host tensors of a bag's observations: the output of encode, which is the input of the engines.
//!
//! The bag goes through [`crate::replay`] and [`Session`] as in the node, with a pipeline that records its inputs and runs
//! no network.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::replay;
use crate::replay::source::Recording;
use crate::replay::{Discard, Pace, Source};
use vla_base::tensor::{DType, HostTensor, TensorSpec};
use vla_base::time::Span;
use vla_engines::{BoundInput, EngineKind, Inference, Stage, StageOutput, StageReport, StageTime, Symbols};
use vla_policy::{LoadOptions, Policy, PolicySpec};
use vla_runtime::parameters::Settings;
use vla_runtime::session;
use vla_runtime::session::Session;

/// Events of a replay that a message shows.
const EVENTS_SHOWN: usize = 3;

/// Observations of a bag, as the networks receive them.
pub(crate) struct RecordedObservations {
    /// In the bag's order; at least one.
    pub(crate) observations: Vec<Observation>,
    /// Tensors that the host offers to the stages.
    pub(crate) host: Vec<TensorSpec>,
    /// The settings, with the rate lowered to the number of observations.
    pub(crate) settings: Settings,
}

/// Replays `source` as the node with these settings would and records at most `most` observations, spread
/// evenly over it. `progress` receives the fraction of it that is read.
///
/// # Errors
/// [`Error`], naming the topic, joint or file.
pub(crate) fn record(
    spec: PolicySpec,
    settings: &Settings,
    source: &Source,
    most: usize,
    progress: &mut dyn FnMut(f64),
) -> Result<RecordedObservations, Error> {
    let settings = &source.settings(&spec, settings);
    let recording = Recording::open(source, &spec, settings)?;
    let covered = recording.covered()?;
    let recorder = TensorRecorder::new(most);
    let mut host = Vec::new();
    let load = &mut |stages: &[Stage], offered: &[_], _: &mut dyn FnMut(vla_policy::Progress)| {
        host = offered.to_vec();
        Ok(recorder.pipeline(stages))
    };
    let options = LoadOptions { engine: EngineKind::Onnx, ..session::load_options(settings) };
    let policy = Policy::load(spec, options, load, &mut |_| {})?;
    // The warm-up on zeros is no observation.
    recorder.clear();
    let mut session = Session::new(policy)?;
    // One more than asked for: at the first, most inputs have not come yet.
    let rate_hz = most as f64 / covered.seconds().max(1e-3);
    let slower = settings.rate_hz <= 0.0 || rate_hz < settings.rate_hz;
    let rate_hz = if slower { rate_hz } else { settings.rate_hz };
    // Nothing is moved, so no joint needs a limit.
    let settings = Settings { rate_hz, allow_unlimited: true, ..settings.clone() };
    let replayed = replay::drive(&recording, &mut session, &settings, Span::ZERO, Pace::Even, &mut Discard, progress)?;
    let observations = recorder.take();
    if observations.is_empty() {
        return Err(Error::NoObservation { bag: source.path().to_owned(), reasons: replayed.reasons(EVENTS_SHOWN) });
    }
    Ok(RecordedObservations { observations, host, settings })
}

/// The host tensors of one inference.
#[derive(Clone, Default, Debug)]
pub(crate) struct Observation {
    /// Values of the symbolic dimensions.
    pub(crate) symbols: Symbols,
    /// Denoising steps.
    pub(crate) steps: u32,
    /// By name.
    pub(crate) tensors: BTreeMap<String, HostTensor>,
}

/// Collects the inputs of the pipelines that it makes.
struct TensorRecorder {
    observations: Arc<Mutex<Vec<Observation>>>,
    most: usize,
}

impl TensorRecorder {
    /// Keeps at most `most` observations.
    fn new(most: usize) -> Self {
        Self { observations: Arc::default(), most }
    }

    /// A pipeline that records its inputs here.
    fn pipeline(&self, stages: &[Stage]) -> Box<dyn Inference> {
        let observations = Arc::clone(&self.observations);
        let inputs = host_inputs(stages);
        Box::new(RecordingPipeline { observations, most: self.most, inputs, next: Observation::default() })
    }

    /// Drops all observations.
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

/// Inputs of the stages from the host: those that are described with a shape and are no stage's output.
pub(crate) fn host_inputs(stages: &[Stage]) -> Vec<TensorSpec> {
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

struct RecordingPipeline {
    observations: Arc<Mutex<Vec<Observation>>>,
    most: usize,
    inputs: Vec<TensorSpec>,
    next: Observation,
}

impl Inference for RecordingPipeline {
    fn kind(&self) -> &'static str {
        "recording"
    }

    fn prepare(&mut self, symbols: &Symbols, repetitions: u32) -> Result<(), vla_engines::Error> {
        self.next.symbols.clone_from(symbols);
        self.next.steps = repetitions;
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), vla_engines::Error> {
        self.next.tensors.insert(name.to_owned(), tensor.clone());
        Ok(())
    }

    /// None: every input comes by [`Run::write`], which records it.
    fn input_buffer_mut(&mut self, _name: &str) -> Option<&mut [f32]> {
        None
    }

    fn execute(&mut self, _times: &mut [StageTime]) -> Result<(), vla_engines::Error> {
        let mut observations = locked(&self.observations);
        if observations.len() < self.most {
            observations.push(std::mem::take(&mut self.next));
        }
        Ok(())
    }

    fn inspect(&mut self, _see: &mut dyn FnMut(StageOutput<'_>)) -> Result<(), vla_engines::Error> {
        self.execute(&mut [])
    }

    /// Leaves the tensor unchanged: the actions are then the noise.
    fn read(&mut self, _name: &str, _tensor: &mut HostTensor) -> Result<(), vla_engines::Error> {
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

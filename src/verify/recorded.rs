//! The host tensors of a bag's observations. (Goes when `crate::stagewise` is there.)

use super::Error;
use crate::bag::BagReader;
use crate::parameters::Settings;
use crate::policy::{self, Policy, PolicySpec};
use crate::session::{self, Session};
use crate::time::Span;
use crate::{engine, replay};
use std::path::Path;

pub struct Recorded {
    pub observations: Vec<Observation>,
    pub host: Vec<TensorSpec>,
    pub settings: Settings,
}

pub fn observations(
    spec: PolicySpec,
    settings: &Settings,
    bag_file: &Path,
    most: usize,
    scratch: &Path,
    progress: &mut dyn FnMut(f64),
) -> Result<Recorded, Error> {
    let bag = BagReader::open(bag_file)?;
    let captured = Captured::new(most);
    let mut host = Vec::new();
    let load = &mut |stages: &[engine::Stage], offered: &[_], _: &mut dyn FnMut(policy::Progress)| {
        host = offered.to_vec();
        Ok(captured.pipeline(stages))
    };
    let options = policy::LoadOptions { engine: engine::EngineKind::Onnx, ..session::load_options(settings) };
    let policy = Policy::load_with(spec, options, load, &mut |_| {})?;
    captured.clear();
    let mut session = Session::new(policy)?;
    let rate_hz = most as f64 / (bag.end() - bag.start()).seconds().max(1e-3);
    let slower = settings.rate_hz <= 0.0 || rate_hz < settings.rate_hz;
    let settings = Settings { rate_hz: if slower { rate_hz } else { settings.rate_hz }, ..settings.clone() };
    let replay_options = replay::Options {
        bag: bag_file.to_owned(),
        output: scratch.join("chunks.mcap"),
        latency: Span::ZERO,
        golden: None,
    };
    let summary = replay::run(&mut session, &settings, &replay_options, progress)?;
    let observations = captured.take();
    if observations.is_empty() {
        let events = summary.record.events.iter().take(3);
        let reasons = events.map(|event| format!("at {}: {}: {}", event.at, event.kind, event.text)).collect();
        return Err(Error::NoObservation { bag: bag_file.to_owned(), reasons });
    }
    Ok(Recorded { observations, host, settings })
}

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{BoundInput, Made, Run, Stage, StageReport, StageTime, Symbols};
use crate::tensor::{DType, HostTensor, TensorSpec};

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
pub struct Captured {
    observations: Arc<Mutex<Vec<Observation>>>,
    most: usize,
}

impl Captured {
    /// Keeps at most `most` observations.
    pub fn new(most: usize) -> Self {
        Self { observations: Arc::default(), most }
    }

    /// A pipeline that adds to these what it is given.
    pub fn pipeline(&self, stages: &[Stage]) -> Box<dyn Run> {
        let observations = Arc::clone(&self.observations);
        let inputs = host_inputs(stages);
        Box::new(Capture { observations, most: self.most, inputs, next: Observation::default() })
    }

    /// Forgets all.
    pub fn clear(&self) {
        locked(&self.observations).clear();
    }

    /// All so far.
    pub fn take(&self) -> Vec<Observation> {
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

impl Run for Capture {
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
    fn place(&mut self, _name: &str) -> Option<&mut [f32]> {
        None
    }

    fn execute(&mut self, _times: &mut [StageTime]) -> Result<(), engine::Error> {
        let mut observations = locked(&self.observations);
        if observations.len() < self.most {
            observations.push(std::mem::take(&mut self.next));
        }
        Ok(())
    }

    fn inspect(&mut self, _see: &mut dyn FnMut(Made<'_>)) -> Result<(), engine::Error> {
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

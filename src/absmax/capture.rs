//! A pipeline that runs nothing: it keeps what it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{BoundInput, Error, Made, Run, Stage, StageReport, StageTime, Symbols};
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
fn host_inputs(stages: &[Stage]) -> Vec<TensorSpec> {
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

    fn prepare(&mut self, symbols: &Symbols, repetitions: u32) -> Result<(), Error> {
        self.next.symbols.clone_from(symbols);
        self.next.steps = repetitions;
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error> {
        self.next.tensors.insert(name.to_owned(), tensor.clone());
        Ok(())
    }

    /// Everything comes by [`Run::write`], to be kept.
    fn place(&mut self, _name: &str) -> Option<&mut [f32]> {
        None
    }

    fn execute(&mut self, _times: &mut [StageTime]) -> Result<(), Error> {
        let mut observations = locked(&self.observations);
        if observations.len() < self.most {
            observations.push(std::mem::take(&mut self.next));
        }
        Ok(())
    }

    fn inspect(&mut self, _see: &mut dyn FnMut(Made<'_>)) -> Result<(), Error> {
        self.execute(&mut [])
    }

    /// Leaves the tensor as it is: the actions are then the noise.
    fn read(&mut self, _name: &str, _tensor: &mut HostTensor) -> Result<(), Error> {
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

//! Calibration data of INT8 engines: the inputs of every stage, recorded by running a bag through the policy's networks.
//!
//! The bag goes through the same encode as on the robot and each network runs alone in single precision
//! ([`crate::verify::capture`]); what each was given goes into one `.npz` as `STAGE/TENSOR/0000`, `STAGE/TENSOR/0001`, ...
//! by the networks' own names and in their types, one sample a run: a stage that denoises has one a step.

use std::path::Path;

use crate::Error;
use crate::verify::ReferenceRun;
use vla_base::tensor::{DType, HostTensor};
use vla_engines::Stage;
use vla_engines::onnx::Network;

/// The samples that were written of one stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageSamples {
    /// The stage.
    pub stage: String,
    /// Its runs.
    pub samples: usize,
    /// Inputs of its network.
    pub inputs: usize,
    /// Bytes of all.
    pub bytes: u64,
}

/// Writes the inputs of `stages` to `file`, which appears only once it is complete. `progress`
/// receives the stage, the samples written so far and their number.
///
/// # Errors
/// [`Error`]; nothing is then at the name that was not there before.
pub fn write(
    captured: &ReferenceRun,
    stages: &[Stage],
    file: &Path,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<StageSamples>, Error> {
    let mut needed = 0u64;
    for stage in stages {
        needed = needed.saturating_add(Inputs::of(stage)?.bytes(captured)?);
    }
    let mut arrays = vla_npz::Writer::create_for(file, needed)?;
    let mut all = Vec::with_capacity(stages.len());
    for stage in stages {
        let inputs = Inputs::of(stage)?;
        let runs = captured.runs(stage);
        let mut bytes = 0;
        for (sample, run) in runs.iter().enumerate() {
            for input in &stage.inputs {
                let tensor = inputs.converted(&input.tensor, captured.input(*run, &input.name)?)?;
                bytes += size(&tensor);
                arrays.add(&format!("{}/{}/{sample:04}", stage.name, input.tensor), &tensor)?;
            }
            progress(&stage.name, sample + 1, runs.len());
        }
        all.push(StageSamples { stage: stage.name.clone(), samples: runs.len(), inputs: stage.inputs.len(), bytes });
    }
    arrays.finish()?;
    Ok(all)
}

/// A stage with its network's description.
struct Inputs<'s> {
    stage: &'s Stage,
    network: Network,
}

impl<'s> Inputs<'s> {
    fn of(stage: &'s Stage) -> Result<Self, Error> {
        Ok(Self { stage, network: Network::open(&stage.onnx)? })
    }

    /// Bytes of all samples, by the first.
    fn bytes(&self, captured: &ReferenceRun) -> Result<u64, Error> {
        let runs = captured.runs(self.stage);
        let Some(first) = runs.first() else { return Ok(0) };
        let mut bytes = 0;
        for input in &self.stage.inputs {
            bytes += size(&captured.input(*first, &input.name)?);
        }
        Ok(bytes.saturating_mul(runs.len() as u64))
    }

    /// In the type of the network's input, except that half precision is stored as single: the reader rounds it.
    fn converted(&self, name: &str, tensor: HostTensor) -> Result<HostTensor, Error> {
        let described = self.network.inputs.iter().find(|input| input.name == name);
        let wanted = described.map_or(tensor.dtype(), |input| input.dtype);
        if wanted == tensor.dtype() || (tensor.dtype() == DType::F32 && matches!(wanted, DType::F16 | DType::BF16)) {
            return Ok(tensor);
        }
        let mut target = HostTensor::zeros(wanted, tensor.dims());
        let converted = target.as_mut().is_some_and(|target| tensor.convert_into(target));
        target.filter(|_| converted).ok_or_else(|| Error::Type {
            stage: self.stage.name.clone(),
            tensor: name.to_owned(),
            expected: wanted,
            found: tensor.dtype(),
        })
    }
}

fn size(tensor: &HostTensor) -> u64 {
    (tensor.dims().iter().product::<usize>() * tensor.dtype().size()) as u64
}

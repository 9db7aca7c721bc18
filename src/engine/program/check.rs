//! What surrounds a run: inputs are held against the profiles before, and a failure is told in full after.

use crate::engine::profile::{self, Accepts, EnqueueFailure, TensorShape};
use crate::engine::wiring::{Symbols, Wiring, resolve};
use crate::engine::{Device, Error};

/// Every input of every stage at these values of the symbols, against what its engine takes.
///
/// # Errors
/// [`Error::Profile`] with the first that is outside; [`Error::Symbol`].
pub fn inputs<D: Device>(device: &D, engines: &[D::Engine], wiring: &Wiring, symbols: &Symbols) -> Result<(), Error> {
    for (stage, engine) in wiring.stages.iter().zip(engines) {
        for (name, tensor) in &stage.inputs {
            let described = &wiring.tensors[*tensor].spec;
            let Some(spec) = device.inputs(engine).iter().find(|spec| spec.name == *name) else { continue };
            let accepts = Accepts { spec, profile: device.tensor_profile(engine, name) };
            let dims = resolve(described, symbols)?;
            profile::check(&stage.name, accepts, &described.dims, described.dtype, &dims).map_err(Error::Profile)?;
        }
    }
    Ok(())
}

/// The report of a run that failed. `at`: stage and repetition; `dims`: of every tensor of the pipeline.
pub fn failure<D: Device>(
    device: &D,
    engines: &[D::Engine],
    wiring: &Wiring,
    at: (usize, usize),
    dims: &[Vec<usize>],
    reason: String,
) -> Error {
    let (index, repetition) = at;
    let stage = &wiring.stages[index];
    let shape = |role, name: &str, tensor: usize| TensorShape {
        role,
        name: name.to_owned(),
        dtype: wiring.tensors[tensor].spec.dtype,
        dims: dims.get(tensor).cloned().unwrap_or_default(),
        profile: engines.get(index).and_then(|engine| device.tensor_profile(engine, name)).cloned(),
    };
    let inputs = stage.inputs.iter().map(|(name, tensor)| shape("input", name, *tensor));
    let outputs = stage.outputs.iter().map(|(name, tensor)| shape("output", name, *tensor));
    Error::Enqueue(Box::new(EnqueueFailure {
        stage: stage.name.clone(),
        repetition: stage.repeat.then_some(repetition),
        reason,
        tensors: inputs.chain(outputs).collect(),
        log: device.last_words(),
        proven: stage.proven,
    }))
}

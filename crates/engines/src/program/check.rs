//! What surrounds a run: inputs are held against the profiles before, and a failure is told in full after.

use crate::profile;
use crate::profile::{Accepts, EnqueueFailure, TensorShape};
use crate::wiring::{Joined, Symbols, Wiring, resolve};
use crate::{Device, Error};

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
    Error::Enqueue(Box::new(EnqueueFailure {
        stage: stage.name.clone(),
        repetition: stage.repeat.then_some(repetition),
        reason,
        tensors: shapes(device, engines, wiring, index, dims),
        log: device.last_words(),
        proven: stage.proven,
    }))
}

/// The report of a pass that failed after it was on the device, or as a recording: which stage it was is not known, so
/// every stage's tensors are listed. A lost device stays one, and want of memory stays that.
pub fn pass_failure<D: Device>(
    device: &D,
    engines: &[D::Engine],
    wiring: &Wiring,
    dims: &[Vec<usize>],
    error: Error,
) -> Error {
    let of_stage = |(index, stage): (usize, &Joined)| {
        let mut tensors = shapes(device, engines, wiring, index, dims);
        tensors.iter_mut().for_each(|tensor| tensor.name = format!("{}.{}", stage.name, tensor.name));
        tensors
    };
    let proven = wiring.stages.iter().map(|stage| stage.proven).min().flatten();
    let report = |reason| EnqueueFailure {
        stage: wiring.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join("|"),
        repetition: None,
        reason,
        tensors: wiring.stages.iter().enumerate().flat_map(of_stage).collect(),
        log: device.last_words(),
        proven,
    };
    match error {
        Error::DeviceLost { reason } => Error::DeviceLost { reason: report(reason).to_string() },
        Error::OutOfMemory { action, reason } => Error::OutOfMemory { action, reason: report(reason).to_string() },
        error => Error::Enqueue(Box::new(report(error.to_string()))),
    }
}

/// Every tensor of a stage as it is bound.
fn shapes<D: Device>(
    device: &D,
    engines: &[D::Engine],
    wiring: &Wiring,
    index: usize,
    dims: &[Vec<usize>],
) -> Vec<TensorShape> {
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
    inputs.chain(outputs).collect()
}

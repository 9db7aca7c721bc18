//! Checks inputs against the optimisation profiles before a run, and builds the error report after a failed one.

use crate::graph::{Graph, GraphNode, Role, Symbols, resolve};
use crate::profile;
use crate::profile::{Accepts, EnqueueFailure, TensorShape};
use crate::{Backend, Cause, Error};

/// Checks every input of every stage at these values of the symbols against the profile of its engine.
///
/// # Errors
/// [`Error::Profile`] with the first that is outside; [`Error::Symbol`].
pub(super) fn inputs<B: Backend>(
    backend: &B,
    engines: &[B::Engine],
    graph: &Graph,
    symbols: &Symbols,
) -> Result<(), Error> {
    for (stage, engine) in graph.stages.iter().zip(engines) {
        for (name, tensor) in &stage.inputs {
            let described = &graph.tensors[*tensor].spec;
            let Some(spec) = backend.inputs(engine).iter().find(|spec| spec.name == *name) else { continue };
            let accepts = Accepts { spec, profile: backend.tensor_profile(engine, name) };
            let dims = resolve(described, symbols)?;
            profile::check(&stage.name, accepts, &described.dims, described.dtype, &dims).map_err(Error::Profile)?;
        }
    }
    Ok(())
}

/// Adds the report to the error of a run. `at`: stage and iteration; `dims`: of every tensor of the pipeline.
pub(super) fn failure<B: Backend>(
    backend: &B,
    engines: &[B::Engine],
    graph: &Graph,
    at: (usize, usize),
    dims: &[Vec<usize>],
    error: Error,
) -> Error {
    let (index, iteration) = at;
    let stage = &graph.stages[index];
    with_report(error, true, |source| EnqueueFailure {
        stage: stage.name.clone(),
        iteration: stage.repeat.then_some(iteration),
        source,
        tensors: shapes(backend, engines, graph, index, dims),
        log: backend.log_tail(),
        verified: stage.verified,
    })
}

/// Adds the report to the error of a pass that failed on the device, or as a recording. The stage is not known, so the
/// tensors of every stage are listed.
pub(super) fn pass_failure<B: Backend>(
    backend: &B,
    engines: &[B::Engine],
    graph: &Graph,
    dims: &[Vec<usize>],
    error: Error,
) -> Error {
    let of_stage = |(index, stage): (usize, &GraphNode)| {
        let mut tensors = shapes(backend, engines, graph, index, dims);
        tensors.iter_mut().for_each(|tensor| tensor.name = format!("{}.{}", stage.name, tensor.name));
        tensors
    };
    with_report(error, false, |source| EnqueueFailure {
        stage: graph.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join("|"),
        iteration: None,
        source,
        tensors: graph.stages.iter().enumerate().flat_map(of_stage).collect(),
        log: backend.log_tail(),
        verified: graph.stages.iter().map(|stage| stage.verified).min().flatten(),
    })
}

/// A lost device and a failed allocation keep their variants.
fn with_report(error: Error, is_run: bool, report: impl FnOnce(Cause) -> EnqueueFailure) -> Error {
    match error {
        Error::DeviceLost { source } => Error::DeviceLost { source: report(source).into() },
        Error::OutOfMemory { action, source } => Error::OutOfMemory { action, source: report(source).into() },
        // The report names the stage that ran.
        Error::Device { source, .. } if is_run => Error::Enqueue(Box::new(report(source))),
        error => Error::Enqueue(Box::new(report(error.into()))),
    }
}

/// All bound tensors of a stage.
fn shapes<B: Backend>(
    backend: &B,
    engines: &[B::Engine],
    graph: &Graph,
    index: usize,
    dims: &[Vec<usize>],
) -> Vec<TensorShape> {
    let stage = &graph.stages[index];
    let shape = |role, name: &str, tensor: usize| TensorShape {
        role,
        name: name.to_owned(),
        dtype: graph.tensors[tensor].spec.dtype,
        dims: dims.get(tensor).cloned().unwrap_or_default(),
        profile: engines.get(index).and_then(|engine| backend.tensor_profile(engine, name)).cloned(),
    };
    let inputs = stage.inputs.iter().map(|(name, tensor)| shape(Role::Input, name, *tensor));
    let outputs = stage.outputs.iter().map(|(name, tensor)| shape(Role::Output, name, *tensor));
    inputs.chain(outputs).collect()
}

//! What a list of operations needs for the sizes of one workspace.

use std::sync::Arc;

use super::engine::{Bound, LoadedOperations, Prepared};
use super::{Device, products};
use crate::launch::Launch;
use crate::plan::{Bases, Plan, PlanError, symbols};
use crate::{DeviceBlock, Id, Workspace};
use vla_engines::Error;

/// Tensors of an engine: names, and indices in the workspace.
type Tensors<'t> = &'t [(String, usize)];

/// The plan of a list of operations for one workspace's sizes, and what its launches have addresses of.
pub struct Instance {
    /// Its engine.
    engine: Id,
    plan: Plan,
    /// Dimensions of all values.
    dims: Vec<Vec<usize>>,
    /// For outputs that nobody reads, in the order of the program's outputs.
    unread: Vec<Option<DeviceBlock>>,
    arena: Arc<DeviceBlock>,
    weights: Arc<DeviceBlock>,
    _module: Arc<super::module::Module>,
    _products: products::Products,
}

/// The error of a plan.
pub(super) fn refused(stage: &str) -> impl Fn(PlanError) -> Error {
    let action = format!("planning the operations of stage '{stage}'");
    move |error| Error::Device { action: action.clone(), source: error.into() }
}

impl Device {
    /// Index in `workspace` of the engine's instance, made when it is new.
    fn instance(
        &mut self,
        engine: &LoadedOperations,
        workspace: &mut Workspace<Instance>,
        (inputs, outputs): (Tensors<'_>, Tensors<'_>),
    ) -> Result<usize, Error> {
        if let Some(held) = workspace.contexts.iter().position(|held| held.engine == engine.id) {
            return Ok(held);
        }
        let module = self.module.clone().ok_or_else(|| without_kernels(&engine.stage))?;
        let mut dims = Vec::with_capacity(engine.inputs.len());
        for input in &engine.inputs {
            dims.push(workspace.dims(place(engine, inputs, &input.name)?));
        }
        let symbols = symbols(&engine.program, &dims).map_err(refused(&engine.stage))?;
        let dims =
            engine.program.dims(&symbols).map_err(|reason| refused(&engine.stage)(PlanError::Program(reason)))?;
        // The stream is empty before algorithms are measured, and after: they share the arena's memory with nothing.
        self.cuda().wait()?;
        let plan = self.products.plan(self.queue.cuda(), &module, engine, &symbols)?;
        tracing::debug!(stage = %engine.stage, plan = %plan.summary(), "planned");
        let arena = self.arena(plan.arena_bytes())?;
        let mut unread = Vec::with_capacity(engine.outputs.len());
        for (at, output) in engine.outputs.iter().enumerate() {
            let read = outputs.iter().any(|(name, _)| *name == output.name);
            let bytes = bytes(engine, &dims, engine.program.outputs[at]);
            unread.push(if read { None } else { Some(DeviceBlock::zeroed(self.queue.cuda(), bytes)?) });
        }
        workspace.contexts.push(Instance {
            engine: engine.id,
            plan,
            dims,
            unread,
            arena,
            weights: Arc::clone(&engine.weights),
            _module: module,
            _products: self.products.clone(),
        });
        Ok(workspace.contexts.len() - 1)
    }

    /// Binds an engine: its launches with the addresses of these tensors.
    pub(super) fn bound(
        &mut self,
        engine: &LoadedOperations,
        workspace: &mut Workspace<Instance>,
        inputs: Tensors<'_>,
        outputs: Tensors<'_>,
    ) -> Result<Bound, Error> {
        let at = self.instance(engine, workspace, (inputs, outputs))?;
        let instance = &workspace.contexts[at];
        let address = |value: usize, place: usize| {
            let (needed, found) = (bytes(engine, &instance.dims, value), workspace.bytes(place));
            if needed > found {
                return Err(Error::Device {
                    action: format!(
                        "binding tensor '{}' of stage '{}'",
                        engine.program.values[value].name, engine.stage
                    ),
                    source: format!("it has {needed} bytes, its buffer {found}").into(),
                });
            }
            Ok(workspace.address(place))
        };
        let mut read = Vec::with_capacity(engine.inputs.len());
        for (input, value) in engine.inputs.iter().zip(&engine.program.inputs) {
            read.push(address(*value, place(engine, inputs, &input.name)?)?);
        }
        let mut written = Vec::with_capacity(engine.outputs.len());
        for ((output, value), unread) in engine.outputs.iter().zip(&engine.program.outputs).zip(&instance.unread) {
            written.push(match (place(engine, outputs, &output.name), unread) {
                (Ok(place), _) => address(*value, place)?,
                (Err(_), Some(block)) => block.address(),
                (Err(error), None) => return Err(error),
            });
        }
        let bases = Bases {
            weights: instance.weights.address(),
            arena: instance.arena.address(),
            inputs: &read,
            outputs: &written,
        };
        let launches = instance.plan.launches(&bases).map_err(refused(&engine.stage))?;
        let module = self.module.clone().ok_or_else(|| without_kernels(&engine.stage))?;
        let prepared = launches.into_iter().map(|launch| match launch {
            Launch::Kernel { kernel, arguments } => Ok(Prepared::Kernel(module.prepare(kernel, arguments)?)),
            Launch::Product(product) => {
                Ok(Prepared::Product(self.products.prepare(&engine.tactics.borrow().choices, product)?))
            }
        });
        Ok(Bound { workspace: workspace.id(), launches: prepared.collect::<Result<_, Error>>()? })
    }
}

/// `verify` refuses such a stage before it is loaded.
fn without_kernels(stage: &str) -> Error {
    let action = format!("binding stage '{stage}'");
    Error::Device { action, source: "this program has no kernels for the GPU".into() }
}

/// Index in the workspace of a tensor.
fn place(engine: &LoadedOperations, tensors: Tensors<'_>, name: &str) -> Result<usize, Error> {
    let found = tensors.iter().find(|(tensor, _)| tensor == name).map(|(_, place)| *place);
    found.ok_or_else(|| Error::Device {
        action: format!("binding stage '{}'", engine.stage),
        source: format!("its tensor '{name}' has no buffer").into(),
    })
}

/// Bytes of a value.
fn bytes(engine: &LoadedOperations, dims: &[Vec<usize>], value: usize) -> usize {
    dims[value].iter().fold(engine.program.values[value].dtype.size(), |bytes, size| bytes.saturating_mul(*size))
}

//! The check that prevents undefined behaviour by buffers that are too small.

use super::engine::InstanceContext;
use super::{LoadedEngine, Tensorrt};
use vla_cuda::Workspace;
use vla_engines::Error;

impl Tensorrt {
    /// Refuses a buffer that is smaller than the shape that the context has for its tensor.
    pub(super) fn check_buffers(
        engine: &LoadedEngine,
        workspace: &Workspace<InstanceContext>,
        at: usize,
        tensors: &[(String, usize)],
    ) -> Result<(), Error> {
        let context = &workspace.contexts[at].context;
        for (tensor, index) in tensors {
            let mut specs = engine.inputs.iter().chain(&engine.outputs);
            let size = specs.find(|spec| spec.name == *tensor).map_or(1, |spec| spec.dtype.size());
            let dims = context.shape(tensor)?;
            let mut extents = dims.iter().map(|extent| usize::try_from(*extent).ok());
            let needed = extents.try_fold(size, |bytes, extent| bytes.checked_mul(extent?));
            let found = workspace.bytes(*index);
            if needed.is_none_or(|needed| needed > found) {
                return Err(Error::Device {
                    action: format!("binding tensor '{tensor}' of engine '{}'", engine.stage),
                    source: format!("its shape {dims:?} does not fit its buffer of {found} bytes").into(),
                });
            }
        }
        Ok(())
    }
}

//! Checks that prevent undefined behaviour by calls in the wrong order or with objects of different owners.

use super::{LoadedEngine, Tensorrt};
use crate::workspace::Workspace;
use vla_engines::{Backend as _, Error};

impl Tensorrt {
    /// Refuses a buffer that is smaller than the shape that the context has for its tensor.
    pub(super) fn check_buffers(
        engine: &LoadedEngine,
        workspace: &Workspace,
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

    /// Refuses a workspace of another device, and any other workspace during a capture.
    pub(super) fn check_workspace(&self, workspace: &Workspace, action: &str) -> Result<(), Error> {
        let reason = match self.capturing {
            _ if workspace.device() != self.id => "the workspace is of another device",
            Some(captured) if captured != workspace.id() => "another workspace is being captured",
            _ => return Ok(()),
        };
        Err(Error::Device { action: action.to_owned(), source: reason.into() })
    }

    /// Waits for started work, before the host accesses memory that the GPU uses.
    pub(super) fn wait_if_busy(&mut self) -> Result<(), Error> {
        if self.busy && self.capturing.is_none() {
            self.finish()?;
        }
        Ok(())
    }
}

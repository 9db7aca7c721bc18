//! What keeps calls in the wrong order, or with parts that do not belong together, from becoming undefined behaviour.

use super::{Plan, Tensorrt};
use crate::workspace::Workspace;
use vla_engines::{Device as _, Error};

impl Tensorrt {
    /// Whether the place of each tensor is as large as the shape that the context has of it.
    pub(super) fn check_places(
        plan: &Plan,
        workspace: &Workspace,
        at: usize,
        tensors: &[(String, usize)],
    ) -> Result<(), Error> {
        let context = &workspace.contexts[at].context;
        for (tensor, index) in tensors {
            let mut specs = plan.inputs.iter().chain(&plan.outputs);
            let size = specs.find(|spec| spec.name == *tensor).map_or(1, |spec| spec.dtype.size());
            let dims = context.shape(tensor)?;
            let mut extents = dims.iter().map(|extent| usize::try_from(*extent).ok());
            let needed = extents.try_fold(size, |bytes, extent| bytes.checked_mul(extent?));
            let found = workspace.bytes(*index);
            if needed.is_none_or(|needed| needed > found) {
                return Err(Error::Device {
                    action: format!("binding tensor '{tensor}' of engine '{}'", plan.stage),
                    reason: format!("its shape {dims:?} does not fit its place of {found} bytes"),
                });
            }
        }
        Ok(())
    }

    /// Refuses a workspace of another device, and one that is not being captured while another one is.
    pub(super) fn check_workspace(&self, workspace: &Workspace, action: &str) -> Result<(), Error> {
        let reason = match self.capturing {
            _ if workspace.device() != self.id => "the workspace is of another device",
            Some(captured) if captured != workspace.id() => "another workspace is being captured",
            _ => return Ok(()),
        };
        Err(Error::Device { action: action.to_owned(), reason: reason.to_owned() })
    }

    /// Waits for what was started and not waited for, before the host touches memory that the GPU uses.
    pub(super) fn wait_if_busy(&mut self) -> Result<(), String> {
        if self.busy && self.capturing.is_none() {
            self.finish().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

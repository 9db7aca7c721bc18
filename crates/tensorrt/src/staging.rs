//! Tensors put on the device for somebody else to read: what a calibration gives the builder.

use super::cuda::Cuda;
use super::id::Id;
use super::workspace::Workspace;
use vla_base::tensor::HostTensor;
use vla_engines::{Error, Placement};

/// Tensors of fixed shapes on the device, written from the host.
pub struct Staging {
    workspace: Workspace,
    cuda: Cuda,
}

impl Staging {
    /// Room for all tensors, zeroed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn new(cuda: &Cuda, tensors: &[Placement]) -> Result<Self, Error> {
        // Of no device: nothing runs on it.
        Ok(Self { workspace: Workspace::new(cuda, Id::new(), tensors, 0, false)?, cuda: cuda.clone() })
    }

    /// Where a tensor lies on the device.
    pub fn address(&self, index: usize) -> u64 {
        self.workspace.address(index)
    }

    /// Puts a tensor where [`Self::upload`] takes it.
    ///
    /// # Errors
    /// The size that is expected.
    pub fn write(&mut self, index: usize, tensor: &HostTensor) -> Result<(), String> {
        self.workspace.write(&self.cuda, index, tensor)
    }

    /// Moves everything that was written to the device, and waits for it.
    ///
    /// # Errors
    /// The driver's words.
    pub fn upload(&mut self) -> Result<(), String> {
        let moved = self.cuda.enter().and_then(|()| self.workspace.upload(&self.cuda)).and_then(|()| self.cuda.wait());
        moved.map_err(|error| error.to_string())
    }
}

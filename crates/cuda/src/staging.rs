//! Tensors on the device that another library reads, such as TensorRT's builder during calibration.

use super::driver::Cuda;
use super::id::Id;
use super::workspace::Workspace;
use vla_base::tensor::HostTensor;
use vla_engines::{BufferSpec, Error};

/// Tensors of fixed shapes on the device, written from the host.
pub struct Staging {
    workspace: Workspace<()>,
    cuda: Cuda,
}

impl Staging {
    /// Allocates and clears all tensors.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn new(cuda: &Cuda, buffers: &[BufferSpec]) -> Result<Self, Error> {
        // The id belongs to no device: nothing runs on this workspace.
        Ok(Self { workspace: Workspace::new(cuda, Id::new(), buffers, 0, false)?, cuda: cuda.clone() })
    }

    /// Address of a tensor on the device.
    pub fn address(&self, index: usize) -> u64 {
        self.workspace.address(index)
    }

    /// Copies a tensor into the buffer of the next [`Self::upload`].
    ///
    /// # Errors
    /// [`Error::BufferSize`].
    pub fn write(&mut self, index: usize, tensor: &HostTensor) -> Result<(), Error> {
        self.workspace.write(&self.cuda, index, tensor)
    }

    /// Copies everything that was written to the device, and waits for it.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::DeviceLost`].
    pub fn upload(&mut self) -> Result<(), Error> {
        self.cuda.enter()?;
        self.workspace.upload(&self.cuda)?;
        self.cuda.wait()
    }
}

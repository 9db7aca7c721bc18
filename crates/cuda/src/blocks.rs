//! Owned blocks of device memory and of page-locked host memory, allocated once.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys;
use cudarc::driver::{CudaContext, result};

use super::driver::{Cuda, failed};
use vla_engines::Error;

/// Alignment of tensors inside a block, as TensorRT requires.
pub const ALIGNMENT: usize = 256;

/// Device memory.
pub struct DeviceBlock {
    address: u64,
    bytes: usize,
    context: Arc<CudaContext>,
}

impl DeviceBlock {
    /// Allocates `bytes` zeroed bytes; at least one, so that every block has an address.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn zeroed(cuda: &Cuda, bytes: usize) -> Result<Self, Error> {
        cuda.enter()?;
        let bytes = bytes.max(1);
        // SAFETY: the context is current. The address is owned by the value made here and freed when it is dropped.
        let address = unsafe { result::malloc_sync(bytes) }
            .map_err(failed(&format!("allocating {:.1} MiB of device memory", bytes as f64 / 1048576.0)))?;
        let block = Self { address, bytes, context: Arc::clone(cuda.context()) };
        // SAFETY: the block is that long.
        unsafe { result::memset_d8_sync(address, 0, bytes) }.map_err(failed("clearing device memory"))?;
        // The driver may clear in the background, and a stream of ours does not wait for its default stream.
        result::ctx::synchronize().map_err(failed("clearing device memory"))?;
        Ok(block)
    }

    /// Device address of the first byte.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceBlock {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: allocated by malloc_sync, freed once. Whatever still ran on it was waited for: cuMemFree does.
        self.context.record_err(unsafe { result::free_sync(self.address) });
    }
}

/// Page-locked host memory: the GPU copies from and to it asynchronously, or accesses it in place.
pub struct PinnedBlock {
    pointer: *mut u8,
    bytes: usize,
    context: Arc<CudaContext>,
}

// SAFETY: the block owns its memory and hands it out by `&self` and `&mut self` only.
unsafe impl Send for PinnedBlock {}

impl PinnedBlock {
    /// Allocates `bytes` zeroed bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn zeroed(cuda: &Cuda, bytes: usize) -> Result<Self, Error> {
        cuda.enter()?;
        let bytes = bytes.max(1);
        let flags = sys::CU_MEMHOSTALLOC_DEVICEMAP;
        let action = format!("allocating {:.1} MiB of page-locked memory", bytes as f64 / 1048576.0);
        // SAFETY: the context is current. The pointer is owned by the value made here and freed when it is dropped.
        let pointer = unsafe { result::malloc_host(bytes, flags) }.map_err(failed(&action))?.cast::<u8>();
        // SAFETY: freshly allocated, that long.
        unsafe { pointer.write_bytes(0, bytes) };
        Ok(Self { pointer, bytes, context: Arc::clone(cuda.context()) })
    }

    /// The content.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: initialised, owned, and written by the host by `&mut self` only. The GPU writes it between
        // `download` and `finish` alone, and `finish` comes before every read.
        unsafe { std::slice::from_raw_parts(self.pointer, self.bytes) }
    }

    /// The content, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above; the GPU reads it between `upload` and `finish` alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.bytes) }
    }

    /// Device address of this memory, for access without a copy.
    ///
    /// # Errors
    /// [`Error::Device`] where a device cannot map host memory.
    pub fn device_address(&self) -> Result<u64, Error> {
        let mut address = 0;
        // SAFETY: the pointer is of a mapped allocation; one address is written.
        unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut address, self.pointer.cast::<c_void>(), 0) }
            .result()
            .map_err(failed("mapping page-locked memory"))?;
        Ok(address)
    }
}

impl Drop for PinnedBlock {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: allocated by malloc_host, freed once.
        self.context.record_err(unsafe { result::free_host(self.pointer.cast()) });
    }
}

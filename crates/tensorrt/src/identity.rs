//! Identity of this device, as stored in engine records.

use std::path::Path;

use super::Library;
use vla_cuda::driver::Cuda;
use vla_engines::Error;
use vla_engines::provenance::{DeviceIdentity, board, driver, l4t};

/// The device, its driver and the opened TensorRT.
///
/// # Errors
/// [`Error::Device`] with the driver's error.
pub fn identity(cuda: &Cuda, library: &Library) -> Result<DeviceIdentity, Error> {
    let properties = cuda.properties()?;
    let (major, minor) = properties.compute_capability;
    let cuda = format!("{}.{}", properties.driver / 1000, properties.driver % 1000 / 10);
    let root = Path::new("/");
    Ok(DeviceIdentity {
        tensorrt: library.record_name(),
        gpu: properties.name,
        sm_version: format!("{major}.{minor}"),
        sm_count: properties.multiprocessors,
        driver: driver(root).unwrap_or_else(|| cuda.clone()),
        cuda,
        l4t: l4t(root),
        board: board(root),
    })
}

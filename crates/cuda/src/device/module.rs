//! The compiled kernels in a device's context, and their launches.

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Device, CUfunction_attribute_enum as Function, CUresult};
use cudarc::driver::{CudaContext, DriverError, result};

use crate::driver::{Cuda, Properties, failed};
use crate::kernels::{self, Configuration, Limits};
use crate::launch::{Arguments, Element, Kernel, Parameters, TensorMap, TensorTile, Tiles};
use vla_engines::{Error, RuntimeLibrary};

/// CUDA version of the oldest driver that is used: kernels are launched with attributes, which older ones do not know.
const OLDEST_DRIVER: u32 = 12_000;
/// CUDA version of the oldest driver that captures programmatic launches.
const PROGRAMMATIC_DRIVER: u32 = 12_030;
/// Compute capability from which on a kernel may start before the one before it has ended.
const PROGRAMMATIC: (u32, u32) = (9, 0);
/// Environment variable: with 0 every kernel waits for the launch before, for comparisons.
const SWITCH: &str = "VLA_TRT_CUDA_PROGRAMMATIC";
/// Compute capability from which on blocks can be launched in clusters.
const CLUSTERS: (u32, u32) = (9, 0);
/// The one compute capability with a warpgroup's multiplications; its kernels are compiled for sm_90a.
const WARPGROUPS: (u32, u32) = (9, 0);
/// Environment variable: with 0 no product is computed by them, to find a fault.
const WARPGROUPS_SWITCH: &str = "VLA_TRT_CUDA_TENSOR_PRODUCTS";

/// Refuses a driver that is too old, before anything of it is called that it may not have.
///
/// # Errors
/// [`Error::Library`] with both versions.
pub(super) fn check_driver(properties: &Properties) -> Result<(), Error> {
    if properties.driver >= OLDEST_DRIVER {
        return Ok(());
    }
    let version = |driver: u32| format!("{}.{}", driver / 1000, driver % 1000 / 10);
    let (expected, found) = (version(OLDEST_DRIVER), version(properties.driver));
    let source =
        format!("expected a driver for CUDA {expected} or newer, found one for CUDA {found}; update the driver");
    Err(Error::Library { library: RuntimeLibrary::Cuda, source: source.into() })
}

/// What a driver answers that is older than the compiler of the kernels.
const TOO_OLD: [CUresult; 4] = [
    CUresult::CUDA_ERROR_INVALID_IMAGE,
    CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU,
    CUresult::CUDA_ERROR_INVALID_SOURCE,
    CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
];

/// The error of loading kernels.
fn refused(error: DriverError, properties: &Properties) -> Error {
    if !TOO_OLD.contains(&error.0) {
        return failed("loading the kernels")(error);
    }
    older(properties, &error.to_string())
}

/// The driver does not know the kernels' format.
fn older(properties: &Properties, reason: &str) -> Error {
    let (major, minor) = properties.compute_capability;
    let source = format!(
        "the driver (CUDA {}.{}) refuses the kernels for compute capability {major}.{minor} that this program was built with: update \
         the driver, or build the program with the nvcc of the driver's CUDA version: {reason}",
        properties.driver / 1000,
        properties.driver % 1000 / 10
    );
    Error::Library { library: RuntimeLibrary::Cuda, source: source.into() }
}

/// The kernels, loaded in a device's context.
pub struct Module {
    raw: sys::CUmodule,
    functions: Mutex<HashMap<&'static str, sys::CUfunction>>,
    limits: Limits,
    /// Whether kernels are launched before the one before has ended; they wait themselves.
    programmatic: bool,
    context: Arc<CudaContext>,
}

// SAFETY: a module and its functions may be used from any thread in which the context is current.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads the kernels for the device.
    ///
    /// # Errors
    /// [`Error::Library`] when the driver is older than the kernels; [`Error::Device`].
    pub fn load(cuda: &Cuda, properties: &Properties, image: &[u8]) -> Result<Self, Error> {
        cuda.enter()?;
        // The driver reads the image as an ELF file, whose headers are aligned.
        let mut aligned = vec![0_u64; image.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut aligned)[..image.len()].copy_from_slice(image);
        // SAFETY: a whole image, as the compiler made it, for the duration of the call.
        let raw = unsafe { result::module::load_data(aligned.as_ptr().cast::<c_void>()) }
            .map_err(|error| refused(error, properties))?;
        let attribute = Device::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let context = Arc::clone(cuda.context());
        let able = properties.compute_capability >= PROGRAMMATIC && properties.driver >= PROGRAMMATIC_DRIVER;
        let programmatic = able && std::env::var_os(SWITCH).is_none_or(|value| value != "0");
        let clusters = properties.compute_capability >= CLUSTERS;
        let wanted = std::env::var_os(WARPGROUPS_SWITCH).is_none_or(|value| value != "0");
        let warpgroups = wanted && properties.compute_capability == WARPGROUPS;
        let limits = Limits { multiprocessors: properties.multiprocessors, shared: 0, clusters, warpgroups };
        let mut made = Self { raw, functions: Mutex::default(), limits, programmatic, context };
        let shared = made.context.attribute(attribute).map_err(failed("asking for the device's properties"))?;
        made.limits.shared = u32::try_from(shared).unwrap_or_default();
        Ok(made)
    }

    /// What the device lets a kernel have.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A kernel's function, allowed all shared memory of a block.
    fn function(&self, name: &'static str) -> Result<sys::CUfunction, Error> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(*function);
        }
        let action = format!("looking up the kernel '{name}'");
        let c_name =
            CString::new(name).map_err(|error| Error::Device { action: action.clone(), source: error.into() })?;
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(self.raw, c_name) }.map_err(failed(&action))?;
        let mut fixed: c_int = 0;
        let (shared, most) =
            (Function::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, Function::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
        // SAFETY: writes one int; the function is of a loaded module.
        unsafe { sys::cuFuncGetAttribute(&raw mut fixed, shared, function) }.result().map_err(failed(&action))?;
        let rest = c_int::try_from(self.limits.shared).unwrap_or_default() - fixed;
        // SAFETY: as above.
        unsafe { sys::cuFuncSetAttribute(function, most, rest) }.result().map_err(failed(&action))?;
        functions.insert(name, function);
        Ok(function)
    }

    /// A launch with everything looked up.
    ///
    /// # Errors
    /// [`Error::Device`] when the kernel is not there, or does not take such sizes.
    pub(super) fn prepare(self: &Arc<Self>, kernel: Kernel, arguments: Arguments) -> Result<PreparedKernel, Error> {
        self.prepare_within(kernel, arguments, self.limits)
    }

    /// The same on a device that lets a kernel have no more than this.
    ///
    /// # Errors
    /// As without.
    pub fn prepare_within(
        self: &Arc<Self>,
        kernel: Kernel,
        arguments: Arguments,
        limits: Limits,
    ) -> Result<PreparedKernel, Error> {
        let configuration = kernels::configuration(kernel, &arguments, limits)
            .map_err(|error| Error::Device { action: "preparing a kernel".to_owned(), source: error.into() })?;
        let function = self.function(configuration.function)?;
        let parameters = Parameters::new(kernel, arguments, tensor_map)?;
        Ok(PreparedKernel { function, parameters, configuration, module: Arc::clone(self) })
    }
}

/// The driver's map of a matrix in 16 bits.
fn tensor_map(element: Element, tiles: &Tiles) -> Result<TensorMap, Error> {
    let Tiles { matrix, rows, columns, tile_rows } = *tiles;
    let data_type = match element {
        Element::BF16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        _ => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    };
    let size = [u64::from(columns.unsigned_abs()), u64::from(rows.unsigned_abs())];
    let (strides, steps) = ([matrix.stride.unsigned_abs() * 2], [1, 1]);
    let tile = [TensorTile::CHANNELS, tile_rows];
    let mut map = TensorMap::default();
    // SAFETY: writes the map, of its size and alignment; reads arrays of two, and one stride. The matrix itself is not read.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            (&raw mut map).cast(),
            data_type,
            2,
            matrix.address as *mut c_void,
            size.as_ptr(),
            strides.as_ptr(),
            tile.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()
    .map_err(failed("describing a matrix to the tensor memory accelerator"))?;
    Ok(map)
}

impl Drop for Module {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: loaded once, unloaded once; what launched its kernels waits for the stream before it is freed (`Workspace`).
        self.context.record_err(unsafe { result::module::unload(self.raw) });
    }
}

/// A kernel with its arguments and sizes.
pub struct PreparedKernel {
    function: sys::CUfunction,
    parameters: Parameters,
    configuration: Configuration,
    module: Arc<Module>,
}

// SAFETY: a function may be launched from any thread in which the context is current.
unsafe impl Send for PreparedKernel {}

impl PreparedKernel {
    /// Puts the kernel on the stream. `early`: where the device can, it starts before the launch in front of it has ended, and waits
    /// itself.
    ///
    /// # Safety
    /// The addresses in its arguments are of memory on the device, as large as they say, which lives until the stream is done; the
    /// context is current.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::DeviceLost`].
    pub unsafe fn enqueue(&self, stream: sys::CUstream, early: bool) -> Result<(), Error> {
        let Configuration { grid, block, cluster, shared, .. } = self.configuration;
        let mut attributes = [
            sys::CUlaunchAttribute {
                id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                pad: [0; 4],
                value: sys::CUlaunchAttributeValue {
                    clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: cluster, y: 1, z: 1 },
                },
            },
            sys::CUlaunchAttribute {
                id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                pad: [0; 4],
                value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
            },
        ];
        let clustered = cluster > 1;
        let used = &mut attributes[usize::from(!clustered)..];
        let config = sys::CUlaunchConfig {
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: block[0],
            blockDimY: block[1],
            blockDimZ: block[2],
            sharedMemBytes: shared,
            hStream: stream,
            attrs: used.as_mut_ptr(),
            numAttrs: c_uint::from(clustered) + c_uint::from(early && self.module.programmatic),
        };
        let mut parameters = [self.parameters.raw().0.cast_mut()];
        // SAFETY: the function is of a loaded module, which `module` keeps; it takes one structure by value, which is copied during the
        // call; the rest is the caller's.
        unsafe { sys::cuLaunchKernelEx(&raw const config, self.function, parameters.as_mut_ptr(), ptr::null_mut()) }
            .result()
            .map_err(failed("launching a kernel"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(driver: u32) -> Properties {
        Properties { name: "Orin".into(), compute_capability: (8, 7), multiprocessors: 8, integrated: true, driver }
    }

    #[test]
    fn a_driver_of_before_cuda_12_is_refused_with_both_versions() {
        let error = check_driver(&properties(11_040)).expect_err("too old");
        let Error::Library { library: RuntimeLibrary::Cuda, source } = error else { panic!("{error}") };
        assert!(source.to_string().contains("12.0") && source.to_string().contains("11.4"), "{source}");
        assert!(check_driver(&properties(12_020)).is_ok());
    }

    #[test]
    fn kernels_that_are_newer_than_the_driver_are_an_error_of_the_driver_with_its_version() {
        let error = older(&properties(12_060), "CUDA_ERROR_INVALID_IMAGE");
        let Error::Library { library: RuntimeLibrary::Cuda, source } = error else { panic!("{error}") };
        for words in ["12.6", "8.7", "CUDA_ERROR_INVALID_IMAGE", "update the driver"] {
            assert!(source.to_string().contains(words), "{words}: {source}");
        }
        assert!(!TOO_OLD.contains(&CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    }
}

//! CUDA's driver: one context, one stream, timing events, classified errors.
//!
//! `libcuda` is opened at run time by cudarc, which panics when it is missing: [`Cuda::open`] checks first.

use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUresult};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError};

use vla_engines::memory::Pool;
use vla_engines::{Error, ErrorClass, RuntimeLibrary};

/// Errors after which every call of the process's context fails: illegal addresses, traps, lost hardware.
const STICKY: [CUresult; 14] = [
    CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
    CUresult::CUDA_ERROR_LAUNCH_TIMEOUT,
    CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED,
    CUresult::CUDA_ERROR_ASSERT,
    CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR,
    CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION,
    CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
    CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE,
    CUresult::CUDA_ERROR_INVALID_PC,
    CUresult::CUDA_ERROR_LAUNCH_FAILED,
    CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
    CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE,
    CUresult::CUDA_ERROR_SYSTEM_NOT_READY,
    CUresult::CUDA_ERROR_UNKNOWN,
];

/// The error of a driver call, classified: out of memory, device lost, or another failure of `action`.
pub fn failed(action: &str) -> impl FnOnce(DriverError) -> Error {
    let action = action.to_owned();
    move |error| match class(error.0) {
        ErrorClass::DoesNotFit => Error::OutOfMemory { action, source: words(error).into() },
        ErrorClass::DeviceLost => Error::DeviceLost { source: format!("{action}: {}", words(error)).into() },
        _ => Error::Device { action, source: words(error).into() },
    }
}

/// What a driver's error means for the engines.
fn class(code: CUresult) -> ErrorClass {
    match code {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => ErrorClass::DoesNotFit,
        code if STICKY.contains(&code) => ErrorClass::DeviceLost,
        _ => ErrorClass::Other,
    }
}

/// The driver's name of an error and its description.
fn words(error: DriverError) -> String {
    let text = |words: Result<&std::ffi::CStr, DriverError>| {
        words.map(|words| words.to_string_lossy().into_owned()).unwrap_or_default()
    };
    format!("{} ({}, CUDA error {})", text(error.error_string()), text(error.error_name()), error.0 as u32)
}

/// A device's context and the one stream that everything runs on.
#[derive(Clone)]
pub struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
}

/// What the driver says about the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Properties {
    /// Marketing name, e.g. `Orin`.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Whether it shares the host's memory.
    pub integrated: bool,
    /// CUDA version that the driver supports, e.g. 12020 for 12.2.
    pub driver: u32,
}

/// Memory available now on this machine and its GPU; `None` without a driver. Loads no engine and no library of a runtime.
pub fn memory_here() -> Option<Pool> {
    let cuda = Cuda::open().ok()?;
    let integrated = cuda.properties().ok()?.integrated;
    Some(cuda.pool(integrated))
}

impl Cuda {
    /// Opens the first device.
    ///
    /// # Errors
    /// [`Error::Library`] when there is no CUDA driver, [`Error::Device`] when it has no device.
    pub fn open() -> Result<Self, Error> {
        // SAFETY: opens and closes a library; nothing else of CUDA has been called that it could disturb.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::Library {
                library: RuntimeLibrary::Cuda,
                source: "libcuda.so.1 is not on the loader's path".into(),
            });
        }
        let context = CudaContext::new(0).map_err(failed("opening the first CUDA device"))?;
        let stream = context.new_stream().map_err(failed("creating a CUDA stream"))?;
        Ok(Self { context, stream })
    }

    /// Makes the context current in this thread: TensorRT uses the current context.
    ///
    /// # Errors
    /// [`Error::Device`] with the driver's message.
    pub fn enter(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(failed("entering the CUDA context"))
    }

    /// The context, for owners of its memory.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Waits until everything on the stream is done.
    ///
    /// # Errors
    /// The error of the work on the stream.
    pub fn wait(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(failed("waiting for the GPU"))
    }

    /// Free and total bytes, as the driver counts them.
    ///
    /// # Errors
    /// [`Error::Device`] with the driver's message.
    pub fn memory(&self) -> Result<(u64, u64), Error> {
        let (free, total) = self.context.mem_get_info().map_err(failed("asking for free device memory"))?;
        Ok((free as u64, total as u64))
    }

    /// Memory that engines could take now; `integrated`: the device shares the host's memory.
    pub fn pool(&self, integrated: bool) -> Pool {
        let device = self.memory().ok();
        Pool {
            device_free: device.map(|(free, _)| free),
            device_total: device.map(|(_, total)| total),
            integrated,
            ..Pool::host()
        }
    }

    /// Whether the driver knows an address: memory that it allocated, or host memory registered with it.
    pub fn knows(&self, address: usize) -> bool {
        let mut kind = 0u32;
        let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
        // SAFETY: writes one unsigned int; any address is allowed, an unknown one gives an error code.
        let status =
            unsafe { sys::cuPointerGetAttribute((&raw mut kind).cast(), attribute, address as sys::CUdeviceptr) };
        status == CUresult::CUDA_SUCCESS
    }

    /// What the driver says about the device.
    ///
    /// # Errors
    /// [`Error::Device`] with the driver's message.
    pub fn properties(&self) -> Result<Properties, Error> {
        let ask = || -> Result<Properties, DriverError> {
            let number = |attribute| Ok(u32::try_from(self.context.attribute(attribute)?).unwrap_or_default());
            let (major, minor) = self.context.compute_capability()?;
            let mut driver = 0;
            // SAFETY: writes one int.
            unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result()?;
            Ok(Properties {
                name: self.context.name()?,
                compute_capability: (
                    u32::try_from(major).unwrap_or_default(),
                    u32::try_from(minor).unwrap_or_default(),
                ),
                multiprocessors: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                integrated: number(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0,
                driver: u32::try_from(driver).unwrap_or_default(),
            })
        };
        ask().map_err(failed("asking for the device's properties"))
    }

    /// An event that keeps its time.
    ///
    /// # Errors
    /// [`Error::Device`] with the driver's message.
    pub fn event(&self) -> Result<CudaEvent, Error> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        self.context.new_event(Some(flags)).map_err(failed("creating a CUDA event"))
    }

    /// Records `event` at the end of the stream. `captured`: the stream is being captured, and the event shall be
    /// recorded at each replay.
    ///
    /// # Errors
    /// [`Error::Device`] with the driver's message.
    pub fn record(&self, event: &CudaEvent, captured: bool) -> Result<(), Error> {
        let flags = if captured { sys::CUevent_record_flags_enum::CU_EVENT_RECORD_EXTERNAL as u32 } else { 0 };
        // SAFETY: both handles are alive as long as `self` and `event`, and belong to one context.
        let result = unsafe { sys::cuEventRecordWithFlags(event.cu_event(), self.stream.cu_stream(), flags) };
        result.result().map_err(failed("recording a CUDA event"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_a_lost_device_are_told_from_other_failures() {
        assert_eq!(class(CUresult::CUDA_ERROR_OUT_OF_MEMORY), ErrorClass::DoesNotFit);
        for code in [
            CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
            CUresult::CUDA_ERROR_LAUNCH_FAILED,
            CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
        ] {
            assert_eq!(class(code), ErrorClass::DeviceLost, "{code:?}");
        }
        for code in [CUresult::CUDA_ERROR_INVALID_VALUE, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU] {
            assert_eq!(class(code), ErrorClass::Other, "{code:?}");
        }
    }

    #[test]
    fn a_machine_without_a_driver_is_an_error_of_that_library() {
        match Cuda::open() {
            Err(Error::Library { library: RuntimeLibrary::Cuda, .. }) => assert!(memory_here().is_none()),
            Ok(_) => eprintln!("SKIPPED: this machine has a driver"),
            Err(other) => panic!("{other}"),
        }
    }
}

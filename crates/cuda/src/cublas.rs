//! Matrix products by cuBLASLt, which is opened at run time.
//!
//! The few functions and constants that are used are declared in [`sys`]: cuBLASLt keeps them from version 11 on. Statuses are plain
//! integers there, because a newer library may give one that is not known here.

use std::ffi::c_void;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::CudaContext;

use vla_engines::{Error, RuntimeLibrary};

use crate::driver::Cuda;
use crate::launch::{Element, Epilogue, Product};

mod sys;

pub(crate) use sys::Algorithm;
use sys::{Api, attribute};

/// Oldest version that is used: 12.0.0.
const OLDEST: Version = Version(120_000);
/// Algorithms that the library's heuristic is asked for.
const CANDIDATES: usize = 96;

/// Version of the library, as it gives it: `120803` or `130100`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version(pub(crate) usize);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
    }
}

/// The opened library.
pub(crate) struct Library {
    api: Api,
    version: Version,
    /// Keeps the functions of `api` loaded.
    _library: libloading::Library,
}

impl Library {
    /// Opens the newest version that the loader finds.
    ///
    /// # Errors
    /// [`Error::Library`] when there is none, one is older than 12, or one lacks a function.
    pub(crate) fn open() -> Result<Self, Error> {
        let failed = |source: String| Error::Library { library: RuntimeLibrary::CublasLt, source: source.into() };
        let mut reasons = Vec::new();
        for name in sys::NAMES {
            // SAFETY: opens NVIDIA's library, whose initialisers have no preconditions.
            let library = match unsafe { libloading::Library::new(name) } {
                Ok(library) => library,
                Err(error) => {
                    reasons.push(error.to_string());
                    continue;
                }
            };
            let api = match Api::of(&library) {
                Ok(api) => api,
                Err(error) => {
                    reasons.push(format!("{name}: {error}"));
                    continue;
                }
            };
            // SAFETY: takes nothing and reads a constant.
            let version = Version(unsafe { (api.version)() });
            if version < OLDEST {
                reasons.push(format!("{name}: expected version {OLDEST} or newer, found {version}"));
                continue;
            }
            return Ok(Self { api, version, _library: library });
        }
        Err(failed(format!("none of {} can be used: {}", sys::NAMES.join(", "), reasons.join("; "))))
    }

    /// Its version.
    pub(crate) fn version(&self) -> Version {
        self.version
    }
}

/// The error of a call, classified as the driver's errors are.
fn check(status: i32, action: &str) -> Result<(), Error> {
    let action = || action.to_owned();
    let source = || format!("cuBLASLt: {} (status {status})", sys::status_name(status));
    match status {
        sys::SUCCESS => Ok(()),
        sys::ALLOC_FAILED => Err(Error::OutOfMemory { action: action(), source: source().into() }),
        // Its own calls into CUDA failed; what failed there is known at the next wait.
        _ => Err(Error::Device { action: action(), source: source().into() }),
    }
}

/// The library in a device's context.
pub(crate) struct Handle {
    raw: *mut c_void,
    library: Library,
    context: Arc<CudaContext>,
}

// SAFETY: cuBLASLt allows one handle in several threads.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// A handle in the device's context.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::OutOfMemory`].
    pub(crate) fn new(cuda: &Cuda, library: Library) -> Result<Self, Error> {
        cuda.enter()?;
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer.
        check(unsafe { (library.api.create)(&raw mut raw) }, "opening cuBLASLt")?;
        Ok(Self { raw, library, context: Arc::clone(cuda.context()) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: made by `create`, destroyed once, in its context.
        let status = unsafe { (self.library.api.destroy)(self.raw) };
        if status != sys::SUCCESS {
            tracing::debug!(status, "closing cuBLASLt");
        }
    }
}

/// Descriptors of one product.
pub(crate) struct Descriptors {
    operation: *mut c_void,
    /// Weight, x and y in the library's column-major view.
    layouts: [*mut c_void; 3],
    /// Of 8-bit factors: alpha and beta are integers, too.
    integers: bool,
    handle: Arc<Handle>,
}

// SAFETY: descriptors are plain memory of the host, read by calls that take `&self` and changed by none after their making.
unsafe impl Send for Descriptors {}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let api = &self.handle.library.api;
        // SAFETY: each was made by its create function and is destroyed once; null was never made.
        unsafe {
            for layout in self.layouts.iter().filter(|layout| !layout.is_null()) {
                (api.layout_destroy)(*layout);
            }
            if !self.operation.is_null() {
                (api.operation_destroy)(self.operation);
            }
        }
    }
}

impl Descriptors {
    /// Those of `product`, with its bias.
    ///
    /// # Errors
    /// [`Error::Device`] for a product that the library cannot describe.
    pub(crate) fn new(handle: &Arc<Handle>, product: &Product) -> Result<Self, Error> {
        let api = &handle.library.api;
        let integers = product.eight_bits;
        let (operation, layouts) = (ptr::null_mut(), [ptr::null_mut(); 3]);
        let mut made = Self { operation, layouts, integers, handle: Arc::clone(handle) };
        let (compute, scale) = if integers { (sys::COMPUTE_32I, sys::R_32I) } else { (sys::COMPUTE_32F, sys::R_32F) };
        // SAFETY: writes one pointer.
        let status = unsafe { (api.operation_create)(&raw mut made.operation, compute, scale) };
        check(status, "describing a product")?;
        if product.transposed {
            made.set(attribute::TRANSA, &sys::OP_T)?;
        }
        if product.epilogue != Epilogue::None && !integers {
            made.set(attribute::EPILOGUE, &epilogue(product.epilogue))?;
            made.set(attribute::BIAS_POINTER, &product.bias)?;
        }
        let share = product.from / product.parts.max(1);
        let (rows, to) = (product.rows, product.to);
        let kind = if integers { sys::R_8I } else { element(product.element) };
        let result = match (integers, product.single) {
            (true, _) => sys::R_32I,
            (false, true) => sys::R_32F,
            (false, false) => kind,
        };
        let weight = match product.transposed {
            true => (share, to, i64::from(product.from), i64::from(share)),
            false => (to, share, i64::from(to), i64::from(share) * i64::from(to)),
        };
        let x = (share, rows, product.x.stride, i64::from(share));
        let y = (to, rows, product.y.stride, product.apart);
        for (at, (kind, (down, across, stride, apart))) in
            [(kind, weight), (kind, x), (result, y)].into_iter().enumerate()
        {
            let (down, across) = (u64::from(down.unsigned_abs()), u64::from(across.unsigned_abs()));
            // SAFETY: writes one pointer.
            let status = unsafe { (api.layout_create)(&raw mut made.layouts[at], kind, down, across, stride) };
            check(status, "describing a matrix")?;
            if product.parts > 1 {
                made.set_layout(at, attribute::BATCH_COUNT, &product.parts)?;
                made.set_layout(at, attribute::STRIDED_BATCH_OFFSET, &apart)?;
            }
        }
        Ok(made)
    }

    fn set<T>(&self, attribute: i32, value: &T) -> Result<(), Error> {
        let set = self.handle.library.api.operation_set;
        // SAFETY: the descriptor is alive; the library copies `size_of` bytes of the value.
        let status = unsafe { set(self.operation, attribute, ptr::from_ref(value).cast(), size_of::<T>()) };
        check(status, "describing a product")
    }

    fn set_layout<T>(&self, at: usize, attribute: i32, value: &T) -> Result<(), Error> {
        let set = self.handle.library.api.layout_set;
        // SAFETY: the descriptor is alive; the library copies `size_of` bytes of the value.
        let status = unsafe { set(self.layouts[at], attribute, ptr::from_ref(value).cast(), size_of::<T>()) };
        check(status, "describing a matrix")
    }

    /// Algorithms that the library expects to be fast, the fastest first, in `workspace` bytes. Those that add up parts by atomic
    /// operations are left out: their results differ from run to run; with `whole` so are those that divide the channels and add up the
    /// parts by a launch of their own. `addresses`: of weight, x and y, whose alignment they must take.
    ///
    /// # Errors
    /// [`Error::Device`]; no algorithm is an empty list.
    pub(crate) fn algorithms(
        &self,
        workspace: usize,
        addresses: [u64; 3],
        whole: bool,
    ) -> Result<Vec<Algorithm>, Error> {
        let api = &self.handle.library.api;
        let preference = Preference::new(api, workspace, addresses, whole)?;
        let mut found = [const { sys::Heuristic::ZERO }; CANDIDATES];
        let mut count = 0;
        let [weight, x, y] = self.layouts;
        // SAFETY: all descriptors are alive; at most CANDIDATES results and one integer are written.
        let status = unsafe {
            (api.heuristic)(
                self.handle.raw,
                self.operation,
                weight,
                x,
                y,
                y,
                preference.raw,
                CANDIDATES as i32,
                found.as_mut_ptr(),
                &raw mut count,
            )
        };
        if status == sys::NOT_SUPPORTED {
            return Ok(Vec::new());
        }
        check(status, "asking cuBLASLt for algorithms")?;
        let found = found.iter().take(usize::try_from(count).unwrap_or_default());
        Ok(found.filter(|found| found.state == sys::SUCCESS).map(|found| found.algorithm).collect())
    }

    /// Whether the library runs this product by that algorithm in `workspace` bytes.
    pub(crate) fn accepts(&self, algorithm: &Algorithm, workspace: usize) -> bool {
        let api = &self.handle.library.api;
        let mut result = sys::Heuristic::ZERO;
        let [weight, x, y] = self.layouts;
        // SAFETY: all descriptors are alive; one result is written.
        let status = unsafe {
            (api.check)(self.handle.raw, self.operation, weight, x, y, y, ptr::from_ref(algorithm), &raw mut result)
        };
        status == sys::SUCCESS && result.state == sys::SUCCESS && result.workspace <= workspace
    }

    /// Puts the product on `stream`.
    ///
    /// # Safety
    /// The addresses are of memory on the current device as large as the descriptors say, which nothing else writes until the stream
    /// is done; `workspace` is `bytes` long and used by no other work at the same time; the stream is of the current context.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(crate) unsafe fn enqueue(
        &self,
        algorithm: &Algorithm,
        [weight, x, y]: [u64; 3],
        (workspace, bytes): (u64, usize),
        stream: *mut c_void,
    ) -> Result<(), Error> {
        // Both are four bytes, in single precision or INT32.
        let (one, zero) = if self.integers { (1, 0) } else { (1.0_f32.to_bits(), 0) };
        let pointer = |address: u64| address as usize as *mut c_void;
        let [weights, xs, ys] = self.layouts;
        // SAFETY: the descriptors are alive; the rest is the caller's. alpha and beta are read during the call (host pointer mode).
        let status = unsafe {
            (self.handle.library.api.multiply)(
                self.handle.raw,
                self.operation,
                (&raw const one).cast(),
                pointer(weight),
                weights,
                pointer(x),
                xs,
                (&raw const zero).cast(),
                pointer(y),
                ys,
                pointer(y),
                ys,
                ptr::from_ref(algorithm),
                pointer(workspace),
                bytes,
                stream,
            )
        };
        check(status, "starting a product")
    }
}

/// What the heuristic may choose from.
struct Preference<'a> {
    raw: *mut c_void,
    api: &'a Api,
}

impl<'a> Preference<'a> {
    fn new(api: &'a Api, workspace: usize, [weight, x, y]: [u64; 3], whole: bool) -> Result<Self, Error> {
        let mut made = Self { raw: ptr::null_mut(), api };
        // SAFETY: writes one pointer.
        check(unsafe { (api.preference_create)(&raw mut made.raw) }, "asking cuBLASLt for algorithms")?;
        let schemes = if whole { 0 } else { sys::REDUCTION_COMPUTE_TYPE | sys::REDUCTION_OUTPUT_TYPE };
        made.set(attribute::MAX_WORKSPACE_BYTES, &workspace)?;
        made.set(attribute::REDUCTION_SCHEME_MASK, &schemes)?;
        // Without these the library assumes 256 bytes.
        for (attribute, address) in attribute::MIN_ALIGNMENTS.into_iter().zip([weight, x, y, y]) {
            made.set(attribute, &(1_u32 << address.trailing_zeros().min(8)))?;
        }
        Ok(made)
    }

    fn set<T>(&self, attribute: i32, value: &T) -> Result<(), Error> {
        // SAFETY: the preference is alive; the library copies `size_of` bytes of the value.
        let status =
            unsafe { (self.api.preference_set)(self.raw, attribute, ptr::from_ref(value).cast(), size_of::<T>()) };
        check(status, "asking cuBLASLt for algorithms")
    }
}

impl Drop for Preference<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: made by its create function, destroyed once.
            unsafe { (self.api.preference_destroy)(self.raw) };
        }
    }
}

fn element(element: Element) -> i32 {
    match element {
        Element::F32 => sys::R_32F,
        Element::F16 => sys::R_16F,
        Element::BF16 => sys::R_16BF,
    }
}

fn epilogue(epilogue: Epilogue) -> i32 {
    match epilogue {
        Epilogue::None => sys::EPILOGUE_DEFAULT,
        Epilogue::Bias => sys::EPILOGUE_BIAS,
        Epilogue::BiasRelu => sys::EPILOGUE_RELU_BIAS,
        Epilogue::BiasGelu => sys::EPILOGUE_GELU_BIAS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_cublas_writes_them_since_12() {
        assert_eq!(Version(120_803).to_string(), "12.8.3");
        assert_eq!(Version(130_100).to_string(), "13.1.0");
        assert!(Version(111_103) < OLDEST && Version(120_000) >= OLDEST);
    }

    #[test]
    fn a_failed_allocation_is_out_of_memory_and_other_statuses_name_themselves() {
        assert!(check(sys::SUCCESS, "x").is_ok());
        assert!(matches!(check(sys::ALLOC_FAILED, "x"), Err(Error::OutOfMemory { .. })));
        for (status, name) in [(13, "EXECUTION_FAILED"), (15, "NOT_SUPPORTED"), (99, "unknown")] {
            let error = check(status, "starting").expect_err("a failure");
            assert!(matches!(&error, Error::Device { source, .. } if source.to_string().contains(name)), "{error}");
        }
    }

    #[test]
    fn a_library_that_is_missing_is_an_error_of_that_library() {
        match Library::open() {
            Ok(library) => assert!(library.version() >= OLDEST),
            Err(Error::Library { library: RuntimeLibrary::CublasLt, source }) => {
                eprintln!("SKIPPED: the library itself: {source}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

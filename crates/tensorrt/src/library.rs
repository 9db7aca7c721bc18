//! libnvinfer, opened at run time.

use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::result::{Error, check};
use super::sys;

/// A TensorRT version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// Must be equal in headers and library.
    pub major: u32,
    /// May be newer in the library.
    pub minor: u32,
    /// Not compared.
    pub patch: u32,
}

impl From<sys::RawVersion> for Version {
    fn from(raw: sys::RawVersion) -> Self {
        Self { major: raw.major, minor: raw.minor, patch: raw.patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How the headers' version takes an engine file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadPath {
    /// One buffer, which is a mapping of the file (before TensorRT 10).
    Mapped,
    /// `IStreamReader`, host memory only (10.0 to 10.6).
    Reader,
    /// `IStreamReaderV2`, host and device memory (10.7 and later).
    ReaderV2,
}

/// TensorRT's runtime library. Clones share it; once opened it stays in the process.
#[derive(Clone)]
pub struct Library(Arc<Handle>);

struct Handle(NonNull<sys::Library>);

// SAFETY: after opening, the handle is only read: a `dlopen` handle, a folder and a version.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `vla_trt_library_open`, freed once; everything made from it holds a clone of the `Arc`.
        unsafe { sys::vla_trt_library_free(self.0.as_ptr()) };
    }
}

impl Library {
    /// Opens `libnvinfer.so.<major>`, then `libnvinfer.so`, where the system's loader finds them (`LD_LIBRARY_PATH`,
    /// then ldconfig's folders).
    ///
    /// # Errors
    /// [`Error::Library`] when there is none, [`Error::Version`] when it does not fit [`Self::headers`].
    pub fn open() -> Result<Self, Error> {
        Self::open_at(None)
    }

    /// Opens the library in `folder`, and the ONNX parser's later from there too.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(folder: &Path) -> Result<Self, Error> {
        Self::open_at(Some(folder))
    }

    fn open_at(folder: Option<&Path>) -> Result<Self, Error> {
        let folder = folder.map(c_path).transpose()?;
        let mut library = ptr::null_mut();
        // SAFETY: a null or NUL-terminated path, and a place to write one pointer to.
        let status = unsafe {
            sys::vla_trt_library_open(folder.as_ref().map_or(ptr::null(), |path| path.as_ptr()), &raw mut library)
        };
        check(status, None)?;
        Ok(Self(Arc::new(Handle(not_null(library)?))))
    }

    /// The library's version.
    pub fn version(&self) -> Version {
        let mut raw = sys::RawVersion::default();
        // SAFETY: a live handle, and a place to write the version to.
        unsafe { sys::vla_trt_library_version(self.as_ptr(), &raw mut raw) };
        raw.into()
    }

    /// The version of the headers that this program was built with.
    pub fn headers() -> Version {
        let mut raw = sys::RawVersion::default();
        // SAFETY: a place to write the version to.
        unsafe { sys::vla_trt_headers_version(&raw mut raw) };
        raw.into()
    }

    /// How [`super::Runtime::load`] reads an engine file.
    pub fn load_path() -> LoadPath {
        // SAFETY: takes and touches nothing.
        match unsafe { sys::vla_trt_load_path() } {
            0 => LoadPath::Mapped,
            1 => LoadPath::Reader,
            _ => LoadPath::ReaderV2,
        }
    }

    pub(super) fn as_ptr(&self) -> *const sys::Library {
        self.0.0.as_ptr()
    }
}

/// A path for C.
pub(super) fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| Error::Argument(format!("path {} holds a NUL byte: {error}", path.display())))
}

/// A pointer that the shim must have set.
pub(super) fn not_null<T>(pointer: *mut T) -> Result<NonNull<T>, Error> {
    NonNull::new(pointer).ok_or_else(|| Error::Internal("the TensorRT shim returned no handle".to_owned()))
}

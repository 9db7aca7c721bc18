//! libnvinfer or libtensorrt_rtx, opened at run time.

use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::family::Family;
use super::result::{Error, check_family};
use super::sys;
use vla_engines::provenance::RTX;

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
    /// `IStreamReaderV2`, host and device memory (10.7 and later, TensorRT-RTX).
    ReaderV2,
}

/// Environment variable that chooses the family where both libraries can be opened: `tensorrt` or `tensorrt_rtx`.
pub const FAMILY_VARIABLE: &str = "VLA_TRT_LIBRARY";

/// TensorRT's runtime library, of either family. Clones share it; once opened it stays in the process.
#[derive(Clone)]
pub struct Library(Arc<Handle>);

struct Handle {
    library: NonNull<sys::Library>,
    family: Family,
    api: &'static sys::Api,
}

// SAFETY: after opening, the handle is only read: a `dlopen` handle, a folder and a version.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `library_open`, freed once; everything made from it holds a clone of the `Arc`.
        unsafe { (self.api.library_free)(self.library.as_ptr()) };
    }
}

impl Library {
    /// Opens the library of the family that [`FAMILY_VARIABLE`] names; without it TensorRT's, or TensorRT-RTX's where there is no
    /// TensorRT. Both are looked for where the system's loader finds them (`LD_LIBRARY_PATH`, then ldconfig's folders).
    ///
    /// # Errors
    /// [`Error::Library`] when there is none, [`Error::Version`] when it does not fit the headers, [`Error::Argument`] for another
    /// value of the variable.
    pub fn open() -> Result<Self, Error> {
        if let Some(named) = std::env::var_os(FAMILY_VARIABLE).filter(|named| !named.is_empty()) {
            let family = named.to_string_lossy().parse();
            let family = family.map_err(|problem: String| Error::Argument(format!("{FAMILY_VARIABLE}: {problem}")))?;
            return Self::open_family(family, None);
        }
        match Self::open_family(Family::Tensorrt, None) {
            Err(first @ (Error::Library { .. } | Error::NotCompiled(_))) => {
                match Self::open_family(Family::Rtx, None) {
                    // Which is missing depends on the GPU: TensorRT, unless this program knows TensorRT-RTX only.
                    Err(Error::Library { .. } | Error::NotCompiled(_)) if Family::Tensorrt.api().is_some() => {
                        Err(first)
                    }
                    other => other,
                }
            }
            other => other,
        }
    }

    /// Opens TensorRT's library in `folder`, and the ONNX parser's later from there too.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(folder: &Path) -> Result<Self, Error> {
        Self::open_family(Family::Tensorrt, Some(folder))
    }

    /// Opens the library of one family, in `folder` or where the system's loader finds it.
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::NotCompiled`].
    pub fn open_family(family: Family, folder: Option<&Path>) -> Result<Self, Error> {
        let api = family.api().ok_or(Error::NotCompiled(family))?;
        let folder = folder.map(c_path).transpose()?;
        let mut library = ptr::null_mut();
        // SAFETY: a null or NUL-terminated path, and a place to write one pointer to.
        let status =
            unsafe { (api.library_open)(folder.as_ref().map_or(ptr::null(), |path| path.as_ptr()), &raw mut library) };
        check_family(status, family)?;
        Ok(Self(Arc::new(Handle { library: not_null(library)?, family, api })))
    }

    /// The library's family.
    pub fn family(&self) -> Family {
        self.0.family
    }

    /// The library's version.
    pub fn version(&self) -> Version {
        let mut raw = sys::RawVersion::default();
        // SAFETY: a live handle, and a place to write the version to.
        unsafe { (self.0.api.library_version)(self.as_ptr(), &raw mut raw) };
        raw.into()
    }

    /// The version as an engine's record names it: `8.6.0`, or `RTX 1.7.1`.
    pub fn record_name(&self) -> String {
        match self.family() {
            Family::Tensorrt => self.version().to_string(),
            Family::Rtx => format!("{RTX}{}", self.version()),
        }
    }

    /// Whether 64-bit integers of a network are 32-bit ones in its engines: TensorRT before 10.
    pub fn narrows_int64(&self) -> bool {
        self.family() == Family::Tensorrt && self.version().major < 10
    }

    /// The version of TensorRT's headers that this program was built with, or of TensorRT-RTX's where it was built without
    /// TensorRT's.
    pub fn headers() -> Version {
        let mut found = Family::ALL.into_iter().filter_map(Family::headers);
        found.next().unwrap_or(Version { major: 0, minor: 0, patch: 0 })
    }

    /// How [`super::Runtime::load`] reads an engine file of this library.
    pub fn load_path(&self) -> LoadPath {
        // SAFETY: takes and touches nothing.
        match unsafe { (self.0.api.load_path)() } {
            0 => LoadPath::Mapped,
            1 => LoadPath::Reader,
            _ => LoadPath::ReaderV2,
        }
    }

    pub(super) fn as_ptr(&self) -> *const sys::Library {
        self.0.library.as_ptr()
    }

    pub(super) fn api(&self) -> &'static sys::Api {
        self.0.api
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

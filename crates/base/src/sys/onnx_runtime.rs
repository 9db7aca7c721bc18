//! The version of ONNX Runtime, which the crate that opens its library does not return.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// `OrtApiBase` of `onnxruntime_c_api.h`; the same in every version.
#[repr(C)]
struct ApiBase {
    _api: extern "C" fn(u32) -> *const c_void,
    version: extern "C" fn() -> *const c_char,
}

/// Version of an ONNX Runtime library that this process has opened, such as `1.32.0`. `None` when no library was opened under
/// this name, or when it is another one.
pub fn version(library: &Path) -> Option<String> {
    let name = CString::new(library.as_os_str().as_bytes()).ok()?;
    // SAFETY: the name is NUL-terminated. With RTLD_NOLOAD nothing is loaded, so that no code of the library runs.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: a handle of the loader, and a NUL-terminated name. The handle is never closed: the library stays.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: ONNX Runtime's C interface declares the function of this name so.
    let base = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> *const ApiBase>(symbol) };
    // SAFETY: it returns null, or a table of functions that lives as long as the library.
    let version = (unsafe { base().as_ref() }?.version)();
    // SAFETY: a constant text of the library, NUL-terminated.
    (!version.is_null()).then(|| unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_open_or_another_one_has_no_version() {
        assert_eq!(version("/nowhere/libonnxruntime.so".as_ref()), None);
        assert_eq!(version("libc.so.6".as_ref()), None);
        assert_eq!(version("a\0b".as_ref()), None);
    }
}

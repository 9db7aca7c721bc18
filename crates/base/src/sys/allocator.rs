//! Which allocator this process's `malloc` is.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;

/// `Dl_info` of glibc and musl.
#[repr(C)]
struct Symbol {
    file: *const c_char,
    base: *mut c_void,
    name: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn dladdr(address: *const c_void, symbol: *mut Symbol) -> c_int;
}

/// The object that a symbol of the global scope is in: where it was loaded, and its file.
fn object_of(symbol: &CStr) -> Option<(usize, PathBuf)> {
    // SAFETY: a null handle is `RTLD_DEFAULT`; the name is NUL-terminated. The address is not called.
    let address = unsafe { dlsym(std::ptr::null_mut(), symbol.as_ptr()) };
    if address.is_null() {
        return None;
    }
    let mut found = Symbol {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        name: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    // SAFETY: any address may be asked about; `found` is a place to write the answer to.
    if unsafe { dladdr(address, &raw mut found) } == 0 || found.file.is_null() {
        return None;
    }
    // SAFETY: the loader's name of an object that stays loaded, NUL-terminated.
    let file = unsafe { CStr::from_ptr(found.file) }.to_string_lossy().into_owned();
    Some((found.base as usize, file.into()))
}

/// `Ok` when `malloc` and `free` are glibc's own.
///
/// # Errors
/// What they are instead, in words.
pub fn is_glibc() -> Result<(), String> {
    let Some((glibc, _)) = object_of(c"gnu_get_libc_version") else {
        return Err("the C library is not glibc".to_owned());
    };
    for symbol in [c"malloc", c"free", c"mmap", c"munmap"] {
        match object_of(symbol) {
            Some((base, _)) if base == glibc => {}
            Some((_, file)) => {
                return Err(format!("{} is that of {}, not of glibc", symbol.to_string_lossy(), file.display()));
            }
            None => return Err(format!("it is not known whose {} is", symbol.to_string_lossy())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Asks in a process of its own, so that another allocator can be preloaded.
    const ASK: &str = "VLA_TRT_TEST_ASKS_FOR_THE_ALLOCATOR";

    #[test]
    fn glibcs_own_malloc_is_told_from_a_preloaded_one() {
        if std::env::var_os(ASK).is_some() {
            eprintln!("ANSWER {:?}", is_glibc());
            return;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let source = dir.path().join("other.c");
        // Hands every call on, as a wrapper does; what counts is whose the symbol is.
        let code =
            "extern void *__libc_malloc(unsigned long);\nvoid *malloc(unsigned long n) { return __libc_malloc(n); }\n";
        std::fs::write(&source, code).expect("written");
        let library = dir.path().join("libother.so");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(compiled.expect("a C compiler").success());
        let ask = |preload: Option<&std::path::Path>| {
            let name = "sys::allocator::tests::glibcs_own_malloc_is_told_from_a_preloaded_one";
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args([name, "--exact", "--nocapture"]).env(ASK, "1").env_remove("LD_PRELOAD");
            command.envs(preload.map(|library| ("LD_PRELOAD", library)));
            String::from_utf8_lossy(&command.output().expect("it ran").stderr).into_owned()
        };
        let own = ask(None);
        assert!(own.contains("ANSWER Ok(())"), "{own}");
        let other = ask(Some(&library));
        assert!(other.contains("malloc is that of") && other.contains("libother.so"), "{other}");
    }
}

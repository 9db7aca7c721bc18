//! Which allocator this process's `malloc` is, and the return of its unused memory.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::path::PathBuf;

/// The shared object that defines a symbol of the global scope: its load address and its file.
fn object_of(symbol: &CStr) -> Option<(usize, PathBuf)> {
    // SAFETY: the name is NUL-terminated. The address is not called.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
    if address.is_null() {
        return None;
    }
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be queried; `found` has room for the answer.
    if unsafe { libc::dladdr(address, found.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: pointers, for which zero is a valid value.
    let found = unsafe { found.assume_init() };
    if found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's name of an object that stays loaded, NUL-terminated.
    let file = unsafe { CStr::from_ptr(found.dli_fname) }.to_string_lossy().into_owned();
    Some((found.dli_fbase as usize, file.into()))
}

/// Checks that `malloc`, `free`, `mmap` and `munmap` are glibc's.
///
/// # Errors
/// The library that provides them instead.
pub fn is_glibc() -> Result<(), String> {
    let Some((glibc, _)) = object_of(c"gnu_get_libc_version") else {
        return Err("the C library is not glibc".to_owned());
    };
    for symbol in [c"malloc", c"free", c"mmap", c"munmap"] {
        match object_of(symbol) {
            Some((base, _)) if base == glibc => {}
            Some((_, file)) => {
                return Err(format!("{} is provided by {}, not by glibc", symbol.to_string_lossy(), file.display()));
            }
            None => return Err(format!("the library of {} cannot be determined", symbol.to_string_lossy())),
        }
    }
    Ok(())
}

/// Returns memory that was freed but that `malloc` keeps to the system; does nothing where the C library is not glibc.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes any number of bytes to keep and locks the allocator; memory in use stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the check in a child process, where another allocator can be preloaded.
    const ASK: &str = "VLA_TRT_TEST_ASKS_FOR_THE_ALLOCATOR";

    #[test]
    fn a_preloaded_malloc_is_recognised() {
        if std::env::var_os(ASK).is_some() {
            eprintln!("ANSWER {:?}", is_glibc());
            return;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let source = dir.path().join("other.c");
        // Forwards every call, as a wrapper does; only the library of the symbol counts.
        let code =
            "extern void *__libc_malloc(unsigned long);\nvoid *malloc(unsigned long n) { return __libc_malloc(n); }\n";
        std::fs::write(&source, code).expect("written");
        let library = dir.path().join("libother.so");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(compiled.expect("a C compiler").success());
        let ask = |preload: Option<&std::path::Path>| {
            let name = "sys::allocator::tests::a_preloaded_malloc_is_recognised";
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args([name, "--exact", "--nocapture"]).env(ASK, "1").env_remove("LD_PRELOAD");
            command.envs(preload.map(|library| ("LD_PRELOAD", library)));
            String::from_utf8_lossy(&command.output().expect("it ran").stderr).into_owned()
        };
        let own = ask(None);
        assert!(own.contains("ANSWER Ok(())"), "{own}");
        let other = ask(Some(&library));
        assert!(other.contains("malloc is provided by") && other.contains("libother.so"), "{other}");
    }
}

//! Reads an engine file for TensorRT: the shim's callbacks over a file that is read once.

use std::ffi::c_void;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::family::Family;
use super::result::Error;
use super::sys;
use vla_base::sys::streamed::{Mapped, StreamedFile};

/// An engine file during a load.
pub(super) struct EngineFile {
    size: u64,
    family: Option<Family>,
    /// TensorRT may read from other threads.
    state: Mutex<State>,
}

struct State {
    /// Mapping for TensorRT 8. Declared before the file, so that it is unmapped first: mapped pages stay in the page cache.
    mapped: Option<Mapped>,
    file: StreamedFile,
    /// The first error.
    failure: Option<io::Error>,
}

impl EngineFile {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: format!("reading engine {}", path.display()), source };
        let file = StreamedFile::open(path).map_err(failed)?;
        let size = file.size();
        if size == 0 {
            return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty")));
        }
        let mut head = [0; Family::HEAD];
        let mut file = file;
        let read = file.read_at(&mut head, 0).map_err(failed)?;
        let family = Family::of_engine(&head[..read]);
        Ok(Self { size, family, state: Mutex::new(State { mapped: None, file, failure: None }) })
    }

    /// The library that built it, if its first bytes say so.
    pub(super) fn family(&self) -> Option<Family> {
        self.family
    }

    /// Runs a load; the callbacks may be called until `with` returns.
    pub(super) fn with_raw<T>(&self, with: impl FnOnce(*const sys::Source) -> T) -> T {
        let raw = sys::Source { user: ptr::from_ref(self).cast_mut().cast(), size: self.size, map, read };
        with(&raw const raw)
    }

    /// Releases the file's pages; the first error while reading, if any.
    pub(super) fn close(self, path: &Path) -> Result<(), Error> {
        let State { mapped, file, failure } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(mapped);
        drop(file);
        match failure {
            Some(source) => Err(Error::Io { action: format!("reading engine {}", path.display()), source }),
            None => Ok(()),
        }
    }

    /// Runs `with`, keeping its first failure; `None` when it failed or panicked, which must not unwind into C++.
    fn attempt<T>(&self, with: impl FnOnce(&mut State) -> io::Result<T>) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = catch_unwind(AssertUnwindSafe(|| with(&mut state)));
        match done.unwrap_or_else(|_| Err(io::Error::other("a panic while reading"))) {
            Ok(value) => Some(value),
            Err(error) => {
                state.failure.get_or_insert(error);
                None
            }
        }
    }
}

unsafe extern "C" fn map(user: *mut c_void) -> *const c_void {
    // SAFETY: `user` is the `EngineFile` of `with_raw`, which outlives the load; it is `Sync`.
    let source = unsafe { &*user.cast::<EngineFile>() };
    let mapped = source.attempt(|state| {
        let mapped = state.file.map()?;
        let bytes = mapped.as_ptr();
        state.mapped = Some(mapped);
        Ok(bytes)
    });
    mapped.map_or(ptr::null(), <*const u8>::cast)
}

unsafe extern "C" fn read(user: *mut c_void, offset: u64, destination: *mut c_void, bytes: u64) -> i64 {
    // SAFETY: `user` is the `EngineFile` of `with_raw`, which outlives the load; it is `Sync`.
    let source = unsafe { &*user.cast::<EngineFile>() };
    let Ok(length) = usize::try_from(bytes) else { return -1 };
    if destination.is_null() || length == 0 {
        return if length == 0 { 0 } else { -1 };
    }
    // SAFETY: the shim passes host memory of this length for the duration of the call, and nothing else accesses it.
    let buffer = unsafe { std::slice::from_raw_parts_mut(destination.cast::<u8>(), length) };
    let done = source.attempt(|state| state.file.read_at(buffer, offset));
    done.and_then(|done| i64::try_from(done).ok()).unwrap_or(-1)
}

/// Collects data that the shim passes in pieces.
#[derive(Default)]
pub(super) struct Collected(pub Vec<u8>);

impl Collected {
    pub(super) fn user(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }
}

/// The sink of a [`Collected`].
pub(super) unsafe extern "C" fn collect(user: *mut c_void, data: *const c_void, bytes: u64) -> i32 {
    let (Ok(length), false) = (usize::try_from(bytes), data.is_null()) else { return -1 };
    // SAFETY: `user` is the `Collected` whose `user()` was passed with this function, alive and not accessed otherwise until
    // the shim's call returns; `data` points to this many bytes for the duration of this call.
    let (collected, piece) =
        unsafe { (&mut *user.cast::<Collected>(), std::slice::from_raw_parts(data.cast::<u8>(), length)) };
    // A failed reservation is an error code: a panic must not unwind into C++.
    if collected.0.try_reserve(length).is_err() {
        return -1;
    }
    collected.0.extend_from_slice(piece);
    0
}

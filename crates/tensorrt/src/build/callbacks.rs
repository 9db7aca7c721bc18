//! Callbacks from TensorRT during a build: log, progress, calibration, output. No panic unwinds into C++.

use std::ffi::{CStr, c_char, c_void};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use crate::log::{Severity, with_line};
use crate::sys;

/// An event of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildProgress<'a> {
    /// A phase begins. TensorRT 10 and later.
    Begin {
        /// Its name, unique among the running phases.
        phase: &'a str,
        /// The enclosing phase.
        parent: Option<&'a str>,
        /// Its number of steps.
        steps: u32,
    },
    /// A step of a phase is done, counted from 0.
    Step {
        /// The phase.
        phase: &'a str,
        /// Which step.
        step: u32,
    },
    /// A phase ends, possibly before its last step.
    End {
        /// The phase.
        phase: &'a str,
    },
    /// A line of TensorRT's log, except verbose ones. TensorRT 8 reports no other events.
    Line {
        /// Its severity.
        severity: Severity,
        /// The line.
        text: &'a str,
    },
}

/// Source of calibration batches.
pub trait Calibrator {
    /// Samples per batch: the outermost dimension of the calibration profile's optimal shape.
    fn batch_size(&self) -> usize;

    /// Uploads the next batch and appends one device address for each of `inputs`, in their order; false after the last batch.
    /// The memory must stay unchanged until the next call.
    ///
    /// # Errors
    /// A message; ends calibration and build.
    fn next(&mut self, inputs: &[&str], addresses: &mut Vec<u64>) -> Result<bool, String>;

    /// The cache of an earlier calibration of the same network with the same version, to use instead of batches.
    fn cache(&self) -> Option<&[u8]>;

    /// Stores the cache of a calibration.
    ///
    /// # Errors
    /// A message; ends the build.
    fn store(&mut self, cache: &[u8]) -> Result<(), String>;
}

type Progress<'a> = &'a mut (dyn FnMut(BuildProgress<'_>) -> bool + Send);

/// Passes events of one build, including log lines, to the caller, and remembers a cancellation.
pub(super) struct Watcher<'a>(Mutex<State<'a>>);

struct State<'a> {
    report: Progress<'a>,
    going: bool,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(report: Progress<'a>) -> Self {
        Self(Mutex::new(State { report, going: true }))
    }

    pub(super) fn user(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Reports an event to the caller; false once the caller has cancelled (or panicked).
    fn report(&self, what: BuildProgress<'_>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let going = catch_unwind(AssertUnwindSafe(|| (state.report)(what))).unwrap_or(false);
        state.going &= going;
        state.going
    }

    /// Whether the caller has cancelled. TensorRT 8 cannot cancel a build, so this is checked between calls of the shim.
    pub(super) fn stopped(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).going
    }
}

/// A line of the log during a build; `user` is its `Watcher`.
pub(super) unsafe extern "C" fn on_line(user: *mut c_void, severity: i32, line: *const c_char) {
    // SAFETY: the `Watcher` of the build that made this logger; the logger is freed before the `Watcher` goes.
    let watcher = unsafe { &*user.cast::<Watcher<'_>>() };
    // SAFETY: TensorRT passes a NUL-terminated string for the duration of the call.
    unsafe {
        with_line(severity, line, |severity, text| {
            watcher.report(BuildProgress::Line { severity, text });
        });
    }
}

pub(super) unsafe extern "C" fn on_progress(
    user: *mut c_void,
    kind: i32,
    phase: *const c_char,
    parent: *const c_char,
    number: i32,
) -> i32 {
    // SAFETY: the `Watcher` of the build that set this callback, which outlives it.
    let watcher = unsafe { &*user.cast::<Watcher<'_>>() };
    // SAFETY: names are null or NUL-terminated for the duration of the call.
    let (phase, parent) = unsafe { (borrowed(phase), borrowed(parent)) };
    let (phase, number) = (phase.unwrap_or_default(), u32::try_from(number).unwrap_or_default());
    let going = watcher.report(match kind {
        0 => BuildProgress::Begin { phase, parent, steps: number },
        1 => BuildProgress::Step { phase, step: number },
        _ => BuildProgress::End { phase },
    });
    i32::from(going)
}

/// A C string for the duration of a callback; one that is not UTF-8 counts as none.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string that lives as long as the result is used.
unsafe fn borrowed<'a>(pointer: *const c_char) -> Option<&'a str> {
    // SAFETY: the caller's promise, for a pointer that is not null.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_str().ok()).flatten()
}

/// Bytes that the shim lends for the duration of a call.
///
/// # Safety
/// `data` points to `bytes` bytes that live as long as the result is used, or `bytes` is 0.
unsafe fn lent<'a>(data: *const c_void, bytes: u64) -> Option<&'a [u8]> {
    match usize::try_from(bytes) {
        Ok(0) => Some(&[]),
        // SAFETY: the caller's promise, for data that is not null.
        Ok(length) if !data.is_null() => Some(unsafe { std::slice::from_raw_parts(data.cast(), length) }),
        _ => None,
    }
}

/// A calibrator during a build.
pub(super) struct Calibration<'a>(Mutex<CalibrationState<'a>>);

struct CalibrationState<'a> {
    calibrator: &'a mut (dyn Calibrator + Send),
    addresses: Vec<u64>,
    failure: Option<String>,
}

impl<'a> Calibration<'a> {
    pub(super) fn new(calibrator: &'a mut (dyn Calibrator + Send)) -> Self {
        Self(Mutex::new(CalibrationState { calibrator, addresses: Vec::new(), failure: None }))
    }

    /// For the shim, which copies the cache; the callbacks are called until the build is freed.
    pub(super) fn raw(&mut self) -> sys::RawCalibrator {
        let user = ptr::from_mut(self).cast();
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let cache = state.calibrator.cache().unwrap_or_default();
        sys::RawCalibrator {
            user,
            batch_size: i32::try_from(state.calibrator.batch_size()).unwrap_or(1),
            batch,
            write_cache,
            cache: cache.as_ptr().cast(),
            cache_size: cache.len() as u64,
        }
    }

    pub(super) fn failure(&mut self) -> Option<String> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).failure.take()
    }

    fn attempt<T>(&self, with: impl FnOnce(&mut CalibrationState<'a>) -> Result<T, String>) -> Option<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = catch_unwind(AssertUnwindSafe(|| with(&mut state)));
        match done.unwrap_or_else(|_| Err("a panic in the calibrator".to_owned())) {
            Ok(value) => Some(value),
            Err(reason) => {
                state.failure.get_or_insert(reason);
                None
            }
        }
    }
}

unsafe extern "C" fn batch(
    user: *mut c_void,
    addresses: *mut *mut c_void,
    names: *const *const c_char,
    count: i32,
) -> i32 {
    // SAFETY: the `Calibration` of the build that set this callback, which outlives it.
    let calibration = unsafe { &*user.cast::<Calibration<'_>>() };
    let count = usize::try_from(count).unwrap_or_default();
    let more = calibration.attempt(|state| {
        // SAFETY: TensorRT passes `count` names, each NUL-terminated for the duration of the call.
        let names: Option<Vec<&str>> = (0..count).map(|i| unsafe { borrowed(*names.add(i)) }).collect();
        let names = names.ok_or_else(|| "an input's name is not UTF-8".to_owned())?;
        state.addresses.clear();
        if !state.calibrator.next(&names, &mut state.addresses)? {
            return Ok(false);
        }
        if state.addresses.len() != count {
            return Err(format!("a batch gave {} addresses for {count} inputs", state.addresses.len()));
        }
        for (i, &address) in state.addresses.iter().enumerate() {
            // SAFETY: TensorRT passes room for `count` addresses. Ours are device addresses, made from integers.
            unsafe { addresses.add(i).write(ptr::without_provenance_mut(address as usize)) };
        }
        Ok(true)
    });
    more.map_or(-1, i32::from)
}

unsafe extern "C" fn write_cache(user: *mut c_void, data: *const c_void, size: u64) {
    // SAFETY: the `Calibration` of the build that set this callback, which outlives it.
    let calibration = unsafe { &*user.cast::<Calibration<'_>>() };
    calibration.attempt(|state| {
        // SAFETY: TensorRT lends this many bytes for the duration of the call.
        let cache = unsafe { lent(data, size) }.ok_or_else(|| "TensorRT gave no calibration cache".to_owned())?;
        state.calibrator.store(cache)
    });
}

/// Writer of the plan.
pub(super) struct Out<'a>(Mutex<OutState<'a>>);

struct OutState<'a> {
    out: &'a mut (dyn Write + Send),
    bytes: u64,
    failure: Option<io::Error>,
}

impl<'a> Out<'a> {
    pub(super) fn new(out: &'a mut (dyn Write + Send)) -> Self {
        Self(Mutex::new(OutState { out, bytes: 0, failure: None }))
    }

    pub(super) fn user(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    pub(super) fn bytes(&mut self) -> u64 {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).bytes
    }

    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).failure.take()
    }
}

/// The sink of an [`Out`].
pub(super) unsafe extern "C" fn write(user: *mut c_void, data: *const c_void, bytes: u64) -> i32 {
    // SAFETY: the `Out` whose `user()` went with this function, alive until the shim's call returns.
    let out = unsafe { &*user.cast::<Out<'_>>() };
    let mut state = out.0.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the shim lends this many bytes for the duration of the call.
    let Some(piece) = (unsafe { lent(data, bytes) }) else { return -1 };
    let written = catch_unwind(AssertUnwindSafe(|| state.out.write_all(piece)));
    match written.unwrap_or_else(|_| Err(io::Error::other("a panic while writing"))) {
        Ok(()) => {
            state.bytes += bytes;
            0
        }
        Err(error) => {
            state.failure.get_or_insert(error);
            -1
        }
    }
}

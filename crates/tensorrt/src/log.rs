//! TensorRT's log lines: forwarded to tracing, and the last ones kept for error messages.

use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::family::Family;
use super::result::text;
use super::sys;

/// Lines that are kept.
const TAIL: usize = 64;
/// [`Severity::Info`] and [`Severity::Verbose`] as TensorRT numbers them.
const INFORMATION: i32 = 3;
const VERBOSE: i32 = 4;
/// Part of TensorRT's warning for a plan built on another GPU model. Such a plan loads, and fails later.
const OTHER_DEVICE: &str = "across different models of devices";

/// TensorRT's severity of a log line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Execution cannot go on.
    InternalError,
    /// An application error.
    Error,
    /// Something unexpected that TensorRT worked around.
    Warning,
    /// Information.
    Info,
    /// Debugging.
    Verbose,
}

impl Severity {
    fn of(raw: i32) -> Self {
        match raw {
            0 => Self::InternalError,
            1 => Self::Error,
            2 => Self::Warning,
            3 => Self::Info,
            _ => Self::Verbose,
        }
    }
}

/// Receives what TensorRT logs in this process, and keeps the last 64 lines. TensorRT has one logger a process, so two logs
/// that live at once get the same lines. Tracing gets every line once (target `tensorrt`).
#[derive(Clone)]
pub struct Log(Arc<Owner>);

/// A position in the log, for [`Log::problems_since`].
#[derive(Clone, Copy)]
pub(super) struct Mark(u64);

struct Owner {
    /// The C++ side. Freed first, after which nothing touches `state` any more.
    _logger: Logger,
    state: Arc<State>,
}

/// Registration with the C++ side of every family, until dropped, for every line that is not verbose.
pub(super) struct Logger([Option<(&'static sys::Api, *mut sys::Logger)>; Family::ALL.len()]);

// SAFETY: each pointer is used to free the logger only, which the shim allows from any thread.
unsafe impl Send for Logger {}
// SAFETY: as above; `&Logger` gives out nothing.
unsafe impl Sync for Logger {}

impl Logger {
    /// `log` gets `user` with each line.
    ///
    /// # Safety
    /// `user` is what `log` takes it for, from any thread, as long as this value lives.
    pub(super) unsafe fn new(log: sys::LogFn, user: *mut c_void) -> Self {
        let verbose = tracing::enabled!(target: "tensorrt", tracing::Level::TRACE);
        let register = |api: &'static sys::Api| {
            let mut logger = std::ptr::null_mut();
            // SAFETY: `trace_line` takes any line and no `user`; `logger` is a place to write one pointer to; `log` and `user`
            // are the caller's promise.
            let made = unsafe {
                match (api.log_trace)(trace_line, if verbose { VERBOSE } else { INFORMATION }) {
                    sys::OK => (api.logger_new)(log, user, INFORMATION, &raw mut logger),
                    failed => failed,
                }
            };
            assert_eq!(made, sys::OK, "a logger takes a few bytes, and there was no memory for them");
            (api, logger)
        };
        Self(Family::ALL.map(|family| family.api().map(register)))
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        for (api, logger) in self.0.into_iter().flatten() {
            // SAFETY: made by this table's `logger_new`, freed once. Waits for a call that is under way.
            unsafe { (api.logger_free)(logger) };
        }
    }
}

#[derive(Default)]
struct State(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    tail: VecDeque<(Severity, String)>,
    /// Lines ever kept.
    count: u64,
    other_device: Option<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// An empty log. Requests verbose lines from TensorRT only if tracing's current level includes them.
    pub fn new() -> Self {
        let state = Arc::new(State::default());
        let user = Arc::as_ptr(&state).cast_mut().cast::<c_void>();
        // SAFETY: `on_line` takes a `State`, which is `Sync`; the owner below drops the logger before its `Arc` of it.
        let logger = unsafe { Logger::new(on_line, user) };
        Self(Arc::new(Owner { _logger: logger, state }))
    }

    /// The last lines, oldest first; verbose ones are not kept.
    pub fn tail(&self) -> Vec<String> {
        self.0.state.lines(|lines| lines.tail.iter().map(|(_, text)| text.clone()).collect())
    }

    /// Forgets every line, and the warning of [`Self::other_device`].
    pub fn clear(&self) {
        self.0.state.lines(|lines| {
            lines.tail.clear();
            lines.other_device = None;
        });
    }

    /// TensorRT's warning that a plan was built on another model of GPU, if it came since the last [`Self::clear`].
    pub fn other_device(&self) -> Option<String> {
        self.0.state.lines(|lines| lines.other_device.clone())
    }

    pub(super) fn mark(&self) -> Mark {
        self.0.state.lines(|lines| Mark(lines.count))
    }

    /// Errors and warnings since `mark` that are still kept.
    pub(super) fn problems_since(&self, mark: Mark) -> Vec<String> {
        self.0.state.lines(|lines| {
            let new = usize::try_from(lines.count - mark.0).unwrap_or(TAIL);
            let old = lines.tail.len().saturating_sub(new);
            let problem = |(severity, _): &&(Severity, String)| *severity <= Severity::Warning;
            lines.tail.iter().skip(old).filter(problem).map(|(_, text)| text.clone()).collect()
        })
    }
}

impl State {
    fn lines<T>(&self, with: impl FnOnce(&mut Lines) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, severity: Severity, text: &str) {
        self.lines(|lines| {
            if text.contains(OTHER_DEVICE) {
                lines.other_device = Some(text.to_owned());
            }
            if lines.tail.len() == TAIL {
                lines.tail.pop_front();
            }
            lines.tail.push_back((severity, text.to_owned()));
            lines.count += 1;
        });
    }
}

/// Beginning of TensorRT's warning for a tensor without an INT8 scale.
pub const UNSCALED: &str = "Missing scale and zero-point for tensor";

/// Forwards a line to tracing at its severity.
fn trace(severity: Severity, text: &str) {
    match severity {
        // TensorRT warns for hundreds of tensors that do not run in INT8; the build's report has their number.
        Severity::Warning if text.starts_with(UNSCALED) => tracing::info!(target: "tensorrt", "{text}"),
        Severity::InternalError | Severity::Error => tracing::error!(target: "tensorrt", "{text}"),
        Severity::Warning => tracing::warn!(target: "tensorrt", "{text}"),
        Severity::Info => tracing::info!(target: "tensorrt", "{text}"),
        Severity::Verbose => tracing::trace!(target: "tensorrt", "{text}"),
    }
}

/// Runs `with` on a line from C++; nothing unwinds into it.
///
/// # Safety
/// `line` is null or a NUL-terminated string that lives over this call.
pub(super) unsafe fn with_line(severity: i32, line: *const c_char, with: impl FnOnce(Severity, &str)) {
    // If a tracing subscriber panics, this line is lost: there is no caller to report it to.
    drop(catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        if let Some(line) = unsafe { text(line) } {
            with(Severity::of(severity), &line);
        }
    })));
}

unsafe extern "C" fn on_line(user: *mut c_void, severity: i32, line: *const c_char) {
    // SAFETY: `user` is the `State` of a `Log` that has not freed its logger yet.
    let state = unsafe { &*user.cast::<State>() };
    // SAFETY: TensorRT passes a NUL-terminated string for the duration of the call.
    unsafe { with_line(severity, line, |severity, line| state.record(severity, line)) };
}

unsafe extern "C" fn trace_line(_user: *mut c_void, severity: i32, line: *const c_char) {
    // SAFETY: as above.
    unsafe { with_line(severity, line, trace) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_64_lines() {
        let log = Log::new();
        for i in 0..70 {
            log.0.state.record(Severity::Info, &format!("line {i}"));
        }
        let tail = log.tail();
        assert_eq!(tail.len(), 64);
        assert_eq!((tail[0].as_str(), tail[63].as_str()), ("line 6", "line 69"));
    }

    #[test]
    fn the_warning_of_another_device_is_kept_after_the_tail_rolled_over_and_until_cleared() {
        let log = Log::new();
        let warning = "Using an engine plan file across different models of devices is not recommended and is likely to \
                       affect performance or even cause errors.";
        log.0.state.record(Severity::Warning, warning);
        (0..100).for_each(|_| log.0.state.record(Severity::Info, "more"));
        assert_eq!(log.other_device().as_deref(), Some(warning));
        log.clear();
        assert_eq!((log.other_device(), log.tail().len()), (None, 0));
    }

    #[test]
    fn problems_since_a_mark_are_its_errors_and_warnings_only() {
        let log = Log::new();
        log.0.state.record(Severity::Error, "before");
        let mark = log.mark();
        log.0.state.record(Severity::Info, "information");
        log.0.state.record(Severity::Warning, "warning");
        log.0.state.record(Severity::InternalError, "error");
        assert_eq!(log.problems_since(mark), ["warning", "error"]);
        (0..100).for_each(|_| log.0.state.record(Severity::Error, "flood"));
        assert_eq!(log.problems_since(mark).len(), 64);
        log.clear();
        assert!(log.problems_since(mark).is_empty());
    }
}

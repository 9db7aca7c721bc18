//! The C++ builder with its network, configuration and parser, driven step by step.

use std::ffi::CString;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{self, NonNull};

use super::callbacks::{Calibration, Out, Watcher, on_line, on_progress, write};
use super::nodes::name_nodes;
use super::weights::MappedWeights;
use crate::library::{c_path, not_null};
use crate::load::{Collected, collect};
use crate::log::{Log, Logger};
use crate::result::{Error, ParseError, check, text};
use crate::tensor::Described;
use crate::{Library, Tensor, sys};

mod configuration;
mod profiles;

/// A running build. The owners of the callbacks (`'a`) outlive it: the C++ objects and the logger are dropped first.
pub(super) struct Session<'a> {
    build: NonNull<sys::Build>,
    log: &'a Log,
    watcher: &'a Watcher<'a>,
    /// Read by the parser until the parser is freed.
    weights: Option<MappedWeights>,
    _logger: Logger,
    library: Library,
    _callbacks: PhantomData<&'a ()>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `vla_trt_build_new`, freed once; logger and library are fields, dropped after this.
        unsafe { (self.library.api().build_free)(self.build.as_ptr()) };
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(
        library: &Library,
        log: &'a Log,
        watcher: &'a Watcher<'a>,
        strongly_typed: bool,
    ) -> Result<Self, Error> {
        let mark = log.mark();
        // SAFETY: `on_line` takes a `Watcher`, which is `Sync` and outlives this value (`'a`), and so the logger in it.
        let logger = unsafe { Logger::new(on_line, watcher.user()) };
        let mut build = ptr::null_mut();
        // SAFETY: a live library, and a place to write one pointer to.
        let status = unsafe { (library.api().build_new)(library.as_ptr(), i32::from(strongly_typed), &raw mut build) };
        check(status, Some((log, mark))).map_err(|error| error.of(library.family()))?;
        let build = not_null(build)?;
        Ok(Self {
            build,
            log,
            watcher,
            weights: None,
            _logger: logger,
            library: library.clone(),
            _callbacks: PhantomData,
        })
    }

    /// Runs one call of the shim. An error contains the lines logged meanwhile.
    fn call(&mut self, with: impl FnOnce(&sys::Api, *mut sys::Build) -> sys::Status) -> Result<(), Error> {
        let mark = self.log.mark();
        check(with(self.library.api(), self.build.as_ptr()), Some((self.log, mark)))?;
        if self.watcher.stopped() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(super) fn parse(&mut self, onnx: &Path) -> Result<(), Error> {
        let api = self.library.api();
        self.weights = MappedWeights::open(api, onnx);
        // With mapped weights TensorRT requires an absolute path.
        let absolute = self.weights.as_ref().and_then(|_| std::path::absolute(onnx).ok());
        let path = c_path(absolute.as_deref().unwrap_or(onnx))?;
        let mark = self.log.mark();
        let status = match &self.weights {
            Some(weights) => {
                let (model, raw) = (&weights.model, weights.raw());
                // SAFETY: a live build, a NUL-terminated path, the model's bytes, and weights that live until the build
                // is freed: `self` holds them, and drops them after it.
                unsafe {
                    (api.build_parse_mapped)(
                        self.build.as_ptr(),
                        path.as_ptr(),
                        model.as_ptr().cast(),
                        model.len() as u64,
                        raw.as_ptr(),
                        raw.len() as u64,
                    )
                }
            }
            // SAFETY: a live build and a NUL-terminated path.
            None => unsafe { (api.build_parse)(self.build.as_ptr(), path.as_ptr()) },
        };
        if status == sys::PARSE {
            let mut errors = self.parser_errors()?;
            name_nodes(&mut errors, onnx);
            // If the parser lists no error (an unreadable file), the reason is in the log.
            let log = if errors.is_empty() { self.log.problems_since(mark) } else { Vec::new() };
            return Err(Error::Parse { onnx: onnx.to_owned(), errors, log });
        }
        check(status, Some((self.log, mark)))
    }

    fn parser_errors(&mut self) -> Result<Vec<ParseError>, Error> {
        let count = self.network_info()?.parser_errors;
        (0..count)
            .map(|index| {
                let mut raw = std::mem::MaybeUninit::<sys::RawParserError>::uninit();
                // SAFETY: a live build, and a place to write the description to.
                self.call(|api, build| unsafe { (api.build_parser_error)(build, index, raw.as_mut_ptr()) })?;
                // SAFETY: the shim fills the whole struct before it returns OK.
                let raw = unsafe { raw.assume_init() };
                // SAFETY: the strings live as long as the parser.
                let (words, name, operator) = unsafe { (text(raw.text), text(raw.node_name), text(raw.node_operator)) };
                Ok(ParseError {
                    node: usize::try_from(raw.node).ok(),
                    name: name.filter(|name| !name.is_empty()),
                    operator: operator.filter(|operator| !operator.is_empty()),
                    opset: None,
                    text: words.unwrap_or_default(),
                })
            })
            .collect()
    }

    fn network_info(&mut self) -> Result<sys::NetworkInfo, Error> {
        let mut info = sys::NetworkInfo::default();
        // SAFETY: a live build, and a place to write the description to.
        self.call(|api, build| unsafe { (api.build_network)(build, &raw mut info) })?;
        Ok(info)
    }

    pub(super) fn layers(&mut self) -> Result<usize, Error> {
        Ok(usize::try_from(self.network_info()?.layers).unwrap_or_default())
    }

    /// The network's inputs or outputs.
    pub(super) fn tensors(&mut self, is_input: bool) -> Result<Vec<Tensor>, Error> {
        let info = self.network_info()?;
        (0..if is_input { info.inputs } else { info.outputs })
            .map(|index| {
                let mut raw = std::mem::MaybeUninit::<sys::RawTensor>::uninit();
                // SAFETY: a live build, and a place to write the description to.
                self.call(|api, build| unsafe {
                    (api.build_tensor)(build, i32::from(is_input), index, raw.as_mut_ptr())
                })?;
                // SAFETY: the shim fills the whole struct before it returns OK; the name lives as long as the network.
                Ok(unsafe { Described::of(&raw.assume_init()) }?.tensor)
            })
            .collect()
    }

    pub(super) fn mark_outputs(&mut self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let name = c_name(name)?;
            // SAFETY: a live build and a NUL-terminated name.
            self.call(|api, build| unsafe { (api.build_mark_output)(build, name.as_ptr()) })?;
        }
        Ok(())
    }

    /// Sets the timing cache. Returns whether `cache` was used; one of another device or version is replaced by an empty one.
    pub(super) fn timing_cache(&mut self, cache: Option<&[u8]>) -> Result<bool, Error> {
        if let Some(cache) = cache.filter(|cache| !cache.is_empty()) {
            // SAFETY: a live build; the shim copies the bytes.
            let taken = self.call(|api, build| unsafe {
                (api.build_timing_cache)(build, cache.as_ptr().cast(), cache.len() as u64)
            });
            match taken {
                Ok(()) => return Ok(true),
                Err(Error::Refused { .. }) => {
                    tracing::warn!("the timing cache is of another device or version: starting a new one");
                }
                Err(error) => return Err(error),
            }
        }
        // SAFETY: a live build; no bytes.
        self.call(|api, build| unsafe { (api.build_timing_cache)(build, ptr::null(), 0) })?;
        Ok(false)
    }

    pub(super) fn timing_cache_out(&mut self) -> Result<Vec<u8>, Error> {
        let mut collected = Collected::default();
        // SAFETY: a live build; `collect` gets the `Collected` whose address goes with it, which outlives the call.
        self.call(|api, build| unsafe { (api.build_timing_cache_out)(build, collect, collected.user()) })?;
        Ok(collected.0)
    }

    /// `calibration` must outlive the session's run; `build::run` holds both.
    pub(super) fn calibrator(&mut self, calibration: &mut Calibration<'_>) -> Result<(), Error> {
        let raw = calibration.raw();
        // SAFETY: a live build and a live struct, whose cache is copied. Its callbacks are called in `run` only, while
        // the caller still holds `calibration`.
        self.call(|api, build| unsafe { (api.build_calibrator)(build, &raw const raw) })
    }

    pub(super) fn progress(&mut self, watcher: &'a Watcher<'a>) -> Result<(), Error> {
        // SAFETY: a live build; the watcher outlives it.
        skip_unsupported(self.call(|api, build| unsafe { (api.build_progress)(build, on_progress, watcher.user()) }))
    }

    pub(super) fn run(&mut self, out: &mut Out<'_>) -> Result<(), Error> {
        // SAFETY: a live build; `write` gets the `Out` whose address goes with it, which outlives the call.
        self.call(|api, build| unsafe { (api.build_run)(build, write, out.user()) })
    }
}

fn c_name(name: &str) -> Result<CString, Error> {
    CString::new(name).map_err(|error| Error::Argument(format!("name '{name}' holds a NUL byte: {error}")))
}

fn skip_unsupported(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Unsupported(reason)) => {
            tracing::debug!(reason, "passed over");
            Ok(())
        }
        other => other,
    }
}

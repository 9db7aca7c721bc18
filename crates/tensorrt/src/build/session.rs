//! The C++ builder with its network, configuration and parser, driven step by step.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{self, NonNull};

use super::callbacks::{Calibration, Out, Watcher, on_line, on_progress, write};
use super::nodes::name_nodes;
use super::options::{BuildOptions, Constraints, fits};
use super::weights::MappedWeights;
use crate::library::{c_path, not_null};
use crate::load::{Collected, collect};
use crate::log::{Log, Logger};
use crate::result::{Error, ParseError, check, text};
use crate::tensor::Described;
use crate::tensor::range_of;
use crate::{Library, Tensor, sys};
use vla_base::tensor::{Dim, display_dims};
use vla_engines::profile::Profile;

/// A build under way. The callbacks' owners (`'a`) outlive it: the C++ objects and the logger go first.
pub(super) struct Session<'a> {
    build: NonNull<sys::Build>,
    log: &'a Log,
    watcher: &'a Watcher<'a>,
    /// Read by the parser until it goes.
    weights: Option<MappedWeights>,
    _logger: Logger,
    _library: Library,
    _callbacks: PhantomData<&'a ()>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `vla_trt_build_new`, freed once; logger and library are fields, dropped after this.
        unsafe { sys::vla_trt_build_free(self.build.as_ptr()) };
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
        let status = unsafe { sys::vla_trt_build_new(library.as_ptr(), i32::from(strongly_typed), &raw mut build) };
        check(status, Some((log, mark)))?;
        let build = not_null(build)?;
        Ok(Self {
            build,
            log,
            watcher,
            weights: None,
            _logger: logger,
            _library: library.clone(),
            _callbacks: PhantomData,
        })
    }

    /// Runs one call of the shim; a refusal gets the log lines that came meanwhile.
    fn call(&mut self, with: impl FnOnce(*mut sys::Build) -> sys::Status) -> Result<(), Error> {
        let mark = self.log.mark();
        check(with(self.build.as_ptr()), Some((self.log, mark)))?;
        if self.watcher.stopped() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(super) fn parse(&mut self, onnx: &Path) -> Result<(), Error> {
        self.weights = MappedWeights::open(onnx);
        // With mapped weights TensorRT asks for an absolute path.
        let absolute = self.weights.as_ref().and_then(|_| std::path::absolute(onnx).ok());
        let path = c_path(absolute.as_deref().unwrap_or(onnx))?;
        let mark = self.log.mark();
        let status = match &self.weights {
            Some(weights) => {
                let (model, raw) = (&weights.model, weights.raw());
                // SAFETY: a live build, a NUL-terminated path, the model's bytes, and weights that live until the build
                // is freed: `self` holds them, and drops them after it.
                unsafe {
                    sys::vla_trt_build_parse_mapped(
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
            None => unsafe { sys::vla_trt_build_parse(self.build.as_ptr(), path.as_ptr()) },
        };
        if status == sys::PARSE {
            let mut errors = self.parser_errors()?;
            name_nodes(&mut errors, onnx);
            // Without an error of its own (an unreadable file), the parser's words are in the log.
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
                self.call(|build| unsafe { sys::vla_trt_build_parser_error(build, index, raw.as_mut_ptr()) })?;
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
        self.call(|build| unsafe { sys::vla_trt_build_network(build, &raw mut info) })?;
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
                self.call(|build| unsafe {
                    sys::vla_trt_build_tensor(build, i32::from(is_input), index, raw.as_mut_ptr())
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
            self.call(|build| unsafe { sys::vla_trt_build_mark_output(build, name.as_ptr()) })?;
        }
        Ok(())
    }

    fn flag(&mut self, flag: i32, on: bool) -> Result<(), Error> {
        // SAFETY: a live build.
        self.call(|build| unsafe { sys::vla_trt_build_flag(build, flag, i32::from(on)) })
    }

    /// Refuses a precision that the GPU does not compute faster than single precision, where this version tells.
    fn gpu_has(&mut self, flag: i32) -> Result<(), Error> {
        // SAFETY: a live build.
        if unsafe { sys::vla_trt_build_platform_has(self.build.as_ptr(), flag) } != 0 {
            return Ok(());
        }
        let name = if flag == sys::FLAG_INT8 { "int8" } else { "fp16" };
        Err(Error::Unsupported(format!("this GPU has no fast {name}: build without it")))
    }

    fn preview(&mut self, feature: i32, on: bool) -> Result<(), Error> {
        // SAFETY: a live build.
        self.call(|build| unsafe { sys::vla_trt_build_preview(build, feature, i32::from(on)) })
    }

    pub(super) fn configure(&mut self, options: &BuildOptions) -> Result<(), Error> {
        if options.strongly_typed && (options.fp16 || options.bf16 || options.int8) {
            return Err(Error::Argument(
                "a strongly typed network has its own types: switch fp16, bf16 and int8 off".to_owned(),
            ));
        }
        for (flag, on) in
            [(sys::FLAG_FP16, options.fp16), (sys::FLAG_BF16, options.bf16), (sys::FLAG_INT8, options.int8)]
        {
            if on {
                self.gpu_has(flag)?;
                self.flag(flag, true)?;
            }
        }
        self.flag(sys::FLAG_TF32, options.tf32)?;
        match options.constraints {
            Constraints::Prefer => self.flag(sys::FLAG_PREFER_PRECISION, true)?,
            Constraints::Obey => self.flag(sys::FLAG_OBEY_PRECISION, true)?,
            Constraints::Ignore if !options.fp32_layers.is_empty() => self.flag(sys::FLAG_OBEY_PRECISION, true)?,
            Constraints::Ignore => {}
        }
        if options.monitor_memory {
            skip_unsupported(self.flag(sys::FLAG_MONITOR_MEMORY, true))?;
        }
        self.preview(sys::PREVIEW_SHARE_PROFILES, options.share_profiles)?;
        self.preview(sys::PREVIEW_FASTER_DYNAMIC_SHAPES, options.faster_dynamic_shapes)?;
        // SAFETY, for the calls below: a live build and plain numbers.
        for (pool, bytes) in
            [(sys::POOL_WORKSPACE, options.workspace_bytes), (sys::POOL_TACTIC_DRAM, options.tactic_dram_bytes)]
        {
            if let Some(bytes) = bytes {
                // SAFETY: as above.
                self.call(|build| unsafe { sys::vla_trt_build_pool(build, pool, bytes) })?;
            }
        }
        if let Some(level) = options.optimization_level {
            if level > 5 {
                return Err(Error::Argument(format!("optimisation level {level}: TensorRT has 0 to 5")));
            }
            // SAFETY: as above.
            self.call(|build| unsafe { sys::vla_trt_build_level(build, i32::from(level)) })?;
        }
        if let Some(sources) = options.tactic_sources {
            // SAFETY: as above.
            self.call(|build| unsafe { sys::vla_trt_build_tactic_sources(build, sources.mask()) })?;
        }
        if let Some(streams) = options.aux_streams {
            let streams = i32::try_from(streams).unwrap_or(i32::MAX);
            // SAFETY: as above.
            self.call(|build| unsafe { sys::vla_trt_build_aux_streams(build, streams) })?;
        }
        // SAFETY: as above.
        self.call(|build| unsafe { sys::vla_trt_build_verbosity(build, i32::from(options.detailed_layers)) })
    }

    /// Holds every layer that fits one of `patterns` in single precision; how many there were.
    pub(super) fn hold_in_fp32(&mut self, patterns: &[String]) -> Result<usize, Error> {
        let mut held = 0;
        let mut used = vec![false; patterns.len()];
        let layers = if patterns.is_empty() { 0 } else { self.network_info()?.layers };
        for index in 0..layers {
            let mut name = ptr::null();
            // SAFETY: a live build, and a place to write one pointer to.
            self.call(|build| unsafe { sys::vla_trt_build_layer_name(build, index, &raw mut name) })?;
            // SAFETY: the name lives as long as the network.
            let name = unsafe { text(name) }.unwrap_or_default();
            let mut fitting = false;
            for (pattern, used) in patterns.iter().zip(&mut used) {
                if fits(pattern, &name) {
                    (*used, fitting) = (true, true);
                }
            }
            if fitting {
                let mut applied = 0;
                // SAFETY: a live build, and a place to write a number to; 0 is single precision.
                self.call(|build| unsafe { sys::vla_trt_build_layer_precision(build, index, 0, &raw mut applied) })?;
                held += usize::from(applied != 0);
            }
        }
        match patterns.iter().zip(used).find(|(_, used)| !used) {
            Some((pattern, _)) => Err(Error::Argument(format!("no layer of the network fits '{pattern}'"))),
            None => Ok(held),
        }
    }

    pub(super) fn profiles(
        &mut self,
        options: &BuildOptions,
        inputs: &[Tensor],
        calibrated: bool,
    ) -> Result<(), Error> {
        check_profiles(inputs, &options.profiles)?;
        if let Some(shapes) = options.calibration_shapes.as_ref().filter(|_| calibrated) {
            check_profiles(inputs, &[fixed(shapes)])?;
        }
        let mut indices = Vec::new();
        for profile in &options.profiles {
            let index = self.profile(profile)?;
            // SAFETY: a live build.
            self.call(|build| unsafe { sys::vla_trt_build_profile_commit(build, index) })?;
            indices.push(index);
        }
        let calibration = match &options.calibration_shapes {
            _ if !calibrated => None,
            Some(shapes) => Some(self.profile(&fixed(shapes))?),
            None => indices.first().copied(),
        };
        if let Some(index) = calibration {
            // SAFETY: a live build.
            self.call(|build| unsafe { sys::vla_trt_build_profile_calibrates(build, index) })?;
        }
        Ok(())
    }

    /// Makes a profile, which is no profile of the engine before it is committed.
    fn profile(&mut self, profile: &BTreeMap<String, Profile>) -> Result<i32, Error> {
        let mut index = 0;
        // SAFETY: a live build, and a place to write a number to.
        self.call(|build| unsafe { sys::vla_trt_build_profile_add(build, &raw mut index) })?;
        for (name, shapes) in profile {
            let (name, range) = (c_name(name)?, range_of(shapes)?);
            // SAFETY: a live build, a NUL-terminated name and a live range.
            self.call(|build| unsafe {
                sys::vla_trt_build_profile_set(build, index, name.as_ptr(), &raw const range)
            })?;
        }
        Ok(index)
    }

    /// Whether `cache` was taken. One that does not fit this device or version is passed over, for an empty one.
    pub(super) fn timing_cache(&mut self, cache: Option<&[u8]>) -> Result<bool, Error> {
        if let Some(cache) = cache.filter(|cache| !cache.is_empty()) {
            // SAFETY: a live build; the shim copies the bytes.
            let taken = self.call(|build| unsafe {
                sys::vla_trt_build_timing_cache(build, cache.as_ptr().cast(), cache.len() as u64)
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
        self.call(|build| unsafe { sys::vla_trt_build_timing_cache(build, ptr::null(), 0) })?;
        Ok(false)
    }

    pub(super) fn timing_cache_out(&mut self) -> Result<Vec<u8>, Error> {
        let mut collected = Collected::default();
        // SAFETY: a live build; `collect` gets the `Collected` whose address goes with it, which outlives the call.
        self.call(|build| unsafe { sys::vla_trt_build_timing_cache_out(build, collect, collected.user()) })?;
        Ok(collected.0)
    }

    /// `calibration` must outlive the session's run; `build::run` holds both.
    pub(super) fn calibrator(&mut self, calibration: &mut Calibration<'_>) -> Result<(), Error> {
        let raw = calibration.raw();
        // SAFETY: a live build and a live struct, whose cache is copied. Its callbacks are called in `run` only, while
        // the caller still holds `calibration`.
        self.call(|build| unsafe { sys::vla_trt_build_calibrator(build, &raw const raw) })
    }

    pub(super) fn progress(&mut self, watcher: &'a Watcher<'a>) -> Result<(), Error> {
        // SAFETY: a live build; the watcher outlives it.
        skip_unsupported(self.call(|build| unsafe { sys::vla_trt_build_progress(build, on_progress, watcher.user()) }))
    }

    pub(super) fn run(&mut self, out: &mut Out<'_>) -> Result<(), Error> {
        // SAFETY: a live build; `write` gets the `Out` whose address goes with it, which outlives the call.
        self.call(|build| unsafe { sys::vla_trt_build_run(build, write, out.user()) })
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

/// A profile of one shape an input.
fn fixed(shapes: &BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Profile> {
    let of = |dims: &Vec<usize>| Profile { min: dims.clone(), opt: dims.clone(), max: dims.clone() };
    shapes.iter().map(|(name, dims)| (name.clone(), of(dims))).collect()
}

/// Every profile names exactly inputs, all dynamic ones, and fits their dimensions.
fn check_profiles(inputs: &[Tensor], profiles: &[BTreeMap<String, Profile>]) -> Result<(), Error> {
    let is_dynamic =
        |tensor: &Tensor| tensor.is_shape || tensor.spec.dims.iter().any(|dim| matches!(dim, Dim::Symbol(_)));
    let mut problems = Vec::new();
    if profiles.is_empty() {
        for input in inputs.iter().filter(|input| is_dynamic(input)) {
            problems.push(format!("input '{}' has dynamic dimensions and needs a profile", input.spec));
        }
    }
    for (number, profile) in profiles.iter().enumerate() {
        for name in profile.keys().filter(|name| !inputs.iter().any(|input| input.spec.name == **name)) {
            let known: Vec<_> = inputs.iter().map(|input| input.spec.name.as_str()).collect();
            problems.push(format!("profile {number}: no input '{name}'; the inputs are {}", known.join(", ")));
        }
        for input in inputs {
            match profile.get(&input.spec.name) {
                Some(shapes) => problems.extend(misfit(number, input, shapes)),
                None if is_dynamic(input) => {
                    problems.push(format!("profile {number}: dynamic input '{}' is missing", input.spec));
                }
                None => {}
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Argument(problems.join("; "))) }
}

fn misfit(number: usize, input: &Tensor, shapes: &Profile) -> Option<String> {
    let dims = &input.spec.dims;
    // A shape input's profile holds values, as many as its one dimension says.
    let fits = |shape: &[usize]| {
        input.is_shape
            || shape.len() == dims.len()
                && shape.iter().zip(dims).all(|(n, dim)| !matches!(dim, Dim::Fixed(fixed) if fixed != n))
    };
    let ordered = |a: &[usize], b: &[usize]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a <= b);
    let fine = fits(&shapes.opt) && ordered(&shapes.min, &shapes.opt) && ordered(&shapes.opt, &shapes.max);
    (!fine || !fits(&shapes.min) || !fits(&shapes.max)).then(|| {
        format!(
            "profile {number}: input '{}' is {}, its range is {} to {} to {}; expected min <= opt <= max, with the \
             fixed dimensions as they are",
            input.spec.name,
            display_dims(dims),
            display_dims(&shapes.min),
            display_dims(&shapes.opt),
            display_dims(&shapes.max)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_base::tensor::{DType, TensorSpec};

    fn input(name: &str, dims: &[Dim]) -> Tensor {
        let spec = TensorSpec { name: name.to_owned(), dtype: DType::F32, dims: dims.to_vec() };
        Tensor { spec, profile: None, on_host: false, is_shape: false }
    }

    fn range(min: &[usize], opt: &[usize], max: &[usize]) -> Profile {
        Profile { min: min.to_vec(), opt: opt.to_vec(), max: max.to_vec() }
    }

    #[test]
    fn profiles_are_checked_against_the_network_and_every_problem_is_told() {
        let rows = input("rows", &[Dim::Symbol("?".to_owned()), Dim::Fixed(4)]);
        let fixed = input("fixed", &[Dim::Fixed(2)]);
        let inputs = [rows, fixed];
        let check = |profile: &[(&str, Profile)]| {
            let profile = profile.iter().map(|(name, shapes)| ((*name).to_owned(), shapes.clone())).collect();
            check_profiles(&inputs, &[profile]).err().map(|error| error.to_string())
        };
        assert_eq!(check(&[("rows", range(&[1, 4], &[2, 4], &[3, 4]))]), None);
        assert_eq!(check(&[("rows", range(&[1, 4], &[2, 4], &[3, 4])), ("fixed", range(&[2], &[2], &[2]))]), None);
        for (profile, words) in [
            (vec![("rows", range(&[1, 4], &[5, 4], &[3, 4]))], "min <= opt <= max"),
            (vec![("rows", range(&[1, 3], &[2, 4], &[3, 4]))], "input 'rows' is [?, 4], its range is [1, 3]"),
            (vec![("rows", range(&[1], &[2], &[3]))], "input 'rows' is [?, 4]"),
            (vec![], "dynamic input 'rows: f32 [?, 4]' is missing"),
            (vec![("row", range(&[1], &[1], &[1]))], "no input 'row'; the inputs are rows, fixed"),
        ] {
            let told = check(&profile).expect("a problem");
            assert!(told.contains(words), "{told}");
        }
        let none = check_profiles(&inputs, &[]).expect_err("no profile").to_string();
        assert!(none.contains("input 'rows: f32 [?, 4]' has dynamic dimensions"), "{none}");
    }
}

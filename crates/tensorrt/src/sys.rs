//! Declarations of `csrc/tensorrt_shim.h`: opaque handles, `repr(C)` structs, functions. Documented in the header.

use std::ffi::{c_char, c_void};
use std::marker::{PhantomData, PhantomPinned};

/// TensorRT's highest tensor rank.
pub(crate) const MAX_RANK: usize = 8;

macro_rules! opaque {
    ($($name:ident),*) => { $(
        #[doc = "Opaque, only ever behind a pointer; neither `Send` nor `Sync` by itself."]
        #[repr(C)]
        pub(crate) struct $name {
            _data: [u8; 0],
            _marker: PhantomData<(*mut u8, PhantomPinned)>,
        }
    )* };
}

opaque!(Library, Logger, Runtime, Engine, Context, Build);

pub(crate) type Status = i32;
pub(crate) const OK: Status = 0;
pub(crate) const LIBRARY: Status = 1;
pub(crate) const VERSION: Status = 2;
pub(crate) const REFUSED: Status = 3;
pub(crate) const ARGUMENT: Status = 4;
pub(crate) const UNSUPPORTED: Status = 5;
pub(crate) const PARSE: Status = 6;
pub(crate) const CANCELLED: Status = 7;
pub(crate) const CALLBACK: Status = 8;

pub(crate) type LogFn = unsafe extern "C" fn(user: *mut c_void, severity: i32, text: *const c_char);
pub(crate) type SinkFn = unsafe extern "C" fn(user: *mut c_void, data: *const c_void, bytes: u64) -> i32;
pub(crate) type ProgressFn =
    unsafe extern "C" fn(user: *mut c_void, kind: i32, phase: *const c_char, parent: *const c_char, number: i32) -> i32;

#[repr(C)]
#[derive(Default)]
pub struct RawVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

#[repr(C)]
pub(crate) struct Source {
    pub user: *mut c_void,
    pub size: u64,
    pub map: unsafe extern "C" fn(user: *mut c_void) -> *const c_void,
    pub read: unsafe extern "C" fn(user: *mut c_void, offset: u64, destination: *mut c_void, bytes: u64) -> i64,
}

#[repr(C)]
pub(crate) struct EngineInfo {
    pub name: *const c_char,
    pub tensors: i32,
    pub layers: i32,
    pub profiles: i32,
    pub hardware_compatibility: i32,
    pub aux_streams: i32,
    pub activation_bytes: i64,
    pub weights_bytes: i64,
}

#[repr(C)]
pub(crate) struct RawTensor {
    pub name: *const c_char,
    pub is_input: i32,
    pub dtype: i32,
    pub on_host: i32,
    pub is_shape: i32,
    pub is_linear: i32,
    pub rank: i32,
    pub dims: [i64; MAX_RANK],
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct Range {
    pub rank: i32,
    pub min: [i64; MAX_RANK],
    pub opt: [i64; MAX_RANK],
    pub max: [i64; MAX_RANK],
}

#[repr(C)]
pub(crate) struct RawWeight {
    pub name: *const c_char,
    pub data: *const c_void,
    pub bytes: u64,
}

#[repr(C)]
pub(crate) struct RawParserError {
    pub code: i32,
    pub node: i32,
    pub line: i32,
    pub text: *const c_char,
    pub node_name: *const c_char,
    pub node_operator: *const c_char,
    pub file: *const c_char,
    pub function: *const c_char,
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct NetworkInfo {
    pub inputs: i32,
    pub outputs: i32,
    pub layers: i32,
    pub parser_errors: i32,
}

#[repr(C)]
pub(crate) struct RawCalibrator {
    pub user: *mut c_void,
    pub batch_size: i32,
    pub batch: unsafe extern "C" fn(
        user: *mut c_void,
        addresses: *mut *mut c_void,
        names: *const *const c_char,
        count: i32,
    ) -> i32,
    pub write_cache: unsafe extern "C" fn(user: *mut c_void, data: *const c_void, size: u64),
    pub cache: *const c_void,
    pub cache_size: u64,
}

pub(crate) const FLAG_FP16: i32 = 0;
pub(crate) const FLAG_BF16: i32 = 1;
pub(crate) const FLAG_INT8: i32 = 2;
pub(crate) const FLAG_TF32: i32 = 3;
pub(crate) const FLAG_OBEY_PRECISION: i32 = 4;
pub(crate) const FLAG_PREFER_PRECISION: i32 = 5;
pub(crate) const FLAG_MONITOR_MEMORY: i32 = 6;

pub(crate) const POOL_WORKSPACE: i32 = 0;
pub(crate) const POOL_TACTIC_DRAM: i32 = 1;

pub(crate) const PREVIEW_SHARE_PROFILES: i32 = 0;
pub(crate) const PREVIEW_FASTER_DYNAMIC_SHAPES: i32 = 1;

unsafe extern "C" {
    pub(crate) fn vla_trt_last_error() -> *const c_char;

    pub(crate) fn vla_trt_headers_version(out: *mut RawVersion);
    pub(crate) fn vla_trt_library_open(folder: *const c_char, out: *mut *mut Library) -> Status;
    pub(crate) fn vla_trt_library_version(library: *const Library, out: *mut RawVersion);
    pub(crate) fn vla_trt_library_free(library: *mut Library);

    pub(crate) fn vla_trt_logger_new(log: LogFn, user: *mut c_void, max_severity: i32, out: *mut *mut Logger)
    -> Status;
    pub(crate) fn vla_trt_logger_free(logger: *mut Logger);
    pub(crate) fn vla_trt_log_trace(trace: LogFn, max_severity: i32) -> Status;

    pub(crate) fn vla_trt_runtime_new(library: *const Library, out: *mut *mut Runtime) -> Status;
    pub(crate) fn vla_trt_runtime_free(runtime: *mut Runtime);

    pub(crate) fn vla_trt_load_path() -> i32;
    pub(crate) fn vla_trt_engine_load(runtime: *mut Runtime, source: *const Source, out: *mut *mut Engine) -> Status;
    pub(crate) fn vla_trt_engine_free(engine: *mut Engine);
    pub(crate) fn vla_trt_engine_describe(engine: *const Engine, out: *mut EngineInfo) -> Status;
    pub(crate) fn vla_trt_engine_tensor(engine: *const Engine, index: i32, out: *mut RawTensor) -> Status;
    pub(crate) fn vla_trt_engine_profile(
        engine: *const Engine,
        input: *const c_char,
        profile: i32,
        out: *mut Range,
    ) -> Status;
    pub(crate) fn vla_trt_engine_profile_activation(engine: *const Engine, profile: i32, out: *mut i64) -> Status;
    pub(crate) fn vla_trt_engine_inspect(engine: *const Engine, sink: SinkFn, user: *mut c_void) -> Status;

    pub(crate) fn vla_trt_context_new(engine: *mut Engine, profile: i32, out: *mut *mut Context) -> Status;
    pub(crate) fn vla_trt_context_free(context: *mut Context);
    pub(crate) fn vla_trt_context_set_memory(context: *mut Context, address: u64, bytes: u64) -> Status;
    pub(crate) fn vla_trt_context_set_shape(
        context: *mut Context,
        input: *const c_char,
        rank: i32,
        dims: *const i64,
    ) -> Status;
    pub(crate) fn vla_trt_context_shape(
        context: *const Context,
        tensor: *const c_char,
        rank: *mut i32,
        dims: *mut i64,
    ) -> Status;
    pub(crate) fn vla_trt_context_set_address(context: *mut Context, tensor: *const c_char, address: u64) -> Status;
    pub(crate) fn vla_trt_context_missing(context: *mut Context, names: *mut *const c_char, count: *mut i32) -> Status;
    pub(crate) fn vla_trt_context_enqueue(context: *mut Context, stream: *mut c_void) -> Status;

    pub(crate) fn vla_trt_build_new(library: *const Library, strongly_typed: i32, out: *mut *mut Build) -> Status;
    pub(crate) fn vla_trt_build_free(build: *mut Build);
    pub(crate) fn vla_trt_build_parse(build: *mut Build, onnx: *const c_char) -> Status;
    pub(crate) fn vla_trt_maps_weights() -> i32;
    pub(crate) fn vla_trt_build_parse_mapped(
        build: *mut Build,
        onnx: *const c_char,
        model: *const c_void,
        bytes: u64,
        weights: *const RawWeight,
        count: u64,
    ) -> Status;
    pub(crate) fn vla_trt_build_parser_error(build: *const Build, index: i32, out: *mut RawParserError) -> Status;
    pub(crate) fn vla_trt_build_network(build: *const Build, out: *mut NetworkInfo) -> Status;
    pub(crate) fn vla_trt_build_tensor(build: *const Build, is_input: i32, index: i32, out: *mut RawTensor) -> Status;
    pub(crate) fn vla_trt_build_layer_name(build: *const Build, index: i32, out: *mut *const c_char) -> Status;
    pub(crate) fn vla_trt_build_layer_precision(build: *mut Build, index: i32, dtype: i32, applied: *mut i32)
    -> Status;
    pub(crate) fn vla_trt_build_mark_output(build: *mut Build, tensor: *const c_char) -> Status;
    pub(crate) fn vla_trt_build_flag(build: *mut Build, flag: i32, on: i32) -> Status;
    pub(crate) fn vla_trt_build_platform_has(build: *const Build, flag: i32) -> i32;
    pub(crate) fn vla_trt_build_pool(build: *mut Build, pool: i32, bytes: u64) -> Status;
    pub(crate) fn vla_trt_build_level(build: *mut Build, level: i32) -> Status;
    pub(crate) fn vla_trt_build_aux_streams(build: *mut Build, streams: i32) -> Status;
    pub(crate) fn vla_trt_build_verbosity(build: *mut Build, detailed: i32) -> Status;
    pub(crate) fn vla_trt_build_tactic_sources(build: *mut Build, mask: u32) -> Status;
    pub(crate) fn vla_trt_build_preview(build: *mut Build, feature: i32, on: i32) -> Status;
    pub(crate) fn vla_trt_build_profile_add(build: *mut Build, index: *mut i32) -> Status;
    pub(crate) fn vla_trt_build_profile_set(
        build: *mut Build,
        index: i32,
        input: *const c_char,
        range: *const Range,
    ) -> Status;
    pub(crate) fn vla_trt_build_profile_commit(build: *mut Build, index: i32) -> Status;
    pub(crate) fn vla_trt_build_profile_calibrates(build: *mut Build, index: i32) -> Status;
    pub(crate) fn vla_trt_build_timing_cache(build: *mut Build, data: *const c_void, size: u64) -> Status;
    pub(crate) fn vla_trt_build_timing_cache_out(build: *const Build, sink: SinkFn, user: *mut c_void) -> Status;
    pub(crate) fn vla_trt_build_calibrator(build: *mut Build, calibrator: *const RawCalibrator) -> Status;
    pub(crate) fn vla_trt_build_progress(build: *mut Build, progress: ProgressFn, user: *mut c_void) -> Status;
    pub(crate) fn vla_trt_build_run(build: *mut Build, sink: SinkFn, user: *mut c_void) -> Status;
}

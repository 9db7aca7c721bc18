//! Declarations of `csrc/tensorrt_shim.h`: opaque handles, `repr(C)` structs, the table of functions. Documented in the header.

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

opaque!(Library, Logger, Runtime, Engine, Context, Cache, Build);

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

pub(crate) const FAMILY_TENSORRT: i32 = 0;
pub(crate) const FAMILY_RTX: i32 = 1;

/// The functions of one library family.
#[repr(C)]
pub(crate) struct Api {
    pub(crate) headers_version: unsafe extern "C" fn(out: *mut RawVersion),
    pub(crate) library_open: unsafe extern "C" fn(folder: *const c_char, out: *mut *mut Library) -> Status,
    pub(crate) library_version: unsafe extern "C" fn(library: *const Library, out: *mut RawVersion),
    pub(crate) library_free: unsafe extern "C" fn(library: *mut Library),

    pub(crate) log_trace: unsafe extern "C" fn(trace: LogFn, max_severity: i32) -> Status,
    pub(crate) logger_new:
        unsafe extern "C" fn(log: LogFn, user: *mut c_void, max_severity: i32, out: *mut *mut Logger) -> Status,
    pub(crate) logger_free: unsafe extern "C" fn(logger: *mut Logger),

    pub(crate) runtime_new: unsafe extern "C" fn(library: *const Library, out: *mut *mut Runtime) -> Status,
    pub(crate) runtime_free: unsafe extern "C" fn(runtime: *mut Runtime),

    pub(crate) load_path: unsafe extern "C" fn() -> i32,
    pub(crate) engine_load:
        unsafe extern "C" fn(runtime: *mut Runtime, source: *const Source, out: *mut *mut Engine) -> Status,
    pub(crate) engine_free: unsafe extern "C" fn(engine: *mut Engine),
    pub(crate) engine_describe: unsafe extern "C" fn(engine: *const Engine, out: *mut EngineInfo) -> Status,
    pub(crate) engine_tensor: unsafe extern "C" fn(engine: *const Engine, index: i32, out: *mut RawTensor) -> Status,
    pub(crate) engine_profile:
        unsafe extern "C" fn(engine: *const Engine, input: *const c_char, profile: i32, out: *mut Range) -> Status,
    pub(crate) engine_profile_activation:
        unsafe extern "C" fn(engine: *const Engine, profile: i32, out: *mut i64) -> Status,
    pub(crate) engine_inspect: unsafe extern "C" fn(engine: *const Engine, sink: SinkFn, user: *mut c_void) -> Status,

    pub(crate) cache_new: unsafe extern "C" fn(
        engine: *mut Engine,
        data: *const c_void,
        size: u64,
        used: *mut i32,
        out: *mut *mut Cache,
    ) -> Status,
    pub(crate) cache_out: unsafe extern "C" fn(cache: *const Cache, sink: SinkFn, user: *mut c_void) -> Status,
    pub(crate) cache_free: unsafe extern "C" fn(cache: *mut Cache),

    pub(crate) context_new:
        unsafe extern "C" fn(engine: *mut Engine, profile: i32, cache: *mut Cache, out: *mut *mut Context) -> Status,
    pub(crate) context_free: unsafe extern "C" fn(context: *mut Context),
    pub(crate) context_set_memory: unsafe extern "C" fn(context: *mut Context, address: u64, bytes: u64) -> Status,
    pub(crate) context_set_shape:
        unsafe extern "C" fn(context: *mut Context, input: *const c_char, rank: i32, dims: *const i64) -> Status,
    pub(crate) context_shape:
        unsafe extern "C" fn(context: *const Context, tensor: *const c_char, rank: *mut i32, dims: *mut i64) -> Status,
    pub(crate) context_set_address:
        unsafe extern "C" fn(context: *mut Context, tensor: *const c_char, address: u64) -> Status,
    pub(crate) context_missing:
        unsafe extern "C" fn(context: *mut Context, names: *mut *const c_char, count: *mut i32) -> Status,
    pub(crate) context_enqueue: unsafe extern "C" fn(context: *mut Context, stream: *mut c_void) -> Status,

    pub(crate) build_new:
        unsafe extern "C" fn(library: *const Library, strongly_typed: i32, out: *mut *mut Build) -> Status,
    pub(crate) build_free: unsafe extern "C" fn(build: *mut Build),
    pub(crate) build_parse: unsafe extern "C" fn(build: *mut Build, onnx: *const c_char) -> Status,
    pub(crate) maps_weights: unsafe extern "C" fn() -> i32,
    pub(crate) build_parse_mapped: unsafe extern "C" fn(
        build: *mut Build,
        onnx: *const c_char,
        model: *const c_void,
        bytes: u64,
        weights: *const RawWeight,
        count: u64,
    ) -> Status,
    pub(crate) build_parser_error:
        unsafe extern "C" fn(build: *const Build, index: i32, out: *mut RawParserError) -> Status,
    pub(crate) build_network: unsafe extern "C" fn(build: *const Build, out: *mut NetworkInfo) -> Status,
    pub(crate) build_tensor:
        unsafe extern "C" fn(build: *const Build, is_input: i32, index: i32, out: *mut RawTensor) -> Status,
    pub(crate) build_layer:
        unsafe extern "C" fn(build: *const Build, index: i32, name: *mut *const c_char, layer_type: *mut i32) -> Status,
    pub(crate) build_layer_precision:
        unsafe extern "C" fn(build: *mut Build, index: i32, dtype: i32, applied: *mut i32) -> Status,
    pub(crate) build_mark_output: unsafe extern "C" fn(build: *mut Build, tensor: *const c_char) -> Status,
    pub(crate) build_flag: unsafe extern "C" fn(build: *mut Build, flag: i32, on: i32) -> Status,
    pub(crate) build_platform_has: unsafe extern "C" fn(build: *const Build, flag: i32) -> i32,
    pub(crate) build_pool: unsafe extern "C" fn(build: *mut Build, pool: i32, bytes: u64) -> Status,
    pub(crate) build_level: unsafe extern "C" fn(build: *mut Build, level: i32) -> Status,
    pub(crate) build_aux_streams: unsafe extern "C" fn(build: *mut Build, streams: i32) -> Status,
    pub(crate) build_verbosity: unsafe extern "C" fn(build: *mut Build, detailed: i32) -> Status,
    pub(crate) build_compute_capabilities:
        unsafe extern "C" fn(build: *mut Build, capabilities: *const i32, count: i32) -> Status,
    pub(crate) build_tactic_sources: unsafe extern "C" fn(build: *mut Build, mask: u32) -> Status,
    pub(crate) build_preview: unsafe extern "C" fn(build: *mut Build, feature: i32, on: i32) -> Status,
    pub(crate) build_profile_add: unsafe extern "C" fn(build: *mut Build, index: *mut i32) -> Status,
    pub(crate) build_profile_set:
        unsafe extern "C" fn(build: *mut Build, index: i32, input: *const c_char, range: *const Range) -> Status,
    pub(crate) build_profile_commit: unsafe extern "C" fn(build: *mut Build, index: i32) -> Status,
    pub(crate) build_profile_calibrates: unsafe extern "C" fn(build: *mut Build, index: i32) -> Status,
    pub(crate) build_timing_cache: unsafe extern "C" fn(build: *mut Build, data: *const c_void, size: u64) -> Status,
    pub(crate) build_timing_cache_out:
        unsafe extern "C" fn(build: *const Build, sink: SinkFn, user: *mut c_void) -> Status,
    pub(crate) build_calibrator: unsafe extern "C" fn(build: *mut Build, calibrator: *const RawCalibrator) -> Status,
    pub(crate) build_progress:
        unsafe extern "C" fn(build: *mut Build, progress: ProgressFn, user: *mut c_void) -> Status,
    pub(crate) build_run: unsafe extern "C" fn(build: *mut Build, sink: SinkFn, user: *mut c_void) -> Status,
}

unsafe extern "C" {
    pub(crate) fn vla_trt_last_error() -> *const c_char;
    pub(crate) fn vla_trt_api_of(family: i32) -> *const Api;
}

#[cfg(test)]
mod tests {
    /// The words that follow `before` and precede `after`, in order.
    fn between(text: &str, before: &str, after: &str) -> Vec<String> {
        let parts = text.split(before).skip(1);
        parts.filter_map(|part| part.split_once(after).map(|(name, _)| name.to_owned())).collect()
    }

    #[test]
    fn the_table_has_the_functions_of_the_header_in_its_order() {
        let header = include_str!("../csrc/tensorrt_shim.h");
        let table = header.split_once("typedef struct {\n  // --- library").expect("the table").1;
        let mirrored = include_str!("sys.rs").split_once("struct Api {").expect("the mirror").1;
        let mirrored = mirrored.split_once("\n}").expect("its end").0;
        let (theirs, ours) = (between(table, " (*", ")("), between(mirrored, "pub(crate) ", ":"));
        assert!(theirs.len() > 50, "{theirs:?}");
        assert_eq!(ours, theirs);
    }
}

// Minimal C ABI over TensorRT's C++ classes; ../src/sys.rs mirrors it line by line. Handles are opaque, every function is
// noexcept and returns a status. Decisions are made in Rust, not here.
//
// Compiled once for each library family whose headers are there: TensorRT (libnvinfer) and TensorRT-RTX (libtensorrt_rtx). The
// families have classes of the same names with other layouts, so each gets names of its own (tensorrt_family.h), and gives
// one table of functions, vla_trt_api. Headers fix the major version (tensorrt_version.h holds every difference between
// versions); the libraries are opened at run time, so a program with this shim starts without them.
//
// Ownership: the caller that receives a handle frees it, in the order context, engine, runtime, library; the logger last.
// Strings in structs live as long as the handle that they were read from. Threads: no handle may be used by two
// threads at once; handles may move between threads. A handle is used with the table that made it only.
#ifndef VLA_TRT_TENSORRT_SHIM_H
#define VLA_TRT_TENSORRT_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define VLA_TRT_NOEXCEPT noexcept
#else
#define VLA_TRT_NOEXCEPT
#endif

enum { VLA_TRT_MAX_RANK = 8 };

// Library families.
enum { VLA_TRT_FAMILY_TENSORRT = 0, VLA_TRT_FAMILY_RTX = 1 };

typedef int32_t vla_trt_status;
enum {
  VLA_TRT_OK = 0,
  VLA_TRT_LIBRARY = 1,      // a library or one of its symbols is missing
  VLA_TRT_VERSION = 2,      // the library does not fit the headers that this was compiled against
  VLA_TRT_REFUSED = 3,      // TensorRT returned null or false; the reason is in its log
  VLA_TRT_ARGUMENT = 4,     // an argument makes no sense: no such tensor, rank above 8
  VLA_TRT_UNSUPPORTED = 5,  // this version of TensorRT cannot do it
  VLA_TRT_PARSE = 6,        // the ONNX parser refused; build_parser_error has the details
  VLA_TRT_CANCELLED = 7,    // a progress callback asked to stop
  VLA_TRT_CALLBACK = 8,     // a read, write or batch callback failed
  VLA_TRT_EXCEPTION = 9,    // a C++ exception was caught
};

// --- library ----------------------------------------------------------------------------------------------------

typedef struct {
  uint32_t major, minor, patch;
} vla_trt_version;

typedef struct vla_trt_library vla_trt_library;

// --- log --------------------------------------------------------------------------------------------------------

typedef struct vla_trt_logger vla_trt_logger;

// Severities are TensorRT's: 0 internal error, 1 error, 2 warning, 3 information, 4 verbose. Called from any thread, never
// concurrently.
typedef void (*vla_trt_log_fn)(void* user, int32_t severity, const char* text);

// --- runtime, engine --------------------------------------------------------------------------------------------

typedef struct vla_trt_runtime vla_trt_runtime;
typedef struct vla_trt_engine vla_trt_engine;

// A serialized engine. Before TensorRT 10 `map` is called once and its bytes must stay until the load returns; from
// 10 on `read` is called, always with a host address: it returns the bytes read, 0 at the end, negative on failure.
typedef struct {
  void* user;
  uint64_t size;
  const void* (*map)(void* user);
  int64_t (*read)(void* user, uint64_t offset, void* destination, uint64_t bytes);
} vla_trt_source;

typedef struct {
  const char* name;
  int32_t tensors, layers, profiles;
  int32_t hardware_compatibility;  // TensorRT's enum; 0 is none
  int32_t aux_streams;
  int64_t activation_bytes;  // what a context needs, largest profile
  int64_t weights_bytes;     // -1 where this version does not tell
} vla_trt_engine_info;

typedef struct {
  const char* name;
  int32_t is_input;  // 1 input, 0 output
  int32_t dtype;     // nvinfer1::DataType, whose numbers never changed
  int32_t on_host;   // its address is a host address
  int32_t is_shape;  // its values take part in shape inference
  int32_t is_linear; // row-major in the first profile; 0 for vectorised formats
  int32_t rank;
  int64_t dims[VLA_TRT_MAX_RANK];  // -1 where dynamic
} vla_trt_tensor;

typedef struct {
  int32_t rank;
  int64_t min[VLA_TRT_MAX_RANK], opt[VLA_TRT_MAX_RANK], max[VLA_TRT_MAX_RANK];
} vla_trt_range;

typedef int32_t (*vla_trt_sink_fn)(void* user, const void* data, uint64_t bytes);  // 0 goes on, else stop

// --- context ----------------------------------------------------------------------------------------------------

typedef struct vla_trt_context vla_trt_context;
typedef struct vla_trt_cache vla_trt_cache;

// --- build ------------------------------------------------------------------------------------------------------

typedef struct vla_trt_build vla_trt_build;

typedef struct {
  const char* name;  // of the initializer
  const void* data;  // must stay until the build is freed
  uint64_t bytes;
} vla_trt_weight;

typedef struct {
  int32_t code, node, line;
  const char *text, *node_name, *node_operator, *file, *function;  // node's names are null before TensorRT 10
} vla_trt_parser_error;

typedef struct {
  int32_t inputs, outputs, layers, parser_errors;
} vla_trt_network_info;

enum {
  VLA_TRT_FLAG_FP16 = 0,
  VLA_TRT_FLAG_BF16 = 1,
  VLA_TRT_FLAG_INT8 = 2,
  VLA_TRT_FLAG_TF32 = 3,
  VLA_TRT_FLAG_OBEY_PRECISION = 4,
  VLA_TRT_FLAG_PREFER_PRECISION = 5,
  VLA_TRT_FLAG_MONITOR_MEMORY = 6,
};

enum { VLA_TRT_POOL_WORKSPACE = 0, VLA_TRT_POOL_TACTIC_DRAM = 1 };

enum {
  VLA_TRT_TACTIC_CUBLAS = 1,
  VLA_TRT_TACTIC_CUBLAS_LT = 2,
  VLA_TRT_TACTIC_CUDNN = 4,
  VLA_TRT_TACTIC_EDGE_MASK = 8,
  VLA_TRT_TACTIC_JIT = 16,
};

enum { VLA_TRT_PREVIEW_SHARE_PROFILES = 0, VLA_TRT_PREVIEW_FASTER_DYNAMIC_SHAPES = 1 };

typedef struct {
  void* user;
  int32_t batch_size;
  // Writes one device address per name. Returns 1 with a batch, 0 after the last, negative on failure (ends calibration).
  int32_t (*batch)(void* user, void** addresses, const char* const* names, int32_t count);
  void (*write_cache)(void* user, const void* data, uint64_t size);
  const void* cache;  // read instead of calibrating when cache_size is not 0; copied
  uint64_t cache_size;
} vla_trt_calibrator;

// Called from any of TensorRT's threads, also concurrently. `kind`: 0 phase begins (number = its steps, parent may be
// null), 1 step done (number = the step), 2 phase ends. Returning 0 cancels the build at the next step.
typedef int32_t (*vla_trt_progress_fn)(void* user, int32_t kind, const char* phase, const char* parent, int32_t number);

// This thread's buffer for that text; for the shim's own source files.
enum { VLA_TRT_ERROR_SIZE = 4096 };
char* vla_trt_error_text(void) VLA_TRT_NOEXCEPT;

// Error text of this thread's last status other than VLA_TRT_OK, of either family. Valid until the next call on this thread.
const char* vla_trt_last_error(void) VLA_TRT_NOEXCEPT;

typedef struct {
  // --- library ----------------------------------------------------------------------------------------------------

  // Version of the headers that this was compiled against.
  void (*headers_version)(vla_trt_version* out) VLA_TRT_NOEXCEPT;

  // Opens the family's library, named with the major version of the headers and then without, in `folder` or (null) by the
  // loader's own search.
  // Refuses another major version, and one older than the headers. The library stays open until the process ends.
  vla_trt_status (*library_open)(const char* folder, vla_trt_library** out) VLA_TRT_NOEXCEPT;
  void (*library_version)(const vla_trt_library* library, vla_trt_version* out) VLA_TRT_NOEXCEPT;
  void (*library_free)(vla_trt_library* library) VLA_TRT_NOEXCEPT;

  // --- log --------------------------------------------------------------------------------------------------------

  // Receives every line once, independent of the registered loggers; `user` is null.
  vla_trt_status (*log_trace)(vla_trt_log_fn trace, int32_t max_severity) VLA_TRT_NOEXCEPT;

  // Receives every line up to `max_severity` that TensorRT logs in this process from now on. TensorRT has one logger per process,
  // so a line cannot be attributed to a runtime or builder.
  vla_trt_status (*logger_new)(vla_trt_log_fn log, void* user, int32_t max_severity,
                               vla_trt_logger** out) VLA_TRT_NOEXCEPT;
  // When this returns, no call with `user` is running and none will follow.
  void (*logger_free)(vla_trt_logger* logger) VLA_TRT_NOEXCEPT;

  // --- runtime, engine --------------------------------------------------------------------------------------------

  vla_trt_status (*runtime_new)(const vla_trt_library* library, vla_trt_runtime** out) VLA_TRT_NOEXCEPT;
  void (*runtime_free)(vla_trt_runtime* runtime) VLA_TRT_NOEXCEPT;

  // How this version loads: 0 one mapped buffer, 1 IStreamReader, 2 IStreamReaderV2.
  int32_t (*load_path)(void) VLA_TRT_NOEXCEPT;
  vla_trt_status (*engine_load)(vla_trt_runtime* runtime, const vla_trt_source* source,
                                vla_trt_engine** out) VLA_TRT_NOEXCEPT;
  void (*engine_free)(vla_trt_engine* engine) VLA_TRT_NOEXCEPT;

  vla_trt_status (*engine_describe)(const vla_trt_engine* engine, vla_trt_engine_info* out) VLA_TRT_NOEXCEPT;
  vla_trt_status (*engine_tensor)(const vla_trt_engine* engine, int32_t index, vla_trt_tensor* out) VLA_TRT_NOEXCEPT;
  vla_trt_status (*engine_profile)(const vla_trt_engine* engine, const char* input, int32_t profile,
                                   vla_trt_range* out) VLA_TRT_NOEXCEPT;
  vla_trt_status (*engine_profile_activation)(const vla_trt_engine* engine, int32_t profile,
                                              int64_t* out) VLA_TRT_NOEXCEPT;
  // Layers as JSON; names only, unless the engine was built with detailed verbosity.
  vla_trt_status (*engine_inspect)(const vla_trt_engine* engine, vla_trt_sink_fn sink, void* user) VLA_TRT_NOEXCEPT;

  // --- context ----------------------------------------------------------------------------------------------------

  // A cache of the kernels that TensorRT-RTX compiles on this machine, for contexts of this engine; `data` is an earlier one
  // (size 0: none). `used` is 0 when the library does not take it: another GPU, driver or version. Unsupported by TensorRT.
  vla_trt_status (*cache_new)(vla_trt_engine* engine, const void* data, uint64_t size, int32_t* used,
                              vla_trt_cache** out) VLA_TRT_NOEXCEPT;
  vla_trt_status (*cache_out)(const vla_trt_cache* cache, vla_trt_sink_fn sink, void* user) VLA_TRT_NOEXCEPT;
  // After the contexts that were made with it.
  void (*cache_free)(vla_trt_cache* cache) VLA_TRT_NOEXCEPT;

  // On `profile`, without allocating activation memory, persistent L2 cache off. `cache` may be null.
  vla_trt_status (*context_new)(vla_trt_engine* engine, int32_t profile, vla_trt_cache* cache,
                                vla_trt_context** out) VLA_TRT_NOEXCEPT;
  void (*context_free)(vla_trt_context* context) VLA_TRT_NOEXCEPT;
  vla_trt_status (*context_set_memory)(vla_trt_context* context, uint64_t address, uint64_t bytes) VLA_TRT_NOEXCEPT;
  vla_trt_status (*context_set_shape)(vla_trt_context* context, const char* input, int32_t rank,
                                      const int64_t* dims) VLA_TRT_NOEXCEPT;
  vla_trt_status (*context_shape)(const vla_trt_context* context, const char* tensor, int32_t* rank,
                                  int64_t* dims) VLA_TRT_NOEXCEPT;
  vla_trt_status (*context_set_address)(vla_trt_context* context, const char* tensor,
                                        uint64_t address) VLA_TRT_NOEXCEPT;
  // Inputs whose shape (or, for shape inputs, address) is still missing: their number, and up to 8 names.
  vla_trt_status (*context_missing)(vla_trt_context* context, const char** names, int32_t* count) VLA_TRT_NOEXCEPT;
  vla_trt_status (*context_enqueue)(vla_trt_context* context, void* stream) VLA_TRT_NOEXCEPT;

  // --- build ------------------------------------------------------------------------------------------------------

  // Opens the family's ONNX parser beside its library. The calls below follow in any order; parse before profiles and layers.
  vla_trt_status (*build_new)(const vla_trt_library* library, int32_t strongly_typed,
                              vla_trt_build** out) VLA_TRT_NOEXCEPT;
  void (*build_free)(vla_trt_build* build) VLA_TRT_NOEXCEPT;

  // From the file, so that external data beside it is found.
  vla_trt_status (*build_parse)(vla_trt_build* build, const char* onnx) VLA_TRT_NOEXCEPT;

  // 1 when build_parse_mapped works: TensorRT 10.13 and later, TensorRT-RTX.
  int32_t (*maps_weights)(void) VLA_TRT_NOEXCEPT;

  // The model's bytes with the weights that lie outside them; `onnx` names its file.
  vla_trt_status (*build_parse_mapped)(vla_trt_build* build, const char* onnx, const void* model, uint64_t bytes,
                                       const vla_trt_weight* weights, uint64_t count) VLA_TRT_NOEXCEPT;

  vla_trt_status (*build_parser_error)(const vla_trt_build* build, int32_t index,
                                       vla_trt_parser_error* out) VLA_TRT_NOEXCEPT;

  vla_trt_status (*build_network)(const vla_trt_build* build, vla_trt_network_info* out) VLA_TRT_NOEXCEPT;
  vla_trt_status (*build_tensor)(const vla_trt_build* build, int32_t is_input, int32_t index,
                                 vla_trt_tensor* out) VLA_TRT_NOEXCEPT;
  // A layer's name and nvinfer1::LayerType, whose numbers never changed.
  vla_trt_status (*build_layer)(const vla_trt_build* build, int32_t index, const char** name,
                                int32_t* type) VLA_TRT_NOEXCEPT;
  // Asks for this layer to compute in `dtype` (0 f32, 1 f16) and to give its outputs so. `applied` is 0 where the layer
  // has no floating-point output to set. Not in strongly typed networks, and not from TensorRT 11 on.
  vla_trt_status (*build_layer_precision)(vla_trt_build* build, int32_t index, int32_t dtype,
                                          int32_t* applied) VLA_TRT_NOEXCEPT;
  // Makes the tensor of this name, inside the network, an output too.
  vla_trt_status (*build_mark_output)(vla_trt_build* build, const char* tensor) VLA_TRT_NOEXCEPT;

  vla_trt_status (*build_flag)(vla_trt_build* build, int32_t flag, int32_t on) VLA_TRT_NOEXCEPT;
  // Whether the GPU has fast VLA_TRT_FLAG_FP16, INT8 or TF32: 1 yes, 0 no, -1 not reported by this version.
  int32_t (*build_platform_has)(const vla_trt_build* build, int32_t flag) VLA_TRT_NOEXCEPT;

  vla_trt_status (*build_pool)(vla_trt_build* build, int32_t pool, uint64_t bytes) VLA_TRT_NOEXCEPT;
  vla_trt_status (*build_level)(vla_trt_build* build, int32_t level) VLA_TRT_NOEXCEPT;
  vla_trt_status (*build_aux_streams)(vla_trt_build* build, int32_t streams) VLA_TRT_NOEXCEPT;
  vla_trt_status (*build_verbosity)(vla_trt_build* build, int32_t detailed) VLA_TRT_NOEXCEPT;

  // Builds for GPUs of these compute capabilities (86 is 8.6) in place of this machine's. TensorRT-RTX only.
  vla_trt_status (*build_compute_capabilities)(vla_trt_build* build, const int32_t* capabilities,
                                               int32_t count) VLA_TRT_NOEXCEPT;

  // Exactly these sources and no other.
  vla_trt_status (*build_tactic_sources)(vla_trt_build* build, uint32_t mask) VLA_TRT_NOEXCEPT;

  // Preview features of 8.6 that are always on in later versions: there, on has no effect and off is unsupported.
  vla_trt_status (*build_preview)(vla_trt_build* build, int32_t feature, int32_t on) VLA_TRT_NOEXCEPT;

  // A profile: added, then one range per dynamic input, then committed. For a shape input the range holds its values.
  vla_trt_status (*build_profile_add)(vla_trt_build* build, int32_t* index) VLA_TRT_NOEXCEPT;
  vla_trt_status (*build_profile_set)(vla_trt_build* build, int32_t index, const char* input,
                                      const vla_trt_range* range) VLA_TRT_NOEXCEPT;
  vla_trt_status (*build_profile_commit)(vla_trt_build* build, int32_t index) VLA_TRT_NOEXCEPT;
  // The profile whose optimum is the shape of calibration batches; committed or not.
  vla_trt_status (*build_profile_calibrates)(vla_trt_build* build, int32_t index) VLA_TRT_NOEXCEPT;

  // An empty cache (size 0) is filled by the build. A cache of another device or version is refused.
  vla_trt_status (*build_timing_cache)(vla_trt_build* build, const void* data, uint64_t size) VLA_TRT_NOEXCEPT;
  vla_trt_status (*build_timing_cache_out)(const vla_trt_build* build, vla_trt_sink_fn sink,
                                           void* user) VLA_TRT_NOEXCEPT;

  vla_trt_status (*build_calibrator)(vla_trt_build* build, const vla_trt_calibrator* calibrator) VLA_TRT_NOEXCEPT;

  // Unsupported before TensorRT 10.
  vla_trt_status (*build_progress)(vla_trt_build* build, vla_trt_progress_fn progress, void* user) VLA_TRT_NOEXCEPT;

  // Builds and writes the plan in pieces: while TensorRT serialises it from 10.13 on, from one host buffer before.
  vla_trt_status (*build_run)(vla_trt_build* build, vla_trt_sink_fn sink, void* user) VLA_TRT_NOEXCEPT;
} vla_trt_api;

// The functions of a family; null where this program was compiled without its headers.
const vla_trt_api* vla_trt_api_of(int32_t family) VLA_TRT_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif

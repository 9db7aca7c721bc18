// Library, log, runtime, engine and context of the C ABI in tensorrt_shim.h.
#include "tensorrt_common.h"
#include "tensorrt_cuda.h"

#include <cstdarg>
#include <cstdio>

#include <dlfcn.h>

namespace {

thread_local char last_error[4096] = "";

}  // namespace

namespace vla_trt {

vla_trt_status fail(vla_trt_status status, char const* format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  static_cast<void>(std::vsnprintf(last_error, sizeof last_error, format, arguments));
  va_end(arguments);
  return status;
}

void* symbol_of(void* library, char const* symbol) noexcept { return dlsym(library, symbol); }

void* open_library(std::string const& folder, std::string const& name, std::string& why) {
  std::string const path = folder.empty() ? name : folder + "/" + name;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    char const* words = dlerror();
    why += why.empty() ? "" : "; ";
    why += words != nullptr ? words : path + " cannot be opened";
  }
  return library;
}

}  // namespace vla_trt

using vla_trt::fail;
using vla_trt::guarded;

extern "C" char const* vla_trt_last_error(void) noexcept { return last_error; }

// --- library ----------------------------------------------------------------------------------------------------

extern "C" void vla_trt_headers_version(vla_trt_version* out) noexcept {
  *out = {NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH};
}

namespace {

// The version of an opened libnvinfer; false when it does not tell one.
bool version_of(void* infer, vla_trt_version& out) {
  auto const tell = reinterpret_cast<int32_t (*)()>(vla_trt::symbol_of(infer, "getInferLibVersion"));
  if (tell == nullptr) {
    return false;
  }
  vla_trt::unpack_version(tell(), out.major, out.minor, out.patch);
  return true;
}

// A library of another major version, so that a refusal can name it: null when there is none either.
void* open_another_major(std::string const& folder) {
  std::string unused;
  for (int major = 8; major <= NV_TENSORRT_MAJOR + 4; ++major) {
    void* found = vla_trt::open_library(folder, "libnvinfer.so." + std::to_string(major), unused);
    if (found != nullptr) {
      return found;
    }
  }
  return nullptr;
}

// `why`: what the loader said about the name that was looked for first, if anything.
vla_trt_status check_version(vla_trt_version const& found, std::string const& why) {
  vla_trt_version wanted{};
  vla_trt_headers_version(&wanted);
  // Within a major version functions are only added, at the end: a newer library serves, an older one lacks some.
  if (found.major == wanted.major && found.minor >= wanted.minor) {
    return VLA_TRT_OK;
  }
  return fail(VLA_TRT_VERSION,
              "this program was built with the headers of TensorRT %u.%u.%u, the library found is %s%u.%u.%u%s%s%s",
              wanted.major, wanted.minor, wanted.patch, found.major == wanted.major ? "the older " : "", found.major,
              found.minor, found.patch, why.empty() ? "" : " (", why.c_str(), why.empty() ? "" : ")");
}

}  // namespace

extern "C" vla_trt_status vla_trt_library_open(char const* folder, vla_trt_library** out) noexcept {
  return guarded("opening libnvinfer", [&]() -> vla_trt_status {
    auto library = std::make_unique<vla_trt_library>();
    library->folder = folder != nullptr ? folder : "";
    std::string why;
    library->infer =
        vla_trt::open_library(library->folder, "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR), why);
    if (library->infer == nullptr) {
      library->infer = vla_trt::open_library(library->folder, "libnvinfer.so", why);
    }
    if (library->infer == nullptr) {
      library->infer = open_another_major(library->folder);
    }
    if (library->infer == nullptr) {
      return fail(VLA_TRT_LIBRARY, "%s", why.c_str());
    }
    if (!version_of(library->infer, library->version)) {
      return fail(VLA_TRT_LIBRARY, "libnvinfer has no symbol getInferLibVersion");
    }
    vla_trt_status const status = check_version(library->version, why);
    if (status == VLA_TRT_OK) {
      *out = library.release();
    }
    return status;
  });
}

extern "C" void vla_trt_library_version(vla_trt_library const* library, vla_trt_version* out) noexcept {
  *out = library->version;
}

// The library itself stays open: TensorRT has threads and global objects that do not survive being unloaded.
extern "C" void vla_trt_library_free(vla_trt_library* library) noexcept { delete library; }

// --- log --------------------------------------------------------------------------------------------------------

extern "C" vla_trt_status vla_trt_log_trace(vla_trt_log_fn trace, int32_t max_severity) noexcept {
  return guarded("creating a logger", [&]() -> vla_trt_status {
    vla_trt::Dispatcher::instance().trace(trace, max_severity);
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_logger_new(vla_trt_log_fn log, void* user, int32_t max_severity,
                                             vla_trt_logger** out) noexcept {
  return guarded("creating a logger", [&]() -> vla_trt_status {
    std::unique_ptr<vla_trt_logger> logger(new vla_trt_logger{log, user, max_severity});
    vla_trt::Dispatcher::instance().add(logger.get());
    *out = logger.release();
    return VLA_TRT_OK;
  });
}

extern "C" void vla_trt_logger_free(vla_trt_logger* logger) noexcept {
  vla_trt::Dispatcher::instance().remove(logger);
  delete logger;
}

// --- runtime, engine --------------------------------------------------------------------------------------------

extern "C" vla_trt_status vla_trt_runtime_new(vla_trt_library const* library, vla_trt_runtime** out) noexcept {
  return guarded("creating a runtime", [&]() -> vla_trt_status {
    auto const create = reinterpret_cast<void* (*)(void*, int32_t)>(
        vla_trt::symbol_of(library->infer, "createInferRuntime_INTERNAL"));
    if (create == nullptr) {
      return fail(VLA_TRT_LIBRARY, "libnvinfer has no symbol createInferRuntime_INTERNAL");
    }
    auto handle = std::make_unique<vla_trt_runtime>();
    auto* const as_logger = static_cast<nvinfer1::ILogger*>(&vla_trt::Dispatcher::instance());
    handle->runtime.reset(static_cast<nvinfer1::IRuntime*>(create(as_logger, NV_TENSORRT_VERSION)));
    if (handle->runtime == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT created no runtime");
    }
    *out = handle.release();
    return VLA_TRT_OK;
  });
}

extern "C" void vla_trt_runtime_free(vla_trt_runtime* runtime) noexcept { delete runtime; }

extern "C" void vla_trt_engine_free(vla_trt_engine* engine) noexcept { delete engine; }

extern "C" vla_trt_status vla_trt_engine_describe(vla_trt_engine const* engine, vla_trt_engine_info* out) noexcept {
  return guarded("describing the engine", [&]() -> vla_trt_status {
    auto const& from = *engine->engine;
    *out = {};
    out->name = from.getName();
    out->tensors = from.getNbIOTensors();
    out->layers = from.getNbLayers();
    out->profiles = from.getNbOptimizationProfiles();
    out->hardware_compatibility = static_cast<int32_t>(from.getHardwareCompatibilityLevel());
    out->aux_streams = from.getNbAuxStreams();
    out->activation_bytes = vla_trt::activation_bytes(from);
    out->weights_bytes = vla_trt::weights_bytes(from);
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_engine_tensor(vla_trt_engine const* engine, int32_t index,
                                                vla_trt_tensor* out) noexcept {
  return guarded("describing a tensor", [&]() -> vla_trt_status {
    auto const& from = *engine->engine;
    char const* const name = from.getIOTensorName(index);
    if (name == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "the engine has no tensor %d", index);
    }
    *out = {};
    out->name = name;
    out->is_input = from.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    out->dtype = static_cast<int32_t>(from.getTensorDataType(name));
    out->on_host = from.getTensorLocation(name) == nvinfer1::TensorLocation::kHOST;
    out->is_shape = from.isShapeInferenceIO(name);
    out->is_linear = from.getTensorFormat(name) == nvinfer1::TensorFormat::kLINEAR;
    if (!vla_trt::dims_out(from.getTensorShape(name), out->rank, out->dims)) {
      return fail(VLA_TRT_REFUSED, "tensor '%s' has rank %d", name, out->rank);
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_engine_profile(vla_trt_engine const* engine, char const* input, int32_t profile,
                                                 vla_trt_range* out) noexcept {
  return guarded("reading an optimisation profile", [&]() -> vla_trt_status {
    using Select = nvinfer1::OptProfileSelector;
    auto const& from = *engine->engine;
    *out = {};
    int32_t ranks[3] = {};
    bool const known =
        vla_trt::dims_out(from.getProfileShape(input, profile, Select::kMIN), ranks[0], out->min) &&
        vla_trt::dims_out(from.getProfileShape(input, profile, Select::kOPT), ranks[1], out->opt) &&
        vla_trt::dims_out(from.getProfileShape(input, profile, Select::kMAX), ranks[2], out->max);
    if (!known || ranks[0] != ranks[1] || ranks[1] != ranks[2]) {
      return fail(VLA_TRT_ARGUMENT, "input '%s' has no shapes in profile %d", input, profile);
    }
    out->rank = ranks[0];
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_engine_profile_activation(vla_trt_engine const* engine, int32_t profile,
                                                            int64_t* out) noexcept {
  return guarded("asking for activation memory", [&]() -> vla_trt_status {
    if (profile < 0 || profile >= engine->engine->getNbOptimizationProfiles()) {
      return fail(VLA_TRT_ARGUMENT, "the engine has no profile %d", profile);
    }
    *out = vla_trt::activation_bytes(*engine->engine, profile);
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_engine_inspect(vla_trt_engine const* engine, vla_trt_sink_fn sink,
                                                 void* user) noexcept {
  return guarded("inspecting the engine", [&]() -> vla_trt_status {
    std::unique_ptr<nvinfer1::IEngineInspector> inspector(engine->engine->createEngineInspector());
    if (inspector == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT created no engine inspector");
    }
    char const* const text = inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON);
    if (text == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT gives no information about the engine");
    }
    if (sink(user, text, std::char_traits<char>::length(text)) != 0) {
      return fail(VLA_TRT_CALLBACK, "the engine's description could not be taken");
    }
    return VLA_TRT_OK;
  });
}

// --- context ----------------------------------------------------------------------------------------------------

struct vla_trt_context {
  std::unique_ptr<nvinfer1::IExecutionContext> context;
};

namespace {

// Without dynamic inputs there is one profile and nothing to choose; 8.6 would refuse it to a second context.
bool has_dynamic_input(nvinfer1::ICudaEngine const& engine) {
  for (int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
    char const* const name = engine.getIOTensorName(i);
    if (engine.getTensorIOMode(name) != nvinfer1::TensorIOMode::kINPUT) {
      continue;
    }
    vla_trt::Dims const dims = engine.getTensorShape(name);
    for (int32_t d = 0; d < dims.nbDims; ++d) {
      if (dims.d[d] < 0) {
        return true;
      }
    }
    if (engine.isShapeInferenceIO(name)) {
      return true;
    }
  }
  return false;
}

}  // namespace

extern "C" vla_trt_status vla_trt_context_new(vla_trt_engine* engine, int32_t profile,
                                              vla_trt_context** out) noexcept {
  return guarded("creating an execution context", [&]() -> vla_trt_status {
    auto handle = std::make_unique<vla_trt_context>();
    handle->context.reset(vla_trt::create_context(*engine->engine));
    if (handle->context == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT created no execution context");
    }
    handle->context->setPersistentCacheLimit(0);
    if (handle->context->getOptimizationProfile() != profile && has_dynamic_input(*engine->engine)) {
      if (!handle->context->setOptimizationProfileAsync(profile, nullptr)) {
        return fail(VLA_TRT_REFUSED, "TensorRT does not take optimisation profile %d", profile);
      }
      // That was put on the default stream; waited for here, so that no stream of the caller's has to come after it.
      int const error = vla_trt::Driver().synchronize(nullptr);
      if (error != 0) {
        return fail(VLA_TRT_REFUSED, "optimisation profile %d cannot be set: CUDA error %d", profile, error);
      }
    }
    *out = handle.release();
    return VLA_TRT_OK;
  });
}

extern "C" void vla_trt_context_free(vla_trt_context* context) noexcept { delete context; }

extern "C" vla_trt_status vla_trt_context_set_memory(vla_trt_context* context, uint64_t address,
                                                     uint64_t bytes) noexcept {
  return guarded("setting the activation memory", [&]() -> vla_trt_status {
    int64_t const needed = vla_trt::activation_bytes(context->context->getEngine());
    if (needed > 0 && (address == 0 || address % 256 != 0)) {
      return fail(VLA_TRT_ARGUMENT, "activation memory at address 0x%llx, expected one aligned to 256 bytes",
                  static_cast<unsigned long long>(address));
    }
    vla_trt::set_memory(*context->context, reinterpret_cast<void*>(static_cast<uintptr_t>(address)),
                        static_cast<int64_t>(bytes));
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_context_set_shape(vla_trt_context* context, char const* input, int32_t rank,
                                                    int64_t const* dims) noexcept {
  return guarded("setting a shape", [&]() -> vla_trt_status {
    vla_trt::Dims shape;
    if (!vla_trt::dims_in(rank, dims, shape)) {
      return fail(VLA_TRT_ARGUMENT, "input '%s': a shape of rank %d, or an extent, that TensorRT cannot hold", input, rank);
    }
    if (!context->context->setInputShape(input, shape)) {
      return fail(VLA_TRT_REFUSED, "TensorRT refuses this shape of input '%s'", input);
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_context_shape(vla_trt_context const* context, char const* tensor, int32_t* rank,
                                                int64_t* dims) noexcept {
  return guarded("asking for a shape", [&]() -> vla_trt_status {
    if (!vla_trt::dims_out(context->context->getTensorShape(tensor), *rank, dims)) {
      return fail(VLA_TRT_ARGUMENT, "tensor '%s' has no shape", tensor);
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_context_set_address(vla_trt_context* context, char const* tensor,
                                                      uint64_t address) noexcept {
  return guarded("setting a tensor's address", [&]() -> vla_trt_status {
    if (!context->context->setTensorAddress(tensor, reinterpret_cast<void*>(static_cast<uintptr_t>(address)))) {
      return fail(VLA_TRT_REFUSED, "TensorRT does not take an address for tensor '%s'", tensor);
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_context_missing(vla_trt_context* context, char const** names,
                                                  int32_t* count) noexcept {
  return guarded("checking the input shapes", [&]() -> vla_trt_status {
    *count = context->context->inferShapes(VLA_TRT_MAX_RANK, names);
    if (*count < 0) {
      return fail(VLA_TRT_REFUSED, "TensorRT cannot infer the shapes of the outputs");
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_context_enqueue(vla_trt_context* context, void* stream) noexcept {
  return guarded("enqueueing", [&]() -> vla_trt_status {
    if (!context->context->enqueueV3(static_cast<cudaStream_t>(stream))) {
      return fail(VLA_TRT_REFUSED, "TensorRT could not enqueue the engine");
    }
    return VLA_TRT_OK;
  });
}

// Library, log, runtime and engine of the C ABI in tensorrt_shim.h, and its table.
#include "tensorrt_common.h"
#include "tensorrt_cuda.h"

#include <cstdarg>
#include <cstdio>

#include <dlfcn.h>

namespace vla_trt {

vla_trt_status fail(vla_trt_status status, char const* format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  static_cast<void>(std::vsnprintf(vla_trt_error_text(), VLA_TRT_ERROR_SIZE, format, arguments));
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

namespace {

// --- library ----------------------------------------------------------------------------------------------------

void headers_version(vla_trt_version* out) noexcept {
  *out = {NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH};
}

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
  for (int major = VLA_TRT_RTX != 0 ? 1 : 8; major <= NV_TENSORRT_MAJOR + 4; ++major) {
    void* found = vla_trt::open_library(folder, std::string(VLA_TRT_MAIN_LIBRARY ".") + std::to_string(major), unused);
    if (found != nullptr) {
      return found;
    }
  }
  return nullptr;
}

// `why`: what the loader said about the name that was looked for first, if anything.
vla_trt_status check_version(vla_trt_version const& found, std::string const& why) {
  vla_trt_version wanted{};
  headers_version(&wanted);
  // Within a major version of TensorRT functions are only added, at the end: a newer library serves, an older one lacks some.
  // TensorRT-RTX gives its enumerators other numbers in each minor version (kMONITOR_MEMORY is 25 in 1.3 and 24 in 1.7).
  bool const fits = VLA_TRT_RTX != 0 ? found.minor == wanted.minor : found.minor >= wanted.minor;
  if (found.major == wanted.major && fits) {
    return VLA_TRT_OK;
  }
  return fail(VLA_TRT_VERSION,
              "this program was built with the headers of " VLA_TRT_PRODUCT " %u.%u.%u, the library found is %s%u.%u.%u%s%s%s",
              wanted.major, wanted.minor, wanted.patch, found.major == wanted.major && found.minor < wanted.minor ? "the older " : "", found.major,
              found.minor, found.patch, why.empty() ? "" : " (", why.c_str(), why.empty() ? "" : ")");
}

vla_trt_status library_open(char const* folder, vla_trt_library** out) noexcept {
  return guarded("opening " VLA_TRT_MAIN_LIBRARY, [&]() -> vla_trt_status {
    auto library = std::make_unique<vla_trt_library>();
    library->folder = folder != nullptr ? folder : "";
    std::string why;
    std::string const name = VLA_TRT_MAIN_LIBRARY;
    library->infer = vla_trt::open_library(library->folder, name + "." + std::to_string(NV_TENSORRT_MAJOR), why);
    if (library->infer == nullptr) {
      library->infer = vla_trt::open_library(library->folder, name, why);
    }
    if (library->infer == nullptr) {
      library->infer = open_another_major(library->folder);
    }
    if (library->infer == nullptr) {
      return fail(VLA_TRT_LIBRARY, "%s", why.c_str());
    }
    if (!version_of(library->infer, library->version)) {
      return fail(VLA_TRT_LIBRARY, VLA_TRT_MAIN_LIBRARY " has no symbol getInferLibVersion");
    }
    vla_trt_status const status = check_version(library->version, why);
    if (status == VLA_TRT_OK) {
      *out = library.release();
    }
    return status;
  });
}

void library_version(vla_trt_library const* library, vla_trt_version* out) noexcept {
  *out = library->version;
}

// The library itself stays open: TensorRT has threads and global objects that do not survive being unloaded.
void library_free(vla_trt_library* library) noexcept { delete library; }

// --- log --------------------------------------------------------------------------------------------------------

vla_trt_status log_trace(vla_trt_log_fn trace, int32_t max_severity) noexcept {
  return guarded("creating a logger", [&]() -> vla_trt_status {
    vla_trt::Dispatcher::instance().trace(trace, max_severity);
    return VLA_TRT_OK;
  });
}

vla_trt_status logger_new(vla_trt_log_fn log, void* user, int32_t max_severity,
                                             vla_trt_logger** out) noexcept {
  return guarded("creating a logger", [&]() -> vla_trt_status {
    std::unique_ptr<vla_trt_logger> logger(new vla_trt_logger{log, user, max_severity});
    vla_trt::Dispatcher::instance().add(logger.get());
    *out = logger.release();
    return VLA_TRT_OK;
  });
}

void logger_free(vla_trt_logger* logger) noexcept {
  vla_trt::Dispatcher::instance().remove(logger);
  delete logger;
}

// --- runtime, engine --------------------------------------------------------------------------------------------

vla_trt_status runtime_new(vla_trt_library const* library, vla_trt_runtime** out) noexcept {
  return guarded("creating a runtime", [&]() -> vla_trt_status {
    auto const create = reinterpret_cast<void* (*)(void*, int32_t)>(
        vla_trt::symbol_of(library->infer, "createInferRuntime_INTERNAL"));
    if (create == nullptr) {
      return fail(VLA_TRT_LIBRARY, VLA_TRT_MAIN_LIBRARY " has no symbol createInferRuntime_INTERNAL");
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

void runtime_free(vla_trt_runtime* runtime) noexcept { delete runtime; }

void engine_free(vla_trt_engine* engine) noexcept { delete engine; }

vla_trt_status engine_describe(vla_trt_engine const* engine, vla_trt_engine_info* out) noexcept {
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

vla_trt_status engine_tensor(vla_trt_engine const* engine, int32_t index,
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

vla_trt_status engine_profile(vla_trt_engine const* engine, char const* input, int32_t profile,
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

vla_trt_status engine_profile_activation(vla_trt_engine const* engine, int32_t profile,
                                                            int64_t* out) noexcept {
  return guarded("asking for activation memory", [&]() -> vla_trt_status {
    if (profile < 0 || profile >= engine->engine->getNbOptimizationProfiles()) {
      return fail(VLA_TRT_ARGUMENT, "the engine has no profile %d", profile);
    }
    *out = vla_trt::activation_bytes(*engine->engine, profile);
    return VLA_TRT_OK;
  });
}

vla_trt_status engine_inspect(vla_trt_engine const* engine, vla_trt_sink_fn sink,
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

}  // namespace

void vla_trt::add_runtime(vla_trt_api& api) noexcept {
  api.headers_version = headers_version;
  api.library_open = library_open;
  api.library_version = library_version;
  api.library_free = library_free;
  api.log_trace = log_trace;
  api.logger_new = logger_new;
  api.logger_free = logger_free;
  api.runtime_new = runtime_new;
  api.runtime_free = runtime_free;
  api.engine_free = engine_free;
  api.engine_describe = engine_describe;
  api.engine_tensor = engine_tensor;
  api.engine_profile = engine_profile;
  api.engine_profile_activation = engine_profile_activation;
  api.engine_inspect = engine_inspect;
}

#if VLA_TRT_RTX
extern "C" vla_trt_api const* vla_trt_api_rtx(void) noexcept {
#else
extern "C" vla_trt_api const* vla_trt_api_tensorrt(void) noexcept {
#endif
  static vla_trt_api const table = [] {
    vla_trt_api api{};
    vla_trt::add_runtime(api);
    vla_trt::add_load(api);
    vla_trt::add_context(api);
    vla_trt::add_build(api);
    vla_trt::add_configuration(api);
    return api;
  }();
  return &table;
}

// What the shim's two parts (running and building engines) share: error text, handles, dimensions.
#ifndef VLA_TRT_TENSORRT_COMMON_H
#define VLA_TRT_TENSORRT_COMMON_H

#include "tensorrt_shim.h"

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>

#include "tensorrt_version.h"

namespace vla_trt {

// Keeps the words for vla_trt_last_error and returns the status. Text beyond 4 KiB is cut; nothing is allocated.
vla_trt_status fail(vla_trt_status status, char const* format, ...) noexcept __attribute__((format(printf, 2, 3)));

// Runs `body`; an exception becomes a status.
template <typename Body>
vla_trt_status guarded(char const* what, Body&& body) noexcept {
  try {
    return body();
  } catch (std::bad_alloc const&) {
    return fail(VLA_TRT_EXCEPTION, "%s: out of memory", what);
  } catch (std::exception const& error) {
    return fail(VLA_TRT_EXCEPTION, "%s: %s", what, error.what());
  } catch (...) {
    return fail(VLA_TRT_EXCEPTION, "%s: an unknown C++ exception", what);
  }
}

// The address of `symbol`, or null.
void* symbol_of(void* library, char const* symbol) noexcept;

// Opens `name` in `folder` (empty: the loader's search); null on failure, with the loader's words in `why`.
void* open_library(std::string const& folder, std::string const& name, std::string& why);

// False when the rank is negative (TensorRT's "invalid") or above 8.
inline bool dims_out(Dims const& from, int32_t& rank, int64_t* to) noexcept {
  rank = from.nbDims;
  if (rank < 0 || rank > VLA_TRT_MAX_RANK) {
    return false;
  }
  for (int32_t i = 0; i < rank; ++i) {
    to[i] = from.d[i];
  }
  return true;
}

// False when the rank or an extent does not fit.
inline bool dims_in(int32_t rank, int64_t const* from, Dims& to) noexcept {
  to = Dims{};
  if (rank < 0 || rank > Dims::MAX_DIMS) {
    return false;
  }
  to.nbDims = rank;
  for (int32_t i = 0; i < rank; ++i) {
    to.d[i] = static_cast<Extent>(from[i]);
    if (to.d[i] != from[i]) {
      return false;
    }
  }
  return true;
}

}  // namespace vla_trt

struct vla_trt_library {
  void* infer = nullptr;
  std::string folder;
  vla_trt_version version{};
};

// TensorRT's logger. Its address outlives everything (see vla_trt_logger_detach).
struct vla_trt_logger final : nvinfer1::ILogger {
  vla_trt_logger(vla_trt_log_fn log_, void* user_, int32_t max_severity_)
      : call(log_), user(user_), max_severity(max_severity_) {}

  void log(Severity severity, nvinfer1::AsciiChar const* text) noexcept override {
    if (static_cast<int32_t>(severity) > max_severity || text == nullptr) {
      return;
    }
    // Held over the call, so that detaching waits for it.
    std::lock_guard<std::mutex> lock(mutex);
    call(user, static_cast<int32_t>(severity), text);
  }

  std::mutex mutex;
  vla_trt_log_fn const call;
  void* user;
  int32_t const max_severity;
};

struct vla_trt_runtime {
  std::unique_ptr<nvinfer1::IRuntime> runtime;
};

struct vla_trt_engine {
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
};

#endif

// Shared by the shim's source files: error text, handles, dimensions.
#ifndef VLA_TRT_TENSORRT_COMMON_H
#define VLA_TRT_TENSORRT_COMMON_H

#include "tensorrt_family.h"

#include "tensorrt_shim.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "tensorrt_version.h"

namespace vla_trt {

// Each source file's functions, added to the family's table.
void add_runtime(vla_trt_api& api) noexcept;
void add_load(vla_trt_api& api) noexcept;
void add_context(vla_trt_api& api) noexcept;
void add_build(vla_trt_api& api) noexcept;
void add_configuration(vla_trt_api& api) noexcept;

// Stores the text for vla_trt_last_error and returns the status. Text beyond 4 KiB is cut off; nothing is allocated.
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

// Opens `name` in `folder` (empty: the loader's search path); null on failure, with the loader's error in `why`.
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

// Receives TensorRT's log lines while it is registered with the dispatcher.
struct vla_trt_logger {
  vla_trt_log_fn const call;
  void* const user;
  int32_t const max_severity;
};

namespace vla_trt {

// The only logger that this process passes to TensorRT. TensorRT keeps the first logger as its global one until the process
// ends and logs many lines through it, independent of the logger that a runtime or builder was created with. With one logger
// per runtime, all but the first would miss lines.
class Dispatcher final : public nvinfer1::ILogger {
 public:
  // Never freed: TensorRT has its address until the process ends.
  static Dispatcher& instance() {
    static auto* const only = new Dispatcher();
    return *only;
  }

  void log(Severity severity, nvinfer1::AsciiChar const* text) noexcept override {
    if (text == nullptr) {
      return;
    }
    auto const level = static_cast<int32_t>(severity);
    // Locked during the calls, so that removing a logger waits for them.
    std::lock_guard<std::mutex> lock(mutex_);
    if (trace_ != nullptr && level <= max_traced_) {
      trace_(nullptr, level, text);
    }
    for (auto const* logger : loggers_) {
      if (level <= logger->max_severity) {
        logger->call(logger->user, level, text);
      }
    }
  }

  void trace(vla_trt_log_fn trace, int32_t max_severity) {
    std::lock_guard<std::mutex> lock(mutex_);
    trace_ = trace;
    max_traced_ = max_severity;
  }

  void add(vla_trt_logger const* logger) {
    std::lock_guard<std::mutex> lock(mutex_);
    loggers_.push_back(logger);
  }

  void remove(vla_trt_logger const* logger) noexcept {
    std::lock_guard<std::mutex> lock(mutex_);
    loggers_.erase(std::remove(loggers_.begin(), loggers_.end(), logger), loggers_.end());
  }

 private:
  std::mutex mutex_;
  vla_trt_log_fn trace_ = nullptr;
  int32_t max_traced_ = 3;
  std::vector<vla_trt_logger const*> loggers_;
};

}  // namespace vla_trt

struct vla_trt_runtime {
  std::unique_ptr<nvinfer1::IRuntime> runtime;
};

struct vla_trt_engine {
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
};

struct vla_trt_context {
  std::unique_ptr<nvinfer1::IExecutionContext> context;
};

// The configuration points to the cache, so it is destroyed first.
struct vla_trt_cache {
#if VLA_TRT_RTX
  std::unique_ptr<nvinfer1::IRuntimeCache> cache;
  std::unique_ptr<nvinfer1::IRuntimeConfig> config;
#endif
};

#endif

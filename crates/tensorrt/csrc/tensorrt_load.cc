// Loading an engine, by buffer or stream reader: the part of the C ABI in tensorrt_shim.h that differs most between
// versions.
#include "tensorrt_common.h"
#include "tensorrt_cuda.h"

using vla_trt::fail;
using vla_trt::guarded;

namespace {

#if VLA_TRT_LOAD_PATH == 2

class Reader final : public nvinfer1::IStreamReaderV2 {
 public:
  explicit Reader(vla_trt_source const& source) : source_(source) {}

  int64_t read(void* destination, int64_t bytes, cudaStream_t stream) noexcept override {
    try {
      int64_t const done = bytes < 0 ? -1 : read_any(static_cast<char*>(destination), bytes, stream);
      position_ += done > 0 ? static_cast<uint64_t>(done) : 0;
      failed_ = failed_ || done < 0;
      return done;
    } catch (...) {
      failed_ = true;
      return -1;
    }
  }

  bool seek(int64_t offset, nvinfer1::SeekPosition where) noexcept override {
    int64_t base = 0;
    switch (where) {
      case nvinfer1::SeekPosition::kSET: break;
      case nvinfer1::SeekPosition::kCUR: base = static_cast<int64_t>(position_); break;
      case nvinfer1::SeekPosition::kEND: base = static_cast<int64_t>(source_.size); break;
      default: return false;
    }
    int64_t const target = base + offset;
    if (target < 0 || static_cast<uint64_t>(target) > source_.size) {
      return false;
    }
    position_ = static_cast<uint64_t>(target);
    return true;
  }

  bool failed() const { return failed_; }
  int cuda_error() const { return cuda_error_; }

  // The engine may still be on its way to the device when TensorRT returns.
  void finish() {
    if (streamed_ && cuda_error_ == 0) {
      cuda_error_ = driver_.synchronize(stream_);
    }
  }

 private:
  static constexpr uint64_t kWINDOW = 8U << 20U;

  // A read is ordered on the stream: whatever was enqueued before may still use the destination, so it is waited for,
  // and the copy is done when this returns.
  int64_t read_any(char* destination, int64_t bytes, void* stream) {
    vla_trt::Driver::Memory const memory = driver_.memory_of(destination);
    if (memory != vla_trt::Driver::Memory::kPAGEABLE) {
      stream_ = stream;
      streamed_ = true;
      cuda_error_ = driver_.synchronize(stream);
    }
    if (cuda_error_ != 0) {
      return -1;
    }
    if (memory != vla_trt::Driver::Memory::kDEVICE) {
      return source_.read(source_.user, position_, destination, static_cast<uint64_t>(bytes));
    }
    uint64_t const wanted = static_cast<uint64_t>(bytes);
    if (window_ == nullptr) {
      window_.reset(new char[kWINDOW]);
    }
    uint64_t done = 0;
    while (done < wanted) {
      uint64_t const step = wanted - done < kWINDOW ? wanted - done : kWINDOW;
      int64_t const got = source_.read(source_.user, position_ + done, window_.get(), step);
      if (got <= 0) {
        return got < 0 ? got : static_cast<int64_t>(done);
      }
      cuda_error_ = driver_.copy(destination + done, window_.get(), static_cast<size_t>(got), stream);
      if (cuda_error_ == 0) {
        cuda_error_ = driver_.synchronize(stream);
      }
      if (cuda_error_ != 0) {
        return -1;
      }
      done += static_cast<uint64_t>(got);
    }
    return static_cast<int64_t>(done);
  }

  vla_trt_source const& source_;
  vla_trt::Driver driver_;
  std::unique_ptr<char[]> window_;
  uint64_t position_ = 0;
  bool failed_ = false;
  int cuda_error_ = 0;
  void* stream_ = nullptr;
  bool streamed_ = false;
};

#elif VLA_TRT_LOAD_PATH == 1

class Reader final : public nvinfer1::IStreamReader {
 public:
  explicit Reader(vla_trt_source const& source) : source_(source) {}

  int64_t read(void* destination, int64_t bytes) noexcept override {
    int64_t const done =
        bytes < 0 ? -1 : source_.read(source_.user, position_, destination, static_cast<uint64_t>(bytes));
    position_ += done > 0 ? static_cast<uint64_t>(done) : 0;
    failed_ = failed_ || done < 0;
    return done;
  }

  bool failed() const { return failed_; }
  int cuda_error() const { return 0; }
  void finish() {}

 private:
  vla_trt_source const& source_;
  uint64_t position_ = 0;
  bool failed_ = false;
};

#endif

// Leaves `out` null when TensorRT refuses.
vla_trt_status deserialize(nvinfer1::IRuntime& runtime, vla_trt_source const& source,
                           std::unique_ptr<nvinfer1::ICudaEngine>& out) {
#if VLA_TRT_LOAD_PATH == 0
  void const* const bytes = source.map(source.user);
  bool const failed = bytes == nullptr;
  if (!failed) {
    out.reset(runtime.deserializeCudaEngine(bytes, static_cast<size_t>(source.size)));
  }
#else
  Reader reader(source);
  out.reset(runtime.deserializeCudaEngine(reader));
  reader.finish();
  bool const failed = reader.failed();
  if (reader.cuda_error() != 0) {
    return fail(VLA_TRT_REFUSED, "the engine cannot be copied into device memory: CUDA error %d", reader.cuda_error());
  }
#endif
  return failed ? fail(VLA_TRT_CALLBACK, "the engine file could not be read") : VLA_TRT_OK;
}

int32_t load_path(void) noexcept { return VLA_TRT_LOAD_PATH; }

vla_trt_status engine_load(vla_trt_runtime* runtime, vla_trt_source const* source,
                                              vla_trt_engine** out) noexcept {
  return guarded("deserializing the engine", [&]() -> vla_trt_status {
    auto handle = std::make_unique<vla_trt_engine>();
    vla_trt_status const status = deserialize(*runtime->runtime, *source, handle->engine);
    if (status != VLA_TRT_OK) {
      return status;
    }
    if (handle->engine == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT refuses to deserialize this engine");
    }
    *out = handle.release();
    return VLA_TRT_OK;
  });
}

}  // namespace

void vla_trt::add_load(vla_trt_api& api) noexcept {
  api.load_path = load_path;
  api.engine_load = engine_load;
}

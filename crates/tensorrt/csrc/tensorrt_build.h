// Shared by the builder's two source files (network and run; configuration): the C++ side of the callbacks, and the handle.
#ifndef VLA_TRT_TENSORRT_BUILD_H
#define VLA_TRT_TENSORRT_BUILD_H

#include <vector>

#include "tensorrt_common.h"

namespace vla_trt {

struct Sink {
  vla_trt_sink_fn write;
  void* user;

  // Passes the plan on in pieces, so that the writer never holds a second copy.
  bool all(void const* data, uint64_t bytes) const {
    constexpr uint64_t kPIECE = 16U << 20U;
    auto const* const from = static_cast<char const*>(data);
    for (uint64_t done = 0; done < bytes; done += kPIECE) {
      uint64_t const piece = bytes - done < kPIECE ? bytes - done : kPIECE;
      if (write(user, from + done, piece) != 0) {
        return false;
      }
    }
    return true;
  }
};

#if VLA_TRT_HAS_CALIBRATOR

class Calibrator final : public nvinfer1::IInt8EntropyCalibrator2 {
 public:
  explicit Calibrator(vla_trt_calibrator const& from)
      : from_(from),
        cache_(static_cast<char const*>(from.cache), static_cast<char const*>(from.cache) + from.cache_size) {}

  int32_t getBatchSize() const noexcept override { return from_.batch_size; }

  bool getBatch(void* addresses[], char const* names[], int32_t count) noexcept override {
    int32_t const got = from_.batch(from_.user, addresses, names, count);
    failed_ = failed_ || got < 0;
    return got > 0;
  }

  void const* readCalibrationCache(std::size_t& length) noexcept override {
    length = cache_.size();
    return cache_.empty() ? nullptr : cache_.data();
  }

  void writeCalibrationCache(void const* data, std::size_t length) noexcept override {
    from_.write_cache(from_.user, data, length);
  }

  bool failed() const { return failed_; }

 private:
  vla_trt_calibrator const from_;
  std::vector<char> const cache_;
  std::atomic<bool> failed_{false};
};

#endif

#if VLA_TRT_HAS_PROGRESS

class Progress final : public nvinfer1::IProgressMonitor {
 public:
  Progress(vla_trt_progress_fn tell, void* user) : tell_(tell), user_(user) {}

  void phaseStart(char const* phase, char const* parent, int32_t steps) noexcept override {
    note(0, phase, parent, steps);
  }

  bool stepComplete(char const* phase, int32_t step) noexcept override {
    note(1, phase, nullptr, step);
    return !cancelled_;
  }

  void phaseFinish(char const* phase) noexcept override { note(2, phase, nullptr, 0); }

  bool cancelled() const { return cancelled_; }

 private:
  void note(int32_t kind, char const* phase, char const* parent, int32_t number) noexcept {
    if (tell_(user_, kind, phase, parent, number) == 0) {
      cancelled_ = true;
    }
  }

  vla_trt_progress_fn const tell_;
  void* const user_;
  std::atomic<bool> cancelled_{false};
};

#endif

#if VLA_TRT_HAS_WRITER

class Writer final : public nvinfer1::IStreamWriter {
 public:
  explicit Writer(Sink sink) : sink_(sink) {}

  int64_t write(void const* data, int64_t bytes) noexcept override {
    if (bytes < 0 || failed_ || !sink_.all(data, static_cast<uint64_t>(bytes))) {
      failed_ = true;
      return -1;
    }
    return bytes;
  }

  bool failed() const { return failed_; }

 private:
  Sink const sink_;
  bool failed_ = false;
};

#endif

}  // namespace vla_trt

// Members are destroyed from last to first: parser, configuration and network before the builder that created them, and
// objects that the configuration points to after the configuration.
struct vla_trt_build {
  std::unique_ptr<nvinfer1::ITimingCache> timing_cache;
#if VLA_TRT_HAS_CALIBRATOR
  std::unique_ptr<vla_trt::Calibrator> calibrator;
#endif
#if VLA_TRT_HAS_PROGRESS
  std::unique_ptr<vla_trt::Progress> progress;
#endif
  std::unique_ptr<nvinfer1::IBuilder> builder;
  std::unique_ptr<nvinfer1::INetworkDefinition> network;
  std::unique_ptr<nvinfer1::IBuilderConfig> config;
  std::unique_ptr<nvonnxparser::IParser> parser;
  std::vector<nvinfer1::IOptimizationProfile*> profiles;  // the builder's
};

#endif

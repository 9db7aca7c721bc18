// STAND-IN for libnvinfer, the building half: builder, network, configuration. See model.h.
#include <cstring>
#include <map>
#include <thread>

#include "network.h"

namespace standin {

using nvinfer1::BuilderFlag;
using nvinfer1::ILogger;
using nvinfer1::OptProfileSelector;

class TimingCacheImpl final : public nvinfer1::standin_stubs::VTimingCache {
 public:
  explicit TimingCacheImpl(std::string bytes) : bytes(std::move(bytes)) {}
  nvinfer1::IHostMemory* serialize() const noexcept override { return new HostMemory(bytes); }
  std::string bytes;
};

class TimingCache final : public nvinfer1::ITimingCache {
 public:
  explicit TimingCache(std::string bytes) : impl(std::move(bytes)) { mImpl = &impl; }
  TimingCacheImpl impl;
};

struct Range {
  Dims min{}, opt{}, max{};
};

class ProfileImpl final : public nvinfer1::standin_stubs::VOptimizationProfile {
 public:
  bool setDimensions(char const* input, OptProfileSelector select, DimsArgument dims) noexcept override {
    at(input, select) = dims;
    return true;
  }
#if VLA_TRT_SINCE(10, 13)
  bool setShapeValuesV2(char const* input, OptProfileSelector select, int64_t const* values,
                        int32_t count) noexcept override {
#else
  bool setShapeValues(char const* input, OptProfileSelector select, int32_t const* values,
                      int32_t count) noexcept override {
#endif
    Dims& dims = at(input, select);
    dims.nbDims = count;
    for (int32_t i = 0; i < count; ++i) dims.d[i] = static_cast<vla_trt::Extent>(values[i]);
    return true;
  }
  bool isValid() const noexcept override { return true; }

  std::map<std::string, Range> ranges;

 private:
  Dims& at(char const* input, OptProfileSelector select) {
    Range& range = ranges[input];
    return select == OptProfileSelector::kMIN ? range.min : select == OptProfileSelector::kOPT ? range.opt : range.max;
  }
};

class Profile final : public nvinfer1::IOptimizationProfile {
 public:
  Profile() { mImpl = &impl; }
  ProfileImpl impl;
};

// Keeps what it is told; the plan repeats it.
class ConfigImpl final : public nvinfer1::standin_stubs::VBuilderConfig {
 public:
  void setFlag(BuilderFlag flag) noexcept override { flags |= 1U << static_cast<uint32_t>(flag); }
  void clearFlag(BuilderFlag flag) noexcept override { flags &= ~(1U << static_cast<uint32_t>(flag)); }
  void setMemoryPoolLimit(nvinfer1::MemoryPoolType pool, std::size_t bytes) noexcept override {
    told[pool == nvinfer1::MemoryPoolType::kWORKSPACE ? "workspace" : "tactic_dram"] = std::to_string(bytes);
  }
  void setBuilderOptimizationLevel(int32_t level) noexcept override { told["level"] = std::to_string(level); }
#if VLA_TRT_SINCE(11, 0)
  bool setMaxAuxStreams(int32_t streams) noexcept override {
    told["aux_streams"] = std::to_string(streams);
    return true;
  }
#else
  void setMaxAuxStreams(int32_t streams) noexcept override { told["aux_streams"] = std::to_string(streams); }
#endif
  void setProfilingVerbosity(nvinfer1::ProfilingVerbosity verbosity) noexcept override {
    told["detailed"] = verbosity == nvinfer1::ProfilingVerbosity::kDETAILED ? "1" : "0";
  }
  bool setTacticSources(nvinfer1::TacticSources sources) noexcept override {
    auto const has = [&](nvinfer1::TacticSource source) { return (sources >> static_cast<uint32_t>(source) & 1U) != 0; };
    told["edge_mask"] = std::to_string(has(nvinfer1::TacticSource::kEDGE_MASK_CONVOLUTIONS));
    told["jit"] = std::to_string(has(nvinfer1::TacticSource::kJIT_CONVOLUTIONS));
    return true;
  }
  void setPreviewFeature(nvinfer1::PreviewFeature feature, bool on) noexcept override {
#if !VLA_TRT_SINCE(10, 0)
    told[feature == nvinfer1::PreviewFeature::kPROFILE_SHARING_0806 ? "share_profiles" : "faster_dynamic_shapes"] =
        on ? "1" : "0";
#else
    static_cast<void>(feature);
    static_cast<void>(on);
    unexpected("setPreviewFeature");
#endif
  }
  int32_t addOptimizationProfile(nvinfer1::IOptimizationProfile const* profile) noexcept override {
    profiles.push_back(static_cast<Profile const*>(profile));
    return static_cast<int32_t>(profiles.size()) - 1;
  }
  nvinfer1::ITimingCache* createTimingCache(void const* bytes, std::size_t size) const noexcept override {
    return new TimingCache(std::string(static_cast<char const*>(bytes), bytes == nullptr ? 0 : size));
  }
  bool setTimingCache(nvinfer1::ITimingCache const& cache, bool ignore_mismatch) noexcept override {
    auto& own = const_cast<TimingCache&>(static_cast<TimingCache const&>(cache));
    bool const fits = own.impl.bytes.rfind("other device", 0) != 0;
    if (fits || ignore_mismatch) timing_cache = &own;
    return fits || ignore_mismatch;
  }
  nvinfer1::ITimingCache const* getTimingCache() const noexcept override { return timing_cache; }
#if VLA_TRT_HAS_CALIBRATOR
  void setInt8Calibrator(nvinfer1::IInt8Calibrator* from) noexcept override { calibrator = from; }
  bool setCalibrationProfile(nvinfer1::IOptimizationProfile const* profile) noexcept override {
    std::string text;
    for (auto const& [input, range] : static_cast<Profile const*>(profile)->impl.ranges) {
      text += (text.empty() ? "" : " ") + input;
      for (int32_t i = 0; i < range.opt.nbDims; ++i) text += (i == 0 ? " " : "x") + std::to_string(range.opt.d[i]);
    }
    told["calibration_shapes"] = text;
    return true;
  }
  nvinfer1::IInt8Calibrator* calibrator = nullptr;
#endif
#if VLA_TRT_HAS_PROGRESS
  void setProgressMonitor(nvinfer1::IProgressMonitor* to) noexcept override { monitor = to; }
  nvinfer1::IProgressMonitor* monitor = nullptr;
#endif

  uint32_t flags = 1U << static_cast<uint32_t>(BuilderFlag::kTF32);
  std::map<std::string, std::string> told;
  std::vector<Profile const*> profiles;
  TimingCache* timing_cache = nullptr;
};

class Config final : public nvinfer1::IBuilderConfig {
 public:
  Config() { mImpl = &impl; }
  ConfigImpl impl;
};

// --- build ------------------------------------------------------------------------------------------------------

std::string flags_of(uint32_t flags) {
  auto const on = [&](BuilderFlag flag) { return std::to_string(flags >> static_cast<uint32_t>(flag) & 1U); };
  std::string text = "option tf32=" + on(BuilderFlag::kTF32) + "\n";
#if VLA_TRT_HAS_CALIBRATOR
  text += "option fp16=" + on(BuilderFlag::kFP16) + "\noption int8=" + on(BuilderFlag::kINT8) +
          "\noption obey=" + on(BuilderFlag::kOBEY_PRECISION_CONSTRAINTS) +
          "\noption prefer=" + on(BuilderFlag::kPREFER_PRECISION_CONSTRAINTS) + "\n";
#endif
  return text;
}

std::string ranges_of(ConfigImpl const& config) {
  std::string text;
  for (size_t i = 0; i < config.profiles.size(); ++i) {
    for (auto const& [input, range] : config.profiles[i]->impl.ranges) {
      text += "option profile " + std::to_string(i) + " " + input + " " + text_of(range.min) + " " + text_of(range.opt) +
              " " + text_of(range.max) + "\n";
    }
  }
  return text;
}

// The plan, without its payload.
std::string plan_of(NetworkImpl const& network, ConfigImpl const& config) {
  Model const& model = network.model;
  std::string text = "standin\nname " + model.name + "\nlayers " + std::to_string(model.layers) + "\nactivation " +
                     std::to_string(model.activation) + "\npayload " + std::to_string(model.payload) + "\nprofiles " +
                     std::to_string(config.profiles.empty() ? 1 : config.profiles.size()) + "\n";
  for (auto const& tensor : model.tensors) {
    text += std::string(tensor.input ? "input " : "output ") + tensor.name + " " + name_of(tensor.type) + " " +
            text_of(tensor.dims);
    if (!config.profiles.empty()) {
      auto const& ranges = config.profiles[0]->impl.ranges;
      auto const found = ranges.find(tensor.name);
      if (found != ranges.end() && !tensor.shape) {
        text += " range " + text_of(found->second.min) + " " + text_of(found->second.opt) + " " +
                text_of(found->second.max);
      }
    }
    text += "\n";
  }
  text += flags_of(config.flags) + ranges_of(config);
  if (!network.initializers.empty()) text += "option initializers=" + network.initializers + "\n";
  for (auto const& [key, value] : config.told) text += "option " + key + "=" + value + "\n";
  for (auto const& line : network.precisions) text += "option " + line + "\n";
  text += "option network_flags=" + std::to_string(network.flags) + "\n";
  return text + "end\n";
}

#if VLA_TRT_HAS_PROGRESS
// False when the monitor wants to stop. The inner phase runs in a thread of its own, as TensorRT's may.
bool report(nvinfer1::IProgressMonitor& monitor) {
  monitor.phaseStart("standin build", nullptr, 2);
  bool going = true;
  for (int32_t step = 0; step < 2 && going; ++step) {
    std::thread([&] {
      monitor.phaseStart("standin tactics", "standin build", 1);
      going = monitor.stepComplete("standin tactics", 0);
      monitor.phaseFinish("standin tactics");
    }).join();
    going = going && monitor.stepComplete("standin build", step);
  }
  monitor.phaseFinish("standin build");
  return going;
}
#endif

#if VLA_TRT_HAS_CALIBRATOR
void calibrate(nvinfer1::IInt8Calibrator& calibrator, Model const& model, std::map<std::string, std::string>& told) {
  std::size_t size = 0;
  void const* const cache = calibrator.readCalibrationCache(size);
  if (cache != nullptr) {
    told["calibration"] = "cache " + std::string(static_cast<char const*>(cache), size);
    return;
  }
  std::vector<char const*> names;
  for (auto const& tensor : model.tensors) {
    if (tensor.input) names.push_back(tensor.name.c_str());
  }
  std::vector<void*> addresses(names.size());
  int batches = 0;
  uint64_t sum = 0;
  while (calibrator.getBatch(addresses.data(), names.data(), static_cast<int32_t>(names.size()))) {
    ++batches;
    for (void* const address : addresses) sum += reinterpret_cast<uintptr_t>(address);
  }
  told["calibration"] = std::to_string(batches) + " batches of " + std::to_string(calibrator.getBatchSize()) +
                        ", addresses " + std::to_string(sum);
  std::string const written = "standin cache of " + std::to_string(batches);
  calibrator.writeCalibrationCache(written.data(), written.size());
}
#endif

class BuilderImpl final : public nvinfer1::standin_stubs::VBuilder {
 public:
  explicit BuilderImpl(ILogger* logger) : logger_(logger) {}
  ~BuilderImpl() noexcept override { log(logger_, Severity::kINFO, "standin: builder destroyed"); }

  nvinfer1::INetworkDefinition* createNetworkV2(nvinfer1::NetworkDefinitionCreationFlags flags) noexcept override {
    return new Network(flags);
  }
  nvinfer1::IBuilderConfig* createBuilderConfig() noexcept override { return new Config(); }
  nvinfer1::IOptimizationProfile* createOptimizationProfile() noexcept override {
    profiles_.push_back(std::make_unique<Profile>());
    return profiles_.back().get();
  }
#if !VLA_TRT_SINCE(11, 0)
  bool platformHasFastFp16() const noexcept override { return true; }
  bool platformHasFastInt8() const noexcept override { return std::getenv("STANDIN_NO_INT8") == nullptr; }
#endif
#if VLA_TRT_HAS_WRITER
  bool buildSerializedNetworkToStream(nvinfer1::INetworkDefinition& network, nvinfer1::IBuilderConfig& config,
                                      nvinfer1::IStreamWriter& writer) noexcept override {
    return build(network, config, [&](std::string const& piece) {
      return writer.write(piece.data(), static_cast<int64_t>(piece.size())) == static_cast<int64_t>(piece.size());
    });
  }
#else
  nvinfer1::IHostMemory* buildSerializedNetwork(nvinfer1::INetworkDefinition& network,
                                                nvinfer1::IBuilderConfig& config) noexcept override {
    std::string plan;
    bool const built = build(network, config, [&](std::string const& piece) {
      plan += piece;
      return true;
    });
    return built ? new HostMemory(plan) : nullptr;
  }
#endif

 private:
  template <typename Write>
  bool build(nvinfer1::INetworkDefinition& network, nvinfer1::IBuilderConfig& config, Write write) {
    NetworkImpl& impl = static_cast<Network&>(network).impl;
    ConfigImpl& told = static_cast<Config&>(config).impl;
    log(logger_, Severity::kINFO, "standin: building " + impl.model.name);
    if (impl.model.refuses("build")) {
      log(logger_, Severity::kERROR, "standin: Could not find any implementation for node {ForeignNode[/block]}.");
      return false;
    }
#if VLA_TRT_HAS_CALIBRATOR
    if (told.calibrator != nullptr) calibrate(*told.calibrator, impl.model, told.told);
#endif
#if VLA_TRT_HAS_PROGRESS
    if (told.monitor != nullptr && !report(*told.monitor)) return false;
#endif
    if (told.timing_cache != nullptr) told.timing_cache->impl.bytes += "timed " + impl.model.name + "\n";
    if (!write(plan_of(impl, told))) return false;
    constexpr int64_t kPIECE = 1 << 20;
    for (int64_t at = 0; at < impl.model.payload; at += kPIECE) {
      std::string piece;
      for (int64_t i = at; i < impl.model.payload && i < at + kPIECE; ++i) piece += static_cast<char>(payload_byte(i));
      if (!write(piece)) return false;
    }
    return true;
  }

  ILogger* const logger_;
  std::vector<std::unique_ptr<Profile>> profiles_;
};

class Builder final : public nvinfer1::IBuilder {
 public:
  explicit Builder(ILogger* logger) : impl_(logger) { mImpl = &impl_; }

 private:
  BuilderImpl impl_;
};

}  // namespace standin

extern "C" __attribute__((visibility("default"))) void* createInferBuilder_INTERNAL(void* logger, int32_t) noexcept {
  standin::global_logger(static_cast<nvinfer1::ILogger*>(logger));
  return static_cast<nvinfer1::IBuilder*>(new standin::Builder(static_cast<nvinfer1::ILogger*>(logger)));
}

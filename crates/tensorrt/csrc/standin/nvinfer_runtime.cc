// STAND-IN for libnvinfer, the running half: runtime, engine, execution context. See model.h.
#include <cstring>
#include <map>
#include <string_view>

#include <dlfcn.h>

#include "model.h"

#ifndef STANDIN_VERSION
#define STANDIN_VERSION NV_TENSORRT_VERSION
#endif

namespace standin {

using nvinfer1::ILogger;
using nvinfer1::OptProfileSelector;

nvinfer1::ILogger* global_logger(nvinfer1::ILogger* given) {
  static nvinfer1::ILogger* const first = given;
  return first;
}

class ContextImpl;

class EngineImpl final : public nvinfer1::standin_stubs::VCudaEngine {
 public:
  EngineImpl(Model model, ILogger* logger) : model(std::move(model)), logger(logger) {}
  ~EngineImpl() noexcept override { log(logger, Severity::kINFO, "standin: engine destroyed"); }

  int32_t getNbLayers() const noexcept override { return model.layers; }
  char const* getName() const noexcept override { return model.name.c_str(); }
  int32_t getNbOptimizationProfiles() const noexcept override { return model.profiles; }
  int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(model.tensors.size()); }
  int32_t getNbAuxStreams() const noexcept override { return 0; }
  nvinfer1::HardwareCompatibilityLevel getHardwareCompatibilityLevel() const noexcept override {
    return nvinfer1::HardwareCompatibilityLevel::kNONE;
  }
  char const* getIOTensorName(int32_t index) const noexcept override {
    return index >= 0 && index < getNbIOTensors() ? model.tensors[static_cast<size_t>(index)].name.c_str() : nullptr;
  }
  Dims getTensorShape(char const* name) const noexcept override {
    if (model.refuses("describe")) {
      log(logger, Severity::kERROR, "standin: Error Code 4: no shape of " + std::string(name));
      Dims invalid{};
      invalid.nbDims = -1;
      return invalid;
    }
    return model.find(name)->dims;
  }
  DataType getTensorDataType(char const* name) const noexcept override { return model.find(name)->type; }
  nvinfer1::TensorLocation getTensorLocation(char const* name) const noexcept override {
    return model.find(name)->host ? nvinfer1::TensorLocation::kHOST : nvinfer1::TensorLocation::kDEVICE;
  }
  bool isShapeInferenceIO(char const* name) const noexcept override { return model.find(name)->shape; }
  nvinfer1::TensorIOMode getTensorIOMode(char const* name) const noexcept override {
    return model.find(name)->input ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT;
  }
  nvinfer1::TensorFormat getTensorFormat(char const* name) const noexcept override {
    return model.find(name)->vectorised ? nvinfer1::TensorFormat::kCHW32 : nvinfer1::TensorFormat::kLINEAR;
  }
  Dims getProfileShape(char const* name, int32_t profile, OptProfileSelector select) const noexcept override {
    auto const* const tensor = model.find(name);
    if (tensor == nullptr || !tensor->input || profile < 0 || profile >= model.profiles) {
      Dims invalid{};
      invalid.nbDims = -1;
      return invalid;
    }
    return select == OptProfileSelector::kMIN   ? tensor->min
           : select == OptProfileSelector::kOPT ? tensor->opt
                                                : tensor->max;
  }
#if VLA_TRT_SINCE(10, 1)
  int64_t getDeviceMemorySizeV2() const noexcept override { return model.activation; }
  int64_t getDeviceMemorySizeForProfileV2(int32_t profile) const noexcept override {
    return model.activation / (profile + 1);
  }
#endif
#if VLA_TRT_SINCE(10, 0)
  nvinfer1::IExecutionContext* createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override {
    return strategy == nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED ? new_context() : nullptr;
  }
#else
  size_t getDeviceMemorySize() const noexcept override { return static_cast<size_t>(model.activation); }
  nvinfer1::IExecutionContext* createExecutionContextWithoutDeviceMemory() noexcept override { return new_context(); }
#endif
#if VLA_TRT_RTX
  nvinfer1::IRuntimeConfig* createRuntimeConfig() noexcept override;
  nvinfer1::IExecutionContext* createExecutionContextWithRuntimeConfig(nvinfer1::IRuntimeConfig*) noexcept override;
#endif
#if VLA_TRT_SINCE(10, 16)
  int64_t getEngineStat(nvinfer1::EngineStat) const noexcept override { return model.payload; }
#endif
  nvinfer1::IEngineInspector* createEngineInspector() const noexcept override;

  nvinfer1::IExecutionContext* new_context() noexcept;

  Model const model;
  ILogger* const logger;
  nvinfer1::ICudaEngine* outer = nullptr;
  int32_t contexts = 0;
};

class Engine final : public nvinfer1::ICudaEngine {
 public:
  Engine(Model model, ILogger* logger) : impl_(std::move(model), logger) {
    mImpl = &impl_;
    impl_.outer = this;
  }

 private:
  EngineImpl impl_;
};

class InspectorImpl final : public nvinfer1::standin_stubs::VEngineInspector {
 public:
  explicit InspectorImpl(std::string text) : text_(std::move(text)) {}
  char const* getEngineInformation(nvinfer1::LayerInformationFormat) const noexcept override { return text_.c_str(); }

 private:
  std::string const text_;
};

class Inspector final : public nvinfer1::IEngineInspector {
 public:
  explicit Inspector(std::string text) : impl_(std::move(text)) { mImpl = &impl_; }

 private:
  InspectorImpl impl_;
};

nvinfer1::IEngineInspector* EngineImpl::createEngineInspector() const noexcept {
  std::string text = "{\"Layers\": [";
  for (size_t i = 0; i < model.inspected.size(); ++i) {
    text += (i > 0 ? ", " : "") + model.inspected[i];
  }
  if (!model.inspected.empty()) return new Inspector(text + "]}");
  for (size_t i = 0; i < model.options.size(); ++i) {
    text += (i > 0 ? ", \"" : "\"") + model.options[i] + "\"";
  }
  return new Inspector(text + "]}");
}

class ContextImpl final : public nvinfer1::standin_stubs::VExecutionContext {
 public:
  explicit ContextImpl(EngineImpl& engine) : engine_(engine) {
    ++engine_.contexts;
#if !VLA_TRT_SINCE(10, 0)
    // 8.6 gives the first context profile 0 and the next ones none, unless profiles are shared.
    profile_ = engine_.contexts == 1 ? 0 : -1;
#endif
  }
  ~ContextImpl() noexcept override {
    --engine_.contexts;
    log(engine_.logger, Severity::kINFO, "standin: context destroyed");
  }

  nvinfer1::ICudaEngine const& getEngine() const noexcept override { return *engine_.outer; }
  void setPersistentCacheLimit(size_t) noexcept override {}
  int32_t getOptimizationProfile() const noexcept override { return profile_; }
  bool setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept override {
#if !VLA_TRT_SINCE(10, 0)
    bool shared = false;
    for (auto const& option : engine_.model.options) shared = shared || option == "share_profiles=1";
    if (engine_.contexts > 1 && !shared) {
      log(engine_.logger, Severity::kERROR, "standin: profile in use by another context");
      return false;
    }
#endif
    profile_ = profile;
    return profile >= 0 && profile < engine_.model.profiles;
  }
  void setDeviceMemory(void* memory) noexcept override { memory_ = memory; }
#if VLA_TRT_SINCE(10, 1)
  void setDeviceMemoryV2(void* memory, int64_t size) noexcept override {
    memory_ = size >= engine_.model.activation ? memory : nullptr;
  }
#endif
  bool setInputShape(char const* name, Dims const& dims) noexcept override {
    auto const* const tensor = engine_.model.find(name);
    if (tensor == nullptr || !tensor->input || dims.nbDims != tensor->dims.nbDims || profile_ < 0) {
      log(engine_.logger, Severity::kERROR, std::string("standin: no input, rank or profile for ") + name);
      return false;
    }
    for (int32_t i = 0; i < dims.nbDims; ++i) {
      if (dims.d[i] < tensor->min.d[i] || dims.d[i] > tensor->max.d[i]) {
        log(engine_.logger, Severity::kERROR,
            std::string("standin: ") + name + " " + text_of(dims) + " is outside the profile, " + text_of(tensor->min) +
                " to " + text_of(tensor->max));
        return false;
      }
    }
    shapes_[name] = dims;
    return true;
  }
  Dims getTensorShape(char const* name) const noexcept override {
    auto const* const tensor = engine_.model.find(name);
    if (tensor == nullptr) {
      Dims invalid{};
      invalid.nbDims = -1;
      return invalid;
    }
    auto const known = shapes_.find(name);
    if (known != shapes_.end()) return known->second;
    Dims dims = tensor->dims;
    for (int32_t i = 0; i < dims.nbDims; ++i) {
      if (dims.d[i] < 0 && !tensor->input) dims.d[i] = static_cast<vla_trt::Extent>(first_dynamic());
    }
    return dims;
  }
  int32_t inferShapes(int32_t room, char const** names) noexcept override {
    int32_t missing = 0;
    for (auto const& tensor : engine_.model.tensors) {
      bool const dynamic = text_of(tensor.dims).find('?') != std::string::npos;
      if (tensor.input && dynamic && shapes_.count(tensor.name) == 0) {
        if (missing < room) names[missing] = tensor.name.c_str();
        ++missing;
      }
    }
    return missing;
  }
  bool setTensorAddress(char const* name, void* data) noexcept override {
    if (engine_.model.find(name) == nullptr) return false;
    addresses_[name] = data;
    return true;
  }
  // Every output gets twice the first input, as single-precision numbers.
  bool enqueueV3(cudaStream_t) noexcept override {
    if (engine_.model.refuses("enqueue")) {
      log(engine_.logger, Severity::kERROR, "standin: [cask] unknown internal error");
      return false;
    }
    if (engine_.model.activation > 0 && memory_ == nullptr) {
      log(engine_.logger, Severity::kERROR, "standin: no activation memory");
      return false;
    }
    float const* from = nullptr;
    int64_t count = 0;
    for (auto const& tensor : engine_.model.tensors) {
      auto const address = addresses_.find(tensor.name);
      if (address == addresses_.end()) {
        log(engine_.logger, Severity::kERROR, "standin: no address for " + tensor.name);
        return false;
      }
      if (tensor.input && from == nullptr) {
        from = static_cast<float const*>(address->second);
        count = elements(tensor.name);
      } else if (!tensor.input && tensor.type == DataType::kFLOAT) {
        auto* const to = static_cast<float*>(address->second);
        for (int64_t i = 0; i < count && i < elements(tensor.name); ++i) to[i] = 2 * from[i];
      }
    }
    return true;
  }

 private:
  int64_t first_dynamic() const {
    for (auto const& tensor : engine_.model.tensors) {
      auto const known = shapes_.find(tensor.name);
      for (int32_t i = 0; known != shapes_.end() && i < tensor.dims.nbDims; ++i) {
        if (tensor.dims.d[i] < 0) return known->second.d[i];
      }
    }
    return -1;
  }
  int64_t elements(std::string const& name) const {
    Dims const dims = getTensorShape(name.c_str());
    int64_t count = 1;
    for (int32_t i = 0; i < dims.nbDims; ++i) count *= dims.d[i];
    return count;
  }

  EngineImpl& engine_;
  int32_t profile_ = 0;
  void* memory_ = nullptr;
  std::map<std::string, Dims> shapes_;
  // Looked up by the caller's `char const*` without making a string.
  std::map<std::string, void*, std::less<>> addresses_;
};

class Context final : public nvinfer1::IExecutionContext {
 public:
  explicit Context(EngineImpl& engine) : impl_(engine) { mImpl = &impl_; }

 private:
  ContextImpl impl_;
};

nvinfer1::IExecutionContext* EngineImpl::new_context() noexcept {
  if (model.refuses("context")) {
    log(logger, Severity::kERROR, "standin: Error Code 2: OutOfMemory (no further information)");
    return nullptr;
  }
  return new Context(*this);
}

#if VLA_TRT_RTX

// A runtime cache: "standin kernels N", where N counts the contexts that were created with it. It takes its own bytes only.
class RuntimeCacheImpl final : public nvinfer1::standin_stubs::VRuntimeCache {
 public:
  nvinfer1::IHostMemory* serialize() const noexcept override {
    return new HostMemory("standin kernels " + std::to_string(kernels));
  }
  bool deserialize(void const* blob, size_t size) noexcept override {
    std::string const bytes(static_cast<char const*>(blob), size);
    return std::sscanf(bytes.c_str(), "standin kernels %d", &kernels) == 1;
  }
  int kernels = 0;
};

class RuntimeCache final : public nvinfer1::IRuntimeCache {
 public:
  RuntimeCache() { mImpl = &impl; }
  RuntimeCacheImpl impl;
};

class RuntimeConfigImpl final : public nvinfer1::standin_stubs::VRuntimeConfig {
 public:
  void setExecutionContextAllocationStrategy(
      nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override {
    user_managed = strategy == nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED;
  }
  nvinfer1::IRuntimeCache* createRuntimeCache() const noexcept override { return new RuntimeCache(); }
  bool setRuntimeCache(nvinfer1::IRuntimeCache const& given) noexcept override {
    cache = const_cast<RuntimeCache*>(static_cast<RuntimeCache const*>(&given));
    return true;
  }
  void setDynamicShapesKernelSpecializationStrategy(
      nvinfer1::DynamicShapesKernelSpecializationStrategy strategy) noexcept override {
    eager = strategy == nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER;
  }
  RuntimeCache* cache = nullptr;
  bool user_managed = false, eager = false;
};

class RuntimeConfig final : public nvinfer1::IRuntimeConfig {
 public:
  RuntimeConfig() { mImpl = &impl; }
  RuntimeConfigImpl impl;
};

nvinfer1::IRuntimeConfig* EngineImpl::createRuntimeConfig() noexcept { return new RuntimeConfig(); }

nvinfer1::IExecutionContext* EngineImpl::createExecutionContextWithRuntimeConfig(
    nvinfer1::IRuntimeConfig* config) noexcept {
  auto const& given = static_cast<RuntimeConfig*>(config)->impl;
  if (!given.user_managed || !given.eager || given.cache == nullptr) {
    log(logger, Severity::kERROR, "standin: a runtime configuration that the shim does not make");
    return nullptr;
  }
  ++given.cache->impl.kernels;
  return new_context();
}

#endif

// --- loading ----------------------------------------------------------------------------------------------------

// Where a plan comes from; counts what was asked for.
struct Input {
  virtual ~Input() = default;
  virtual int64_t read(void* to, int64_t bytes) = 0;
  virtual bool skip_to(int64_t) { return false; }
  char const* kind = "";
};

struct MemoryInput final : Input {
  MemoryInput(void const* from, size_t size) : from(static_cast<char const*>(from)), size(static_cast<int64_t>(size)) {
    kind = "buffer";
  }
  int64_t read(void* to, int64_t bytes) override {
    int64_t const n = bytes < size - at ? bytes : size - at;
    std::memcpy(to, from + at, static_cast<size_t>(n));
    at += n;
    return n;
  }
  char const* from;
  int64_t size, at = 0;
};

#if VLA_TRT_SINCE(10, 0) && !VLA_TRT_SINCE(11, 0)
struct ReaderInput final : Input {
  explicit ReaderInput(nvinfer1::IStreamReader& reader) : reader(reader) { kind = "IStreamReader"; }
  int64_t read(void* to, int64_t bytes) override { return reader.read(to, bytes); }
  nvinfer1::IStreamReader& reader;
};
#endif

#if VLA_TRT_SINCE(10, 7)
struct ReaderV2Input final : Input {
  explicit ReaderV2Input(nvinfer1::IStreamReaderV2& reader) : reader(reader) { kind = "IStreamReaderV2"; }
  int64_t read(void* to, int64_t bytes) override { return reader.read(to, bytes, nullptr); }
  bool skip_to(int64_t offset) override {
    // By three ways to the same place; a seek outside the file must fail and change nothing.
    return reader.seek(0, nvinfer1::SeekPosition::kEND) && !reader.seek(1, nvinfer1::SeekPosition::kEND) &&
           reader.seek(0, nvinfer1::SeekPosition::kSET) && !reader.seek(-1, nvinfer1::SeekPosition::kCUR) &&
           reader.seek(offset, nvinfer1::SeekPosition::kCUR);
  }
  nvinfer1::IStreamReaderV2& reader;
};
#endif

// The stand-in's CUDA driver, opened from this library's folder: its device memory and its pinned memory.
unsigned char* cuda_memory(char const* symbol) {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(&cuda_memory), &info);
  std::string path(info.dli_fname);
  path.replace(path.rfind('/') + 1, std::string::npos, "libcuda.so.1");
  void* const cuda = dlopen(path.c_str(), RTLD_NOW);
  return cuda == nullptr ? nullptr : static_cast<unsigned char*>(dlsym(cuda, symbol));
}

bool check_payload(Input& input, Model const& model, ILogger* logger) {
  constexpr int64_t kPIECE = 1 << 20;
  std::vector<unsigned char> buffer(kPIECE);
  // Device memory cannot be written by the CPU in truth; here the driver's copy function is what may.
  unsigned char* const device = model.device ? cuda_memory("standin_device_memory") : nullptr;
  unsigned char* const pinned = model.device ? cuda_memory("standin_pinned_memory") : nullptr;
  int64_t reads = 0;
  for (int64_t at = 0; at < model.payload; ++reads) {
    unsigned char* const targets[] = {buffer.data(), device, pinned};
    unsigned char* const to = targets[model.device ? reads % 3 : 0];
    int64_t const wanted = model.payload - at < kPIECE ? model.payload - at : kPIECE;
    int64_t const got = input.read(to, wanted);
    if (got <= 0) {
      log(logger, Severity::kERROR, "standin: the plan ends early, at payload byte " + std::to_string(at));
      return false;
    }
    if (to != buffer.data() && *cuda_memory("standin_waited") == 0) {
      log(logger, Severity::kERROR, "standin: memory that the stream may still use was written without waiting for it");
      return false;
    }
    for (int64_t i = 0; i < got; ++i) {
      if (to[i] != payload_byte(at + i)) {
        log(logger, Severity::kERROR, "standin: Magic tag does not match at payload byte " + std::to_string(at + i));
        return false;
      }
    }
    at += got;
  }
  log(logger, Severity::kINFO, std::string("standin: loaded through ") + input.kind + " in " + std::to_string(reads) + " reads");
  return true;
}

nvinfer1::ICudaEngine* load(Input& input, ILogger* logger) {
  std::string text;
  size_t end = std::string::npos;
  while ((end = text.find("\nend\n")) == std::string::npos) {
    char byte = 0;
    if (text.size() > 65536 || input.read(&byte, 1) != 1) {
      log(logger, Severity::kERROR, "standin: Serialization assertion failed: this is not a plan");
      return nullptr;
    }
    text += byte;
  }
  Model model;
  if (!read_model(text, model)) {
    log(logger, Severity::kERROR, "standin: Serialization assertion failed: this is not a plan");
    return nullptr;
  }
  for (auto const& say : model.says) log(global_logger(logger), static_cast<Severity>(say.first), say.second);
  if (model.refuses("deserialize")) {
    log(logger, Severity::kERROR, "standin: Error Code 1: Serialization (version tag)");
    return nullptr;
  }
  if (std::string_view(input.kind) == "IStreamReaderV2" && !input.skip_to(static_cast<int64_t>(end) + 5)) {
    log(logger, Severity::kERROR, "standin: seeking failed");
    return nullptr;
  }
  if (!check_payload(input, model, logger)) return nullptr;
  return new Engine(std::move(model), logger);
}

class RuntimeImpl final : public nvinfer1::standin_stubs::VRuntime {
 public:
  explicit RuntimeImpl(ILogger* logger) : logger_(logger) {}
  ~RuntimeImpl() noexcept override { log(logger_, Severity::kINFO, "standin: runtime destroyed"); }

#if VLA_TRT_SINCE(10, 0)
  nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
#else
  nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size,
                                               nvinfer1::IPluginFactory*) noexcept override {
#endif
    MemoryInput input(blob, size);
    return load(input, logger_);
  }
#if VLA_TRT_SINCE(10, 0) && !VLA_TRT_SINCE(11, 0)
  nvinfer1::ICudaEngine* deserializeCudaEngine(nvinfer1::IStreamReader& reader) noexcept override {
    ReaderInput input(reader);
    return load(input, logger_);
  }
#endif
#if VLA_TRT_SINCE(10, 7)
  nvinfer1::ICudaEngine* deserializeCudaEngineV2(nvinfer1::IStreamReaderV2& reader) noexcept override {
    ReaderV2Input input(reader);
    return load(input, logger_);
  }
#endif

 private:
  ILogger* const logger_;
};

class Runtime final : public nvinfer1::IRuntime {
 public:
  explicit Runtime(ILogger* logger) : impl_(logger) { mImpl = &impl_; }

 private:
  RuntimeImpl impl_;
};

}  // namespace standin

extern "C" __attribute__((visibility("default"))) int32_t getInferLibVersion() noexcept { return STANDIN_VERSION; }

extern "C" __attribute__((visibility("default"))) void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept {
  auto* const as_logger = static_cast<nvinfer1::ILogger*>(logger);
  if (standin::global_logger(as_logger) != as_logger) {
    standin::log(standin::global_logger(as_logger), standin::Severity::kWARNING,
                 "The logger passed into createInferRuntime differs from one already provided for an existing builder, "
                 "runtime, or refitter. Uses of the global logger, returned by nvinfer1::getLogger(), will return the "
                 "existing value.");
  }
  if (std::getenv("STANDIN_NO_DEVICE") != nullptr) {
    standin::log(as_logger, standin::Severity::kERROR, "standin: CUDA initialization failure with error: 35");
    return nullptr;
  }
  return static_cast<nvinfer1::IRuntime*>(new standin::Runtime(as_logger));
}

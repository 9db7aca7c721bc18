// The building half of the C ABI in tensorrt_shim.h: ONNX parser, builder, calibration, timing cache, progress.
#include "tensorrt_common.h"

#include <cstring>
#include <vector>

using vla_trt::fail;
using vla_trt::guarded;

namespace {

using nvinfer1::OptProfileSelector;

struct Sink {
  vla_trt_sink_fn write;
  void* user;

  // In pieces, so that the writer behind it never holds a second copy.
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

}  // namespace

// Members are destroyed from the last to the first: parser, configuration and network before the builder that made
// them, what the configuration points to after it.
struct vla_trt_build {
  std::unique_ptr<nvinfer1::ITimingCache> timing_cache;
#if VLA_TRT_HAS_CALIBRATOR
  std::unique_ptr<Calibrator> calibrator;
#endif
#if VLA_TRT_HAS_PROGRESS
  std::unique_ptr<Progress> progress;
#endif
  std::unique_ptr<nvinfer1::IBuilder> builder;
  std::unique_ptr<nvinfer1::INetworkDefinition> network;
  std::unique_ptr<nvinfer1::IBuilderConfig> config;
  std::unique_ptr<nvonnxparser::IParser> parser;
  std::vector<nvinfer1::IOptimizationProfile*> profiles;  // the builder's
};

namespace {

// The parser needs libnvinfer, which is open already; both come from one folder.
vla_trt_status open_parser(vla_trt_library const& library, void*& out) {
  std::string why;
  out = vla_trt::open_library(library.folder, "libnvonnxparser.so." + std::to_string(NV_TENSORRT_MAJOR), why);
  if (out == nullptr) {
    out = vla_trt::open_library(library.folder, "libnvonnxparser.so", why);
  }
  return out != nullptr ? VLA_TRT_OK : fail(VLA_TRT_LIBRARY, "%s", why.c_str());
}

template <typename Function>
vla_trt_status find(void* library, char const* name, Function& out) {
  out = reinterpret_cast<Function>(vla_trt::symbol_of(library, name));
  return out != nullptr ? VLA_TRT_OK : fail(VLA_TRT_LIBRARY, "the library has no symbol %s", name);
}

vla_trt_status create(vla_trt_build& build, vla_trt_library const& library, vla_trt_logger* logger,
                      bool strongly_typed) {
  void* parser_library = nullptr;
  void* (*create_builder)(void*, int32_t) = nullptr;
  void* (*create_parser)(void*, void*, int) = nullptr;
  vla_trt_status status = open_parser(library, parser_library);
  if (status == VLA_TRT_OK) status = find(library.infer, "createInferBuilder_INTERNAL", create_builder);
  if (status == VLA_TRT_OK) status = find(parser_library, "createNvOnnxParser_INTERNAL", create_parser);
  if (status != VLA_TRT_OK) {
    return status;
  }
  nvinfer1::NetworkDefinitionCreationFlags flags = 0;
  if (!vla_trt::network_flags(strongly_typed, flags)) {
    return fail(VLA_TRT_UNSUPPORTED, "strongly typed networks need TensorRT 10");
  }
  auto* const as_logger = static_cast<nvinfer1::ILogger*>(logger);
  build.builder.reset(static_cast<nvinfer1::IBuilder*>(create_builder(as_logger, NV_TENSORRT_VERSION)));
  if (build.builder == nullptr) {
    return fail(VLA_TRT_REFUSED, "TensorRT created no builder");
  }
  build.network.reset(build.builder->createNetworkV2(flags));
  build.config.reset(build.builder->createBuilderConfig());
  if (build.network == nullptr || build.config == nullptr) {
    return fail(VLA_TRT_REFUSED, "TensorRT created no network or no builder configuration");
  }
  build.parser.reset(static_cast<nvonnxparser::IParser*>(
      create_parser(build.network.get(), as_logger, NV_ONNX_PARSER_VERSION)));
  if (build.parser == nullptr) {
    return fail(VLA_TRT_REFUSED, "TensorRT created no ONNX parser");
  }
  return VLA_TRT_OK;
}

}  // namespace

extern "C" vla_trt_status vla_trt_build_new(vla_trt_library const* library, vla_trt_logger* logger,
                                            int32_t strongly_typed, vla_trt_build** out) noexcept {
  return guarded("creating a builder", [&]() -> vla_trt_status {
    auto build = std::make_unique<vla_trt_build>();
    vla_trt_status const status = create(*build, *library, logger, strongly_typed != 0);
    if (status == VLA_TRT_OK) {
      *out = build.release();
    }
    return status;
  });
}

extern "C" void vla_trt_build_free(vla_trt_build* build) noexcept { delete build; }

// --- network ----------------------------------------------------------------------------------------------------

extern "C" vla_trt_status vla_trt_build_parse(vla_trt_build* build, char const* onnx) noexcept {
  return guarded("parsing the ONNX file", [&]() -> vla_trt_status {
    auto const severity = static_cast<int>(nvinfer1::ILogger::Severity::kWARNING);
    if (!build->parser->parseFromFile(onnx, severity)) {
      return fail(VLA_TRT_PARSE, "the ONNX parser refuses %s", onnx);
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_parser_error(vla_trt_build const* build, int32_t index,
                                                     vla_trt_parser_error* out) noexcept {
  return guarded("reading a parser error", [&]() -> vla_trt_status {
    auto const* const error =
        index >= 0 && index < build->parser->getNbErrors() ? build->parser->getError(index) : nullptr;
    if (error == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "the parser has no error %d", index);
    }
    *out = {};
    out->code = static_cast<int32_t>(error->code());
    out->node = error->node();
    out->line = error->line();
    out->text = error->desc();
    out->file = error->file();
    out->function = error->func();
    vla_trt::node_names(*error, out->node_name, out->node_operator);
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_network(vla_trt_build const* build, vla_trt_network_info* out) noexcept {
  return guarded("describing the network", [&]() -> vla_trt_status {
    *out = {build->network->getNbInputs(), build->network->getNbOutputs(), build->network->getNbLayers(),
            build->parser->getNbErrors()};
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_tensor(vla_trt_build const* build, int32_t is_input, int32_t index,
                                               vla_trt_tensor* out) noexcept {
  return guarded("describing a network tensor", [&]() -> vla_trt_status {
    auto const& network = *build->network;
    int32_t const count = is_input != 0 ? network.getNbInputs() : network.getNbOutputs();
    if (index < 0 || index >= count) {
      return fail(VLA_TRT_ARGUMENT, "the network has no such tensor: %d of %d", index, count);
    }
    auto const* const tensor = is_input != 0 ? network.getInput(index) : network.getOutput(index);
    *out = {};
    out->name = tensor->getName();
    out->is_input = is_input != 0;
    out->dtype = static_cast<int32_t>(tensor->getType());
    out->is_shape = tensor->isShapeTensor();
    out->is_linear = 1;
    if (!vla_trt::dims_out(tensor->getDimensions(), out->rank, out->dims)) {
      return fail(VLA_TRT_REFUSED, "tensor '%s' has rank %d", out->name, out->rank);
    }
    return VLA_TRT_OK;
  });
}

namespace {

nvinfer1::ILayer* layer_at(vla_trt_build const& build, int32_t index) {
  return index >= 0 && index < build.network->getNbLayers() ? build.network->getLayer(index) : nullptr;
}

}  // namespace

extern "C" vla_trt_status vla_trt_build_layer_name(vla_trt_build const* build, int32_t index,
                                                   char const** out) noexcept {
  return guarded("naming a layer", [&]() -> vla_trt_status {
    auto const* const layer = layer_at(*build, index);
    if (layer == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "the network has no layer %d", index);
    }
    *out = layer->getName();
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_layer_precision(vla_trt_build* build, int32_t index, int32_t dtype,
                                                        int32_t* applied) noexcept {
  return guarded("setting a layer's precision", [&]() -> vla_trt_status {
    *applied = 0;
#if VLA_TRT_HAS_CALIBRATOR
    auto* const layer = layer_at(*build, index);
    if (layer == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "the network has no layer %d", index);
    }
    auto const wanted = static_cast<nvinfer1::DataType>(dtype);
    auto const is_float = [](nvinfer1::ITensor const& tensor) {
      return !tensor.isShapeTensor() &&
             (tensor.getType() == nvinfer1::DataType::kFLOAT || tensor.getType() == nvinfer1::DataType::kHALF);
    };
    // Layers on integers and shapes have no precision to choose, and TensorRT refuses a network that asks for one.
    int32_t const outputs = layer->getNbOutputs();
    for (int32_t i = 0; i < outputs; ++i) {
      auto const* const output = layer->getOutput(i);
      if (output == nullptr || !is_float(*output)) {
        return VLA_TRT_OK;
      }
    }
    for (int32_t i = 0; i < outputs; ++i) {
      layer->setOutputType(i, wanted);
    }
    layer->setPrecision(wanted);
    *applied = outputs > 0;
    return VLA_TRT_OK;
#else
    static_cast<void>(build);
    static_cast<void>(index);
    static_cast<void>(dtype);
    return fail(VLA_TRT_UNSUPPORTED, "TensorRT 11 takes precision from the network's own types");
#endif
  });
}

extern "C" vla_trt_status vla_trt_build_mark_output(vla_trt_build* build, char const* tensor) noexcept {
  return guarded("marking an output", [&]() -> vla_trt_status {
    auto& network = *build->network;
    for (int32_t i = 0; i < network.getNbLayers(); ++i) {
      auto* const layer = network.getLayer(i);
      for (int32_t j = 0; j < layer->getNbOutputs(); ++j) {
        auto* const output = layer->getOutput(j);
        if (output != nullptr && output->getName() != nullptr && std::strcmp(output->getName(), tensor) == 0) {
          if (!output->isNetworkOutput()) {
            network.markOutput(*output);
          }
          return VLA_TRT_OK;
        }
      }
    }
    return fail(VLA_TRT_ARGUMENT, "no layer of the network makes a tensor '%s'", tensor);
  });
}

// --- configuration ----------------------------------------------------------------------------------------------

extern "C" vla_trt_status vla_trt_build_flag(vla_trt_build* build, int32_t flag, int32_t on) noexcept {
  return guarded("setting a builder flag", [&]() -> vla_trt_status {
    nvinfer1::BuilderFlag known{};
    if (!vla_trt::builder_flag(flag, known)) {
      static constexpr char const* kNAMES[] = {"FP16",
                                               "BF16",
                                               "INT8",
                                               "TF32",
                                               "obeying precision constraints",
                                               "preferring precision constraints",
                                               "monitoring memory"};
      bool const named = flag >= 0 && flag < static_cast<int32_t>(sizeof kNAMES / sizeof *kNAMES);
      return fail(VLA_TRT_UNSUPPORTED, "TensorRT %d.%d has no builder flag for %s", NV_TENSORRT_MAJOR,
                  NV_TENSORRT_MINOR, named ? kNAMES[flag] : "this");
    }
    if (on != 0) {
      build->config->setFlag(known);
    } else {
      build->config->clearFlag(known);
    }
    return VLA_TRT_OK;
  });
}

extern "C" int32_t vla_trt_build_platform_has(vla_trt_build const* build, int32_t flag) noexcept {
  return vla_trt::platform_has(*build->builder, flag);
}

extern "C" vla_trt_status vla_trt_build_pool(vla_trt_build* build, int32_t pool, uint64_t bytes) noexcept {
  return guarded("setting a memory pool", [&]() -> vla_trt_status {
    if (pool != VLA_TRT_POOL_WORKSPACE && pool != VLA_TRT_POOL_TACTIC_DRAM) {
      return fail(VLA_TRT_ARGUMENT, "no memory pool %d", pool);
    }
    auto const type = pool == VLA_TRT_POOL_WORKSPACE ? nvinfer1::MemoryPoolType::kWORKSPACE
                                                     : nvinfer1::MemoryPoolType::kTACTIC_DRAM;
    build->config->setMemoryPoolLimit(type, static_cast<std::size_t>(bytes));
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_level(vla_trt_build* build, int32_t level) noexcept {
  return guarded("setting the optimisation level", [&]() -> vla_trt_status {
    build->config->setBuilderOptimizationLevel(level);
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_aux_streams(vla_trt_build* build, int32_t streams) noexcept {
  return guarded("setting auxiliary streams", [&]() -> vla_trt_status {
    static_cast<void>(build->config->setMaxAuxStreams(streams));
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_verbosity(vla_trt_build* build, int32_t detailed) noexcept {
  return guarded("setting the verbosity", [&]() -> vla_trt_status {
    build->config->setProfilingVerbosity(detailed != 0 ? nvinfer1::ProfilingVerbosity::kDETAILED
                                                       : nvinfer1::ProfilingVerbosity::kLAYER_NAMES_ONLY);
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_tactic_sources(vla_trt_build* build, uint32_t mask) noexcept {
  return guarded("setting tactic sources", [&]() -> vla_trt_status {
    nvinfer1::TacticSources sources = 0;
    if (!vla_trt::tactic_sources(mask, sources)) {
      return fail(VLA_TRT_UNSUPPORTED, "TensorRT %d has not all of these tactic sources", NV_TENSORRT_MAJOR);
    }
    if (!build->config->setTacticSources(sources)) {
      return fail(VLA_TRT_REFUSED, "TensorRT does not take these tactic sources");
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_preview(vla_trt_build* build, int32_t feature, int32_t on) noexcept {
  return guarded("setting a preview feature", [&]() -> vla_trt_status {
    if (!vla_trt::set_preview(*build->config, feature, on != 0)) {
      return fail(VLA_TRT_UNSUPPORTED, "TensorRT %d cannot switch preview feature %d %s", NV_TENSORRT_MAJOR, feature,
                  on != 0 ? "on" : "off");
    }
    return VLA_TRT_OK;
  });
}

// --- profiles ---------------------------------------------------------------------------------------------------

namespace {

nvinfer1::IOptimizationProfile* profile_at(vla_trt_build const& build, int32_t index) {
  return index >= 0 && static_cast<size_t>(index) < build.profiles.size() ? build.profiles[index] : nullptr;
}

nvinfer1::ITensor const* input_named(vla_trt_build const& build, char const* name) {
  for (int32_t i = 0; i < build.network->getNbInputs(); ++i) {
    auto const* const input = build.network->getInput(i);
    if (std::strcmp(input->getName(), name) == 0) {
      return input;
    }
  }
  return nullptr;
}

bool set_range(nvinfer1::IOptimizationProfile& profile, nvinfer1::ITensor const& input, OptProfileSelector select,
               int64_t const* values, int32_t count) {
  if (input.isShapeTensor()) {
    return vla_trt::set_shape_values(profile, input.getName(), select, values, count);
  }
  vla_trt::Dims dims;
  return vla_trt::dims_in(count, values, dims) && profile.setDimensions(input.getName(), select, dims);
}

}  // namespace

extern "C" vla_trt_status vla_trt_build_profile_add(vla_trt_build* build, int32_t* index) noexcept {
  return guarded("adding an optimisation profile", [&]() -> vla_trt_status {
    auto* const profile = build->builder->createOptimizationProfile();
    if (profile == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT created no optimisation profile");
    }
    build->profiles.push_back(profile);
    *index = static_cast<int32_t>(build->profiles.size()) - 1;
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_profile_set(vla_trt_build* build, int32_t index, char const* input,
                                                    vla_trt_range const* range) noexcept {
  return guarded("setting an optimisation profile", [&]() -> vla_trt_status {
    auto* const profile = profile_at(*build, index);
    auto const* const tensor = input_named(*build, input);
    if (profile == nullptr || tensor == nullptr || range->rank < 0 || range->rank > VLA_TRT_MAX_RANK) {
      return fail(VLA_TRT_ARGUMENT, "no profile %d or no input '%s', or a rank of %d", index, input, range->rank);
    }
    bool const taken = set_range(*profile, *tensor, OptProfileSelector::kMIN, range->min, range->rank) &&
                       set_range(*profile, *tensor, OptProfileSelector::kOPT, range->opt, range->rank) &&
                       set_range(*profile, *tensor, OptProfileSelector::kMAX, range->max, range->rank);
    if (!taken) {
      return fail(VLA_TRT_REFUSED, "TensorRT refuses this range of input '%s'", input);
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_profile_commit(vla_trt_build* build, int32_t index) noexcept {
  return guarded("adding an optimisation profile", [&]() -> vla_trt_status {
    auto* const profile = profile_at(*build, index);
    if (profile == nullptr || !profile->isValid() || build->config->addOptimizationProfile(profile) < 0) {
      return fail(VLA_TRT_REFUSED, "TensorRT refuses optimisation profile %d: min <= opt <= max must hold for every "
                  "dynamic input", index);
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_profile_calibrates(vla_trt_build* build, int32_t index) noexcept {
  return guarded("setting the calibration profile", [&]() -> vla_trt_status {
#if VLA_TRT_HAS_CALIBRATOR
    auto* const profile = profile_at(*build, index);
    if (profile == nullptr || !build->config->setCalibrationProfile(profile)) {
      return fail(VLA_TRT_REFUSED, "TensorRT does not calibrate with profile %d", index);
    }
    return VLA_TRT_OK;
#else
    static_cast<void>(build);
    return fail(VLA_TRT_UNSUPPORTED, "TensorRT 11 has no calibration (profile %d)", index);
#endif
  });
}

// --- caches, calibration, progress ------------------------------------------------------------------------------

extern "C" vla_trt_status vla_trt_build_timing_cache(vla_trt_build* build, void const* data, uint64_t size) noexcept {
  return guarded("setting the timing cache", [&]() -> vla_trt_status {
    std::unique_ptr<nvinfer1::ITimingCache> cache(
        build->config->createTimingCache(size > 0 ? data : nullptr, static_cast<std::size_t>(size)));
    if (cache == nullptr || !build->config->setTimingCache(*cache, false)) {
      return fail(VLA_TRT_REFUSED, "TensorRT does not take this timing cache");
    }
    build->timing_cache = std::move(cache);
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_timing_cache_out(vla_trt_build const* build, vla_trt_sink_fn sink,
                                                         void* user) noexcept {
  return guarded("reading the timing cache", [&]() -> vla_trt_status {
    auto const* const cache = build->config->getTimingCache();
    if (cache == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "this build has no timing cache");
    }
    std::unique_ptr<nvinfer1::IHostMemory> const bytes(cache->serialize());
    if (bytes == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT does not serialize its timing cache");
    }
    if (!Sink{sink, user}.all(bytes->data(), bytes->size())) {
      return fail(VLA_TRT_CALLBACK, "the timing cache could not be taken");
    }
    return VLA_TRT_OK;
  });
}

extern "C" vla_trt_status vla_trt_build_calibrator(vla_trt_build* build,
                                                   vla_trt_calibrator const* calibrator) noexcept {
  return guarded("setting the calibrator", [&]() -> vla_trt_status {
#if VLA_TRT_HAS_CALIBRATOR
    build->calibrator = std::make_unique<Calibrator>(*calibrator);
    build->config->setInt8Calibrator(build->calibrator.get());
    return VLA_TRT_OK;
#else
    static_cast<void>(build);
    static_cast<void>(calibrator);
    return fail(VLA_TRT_UNSUPPORTED, "TensorRT 11 has no calibration: INT8 comes from QuantizeLinear and "
                "DequantizeLinear nodes in the network");
#endif
  });
}

extern "C" vla_trt_status vla_trt_build_progress(vla_trt_build* build, vla_trt_progress_fn progress,
                                                 void* user) noexcept {
  return guarded("setting the progress monitor", [&]() -> vla_trt_status {
#if VLA_TRT_HAS_PROGRESS
    build->progress = std::make_unique<Progress>(progress, user);
    build->config->setProgressMonitor(build->progress.get());
    return VLA_TRT_OK;
#else
    static_cast<void>(build);
    static_cast<void>(progress);
    static_cast<void>(user);
    return fail(VLA_TRT_UNSUPPORTED, "progress monitors need TensorRT 10");
#endif
  });
}

// --- run --------------------------------------------------------------------------------------------------------

namespace {

enum class Outcome { kDONE, kREFUSED, kNOT_TAKEN };

Outcome run(vla_trt_build& build, Sink sink) {
#if VLA_TRT_HAS_WRITER
  Writer writer(sink);
  bool const built = build.builder->buildSerializedNetworkToStream(*build.network, *build.config, writer);
  return writer.failed() ? Outcome::kNOT_TAKEN : built ? Outcome::kDONE : Outcome::kREFUSED;
#else
  std::unique_ptr<nvinfer1::IHostMemory> const plan(
      build.builder->buildSerializedNetwork(*build.network, *build.config));
  if (plan == nullptr) {
    return Outcome::kREFUSED;
  }
  return sink.all(plan->data(), plan->size()) ? Outcome::kDONE : Outcome::kNOT_TAKEN;
#endif
}

}  // namespace

extern "C" vla_trt_status vla_trt_build_run(vla_trt_build* build, vla_trt_sink_fn sink, void* user) noexcept {
  return guarded("building the engine", [&]() -> vla_trt_status {
    Outcome const outcome = run(*build, Sink{sink, user});
#if VLA_TRT_HAS_PROGRESS
    if (build->progress != nullptr && build->progress->cancelled()) {
      return fail(VLA_TRT_CANCELLED, "the build was cancelled");
    }
#endif
#if VLA_TRT_HAS_CALIBRATOR
    if (build->calibrator != nullptr && build->calibrator->failed()) {
      return fail(VLA_TRT_CALLBACK, "a calibration batch failed");
    }
#endif
    switch (outcome) {
      case Outcome::kDONE: return VLA_TRT_OK;
      case Outcome::kNOT_TAKEN: return fail(VLA_TRT_CALLBACK, "the engine could not be written");
      default: return fail(VLA_TRT_REFUSED, "TensorRT built no engine");
    }
  });
}

// The builder's configuration in the C ABI of tensorrt_shim.h: flags, profiles, caches, calibration, progress.
#include <cstring>

#include "tensorrt_build.h"

using vla_trt::fail;
using vla_trt::guarded;
using vla_trt::Sink;
using nvinfer1::OptProfileSelector;

namespace {

// --- configuration ----------------------------------------------------------------------------------------------

vla_trt_status build_flag(vla_trt_build* build, int32_t flag, int32_t on) noexcept {
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
      return fail(VLA_TRT_UNSUPPORTED, VLA_TRT_PRODUCT " %d.%d has no builder flag for %s", NV_TENSORRT_MAJOR,
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

int32_t build_platform_has(vla_trt_build const* build, int32_t flag) noexcept {
  return vla_trt::platform_has(*build->builder, flag);
}

vla_trt_status build_pool(vla_trt_build* build, int32_t pool, uint64_t bytes) noexcept {
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

vla_trt_status build_level(vla_trt_build* build, int32_t level) noexcept {
  return guarded("setting the optimisation level", [&]() -> vla_trt_status {
    build->config->setBuilderOptimizationLevel(level);
    return VLA_TRT_OK;
  });
}

vla_trt_status build_aux_streams(vla_trt_build* build, int32_t streams) noexcept {
  return guarded("setting auxiliary streams", [&]() -> vla_trt_status {
    static_cast<void>(build->config->setMaxAuxStreams(streams));
    return VLA_TRT_OK;
  });
}

vla_trt_status build_verbosity(vla_trt_build* build, int32_t detailed) noexcept {
  return guarded("setting the verbosity", [&]() -> vla_trt_status {
    build->config->setProfilingVerbosity(detailed != 0 ? nvinfer1::ProfilingVerbosity::kDETAILED
                                                       : nvinfer1::ProfilingVerbosity::kLAYER_NAMES_ONLY);
    return VLA_TRT_OK;
  });
}

vla_trt_status build_compute_capabilities(vla_trt_build* build, int32_t const* capabilities, int32_t count) noexcept {
  return guarded("setting compute capabilities", [&]() -> vla_trt_status {
#if VLA_TRT_RTX
    if (!build->config->setNbComputeCapabilities(count)) {
      return fail(VLA_TRT_REFUSED, "TensorRT-RTX does not take %d compute capabilities", count);
    }
    for (int32_t i = 0; i < count; ++i) {
      if (!build->config->setComputeCapability(static_cast<nvinfer1::ComputeCapability>(capabilities[i]), i)) {
        return fail(VLA_TRT_REFUSED, "TensorRT-RTX does not build for compute capability %d.%d", capabilities[i] / 10,
                    capabilities[i] % 10);
      }
    }
    return VLA_TRT_OK;
#else
    static_cast<void>(build);
    static_cast<void>(capabilities);
    return fail(VLA_TRT_UNSUPPORTED, "TensorRT builds for this machine's GPU only (%d others were asked for)", count);
#endif
  });
}

vla_trt_status build_tactic_sources(vla_trt_build* build, uint32_t mask) noexcept {
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

vla_trt_status build_preview(vla_trt_build* build, int32_t feature, int32_t on) noexcept {
  return guarded("setting a preview feature", [&]() -> vla_trt_status {
    if (!vla_trt::set_preview(*build->config, feature, on != 0)) {
      return fail(VLA_TRT_UNSUPPORTED, "TensorRT %d cannot switch preview feature %d %s", NV_TENSORRT_MAJOR, feature,
                  on != 0 ? "on" : "off");
    }
    return VLA_TRT_OK;
  });
}

// --- profiles ---------------------------------------------------------------------------------------------------

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

vla_trt_status build_profile_add(vla_trt_build* build, int32_t* index) noexcept {
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

vla_trt_status build_profile_set(vla_trt_build* build, int32_t index, char const* input,
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

vla_trt_status build_profile_commit(vla_trt_build* build, int32_t index) noexcept {
  return guarded("adding an optimisation profile", [&]() -> vla_trt_status {
    auto* const profile = profile_at(*build, index);
    if (profile == nullptr || !profile->isValid() || build->config->addOptimizationProfile(profile) < 0) {
      return fail(VLA_TRT_REFUSED, "TensorRT refuses optimisation profile %d: min <= opt <= max must hold for every "
                  "dynamic input", index);
    }
    return VLA_TRT_OK;
  });
}

vla_trt_status build_profile_calibrates(vla_trt_build* build, int32_t index) noexcept {
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

vla_trt_status build_timing_cache(vla_trt_build* build, void const* data, uint64_t size) noexcept {
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

vla_trt_status build_timing_cache_out(vla_trt_build const* build, vla_trt_sink_fn sink,
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

vla_trt_status build_calibrator(vla_trt_build* build,
                                                   vla_trt_calibrator const* calibrator) noexcept {
  return guarded("setting the calibrator", [&]() -> vla_trt_status {
#if VLA_TRT_HAS_CALIBRATOR
    build->calibrator = std::make_unique<vla_trt::Calibrator>(*calibrator);
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

vla_trt_status build_progress(vla_trt_build* build, vla_trt_progress_fn progress,
                                                 void* user) noexcept {
  return guarded("setting the progress monitor", [&]() -> vla_trt_status {
#if VLA_TRT_HAS_PROGRESS
    build->progress = std::make_unique<vla_trt::Progress>(progress, user);
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

}  // namespace

void vla_trt::add_configuration(vla_trt_api& api) noexcept {
  api.build_flag = build_flag;
  api.build_platform_has = build_platform_has;
  api.build_pool = build_pool;
  api.build_level = build_level;
  api.build_aux_streams = build_aux_streams;
  api.build_verbosity = build_verbosity;
  api.build_compute_capabilities = build_compute_capabilities;
  api.build_tactic_sources = build_tactic_sources;
  api.build_preview = build_preview;
  api.build_profile_add = build_profile_add;
  api.build_profile_set = build_profile_set;
  api.build_profile_commit = build_profile_commit;
  api.build_profile_calibrates = build_profile_calibrates;
  api.build_timing_cache = build_timing_cache;
  api.build_timing_cache_out = build_timing_cache_out;
  api.build_calibrator = build_calibrator;
  api.build_progress = build_progress;
}

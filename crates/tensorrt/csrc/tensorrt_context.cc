// Execution contexts and the runtime cache of the C ABI in tensorrt_shim.h.
#include "tensorrt_common.h"
#include "tensorrt_cuda.h"

using vla_trt::fail;
using vla_trt::guarded;

namespace {

// --- runtime cache ----------------------------------------------------------------------------------------------

vla_trt_status cache_new(vla_trt_engine* engine, void const* data, uint64_t size, int32_t* used,
                         vla_trt_cache** out) noexcept {
  return guarded("creating a runtime cache", [&]() -> vla_trt_status {
#if VLA_TRT_RTX
    auto handle = std::make_unique<vla_trt_cache>();
    handle->config.reset(engine->engine->createRuntimeConfig());
    if (handle->config == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT-RTX created no runtime configuration");
    }
    handle->cache.reset(handle->config->createRuntimeCache());
    if (handle->cache == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT-RTX created no runtime cache");
    }
    *used = size > 0 && handle->cache->deserialize(data, static_cast<std::size_t>(size));
    if (!handle->config->setRuntimeCache(*handle->cache)) {
      return fail(VLA_TRT_REFUSED, "TensorRT-RTX does not take its runtime cache");
    }
    handle->config->setExecutionContextAllocationStrategy(
        nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
    // By default kernels for a new shape are compiled in the background, and a CUDA graph that was captured meanwhile keeps the
    // slower ones.
    handle->config->setDynamicShapesKernelSpecializationStrategy(
        nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    *out = handle.release();
    return VLA_TRT_OK;
#else
    static_cast<void>(engine);
    static_cast<void>(data);
    static_cast<void>(size);
    static_cast<void>(used);
    static_cast<void>(out);
    return fail(VLA_TRT_UNSUPPORTED, "TensorRT has no runtime cache: its engines hold compiled kernels");
#endif
  });
}

vla_trt_status cache_out(vla_trt_cache const* cache, vla_trt_sink_fn sink, void* user) noexcept {
  return guarded("reading the runtime cache", [&]() -> vla_trt_status {
#if VLA_TRT_RTX
    std::unique_ptr<nvinfer1::IHostMemory> const bytes(cache->cache->serialize());
    if (bytes == nullptr) {
      return fail(VLA_TRT_REFUSED, "TensorRT-RTX does not serialize its runtime cache");
    }
    if (sink(user, bytes->data(), bytes->size()) != 0) {
      return fail(VLA_TRT_CALLBACK, "the runtime cache could not be taken");
    }
    return VLA_TRT_OK;
#else
    static_cast<void>(cache);
    static_cast<void>(sink);
    static_cast<void>(user);
    return fail(VLA_TRT_UNSUPPORTED, "TensorRT has no runtime cache");
#endif
  });
}

void cache_free(vla_trt_cache* cache) noexcept { delete cache; }

// --- context ----------------------------------------------------------------------------------------------------

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

vla_trt_status context_new(vla_trt_engine* engine, int32_t profile, vla_trt_cache* cache,
                           vla_trt_context** out) noexcept {
  return guarded("creating an execution context", [&]() -> vla_trt_status {
    auto handle = std::make_unique<vla_trt_context>();
#if VLA_TRT_RTX
    handle->context.reset(cache != nullptr ? engine->engine->createExecutionContext(cache->config.get())
                                           : vla_trt::create_context(*engine->engine));
#else
    static_cast<void>(cache);
    handle->context.reset(vla_trt::create_context(*engine->engine));
#endif
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

void context_free(vla_trt_context* context) noexcept { delete context; }

vla_trt_status context_set_memory(vla_trt_context* context, uint64_t address,
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

vla_trt_status context_set_shape(vla_trt_context* context, char const* input, int32_t rank,
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

vla_trt_status context_shape(vla_trt_context const* context, char const* tensor, int32_t* rank,
                                                int64_t* dims) noexcept {
  return guarded("asking for a shape", [&]() -> vla_trt_status {
    if (!vla_trt::dims_out(context->context->getTensorShape(tensor), *rank, dims)) {
      return fail(VLA_TRT_ARGUMENT, "tensor '%s' has no shape", tensor);
    }
    return VLA_TRT_OK;
  });
}

vla_trt_status context_set_address(vla_trt_context* context, char const* tensor,
                                                      uint64_t address) noexcept {
  return guarded("setting a tensor's address", [&]() -> vla_trt_status {
    if (!context->context->setTensorAddress(tensor, reinterpret_cast<void*>(static_cast<uintptr_t>(address)))) {
      return fail(VLA_TRT_REFUSED, "TensorRT does not take an address for tensor '%s'", tensor);
    }
    return VLA_TRT_OK;
  });
}

vla_trt_status context_missing(vla_trt_context* context, char const** names,
                                                  int32_t* count) noexcept {
  return guarded("checking the input shapes", [&]() -> vla_trt_status {
    *count = context->context->inferShapes(VLA_TRT_MAX_RANK, names);
    if (*count < 0) {
      return fail(VLA_TRT_REFUSED, "TensorRT cannot infer the shapes of the outputs");
    }
    return VLA_TRT_OK;
  });
}

vla_trt_status context_enqueue(vla_trt_context* context, void* stream) noexcept {
  return guarded("enqueueing", [&]() -> vla_trt_status {
    if (!context->context->enqueueV3(static_cast<cudaStream_t>(stream))) {
      return fail(VLA_TRT_REFUSED, "TensorRT could not enqueue the engine");
    }
    return VLA_TRT_OK;
  });
}

}  // namespace

void vla_trt::add_context(vla_trt_api& api) noexcept {
  api.cache_new = cache_new;
  api.cache_out = cache_out;
  api.cache_free = cache_free;
  api.context_new = context_new;
  api.context_free = context_free;
  api.context_set_memory = context_set_memory;
  api.context_set_shape = context_set_shape;
  api.context_shape = context_shape;
  api.context_set_address = context_set_address;
  api.context_missing = context_missing;
  api.context_enqueue = context_enqueue;
}

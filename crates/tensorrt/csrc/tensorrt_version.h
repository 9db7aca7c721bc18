// Every difference between TensorRT 8.6, 10.x, 11 and TensorRT-RTX, in one place. The rest of the shim calls these functions.
#ifndef VLA_TRT_TENSORRT_VERSION_H
#define VLA_TRT_TENSORRT_VERSION_H

#include "tensorrt_family.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <cstdint>

// True from this version of the headers on. TensorRT-RTX, which counts from 1, is of the generation of TensorRT 11.
#if VLA_TRT_RTX
#define VLA_TRT_MAIN_LIBRARY "libtensorrt_rtx.so"
#define VLA_TRT_PARSER_LIBRARY "libtensorrt_onnxparser_rtx.so"
#define VLA_TRT_SINCE(major, minor) ((major) <= 11)
#else
#define VLA_TRT_MAIN_LIBRARY "libnvinfer.so"
#define VLA_TRT_PARSER_LIBRARY "libnvonnxparser.so"
#define VLA_TRT_SINCE(major, minor) \
  (NV_TENSORRT_MAJOR > (major) || (NV_TENSORRT_MAJOR == (major) && NV_TENSORRT_MINOR >= (minor)))
#endif

#if !VLA_TRT_SINCE(8, 6)
#error "TensorRT 8.6 or newer is needed: TENSORRT_INCLUDE_DIR names older headers"
#endif

// How an engine is loaded; the only definition (vla_trt_load_path returns it).
#if VLA_TRT_SINCE(10, 7)
#define VLA_TRT_LOAD_PATH 2  // IStreamReaderV2
#elif VLA_TRT_SINCE(10, 0)
#define VLA_TRT_LOAD_PATH 1  // IStreamReader
#else
#define VLA_TRT_LOAD_PATH 0  // one buffer
#endif

#define VLA_TRT_HAS_PROGRESS VLA_TRT_SINCE(10, 0)
#define VLA_TRT_HAS_WRITER VLA_TRT_SINCE(10, 13)    // buildSerializedNetworkToStream
#define VLA_TRT_HAS_INITIALIZERS VLA_TRT_SINCE(10, 13)  // IParser::loadInitializer
#define VLA_TRT_HAS_CALIBRATOR (!VLA_TRT_SINCE(11, 0))  // and builder flags for precision, and layer precisions
#define VLA_TRT_HAS_BF16 (VLA_TRT_SINCE(9, 0) && !VLA_TRT_SINCE(11, 0))

namespace vla_trt {

using nvinfer1::Dims;

// TensorRT 8 packs its version as 8601, later ones as 100300; TensorRT-RTX 1.7.1 is 10701.
inline void unpack_version(int32_t packed, uint32_t& major, uint32_t& minor, uint32_t& patch) {
  int32_t const unit = packed < 10000 ? 1000 : 10000;
  major = static_cast<uint32_t>(packed / unit);
  minor = static_cast<uint32_t>(packed % unit / 100);
  patch = static_cast<uint32_t>(packed % 100);
}

using Extent = std::remove_reference_t<decltype(Dims::d[0])>;  // int32_t in 8, int64_t later

inline int64_t activation_bytes(nvinfer1::ICudaEngine const& engine) {
#if VLA_TRT_SINCE(10, 1)
  return engine.getDeviceMemorySizeV2();
#else
  return static_cast<int64_t>(engine.getDeviceMemorySize());
#endif
}

// 8.6 reports one size for all profiles.
inline int64_t activation_bytes(nvinfer1::ICudaEngine const& engine, int32_t profile) {
#if VLA_TRT_SINCE(10, 1)
  return engine.getDeviceMemorySizeForProfileV2(profile);
#elif VLA_TRT_SINCE(10, 0)
  return static_cast<int64_t>(engine.getDeviceMemorySizeForProfile(profile));
#else
  static_cast<void>(profile);
  return static_cast<int64_t>(engine.getDeviceMemorySize());
#endif
}

inline int64_t weights_bytes(nvinfer1::ICudaEngine const& engine) {
#if VLA_TRT_SINCE(10, 16)
  return engine.getEngineStat(nvinfer1::EngineStat::kTOTAL_WEIGHTS_SIZE);
#else
  static_cast<void>(engine);
  return -1;
#endif
}

inline nvinfer1::IExecutionContext* create_context(nvinfer1::ICudaEngine& engine) {
#if VLA_TRT_SINCE(10, 0)
  return engine.createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
#else
  return engine.createExecutionContextWithoutDeviceMemory();
#endif
}

inline void set_memory(nvinfer1::IExecutionContext& context, void* memory, int64_t bytes) {
#if VLA_TRT_SINCE(10, 1)
  context.setDeviceMemoryV2(memory, bytes);
#else
  static_cast<void>(bytes);
  context.setDeviceMemory(memory);
#endif
}

// Explicit batch is a flag in 8 and always on later; strong typing is optional in 10 and always on in 11.
inline bool network_flags(bool strongly_typed, nvinfer1::NetworkDefinitionCreationFlags& flags) {
  using Flag = nvinfer1::NetworkDefinitionCreationFlag;
#if VLA_TRT_SINCE(11, 0)
  static_cast<void>(strongly_typed);
  static_cast<void>(sizeof(Flag));
  flags = 0;
  return true;
#elif VLA_TRT_SINCE(10, 0)
  flags = strongly_typed ? 1U << static_cast<uint32_t>(Flag::kSTRONGLY_TYPED) : 0U;
  return true;
#else
  flags = 1U << static_cast<uint32_t>(Flag::kEXPLICIT_BATCH);
  return !strongly_typed;
#endif
}

// False where this version has no such flag.
inline bool builder_flag(int32_t flag, nvinfer1::BuilderFlag& out) {
  using Flag = nvinfer1::BuilderFlag;
  switch (flag) {
    case VLA_TRT_FLAG_TF32: out = Flag::kTF32; return true;
#if VLA_TRT_HAS_CALIBRATOR
    case VLA_TRT_FLAG_FP16: out = Flag::kFP16; return true;
    case VLA_TRT_FLAG_INT8: out = Flag::kINT8; return true;
    case VLA_TRT_FLAG_OBEY_PRECISION: out = Flag::kOBEY_PRECISION_CONSTRAINTS; return true;
    case VLA_TRT_FLAG_PREFER_PRECISION: out = Flag::kPREFER_PRECISION_CONSTRAINTS; return true;
#endif
#if VLA_TRT_HAS_BF16
    case VLA_TRT_FLAG_BF16: out = Flag::kBF16; return true;
#endif
#if VLA_TRT_SINCE(10, 7)
    case VLA_TRT_FLAG_MONITOR_MEMORY: out = Flag::kMONITOR_MEMORY; return true;
#endif
    default: return false;
  }
}

inline int32_t platform_has(nvinfer1::IBuilder const& builder, int32_t flag) {
#if VLA_TRT_SINCE(11, 0)
  static_cast<void>(builder);
  static_cast<void>(flag);
  return -1;
#else
  switch (flag) {
    case VLA_TRT_FLAG_FP16: return builder.platformHasFastFp16();
    case VLA_TRT_FLAG_INT8: return builder.platformHasFastInt8();
    case VLA_TRT_FLAG_TF32: return builder.platformHasTf32();
    default: return -1;
  }
#endif
}

// False where one of the sources does not exist any more.
inline bool tactic_sources(uint32_t mask, nvinfer1::TacticSources& out) {
  using Source = nvinfer1::TacticSource;
  struct Pair {
    uint32_t bit;
    Source source;
  };
  constexpr Pair known[] = {
#if !VLA_TRT_SINCE(11, 0)
      {VLA_TRT_TACTIC_CUBLAS, Source::kCUBLAS},
      {VLA_TRT_TACTIC_CUBLAS_LT, Source::kCUBLAS_LT},
      {VLA_TRT_TACTIC_CUDNN, Source::kCUDNN},
#endif
      {VLA_TRT_TACTIC_EDGE_MASK, Source::kEDGE_MASK_CONVOLUTIONS},
      {VLA_TRT_TACTIC_JIT, Source::kJIT_CONVOLUTIONS},
  };
  out = 0;
  for (auto const& pair : known) {
    if ((mask & pair.bit) != 0) {
      out |= 1U << static_cast<uint32_t>(pair.source);
      mask &= ~pair.bit;
    }
  }
  return mask == 0;
}

// False when the feature cannot be switched so.
inline bool set_preview(nvinfer1::IBuilderConfig& config, int32_t feature, bool on) {
#if VLA_TRT_SINCE(10, 0)
  static_cast<void>(config);
  return on && (feature == VLA_TRT_PREVIEW_SHARE_PROFILES || feature == VLA_TRT_PREVIEW_FASTER_DYNAMIC_SHAPES);
#else
  using Feature = nvinfer1::PreviewFeature;
  switch (feature) {
    case VLA_TRT_PREVIEW_SHARE_PROFILES: config.setPreviewFeature(Feature::kPROFILE_SHARING_0806, on); return true;
    case VLA_TRT_PREVIEW_FASTER_DYNAMIC_SHAPES:
      config.setPreviewFeature(Feature::kFASTER_DYNAMIC_SHAPES_0805, on);
      return true;
    default: return false;
  }
#endif
}

inline bool set_shape_values(nvinfer1::IOptimizationProfile& profile, char const* input,
                             nvinfer1::OptProfileSelector select, int64_t const* values, int32_t count) {
#if VLA_TRT_SINCE(10, 13)
  return profile.setShapeValuesV2(input, select, values, count);
#else
  int32_t narrow[VLA_TRT_MAX_RANK] = {};
  for (int32_t i = 0; i < count; ++i) {
    narrow[i] = static_cast<int32_t>(values[i]);
  }
  return profile.setShapeValues(input, select, narrow, count);
#endif
}

// The node's name and operator; the parser reports them from 10 on.
inline void node_names(nvonnxparser::IParserError const& error, char const*& name, char const*& op) {
#if VLA_TRT_SINCE(10, 0)
  name = error.nodeName();
  op = error.nodeOperator();
#else
  static_cast<void>(error);
  name = nullptr;
  op = nullptr;
#endif
}

}  // namespace vla_trt

#endif

// What both families share, compiled once and without NVIDIA's headers: the choice of a table, and the last error's text.
//
// VLA_TRT_WITH_TENSORRT and VLA_TRT_WITH_RTX are defined for each family that was compiled.
#include "tensorrt_shim.h"

extern "C" char* vla_trt_error_text(void) noexcept {
  thread_local char text[VLA_TRT_ERROR_SIZE] = "";
  return text;
}

extern "C" char const* vla_trt_last_error(void) noexcept { return vla_trt_error_text(); }

#ifdef VLA_TRT_WITH_TENSORRT
extern "C" vla_trt_api const* vla_trt_api_tensorrt(void) noexcept;
#endif
#ifdef VLA_TRT_WITH_RTX
extern "C" vla_trt_api const* vla_trt_api_rtx(void) noexcept;
#endif

extern "C" vla_trt_api const* vla_trt_api_of(int32_t family) noexcept {
  switch (family) {
#ifdef VLA_TRT_WITH_TENSORRT
    case VLA_TRT_FAMILY_TENSORRT: return vla_trt_api_tensorrt();
#endif
#ifdef VLA_TRT_WITH_RTX
    case VLA_TRT_FAMILY_RTX: return vla_trt_api_rtx();
#endif
    default: return nullptr;
  }
}

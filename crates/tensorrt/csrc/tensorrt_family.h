// Which library family this translation unit is compiled for, decided by the headers; included before everything else.
//
// TensorRT-RTX's headers have the classes of TensorRT's under the same names, with other virtual functions. Inline methods of
// both would be one symbol in the program, and the linker would keep either. So NVIDIA's namespaces, ours, and our handles are
// renamed where RTX's headers are compiled. The libraries' own symbols are looked up by their C names and stay as they are.
#ifndef VLA_TRT_TENSORRT_FAMILY_H
#define VLA_TRT_TENSORRT_FAMILY_H

#include <NvInferVersion.h>

#ifdef TRT_MAJOR_RTX
#define VLA_TRT_RTX 1
#define VLA_TRT_PRODUCT "TensorRT-RTX"
#define nvinfer1 nvinfer1_rtx
#define nvonnxparser nvonnxparser_rtx
#define vla_trt vla_rtx
#define vla_trt_library vla_rtx_library
#define vla_trt_logger vla_rtx_logger
#define vla_trt_runtime vla_rtx_runtime
#define vla_trt_engine vla_rtx_engine
#define vla_trt_context vla_rtx_context
#define vla_trt_cache vla_rtx_cache
#define vla_trt_build vla_rtx_build
#else
#define VLA_TRT_RTX 0
#define VLA_TRT_PRODUCT "TensorRT"
#endif

#endif

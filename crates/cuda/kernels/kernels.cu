// All kernels, by the names that src/kernels.rs launches.
#include "attention_plain.cuh"
#include "moves.cuh"
#include "norm.cuh"
#include "pointwise.cuh"
#include "rotary.cuh"

#ifndef VLA_CUDA_EMULATOR
#define KERNEL(name, Arguments, threads, body) \
  extern "C" __global__ void __launch_bounds__(threads) name(const Arguments a) { body(a); }
#endif

#define KERNELS_OF(element, T)                                                \
  KERNEL(norm_##element, NormArguments, 1024, norm<T>)                        \
  KERNEL(elementwise_##element, ElementwiseArguments, 256, elementwise<T>)    \
  KERNEL(rotary_##element, RotaryArguments, 128, rotary<T>)                   \
  KERNEL(euler_##element, EulerArguments, 256, euler<T>)                      \
  KERNEL(attention_plain_##element, AttentionArguments, 128, attention_plain<T>)

KERNELS_OF(f32, float)
KERNELS_OF(f16, half_t)
KERNELS_OF(bf16, bf16_t)

KERNEL(gather, GatherArguments, 256, gather)
KERNEL(permute, PermuteArguments, 256, permute)
KERNEL(cast, CastArguments, 256, cast)

// All kernels, by the names that src/kernels.rs launches.
#include "attention.cuh"
#include "attention_plain.cuh"
#include "moves.cuh"
#include "norm.cuh"
#include "pointwise.cuh"
#include "product.cuh"
#include "quantize.cuh"
#include "resample.cuh"
#include "rotary.cuh"
#include "tensor_product.cuh"

// In blocks of at most `threads` threads. KERNEL_RESIDENT: with registers for `blocks` of them on a multiprocessor; left to itself the
// compiler spills some registers of the larger kernels to have more.
#ifndef VLA_CUDA_EMULATOR
#define KERNEL(name, Arguments, threads, body) \
  extern "C" __global__ void __launch_bounds__(threads) name(const Arguments a) { body(a); }
#define KERNEL_RESIDENT(name, Arguments, threads, blocks, body) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name(const Arguments a) { body(a); }
#endif

#define KERNELS_OF(element, T)                                                \
  KERNEL_RESIDENT(norm_##element, NormArguments, 512, 1, norm<T>)             \
  KERNEL(elementwise_##element, ElementwiseArguments, 256, elementwise<T>)    \
  KERNEL(rotary_##element, RotaryArguments, 128, rotary<T>)                   \
  KERNEL(euler_##element, EulerArguments, 256, euler<T>)                      \
  KERNEL(attention_plain_##element, AttentionArguments, 128, attention_plain<T>)

KERNELS_OF(f32, float)
KERNELS_OF(f16, half_t)
KERNELS_OF(bf16, bf16_t)

KERNEL_RESIDENT(norm_row_f16, NormArguments, 512, 1, norm_row<half_t>)
KERNEL_RESIDENT(norm_row_bf16, NormArguments, 512, 1, norm_row<bf16_t>)
KERNEL(gather, GatherArguments, 256, gather_rows)
KERNEL(permute, PermuteArguments, 256, permute_elements)
KERNEL(cast, CastArguments, 256, cast_elements)
KERNEL(resample, ResampleArguments, 256, resample_images)

// Where instructions take more registers, one block fewer has to find room.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
#define RESIDENT(blocks) ((blocks)-1)
#else
#define RESIDENT(blocks) (blocks)
#endif

// By head dimension: of few query rows, with `key_warps` warps that share the keys, and of many.
#define ATTENTION_OF(element, T, dim, key_warps, few_blocks, many_blocks)                              \
  KERNEL_RESIDENT(attention_few_##element##_##dim, AttentionArguments, 32 * key_warps, few_blocks,     \
                  (attention<T, dim, 1, key_warps>))                                                   \
  KERNEL_RESIDENT(attention_many_##element##_##dim, AttentionArguments, 128, many_blocks, (attention<T, dim, 4, 1>))

#define ATTENTIONS_OF(element, T)        \
  ATTENTION_OF(element, T, 32, 8, 3, 6)  \
  ATTENTION_OF(element, T, 48, 8, 3, RESIDENT(5))   \
  ATTENTION_OF(element, T, 64, 8, 2, 3)  \
  ATTENTION_OF(element, T, 80, 4, 4, RESIDENT(3))  \
  ATTENTION_OF(element, T, 128, 4, 3, 2)

ATTENTIONS_OF(f16, half_t)
ATTENTIONS_OF(bf16, bf16_t)

// Of 8-bit factors: by the type of the result, warps along the outputs and along the channels, and most rows.
#define PRODUCT_OF(element, T, out_warps, channel_warps, rows)                                                                     \
  KERNEL_RESIDENT(product_##element##_##out_warps##x##channel_warps##_##rows, ProductArguments, 32 * out_warps * channel_warps, 1, \
                  (product<T, out_warps, channel_warps, rows / 8>))
#define PRODUCTS_OF(element, T)      \
  PRODUCT_OF(element, T, 1, 4, 48)   \
  PRODUCT_OF(element, T, 1, 4, 56)   \
  PRODUCT_OF(element, T, 1, 4, 64)   \
  PRODUCT_OF(element, T, 1, 6, 48)   \
  PRODUCT_OF(element, T, 1, 6, 56)   \
  PRODUCT_OF(element, T, 1, 6, 64)   \
  PRODUCT_OF(element, T, 2, 4, 48)   \
  PRODUCT_OF(element, T, 2, 4, 56)   \
  PRODUCT_OF(element, T, 2, 4, 64)   \
  PRODUCT_OF(element, T, 3, 2, 48)   \
  PRODUCT_OF(element, T, 3, 2, 56)   \
  PRODUCT_OF(element, T, 3, 2, 64)   \
  PRODUCT_OF(element, T, 4, 2, 48)   \
  PRODUCT_OF(element, T, 4, 2, 56)   \
  PRODUCT_OF(element, T, 4, 2, 64)

#define QUANTIZED_OF(element, T)                                          \
  KERNEL(quantize_##element, QuantizeArguments, 512, quantize<T>)         \
  KERNEL(dequantize_##element, DequantizeArguments, 256, dequantize<T>)

QUANTIZED_OF(f16, half_t)
QUANTIZED_OF(bf16, bf16_t)

PRODUCTS_OF(f16, half_t)
PRODUCTS_OF(bf16, bf16_t)

// By the type of the result and the outputs of a block. Tensor maps have to stay in the launch's parameters.
#if defined(VLA_CUDA_EMULATOR) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#ifdef VLA_CUDA_EMULATOR
#define TENSOR_PRODUCT(element, T, outputs) \
  KERNEL(tensor_product_##element##_##outputs, MappedTensorProduct, kTensorThreads, (tensor_product<T, outputs>))
#else
#define TENSOR_PRODUCT(element, T, outputs)                                                                                           \
  extern "C" __global__ void __launch_bounds__(kTensorThreads, 2)                                                                    \
      tensor_product_##element##_##outputs(const __grid_constant__ MappedTensorProduct a) { tensor_product<T, outputs>(a); }
#endif
#define TENSOR_PRODUCTS_OF(element, T) \
  TENSOR_PRODUCT(element, T, 48)       \
  TENSOR_PRODUCT(element, T, 72)       \
  TENSOR_PRODUCT(element, T, 96)       \
  TENSOR_PRODUCT(element, T, 128)
TENSOR_PRODUCTS_OF(f16, half_t)
TENSOR_PRODUCTS_OF(bf16, bf16_t)
#endif

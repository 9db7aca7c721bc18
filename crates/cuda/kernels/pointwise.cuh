// Kernels that take eight elements a thread: elementwise, cast; and Euler's step.
#pragma once
#include "elements.cuh"

// e^x to single precision for single-precision results; a faster one for those of 16 bits.
template <class T>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (sizeof(T) == 4)
    return expf(x);
  else
    return fast_exp(x);
}

template <class T>
__device__ __forceinline__ float activated(float x, int activation) {
  switch (activation) {
    case 1:
      return x < 0.f ? 0.f : x;
    case 2:
      return x / (1.f + exponential<T>(-x));
    case 3:  // x * (1 + tanh(u)) / 2 = x * sigmoid(2 u), exact for negative x, too
      return x / (1.f + exponential<T>(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    case 4:
      return 0.5f * x * erfcf(-0.7071067811865476f * x);
    default:
      return x;
  }
}

template <class T>
__device__ __forceinline__ void elementwise(const ElementwiseArguments &a) {
  const unsigned chunks = (a.columns + kChunk - 1) / kChunk, i = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = i / chunks, column = i % chunks * kChunk, count = a.columns - column;
  if (row >= a.rows) return;
  float v[kChunk];
  load_vector<T>(a.parts.bias, column, count, 0.f, v);
  wait_for_launch_before();
  float other[kChunk];
  if (a.x.address) {
    load_chunk(row_of<const T>(a.x, row) + column, count, is_aligned<T>(a.x), other);
#pragma unroll
    for (int j = 0; j < kChunk; j++) v[j] += other[j];
  }
  add_parts<T>(a.parts, row, column, count, is_aligned<T>(a.parts), v);
#pragma unroll
  for (int j = 0; j < kChunk; j++) v[j] = activated<T>(v[j], a.activation);
  if (a.by.address) {
    load_chunk(row_of<const T>(a.by, row) + column, count, is_aligned<T>(a.by), other);
#pragma unroll
    for (int j = 0; j < kChunk; j++) v[j] *= other[j];
  }
  if (a.add.address) {
    load_chunk(row_of<const T>(a.add, row % a.add_rows) + column, count, is_aligned<T>(a.add), other);
#pragma unroll
    for (int j = 0; j < kChunk; j++) v[j] += other[j];
  }
  store_chunk(row_of<T>(a.y, row) + column, count, is_aligned<T>(a.y), v);
}

__device__ __forceinline__ void cast_elements(const CastArguments &a) {
  const unsigned chunks = (a.columns + kChunk - 1) / kChunk, i = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = i / chunks, column = i % chunks * kChunk, count = a.columns - column;
  if (row >= a.rows) return;
  wait_for_launch_before();
  float v[kChunk];
  if (a.from == 0)
    load_chunk(row_of<const float>(a.x, row) + column, count, is_aligned<float>(a.x), v);
  else if (a.from == 1)
    load_chunk(row_of<const half_t>(a.x, row) + column, count, is_aligned<half_t>(a.x), v);
  else
    load_chunk(row_of<const bf16_t>(a.x, row) + column, count, is_aligned<bf16_t>(a.x), v);
  if (a.to == 0)
    store_chunk(row_of<float>(a.y, row) + column, count, is_aligned<float>(a.y), v);
  else if (a.to == 1)
    store_chunk(row_of<half_t>(a.y, row) + column, count, is_aligned<half_t>(a.y), v);
  else
    store_chunk(row_of<bf16_t>(a.y, row) + column, count, is_aligned<bf16_t>(a.y), v);
}

template <class T>
__device__ __forceinline__ void euler(const EulerArguments &a) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = i / static_cast<unsigned>(a.columns), column = i % static_cast<unsigned>(a.columns);
  if (row >= a.rows) return;
  wait_for_launch_before();
  const float rate = *pointer<const float>(a.dt) * pointer<const float>(a.strength)[row];
  pointer<float>(a.out)[i] = pointer<const float>(a.actions)[i] + rate * to_float(row_of<const T>(a.velocity, row)[column]);
}

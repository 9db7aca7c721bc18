// Rows of 8-bit integers with a scale each, and results of their products: y = x * row scale * channel scale.
#pragma once
#include "pointwise.cuh"

constexpr float kMostByte = 127.f;

// The larger one; NaN where one of them is.
__device__ __forceinline__ float larger(float a, float b) { return a != a || b < a ? a : b; }

// What a row is multiplied by. A NaN or infinity makes its row's scale one, so that it does not get lost.
__device__ __forceinline__ float byte_rate(float most) { return most > 1e-30f ? fast_divide(kMostByte, most) : 0.f; }
__device__ __forceinline__ float byte_scale(float most) { return most * (1.f / kMostByte); }

template <int n>
__device__ __forceinline__ float largest_of(const float (&v)[n], float most) {
#pragma unroll
  for (int i = 0; i < n; i++) most = larger(most, fabsf(v[i]));
  return most;
}
template <int n>
__device__ __forceinline__ void store_bytes(int8_t *p, float rate, const float (&v)[n]) {
  static_assert(n == 1 || n == kChunk);
  if constexpr (n == 1) {
    *p = static_cast<int8_t>(to_nearest(v[0] * rate));
  } else {
    uint32_t words[2] = {};
#pragma unroll
    for (int i = 0; i < n; i++) words[i / 4] |= (static_cast<uint32_t>(to_nearest(v[i] * rate)) & 255) << i % 4 * 8;
    store_4(p, words[0]), store_4(p + 4, words[1]);
  }
}
__device__ __forceinline__ float warp_largest(float x) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) x = larger(x, __shfl_xor_sync(~0u, x, i));
  return x;
}
// Of all threads of the block; `of_warps` is shared memory for a number a warp, which nothing else uses before or behind.
__device__ __forceinline__ float block_largest(float x, float *of_warps) {
  x = warp_largest(x);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
  __syncthreads();
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; warp++) x = larger(x, of_warps[warp]);
  return x;
}

// Whether every multiple of four bytes, in every row, begins at one.
__device__ __forceinline__ bool holds_words(const Matrix &bytes) {
  return ((bytes.address | static_cast<uint64_t>(bytes.stride)) & 3) == 0;
}

// A block a row, which is read twice: it is in the cache by then.
template <int n, class T>
__device__ __forceinline__ void quantize_row(const QuantizeArguments &a) {
  const int row = blockIdx.x, first = threadIdx.x * n, step = blockDim.x * n;
  const T *x = row_of<const T>(a.x, row);
  if (a.release) start_launch_behind();
  wait_for_launch_before();
  float most = 0.f;
#pragma unroll 1
  for (int c = first; c < a.columns; c += step) {
    float v[n];
    load_chunk(x + c, true, v);
    most = largest_of(v, most);
  }
  most = block_largest(most, reinterpret_cast<float *>(shared_memory()));
  const float rate = byte_rate(most);
#pragma unroll 1
  for (int c = first; c < a.columns; c += step) {
    float v[n];
    load_chunk(x + c, true, v);
    store_bytes(row_of<int8_t>(a.y, row) + c, rate, v);
  }
  if (threadIdx.x == 0) pointer<float>(a.scales)[row] = byte_scale(most);
}
template <class T>
__device__ __forceinline__ void quantize(const QuantizeArguments &a) {
  const bool aligned = a.columns % kChunk == 0 && is_aligned<T>(a.x) && holds_words(a.y);
  if (aligned)
    quantize_row<kChunk, T>(a);
  else
    quantize_row<1, T>(a);
}

// Sums of 8-bit products in their own units.
template <int n>
__device__ __forceinline__ void scale_chunk(float row_scale, Address channel_scales, int column, float (&v)[n]) {
  float scale[n];
  load_chunk(pointer<const float>(channel_scales) + column, true, scale);
#pragma unroll
  for (int i = 0; i < n; i++) v[i] *= row_scale * scale[i];
}

template <int n, class T>
__device__ __forceinline__ void dequantize_chunk(const DequantizeArguments &a, int row, int column) {
  float v[n];
  const int32_t *x = row_of<const int32_t>(a.x, row) + column;
  if constexpr (n == 1) {
    v[0] = static_cast<float>(*x);
  } else {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      const uint4 four = load_16(x + i);
      v[i] = static_cast<float>(static_cast<int32_t>(four.x)), v[i + 1] = static_cast<float>(static_cast<int32_t>(four.y));
      v[i + 2] = static_cast<float>(static_cast<int32_t>(four.z)), v[i + 3] = static_cast<float>(static_cast<int32_t>(four.w));
    }
  }
  scale_chunk(pointer<const float>(a.row_scales)[row], a.channel_scales, column, v);
  if (a.bias) add_chunk(pointer<const T>(a.bias) + column, true, v);
  activate<T>(v, a.activation);
  store_chunk(row_of<T>(a.y, row) + column, v);
}
template <class T>
__device__ __forceinline__ void dequantize(const DequantizeArguments &a) {
  if (a.release) start_launch_behind();
  const bool aligned =
      is_aligned<int32_t>(a.x) && is_aligned<float>(a.channel_scales) && is_aligned<T>(a.bias) && is_aligned<T>(a.y);
  by_chunks(
      a.rows, a.columns, aligned, [&](int row, int column) { dequantize_chunk<kChunk, T>(a, row, column); },
      [&](int row, int column) { dequantize_chunk<1, T>(a, row, column); });
}

// Element types, and chunks of a row's elements in single precision.
//
// Kernels are written once and compiled for two sizes of chunks: of eight elements, where every chunk of every operand is whole
// and begins at a multiple of 16 bytes, and of one, where an address, a stride or a width is another.
#pragma once
#include "platform.h"

using half_t = __half;
using bf16_t = __nv_bfloat16;

constexpr int kChunk = 8;  // elements of an aligned chunk

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(half_t x) { return __half2float(x); }
__device__ __forceinline__ float to_float(bf16_t x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ half_t from_float<half_t>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ bf16_t from_float<bf16_t>(float x) {
  return __float2bfloat16_rn(x);
}

// The two elements of a word.
template <class T>
__device__ __forceinline__ float2 unpack(uint32_t word) {
  T pair[2];
  memcpy(pair, &word, 4);
  return make_float2(to_float(pair[0]), to_float(pair[1]));
}

template <class T>
__device__ __forceinline__ T *pointer(Address address) {
  return reinterpret_cast<T *>(address);
}
// Row `row` of a matrix.
template <class T>
__device__ __forceinline__ T *row_of(const Matrix &m, int64_t row) {
  return pointer<T>(m.address) + row * m.stride;
}

// Whether every multiple of eight elements from `address` on, in every row, begins at a multiple of 16 bytes.
template <class T>
__device__ __forceinline__ bool is_aligned(Address address, int64_t stride = 0) {
  return ((address | static_cast<uint64_t>(stride * static_cast<int64_t>(sizeof(T)))) & 15) == 0;
}
template <class T>
__device__ __forceinline__ bool is_aligned(const Matrix &m) {
  return is_aligned<T>(m.address, m.stride);
}
template <class T>
__device__ __forceinline__ bool is_aligned(const Parts &p) {
  const bool parts = p.single ? is_aligned<float>(p.first) && is_aligned<float>(0, p.apart)
                              : is_aligned<T>(p.first) && is_aligned<T>(0, p.apart);
  return parts && is_aligned<T>(p.bias);
}

// A chunk, or zeros unless `exists`.
template <int n, class T>
__device__ __forceinline__ void load_chunk(const T *p, bool exists, float (&out)[n]) {
  static_assert(n == 1 || n == kChunk);
  if constexpr (n == 1) {
    out[0] = exists ? to_float(*p) : 0.f;
  } else {
    uint32_t words[sizeof(T) * 2] = {};
    if (exists) {
#pragma unroll
      for (int i = 0; i < static_cast<int>(sizeof(T)) / 2; i++) {
        const uint4 four = load_16(reinterpret_cast<const char *>(p) + 16 * i);
        words[4 * i] = four.x, words[4 * i + 1] = four.y, words[4 * i + 2] = four.z, words[4 * i + 3] = four.w;
      }
    }
    if constexpr (sizeof(T) == 4) {
      memcpy(out, words, sizeof(out));
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float2 pair = unpack<T>(words[i]);
        out[2 * i] = pair.x, out[2 * i + 1] = pair.y;
      }
    }
  }
}

template <int n, class T>
__device__ __forceinline__ void store_chunk(T *p, const float (&in)[n]) {
  static_assert(n == 1 || n == kChunk);
  if constexpr (n == 1) {
    *p = from_float<T>(in[0]);
  } else {
    uint32_t words[sizeof(T) * 2];
    if constexpr (sizeof(T) == 4) {
      memcpy(words, in, sizeof(in));
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) words[i] = pack<T>(in[2 * i], in[2 * i + 1]);
    }
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T)) / 2; i++)
      store_16(reinterpret_cast<char *>(p) + 16 * i, make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]));
  }
}

template <int n>
__device__ __forceinline__ void fill(float (&out)[n], float value) {
#pragma unroll
  for (int i = 0; i < n; i++) out[i] = value;
}
// A chunk of a vector, or `otherwise` where it has no address.
template <int n, class T>
__device__ __forceinline__ void load_vector(Address vector, int at, bool exists, float otherwise, float (&out)[n]) {
  if (vector)
    load_chunk(pointer<const T>(vector) + at, exists, out);
  else
    fill(out, otherwise);
}
template <int n, class T>
__device__ __forceinline__ void add_chunk(const T *p, bool exists, float (&v)[n]) {
  float other[n];
  load_chunk(p, exists, other);
#pragma unroll
  for (int i = 0; i < n; i++) v[i] += other[i];
}
// The parts of a product, added to `v`. Their bias is read apart from them.
template <int n, class T>
__device__ __forceinline__ void add_parts(const Parts &p, int64_t row, int column, bool exists, float (&v)[n]) {
  if (!p.first.address) return;
  const int64_t at = row * p.first.stride + column;
  if (p.single) {
#pragma unroll 4
    for (int i = 0; i < p.count; i++) add_chunk(pointer<const float>(p.first.address) + at + i * p.apart, exists, v);
  } else {
#pragma unroll 4
    for (int i = 0; i < p.count; i++) add_chunk(pointer<const T>(p.first.address) + at + i * p.apart, exists, v);
  }
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
  return x;
}

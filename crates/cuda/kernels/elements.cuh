// Element types, and chunks of eight elements of a row in single precision. The 16-byte path is taken where addresses and strides
// allow it.
#pragma once
#include "platform.h"

using half_t = __half;
using bf16_t = __nv_bfloat16;

constexpr int kChunk = 8;

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

// Whether every multiple of eight columns of every row begins at a multiple of 16 bytes.
template <class T>
__device__ __forceinline__ bool is_aligned(Address address, int64_t stride) {
  return ((address | static_cast<uint64_t>(stride * static_cast<int64_t>(sizeof(T)))) & 15) == 0;
}
template <class T>
__device__ __forceinline__ bool is_aligned(const Matrix &m) {
  return is_aligned<T>(m.address, m.stride);
}

// `count` elements (all eight where it is larger), zeros behind them.
template <class T>
__device__ __forceinline__ void load_chunk(const T *p, int count, bool aligned, float (&out)[kChunk]) {
  if (aligned && count >= kChunk) {
    uint32_t words[sizeof(T) * 2];
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T)) / 2; i++) {
      const uint4 four = load_16(reinterpret_cast<const char *>(p) + 16 * i);
      words[4 * i] = four.x, words[4 * i + 1] = four.y, words[4 * i + 2] = four.z, words[4 * i + 3] = four.w;
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
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; i++) out[i] = i < count ? to_float(p[i]) : 0.f;
  }
}

template <class T>
__device__ __forceinline__ void store_chunk(T *p, int count, bool aligned, const float (&in)[kChunk]) {
  if (aligned && count >= kChunk) {
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
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; i++)
      if (i < count) p[i] = from_float<T>(in[i]);
  }
}

template <class T>
__device__ __forceinline__ bool is_aligned(const Parts &p) {
  return p.single ? is_aligned<float>(p.first) && is_aligned<float>(0, p.apart) : is_aligned<T>(p.first) && is_aligned<T>(0, p.apart);
}
// The parts of a product, added to `v`. Their bias is read apart from them: it is older.
template <class T>
__device__ __forceinline__ void add_parts(const Parts &p, int64_t row, int column, int count, bool aligned, float (&v)[kChunk]) {
  if (!p.first.address) return;
  const int64_t at = row * p.first.stride + column;
#pragma unroll 4
  for (int i = 0; i < p.count; i++) {
    float part[kChunk];
    if (p.single)
      load_chunk(pointer<const float>(p.first.address) + at + i * p.apart, count, aligned, part);
    else
      load_chunk(pointer<const T>(p.first.address) + at + i * p.apart, count, aligned, part);
#pragma unroll
    for (int j = 0; j < kChunk; j++) v[j] += part[j];
  }
}

// Eight elements of a vector, or `otherwise` where it has no address.
template <class T>
__device__ __forceinline__ void load_vector(Address vector, int at, int count, float otherwise, float (&out)[kChunk]) {
  if (vector) {
    load_chunk(pointer<const T>(vector) + at, count, is_aligned<T>(vector, 0), out);
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; i++) out[i] = otherwise;
  }
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
  return x;
}

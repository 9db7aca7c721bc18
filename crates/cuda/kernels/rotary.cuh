// Rotary positions, after an RMS norm of the head where one is given. A warp a head of a row; a lane takes pairs of channels of
// both halves.
#pragma once
#include "elements.cuh"

template <class T>
__device__ __forceinline__ float2 load_pair(const T *p, bool both, bool aligned) {
  if constexpr (sizeof(T) == 2)
    if (both && aligned) return unpack<T>(load_4(p));
  return make_float2(to_float(p[0]), both ? to_float(p[1]) : 0.f);
}
template <class T>
__device__ __forceinline__ void store_pair(T *p, bool both, bool aligned, float2 v) {
  if constexpr (sizeof(T) == 2)
    if (both && aligned) {
      store_4(p, pack<T>(v.x, v.y));
      return;
    }
  p[0] = from_float<T>(v.x);
  if (both) p[1] = from_float<T>(v.y);
}

template <class T>
__device__ __forceinline__ void rotary(const RotaryArguments &a) {
  const int lane = threadIdx.x % 32, item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int row = item / a.heads, head = item % a.heads, half = a.dim / 2;
  if (row >= a.rows) return;
  const T *x = row_of<const T>(a.x, row) + head * a.dim;
  T *y = row_of<T>(a.y, row) + head * a.dim;
  const T *cos = row_of<const T>(a.cos, row % a.group), *sin = row_of<const T>(a.sin, row % a.group);
  const T *weight = pointer<const T>(a.norm);
  const uint64_t strides = a.x.stride | a.y.stride | a.cos.stride | a.sin.stride;
  const bool aligned = half % 2 == 0 && strides % 2 == 0 &&
                       ((a.x.address | a.y.address | a.cos.address | a.sin.address | a.norm) & (2 * sizeof(T) - 1)) == 0;
  wait_for_launch_before();
  float rate = 1.f;
  if (weight) {
    float squares = 0.f;
    for (int i = lane * 2; i < half; i += 64) {
      const bool both = i + 1 < half;
      const float2 low = load_pair(x + i, both, aligned), high = load_pair(x + half + i, both, aligned);
      squares += low.x * low.x + low.y * low.y + high.x * high.x + high.y * high.y;
    }
    rate = fast_rsqrt(fast_divide(warp_sum(squares), a.dim) + a.eps);
  }
  for (int i = lane * 2; i < half; i += 64) {
    const bool both = i + 1 < half;
    float2 low = load_pair(x + i, both, aligned), high = load_pair(x + half + i, both, aligned);
    if (weight) {
      const float2 of_low = load_pair(weight + i, both, aligned), of_high = load_pair(weight + half + i, both, aligned);
      low = make_float2(low.x * rate * of_low.x, low.y * rate * of_low.y);
      high = make_float2(high.x * rate * of_high.x, high.y * rate * of_high.y);
    }
    const float2 c = load_pair(cos + i, both, aligned), s = load_pair(sin + i, both, aligned);
    const float2 d = load_pair(cos + half + i, both, aligned), t = load_pair(sin + half + i, both, aligned);
    store_pair(y + i, both, aligned, make_float2(low.x * c.x - high.x * s.x, low.y * c.y - high.y * s.y));
    store_pair(y + half + i, both, aligned, make_float2(high.x * d.x + low.x * t.x, high.y * d.y + low.y * t.y));
  }
}

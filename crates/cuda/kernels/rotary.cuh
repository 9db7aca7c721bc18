// Rotary positions of queries and keys, after an RMS norm of the head where one is given. A warp a head of a row; a lane takes pairs of
// channels of both halves.
#pragma once
#include "elements.cuh"

// Elements p[0] and p[1], or the first and a zero. Aligned: both, at a multiple of four bytes.
template <bool aligned, class T>
__device__ __forceinline__ float2 load_pair(const T *p, bool both) {
  if constexpr (aligned && sizeof(T) == 2)
    return unpack<T>(load_4(p));
  else
    return make_float2(to_float(p[0]), aligned || both ? to_float(p[1]) : 0.f);
}
template <bool aligned, class T>
__device__ __forceinline__ void store_pair(T *p, bool both, float2 v) {
  if constexpr (aligned && sizeof(T) == 2) {
    store_4(p, pack<T>(v.x, v.y));
  } else {
    p[0] = from_float<T>(v.x);
    if (aligned || both) p[1] = from_float<T>(v.y);
  }
}

template <bool aligned, class T>
__device__ __forceinline__ void rotate_head(const RotaryArguments &a, const RotaryHeads &of, int row, int head) {
  const int lane = threadIdx.x % 32, half = a.dim / 2, at = row % a.group;
  const T *x = row_of<const T>(of.x, row) + head * a.dim, *weight = pointer<const T>(of.norm);
  const T *cos = row_of<const T>(a.cos, at), *sin = row_of<const T>(a.sin, at);
  T *y = row_of<T>(of.y, row) + head * a.dim;
  float rate = 1.f;
  if (weight) {
    float squares = 0.f;
    for (int i = lane * 2; i < half; i += 64) {
      const float2 low = load_pair<aligned>(x + i, i + 1 < half), high = load_pair<aligned>(x + half + i, i + 1 < half);
      squares += low.x * low.x + low.y * low.y + high.x * high.x + high.y * high.y;
    }
    rate = fast_rsqrt(fast_divide(warp_sum(squares), a.dim) + of.eps);
  }
  for (int i = lane * 2; i < half; i += 64) {
    const bool both = i + 1 < half;
    float2 low = load_pair<aligned>(x + i, both), high = load_pair<aligned>(x + half + i, both);
    if (weight) {
      const float2 of_low = load_pair<aligned>(weight + i, both), of_high = load_pair<aligned>(weight + half + i, both);
      low = make_float2(low.x * rate * of_low.x, low.y * rate * of_low.y);
      high = make_float2(high.x * rate * of_high.x, high.y * rate * of_high.y);
    }
    const float2 c = load_pair<aligned>(cos + i, both), s = load_pair<aligned>(sin + i, both);
    const float2 d = load_pair<aligned>(cos + half + i, both), t = load_pair<aligned>(sin + half + i, both);
    store_pair<aligned>(y + i, both, make_float2(low.x * c.x - high.x * s.x, low.y * c.y - high.y * s.y));
    store_pair<aligned>(y + half + i, both, make_float2(high.x * d.x + low.x * t.x, high.y * d.y + low.y * t.y));
  }
}

template <class T>
__device__ __forceinline__ void rotate(const RotaryArguments &a, const RotaryHeads &of, int row, int head) {
  const uint64_t strides = of.x.stride | of.y.stride | a.cos.stride | a.sin.stride;
  const uint64_t addresses = of.x.address | of.y.address | a.cos.address | a.sin.address | of.norm;
  if (a.dim % 4 == 0 && strides % 2 == 0 && addresses % (2 * sizeof(T)) == 0)
    rotate_head<true, T>(a, of, row, head);
  else
    rotate_head<false, T>(a, of, row, head);
}

template <class T>
__device__ __forceinline__ void rotary(const RotaryArguments &a) {
  const int heads = a.first.heads + a.second.heads;
  const int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, row = item / heads, head = item % heads;
  if (row >= a.rows) return;
  wait_for_launch_before();
  if (head < a.first.heads)
    rotate<T>(a, a.first, row, head);
  else
    rotate<T>(a, a.second, row, head - a.first.heads);
}

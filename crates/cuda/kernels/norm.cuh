// Residual, parts of a product and their bias, then layer or RMS norm with weight, bias, gain and shift, in one pass.
//
// Up to 256 elements: a warp a piece. More: a block a piece, eight elements a thread in registers, and what is beyond
// 8 * blockDim.x in shared memory behind the warps' moments.
#pragma once
#include "elements.cuh"

constexpr int kNarrow = 256;      // elements that one warp norms
constexpr int kMaxWarps = 16;

// Elements of a piece that warp `warp` of `threads` threads has.
__device__ __forceinline__ int elements_of_warp(int width, int threads, int warp) {
  int n = 0;
  for (int first = warp * 32 * kChunk; first < width; first += threads * kChunk) n += min(width - first, 32 * kChunk);
  return n;
}

template <class T>
struct NormPiece {
  const NormArguments &a;
  int64_t row;
  int first;  // column of the piece
  bool aligned, parts_aligned;

  __device__ __forceinline__ NormPiece(const NormArguments &a, int piece)
      : a(a), row(piece / a.groups), first(piece % a.groups * a.width) {
    const bool pieces = a.groups == 1 || is_aligned<T>(0, a.width);
    aligned = pieces && is_aligned<T>(a.x) && is_aligned<T>(a.sum) && is_aligned<T>(a.y);
    parts_aligned = pieces && is_aligned<T>(a.parts);
  }
  // The norm's factor and offset: weight * gain, bias * gain + shift.
  __device__ __forceinline__ void modulation(int column, float (&factor)[kChunk], float (&offset)[kChunk]) const {
    const int count = a.width - column;
    float gain[kChunk], shift[kChunk];
    load_vector<T>(a.weight, column, count, 1.f, factor);
    load_vector<T>(a.bias, column, count, 0.f, offset);
    load_vector<T>(a.gain, column, count, 1.f, gain);
    load_vector<T>(a.shift, column, count, 0.f, shift);
#pragma unroll
    for (int i = 0; i < kChunk; i++) factor[i] *= gain[i], offset[i] = offset[i] * gain[i] + shift[i];
  }
  __device__ __forceinline__ void bias(int column, float (&v)[kChunk]) const {
    const int at = first + column;
    if (a.parts.bias)
      load_chunk(pointer<const T>(a.parts.bias) + at, a.width - column, is_aligned<T>(a.parts.bias, a.groups == 1 ? 0 : a.width), v);
    else
      load_vector<T>(0, at, 0, 0.f, v);
  }
  // `v` has the bias; adds x and parts, and stores the sum.
  __device__ __forceinline__ void sum(int column, float (&v)[kChunk]) const {
    const int count = a.width - column, at = first + column;
    if (a.x.address) {
      float x[kChunk];
      load_chunk(row_of<const T>(a.x, row) + at, count, aligned, x);
#pragma unroll
      for (int i = 0; i < kChunk; i++) v[i] += x[i];
    }
    add_parts<T>(a.parts, row, at, count, parts_aligned, v);
    if (a.sum.address) store_chunk(row_of<T>(a.sum, row) + at, count, aligned, v);
  }
  __device__ __forceinline__ void finish(int column, float mean, float rate, float (&v)[kChunk], const float (&factor)[kChunk],
                                         const float (&offset)[kChunk]) const {
#pragma unroll
    for (int i = 0; i < kChunk; i++) v[i] = (v[i] - mean) * rate * factor[i] + offset[i];
    store_chunk(row_of<T>(a.y, row) + first + column, a.width - column, aligned, v);
  }
};

__device__ __forceinline__ float sum_of(const float (&v)[kChunk], int count) {
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < kChunk; i++) sum += i < count ? v[i] : 0.f;
  return sum;
}
__device__ __forceinline__ float squares_of(const float (&v)[kChunk], float mean, int count) {
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < kChunk; i++) sum += i < count ? (v[i] - mean) * (v[i] - mean) : 0.f;
  return sum;
}

template <class T>
__device__ __forceinline__ void norm(const NormArguments &a) {
  const bool narrow = a.width <= kNarrow;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int threads = narrow ? 32 : blockDim.x, thread = narrow ? lane : threadIdx.x;
  const int piece = narrow ? blockIdx.x * (blockDim.x / 32) + warp : blockIdx.x;
  if (piece >= a.rows * a.groups) return;
  float2 *moments = reinterpret_cast<float2 *>(shared_memory());
  float *kept = reinterpret_cast<float *>(moments + kMaxWarps);  // elements from threads * 8 on
  const NormPiece<T> p(a, piece);
  const int column = thread * kChunk, step = threads * kChunk;

  float v[kChunk], factor[kChunk], offset[kChunk];
  p.modulation(column, factor, offset);
  p.bias(column, v);
  wait_for_launch_before();
  p.sum(column, v);
  float total = sum_of(v, a.width - column);
  for (int c = column + step; c < a.width; c += step) {
    float more[kChunk];
    p.bias(c, more);
    p.sum(c, more);
    total += sum_of(more, a.width - c);
    store_chunk(kept + c - step, kChunk, true, more);
  }

  // A warp's mean and squared deviations from it; then all warps' by one barrier.
  const int mine = narrow ? a.width : elements_of_warp(a.width, threads, warp);
  float mean = a.kind == 0 && mine > 0 ? fast_divide(warp_sum(total), mine) : 0.f;
  float squares = squares_of(v, mean, a.width - column);
  for (int c = column + step; c < a.width; c += step) {
    float more[kChunk];
    load_chunk(kept + c - step, kChunk, true, more);
    squares += squares_of(more, mean, a.width - c);
  }
  squares = warp_sum(squares);
  if (!narrow) {
    if (lane == 0) moments[warp] = make_float2(mean, squares);
    __syncthreads();
    mean = squares = 0.f;
    for (int w = 0; w < threads / 32; w++) mean += moments[w].x * elements_of_warp(a.width, threads, w);
    mean = fast_divide(mean, a.width);
    for (int w = 0; w < threads / 32; w++) {
      const float apart = moments[w].x - mean;
      squares += moments[w].y + apart * apart * elements_of_warp(a.width, threads, w);
    }
  }

  const float rate = fast_rsqrt(fast_divide(squares, a.width) + a.eps);
  p.finish(column, mean, rate, v, factor, offset);
  for (int c = column + step; c < a.width; c += step) {
    float more[kChunk];
    load_chunk(kept + c - step, kChunk, true, more);
    p.modulation(c, factor, offset);
    p.finish(c, mean, rate, more, factor, offset);
  }
}

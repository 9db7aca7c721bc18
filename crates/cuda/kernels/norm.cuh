// Residual, parts of a product and their bias, then layer or RMS norm with weight, bias, gain and shift, in one pass; the result also,
// or only, in 8 bits.
//
// Up to 256 elements: a warp a piece. More: a block a piece. A thread's first chunk stays in registers; further ones, of long or of
// unaligned rows, in shared memory.
#pragma once
#include "quantize.cuh"

constexpr int kNarrow = 256;  // elements that one warp norms
constexpr int kMaxWarps = 16;

// Elements of a piece that a warp has: all of a round, and its share of the rest.
struct WarpElements {
  int rounds, rest, of_round;
  __device__ __forceinline__ WarpElements(int width, int threads, int chunk)
      : rounds(width / (threads * chunk)), rest(width % (threads * chunk)), of_round(32 * chunk) {}
  __device__ __forceinline__ int operator()(int warp) const {
    return rounds * of_round + min(max(rest - warp * of_round, 0), of_round);
  }
};

template <int n, class T>
struct NormPiece {
  const NormArguments &a;
  int64_t row;
  int first;  // column of the piece

  __device__ __forceinline__ NormPiece(const NormArguments &a, int piece)
      : a(a), row(piece / a.groups), first(piece % a.groups * a.width) {}

  // The norm's factor and offset: weight * gain, bias * gain + shift.
  __device__ __forceinline__ void modulation(int column, float (&factor)[n], float (&offset)[n]) const {
    const bool exists = column < a.width;
    float gain[n], shift[n];
    load_vector<n, T>(a.weight, column, exists, 1.f, factor);
    load_vector<n, T>(a.bias, column, exists, 0.f, offset);
    load_vector<n, T>(a.gain, column, exists, 1.f, gain);
    load_vector<n, T>(a.shift, column, exists, 0.f, shift);
#pragma unroll
    for (int i = 0; i < n; i++) factor[i] *= gain[i], offset[i] = offset[i] * gain[i] + shift[i];
  }
  __device__ __forceinline__ void bias(int column, float (&v)[n]) const {
    load_vector<n, T>(a.parts.bias, first + column, column < a.width, 0.f, v);
  }
  // `v` has the bias; adds x and parts, and stores the sum.
  __device__ __forceinline__ void sum(int column, float (&v)[n]) const {
    const bool exists = column < a.width;
    const int at = first + column;
    if (a.x.address) add_chunk(row_of<const T>(a.x, row) + at, exists, v);
    add_parts<n, T>(a.parts, row, at, exists, v);
    if (a.sum.address && exists) store_chunk(row_of<T>(a.sum, row) + at, v);
  }
  __device__ __forceinline__ void finish(int column, float mean, float rate, float (&v)[n], const float (&factor)[n],
                                         const float (&offset)[n]) const {
#pragma unroll
    for (int i = 0; i < n; i++) v[i] = (v[i] - mean) * rate * factor[i] + offset[i];
    if (column < a.width && a.y.address) store_chunk(row_of<T>(a.y, row) + first + column, v);
  }
};

template <int n>
__device__ __forceinline__ float sum_of(const float (&v)[n]) {
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < n; i++) sum += v[i];
  return sum;
}
template <int n>
__device__ __forceinline__ float squares_of(const float (&v)[n], float mean) {
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < n; i++) sum += (v[i] - mean) * (v[i] - mean);
  return sum;
}

template <int n, class T>
__device__ __forceinline__ void norm_piece(const NormArguments &a) {
  const bool narrow = a.width <= kNarrow;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int threads = narrow ? 32 : blockDim.x, step = threads * n, column = (narrow ? lane : threadIdx.x) * n;
  const int piece = narrow ? blockIdx.x * (blockDim.x / 32) + warp : blockIdx.x;
  if (piece >= a.rows * a.groups) return;
  float2 *moments = reinterpret_cast<float2 *>(shared_memory());
  // Elements from `step` on; only their own thread reads them.
  float *kept = reinterpret_cast<float *>(moments + kMaxWarps) + (narrow ? warp * kNarrow : 0) - step;
  const NormPiece<n, T> p(a, piece);

  float v[n], factor[n], offset[n];
  if (a.release) start_launch_behind();
  if (!a.early) wait_for_launch_before();
  p.modulation(column, factor, offset);
  p.bias(column, v);
  if (a.early) wait_for_launch_before();
  p.sum(column, v);
  float total = sum_of(v);
#pragma unroll 1
  for (int c = column + step; c < a.width; c += step) {
    float more[n];
    p.bias(c, more);
    p.sum(c, more);
    total += sum_of(more);
    store_chunk(kept + c, more);
  }

  // A warp's mean and squared deviations from it; then all warps' by one barrier.
  const WarpElements elements(a.width, threads, n);
  const int mine = elements(narrow ? 0 : warp);
  float mean = a.kind == 0 && mine > 0 ? fast_divide(warp_sum(total), mine) : 0.f;
  float squares = column < a.width ? squares_of(v, mean) : 0.f;
#pragma unroll 1
  for (int c = column + step; c < a.width; c += step) {
    float more[n];
    load_chunk(kept + c, true, more);
    squares += squares_of(more, mean);
  }
  squares = warp_sum(squares);
  if (!narrow) {
    if (lane == 0) moments[warp] = make_float2(mean, squares);
    __syncthreads();
    mean = squares = 0.f;
    for (int w = 0; w < threads / 32; w++) mean += moments[w].x * elements(w);
    mean = fast_divide(mean, a.width);
    for (int w = 0; w < threads / 32; w++) {
      const float apart = moments[w].x - mean;
      squares += moments[w].y + apart * apart * elements(w);
    }
  }

  const float rate = fast_rsqrt(fast_divide(squares, a.width) + a.eps);
  p.finish(column, mean, rate, v, factor, offset);
#pragma unroll 1
  for (int c = column + step; c < a.width; c += step) {
    float more[n];
    load_chunk(kept + c, true, more);
    p.modulation(c, factor, offset);
    p.finish(c, mean, rate, more, factor, offset);
    if (a.scales) store_chunk(kept + c, more);
  }
  if (!a.scales) return;

  float most = column < a.width ? largest_of(v, 0.f) : 0.f;
#pragma unroll 1
  for (int c = column + step; c < a.width; c += step) {
    float more[n];
    load_chunk(kept + c, true, more);
    most = largest_of(more, most);
  }
  if (!narrow) __syncthreads();  // all have read the moments
  most = narrow ? warp_largest(most) : block_largest(most, reinterpret_cast<float *>(moments));
  const float bytes = byte_rate(most);
  int8_t *quantized = row_of<int8_t>(a.quantized, p.row);
  if (column < a.width) store_bytes(quantized + column, bytes, v);
#pragma unroll 1
  for (int c = column + step; c < a.width; c += step) {
    float more[n];
    load_chunk(kept + c, true, more);
    store_bytes(quantized + c, bytes, more);
  }
  if (column == 0) pointer<float>(a.scales)[p.row] = byte_scale(most);
}

template <class T>
__device__ __forceinline__ void norm(const NormArguments &a) {
  const bool aligned = a.width % kChunk == 0 && is_aligned<T>(a.x) && is_aligned<T>(a.parts) && is_aligned<T>(a.sum) &&
                       is_aligned<T>(a.y) && is_aligned<T>(a.weight | a.bias | a.gain | a.shift) && holds_words(a.quantized);
  if (aligned)
    norm_piece<kChunk, T>(a);
  else
    norm_piece<1, T>(a);
}

// Eight elements as they are in memory.
struct Raw {
  uint4 words;
  template <class T>
  __device__ __forceinline__ void load(Address vector, int at, bool exists) {
    words = vector && exists ? load_16(pointer<const T>(vector) + at) : make_uint4(0, 0, 0, 0);
  }
  template <class T>
  __device__ __forceinline__ float2 pair(int i) const {
    const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
    return unpack<T>(pairs[i]);
  }
  template <class T>
  __device__ __forceinline__ void multiply(float (&v)[kChunk]) const {
#pragma unroll
    for (int i = 0; i < 4; i++) v[2 * i] *= pair<T>(i).x, v[2 * i + 1] *= pair<T>(i).y;
  }
  template <class T>
  __device__ __forceinline__ void add(float (&v)[kChunk]) const {
#pragma unroll
    for (int i = 0; i < 4; i++) v[2 * i] += pair<T>(i).x, v[2 * i + 1] += pair<T>(i).y;
  }
};

// The vectors of a norm: read in one go, used later.
template <class T>
struct NormVectors {
  Raw weight, bias, gain, shift;
  __device__ __forceinline__ void load(const NormArguments &a, int column, bool exists) {
    weight.load<T>(a.weight, column, exists), bias.load<T>(a.bias, column, exists);
    gain.load<T>(a.gain, column, exists), shift.load<T>(a.shift, column, exists);
  }
  __device__ __forceinline__ void apply(const NormArguments &a, float mean, float rate, float (&v)[kChunk]) const {
#pragma unroll
    for (int i = 0; i < kChunk; i++) v[i] = (v[i] - mean) * rate;
    if (a.weight) weight.multiply<T>(v);
    if (a.bias) bias.add<T>(v);
    if (a.gain) gain.multiply<T>(v);
    if (a.shift) shift.add<T>(v);
  }
};

// Mean and squared deviations of a row from those of its warps, of which each has 256 elements but the last.
__device__ __forceinline__ float2 join_moments(float mean, float squares, int width) {
  float2 *moments = reinterpret_cast<float2 *>(shared_memory());
  const int lane = threadIdx.x % 32;
  if (lane == 0) moments[threadIdx.x / 32] = make_float2(mean, squares);
  __syncthreads();
  const int warp = lane % kMaxWarps, count = min(max(width - warp * kNarrow, 0), kNarrow);
  float2 mine = make_float2(0.f, 0.f);
  if (count > 0) mine = moments[warp];
  float total = mine.x * count;
#pragma unroll
  for (int i = kMaxWarps / 2; i > 0; i /= 2) total += __shfl_xor_sync(~0u, total, i);
  const float all = fast_divide(total, width), apart = mine.x - all;
  float sum = mine.y + apart * apart * count;
#pragma unroll
  for (int i = kMaxWarps / 2; i > 0; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
  return make_float2(all, sum);
}

// The norm of one aligned row of 257 to 4096 elements, eight a thread. What is read before the wait is used behind the sums, so that all
// reads are on their way at once.
template <class T>
__device__ __forceinline__ void norm_row(const NormArguments &a) {
  const int64_t row = blockIdx.x;
  const int column = threadIdx.x * kChunk, warp = threadIdx.x / 32, elements = min(max(a.width - warp * kNarrow, 0), kNarrow);
  const bool exists = column < a.width;
  if (a.release) start_launch_behind();
  NormVectors<T> vectors;
  Raw bias;
  if (!a.early) wait_for_launch_before();
  vectors.load(a, column, exists);
  bias.load<T>(a.parts.bias, column, exists);
  if (a.early) wait_for_launch_before();

  float v[kChunk] = {};
  if (a.x.address) load_chunk(row_of<const T>(a.x, row) + column, exists, v);
  add_parts<kChunk, T>(a.parts, row, column, exists, v);
  if (a.parts.bias) bias.add<T>(v);
  if (a.sum.address && exists) store_chunk(row_of<T>(a.sum, row) + column, v);

  const float mean = a.kind == 0 ? fast_divide(warp_sum(sum_of(v)), elements) : 0.f;
  const float squares = warp_sum(exists ? squares_of(v, mean) : 0.f);
  const float2 moments = join_moments(mean, squares, a.width);
  const float rate = fast_rsqrt(fast_divide(moments.y, a.width) + a.eps);
  vectors.apply(a, a.kind == 0 ? moments.x : 0.f, rate, v);
  if (exists && a.y.address) store_chunk(row_of<T>(a.y, row) + column, v);
  if (!a.scales) return;
  __syncthreads();  // all have read the moments
  const float most = block_largest(exists ? largest_of(v, 0.f) : 0.f, reinterpret_cast<float *>(shared_memory()));
  if (exists) store_bytes(row_of<int8_t>(a.quantized, row) + column, byte_rate(most), v);
  if (threadIdx.x == 0) pointer<float>(a.scales)[row] = byte_scale(most);
}

// Kernels that take eight elements a thread: elementwise, cast; and Euler's step.
#pragma once
#include "elements.cuh"

// x / (1 + e^-u), to single precision for single-precision results; a faster one for those of 16 bits.
template <class T>
__device__ __forceinline__ float times_sigmoid(float x, float u) {
  if constexpr (sizeof(T) == 4)
    return x / (1.f + expf(-u));
  else
    return fast_divide(x, 1.f + fast_exp(-u));
}

template <class T>
__device__ __forceinline__ float activated(float x, int activation) {
  switch (activation) {
    case 1:
      return x < 0.f ? 0.f : x;
    case 2:
      return times_sigmoid<T>(x, x);
    case 3:  // x * (1 + tanh(u)) / 2 = x * sigmoid(2 u), exact for negative x, too
      return times_sigmoid<T>(x, 1.5957691216057308f * (x + 0.044715f * x * x * x));
    case 4:
      return 0.5f * x * erfcf(-0.7071067811865476f * x);
    default:
      return x;
  }
}

template <class T, int activation, int n>
__device__ __forceinline__ void activate_as(float (&v)[n]) {
#pragma unroll
  for (int i = 0; i < n; i++) v[i] = activated<T>(v[i], activation);
}
template <class T, int n>
__device__ __forceinline__ void activate(float (&v)[n], int activation) {
  switch (activation) {
    case 1: return activate_as<T, 1>(v);
    case 2: return activate_as<T, 2>(v);
    case 3: return activate_as<T, 3>(v);
    case 4: return activate_as<T, 4>(v);
  }
}

template <int n, class T>
__device__ __forceinline__ void elementwise_chunk(const ElementwiseArguments &a, int row, int column) {
  float v[n];
  load_vector<n, T>(a.parts.bias, column, true, 0.f, v);
  if (a.x.address) add_chunk(row_of<const T>(a.x, row) + column, true, v);
  add_parts<n, T>(a.parts, row, column, true, v);
  activate<T>(v, a.activation);
  if (a.by.address) {
    float by[n];
    load_chunk(row_of<const T>(a.by, row) + column, true, by);
#pragma unroll
    for (int i = 0; i < n; i++) v[i] *= by[i];
  }
  if (a.add.address) add_chunk(row_of<const T>(a.add, row % a.add_rows) + column, true, v);
  store_chunk(row_of<T>(a.y, row) + column, v);
}

// A thread's eight elements of a row: whole chunks, or one element after the other.
template <class F, class G>
__device__ __forceinline__ void by_chunks(int rows, int columns, bool aligned, F chunk, G element) {
  const unsigned chunks = (columns + kChunk - 1) / kChunk, i = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = i / chunks, column = i % chunks * kChunk;
  if (row >= rows) return;
  wait_for_launch_before();
  if (aligned && columns % kChunk == 0) {
    chunk(row, column);
  } else {
#pragma unroll 1
    for (int c = column; c < min(column + kChunk, columns); c++) element(row, c);
  }
}

template <class T>
__device__ __forceinline__ void elementwise(const ElementwiseArguments &a) {
  if (a.release) start_launch_behind();
  const bool aligned = is_aligned<T>(a.x) && is_aligned<T>(a.parts) && is_aligned<T>(a.by) && is_aligned<T>(a.add) && is_aligned<T>(a.y);
  by_chunks(
      a.rows, a.columns, aligned, [&](int row, int column) { elementwise_chunk<kChunk, T>(a, row, column); },
      [&](int row, int column) { elementwise_chunk<1, T>(a, row, column); });
}

template <int n, class From, class To>
__device__ __forceinline__ void cast_chunk(const CastArguments &a, int row, int column) {
  float v[n];
  load_chunk(row_of<const From>(a.x, row) + column, true, v);
  store_chunk(row_of<To>(a.y, row) + column, v);
}
template <class From, class To>
__device__ __forceinline__ void cast_to(const CastArguments &a) {
  by_chunks(
      a.rows, a.columns, is_aligned<From>(a.x) && is_aligned<To>(a.y),
      [&](int row, int column) { cast_chunk<kChunk, From, To>(a, row, column); },
      [&](int row, int column) { cast_chunk<1, From, To>(a, row, column); });
}
template <class From>
__device__ __forceinline__ void cast_from(const CastArguments &a) {
  if (a.to == 0)
    cast_to<From, float>(a);
  else if (a.to == 1)
    cast_to<From, half_t>(a);
  else
    cast_to<From, bf16_t>(a);
}
__device__ __forceinline__ void cast_elements(const CastArguments &a) {
  if (a.from == 0)
    cast_from<float>(a);
  else if (a.from == 1)
    cast_from<half_t>(a);
  else
    cast_from<bf16_t>(a);
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

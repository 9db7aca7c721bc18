// Kernels that move elements: 16 bytes of the result a thread.
#pragma once
#include "elements.cuh"

__device__ __forceinline__ void gather_rows(const GatherArguments &a) {
  const unsigned units = static_cast<unsigned>((a.bytes + 15) / 16), i = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = i / units;
  const int64_t first = static_cast<int64_t>(i % units) * 16;
  if (row >= a.rows) return;
  wait_for_launch_before();
  const int entry = a.index ? min(max(pointer<const int32_t>(a.index)[row], 0), a.entries - 1) : row;
  const uint64_t apart = a.table.stride | a.y.stride, base = a.table.address | a.y.address;
  const char *from = row_of<const char>(a.table, entry) + first;
  char *to = row_of<char>(a.y, row) + first;
  const int count = static_cast<int>(min(a.bytes - first, static_cast<int64_t>(16)));
  if (((apart | base) & 15) == 0 && count == 16) {
    store_16(to, load_16(from));
  } else if (((apart | base | a.bytes) & 3) == 0) {
    for (int j = 0; j < count; j += 4) store_4(to + j, load_4(from + j));
  } else {
    for (int j = 0; j < count; j++) to[j] = from[j];
  }
}

template <class U>
__device__ __forceinline__ void permute_words(const PermuteArguments &a, int64_t total) {
  constexpr int kWords = 16 / sizeof(U);
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kWords;
  if (first >= total) return;
  wait_for_launch_before();
  int index[6];
  int64_t left = first, from = 0;
#pragma unroll
  for (int d = 5; d >= 0; d--) {
    index[d] = static_cast<int>(left % a.dims[d]);
    left /= a.dims[d];
    from += index[d] * a.strides[d];
  }
  const U *x = pointer<const U>(a.x);
  U *y = pointer<U>(a.y) + first;
  bool whole = a.strides[5] == 1 && a.dims[5] % kWords == 0 && ((a.x | a.y) & 15) == 0;
#pragma unroll
  for (int d = 0; d < 5; d++) whole = whole && (a.dims[d] == 1 || a.strides[d] % kWords == 0);
  if (whole) {
    store_16(y, load_16(x + from));
    return;
  }
  for (int j = 0; j < kWords && first + j < total; j++) {
    y[j] = x[from];
    for (int d = 5; d >= 0; d--) {
      from += a.strides[d];
      if (++index[d] < a.dims[d]) break;
      from -= a.strides[d] * a.dims[d];
      index[d] = 0;
    }
  }
}

__device__ __forceinline__ void permute_elements(const PermuteArguments &a) {
  int64_t total = 1;
#pragma unroll
  for (int d = 0; d < 6; d++) total *= a.dims[d];
  if (a.size == 2)
    permute_words<uint16_t>(a, total);
  else
    permute_words<uint32_t>(a, total);
}

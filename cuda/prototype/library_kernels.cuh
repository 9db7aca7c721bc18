// Kernels of design A between the products: residual with norm, attention, the ends of a step, requests into the L2 cache.
#pragma once
#include "attention.cuh"

namespace {

__device__ inline void await_previous() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

constexpr int kMaxParts = 8;

// The result of a product: the sum of `count` parts, each over a share of the channels, in one of the two types.
struct Parts {
  const half *halves;
  const float *floats;
  int count, stride;  // values between parts
};

__device__ inline void halves_of(const half *p, float (&out)[8]) {
  const uint4 raw = *reinterpret_cast<const uint4 *>(p);
  const half2 *h = reinterpret_cast<const half2 *>(&raw);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 f = __half22float2(h[i]);
    out[2 * i] = f.x, out[2 * i + 1] = f.y;
  }
}
__device__ inline void floats_of(const float *p, float (&out)[8]) {
  *reinterpret_cast<float4 *>(out) = *reinterpret_cast<const float4 *>(p);
  *reinterpret_cast<float4 *>(out + 4) = *reinterpret_cast<const float4 *>(p + 4);
}
// Eight values more in `v`.
__device__ inline void add_parts(const Parts &parts, int at, float (&v)[8]) {
  float part[8];
#pragma unroll 4
  for (int i = 0; i < parts.count; i++) {
    if (parts.halves)
      halves_of(parts.halves + at + i * parts.stride, part);
    else
      floats_of(parts.floats + at + i * parts.stride, part);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] += part[j];
  }
}

// x += added + bias (or x = added + bias of the row, or the state's row), then y = norm(x) gain + shift. One block a row.
struct Residual {
  float *x;
  Parts added;
  const half *bias, *state, *rows_bias;
  half *y;
  const float *gain, *shift;
  float eps;
};

__global__ void __launch_bounds__(192) residual_norm(Residual r) {
  const int row = blockIdx.x, at = threadIdx.x * 8;
  float v[8], bias[8] = {}, gain[8], shift[8] = {};
#pragma unroll
  for (int i = 0; i < 8; i++) gain[i] = 1.f;
  if (r.gain) floats_of(r.gain + at, gain), floats_of(r.shift + at, shift);
  if (!r.state) halves_of(r.bias + at, bias);
  else if (row > 0) halves_of(r.rows_bias + (row - 1) * kWidth + at, bias);
  await_previous();
  float *x = r.x + row * kWidth + at;
  if (!r.state) {
    floats_of(x, v);
    add_parts(r.added, row * kWidth + at, v);
  } else if (row == 0) {
    halves_of(r.state + at, v);
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = 0.f;
    add_parts(r.added, (row - 1) * kWidth + at, v);
  }
#pragma unroll
  for (int i = 0; i < 8; i++) v[i] += bias[i];
  *reinterpret_cast<float4 *>(x) = *reinterpret_cast<const float4 *>(v);
  *reinterpret_cast<float4 *>(x + 4) = *reinterpret_cast<const float4 *>(v + 4);
  // Mean and squared deviations of equal shares join pairwise: one barrier.
  float mean = 0.f, square = 0.f;
#pragma unroll
  for (int i = 0; i < 8; i++) mean += v[i] / 8;
#pragma unroll
  for (int i = 0; i < 8; i++) square += (v[i] - mean) * (v[i] - mean);
#pragma unroll
  for (int i = 1; i < 32; i *= 2) {
    const float other = __shfl_xor_sync(~0u, mean, i);
    square += __shfl_xor_sync(~0u, square, i) + (other - mean) * (other - mean) * (4 * i);
    mean = (mean + other) / 2;
  }
  __shared__ float2 warps[6];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = make_float2(mean, square);
  __syncthreads();
  mean = square = 0.f;
#pragma unroll
  for (int i = 0; i < 6; i++) mean += warps[i].x / 6;
#pragma unroll
  for (int i = 0; i < 6; i++) square += warps[i].y + (warps[i].x - mean) * (warps[i].x - mean) * 256;
  const float rate = rsqrtf(square / kWidth + r.eps);
  uint32_t out[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int a = 2 * i, b = a + 1;
    out[i] = pack((v[a] - mean) * rate * gain[a] + shift[a], (v[b] - mean) * rate * gain[b] + shift[b]);
  }
  *reinterpret_cast<uint4 *>(r.y + row * kWidth + at) = *reinterpret_cast<uint4 *>(out);
}

// Asks for `bytes` in the L2 cache, so that the product after the one that runs now finds its weights there.
constexpr int kChunk = 4096;
__global__ void prefetch(const char *from, int64_t bytes) {
  const int64_t at = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kChunk;
#if __CUDA_ARCH__ >= 900
  if (at < bytes)
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from + at), "r"(uint32_t(min(bytes - at, int64_t(kChunk)))) : "memory");
#endif
}

__device__ inline void copy_async(void *to, const void *from, bool exists) {  // 16 bytes, or zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(exists ? 16 : 0) : "memory");
}

// One block for 16 query rows of a head.
__global__ void __launch_bounds__(256) attention(Parts q, const half *q_bias, int q_stride, const half *k, const half *v,
                                                 int kv_stride, int head_stride, int key_rows, bool given, half *out) {
  extern __shared__ __align__(16) char memory[];
  float *merge = reinterpret_cast<float *>(memory);
  half *queries = reinterpret_cast<half *>(merge + kMergeFloats);
  half *keys = queries + 16 * kQueryStride;
  const int padded = (key_rows + 15) / 16 * 16;
  half *values = keys + padded * kHeadDim;
  const int head = blockIdx.x, first = blockIdx.y * 16;
  if (!given) await_previous();  // keys and values are the product before
  for (int i = threadIdx.x; i < padded * 6; i += 256) {
    const int row = i / 6, part = i % 6;
    const int64_t from = row < key_rows ? int64_t(head) * head_stride + int64_t(row) * kv_stride + part * 8 : 0;
    copy_async(keys + i * 8, k + from, row < key_rows);
    copy_async(values + i * 8, v + from, row < key_rows);
  }
  if (given) await_previous();
  const float scale = 1.4426950408889634f / sqrtf(float(kHeadDim));
  if (threadIdx.x < 16 * 6) {
    const int row = threadIdx.x / 6, channel = threadIdx.x % 6 * 8, of_row = head * kHeadDim + channel;
    float values_of_query[8] = {};
    if (first + row < kRows) {
      if (q_bias) halves_of(q_bias + of_row, values_of_query);
      add_parts(q, (first + row) * q_stride + of_row, values_of_query);
    }
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; i++) packed[i] = pack(values_of_query[2 * i] * scale, values_of_query[2 * i + 1] * scale);
    *reinterpret_cast<uint4 *>(queries + row * kQueryStride + channel) = *reinterpret_cast<uint4 *>(packed);
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  attend(queries, key_rows, merge, [&](int u, const half *&unit_keys, const half *&unit_values) {
    unit_keys = keys + u * 16 * kHeadDim, unit_values = values + u * 16 * kHeadDim;
  });
  __syncthreads();
  for (int i = threadIdx.x; i < 16 * kHeadDim / 2; i += 256) {
    const int row = i / 24, channel = i % 24 * 2;
    if (first + row >= kRows) continue;
    const float2 value = merged(merge, row, channel);
    *reinterpret_cast<uint32_t *>(out + (first + row) * kWidth + head * kHeadDim + channel) = pack(value.x, value.y);
  }
}

__global__ void to_half(const float *from, half *to, int count) {
  await_previous();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) to[i] = __float2half(from[i]);
}
__global__ void silu_shift(half *x, const float *shift) {
  await_previous();
  for (int i = threadIdx.x; i < kWidth; i += blockDim.x) {
    half *at = x + blockIdx.x * kWidth + i;
    *at = __float2half(silu(__half2float(*at) + shift[i]));
  }
}
__global__ void euler(float *actions, const half *velocity, const float *dt, const float *strength) {
  await_previous();
  const int row = blockIdx.x, i = row * kActionDims + threadIdx.x;
  actions[i] += dt[0] * strength[row] * __half2float(velocity[i]);
}

}  // namespace

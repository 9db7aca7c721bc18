// Attention of up to 16 query rows of one head by eight warps: keys in units of 16 rows, one unit a warp, merged at the end.
#pragma once
#include "shapes.cuh"

constexpr int kQueryStride = 56;   // halves between query rows in shared memory: ldmatrix without bank conflicts
constexpr int kMergeStride = 52;   // floats between rows of a warp's partial result
constexpr int kAttendWarps = 8;
constexpr int kMergeFloats = kAttendWarps * 16 * (kMergeStride + 2);

__device__ inline uint32_t shared_address(const void *p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ inline void load_matrices(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
__device__ inline void load_transposed(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
// c += a b: a 16x16, b 16x8, half precision; c single.
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline uint32_t pack(float low, float high) {
  half2 h = __floats2half2_rn(low, high);
  return *reinterpret_cast<uint32_t *>(&h);
}

// One warp's share of the queries' scores over its units. `unit(u, keys, values)` gives the unit's 16 rows of 48 channels in
// shared memory. Queries carry log2(e)/sqrt(48). Leaves the warp's partial result, maxima and sums in `merge`.
template <class Unit>
__device__ inline void attend(const half *queries, int key_rows, float *merge, Unit unit) {
  const int warp = (threadIdx.x / 32) % kAttendWarps, lane = threadIdx.x % 32;
  uint32_t q[3][4];
#pragma unroll
  for (int k = 0; k < 3; k++)
    load_matrices(q[k], queries + (lane % 16) * kQueryStride + k * 16 + (lane / 16) * 8);
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f}, out[6][4] = {};
  for (int u = warp; u * 16 < key_rows; u += kAttendWarps) {
    const half *keys, *values;
    unit(u, keys, values);
    float s[2][4] = {};
#pragma unroll
    for (int k = 0; k < 3; k++) {
      uint32_t b[4];
      load_matrices(b, keys + ((lane & 7) + (lane >> 4) * 8) * kHeadDim + k * 16 + ((lane >> 3) & 1) * 8);
      multiply(s[0], q[k], b[0], b[1]);
      multiply(s[1], q[k], b[2], b[3]);
    }
    const int first = u * 16 + (lane % 4) * 2;
#pragma unroll
    for (int t = 0; t < 2; t++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (first + t * 8 + (i & 1) >= key_rows) s[t][i] = -INFINITY;
#pragma unroll
    for (int row = 0; row < 2; row++) {
      float high = fmaxf(fmaxf(s[0][2 * row], s[0][2 * row + 1]), fmaxf(s[1][2 * row], s[1][2 * row + 1]));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
      high = fmaxf(high, top[row]);
      const float keep = exp2f(top[row] - high);
      top[row] = high;
      float added = 0.f;
#pragma unroll
      for (int t = 0; t < 2; t++)
#pragma unroll
        for (int i = 0; i < 2; i++) added += s[t][2 * row + i] = exp2f(s[t][2 * row + i] - high);
      sum[row] = sum[row] * keep + added;
#pragma unroll
      for (int n = 0; n < 6; n++) out[n][2 * row] *= keep, out[n][2 * row + 1] *= keep;
    }
    const uint32_t p[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]), pack(s[1][2], s[1][3])};
#pragma unroll
    for (int n = 0; n < 3; n++) {
      uint32_t b[4];
      load_transposed(b, values + ((lane & 7) + ((lane >> 3) & 1) * 8) * kHeadDim + n * 16 + (lane >> 4) * 8);
      multiply(out[2 * n], p, b[0], b[1]);
      multiply(out[2 * n + 1], p, b[2], b[3]);
    }
  }
#pragma unroll
  for (int row = 0; row < 2; row++) {
    sum[row] += __shfl_xor_sync(~0u, sum[row], 1);
    sum[row] += __shfl_xor_sync(~0u, sum[row], 2);
    float *mine = merge + (warp * 16 + lane / 4 + row * 8) * kMergeStride + (lane % 4) * 2;
#pragma unroll
    for (int n = 0; n < 6; n++) *reinterpret_cast<float2 *>(mine + n * 8) = make_float2(out[n][2 * row], out[n][2 * row + 1]);
    if (lane % 4 == 0) {
      float *about = merge + kAttendWarps * 16 * kMergeStride + (warp * 16 + lane / 4 + row * 8) * 2;
      about[0] = top[row], about[1] = sum[row];
    }
  }
}

// After a barrier: two channels of a query row out of the eight warps' partial results.
__device__ inline float2 merged(const float *merge, int row, int channel) {
  const float2 *about = reinterpret_cast<const float2 *>(merge + kAttendWarps * 16 * kMergeStride) + row;
  float high = -INFINITY;
#pragma unroll
  for (int w = 0; w < kAttendWarps; w++) high = fmaxf(high, about[w * 16].x);
  float sum = 0.f;
  float2 out = make_float2(0.f, 0.f);
#pragma unroll
  for (int w = 0; w < kAttendWarps; w++) {
    const float share = exp2f(about[w * 16].x - high);
    const float2 part = *reinterpret_cast<const float2 *>(merge + (w * 16 + row) * kMergeStride + channel);
    sum += share * about[w * 16].y;
    out.x += share * part.x, out.y += share * part.y;
  }
  return make_float2(out.x / sum, out.y / sum);
}

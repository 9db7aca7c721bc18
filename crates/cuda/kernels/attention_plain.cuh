// Attention without tensor cores, for any head dimension: single precision, and head dimensions that attention.cuh does not take.
// A warp a row of queries of a head; keys in lots of 32, one a lane; query, sums of the result and the lot's weights in shared memory.
#pragma once
#include "elements.cuh"

template <class T>
__device__ __forceinline__ void attention_plain(const AttentionArguments &a) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int row = blockIdx.x * warps + warp, head = blockIdx.y, group = blockIdx.z;
  const int kv_head = static_cast<int>(static_cast<int64_t>(head) * a.kv_heads / a.heads);
  if (row >= a.rows) return;
  const int64_t at = static_cast<int64_t>(group) * a.rows + row, first_key = static_cast<int64_t>(group) * a.keys;
  float *query = reinterpret_cast<float *>(shared_memory()) + warp * (2 * a.dim + 32);
  float *sums = query + a.dim, *weights = sums + a.dim;
  wait_for_launch_before();
  const float factor = a.scale * 1.4426950408889634f;
  for (int c = lane; c < a.dim; c += 32) {
    float value = a.q ? to_float(pointer<const T>(a.q)[at * a.q_row + head * a.q_head + c]) : 0.f;
    const int64_t column = static_cast<int64_t>(head) * a.dim + c;
    if (a.parts.bias) value += to_float(pointer<const T>(a.parts.bias)[column]);
    if (a.parts.first.address)
      for (int i = 0; i < a.parts.count; i++) {
        const int64_t from = at * a.parts.first.stride + i * a.parts.apart + column;
        value += a.parts.single ? pointer<const float>(a.parts.first.address)[from]
                                : to_float(pointer<const T>(a.parts.first.address)[from]);
      }
    query[c] = value * factor;
    sums[c] = 0.f;
  }
  __syncwarp();
  const int keys = a.causal ? min(a.keys, row + 1) : a.keys;
  float top = -INFINITY, sum = 0.f;
  for (int first = 0; first < keys; first += 32) {
    float score = -INFINITY;
    if (first + lane < keys) {
      const T *k = pointer<const T>(a.k) + (first_key + first + lane) * a.k_row + kv_head * a.k_head;
      score = 0.f;
      for (int c = 0; c < a.dim; c++) score += query[c] * to_float(k[c]);
    }
    float high = score;
#pragma unroll
    for (int i = 16; i > 0; i /= 2) high = fmaxf(high, __shfl_xor_sync(~0u, high, i));
    high = fmaxf(high, top);
    const float keep = exp2f(top - high), share = exp2f(score - high);
    top = high;
    sum = sum * keep + warp_sum(share);
    __syncwarp();  // the lot before is read
    weights[lane] = share;
    __syncwarp();
    const int here = min(keys - first, 32);
    const T *v = pointer<const T>(a.v) + (first_key + first) * a.v_row + kv_head * a.v_head;
    for (int c = lane; c < a.dim; c += 32) {
      float out = sums[c] * keep;
      for (int key = 0; key < here; key++) out += weights[key] * to_float(v[key * a.v_row + c]);
      sums[c] = out;
    }
  }
  for (int c = lane; c < a.dim; c += 32)
    pointer<T>(a.out)[at * a.out_row + static_cast<int64_t>(head) * a.dim + c] = from_float<T>(sums[c] / sum);
}

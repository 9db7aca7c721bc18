// Products of the persistent kernel: 56 rows (51 used) against a block's share of a matrix, which comes through the ring.
//
// Rows lie in the order of mma's operands: [k / 16][row pair][lane][16 bytes]; a row pair is rows p*16 .. p*16+15, a lane's 16
// bytes are (row l/4: channels 2(l%4)+{0,1}, +8), (row l/4 + 8: the same). Weights too: [stage][k / 16][16 outputs][lane][16 bytes].
#pragma once
#include "sync.cuh"

constexpr int kRowTiles = 7;              // tiles of 8 rows
constexpr int kPadded = kRowTiles * 8;    // rows that are computed
constexpr int kOwnRows = kPadded / kGroup;
constexpr int kStageBytes = 12288;
constexpr int kFragWords = 512;           // words of 16 channels of all rows
constexpr int kWarps = kWorkers / 32;
constexpr int kNarrowStride = 52;         // floats between rows of a partial sum of 48 outputs: no bank conflicts

struct Ring {
  char *slots;
  uint64_t *full, *empty;
  int count;           // slots
  int slot = 0;        // the next stage's
  uint32_t parity = 0;

  __device__ void step() {
    if (++slot == count) slot = 0, parity ^= 1;
  }
};

// 16 channels of all rows.
struct Rows {
  uint4 pair[3];
  uint2 last;
  __device__ uint32_t low(int tile) const { return tile == 6 ? last.x : tile % 2 ? pair[tile / 2].z : pair[tile / 2].x; }
  __device__ uint32_t high(int tile) const { return tile == 6 ? last.y : tile % 2 ? pair[tile / 2].w : pair[tile / 2].y; }
};
__device__ inline Rows rows_of_global(const uint32_t *from, int lane) {
  Rows r;
#pragma unroll
  for (int p = 0; p < 3; p++) r.pair[p] = __ldcg(reinterpret_cast<const uint4 *>(from + p * 128 + lane * 4));
  r.last = __ldcg(reinterpret_cast<const uint2 *>(from + 3 * 128 + lane * 4));
  return r;
}
__device__ inline Rows rows_of_shared(const uint32_t *from, int lane) {
  Rows r;
#pragma unroll
  for (int p = 0; p < 3; p++) r.pair[p] = *reinterpret_cast<const uint4 *>(from + p * 128 + lane * 4);
  r.last = *reinterpret_cast<const uint2 *>(from + 3 * 128 + lane * 4);
  return r;
}

typedef float Sums[3][kRowTiles][4];  // 48 outputs of all rows

__device__ inline void multiply_stage(Sums &sums, const char *weights, const Rows &rows, int lane) {
#pragma unroll
  for (int m = 0; m < 3; m++) {
    const uint4 w = *reinterpret_cast<const uint4 *>(weights + m * 512 + lane * 16);
    const uint32_t a[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int t = 0; t < kRowTiles; t++) multiply(sums[m][t], a, rows.low(t), rows.high(t));
  }
}
__device__ inline void release(Ring &ring, int lane) {
  __syncwarp();
  if (lane == 0) barrier_arrive(ring.empty + ring.slot);
  ring.step();
}

// A stage is 8 x 16 channels of 48 outputs, each warp takes 16 channels: sums over an eighth. Rows from device memory.
template <int kStages>
__device__ inline void narrow_product(Sums &sums, Ring &ring, const uint32_t *rows, int warp, int lane) {
  constexpr int kAhead = kStages < 3 ? kStages : 3;
  static_assert(kStages % kAhead == 0, "stages in groups");
  Rows ahead[kAhead];
#pragma unroll
  for (int s = 0; s < kAhead; s++) ahead[s] = rows_of_global(rows + (s * 8 + warp) * kFragWords, lane);
#pragma unroll 1
  for (int first = 0; first < kStages; first += kAhead) {
#pragma unroll
    for (int s = 0; s < kAhead; s++) {
      barrier_wait(ring.full + ring.slot, ring.parity);
      multiply_stage(sums, ring.slots + ring.slot * kStageBytes + warp * 3 * 512, ahead[s], lane);
      release(ring, lane);
      if (first + s + kAhead < kStages) ahead[s] = rows_of_global(rows + ((first + s + kAhead) * 8 + warp) * kFragWords, lane);
    }
  }
}
// The same with rows in shared memory.
template <int kStages>
__device__ inline void narrow_product_shared(Sums &sums, Ring &ring, const uint32_t *rows, int warp, int lane) {
#pragma unroll 1
  for (int s = 0; s < kStages; s++) {
    const Rows r = rows_of_shared(rows + (s * 8 + warp) * kFragWords, lane);
    barrier_wait(ring.full + ring.slot, ring.parity);
    multiply_stage(sums, ring.slots + ring.slot * kStageBytes + warp * 3 * 512, r, lane);
    release(ring, lane);
  }
}
// A stage is 2 x 16 channels of 3 x `kGroups` x 16 outputs: two warps for 48 outputs, each sums over a half.
template <int kGroups>
__device__ inline void wide_product(Sums &sums, Ring &ring, const uint32_t *rows, int warp, int lane) {
  const int group = warp / 2, half_of = warp % 2;
#pragma unroll 2
  for (int s = 0; s < 12; s++) {
    // Idle warps wait too: one that ran a round ahead would count twice at the slot's barrier.
    if (group >= kGroups) {
      barrier_wait(ring.full + ring.slot, ring.parity);
    } else {
      const Rows r = rows_of_shared(rows + (s * 2 + half_of) * kFragWords, lane);
      barrier_wait(ring.full + ring.slot, ring.parity);
      multiply_stage(sums, ring.slots + ring.slot * kStageBytes + (half_of * kGroups + group) * 3 * 512, r, lane);
    }
    release(ring, lane);
  }
}

// A warp's sums to (or onto) [row][stride] floats.
template <bool kAdd>
__device__ inline void put_sums(const Sums &sums, float *to, int stride, int lane) {
#pragma unroll
  for (int m = 0; m < 3; m++)
#pragma unroll
    for (int t = 0; t < kRowTiles; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float *at = to + (t * 8 + (lane % 4) * 2 + (i & 1)) * stride + m * 16 + lane / 4 + (i / 2) * 8;
        *at = kAdd ? *at + sums[m][t][i] : sums[m][t][i];
      }
}
// The block's sums out of its warps', at `to` [56][52], which may be `part`.
__device__ inline void join_narrow(const Sums &sums, float *part, float *to, int warp, int lane) {
  constexpr int kPart = kPadded * kNarrowStride;
  worker_barrier();  // `part` may be where the rows were
  if (warp >= 4) put_sums<false>(sums, part + (warp - 4) * kPart, kNarrowStride, lane);
  worker_barrier();
  if (warp < 4) put_sums<true>(sums, part + warp * kPart, kNarrowStride, lane);
  worker_barrier();
  for (int i = threadIdx.x; i < kPadded * 12; i += kWorkers) {
    const int place = i / 12 * kNarrowStride + i % 12 * 4;
    const float4 *at = reinterpret_cast<const float4 *>(part + place);
    float4 sum = *at;
#pragma unroll
    for (int p = 1; p < 4; p++) {
      const float4 more = at[p * kPart / 4];
      sum.x += more.x, sum.y += more.y, sum.z += more.z, sum.w += more.w;
    }
    *reinterpret_cast<float4 *>(to + place) = sum;
  }
}
template <int kGroups>
__device__ inline void join_wide(const Sums &sums, float *part, int warp, int lane) {
  constexpr int kStride = kGroups * 48 + 4;
  worker_barrier();
  if (warp / 2 < kGroups && warp % 2 == 1) put_sums<false>(sums, part + warp / 2 * 48, kStride, lane);
  worker_barrier();
  if (warp / 2 < kGroups && warp % 2 == 0) put_sums<true>(sums, part + warp / 2 * 48, kStride, lane);
}
constexpr int kPartFloats = kPadded * 196;  // the most that a block hands on of a product

// The four blocks that share 48 to 192 outputs, each with a quarter of the channels, exchange sums through the L2 cache.
struct Exchange {
  unsigned *count;
  float *parts;  // [4][kPartFloats]
  half *rows;    // keys and values [2][56][48]
  int rank;
  unsigned wanted = 0;

  __device__ float *target() const { return parts + rank * kPartFloats; }
  // Sums of `quads` x 4 outputs that lie in shared memory, to where the others read them.
  __device__ void publish(const float *part, int stride, int quads) const {
    worker_barrier();
    for (int i = threadIdx.x; i < kPadded * quads; i += kWorkers) {
      const int place = i / quads * stride + i % quads * 4;
      *reinterpret_cast<float4 *>(parts + rank * kPartFloats + place) = *reinterpret_cast<const float4 *>(part + place);
    }
  }
  __device__ void sync() {
    grid_arrive(count);
    grid_wait(count, wanted += kGroup);
  }
  // Four outputs of one of the block's own rows, summed over the group.
  __device__ float4 sum(int stride, int row, int output) const {
    float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
    const int place = row * stride + output;
#pragma unroll
    for (int from = 0; from < kGroup; from++) {
      const float4 v = __ldcg(reinterpret_cast<const float4 *>(parts + from * kPartFloats + place));
      sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    return sum;
  }
};
// Two channels of a row to where the next product reads them.
__device__ inline void put_pair(uint32_t *rows, int row, int channel, uint32_t pair) {
  const int lane = row % 8 * 4 + channel % 8 / 2;
  rows[channel / 16 * kFragWords + row / 16 * 128 + lane * 4 + row / 8 % 2 * 2 + channel / 8 % 2] = pair;
}

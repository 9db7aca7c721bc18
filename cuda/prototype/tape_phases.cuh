// Phases of the persistent kernel: what a block does before and after its share of a product.
#pragma once
#include "tape_product.cuh"

namespace {

constexpr int kBlocksOfGrid = kHeads * kGroup;
constexpr int kThreads = kWorkers + 32;
constexpr int kKeysOfStage = 64;

enum Kind : int { kEncode, kTokens, kQuery, kSelf, kOut, kUp, kDown, kProject, kDecode, kActions };

// One product with what comes before and after it.
struct Phase {
  const half *keys, *values;  // of kQuery: [32, key_rows, 48]
  int key_rows;
  int kind;
  int stages, stage_bytes;
  int bias, outputs;  // in Tape::bias: 32 x outputs
  int modulation;     // row of the gain, or -1
  float eps;
};

struct Tape {
  const char *weights;  // [128][bytes]
  int64_t bytes;        // of a block and a step
  const Phase *phases;
  int phase_count, steps, limit;  // `limit`: phases to run in all
  const float *bias;
  const float *modulation;  // [steps, 67, 1536]
  const half *encode_bias, *state;
  const float *start, *dt, *strength;
  float *actions;
  uint32_t *x, *mixed, *inner, *encoded;  // rows in operand order: 96, 96, 384 and 32 x 16 channels
  float2 *stats;                          // [56][32]: mean and sum of squared deviations of 48 channels
  unsigned *count;
  uint32_t *trace;  // [blocks][phases in all][6] clock ticks, or null
  float *parts;      // sums of the blocks: [128][kPartFloats]
  half *group_rows;  // keys and values of the groups: [32][2][56][48]
  int slots;
};

constexpr int kMaxPhases = 140;
constexpr int kRowBytes = 24 * kFragWords * 4;  // rows of a product before which there is a norm; later its partial sums
static_assert(kRowBytes >= 4 * kPadded * kNarrowStride * 4 && kRowBytes >= kPadded * 196 * 4, "partial sums fit");

struct Shared {
  alignas(128) char rows[kRowBytes];
  float merge[kMergeFloats];
  half keys[64 * kHeadDim], values[64 * kHeadDim];
  half queries[16 * kQueryStride];
  float gain[384], shift[384], bias[192];
  float x[kOwnRows][kHeadDim];  // the block's own share of the residual
  float actions[kOwnRows][4];   // and of the actions
  float2 norm[64];              // mean and rate of each row
  Phase phases[kMaxPhases];
  uint64_t full[16], empty[16];
};

__device__ inline bool normed(int kind) { return kind == kQuery || kind == kSelf || kind == kUp || kind == kProject; }

// What the next phase needs of device memory and no other block makes.
__device__ void constants(Shared &s, const Tape &t, const Phase &phase, int step, int group, int rank) {
  const float *table = t.modulation + int64_t(step) * kModulationRows * kWidth;
  if (threadIdx.x < phase.outputs) {
    const float *bias = phase.kind == kEncode ? table + (2 * kBlocks + 2) * kWidth : t.bias + phase.bias;
    s.bias[threadIdx.x] = __ldg(bias + group * phase.outputs + threadIdx.x);
  }
  if (phase.modulation >= 0)
    for (int i = threadIdx.x; i < 384; i += kWorkers) {
      const float *gain = table + phase.modulation * kWidth + rank * 384 + i;
      s.gain[i] = __ldg(gain), s.shift[i] = __ldg(gain + kWidth);
    }
}

// Norm of the block's quarter of the channels of all rows, into shared memory.
__device__ void normalise(Shared &s, const Tape &t, const Phase &phase, int rank, int warp, int lane) {
  const int pair = warp % 4, first = warp / 4;
  const uint32_t *from = t.x + rank * 24 * kFragWords + first * kFragWords + pair * 128 + lane * 4;
  uint4 raw[12];
#pragma unroll
  for (int i = 0; i < 12; i++) {
    if (pair < 3) {
      raw[i] = __ldcg(reinterpret_cast<const uint4 *>(from + i * 2 * kFragWords));
    } else {
      const uint2 low = __ldcg(reinterpret_cast<const uint2 *>(from + i * 2 * kFragWords));
      raw[i] = make_uint4(low.x, low.y, 0, 0);
    }
  }
  if (threadIdx.x < kPadded * 4) {
    const int row = threadIdx.x / 4;
    float4 part[4];
#pragma unroll
    for (int i = 0; i < 4; i++) part[i] = __ldcg(reinterpret_cast<const float4 *>(t.stats + row * 32 + threadIdx.x % 4 * 8) + i);
    float mean = 0.f, square = 0.f;
#pragma unroll
    for (int i = 0; i < 4; i++) mean += part[i].x + part[i].z;
    mean += __shfl_xor_sync(~0u, mean, 1);
    mean += __shfl_xor_sync(~0u, mean, 2);
    mean /= 32.f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float a = part[i].x - mean, b = part[i].z - mean;
      square += part[i].y + part[i].w + 48.f * (a * a + b * b);
    }
    square += __shfl_xor_sync(~0u, square, 1);
    square += __shfl_xor_sync(~0u, square, 2);
    if (threadIdx.x % 4 == 0) s.norm[row] = make_float2(mean, rsqrtf(square / kWidth + phase.eps));
  }
  worker_barrier();
  const int row = pair * 16 + lane / 4;
  const float2 one = s.norm[row], two = s.norm[pair < 3 ? row + 8 : row];
  const bool modulated = phase.modulation >= 0;
  uint32_t *to = reinterpret_cast<uint32_t *>(s.rows) + first * kFragWords + pair * 128 + lane * 4;
#pragma unroll
  for (int i = 0; i < 12; i++) {
    const int channel = (first + 2 * i) * 16 + lane % 4 * 2;
    float2 gain[2] = {{1.f, 1.f}, {1.f, 1.f}}, shift[2] = {};
    if (modulated) {
      gain[0] = *reinterpret_cast<const float2 *>(s.gain + channel), gain[1] = *reinterpret_cast<const float2 *>(s.gain + channel + 8);
      shift[0] = *reinterpret_cast<const float2 *>(s.shift + channel), shift[1] = *reinterpret_cast<const float2 *>(s.shift + channel + 8);
    }
    auto apply = [&](uint32_t word, float2 about, int h) {
      const float2 v = __half22float2(*reinterpret_cast<const half2 *>(&word));
      return pack((v.x - about.x) * about.y * gain[h].x + shift[h].x, (v.y - about.x) * about.y * gain[h].y + shift[h].y);
    };
    const uint4 out = make_uint4(apply(raw[i].x, one, 0), apply(raw[i].y, one, 1), apply(raw[i].z, two, 0), apply(raw[i].w, two, 1));
    if (pair < 3)
      *reinterpret_cast<uint4 *>(to + i * 2 * kFragWords) = out;
    else
      *reinterpret_cast<uint2 *>(to + i * 2 * kFragWords) = make_uint2(out.x, out.y);
  }
  worker_barrier();
}

// New rows of the residual in `s.x`: to where the next product reads them, with their mean and deviation.
__device__ void put_residual(Shared &s, const Tape &t, int group, int rank, int warp, int lane) {
  worker_barrier();
  for (int row = warp; row < kOwnRows; row += kWarps) {
    const float2 v = lane < 24 ? *reinterpret_cast<const float2 *>(&s.x[row][lane * 2]) : make_float2(0.f, 0.f);
    float mean = v.x + v.y;
#pragma unroll
    for (int i = 16; i; i /= 2) mean += __shfl_xor_sync(~0u, mean, i);
    mean /= 48.f;
    float square = lane < 24 ? (v.x - mean) * (v.x - mean) + (v.y - mean) * (v.y - mean) : 0.f;
#pragma unroll
    for (int i = 16; i; i /= 2) square += __shfl_xor_sync(~0u, square, i);
    const int at = rank * kOwnRows + row;
    if (lane < 24) put_pair(t.x, at, group * 48 + lane * 2, pack(v.x, v.y));
    if (lane == 0) t.stats[at * 32 + group] = make_float2(mean, square);
  }
}

__device__ inline void put_query(Shared &s, int row, int channel, float4 v) {
  const float scale = 1.4426950408889634f * 0.14433756729740643f;  // log2(e) / sqrt(48)
  uint32_t *at = reinterpret_cast<uint32_t *>(s.queries + row * kQueryStride + channel);
  at[0] = pack(v.x * scale, v.y * scale), at[1] = pack(v.z * scale, v.w * scale);
}
__device__ inline float4 plus_bias(const Shared &s, float4 v, int output) {
  const float4 bias = *reinterpret_cast<const float4 *>(s.bias + output);
  return make_float4(v.x + bias.x, v.y + bias.y, v.z + bias.z, v.w + bias.w);
}

// Attention of the block's own rows of its group's head; the result goes to `mixed`.
__device__ void attention_phase(Shared &s, const Tape &t, const Phase &phase, Ring &ring, Exchange &exchange, int group, int rank,
                                int warp, int lane) {
  if (phase.kind == kSelf) {
    for (int i = threadIdx.x; i < kOwnRows * 36; i += kWorkers) {
      const int row = i / 36, output = i % 36 * 4;
      const float4 v = plus_bias(s, exchange.sum(148, rank * kOwnRows + row, output), output);
      if (output < 48) {
        put_query(s, row, output, v);
        continue;
      }
      const int place = (rank * kOwnRows + row) * kHeadDim + output % 48;
      half *at = exchange.rows + (output < 96 ? 0 : kPadded * kHeadDim) + place;
      *reinterpret_cast<uint2 *>(at) = make_uint2(pack(v.x, v.y), pack(v.z, v.w));
    }
    exchange.sync();
    constexpr int kQuads = kPadded * kHeadDim / 8;
    for (int i = threadIdx.x; i < 2 * kQuads; i += kWorkers)
      reinterpret_cast<uint4 *>(i < kQuads ? s.keys : s.values)[i % kQuads] = __ldcg(reinterpret_cast<const uint4 *>(exchange.rows) + i);
    worker_barrier();
    attend(s.queries, kRows, s.merge, [&](int u, const half *&keys, const half *&values) {
      keys = s.keys + u * 16 * kHeadDim, values = s.values + u * 16 * kHeadDim;
    });
  } else {
    for (int i = threadIdx.x; i < kOwnRows * 12; i += kWorkers) {
      const int row = i / 12, output = i % 12 * 4;
      put_query(s, row, output, plus_bias(s, exchange.sum(kNarrowStride, rank * kOwnRows + row, output), output));
    }
    worker_barrier();
    attend(s.queries, phase.key_rows, s.merge, [&](int u, const half *&keys, const half *&values) {
      int slot = ring.slot + u / 4;
      uint32_t turn = ring.parity;
      if (slot >= ring.count) slot -= ring.count, turn ^= 1;
      barrier_wait(ring.full + slot, turn);
      keys = reinterpret_cast<const half *>(ring.slots + slot * kStageBytes) + u % 4 * 16 * kHeadDim;
      values = keys + kKeysOfStage * kHeadDim;
    });
    for (int i = 0; i * kKeysOfStage < phase.key_rows; i++) {
      barrier_wait(ring.full + ring.slot, ring.parity);
      release(ring, lane);
    }
  }
  worker_barrier();
  for (int i = threadIdx.x; i < kOwnRows * 24; i += kWorkers) {
    const int row = i / 24, channel = i % 24 * 2;
    const float2 v = merged(s.merge, row, channel);
    put_pair(t.mixed, rank * kOwnRows + row, group * 48 + channel, pack(v.x, v.y));
  }
}

// After the group's sums are there.
__device__ void finish(Shared &s, const Tape &t, const Phase &phase, const Exchange &exchange, int group, int rank, int warp, int lane) {
  const int stride = phase.kind == kUp ? 196 : kNarrowStride;
  const int quads = phase.outputs / 4;
  for (int i = threadIdx.x; i < kOwnRows * quads; i += kWorkers) {
    const int own = i / quads, output = i % quads * 4, row = rank * kOwnRows + own, channel = group * phase.outputs + output;
    float4 v = exchange.sum(stride, row, output);
    if (phase.kind != kTokens) v = plus_bias(s, v, output);
    uint32_t *to = t.mixed;
    switch (phase.kind) {
      case kEncode:
        v = make_float4(silu(v.x), silu(v.y), silu(v.z), silu(v.w));
        break;
      case kUp:
        v = make_float4(gelu_tanh(v.x), gelu_tanh(v.y), gelu_tanh(v.z), gelu_tanh(v.w));
        to = t.inner;
        break;
      case kDecode:
        v = make_float4(fmaxf(v.x, 0.f), fmaxf(v.y, 0.f), fmaxf(v.z, 0.f), fmaxf(v.w, 0.f));
        to = t.inner;
        break;
      case kTokens: {
        const half2 *bias = row == 0 ? reinterpret_cast<const half2 *>(t.state + channel)
                                     : reinterpret_cast<const half2 *>(t.encode_bias + (row - 1) * kWidth + channel);
        if (row < kRows) {
          const float2 a = __half22float2(bias[0]), b = __half22float2(bias[1]);
          if (row == 0) v = make_float4(0.f, 0.f, 0.f, 0.f);
          v = make_float4(v.x + a.x, v.y + a.y, v.z + b.x, v.w + b.y);
        }
        *reinterpret_cast<float4 *>(&s.x[own][output]) = v;
        continue;
      }
      case kOut:
      case kDown: {
        float4 *x = reinterpret_cast<float4 *>(&s.x[own][output]);
        *x = make_float4(x->x + v.x, x->y + v.y, x->z + v.z, x->w + v.w);
        continue;
      }
      case kActions: {
        if (row >= 1 && row < kRows) {
          const float rate = __ldg(t.dt) * __ldg(t.strength + row - 1);
          float4 *a = reinterpret_cast<float4 *>(s.actions[own]);
          *a = v = make_float4(a->x + rate * v.x, a->y + rate * v.y, a->z + rate * v.z, a->w + rate * v.w);
          const int slot = channel / 32 * 128 + channel % 32;
          put_pair(t.encoded, row, slot, pack(v.x, v.y));
          put_pair(t.encoded, row, slot + 2, pack(v.z, v.w));
          *reinterpret_cast<float4 *>(t.actions + (row - 1) * kActionDims + channel) = v;
        }
        continue;
      }
    }
    put_pair(to, row, channel, pack(v.x, v.y));
    put_pair(to, row, channel + 2, pack(v.z, v.w));
  }
  if (phase.kind == kTokens || phase.kind == kOut || phase.kind == kDown) put_residual(s, t, group, rank, warp, lane);
}

}  // namespace

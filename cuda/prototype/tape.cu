// Design B: one persistent kernel for all steps. 128 blocks in 32 groups of four; a group makes 48 to 192 outputs of a
// product, its blocks each sum over a quarter of the channels and join their sums (see Group). One warp of
// a block copies its weights, in the order of use ("tape"), into a ring and runs ahead across the grid's barriers.
#include <string>
#include <vector>

#include "tape_product.cuh"

namespace {

constexpr int kBlocksOfGrid = kHeads * kCluster;
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
  float *parts;     // of groups that are no clusters: [128][kPartFloats]
  half *group_rows;  // [32][2][56][48]
  int slots, far;
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
  uint64_t full[16], empty[16], cluster;
};

__device__ inline bool normed(int kind) { return kind == kQuery || kind == kSelf || kind == kUp || kind == kProject; }

// What the next phase needs of device memory and no other block makes.
__device__ void constants(Shared &s, const Tape &t, const Phase &phase, int step, int cluster, int rank) {
  const float *table = t.modulation + int64_t(step) * kModulationRows * kWidth;
  if (threadIdx.x < phase.outputs) {
    const float *bias = phase.kind == kEncode ? table + (2 * kBlocks + 2) * kWidth : t.bias + phase.bias;
    s.bias[threadIdx.x] = __ldg(bias + cluster * phase.outputs + threadIdx.x);
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
__device__ void put_residual(Shared &s, const Tape &t, int cluster, int rank, int warp, int lane) {
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
    if (lane < 24) put_pair(t.x, at, cluster * 48 + lane * 2, pack(v.x, v.y));
    if (lane == 0) t.stats[at * 32 + cluster] = make_float2(mean, square);
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

// Attention of the block's own rows of its cluster's head; the result goes to `mixed`.
template <bool kFar>
__device__ void attention_phase(Shared &s, const Tape &t, const Phase &phase, Ring &ring, Group<kFar> &group, int cluster, int rank,
                                int warp, int lane) {
  const float *part = reinterpret_cast<const float *>(s.rows);
  if (phase.kind == kSelf) {
    for (int i = threadIdx.x; i < kOwnRows * 36; i += kWorkers) {
      const int row = i / 36, output = i % 36 * 4;
      const float4 v = plus_bias(s, group.sum(part, 148, rank * kOwnRows + row, output), output);
      if (output < 48) {
        put_query(s, row, output, v);
        continue;
      }
      const int place = (rank * kOwnRows + row) * kHeadDim + output % 48;
      if (kFar) {
        half *at = group.rows + (output < 96 ? 0 : kPadded * kHeadDim) + place;
        *reinterpret_cast<uint2 *>(at) = make_uint2(pack(v.x, v.y), pack(v.z, v.w));
      } else {
        const half *at = (output < 96 ? s.keys : s.values) + place;
#pragma unroll
        for (int to = 0; to < kCluster; to++) cluster_store(cluster_address(at, to), pack(v.x, v.y), pack(v.z, v.w));
      }
    }
    group.sync();
    if (kFar) {
      constexpr int kQuads = kPadded * kHeadDim / 8;
      for (int i = threadIdx.x; i < 2 * kQuads; i += kWorkers)
        reinterpret_cast<uint4 *>(i < kQuads ? s.keys : s.values)[i % kQuads] = __ldcg(reinterpret_cast<const uint4 *>(group.rows) + i);
      worker_barrier();
    }
    attend(s.queries, kRows, s.merge, [&](int u, const half *&keys, const half *&values) {
      keys = s.keys + u * 16 * kHeadDim, values = s.values + u * 16 * kHeadDim;
    });
  } else {
    for (int i = threadIdx.x; i < kOwnRows * 12; i += kWorkers) {
      const int row = i / 12, output = i % 12 * 4;
      put_query(s, row, output, plus_bias(s, group.sum(part, kNarrowStride, rank * kOwnRows + row, output), output));
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
    put_pair(t.mixed, rank * kOwnRows + row, cluster * 48 + channel, pack(v.x, v.y));
  }
}

// After the group's sums are there.
template <bool kFar>
__device__ void finish(Shared &s, const Tape &t, const Phase &phase, const Group<kFar> &group, int cluster, int rank, int warp, int lane) {
  const float *part = reinterpret_cast<const float *>(s.rows);
  const int stride = phase.kind == kUp ? 196 : kNarrowStride;
  const int quads = phase.outputs / 4;
  for (int i = threadIdx.x; i < kOwnRows * quads; i += kWorkers) {
    const int own = i / quads, output = i % quads * 4, row = rank * kOwnRows + own, channel = cluster * phase.outputs + output;
    float4 v = group.sum(part, stride, row, output);
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
  if (phase.kind == kTokens || phase.kind == kOut || phase.kind == kDown) put_residual(s, t, cluster, rank, warp, lane);
}

template <bool kFar>
__device__ void compute(Shared &s, const Tape &t, Ring ring, int cluster, int rank, int warp, int lane) {
  Group<kFar> group = {&s.cluster, t.count + 32 * (1 + cluster), t.parts + cluster * kCluster * kPartFloats,
                       t.group_rows + cluster * 2 * kPadded * kHeadDim, rank};
  uint32_t *trace = t.trace && threadIdx.x == 0 ? t.trace + int64_t(blockIdx.x) * t.phase_count * t.steps * 6 : nullptr;
  auto mark = [&](int at) {
    if (trace) trace[at] = clock();
  };
  if (threadIdx.x < kOwnRows) {  // the start: the block's own actions
    const int row = rank * kOwnRows + threadIdx.x;
    if (row >= 1 && row < kRows) {
      const float4 a = *reinterpret_cast<const float4 *>(t.start + (row - 1) * kActionDims + cluster * 4);
      *reinterpret_cast<float4 *>(s.actions[threadIdx.x]) = a;
      const int slot = cluster * 4 / 32 * 128 + cluster * 4 % 32;
      put_pair(t.encoded, row, slot, pack(a.x, a.y));
      put_pair(t.encoded, row, slot + 2, pack(a.z, a.w));
    }
  }
  grid_arrive(t.count);
  const uint32_t *shared_rows = reinterpret_cast<const uint32_t *>(s.rows);
  float *part = reinterpret_cast<float *>(s.rows);
  unsigned wanted = 0;
  for (int done = 0, step = 0; step < t.steps; step++) {
    for (int p = 0; p < t.phase_count && done < t.limit; p++, done++) {
      const Phase &phase = s.phases[p];
      const int kind = phase.kind;
      constants(s, t, phase, step, cluster, rank);
      mark(0);
      grid_wait(t.count, wanted += kBlocksOfGrid);
      mark(1);
      if (normed(kind)) normalise(s, t, phase, rank, warp, lane);
      mark(2);
      Sums sums = {};
      if (kind == kUp) {
        wide_product<4>(sums, ring, shared_rows, warp, lane);
        mark(3);
        join_wide<4>(sums, part, warp, lane);
        group.publish(part, 196, 48);
      } else if (kind == kSelf) {
        wide_product<3>(sums, ring, shared_rows, warp, lane);
        mark(3);
        join_wide<3>(sums, part, warp, lane);
        group.publish(part, 148, 36);
      } else {
        switch (kind) {
          case kQuery:
          case kProject: narrow_product_shared<3>(sums, ring, shared_rows, warp, lane); break;
          case kDown: narrow_product<12>(sums, ring, t.inner + rank * 96 * kFragWords, warp, lane); break;
          case kOut:
          case kTokens: narrow_product<3>(sums, ring, t.mixed + rank * 24 * kFragWords, warp, lane); break;
          case kDecode: narrow_product<2>(sums, ring, t.mixed + rank * 16 * kFragWords, warp, lane); break;
          case kActions: narrow_product<2>(sums, ring, t.inner + rank * 16 * kFragWords, warp, lane); break;
          default: narrow_product<1>(sums, ring, t.encoded + rank * 8 * kFragWords, warp, lane); break;
        }
        mark(3);
        join_narrow(sums, part, group.target(part), warp, lane);
      }
      group.sync();
      mark(4);
      if (kind == kQuery || kind == kSelf)
        attention_phase(s, t, phase, ring, group, cluster, rank, warp, lane);
      else
        finish(s, t, phase, group, cluster, rank, warp, lane);
      mark(5);
      if (trace) trace += 6;
      grid_arrive(t.count);
    }
  }
}

// One thread: the block's weights in order, and the keys and values of its head, into the ring.
__device__ void feed(Shared &s, const Tape &t, Ring ring, int cluster) {
  const uint64_t policy = read_once_policy();
  const char *tape = t.weights + int64_t(blockIdx.x) * t.bytes;
  auto begin = [&](uint32_t bytes) {
    barrier_wait(ring.empty + ring.slot, ring.parity ^ 1);
    barrier_expect(ring.full + ring.slot, bytes);
  };
  for (int done = 0, step = 0; step < t.steps; step++) {
    const char *from = tape;
    for (int p = 0; p < t.phase_count && done < t.limit; p++, done++) {
      const Phase &phase = s.phases[p];
      for (int i = 0; i < phase.stages; i++) {
        begin(phase.stage_bytes);
        copy_once(ring.slots + ring.slot * kStageBytes, from, phase.stage_bytes, ring.full + ring.slot, policy);
        from += phase.stage_bytes;
        ring.step();
      }
      for (int first = 0; first < phase.key_rows; first += kKeysOfStage) {
        const int rows = min(kKeysOfStage, phase.key_rows - first);
        const int64_t at = (int64_t(cluster) * phase.key_rows + first) * kHeadDim;
        char *to = ring.slots + ring.slot * kStageBytes;
        begin(rows * kHeadDim * 4);
        copy_shared(to, phase.keys + at, rows * kHeadDim * 2, ring.full + ring.slot);
        copy_shared(to + kStageBytes / 2, phase.values + at, rows * kHeadDim * 2, ring.full + ring.slot);
        ring.step();
      }
    }
  }
}

template <bool kFar>
__global__ void __launch_bounds__(kThreads, 1) tape_kernel(const __grid_constant__ Tape t) {
  extern __shared__ __align__(128) char memory[];
  Shared &s = *reinterpret_cast<Shared *>(memory);
  Ring ring = {memory + sizeof(Shared), s.full, s.empty, t.slots};
  const int cluster = blockIdx.x / kCluster, rank = blockIdx.x % kCluster, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < int(sizeof(Shared) + t.slots * kStageBytes) / 16; i += kThreads)
    reinterpret_cast<uint4 *>(memory)[i] = make_uint4(0, 0, 0, 0);  // rows that nothing writes are numbers
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  for (int i = threadIdx.x; i < t.phase_count * int(sizeof(Phase) / 4); i += kThreads)
    reinterpret_cast<uint32_t *>(s.phases)[i] = reinterpret_cast<const uint32_t *>(t.phases)[i];
  if (threadIdx.x == 0) {
    for (int i = 0; i < t.slots; i++) barrier_init(s.full + i, 1), barrier_init(s.empty + i, kWarps);
    barrier_init(&s.cluster, kCluster);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (!kFar) cluster_barrier_all();
  if (warp < kWarps)
    compute<kFar>(s, t, ring, cluster, rank, warp, lane);
  else if (lane == 0)
    feed(s, t, ring, cluster);
  if (!kFar) cluster_barrier_all();  // no block ends while others read its shared memory
}

}  // namespace

struct TapeEngine {
  Tape tape = {};
  cudaStream_t stream = nullptr;
  cudaGraphExec_t graph = nullptr;
  int shared = 0;
  std::string report;
};

constexpr size_t kCountBytes = 128 * (1 + kHeads);  // the grid's count and each group's, a line each

static cudaLaunchAttribute group_attribute(bool far) {
  cudaLaunchAttribute attribute = {};
  if (far) {
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
  } else {
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = kCluster, attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  }
  return attribute;
}

static int enqueue(TapeEngine &e) {
  CUDA_CHECK(cudaMemsetAsync(e.tape.count, 0, kCountBytes, e.stream));
  cudaLaunchAttribute attribute = group_attribute(e.tape.far);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kBlocksOfGrid), config.blockDim = dim3(kThreads), config.dynamicSmemBytes = e.shared;
  config.stream = e.stream, config.attrs = &attribute, config.numAttrs = 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, e.tape.far ? tape_kernel<true> : tape_kernel<false>, e.tape));
  return 0;
}

// The number of clusters that the device holds at once with a ring of `slots`, or -1.
static int clusters_at_once(int slots, int *shared) {
  *shared = int(sizeof(Shared)) + slots * kStageBytes;
  cudaLaunchAttribute attribute = group_attribute(false);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kBlocksOfGrid), config.blockDim = dim3(kThreads), config.dynamicSmemBytes = *shared;
  config.attrs = &attribute, config.numAttrs = 1;
  int clusters = -1;
  if (cudaFuncSetAttribute(tape_kernel<false>, cudaFuncAttributeMaxDynamicSharedMemorySize, *shared) ||
      cudaFuncSetAttribute(tape_kernel<true>, cudaFuncAttributeMaxDynamicSharedMemorySize, *shared))
    return cudaGetLastError(), -1;
  if (cudaOccupancyMaxActiveClusters(&clusters, tape_kernel<false>, &config)) return cudaGetLastError(), -1;
  return clusters;
}

// The engine: `tape` is a Tape as engines.py makes it, but for the buffers of this side. Null when it cannot be made. The type
// is in an unnamed namespace: as a parameter it would keep the function out of the library.
extern "C" void *tape_create(const void *tape, cudaStream_t stream) {
  TapeEngine *e = new TapeEngine;
  e->tape = *static_cast<const Tape *>(tape), e->stream = stream;
  auto room = [&](auto **p, size_t bytes) {
    return cudaMalloc(reinterpret_cast<void **>(p), bytes) == cudaSuccess && cudaMemset(*p, 0, bytes) == cudaSuccess;
  };
  Tape &t = e->tape;
  if (!room(&t.x, 96 * 2048) || !room(&t.mixed, 96 * 2048) || !room(&t.inner, 384 * 2048) || !room(&t.encoded, 32 * 2048) ||
      !room(&t.stats, kPadded * 32 * 8) || !room(&t.count, kCountBytes) || !room(&t.actions, kHorizon * kActionDims * 4) ||
      !room(&t.parts, size_t(kBlocksOfGrid) * kPartFloats * 4) || !room(&t.group_rows, kHeads * 2 * kPadded * kHeadDim * 2))
    return nullptr;
  char line[160];
  int clusters = -1;
  for (t.slots = t.slots ? t.slots : 10; t.slots >= 7; t.slots--) {
    clusters = clusters_at_once(t.slots, &e->shared);
    snprintf(line, sizeof line, "ring of %d stages: %d bytes of shared memory, %d clusters at once\n", t.slots, e->shared, clusters);
    e->report += line;
    if (clusters > 0) break;
  }
  if (clusters <= 0) return fprintf(stderr, "%sno ring fits\n", e->report.c_str()), nullptr;
  if (clusters < kHeads) t.far = 1;
  e->report += t.far ? "blocks of a group meet in the L2 cache\n" : "blocks of a group are a cluster\n";
  return e;
}
extern "C" int tape_capture(void *engine) {
  TapeEngine &e = *static_cast<TapeEngine *>(engine);
  if (e.graph) cudaGraphExecDestroy(e.graph);
  CUDA_CHECK(cudaStreamBeginCapture(e.stream, cudaStreamCaptureModeThreadLocal));
  if (enqueue(e)) return 1;
  cudaGraph_t graph;
  CUDA_CHECK(cudaStreamEndCapture(e.stream, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&e.graph, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  return 0;
}
extern "C" int tape_run(void *engine) {
  TapeEngine &e = *static_cast<TapeEngine *>(engine);
  CUDA_CHECK(cudaGraphLaunch(e.graph, e.stream));
  return 0;
}
// One run without a graph that stops after `limit` phases, with or without a trace.
extern "C" int tape_once(void *engine, int limit, uint32_t *trace) {
  TapeEngine &e = *static_cast<TapeEngine *>(engine);
  const Tape kept = e.tape;
  e.tape.limit = limit, e.tape.trace = trace;
  const int failed = enqueue(e);
  e.tape = kept;
  return failed;
}
extern "C" void *tape_buffer(void *engine, int which) {
  Tape &t = static_cast<TapeEngine *>(engine)->tape;
  void *buffers[] = {t.actions, t.x, t.mixed, t.inner, t.encoded, t.stats};
  return buffers[which];
}
extern "C" const char *tape_report(void *engine) { return static_cast<TapeEngine *>(engine)->report.c_str(); }
extern "C" int tape_sizes(int which) {
  const int sizes[] = {int(sizeof(Tape)), int(sizeof(Phase)), int(sizeof(Shared))};
  return sizes[which];
}

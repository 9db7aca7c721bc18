// Design B: one persistent kernel for all steps. 128 blocks in 32 groups of four; a group makes 48 to 192 outputs of a
// product, its blocks each sum over a quarter of the channels and exchange their sums (see Exchange). One warp of a block
// copies its weights, in the order of use ("tape"), into a ring and runs ahead across the grid's barriers.
#include <string>

#include "tape_phases.cuh"

namespace {

__device__ void compute(Shared &s, const Tape &t, Ring ring, int group, int rank, int warp, int lane) {
  Exchange exchange = {t.count + 32 * (1 + group), t.parts + group * kGroup * kPartFloats,
                       t.group_rows + group * 2 * kPadded * kHeadDim, rank};
  uint32_t *trace = t.trace && threadIdx.x == 0 ? t.trace + int64_t(blockIdx.x) * t.phase_count * t.steps * 6 : nullptr;
  auto mark = [&](int at) {
    if (trace) trace[at] = clock();
  };
  if (threadIdx.x < kOwnRows) {  // the start: the block's own actions
    const int row = rank * kOwnRows + threadIdx.x;
    if (row >= 1 && row < kRows) {
      const float4 a = *reinterpret_cast<const float4 *>(t.start + (row - 1) * kActionDims + group * 4);
      *reinterpret_cast<float4 *>(s.actions[threadIdx.x]) = a;
      const int slot = group * 4 / 32 * 128 + group * 4 % 32;
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
      constants(s, t, phase, step, group, rank);
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
        exchange.publish(part, 196, 48);
      } else if (kind == kSelf) {
        wide_product<3>(sums, ring, shared_rows, warp, lane);
        mark(3);
        join_wide<3>(sums, part, warp, lane);
        exchange.publish(part, 148, 36);
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
        join_narrow(sums, part, exchange.target(), warp, lane);
      }
      exchange.sync();
      mark(4);
      if (kind == kQuery || kind == kSelf)
        attention_phase(s, t, phase, ring, exchange, group, rank, warp, lane);
      else
        finish(s, t, phase, exchange, group, rank, warp, lane);
      mark(5);
      if (trace) trace += 6;
      grid_arrive(t.count);
    }
  }
}

// One thread: the block's weights in order, and the keys and values of its head, into the ring.
__device__ void feed(Shared &s, const Tape &t, Ring ring, int group) {
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
        const int64_t at = (int64_t(group) * phase.key_rows + first) * kHeadDim;
        char *to = ring.slots + ring.slot * kStageBytes;
        begin(rows * kHeadDim * 4);
        copy_shared(to, phase.keys + at, rows * kHeadDim * 2, ring.full + ring.slot);
        copy_shared(to + kStageBytes / 2, phase.values + at, rows * kHeadDim * 2, ring.full + ring.slot);
        ring.step();
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1) tape_kernel(const __grid_constant__ Tape t) {
  extern __shared__ __align__(128) char memory[];
  Shared &s = *reinterpret_cast<Shared *>(memory);
  Ring ring = {memory + sizeof(Shared), s.full, s.empty, t.slots};
  const int group = blockIdx.x / kGroup, rank = blockIdx.x % kGroup, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < int(sizeof(Shared) + t.slots * kStageBytes) / 16; i += kThreads)
    reinterpret_cast<uint4 *>(memory)[i] = make_uint4(0, 0, 0, 0);  // rows that nothing writes are numbers
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  for (int i = threadIdx.x; i < t.phase_count * int(sizeof(Phase) / 4); i += kThreads)
    reinterpret_cast<uint32_t *>(s.phases)[i] = reinterpret_cast<const uint32_t *>(t.phases)[i];
  if (threadIdx.x == 0) {
    for (int i = 0; i < t.slots; i++) barrier_init(s.full + i, 1), barrier_init(s.empty + i, kWarps);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (warp < kWarps)
    compute(s, t, ring, group, rank, warp, lane);
  else if (lane == 0)
    feed(s, t, ring, group);
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

static int enqueue(TapeEngine &e) {
  CUDA_CHECK(cudaMemsetAsync(e.tape.count, 0, kCountBytes, e.stream));
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kBlocksOfGrid), config.blockDim = dim3(kThreads), config.dynamicSmemBytes = e.shared;
  config.stream = e.stream, config.attrs = &attribute, config.numAttrs = 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, tape_kernel, e.tape));
  return 0;
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
  if (!t.slots) t.slots = 10;
  e->shared = int(sizeof(Shared)) + t.slots * kStageBytes;
  if (cudaFuncSetAttribute(tape_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, e->shared))
    return fprintf(stderr, "a ring of %d stages needs %d bytes of shared memory\n", t.slots, e->shared), nullptr;
  e->report = "ring of " + std::to_string(t.slots) + " stages: " + std::to_string(e->shared) + " bytes of shared memory\n";
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

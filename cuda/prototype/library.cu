// Design A: products by cuBLASLt (algorithms chosen by measurement), everything between them by a few fused kernels, all
// steps as one CUDA graph.
#include <cublasLt.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "library_kernels.cuh"

namespace {

#define LT_CHECK(call)                                                                        \
  do {                                                                                        \
    cublasStatus_t status_ = (call);                                                          \
    if (status_ != CUBLAS_STATUS_SUCCESS) {                                                   \
      fprintf(stderr, "%s:%d: %s: cuBLASLt status %d\n", __FILE__, __LINE__, #call, status_); \
      return 1;                                                                               \
    }                                                                                         \
  } while (0)

constexpr size_t kWorkspace = 64 << 20;
enum Finish { kPlain, kBias, kGelu, kRelu, kQuery };  // kQuery: plain, before attention

struct Product {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
  Finish finish = kPlain;
  int parts = 1;        // shares of the channels, each with its result
  bool floats = false;  // results in single precision
};

struct Engine {
  StepWeights w;
  int steps = 0;
  bool early = false;  // programmatic dependent launch of our kernels
  bool ahead = false;  // weights of the next product into the L2 cache, on a branch of the graph
  const float *start = nullptr, *dt = nullptr, *strength = nullptr;
  float *actions = nullptr, *x = nullptr;
  half *actions16 = nullptr, *y = nullptr, *wide = nullptr, *mixed = nullptr, *delta = nullptr;
  void *workspace = nullptr;
  cublasLtHandle_t lt = nullptr;
  cudaStream_t stream = nullptr, side = nullptr;
  cudaEvent_t fork = nullptr;
  cudaGraphExec_t graph = nullptr;
  std::map<std::tuple<int, int, int, int>, Product> products;
  std::string report;
};

Parts parts_of(const Engine &e, const Product &p, int values) {
  const float *floats = reinterpret_cast<const float *>(e.delta);
  return {p.floats ? nullptr : e.delta, p.floats ? floats : nullptr, p.parts, values};
}

int apply(Engine &e, Product &p, const half *weight, const half *from, half *to, const half *bias) {
  const float one = 1.f, zero = 0.f;
  if (p.finish != kPlain && p.finish != kQuery)
    LT_CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
  LT_CHECK(cublasLtMatmul(e.lt, p.operation, &one, weight, p.a, from, p.b, &zero, to, p.d, to, p.d, &p.algorithm, e.workspace,
                          kWorkspace, e.stream));
  return 0;
}

// Median milliseconds of `body` as a graph of `repeats` products.
template <class Body>
float time_of(Engine &e, Body body) {
  cudaGraph_t graph;
  cudaGraphExec_t run;
  if (cudaStreamBeginCapture(e.stream, cudaStreamCaptureModeThreadLocal)) return -1.f;
  const int failed = body();
  if (cudaStreamEndCapture(e.stream, &graph) || failed) return cudaGetLastError(), -1.f;
  if (cudaGraphInstantiate(&run, graph, 0)) return -1.f;
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  std::vector<float> times;
  for (int i = 0; i < 6; i++) {
    cudaEventRecord(begin, e.stream), cudaGraphLaunch(run, e.stream), cudaEventRecord(end, e.stream);
    if (cudaEventSynchronize(end)) return -1.f;
    float ms = -1.f;
    cudaEventElapsedTime(&ms, begin, end);
    if (i) times.push_back(ms);
  }
  cudaGraphExecDestroy(run), cudaGraphDestroy(graph), cudaEventDestroy(begin), cudaEventDestroy(end);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

int describe(Product &p, int rows, int to, int from, const half *bias) {
  LT_CHECK(cublasLtMatmulDescCreate(&p.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  LT_CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
  const cublasLtEpilogue_t epilogues[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS,
                                          CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_DEFAULT};
  LT_CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogues[p.finish], sizeof epilogues[0]));
  if (p.finish != kPlain && p.finish != kQuery)
    LT_CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
  const int share = from / p.parts;
  LT_CHECK(cublasLtMatrixLayoutCreate(&p.a, CUDA_R_16F, share, to, from));
  LT_CHECK(cublasLtMatrixLayoutCreate(&p.b, CUDA_R_16F, share, rows, from));
  LT_CHECK(cublasLtMatrixLayoutCreate(&p.d, p.floats ? CUDA_R_32F : CUDA_R_16F, to, rows, to));
  if (p.parts == 1) return 0;
  const int64_t offsets[] = {share, share, int64_t(rows) * to};
  const cublasLtMatrixLayout_t layouts[] = {p.a, p.b, p.d};
  for (int i = 0; i < 3; i++) {
    LT_CHECK(cublasLtMatrixLayoutSetAttribute(layouts[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &p.parts, sizeof p.parts));
    LT_CHECK(cublasLtMatrixLayoutSetAttribute(layouts[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offsets[i], sizeof offsets[i]));
  }
  return 0;
}

// From here on, beside what the stream does next: `bytes` into the L2 cache.
int fetch_beside(Engine &e, const void *from, int64_t bytes, bool fork = true) {
  if (!e.ahead) return 0;
  if (fork) {
    CUDA_CHECK(cudaEventRecord(e.fork, e.stream));
    CUDA_CHECK(cudaStreamWaitEvent(e.side, e.fork));
  }
  const int64_t block = int64_t(kChunk) * 128;
  prefetch<<<int((bytes + block - 1) / block), 128, 0, e.side>>>(static_cast<const char *>(from), bytes);
  return 0;
}
int join_side(Engine &e) {
  if (!e.ahead) return 0;
  CUDA_CHECK(cudaEventRecord(e.fork, e.side));
  CUDA_CHECK(cudaStreamWaitEvent(e.stream, e.fork));
  return 0;
}

// The product [rows, from] x [to, from]^T. Parts, type and algorithm are the fastest over `weights` (in turn, so that they come
// from memory), together with `after`, which reads the parts; without it there is one part.
int product(Engine &e, int rows, int to, int from, Finish finish, const std::vector<const half *> &weights, const half *bias,
            Product **found, const std::function<void(const Parts &)> &after = nullptr) {
  Product &best = e.products[{rows, to, from, finish}];
  *found = &best;
  if (best.operation) return 0;
  cublasLtMatmulPreference_t preference;
  LT_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  LT_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace, sizeof kWorkspace));
  float least = 1e30f, plain = 1e30f;
  int usable = 0;
  for (int parts : {1, 2, 3, 4, 6, kMaxParts})
    for (bool floats : {false, true}) {
      if (!after && (parts > 1 || floats)) continue;
      Product p;
      p.finish = finish, p.parts = parts, p.floats = floats;
      if (describe(p, rows, to, from, bias)) return 1;
      std::vector<cublasLtMatmulHeuristicResult_t> candidates(32);
      int count = 0;
      if (cublasLtMatmulAlgoGetHeuristic(e.lt, p.operation, p.a, p.b, p.d, p.d, preference, int(candidates.size()), candidates.data(),
                                         &count))
        count = 0;
      for (int i = 0; i < count; i++) {
        p.algorithm = candidates[i].algo;
        const float ms = time_of(e, [&] {
          for (size_t j = 0; j < weights.size(); j++) {
            if (fetch_beside(e, weights[(j + 1) % weights.size()], int64_t(to) * from * 2)) return 1;
            if (apply(e, p, weights[j], e.wide, e.delta, bias)) return 1;
            if (after) after(parts_of(e, p, rows * to));
          }
          return join_side(e);
        });
        if (ms < 0.f) continue;
        usable++;
        if (parts == 1 && !floats) plain = std::min(plain, ms);
        if (ms < least) least = ms, best = p;
      }
    }
  if (!best.operation) return fprintf(stderr, "no algorithm for %d x %d x %d\n", rows, to, from), 1;
  int tile = 0, split = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&best.algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile, sizeof tile, nullptr);
  cublasLtMatmulAlgoConfigGetAttribute(&best.algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split, nullptr);
  char line[256];
  const double each = least * 1e3 / weights.size();
  snprintf(line, sizeof line, "| %d x %d x %d%s | %.2f us | one part %.2f | %.0f GB/s | of %d: %d parts%s, tile %d, split %d |\n", rows,
           to, from, after ? " and what follows" : "", each, plain * 1e3 / weights.size(), 2e-3 * to * from / each, usable, best.parts,
           best.floats ? " in single precision" : "", tile, split);
  e.report += line;
  return 0;
}

template <class... Parameters, class... Arguments>
void launch(const Engine &e, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, Arguments... arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid, config.blockDim = dim3(threads), config.dynamicSmemBytes = shared, config.stream = e.stream;
  config.attrs = &attribute, config.numAttrs = e.early ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

size_t attention_memory(int key_rows) {
  return kMergeFloats * 4 + 16 * kQueryStride * 2 + size_t((key_rows + 15) / 16 * 16) * kHeadDim * 4;
}

int enqueue(Engine &e) {
  Product *encode, *encode_out, *qkv, *query, *out, *up, *down, *project, *decode, *decode_out;
  std::vector<const half *> stacked, single, outs, ups, downs;
  for (const BlockWeights &b : e.w.blocks) {
    (b.key_rows ? single : stacked).push_back(b.qkv);
    outs.push_back(b.out), ups.push_back(b.up), downs.push_back(b.down);
  }
  CUDA_CHECK(cudaFuncSetAttribute(attention, cudaFuncAttributeMaxDynamicSharedMemorySize, 160 << 10));
  const BlockWeights &b0 = e.w.blocks[0], &images = e.w.blocks[2];
  const auto cross = [&](const BlockWeights &b, const Parts &q) {
    const int rows = int(b.key_rows);
    launch(e, attention, dim3(kHeads, 4), 256, attention_memory(rows), q, b.qkv_bias, kWidth, b.keys, b.values, kHeadDim,
           rows * kHeadDim, rows, true, e.mixed);
  };
  const auto add = [&](const Parts &added) {
    launch(e, residual_norm, dim3(kRows), 192, 0, Residual{e.x, added, b0.out_bias, nullptr, nullptr, e.y, nullptr, nullptr, 1e-5f});
  };
  if (product(e, kRows, 3 * kWidth, kWidth, kBias, stacked, b0.qkv_bias, &qkv) ||
      product(e, kRows, kWidth, kWidth, kPlain, outs, nullptr, &out, add) ||
      product(e, kRows, kInner, kWidth, kGelu, ups, b0.up_bias, &up) ||
      product(e, kRows, kWidth, kInner, kPlain, downs, nullptr, &down, add) ||
      product(e, kHorizon, kWidth, kActionDims, kPlain, {e.w.encode}, nullptr, &encode) ||
      product(e, kHorizon, kWidth, kWidth, kPlain, {e.w.encode_out}, nullptr, &encode_out) ||
      product(e, kRows, kOutput, kWidth, kBias, {e.w.project}, e.w.project_bias, &project) ||
      product(e, kRows, kOutput, kOutput, kRelu, {e.w.decode}, e.w.decode_bias, &decode) ||
      product(e, kHorizon, kActionDims, kOutput, kBias, {e.w.decode_out}, e.w.decode_out_bias, &decode_out) ||
      product(e, kRows, kWidth, kWidth, kQuery, single, nullptr, &query, [&](const Parts &q) { cross(images, q); }))
    return 1;
  // What the products read, in order, for the copies ahead.
  std::vector<std::pair<const void *, int64_t>> reads;
  const auto reads_of = [&](const void *p, int64_t values) { reads.push_back({p, values * 2}); };
  reads_of(e.w.encode_out, kWidth * kWidth);
  for (const BlockWeights &b : e.w.blocks) {
    reads_of(b.qkv, int64_t(b.key_rows ? 1 : 3) * kWidth * kWidth), reads_of(b.out, kWidth * kWidth);
    reads_of(b.up, kWidth * kInner), reads_of(b.down, kWidth * kInner);
  }
  reads_of(e.w.project, kOutput * kWidth), reads_of(e.w.decode, kOutput * kOutput);
  reads_of(e.w.decode_out, kOutput * kActionDims), reads_of(e.w.encode, kWidth * kActionDims);
  size_t next = 0;
  // A product, and beside it the fetching of what the next one reads.
  const auto multiply_by = [&](Product &p, const half *weight, const half *from, half *to, const half *bias) {
    const auto &[ahead, bytes] = reads[next++ % reads.size()];
    if (fetch_beside(e, ahead, bytes)) return 1;
    return apply(e, p, weight, from, to, bias);
  };
  CUDA_CHECK(cudaStreamBeginCapture(e.stream, cudaStreamCaptureModeThreadLocal));
  const size_t action_bytes = kHorizon * kActionDims * sizeof(float);
  CUDA_CHECK(cudaMemcpyAsync(e.actions, e.start, action_bytes, cudaMemcpyDeviceToDevice, e.stream));
  for (int step = 0; step < e.steps; step++) {
    const float *table = e.w.modulation + size_t(step) * kModulationRows * kWidth;
    auto residual = [&](const half *bias, int row, float eps) {
      const float *gain = row < 0 ? nullptr : table + row * kWidth;
      return Residual{e.x, {e.delta, nullptr, 1, kRows * kWidth}, bias, nullptr, nullptr, e.y, gain, gain ? gain + kWidth : nullptr, eps};
    };
    launch(e, to_half, dim3(kHorizon), kActionDims, 0, e.actions, e.actions16, kHorizon * kActionDims);
    if (multiply_by(*encode, e.w.encode, e.actions16, e.wide, nullptr)) return 1;
    launch(e, silu_shift, dim3(kHorizon), 512, 0, e.wide, table + (2 * kBlocks + 2) * kWidth);
    if (multiply_by(*encode_out, e.w.encode_out, e.wide, e.delta, nullptr)) return 1;
    Residual first = residual(nullptr, 0, kBlockEps);
    first.state = e.w.state, first.rows_bias = e.w.encode_bias;
    launch(e, residual_norm, dim3(kRows), 192, 0, first);
    for (int i = 0; i < kBlocks; i++) {
      const BlockWeights &b = e.w.blocks[i];
      const bool own = b.key_rows == 0;
      if (own) {
        if (multiply_by(*qkv, b.qkv, e.y, e.wide, b.qkv_bias)) return 1;
        launch(e, attention, dim3(kHeads, 4), 256, attention_memory(kRows), Parts{e.wide, nullptr, 1, 0}, nullptr, 3 * kWidth,
               e.wide + kWidth, e.wide + 2 * kWidth, 3 * kWidth, kHeadDim, kRows, false, e.mixed);
      } else {
        if (multiply_by(*query, b.qkv, e.y, e.delta, nullptr)) return 1;
        for (const half *rows : {b.keys, b.values}) fetch_beside(e, rows, b.key_rows * kWidth * 2, false);
        cross(b, parts_of(e, *query, kRows * kWidth));
      }
      const auto add_norm = [&](const Product &p, Residual r) {
        r.added = parts_of(e, p, kRows * kWidth);
        launch(e, residual_norm, dim3(kRows), 192, 0, r);
      };
      if (multiply_by(*out, b.out, e.mixed, e.delta, nullptr)) return 1;
      add_norm(*out, residual(b.out_bias, -1, kBlockEps));
      if (multiply_by(*up, b.up, e.y, e.wide, b.up_bias)) return 1;
      if (multiply_by(*down, b.down, e.wide, e.delta, nullptr)) return 1;
      add_norm(*down, residual(b.down_bias, 2 * (i + 1), i + 1 < kBlocks ? kBlockEps : kOutputEps));
    }
    if (multiply_by(*project, e.w.project, e.y, e.wide, e.w.project_bias)) return 1;
    if (multiply_by(*decode, e.w.decode, e.wide, e.mixed, e.w.decode_bias)) return 1;
    if (multiply_by(*decode_out, e.w.decode_out, e.mixed + kOutput, e.delta, e.w.decode_out_bias)) return 1;
    launch(e, euler, dim3(kHorizon), kActionDims, 0, e.actions, e.delta, e.dt, e.strength);
  }
  if (join_side(e)) return 1;
  cudaGraph_t graph;
  CUDA_CHECK(cudaStreamEndCapture(e.stream, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&e.graph, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  CUDA_CHECK(cudaGetLastError());
  return 0;
}

}  // namespace

// Makes the engine on `stream`; `how`: 1 early launch, 2 weights fetched ahead. Each run reads `start` [50, 128]. Null when it
// cannot be made.
extern "C" void *library_create(const StepWeights *weights, int steps, const float *start, const float *dt, const float *strength,
                                int how, cudaStream_t stream) {
  Engine *e = new Engine;
  e->w = *weights, e->steps = steps, e->start = start, e->dt = dt, e->strength = strength, e->stream = stream;
  e->early = how & 1, e->ahead = how & 2;
  auto room = [&](auto **p, size_t count) { return cudaMalloc(reinterpret_cast<void **>(p), count * sizeof **p) == cudaSuccess; };
  if (cublasLtCreate(&e->lt) || cudaMalloc(&e->workspace, kWorkspace) || !room(&e->actions, kHorizon * kActionDims) ||
      !room(&e->actions16, kHorizon * kActionDims) || !room(&e->x, kRows * kWidth) || !room(&e->y, kRows * kWidth) ||
      !room(&e->wide, kRows * kInner) || !room(&e->mixed, kRows * kWidth) || !room(&e->delta, kMaxParts * kRows * kWidth * 2) ||
      cudaStreamCreateWithFlags(&e->side, cudaStreamNonBlocking) || cudaEventCreateWithFlags(&e->fork, cudaEventDisableTiming))
    return nullptr;
  // Numbers of a usual size for the measuring of algorithms.
  cudaMemcpy(e->wide, weights->blocks[0].up, kRows * kInner * sizeof(half), cudaMemcpyDeviceToDevice);
  return enqueue(*e) ? nullptr : e;
}
extern "C" float *library_actions(void *engine) { return static_cast<Engine *>(engine)->actions; }
extern "C" int library_run(void *engine) {
  Engine *e = static_cast<Engine *>(engine);
  CUDA_CHECK(cudaGraphLaunch(e->graph, e->stream));
  return 0;
}
extern "C" const char *library_report(void *engine) { return static_cast<Engine *>(engine)->report.c_str(); }

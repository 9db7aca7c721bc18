// Design A: products by cuBLASLt (algorithms chosen by measurement), everything between them by a few fused kernels, all
// steps as one CUDA graph.
#include <cublasLt.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "attention.cuh"

namespace {

__device__ inline void await_previous() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

__device__ inline float2 block_sum(float2 v) {  // of 192 threads
  __shared__ float2 parts[6];
  for (int i = 16; i; i /= 2) v.x += __shfl_xor_sync(~0u, v.x, i), v.y += __shfl_xor_sync(~0u, v.y, i);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  v = parts[0];
  for (int i = 1; i < 6; i++) v.x += parts[i].x, v.y += parts[i].y;
  __syncthreads();
  return v;
}

// x += added + bias (or x = added + bias of the row, or the state's row), then y = norm(x) gain + shift. One block a row.
struct Residual {
  float *x;
  const half *added, *bias, *state, *rows_bias;
  half *y;
  const float *gain, *shift;
  float eps;
};

__global__ void __launch_bounds__(192) residual_norm(Residual r) {
  await_previous();
  const int row = blockIdx.x, at = threadIdx.x * 8;
  float v[8];
  auto halves = [&](const half *p, float (&out)[8]) {
    const uint4 raw = *reinterpret_cast<const uint4 *>(p);
    const half2 *h = reinterpret_cast<const half2 *>(&raw);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float2 f = __half22float2(h[i]);
      out[2 * i] = f.x, out[2 * i + 1] = f.y;
    }
  };
  float *x = r.x + row * kWidth + at;
  float added[8], bias[8];
  if (r.state) {
    if (row == 0) {
      halves(r.state + at, v);
    } else {
      halves(r.added + (row - 1) * kWidth + at, added);
      halves(r.rows_bias + (row - 1) * kWidth + at, bias);
#pragma unroll
      for (int i = 0; i < 8; i++) v[i] = added[i] + bias[i];
    }
  } else {
    halves(r.added + row * kWidth + at, added);
    halves(r.bias + at, bias);
    *reinterpret_cast<float4 *>(v) = *reinterpret_cast<const float4 *>(x);
    *reinterpret_cast<float4 *>(v + 4) = *reinterpret_cast<const float4 *>(x + 4);
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] += added[i] + bias[i];
  }
  *reinterpret_cast<float4 *>(x) = *reinterpret_cast<const float4 *>(v);
  *reinterpret_cast<float4 *>(x + 4) = *reinterpret_cast<const float4 *>(v + 4);
  float2 sum = make_float2(0.f, 0.f);
#pragma unroll
  for (int i = 0; i < 8; i++) sum.x += v[i];
  const float mean = block_sum(sum).x / kWidth;
  float2 square = make_float2(0.f, 0.f);
#pragma unroll
  for (int i = 0; i < 8; i++) square.x += (v[i] - mean) * (v[i] - mean);
  const float rate = rsqrtf(block_sum(square).x / kWidth + r.eps);
  uint32_t out[4];
#pragma unroll
  for (int i = 0; i < 8; i++) {
    v[i] = (v[i] - mean) * rate;
    if (r.gain) v[i] = v[i] * r.gain[at + i] + r.shift[at + i];
  }
#pragma unroll
  for (int i = 0; i < 4; i++) out[i] = pack(v[2 * i], v[2 * i + 1]);
  *reinterpret_cast<uint4 *>(r.y + row * kWidth + at) = *reinterpret_cast<uint4 *>(out);
}

// One block for 16 query rows of a head.
__global__ void __launch_bounds__(256) attention(const half *q, int q_stride, const half *k, const half *v, int kv_stride,
                                                 int head_stride, int key_rows, half *out) {
  extern __shared__ __align__(16) char memory[];
  float *merge = reinterpret_cast<float *>(memory);
  half *queries = reinterpret_cast<half *>(merge + kMergeFloats);
  half *keys = queries + 16 * kQueryStride;
  const int padded = (key_rows + 15) / 16 * 16;
  half *values = keys + padded * kHeadDim;
  const int head = blockIdx.x, first = blockIdx.y * 16;
  await_previous();
  const float scale = 1.4426950408889634f / sqrtf(float(kHeadDim));
  for (int i = threadIdx.x; i < 16 * kHeadDim; i += 256) {
    const int row = i / kHeadDim, channel = i % kHeadDim;
    const bool exists = first + row < kRows;
    const float value = exists ? __half2float(q[(first + row) * q_stride + head * kHeadDim + channel]) : 0.f;
    queries[row * kQueryStride + channel] = __float2half(value * scale);
  }
  for (int i = threadIdx.x; i < padded * 6; i += 256) {
    const int row = i / 6, part = i % 6;
    const int64_t from = int64_t(head) * head_stride + int64_t(row) * kv_stride + part * 8;
    const uint4 none = make_uint4(0, 0, 0, 0);
    reinterpret_cast<uint4 *>(keys)[i] = row < key_rows ? *reinterpret_cast<const uint4 *>(k + from) : none;
    reinterpret_cast<uint4 *>(values)[i] = row < key_rows ? *reinterpret_cast<const uint4 *>(v + from) : none;
  }
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

#define LT_CHECK(call)                                                                        \
  do {                                                                                        \
    cublasStatus_t status_ = (call);                                                          \
    if (status_ != CUBLAS_STATUS_SUCCESS) {                                                   \
      fprintf(stderr, "%s:%d: %s: cuBLASLt status %d\n", __FILE__, __LINE__, #call, status_); \
      return 1;                                                                               \
    }                                                                                         \
  } while (0)

constexpr size_t kWorkspace = 64 << 20;
enum Finish { kPlain, kBias, kGelu, kRelu };

struct Product {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
  Finish finish = kPlain;
};

struct Engine {
  StepWeights w;
  int steps = 0;
  bool early = false;  // programmatic dependent launch of our kernels
  const float *start = nullptr, *dt = nullptr, *strength = nullptr;
  float *actions = nullptr, *x = nullptr;
  half *actions16 = nullptr, *y = nullptr, *wide = nullptr, *mixed = nullptr, *delta = nullptr;
  void *workspace = nullptr;
  cublasLtHandle_t lt = nullptr;
  cudaStream_t stream = nullptr;
  cudaGraphExec_t graph = nullptr;
  std::map<std::tuple<int, int, int, int>, Product> products;
  std::string report;
};

int apply(Engine &e, Product &p, const half *weight, const half *from, half *to, const half *bias) {
  const float one = 1.f, zero = 0.f;
  if (p.finish != kPlain)
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

// The product [rows, from] x [to, from]^T; its algorithm is the fastest over `weights` (in turn, so that they come from memory).
int product(Engine &e, int rows, int to, int from, Finish finish, const std::vector<const half *> &weights, const half *bias,
            Product **found) {
  Product &p = e.products[{rows, to, from, finish}];
  *found = &p;
  if (p.operation) return 0;
  p.finish = finish;
  LT_CHECK(cublasLtMatmulDescCreate(&p.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  LT_CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
  const cublasLtEpilogue_t epilogues[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS,
                                          CUBLASLT_EPILOGUE_RELU_BIAS};
  LT_CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogues[finish], sizeof epilogues[0]));
  if (finish != kPlain)
    LT_CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
  LT_CHECK(cublasLtMatrixLayoutCreate(&p.a, CUDA_R_16F, from, to, from));
  LT_CHECK(cublasLtMatrixLayoutCreate(&p.b, CUDA_R_16F, from, rows, from));
  LT_CHECK(cublasLtMatrixLayoutCreate(&p.d, CUDA_R_16F, to, rows, to));
  cublasLtMatmulPreference_t preference;
  LT_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  LT_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace, sizeof kWorkspace));
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(100);
  int count = 0;
  LT_CHECK(cublasLtMatmulAlgoGetHeuristic(e.lt, p.operation, p.a, p.b, p.d, p.d, preference, int(candidates.size()),
                                          candidates.data(), &count));
  float best = 1e30f, first = 0.f;
  int chosen = -1, usable = 0;
  for (int i = 0; i < count; i++) {
    p.algorithm = candidates[i].algo;
    const float ms = time_of(e, [&] {
      for (const half *weight : weights)
        if (apply(e, p, weight, e.wide, e.delta, bias)) return 1;
      return 0;
    });
    if (ms < 0.f) continue;
    usable++;
    if (i == 0) first = ms;
    if (ms < best) best = ms, chosen = i;
  }
  if (chosen < 0) return fprintf(stderr, "no algorithm for %d x %d x %d\n", rows, to, from), 1;
  p.algorithm = candidates[chosen].algo;
  int tile = 0, split = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&p.algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile, sizeof tile, nullptr);
  cublasLtMatmulAlgoConfigGetAttribute(&p.algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split, nullptr);
  char line[256];
  const double each = best * 1e3 / weights.size();
  snprintf(line, sizeof line, "| %d x %d x %d, finish %d | %.2f | %.2f | %.0f | %d of %d (%d usable), tile %d, split %d |\n", rows, to,
           from, finish, each, first * 1e3 / weights.size(), 2e-3 * to * from / each, chosen, count, usable, tile, split);
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
  const BlockWeights &b0 = e.w.blocks[0];
  if (product(e, kRows, 3 * kWidth, kWidth, kBias, stacked, b0.qkv_bias, &qkv) ||
      product(e, kRows, kWidth, kWidth, kBias, single, b0.qkv_bias, &query) ||
      product(e, kRows, kWidth, kWidth, kPlain, outs, nullptr, &out) ||
      product(e, kRows, kInner, kWidth, kGelu, ups, b0.up_bias, &up) ||
      product(e, kRows, kWidth, kInner, kPlain, downs, nullptr, &down) ||
      product(e, kHorizon, kWidth, kActionDims, kPlain, {e.w.encode}, nullptr, &encode) ||
      product(e, kHorizon, kWidth, kWidth, kPlain, {e.w.encode_out}, nullptr, &encode_out) ||
      product(e, kRows, kOutput, kWidth, kBias, {e.w.project}, e.w.project_bias, &project) ||
      product(e, kRows, kOutput, kOutput, kRelu, {e.w.decode}, e.w.decode_bias, &decode) ||
      product(e, kHorizon, kActionDims, kOutput, kBias, {e.w.decode_out}, e.w.decode_out_bias, &decode_out))
    return 1;
  CUDA_CHECK(cudaFuncSetAttribute(attention, cudaFuncAttributeMaxDynamicSharedMemorySize, 160 << 10));
  CUDA_CHECK(cudaStreamBeginCapture(e.stream, cudaStreamCaptureModeThreadLocal));
  const size_t action_bytes = kHorizon * kActionDims * sizeof(float);
  CUDA_CHECK(cudaMemcpyAsync(e.actions, e.start, action_bytes, cudaMemcpyDeviceToDevice, e.stream));
  for (int step = 0; step < e.steps; step++) {
    const float *table = e.w.modulation + size_t(step) * kModulationRows * kWidth;
    auto residual = [&](const half *bias, int row, float eps) {
      const float *gain = row < 0 ? nullptr : table + row * kWidth;
      return Residual{e.x, e.delta, bias, nullptr, nullptr, e.y, gain, gain ? gain + kWidth : nullptr, eps};
    };
    launch(e, to_half, dim3(kHorizon), kActionDims, 0, e.actions, e.actions16, kHorizon * kActionDims);
    if (apply(e, *encode, e.w.encode, e.actions16, e.wide, nullptr)) return 1;
    launch(e, silu_shift, dim3(kHorizon), 512, 0, e.wide, table + (2 * kBlocks + 2) * kWidth);
    if (apply(e, *encode_out, e.w.encode_out, e.wide, e.delta, nullptr)) return 1;
    Residual first = residual(nullptr, 0, kBlockEps);
    first.state = e.w.state, first.rows_bias = e.w.encode_bias;
    launch(e, residual_norm, dim3(kRows), 192, 0, first);
    for (int i = 0; i < kBlocks; i++) {
      const BlockWeights &b = e.w.blocks[i];
      const bool own = b.key_rows == 0;
      if (apply(e, own ? *qkv : *query, b.qkv, e.y, e.wide, b.qkv_bias)) return 1;
      if (own)
        launch(e, attention, dim3(kHeads, 4), 256, attention_memory(kRows), e.wide, 3 * kWidth, e.wide + kWidth,
               e.wide + 2 * kWidth, 3 * kWidth, kHeadDim, kRows, e.mixed);
      else
        launch(e, attention, dim3(kHeads, 4), 256, attention_memory(int(b.key_rows)), e.wide, kWidth, b.keys, b.values, kHeadDim,
               int(b.key_rows) * kHeadDim, int(b.key_rows), e.mixed);
      if (apply(e, *out, b.out, e.mixed, e.delta, nullptr)) return 1;
      launch(e, residual_norm, dim3(kRows), 192, 0, residual(b.out_bias, -1, kBlockEps));
      if (apply(e, *up, b.up, e.y, e.wide, b.up_bias)) return 1;
      if (apply(e, *down, b.down, e.wide, e.delta, nullptr)) return 1;
      launch(e, residual_norm, dim3(kRows), 192, 0, residual(b.down_bias, 2 * (i + 1), i + 1 < kBlocks ? kBlockEps : kOutputEps));
    }
    if (apply(e, *project, e.w.project, e.y, e.wide, e.w.project_bias)) return 1;
    if (apply(e, *decode, e.w.decode, e.wide, e.mixed, e.w.decode_bias)) return 1;
    if (apply(e, *decode_out, e.w.decode_out, e.mixed + kOutput, e.delta, e.w.decode_out_bias)) return 1;
    launch(e, euler, dim3(kHorizon), kActionDims, 0, e.actions, e.delta, e.dt, e.strength);
  }
  cudaGraph_t graph;
  CUDA_CHECK(cudaStreamEndCapture(e.stream, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&e.graph, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  CUDA_CHECK(cudaGetLastError());
  return 0;
}

}  // namespace

// Makes the engine on `stream`; `start` [50, 128] is read by each run. Null when it cannot be made.
extern "C" void *library_create(const StepWeights *weights, int steps, const float *start, const float *dt, const float *strength,
                                int early, cudaStream_t stream) {
  Engine *e = new Engine;
  e->w = *weights, e->steps = steps, e->start = start, e->dt = dt, e->strength = strength, e->early = early, e->stream = stream;
  auto room = [&](auto **p, size_t count) { return cudaMalloc(reinterpret_cast<void **>(p), count * sizeof **p) == cudaSuccess; };
  if (cublasLtCreate(&e->lt) || cudaMalloc(&e->workspace, kWorkspace) || !room(&e->actions, kHorizon * kActionDims) ||
      !room(&e->actions16, kHorizon * kActionDims) || !room(&e->x, kRows * kWidth) || !room(&e->y, kRows * kWidth) ||
      !room(&e->wide, kRows * kInner) || !room(&e->mixed, kRows * kWidth) || !room(&e->delta, kRows * kInner))
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

// GR00T N1.6's step: the dimensions and the weights of one denoising step.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>

constexpr int kWidth = 1536;         // channels of a row
constexpr int kHeads = 32;           // attention heads
constexpr int kHeadDim = 48;         // channels of a head
constexpr int kInner = 6144;         // feed-forward channels
constexpr int kBlocks = 32;          // DiT blocks
constexpr int kRows = 51;            // the state's row and 50 action rows
constexpr int kHorizon = 50;         // action rows
constexpr int kActionDims = 128;     // values of an action row
constexpr int kOutput = 1024;        // channels of the output projection and of the decoder
constexpr int kModulationRows = 2 * kBlocks + 3;
constexpr float kBlockEps = 1e-5f;
constexpr float kOutputEps = 1e-6f;

// Device pointers, row-major; a matrix is [to, from] as nn.Linear keeps it. Half precision, except where said.
struct BlockWeights {
  const half *qkv;      // [3 x 1536, 1536] of self-attention, [1536, 1536] (queries alone) of cross-attention
  const half *qkv_bias;
  const half *out;      // [1536, 1536]
  const half *out_bias;
  const half *up;       // [6144, 1536]
  const half *up_bias;
  const half *down;     // [1536, 6144]
  const half *down_bias;
  const half *keys;     // [32, rows, 48] of cross-attention, else null
  const half *values;
  int64_t key_rows;     // rows of keys and values; 0: self-attention
};

struct StepWeights {
  const half *encode;         // [1536, 128]
  const half *encode_out;     // [1536, 1536]
  const half *encode_bias;    // [50, 1536]: bias and positions
  const half *project;        // [1024, 1536]
  const half *project_bias;
  const half *decode;         // [1024, 1024]
  const half *decode_bias;
  const half *decode_out;     // [128, 1024]
  const half *decode_out_bias;
  const half *state;          // [1536]: the state's row
  const float *modulation;    // [steps, 67, 1536]: gain and shift a block, of the output, and the action encoder's row
  BlockWeights blocks[kBlocks];
};

#define CUDA_CHECK(call)                                                                             \
  do {                                                                                               \
    cudaError_t status_ = (call);                                                                    \
    if (status_ != cudaSuccess) {                                                                    \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status_));    \
      return 1;                                                                                      \
    }                                                                                                \
  } while (0)

__device__ inline float gelu_tanh(float x) {
  // tanh(u) = 1 - 2 / (exp(2u) + 1)
  float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);
  float t = 1.f - 2.f / (__expf(2.f * u) + 1.f);
  return 0.5f * x * (1.f + t);
}
__device__ inline float silu(float x) { return x / (1.f + __expf(-x)); }

// Products of few rows by a weight [to, from], both of 8-bit integers with a scale a row: y = activation(x W^T * scales + bias). Each
// element of the weight is read once.
//
// The outputs are divided among blocks, and the channels among the blocks of a cluster, the warps of a block, and, where the product
// is in parts, among rows of the grid. A block's weights stream through a ring in shared memory; the first of them are on their way
// before the launch before has ended. Sums of warps are added in shared memory, those of a cluster's blocks in the shared memory of
// the block that stores the row. A warp's sums are integers, which are exact; behind them they are in single precision.
#pragma once
#include "quantize.cuh"

constexpr int kPiece = 16;  // channels that are 16 bytes

// A block of out_warps * channel_warps warps has 48 outputs an out warp; a stage of the ring has 64 channels a channel warp.
template <int out_warps, int channel_warps, int row_tiles>
struct ProductShape {
  static constexpr int kThreads = 32 * out_warps * channel_warps;
  static constexpr int kTiles = 3;  // of 16 outputs
  static constexpr int kOutputs = 16 * kTiles * out_warps;
  static constexpr int kDepth = 64 * channel_warps;
  static constexpr int kStage = kOutputs * kDepth;  // bytes
  static constexpr int kRows = 8 * row_tiles;
  static constexpr int kSumStride = kOutputs + 4;                         // floats from row to row of a warp's sums: no bank conflicts
  static constexpr int kLoads = kOutputs * (kDepth / kPiece) / kThreads;  // pieces of a stage that a thread copies
  static_assert(kThreads % (kDepth / kPiece) == 0 && kOutputs * (kDepth / kPiece) % kThreads == 0);
};

template <class Shape>
struct ProductBlock {
  const ProductArguments &a;
  int rank, ranks;  // of the cluster
  int part;
  int first_output, first_channel;
  int steps, stages;
  int8_t *ring;
  float *joined;  // behind it: sums of the cluster's blocks for the rows of this one

  __device__ __forceinline__ explicit ProductBlock(const ProductArguments &a)
      : a(a), rank(cluster_rank()), ranks(cluster_size()), part(blockIdx.z), first_output(blockIdx.y * Shape::kOutputs) {
    const int share = a.from / (a.parts * ranks);
    first_channel = (part * ranks + rank) * share;
    steps = share / Shape::kDepth;
    const int joined_bytes = ranks > 1 ? (Shape::kRows + ranks) * Shape::kOutputs * 4 : 0;
    const int ring_bytes = shared_memory_bytes() - joined_bytes;
    stages = min(ring_bytes / Shape::kStage, steps);
    ring = reinterpret_cast<int8_t *>(shared_memory());
    joined = reinterpret_cast<float *>(shared_memory() + ring_bytes);
  }

  // Where piece `piece` of an output's row is in a stage. Rows of a multiple of 128 bytes begin in the same banks: every second
  // one has its halves of 64 bytes swapped.
  static __device__ __forceinline__ int place(int output, int piece) {
    const int swapped = Shape::kDepth % 128 == 0 ? piece ^ (output & 1) * 4 : piece;
    return output * Shape::kDepth + swapped * kPiece;
  }

  // The weights of a step; none from the last on.
  __device__ __forceinline__ void load(int step) const {
    constexpr int kPieces = Shape::kDepth / kPiece, kApart = Shape::kThreads / kPieces;
    if (step < steps) {
      int8_t *stage = ring + step % stages * Shape::kStage;
      const int piece = threadIdx.x % kPieces, output = threadIdx.x / kPieces;
      const int8_t *from = pointer<const int8_t>(a.weight) + static_cast<int64_t>(first_output + output) * a.from + first_channel +
                           step * Shape::kDepth + piece * kPiece;
#pragma unroll
      for (int i = 0; i < Shape::kLoads; i++) {
        const bool exists = first_output + output + i * kApart < a.to;
        const int8_t *bytes = exists ? from + static_cast<int64_t>(i * kApart) * a.from : pointer<const int8_t>(a.weight);
        copy_async_16(stage + place(output + i * kApart, piece), bytes, exists);
      }
    }
    copy_async_commit();
  }
};

// A warp's sums of 48 outputs for all rows. A lane's bytes of x and of the weights are 16 channels in a row, which the tensor cores
// take in another order: the same one for both.
template <class Shape, int row_tiles>
struct ProductSums {
  int32_t v[Shape::kTiles][row_tiles][4];
  int out_warp, channel_warp;

  __device__ __forceinline__ ProductSums(int out_warp, int channel_warp) : out_warp(out_warp), channel_warp(channel_warp) {
#pragma unroll
    for (int m = 0; m < Shape::kTiles; m++)
#pragma unroll
      for (int n = 0; n < row_tiles; n++) v[m][n][0] = v[m][n][1] = v[m][n][2] = v[m][n][3] = 0;
  }

  // The rows of x, zeros behind the last.
  __device__ __forceinline__ void load(const ProductArguments &a, int channel, uint4 (&x)[row_tiles]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < row_tiles; n++) {
      const int row = 8 * n + lane / 4;
      const int8_t *from = row_of<const int8_t>(a.x, row) + channel + channel_warp * 64 + lane % 4 * kPiece;
      x[n] = row < a.rows ? load_16(from) : make_uint4(0, 0, 0, 0);
    }
  }
  __device__ __forceinline__ void add(const int8_t *stage, const uint4 (&x)[row_tiles]) {
    const int lane = threadIdx.x % 32, piece = channel_warp * 4 + lane % 4;
#pragma unroll
    for (int m = 0; m < Shape::kTiles; m++) {
      const int output = (out_warp * Shape::kTiles + m) * 16 + lane / 4;
      const uint4 low = load_16(stage + ProductBlock<Shape>::place(output, piece));
      const uint4 high = load_16(stage + ProductBlock<Shape>::place(output + 8, piece));
      const uint32_t first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
      for (int n = 0; n < row_tiles; n++) multiply_bytes(v[m][n], first, x[n].x, x[n].y);
#pragma unroll
      for (int n = 0; n < row_tiles; n++) multiply_bytes(v[m][n], second, x[n].z, x[n].w);
    }
  }
  __device__ __forceinline__ void store(float *sums) const {
    const int lane = threadIdx.x % 32;
    sums += channel_warp * Shape::kRows * Shape::kSumStride + out_warp * Shape::kTiles * 16 + lane / 4;
#pragma unroll
    for (int m = 0; m < Shape::kTiles; m++)
#pragma unroll
      for (int n = 0; n < row_tiles; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) sums[(8 * n + lane % 4 * 2 + i % 2) * Shape::kSumStride + m * 16 + i / 2 * 8] = static_cast<float>(v[m][n][i]);
  }
};

// Eight outputs of a row from their sums.
template <class T>
__device__ __forceinline__ void finish_product(const ProductArguments &a, int part, int row, int output, float (&v)[kChunk]) {
  if (output >= a.to) return;
  const int64_t at = part * a.apart + row * a.y.stride + output;
  scale_chunk(pointer<const float>(a.row_scales)[row], a.channel_scales, output, v);
  if (a.bias) add_chunk(pointer<const T>(a.bias) + output, true, v);
  activate<T>(v, a.activation);
  if (a.single)
    store_chunk(pointer<float>(a.y.address) + at, v);
  else
    store_chunk(pointer<T>(a.y.address) + at, v);
}

// Adds the sums of `count` holders, `apart` floats from one to the next.
__device__ __forceinline__ void add_sums(const float *from, int count, int apart, float (&v)[kChunk]) {
  for (int i = 0; i < count; i++) add_chunk(from + i * apart, true, v);
}

// With results T.
template <class T, int out_warps, int channel_warps, int row_tiles>
__device__ __forceinline__ void product(const ProductArguments &a) {
  using Shape = ProductShape<out_warps, channel_warps, row_tiles>;
  const ProductBlock<Shape> block(a);
  const int warp = threadIdx.x / 32;
  ProductSums<Shape, row_tiles> sums(warp % out_warps, warp / out_warps);
  if (block.ranks > 1) cluster_arrive();
#pragma unroll 1
  for (int step = 0; step < block.stages; step++) block.load(step);
  wait_for_launch_before();

  uint4 x[row_tiles], next[row_tiles];
  sums.load(a, block.first_channel, next);
#pragma unroll 1
  for (int step = 0; step < block.steps; step++) {
#pragma unroll
    for (int n = 0; n < row_tiles; n++) x[n] = next[n];
    if (step + 1 < block.steps) sums.load(a, block.first_channel + (step + 1) * Shape::kDepth, next);
    copy_async_wait_for_all_but(block.stages - 1);
    __syncthreads();
    sums.add(block.ring + step % block.stages * Shape::kStage, x);
    if (block.stages < block.steps) __syncthreads();
    block.load(step + block.stages);
  }

  constexpr int kGroups = Shape::kOutputs / kChunk, kApart = Shape::kRows * Shape::kSumStride;
  float *own = reinterpret_cast<float *>(block.ring);
  __syncthreads();
  sums.store(own);
  __syncthreads();
  if (block.ranks > 1) cluster_wait();  // the others have begun, so that their memory is there
#pragma unroll 1
  for (int i = threadIdx.x; i < a.rows * kGroups; i += Shape::kThreads) {
    const int row = i / kGroups, output = i % kGroups * kChunk;
    float v[kChunk] = {};
    add_sums(own + row * Shape::kSumStride + output, channel_warps, kApart, v);
    if (block.ranks == 1) {
      finish_product<T>(a, block.part, row, block.first_output + output, v);
    } else {
      const int place = ((row / block.ranks) * block.ranks + block.rank) * Shape::kOutputs + output;
      store_in_cluster(block.joined + place, row % block.ranks, v);
    }
  }
  if (block.ranks == 1) return;
  cluster_arrive();
  cluster_wait();
#pragma unroll 1
  for (int i = threadIdx.x; i < (a.rows - block.rank + block.ranks - 1) / block.ranks * kGroups; i += Shape::kThreads) {
    const int turn = i / kGroups, output = i % kGroups * kChunk;
    float v[kChunk] = {};
    add_sums(block.joined + turn * block.ranks * Shape::kOutputs + output, block.ranks, Shape::kOutputs, v);
    finish_product<T>(a, block.part, turn * block.ranks + block.rank, block.first_output + output, v);
  }
}

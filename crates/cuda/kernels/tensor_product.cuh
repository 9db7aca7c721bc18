// Products of few rows by a weight [to, from], in 16 bits: y = activation(x W^T + bias), on Hopper. Each element of the weight is read
// once. The weight may lie in tiles, so that what a block reads at a time is in one place: those of the first block's outputs, 64 channels
// each, then those of the next block's.
//
// The outputs are divided among blocks, and the channels among the blocks of a cluster and, where the product is in parts, among rows
// of the grid. One warp copies tiles of the weight and of x by the tensor memory accelerator into a ring in shared memory; four others
// multiply them. The first weights are on their way before the launch before has ended, the rows of x behind it. Sums stay in registers;
// those of a cluster's blocks meet in the shared memory of the block that stores the row.
#pragma once
#include "pointwise.cuh"

constexpr int kTensorDepth = 64;      // channels of a stage: 128 bytes, the width of a swizzled tile
constexpr int kTensorThreads = 160;   // four warps that multiply, one that copies
constexpr int kTensorWarps = 4;

// What multiplications read a tile by: in shared memory, at a multiple of 1024 bytes, rows of 128 bytes with their pieces of 16 swizzled.
// 2 more is 32 bytes further in each row.
__device__ __forceinline__ uint64_t tile_descriptor(const void *tile) {
  constexpr uint64_t kRowGroup = 1024 / 16, kSwizzle128 = 1;
  return (shared_address(tile) & 0x3ffff) / 16 | 1ull << 16 | kRowGroup << 32 | kSwizzle128 << 62;
}

// A block's shared memory, from its beginning: the ring, the sums of the cluster's other blocks, the biases, the barriers.
#if defined(VLA_CUDA_EMULATOR) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
template <int outputs>
struct TensorRing {
  static constexpr int kWeights = outputs * 128;  // bytes of a stage
  static_assert(outputs % 8 == 0 && 2 * 1024 + kWeights >= 64 * 128, "64 rows from the first of x on lie within a stage");
  static constexpr int kSums = outputs / 2;       // of a thread
  const MappedTensorProduct &mapped;
  const TensorProductArguments &a;
  int rank, ranks;  // of the cluster
  int first_output, first_channel, steps, stages, x_bytes;
  unsigned char *joined;
  float *bias;
  Barrier *full, *empty;  // of each stage

  __device__ __forceinline__ explicit TensorRing(const MappedTensorProduct &mapped)
      : mapped(mapped), a(mapped.arguments), rank(cluster_rank()), ranks(cluster_size()), first_output(blockIdx.y * outputs) {
    const int share = a.from / (a.parts * ranks);
    first_channel = (blockIdx.z * ranks + rank) * share;
    steps = share / kTensorDepth;
    x_bytes = max((a.rows + 7) / 8, 2) * 1024;
    const int joined_bytes = (ranks - 1) * (kTensorWarps / ranks) * 32 * kSums * 4, bias_bytes = outputs * 4;
    stages = min((shared_memory_bytes() - joined_bytes - bias_bytes) / (stage_bytes() + 2 * static_cast<int>(sizeof(Barrier))), steps);
    joined = shared_memory() + stages * stage_bytes();
    bias = reinterpret_cast<float *>(joined + joined_bytes);
    full = reinterpret_cast<Barrier *>(bias + outputs);
    empty = full + stages;
  }
  __device__ __forceinline__ int stage_bytes() const { return x_bytes + kWeights; }
  // The rows of x, then the outputs' weights: 128 bytes each. The tensor cores read 64 rows, of which those behind x_bytes are none of x
  // and give sums that are not stored.
  __device__ __forceinline__ unsigned char *x(int stage) const { return shared_memory() + stage * stage_bytes(); }
  __device__ __forceinline__ unsigned char *weights(int stage) const { return x(stage) + x_bytes; }

  __device__ __forceinline__ void copy_weights(int step, int stage) const {
    expect_bytes(full + stage, stage_bytes());
    const int channel = first_channel + step * kTensorDepth;
    // Of a weight in tiles: the rows of all tiles before.
    const int tile = first_output * (a.from / kTensorDepth) + channel / kTensorDepth * min(outputs, a.to - first_output);
    copy_tile(weights(stage), mapped.weight_map, a.tiled ? 0 : channel, a.tiled ? tile : first_output, full + stage);
  }
  __device__ __forceinline__ void copy_x(int step, int stage) const {
    copy_tile(x(stage), mapped.x_map, first_channel + step * kTensorDepth, 0, full + stage);
  }
  // By one thread.
  __device__ __forceinline__ void copy() const {
    const int ahead = min(stages, steps);
#pragma unroll 1
    for (int step = 0; step < ahead; step++) copy_weights(step, step);
    wait_for_launch_before();
#pragma unroll 1
    for (int step = 0; step < ahead; step++) copy_x(step, step);
    int stage = 0, turn = 0;
#pragma unroll 1
    for (int step = ahead; step < steps; step++) {
      wait_for_phase(empty + stage, turn & 1);
      copy_weights(step, stage);
      copy_x(step, stage);
      if (++stage == stages) stage = 0, turn++;
    }
  }
  // By four warps.
  template <class T>
  __device__ __forceinline__ void multiply(float (&sums)[kSums]) const {
    int stage = 0, turn = 0, before = 0;
    wait_for_phase(full, 0);  // x is there, so the launch before has ended, which may have made the biases
    const int output = first_output + threadIdx.x;
    const bool is_biased = a.bias && static_cast<int>(threadIdx.x) < outputs && output < a.to;
    const float mine = is_biased ? to_float(pointer<const T>(a.bias)[output]) : 0.f;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
      wait_for_phase(full + stage, turn & 1);
      const uint64_t rows = tile_descriptor(x(stage)), columns = tile_descriptor(weights(stage));
      multiply_fence();
#pragma unroll
      for (int k = 0; k < kTensorDepth / 16; k++)
        multiply_tiles<T, outputs>(sums, rows + 2 * k, columns + 2 * k, step > 0 || k > 0);
      multiply_commit();
      multiply_wait<1>();
      if (step > 0 && threadIdx.x % 32 == 0) arrive(empty + before);
      before = stage;
      if (++stage == stages) stage = 0, turn++;
    }
    multiply_wait<0>();
    keep_behind(sums);
    if (static_cast<int>(threadIdx.x) < outputs) bias[threadIdx.x] = mine;
  }
  // The sums of 16 rows that warp `warp` of block `from` has for the block that stores them, for the lane of the calling thread.
  __device__ __forceinline__ float *place(int from, int to, int warp) const {
    const int other = from < to ? from : from - 1, warps = kTensorWarps / ranks;
    return reinterpret_cast<float *>(joined) + ((other * warps + warp % warps) * kSums * 32) + threadIdx.x % 32 * 4;
  }
  // Adds up the sums of the cluster's blocks: each ends with those of a share of the rows. Whether this warp has some.
  __device__ __forceinline__ bool join(float (&sums)[kSums]) const {
    const int warp = threadIdx.x / 32;
    const bool multiplies = warp < kTensorWarps;
    const int holder = warp * ranks / kTensorWarps;
    if (ranks == 1) return multiplies;
    cluster_wait();  // the others have begun, so that their memory is there
    if (multiplies && holder != rank) {
      float *to = place(rank, holder, warp);
#pragma unroll
      for (int i = 0; i < kSums; i += 4) {
        const float four[4] = {sums[i], sums[i + 1], sums[i + 2], sums[i + 3]};
        store_in_cluster(to + i * 32, holder, four);
      }
    }
    cluster_arrive();
    cluster_wait();
    if (!multiplies || holder != rank) return false;
#pragma unroll 1
    for (int other = 0; other < ranks; other++) {
      if (other == rank) continue;
      const float *from = place(other, rank, warp);
#pragma unroll
      for (int i = 0; i < kSums; i += 4) {
        const uint4 four = load_16(from + i * 32);
        float v[4];
        memcpy(v, &four, 16);
#pragma unroll
        for (int e = 0; e < 4; e++) sums[i + e] += v[e];
      }
    }
    return true;
  }
  // A thread has two neighbouring outputs of every eight, of two rows.
  template <class T, int activation>
  __device__ __forceinline__ void store_as(const float (&sums)[kSums]) const {
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
    const int64_t part = blockIdx.z * a.apart;
#pragma unroll
    for (int i = 0; i < kSums; i += 2) {
      const int column = i / 4 * 8 + lane % 4 * 2, output = first_output + column, at = row + i / 2 % 2 * 8;
      if (at >= a.rows || output >= a.to) continue;
      float v[2] = {sums[i] + bias[column], sums[i + 1] + bias[column + 1]};
      activate_as<T, activation>(v);
      const int64_t place = part + at * a.y.stride + output;
      if (a.single)
        store_8(pointer<float>(a.y.address) + place, make_float2(v[0], v[1]));
      else
        store_4(pointer<T>(a.y.address) + place, pack<T>(v[0], v[1]));
    }
  }
  // Activations are those of `Epilogue`.
  template <class T>
  __device__ __forceinline__ void store(const float (&sums)[kSums]) const {
    switch (a.activation) {
      case 1: return store_as<T, 1>(sums);
      case 3: return store_as<T, 3>(sums);
      default: return store_as<T, 0>(sums);
    }
  }
};

// With results T.
template <class T, int outputs>
__device__ __forceinline__ void tensor_product(const MappedTensorProduct &a) {
  const TensorRing<outputs> ring(a);
  if (threadIdx.x == 0) {
#pragma unroll 1
    for (int stage = 0; stage < ring.stages; stage++) {
      begin_barrier(ring.full + stage, 1);
      begin_barrier(ring.empty + stage, kTensorWarps);
    }
    barriers_have_begun();
  }
  __syncthreads();
  if (ring.ranks > 1) cluster_arrive();

  float sums[TensorRing<outputs>::kSums];
  if (threadIdx.x / 32 == kTensorWarps) {
    if (threadIdx.x % 32 == 0) ring.copy();
    __syncwarp();
  } else {
    ring.template multiply<T>(sums);
  }
  __syncthreads();  // the biases are there
  if (ring.join(sums)) ring.template store<T>(sums);
}
#endif

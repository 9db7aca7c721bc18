// CUDA C++ on the CPU: what kernels/platform.h needs. A block's threads are fibers that run one at a time, in random order, from
// one wait to the next, so a thread that reads what another has not yet written reads poison. See emulator.cpp.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include "arguments.h"
#include "halves.h"

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct float2 {
  float x, y;
};
struct uint4 {
  uint32_t x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

namespace emulator {

struct Index {
  unsigned x, y, z;
};
// Of the fiber that runs.
extern thread_local Index thread_index, block_index, block_size, grid_size;

constexpr int kLanes = 32;
// What the lanes of a warp give to a collective, and where its results go.
struct Lanes {
  const void *in[kLanes];
  void *out[kLanes];
};
// Ends the emulation with an error.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void wait_for_block();
void wait_for_launch_before();
// Waits until all lanes of the warp have come to the same operation; the last one computes all results.
void collective(const char *operation, const void *in, void *out, void (*compute)(const Lanes &));
unsigned char *shared_memory();
unsigned shared_memory_bytes();
int cluster_rank();
int cluster_size();
void cluster_arrive();
void cluster_wait();
// Where `place` in the shared memory of the fiber's block is in that of block `rank`.
void *in_cluster(void *place, int rank);
// Where `place` is from the beginning of the block's shared memory.
uint32_t shared_offset(const void *place);
void begin_barrier(uint64_t *barrier, int arrivals);
// Has the phase wait for so many bytes, and arrives.
void arrive(uint64_t *barrier, int bytes);
void wait_for_phase(uint64_t *barrier, int parity);
// Copies a tile some time later, in any order.
void copy_tile(void *to, const TensorMap &map, int column, int row, uint64_t *barrier);
// The element of a tile in the block's shared memory that is read by this descriptor.
const void *tile_element(uint64_t descriptor, int row, int column);
void copy_async(void *to, const void *from, size_t bytes);
void copy_async_commit();
void copy_async_wait(int pending);

inline const void *aligned(const void *p, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(p) % bytes) fail("address %p is not a multiple of %zu", p, bytes);
  return p;
}

// A kernel by its name, with arguments by their address.
struct Kernel {
  const char *name;
  size_t arguments;
  int threads;  // at most
  void (*run)(const void *arguments);
  const Kernel *next;
  static const Kernel *first;
  Kernel(const char *name, size_t arguments, int threads, void (*run)(const void *));
};

}  // namespace emulator

#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size

#define KERNEL(name, Arguments, threads, body)                                                        \
  static void run_##name(const void *arguments) { body(*static_cast<const Arguments *>(arguments)); } \
  static const emulator::Kernel kernel_##name(#name, sizeof(Arguments), threads, run_##name);
#define KERNEL_RESIDENT(name, Arguments, threads, blocks, body) KERNEL(name, Arguments, threads, body)

inline unsigned char *shared_memory() { return emulator::shared_memory(); }
inline int shared_memory_bytes() { return static_cast<int>(emulator::shared_memory_bytes()); }
inline int cluster_rank() { return emulator::cluster_rank(); }
inline int cluster_size() { return emulator::cluster_size(); }
inline void cluster_arrive() { emulator::cluster_arrive(); }
inline void cluster_wait() { emulator::cluster_wait(); }
template <int n>
inline void store_in_cluster(float *place, int rank, const float (&v)[n]) {
  std::memcpy(emulator::in_cluster(place, rank), v, sizeof v);
}
inline void start_launch_behind() {}
inline void wait_for_launch_before() { emulator::wait_for_launch_before(); }
inline void __syncthreads() { emulator::wait_for_block(); }
inline void __syncwarp() {
  int none = 0;
  emulator::collective("syncwarp", &none, &none, [](const emulator::Lanes &) {});
}

struct Shuffle {
  float value;
  int lane;
};
inline void shuffle(const emulator::Lanes &lanes) {
  float results[emulator::kLanes];
  for (int i = 0; i < emulator::kLanes; i++) {
    const int from = static_cast<const Shuffle *>(lanes.in[i])->lane;
    results[i] = static_cast<const Shuffle *>(lanes.in[from % emulator::kLanes])->value;
  }
  for (int i = 0; i < emulator::kLanes; i++) *static_cast<float *>(lanes.out[i]) = results[i];
}
inline float __shfl_sync(unsigned, float value, int lane) {
  const Shuffle in = {value, lane};
  float out;
  emulator::collective("shfl", &in, &out, shuffle);
  return out;
}
inline float __shfl_xor_sync(unsigned mask, float value, int distance) {
  return __shfl_sync(mask, value, static_cast<int>(threadIdx.x % emulator::kLanes) ^ distance);
}

inline uint4 load_16(const void *p) {
  uint4 v;
  std::memcpy(&v, emulator::aligned(p, 16), 16);
  return v;
}
inline void store_16(void *p, uint4 v) { std::memcpy(const_cast<void *>(emulator::aligned(p, 16)), &v, 16); }
inline void store_8(void *p, float2 v) { std::memcpy(const_cast<void *>(emulator::aligned(p, 8)), &v, 8); }
inline uint32_t load_4(const void *p) {
  uint32_t v;
  std::memcpy(&v, emulator::aligned(p, 4), 4);
  return v;
}
inline void store_4(void *p, uint32_t v) { std::memcpy(const_cast<void *>(emulator::aligned(p, 4)), &v, 4); }

inline void copy_async_16(void *to, const void *from, bool exists) {
  emulator::aligned(from, 16);
  emulator::copy_async(const_cast<void *>(emulator::aligned(to, 16)), exists ? from : nullptr, 16);
}
inline void copy_async_commit() { emulator::copy_async_commit(); }
template <int pending>
inline void copy_async_wait() {
  emulator::copy_async_wait(pending);
}
inline void copy_async_wait_for_all_but(int pending) { emulator::copy_async_wait(pending); }

// ldmatrix.x4: row j of matrix i is at lane 8 i + j's address. Register i of a lane has elements 2 (lane % 4) and the next of row
// lane / 4; transposed: of column lane / 4.
template <bool transposed>
inline void load_matrices_of(const emulator::Lanes &lanes) {
  for (int lane = 0; lane < emulator::kLanes; lane++)
    for (int i = 0; i < 4; i++) {
      uint16_t pair[2];
      for (int e = 0; e < 2; e++) {
        const int near = lane / 4, far = lane % 4 * 2 + e, row = transposed ? far : near, column = transposed ? near : far;
        const char *from = *static_cast<const char *const *>(lanes.in[8 * i + row]);
        std::memcpy(&pair[e], from + 2 * column, 2);
      }
      std::memcpy(static_cast<uint32_t *>(lanes.out[lane]) + i, pair, 4);
    }
}
inline void load_matrices(uint32_t (&r)[4], const void *p) {
  emulator::aligned(p, 16);
  emulator::collective("ldmatrix", &p, r, load_matrices_of<false>);
}
inline void load_matrices_transposed(uint32_t (&r)[4], const void *p) {
  emulator::aligned(p, 16);
  emulator::collective("ldmatrix.trans", &p, r, load_matrices_of<true>);
}

// mma.m16n8k16, with g = lane / 4 and t = lane % 4. Words of a: (row g, columns 2 t and next), (g + 8, 2 t), (g, 2 t + 8),
// (g + 8, 2 t + 8); of b: (rows 2 t and next, column g), (2 t + 8, g); c: (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
struct MultiplyIn {
  uint32_t a[4], b[2];
};
inline float to_single(__half x) { return __half2float(x); }
inline float to_single(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T>
inline void multiply_of(const emulator::Lanes &lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < emulator::kLanes; lane++) {
    const MultiplyIn &in = *static_cast<const MultiplyIn *>(lanes.in[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int e = 0; e < 2; e++) {
      const auto element = [e](uint32_t word) { return to_single(T{static_cast<uint16_t>(word >> 16 * e)}); };
      for (int i = 0; i < 4; i++) a[g + i % 2 * 8][2 * t + i / 2 * 8 + e] = element(in.a[i]);
      for (int i = 0; i < 2; i++) b[2 * t + i * 8 + e][g] = element(in.b[i]);
    }
  }
  for (int lane = 0; lane < emulator::kLanes; lane++)
    for (int i = 0; i < 4; i++) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = 0.f;
      for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
      static_cast<float *>(lanes.out[lane])[i] += sum;
    }
}
template <class T>
inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const MultiplyIn in = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  emulator::collective("mma", &in, c, multiply_of<T>);
}

// mma.m16n8k32 of signed bytes. Words of a: (row g, columns 4 t to 4 t + 3), (g + 8, 4 t), (g, 4 t + 16), (g + 8, 4 t + 16); of b:
// (rows 4 t to 4 t + 3, column g), (4 t + 16, g); c as above.
inline void multiply_bytes_of(const emulator::Lanes &lanes) {
  int32_t a[16][32], b[32][8];
  for (int lane = 0; lane < emulator::kLanes; lane++) {
    const MultiplyIn &in = *static_cast<const MultiplyIn *>(lanes.in[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int e = 0; e < 4; e++) {
      const auto element = [e](uint32_t word) { return static_cast<int32_t>(static_cast<int8_t>(word >> 8 * e)); };
      for (int i = 0; i < 4; i++) a[g + i % 2 * 8][4 * t + i / 2 * 16 + e] = element(in.a[i]);
      for (int i = 0; i < 2; i++) b[4 * t + i * 16 + e][g] = element(in.b[i]);
    }
  }
  for (int lane = 0; lane < emulator::kLanes; lane++)
    for (int i = 0; i < 4; i++) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      int32_t sum = 0;
      for (int k = 0; k < 32; k++) sum += a[row][k] * b[k][column];
      static_cast<int32_t *>(lanes.out[lane])[i] += sum;
    }
}
inline void multiply_bytes(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const MultiplyIn in = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  emulator::collective("mma.s8", &in, c, multiply_bytes_of);
}
inline uint32_t shared_address(const void *p) { return emulator::shared_offset(p); }
inline void begin_barrier(uint64_t *barrier, int arrivals) { emulator::begin_barrier(barrier, arrivals); }
inline void barriers_have_begun() {}
inline void arrive(uint64_t *barrier) { emulator::arrive(barrier, 0); }
inline void expect_bytes(uint64_t *barrier, int bytes) { emulator::arrive(barrier, bytes); }
inline void wait_for_phase(uint64_t *barrier, int parity) { emulator::wait_for_phase(barrier, parity); }
inline void copy_tile(void *to, const TensorMap &map, int column, int row, uint64_t *barrier) { emulator::copy_tile(to, map, column, row, barrier); }

// wgmma.m64nNk16 of two tiles in shared memory, done when it is issued. All lanes of a warp take part. A thread's sums: of every eight
// columns 2 (lane % 4) and the next, of rows 16 warp + lane / 4 and eight further.
inline void multiply_fence() { __syncwarp(); }
inline void multiply_commit() {}
template <int pending>
inline void multiply_wait() {
  __syncwarp();
}
template <int n>
inline void keep_behind(float (&)[n]) {}
template <class T, int n>
inline void multiply_tiles(float (&c)[n / 2], uint64_t a, uint64_t b, bool add) {
  const auto element = [](uint64_t tile, int row, int column) {
    T value;
    std::memcpy(&value, emulator::tile_element(tile, row, column), 2);
    return to_single(value);
  };
  const int lane = threadIdx.x % emulator::kLanes, first = threadIdx.x / emulator::kLanes % 4 * 16 + lane / 4;
  for (int i = 0; i < n / 2; i++) {
    const int row = first + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    float sum = 0.f;
    for (int k = 0; k < 16; k++) sum += element(a, row, k) * element(b, column, k);
    c[i] = add ? c[i] + sum : sum;
  }
}
inline int32_t to_nearest(float x) { return x == x ? static_cast<int32_t>(nearbyintf(x)) : 0; }

// `volatile`: a compiler may fuse a product and a sum.
inline float multiply_once(float a, float b) {
  const volatile float product = a * b;
  return product;
}
inline float add_once(float a, float b) {
  const volatile float sum = a + b;
  return sum;
}

template <class T>
uint32_t pack(float low, float high);
template <>
inline uint32_t pack<__half>(float low, float high) {
  return __float2half_rn(low).bits | static_cast<uint32_t>(__float2half_rn(high).bits) << 16;
}
template <>
inline uint32_t pack<__nv_bfloat16>(float low, float high) {
  return __float2bfloat16_rn(low).bits | static_cast<uint32_t>(__float2bfloat16_rn(high).bits) << 16;
}

inline float fast_exp2(float x) { return exp2f(x); }
inline float fast_divide(float a, float b) { return a / b; }
inline float fast_rsqrt(float x) { return 1.f / sqrtf(x); }
inline float fast_exp(float x) { return expf(x); }
template <class A>
inline A min(A a, A b) {
  return b < a ? b : a;
}
template <class A>
inline A max(A a, A b) {
  return a < b ? b : a;
}

// What the kernels use that C++ does not have. On the GPU: CUDA and inline PTX. On the CPU: crates/cuda/emulator, which has the
// same functions with the semantics of the PTX ISA documentation.
#pragma once
#include <stdint.h>
#include "arguments.h"

typedef uint64_t Barrier;  // in shared memory

#ifdef VLA_CUDA_EMULATOR
#include "emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// The kernel's dynamic shared memory.
extern __shared__ __align__(1024) unsigned char dynamic_shared[];
__device__ __forceinline__ unsigned char *shared_memory() { return dynamic_shared; }

// Lets the launch behind this one start, if it was launched as a programmatic dependent, once all blocks have come here or ended.
__device__ __forceinline__ void start_launch_behind() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
// Waits until the launch before has ended and its writes are visible, where this kernel was launched as its programmatic
// dependent; then lets the launch behind this one start. Everything that the launch before may have written is read after it, and
// nothing is written before it.
__device__ __forceinline__ void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  start_launch_behind();
}

// Bytes of the block's dynamic shared memory.
__device__ __forceinline__ int shared_memory_bytes() {
  int bytes;
  asm("mov.u32 %0, %dynamic_smem_size;" : "=r"(bytes));
  return bytes;
}

__device__ __forceinline__ uint4 load_16(const void *p) { return *static_cast<const uint4 *>(p); }
__device__ __forceinline__ void store_16(void *p, uint4 v) { *static_cast<uint4 *>(p) = v; }
__device__ __forceinline__ void store_8(void *p, float2 v) { *static_cast<float2 *>(p) = v; }
__device__ __forceinline__ uint32_t load_4(const void *p) { return *static_cast<const uint32_t *>(p); }
__device__ __forceinline__ void store_4(void *p, uint32_t v) { *static_cast<uint32_t *>(p) = v; }

__device__ __forceinline__ uint32_t shared_address(const void *p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// 16 bytes to shared memory, or zeros unless `exists`, where nothing is read; complete after commit and wait.
__device__ __forceinline__ void copy_async_16(void *to, const void *from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(exists ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all groups but the newest `pending`.
template <int pending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
// The same for a number that is known at run time; for more than the newest seven is for seven.
__device__ __forceinline__ void copy_async_wait_for_all_but(int pending) {
  switch (pending) {
    case 0: return copy_async_wait<0>();
    case 1: return copy_async_wait<1>();
    case 2: return copy_async_wait<2>();
    case 3: return copy_async_wait<3>();
    case 4: return copy_async_wait<4>();
    case 5: return copy_async_wait<5>();
    case 6: return copy_async_wait<6>();
    default: return copy_async_wait<7>();
  }
}

// Blocks of a cluster, which run at the same time; of one block before compute capability 9.0.
#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ int cluster_rank() {
  int rank;
  asm("mov.u32 %0, %cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ int cluster_size() {
  int size;
  asm("mov.u32 %0, %cluster_nctarank;" : "=r"(size));
  return size;
}
// All threads of all blocks arrive, then wait for each other; what they wrote to shared memory before is visible behind.
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// Stores v where `place` is in the shared memory of block `rank`.
template <int n>
__device__ __forceinline__ void store_in_cluster(float *place, int rank, const float (&v)[n]) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(place)), "r"(rank));
#pragma unroll
  for (int i = 0; i < n; i += 4)
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1,%2,%3,%4};" ::"r"(address + 4 * i), "f"(v[i]), "f"(v[i + 1]), "f"(v[i + 2]), "f"(v[i + 3]) : "memory");
}
#else
__device__ __forceinline__ int cluster_rank() { return 0; }
__device__ __forceinline__ int cluster_size() { return 1; }
__device__ __forceinline__ void cluster_arrive() {}
__device__ __forceinline__ void cluster_wait() {}
template <int n>
__device__ __forceinline__ void store_in_cluster(float *, int, const float (&)[n]) {}
#endif

// Four 8x8 matrices of 16-bit elements; lane 8 i + j has the address of row j of matrix i.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}

// c += a b: a 16x16, b 16x8, c 16x8 in single precision.
template <class T>
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void multiply<__half>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same for signed bytes, with exact sums: a 16x32, b 32x8, c 16x8. Four bytes a word.
__device__ __forceinline__ void multiply_bytes(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The nearest integer, the even one of two; 0 for NaN.
__device__ __forceinline__ int32_t to_nearest(float x) { return __float2int_rn(x); }

// A product and a sum that are never fused.
__device__ __forceinline__ float multiply_once(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add_once(float a, float b) { return __fadd_rn(a, b); }

// Two elements in a word, the first in the low half.
template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
  const __half2 h = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t *>(&h);
}
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t *>(&h);
}

// 2^x with a relative error of 2^-22; 0 for -infinity.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Quotient and 1 / sqrt(x) with a relative error of 2^-22, without the calls that exact ones compile to.
__device__ __forceinline__ float fast_divide(float a, float b) { return __fdividef(a, b); }
__device__ __forceinline__ float fast_rsqrt(float x) { return rsqrtf(x); }
// e^x; its relative error grows with |x|, to 2^-18 at 30.
__device__ __forceinline__ float fast_exp(float x) { return __expf(x); }
#include "hopper.h"
#endif

// Barriers and copies of the persistent kernel: mbarriers, bulk copies, barriers of a group and of the grid. sm_90.
#pragma once
#include <cstdint>

#include "attention.cuh"

constexpr int kWorkers = 256;            // threads that compute; one more warp copies
constexpr int kGroup = 4;                // blocks of a group: each takes a quarter of a product's sum
constexpr uint64_t kGiveUp = 2000000000;  // nanoseconds after which a wait ends the kernel: a fault

// Ends the kernel when a wait takes too long.
struct Patience {
  uint32_t polls = 0;
  uint64_t since = 0;
  __device__ void poll() {
    if (++polls % 256 != 0) return;
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    if (!since) since = now;
    if (now - since > kGiveUp) __trap();
  }
};

__device__ inline void worker_barrier() { asm volatile("bar.sync 1, %0;" ::"n"(kWorkers) : "memory"); }

__device__ inline void barrier_init(uint64_t *barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
__device__ inline void barrier_expect(uint64_t *barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
__device__ inline void barrier_arrive(uint64_t *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ inline void barrier_wait(uint64_t *barrier, uint32_t parity) {
  uint32_t done = 0;
  for (Patience patience; !done; patience.poll()) {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done) : "r"(shared_address(barrier)), "r"(parity) : "memory");
  }
}
// Barrier of the workers of all blocks that use `count`: `grid_arrive`, other work, `grid_wait` until `count` is `wanted`.
__device__ inline void grid_arrive(unsigned *count) {
  worker_barrier();
  if (threadIdx.x == 0) {
    __threadfence();
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
  }
}
__device__ inline void grid_wait(unsigned *count, unsigned wanted) {
  if (threadIdx.x == 0) {
    unsigned seen = 0;
    for (Patience patience; seen < wanted; patience.poll())
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(count) : "memory");
  }
  worker_barrier();
}

__device__ inline uint64_t read_once_policy() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ inline void copy_once(void *to, const void *from, uint32_t bytes, uint64_t *barrier, uint64_t policy) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
                   shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(policy) : "memory");
}
__device__ inline void copy_shared(void *to, const void *from, uint32_t bytes, uint64_t *barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(barrier)) : "memory");
}

// Barriers and copies of the persistent kernel: mbarriers, bulk copies, the cluster's and the grid's barriers. sm_90.
#pragma once
#include <cstdint>

#include "attention.cuh"

constexpr int kWorkers = 256;            // threads that compute; one more warp copies
constexpr int kCluster = 4;              // blocks of a cluster: each takes a quarter of a product's sum
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
// The same, and what the other blocks of the cluster wrote before they arrived is seen.
__device__ inline void barrier_wait_cluster(uint64_t *barrier, uint32_t parity) {
  uint32_t done = 0;
  for (Patience patience; !done; patience.poll()) {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done) : "r"(shared_address(barrier)), "r"(parity) : "memory");
  }
}

__device__ inline uint32_t cluster_address(const void *p, uint32_t rank) {
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(p)), "r"(rank));
  return address;
}
__device__ inline float4 cluster_load(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(address) : "memory");
  return v;
}
__device__ inline void cluster_store(uint32_t address, uint32_t a, uint32_t b) {
  asm volatile("st.shared::cluster.v2.b32 [%0], {%1,%2};" ::"r"(address), "r"(a), "r"(b) : "memory");
}
__device__ inline void cluster_barrier_all() {  // every thread of every block
  asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
}
// Every worker of the cluster; `parity` alternates.
__device__ inline void cluster_barrier(uint64_t *barrier, uint32_t &parity) {
  worker_barrier();
  if (threadIdx.x < kCluster)
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(cluster_address(barrier, threadIdx.x)) : "memory");
  barrier_wait_cluster(barrier, parity);
  parity ^= 1;
}

// Workers of the whole grid: `grid_arrive`, other work, `grid_wait` for the count that all blocks reach.
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
